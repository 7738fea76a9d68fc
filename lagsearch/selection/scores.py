"""How well the ranking at a step foretells the one at completion.

All functions work on the last axis, so that one point estimate and a thousand bootstrap
resamples are the same code. Shape letters: C candidates, E seeds, N validation batches, R
resamples.

Source:
    Karp et al. 2024, arXiv:2406.02469, section 3.3; regret is equation 1, relative regret 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lagsearch.selection.table import LossTable

Array = NDArray[np.float64]

RECALL_AT = (1, 2, 3, 4, 5)

NOISY = 0.5
"""Share of noise in the variance between candidates from which a step says too little.

Simulated, intervals of correlations then miss the truth more often than they claim, for the more
the losses are noise, the further a correlation of them lies from that of what they measure.
"""


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
    return pearson(_middle(*ranks(early)), _middle(*ranks(final)))


def _middle(first: Array, last: Array) -> Array:
    return (first + last) / 2


def ranks(losses: Array) -> tuple[Array, Array]:
    """Return the first and the last rank, from 1, that each loss takes: (..., C) to (..., C).

    They differ where losses are equal, by no more than the rounding of a mean.
    """
    order = losses.argsort(axis=-1)
    ordered = np.take_along_axis(losses, order, axis=-1)
    place = np.broadcast_to(np.arange(1.0, losses.shape[-1] + 1), losses.shape)
    first = last = place
    with np.errstate(invalid="ignore"):  # of infinities
        rises = ordered[..., 1:] - ordered[..., :-1] > 1e-12 * np.abs(ordered[..., :-1])
    if not rises.all():
        edge = np.ones((*losses.shape[:-1], 1), bool)
        begins, ends = np.concatenate([edge, rises], -1), np.concatenate([rises, edge], -1)
        first = np.maximum.accumulate(np.where(begins, place, 0), axis=-1)
        last = np.where(ends, place, np.inf)[..., ::-1]
        last = np.minimum.accumulate(last, axis=-1)[..., ::-1]
    found = np.empty((2, *losses.shape))
    np.put_along_axis(found[0], order, first, axis=-1)
    np.put_along_axis(found[1], order, last, axis=-1)
    return found[0], found[1]


def regret(early: Array, final: Array) -> Array:
    """Return what the choice by early loss gives away at completion, in nats (equation 1).

    Where several share the least early loss, as growths that preserve the function do at step 0,
    it is the mean over them: which one comes first in a list says nothing.
    """
    least = early.min(axis=-1, keepdims=True)
    is_chosen = early <= least + 1e-12 * np.abs(least)
    lost: Array = (is_chosen * final).sum(axis=-1) / is_chosen.sum(axis=-1) - final.min(axis=-1)
    return np.maximum(lost, 0.0)  # of a mean's rounding


def relative_regret(early: Array, final: Array) -> Array:
    """Return regret over the range of final losses (equation 2); 0 where that range is 0."""
    span = final.max(axis=-1) - final.min(axis=-1)
    share: Array = regret(early, final) / np.where(span > 0, span, 1.0)
    return share


def regret_of_best_half(early: Array, final: Array) -> Array:
    """Return regret over the range of the better half of final losses; NaN where that is 0.

    One candidate that is far worse than all others sets the scale of relative regret, not of this.
    The half holds the middle one of an odd number, and two at the least.
    """
    middle = half(final.shape[-1]) - 1
    span = np.partition(final, middle, axis=-1)[..., middle] - final.min(axis=-1)
    share: Array = regret(early, final) / np.where(span > 0, span, np.nan)
    return share


def half(candidates: int) -> int:
    """Return how many candidates the better half holds."""
    return min(candidates, max(2, (candidates + 1) // 2))


def recall(early: Array, final: Array, at: int) -> Array:
    """Return 1 where the best at completion is among the `at` best by early loss, else 0.

    Where only some of those that share its early loss are among them, it is their share.
    """
    best = final.argmin(axis=-1)[..., None]
    loss = np.take_along_axis(early, best, axis=-1)
    rounding = 1e-12 * np.abs(loss)
    before = (early < loss - rounding).sum(axis=-1)
    alike = (early <= loss + rounding).sum(axis=-1) - before
    hit: Array = np.clip((at - before) / alike, 0.0, 1.0)
    return hit


METRICS = {
    "spearman": spearman,
    "pearson": pearson,
    "regret": regret,
    "relative_regret": relative_regret,
    "regret_of_best_half": regret_of_best_half,
}
"""Scores of an early against the final loss, by name; recall has a parameter of its own."""


@dataclass(frozen=True)
class Score:
    """A score and how sure it is.

    Attributes:
        value: On all validation batches; None where it is not defined.
        low: Lower end of the 95 % interval; None for recall, which is 0 or 1, and for one batch.
        high: Upper end.
        share: Of recall: the share of the resamples in which it is 1; None for the others.
    """

    value: float | None
    low: float | None
    high: float | None
    share: float | None = None


def score_step(
    table: LossTable,
    step: int,
    final: int,
    generator: np.random.Generator,
    resamples: int | None = None,
) -> tuple[dict[str, Score], dict[int, Score]]:
    """Score the losses at a step against those at completion.

    Candidates without a loss at either step are left out. The intervals are for the scores of the
    losses that are measured, on all text and under all seeds: they resample the validation
    batches and, where there are several, the seeds, the same ones for all candidates and both
    steps (`resampled`). With one seed they say how far the score hangs on the choice of
    validation text, not how another seed would train.

    Regrets have the middle 95 % of the resamples. Correlations do not: noise
    draws them towards its own, in the losses once and in the resamples twice, so the middle 95 %
    lies to one side of the truth. Their interval reaches as far to either side of the value as
    the middle 95 % does to its farther one. Where more than `NOISY` of the variance between
    candidates at either step is noise, the interval of all but regret is the whole range. Recall
    is 0 or 1, for which no interval says anything: it has the share of resamples instead. One
    batch under one seed says nothing of noise, and there are neither intervals nor shares.

    Args:
        table: All losses.
        step: The early step.
        final: Completion.
        generator: Draws the resamples.
        resamples: R; by default `resamples_for` the candidates.

    Returns:
        The scores of `METRICS` by name, and recall by its parameter; both empty where no
        candidate has both losses.
    """
    pair = [table.batches_at(step), table.batches_at(final)]
    is_there = np.all([np.isfinite(each).all(axis=(1, 2)) for each in pair], axis=0)
    if not is_there.any():
        return {}, {}
    pair = [each[is_there] for each in pair]
    means_PC = np.stack([each.mean(axis=(1, 2)) for each in pair])
    early_C, final_C = means_PC
    values = {name: float(metric(early_C, final_C)) for name, metric in METRICS.items()}
    hits = {at: float(recall(early_C, final_C, at)) for at in RECALL_AT}
    if pair[0][0].size == 1:
        alone = {name: Score(_defined(value), None, None) for name, value in values.items()}
        return alone, {at: Score(hit, None, None) for at, hit in hits.items()}
    drawn_PRC = resampled(pair, generator, resamples or resamples_for(len(table.candidates)))
    is_noisy = bool((noise_share(means_PC, drawn_PRC) > NOISY).any())
    early_RC, final_RC = drawn_PRC
    named = {
        name: _score(values[name], metric(early_RC, final_RC), RANGES.get(name), is_noisy)
        for name, metric in METRICS.items()
    }
    shares = {at: float(recall(early_RC, final_RC, at).mean()) for at in RECALL_AT}
    return named, {at: Score(hits[at], None, None, shares[at]) for at in RECALL_AT}


RANGES = {"spearman": (-1.0, 1.0), "pearson": (-1.0, 1.0), "relative_regret": (0.0, 1.0)}
"""Least and largest value of the scores that have both."""


def _score(value: float, drawn: Array, whole: tuple[float, float] | None, is_noisy: bool) -> Score:
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(defined):
        return Score(None, None, None)
    low, high = (float(end) for end in np.quantile(defined, [0.025, 0.975]))
    if whole is not None:
        # what no resample changes hangs on no noise, however much there is
        if is_noisy and np.ptp(defined) > 1e-9:
            low, high = whole
        elif whole[0] < 0:
            reach = max(high - value, value - low)
            low, high = max(whole[0], value - reach), min(whole[1], value + reach)
    return Score(value, low, high)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def resamples_for(candidates: int) -> int:
    """Return how many resamples are drawn: 1000, and fewer for more than 1000 candidates."""
    return int(np.clip(1_000_000 // max(candidates, 1), 200, 1000))


def resampled(losses: Sequence[Array], generator: np.random.Generator, resamples: int) -> Array:
    """Return means of resampled seeds and batches, the same ones for all: (P, R, C).

    Seeds and batches are drawn with replacement, each on their own. A resample of n varies less
    than n do, by a factor of (n - 1) / n, which matters where they are few: its distance from the
    mean is widened by as much.

    Where a step has fewer batches than another, the first ones, what both have and what one has
    alone are drawn each among themselves.

    Args:
        losses: Batch losses under each seed, at P steps: (C, E, N) each; N may differ.
        generator: Draws.
        resamples: R.
    """
    candidates, n_seeds, _ = losses[0].shape
    sizes = sorted({each.shape[2] for each in losses})
    parts = [_weights(generator, high - low, resamples) for low, high in pairwise((0, *sizes))]
    seeds_RE = _weights(generator, n_seeds, resamples)
    means = []
    for losses_CEN in losses:
        size = losses_CEN.shape[2]
        held = [part_RN * (part_RN.shape[1] / size) for part_RN in parts[: sizes.index(size) + 1]]
        weights_REN = seeds_RE[:, :, None] * np.concatenate(held, axis=1)[:, None, :]
        flat_CM = losses_CEN.reshape(candidates, n_seeds * size)
        means.append(weights_REN.reshape(resamples, -1) @ flat_CM.T)
    return np.stack(means)


def _weights(generator: np.random.Generator, size: int, resamples: int) -> Array:
    """Return what each of n counts in each resample: (R, n)."""
    even = np.full((resamples, size), 1 / size)
    if size == 1:
        return even
    drawn = generator.multinomial(size, even[0], size=resamples) / size
    weights: Array = even + (drawn - even) * np.sqrt(size / (size - 1))
    return weights


def noise_share(means_PC: Array, drawn_PRC: Array) -> Array:
    """Return the share of noise in the variance between candidates: (P, C), (P, R, C) to (P,).

    It can exceed 1 by chance, and is infinite where means are equal and resamples are not.
    """
    if means_PC.shape[1] < 2:
        return np.zeros(len(means_PC))
    own_PRC = drawn_PRC - drawn_PRC.mean(axis=2, keepdims=True)
    noise = own_PRC.var(axis=1).mean(axis=1) * means_PC.shape[1] / (means_PC.shape[1] - 1)
    between = means_PC.var(axis=1, ddof=1)
    rounding = (1e-12 * np.abs(means_PC).max(axis=1)) ** 2
    share: Array = noise / np.maximum(between, 1e-300)
    return np.where(noise > rounding, share, 0.0)


def rank_correlation(table: LossTable) -> Array:
    """Return Spearman's correlation between every two steps: (S, S).

    Candidates without a loss at one of the steps are left out of that pair.
    """
    size = len(table.steps)
    matrix = np.full((size, size), np.nan)
    is_there = ~np.isnan(table.losses)
    whole = {
        column: _middle(*ranks(table.losses[is_there[:, column], column])) for column in range(size)
    }
    for row in range(size):
        for column in range(row, size):
            both = is_there[:, row] & is_there[:, column]
            if both.sum() < 2:
                continue
            if (is_there[:, row] == is_there[:, column]).all():
                found = pearson(whole[row], whole[column])
            else:
                found = spearman(table.losses[both, row], table.losses[both, column])
            matrix[row, column] = matrix[column, row] = found
    return matrix
