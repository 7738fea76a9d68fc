"""How well the ranking at a step foretells the one at completion.

All functions work on the last axis, so that one point estimate and a thousand bootstrap
resamples are the same code. Shape letters: C candidates, E seeds, N validation batches, R
resamples.

Source:
    Karp et al. 2024, arXiv:2406.02469, section 3.3; regret is equation 1, relative regret 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lagsearch.selection.table import LossTable

Array = NDArray[np.float64]

RECALL_AT = (1, 2, 3, 4, 5)


def pearson(early: Array, final: Array) -> Array:
    """Return Pearson's correlation over candidates: (..., C) twice to (...); NaN if constant."""
    x = early - early.mean(axis=-1, keepdims=True)
    y = final - final.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    is_defined = _varies(early) & _varies(final)
    correlation: Array = (x * y).sum(axis=-1) / np.where(is_defined, scale, 1.0)
    return np.where(is_defined, correlation, np.nan)


def _varies(losses: Array) -> NDArray[np.bool_]:
    """Return whether losses differ by more than the rounding of a mean: (..., C) to (...)."""
    span = losses.max(axis=-1) - losses.min(axis=-1)
    varies: NDArray[np.bool_] = span > 1e-12 * np.abs(losses).max(axis=-1)
    return varies


def spearman(early: Array, final: Array) -> Array:
    """Return Spearman's rank correlation, ties averaged: (..., C) twice to (...)."""
    return pearson(rankdata(early, axis=-1), rankdata(final, axis=-1))


def regret(early: Array, final: Array) -> Array:
    """Return what the choice by early loss gives away at completion, in nats (equation 1)."""
    chosen = early.argmin(axis=-1)[..., None]
    lost: Array = np.take_along_axis(final, chosen, axis=-1)[..., 0] - final.min(axis=-1)
    return lost


def relative_regret(early: Array, final: Array) -> Array:
    """Return regret over the range of final losses (equation 2); 0 where that range is 0."""
    span = final.max(axis=-1) - final.min(axis=-1)
    share: Array = regret(early, final) / np.where(span > 0, span, 1.0)
    return share


def recall(early: Array, final: Array, at: int) -> Array:
    """Return 1 where the best at completion is among the `at` best by early loss, else 0.

    Of equal early losses the first candidate comes first, as in the ranking and in regret.
    """
    best = final.argmin(axis=-1)[..., None]
    places = early.argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    hit: Array = (np.take_along_axis(places, best, axis=-1)[..., 0] < at).astype(np.float64)
    return hit


METRICS = {
    "spearman": spearman,
    "pearson": pearson,
    "regret": regret,
    "relative_regret": relative_regret,
}
"""Scores of an early against the final loss, by name; recall has a parameter of its own."""


@dataclass(frozen=True)
class Score:
    """A score and its 95 % bootstrap interval.

    Attributes:
        value: On all validation batches; None where it is not defined.
        low: Lower end.
        high: Upper end.
    """

    value: float | None
    low: float | None
    high: float | None


def score_step(
    table: LossTable, step: int, final: int, generator: np.random.Generator, resamples: int = 1000
) -> tuple[dict[str, Score], dict[int, Score]]:
    """Score the losses at a step against those at completion.

    Candidates without a loss at either step are left out. The interval resamples the validation
    batches and, where there are several, the seeds, the same ones for all candidates and both
    steps. With one seed it says how far the score hangs on the choice of validation text, not how
    another seed would train.

    Args:
        table: All losses.
        step: The early step.
        final: Completion.
        generator: Draws the resamples.
        resamples: R.

    Returns:
        The scores of `METRICS` by name, and recall by its parameter; both empty where no
        candidate has both losses.
    """
    pair_PCEN = np.stack([table.batches_at(step), table.batches_at(final)])
    pair_PCEN = pair_PCEN[:, ~np.isnan(pair_PCEN).any(axis=(0, 2, 3))]
    if not pair_PCEN.shape[1]:
        return {}, {}
    means_PC, drawn_PRC = pair_PCEN.mean(axis=(2, 3)), resampled(pair_PCEN, generator, resamples)
    pairs = [(means_PC[0], means_PC[1]), (drawn_PRC[0], drawn_PRC[1])]
    named = {name: _score(*(metric(*pair) for pair in pairs)) for name, metric in METRICS.items()}
    recalls = {at: _score(*(recall(*pair, at) for pair in pairs)) for at in RECALL_AT}
    return named, recalls


def resampled(losses_PCEN: Array, generator: np.random.Generator, resamples: int) -> Array:
    """Return means of resampled seeds and batches, the same ones for all: (P, R, C).

    Seeds and batches are drawn with replacement, each on their own. A resample of E seeds varies
    less than E seeds do, by a factor of (E - 1) / E, which matters where they are few: its
    distance from the mean is widened by as much.

    Args:
        losses_PCEN: Batch losses under each seed, at P steps.
        generator: Draws.
        resamples: R.
    """
    n_seeds, size = losses_PCEN.shape[2:]
    batches_RN = generator.multinomial(size, np.full(size, 1 / size), size=resamples) / size
    seeds_RE = np.full((resamples, n_seeds), 1 / n_seeds)
    if n_seeds > 1:
        drawn = generator.multinomial(n_seeds, seeds_RE[0], size=resamples) / n_seeds
        seeds_RE = seeds_RE + (drawn - seeds_RE) * np.sqrt(n_seeds / (n_seeds - 1))
    means_PRC: Array = np.einsum(
        "pcen,re,rn->prc", losses_PCEN, seeds_RE, batches_RN, optimize=True
    )
    return means_PRC


def rank_correlation(table: LossTable) -> Array:
    """Return Spearman's correlation between every two steps: (S, S).

    Candidates without a loss at one of the steps are left out of that pair.
    """
    size = len(table.steps)
    matrix = np.full((size, size), np.nan)
    for row in range(size):
        for column in range(size):
            pair = table.losses[:, [row, column]]
            pair = pair[~np.isnan(pair).any(axis=1)]
            if len(pair) > 1:
                matrix[row, column] = spearman(pair[:, 0], pair[:, 1])
    return matrix


def _score(value: Array, resampled: Array) -> Score:
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not len(defined):
        return Score(None, None, None)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Score(float(value), float(low), float(high))
