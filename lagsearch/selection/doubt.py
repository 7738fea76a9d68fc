"""How far a ranking can be trusted before completion is known."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from lagsearch.selection.ranking import rank_candidates
from lagsearch.selection.scores import (
    Array,
    noise_share,
    ranks,
    resampled,
    resamples_for,
    spearman,
)
from lagsearch.selection.student import t_above, t_quantile
from lagsearch.selection.table import LossTable


def indistinguishable(
    table: LossTable, step: int, level: float = 0.05, winner: str | None = None
) -> list[str]:
    """Return the candidates whose loss at a step cannot be told apart from the winner's.

    Paired t-tests (`p_values`), corrected for the number of candidates by Holm's step-down rule.
    Together with the winner they hold the candidate that is truly best with a probability of at
    least 1 - level (simulated: tests/selection/test_coverage.py).

    Args:
        table: All losses.
        step: The step of the ranking.
        level: Probability of telling any two apart that are equal.
        winner: The one that was chosen; the one with the least loss when left out.
    """
    found = p_values(table, step, winner)
    apart = holm(found, level)
    return [name for name in found if name not in apart]


def holm(found: Mapping[str, float], level: float = 0.05) -> set[str]:
    """Return the names whose p-values are significant by Holm's step-down rule."""
    tested = sorted((p_value, name) for name, p_value in found.items())
    for place, (p_value, _) in enumerate(tested):
        if p_value > level / (len(tested) - place):
            return {name for _, name in tested[:place]}
    return set(found)


def p_values(table: LossTable, step: int, winner: str | None = None) -> dict[str, float]:
    """Return the p-value of each candidate's difference from the winner, best candidates first.

    Two-sided paired t-tests. With one seed they are over the validation batches, and know the
    noise of the validation text but not that of training. With several, a difference varies with
    the batch and with the seed: the variance of its mean is the sum of both parts, less what both
    hold of what is left over; its degrees of freedom are Satterthwaite's. What differs from seed
    to seed is taken to vary alike in all candidates (the interaction of a randomized block
    design), since a few seeds say too little of one alone.

    Args:
        table: All losses.
        step: The step; candidates without a loss there are left out.
        winner: The one that was chosen; the one with the least loss when left out.
    """
    names, differences_CEN, seeds = _differences(table, step, winner)
    return dict(zip(names, _tested(differences_CEN, seeds).tolist(), strict=True))


def noise_floor(
    table: LossTable, step: int, level: float = 0.05, winner: str | None = None
) -> float | None:
    """Return how far behind the winner, in nats, a candidate must be to be told apart at all.

    The median over the candidates of the half-width of the interval of their difference from the
    winner (that of `p_values`, not corrected for their number): smaller differences are noise.

    Args:
        table: All losses.
        step: The step of the ranking.
        level: Of the test.
        winner: The one that was chosen; the one with the least loss when left out.

    Returns:
        None where there is one candidate, or each loss was measured once.
    """
    names, differences_CEN, seeds = _differences(table, step, winner)
    if not names or differences_CEN[0].size == 1:
        return None
    variance, freedom = _uncertainty(differences_CEN, seeds)
    return float(np.median(-t_quantile(level / 2, freedom) * np.sqrt(variance)))


def _differences(
    table: LossTable, step: int, winner: str | None
) -> tuple[list[str], Array, tuple[float, int]]:
    """Return who is behind the winner, by what (C, E, N), and what varies with the seed."""
    order = rank_candidates(table, step)
    if winner in order:
        order = [winner, *(name for name in order if name != winner)]
    place = {name: row for row, name in enumerate(table.candidates)}
    losses_CEN = table.batches_at(step)[[place[name] for name in order]]
    present = np.flatnonzero(~np.isnan(losses_CEN).any(axis=(1, 2)))
    names, losses_CEN = [order[row] for row in present], losses_CEN[present]
    return names[1:], losses_CEN[1:] - losses_CEN[:1], _interaction(losses_CEN.mean(axis=2))


def _interaction(losses_CE: Array) -> tuple[float, int]:
    """Return the mean square of what is neither candidate's nor seed's, and its freedom."""
    rows, columns = losses_CE.shape
    left = losses_CE - losses_CE.mean(axis=1, keepdims=True)
    left = left - left.mean(axis=0, keepdims=True)
    freedom = (rows - 1) * (columns - 1)
    return (float((left**2).sum() / freedom), freedom) if freedom else (0.0, 0)


def _tested(differences_CEN: Array, seeds: tuple[float, int]) -> Array:
    """Test whether the means of differences are zero: p-values (C,).

    Args:
        differences_CEN: Of each candidate from the winner, by seed and batch.
        seeds: Mean square and freedom of what varies with the seed, in one candidate.
    """
    mean, is_one = differences_CEN.mean(axis=(1, 2)), differences_CEN.shape[1:] == (1, 1)
    variance, freedom = _uncertainty(differences_CEN, seeds)
    varies = variance > 0
    tested = 2 * t_above(np.abs(mean) / np.sqrt(np.where(varies, variance, 1.0)), freedom)
    without_noise = np.where((mean != 0) & (not is_one), 0.0, 1.0)
    return np.where(varies, tested, without_noise)


def _uncertainty(differences_CEN: Array, seeds: tuple[float, int]) -> tuple[Array, Array]:
    """Return the variances of mean differences, and their degrees of freedom (C,)."""
    n_seeds, size = differences_CEN.shape[1:]
    nothing = np.zeros(len(differences_CEN))
    batches = nothing
    if size > 1:
        by_batch = differences_CEN.mean(axis=1)
        batches = np.where(np.ptp(by_batch, axis=1) > 0, by_batch.var(axis=1, ddof=1) / size, 0.0)
    by_seed = np.full_like(nothing, 2 * seeds[0] / n_seeds if n_seeds > 1 else 0.0)
    twice = nothing
    if size > 1 and n_seeds > 1:
        left = differences_CEN - differences_CEN.mean(axis=1, keepdims=True)
        left = left - left.mean(axis=2, keepdims=True)
        twice = (left**2).sum(axis=(1, 2)) / ((n_seeds - 1) * (size - 1)) / (n_seeds * size)
        twice = np.where((batches > 0) & (by_seed > 0), twice, 0.0)
    variance = np.maximum(batches + by_seed - twice, np.maximum(batches, by_seed))
    spread = batches**2 / max(size - 1, 1) + by_seed**2 / max(seeds[1], 1)
    spread = spread + twice**2 / max((n_seeds - 1) * (size - 1), 1)
    varies = variance > 0
    return variance, np.where(varies, variance, 1.0) ** 2 / np.where(varies, spread, 1.0)


@dataclass(frozen=True)
class Place:
    """Where a candidate may stand in a ranking.

    Attributes:
        low: Best rank in the 95 % interval, from 1.
        high: Worst rank in it.
        p_best: Probability that no other has a lower expected loss; they sum to 1.
    """

    low: int
    high: int
    p_best: float


def places(
    table: LossTable,
    step: int,
    generator: np.random.Generator,
    resamples: int | None = None,
    alike: Collection[str] | None = None,
) -> dict[str, Place]:
    """Return where each candidate may stand at a step, best candidates first.

    From resamples of the validation batches and seeds (`resampled`). Losses lie further apart
    than what they measure, by their noise, so that resamples around them look surer than they
    are: their distance from the losses is divided by the root of the share of the variance
    between candidates that is not noise. Equal candidates share their ranks and probability.

    Args:
        table: All losses.
        step: The step; candidates without a loss there are left out.
        generator: Draws the resamples.
        resamples: Their number; by default `resamples_for` the candidates.
        alike: The candidates whose variance counts: those that do not stand apart as baselines
            do; by default all.
    """
    row = {name: place for place, name in enumerate(table.candidates)}
    lacking = ~np.isfinite(table.batches_at(step).mean(axis=(1, 2)))
    names = [name for name in rank_candidates(table, step) if not lacking[row[name]]]
    if not names:
        return {}
    losses_CEN = table.batches_at(step)[[row[name] for name in names]]
    means_C = losses_CEN.mean(axis=(1, 2))
    drawn_RC = resampled([losses_CEN], generator, resamples or resamples_for(len(names)))[0]
    counted = [place for place, name in enumerate(names) if alike is None or name in alike]
    share = noise_share(means_C[None, counted], drawn_RC[None][:, :, counted])[0]
    known = max(1 - float(share), LEAST_KNOWN)
    first_RC, last_RC = ranks(means_C + (drawn_RC - means_C) / np.sqrt(known))
    low = np.quantile(first_RC, 0.025, axis=0, method="inverted_cdf").astype(int).tolist()
    high = np.quantile(last_RC, 0.975, axis=0, method="inverted_cdf").astype(int).tolist()
    is_best = first_RC == 1
    p_best = (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0).tolist()
    return {name: Place(*found) for name, *found in zip(names, low, high, p_best, strict=True)}


LEAST_KNOWN = 0.05
"""Least share of the variance between candidates that is taken to be more than noise."""


def standard_errors(losses_SEN: Array) -> list[float] | list[None]:
    """Return the standard errors of mean losses over seeds and batches; None where both are one.

    The variances over the seeds and over the batches add up; what both hold is counted twice.

    Args:
        losses_SEN: Batch losses at each step under each seed.
    """
    parts = [
        means.var(axis=1, ddof=1) / means.shape[1]
        for means in (losses_SEN.mean(axis=2), losses_SEN.mean(axis=1))
        if means.shape[1] > 1
    ]
    if not parts:
        return [None] * len(losses_SEN)
    found: list[float] = np.sqrt(sum(parts)).tolist()
    return found


def stability(table: LossTable, step: int) -> tuple[int, float] | None:
    """Return the last evaluated step up to half of `step`, and Spearman's correlation with it.

    None where there is no such step but 0, fewer than three candidates have both losses, or the
    correlation is not defined (all are equal).
    """
    earlier = [each for each in table.steps if 0 < each <= step / 2]
    if not earlier:
        return None
    pair = np.stack([table.at(earlier[-1]), table.at(step)])
    pair = pair[:, ~np.isnan(pair).any(axis=0)]
    if pair.shape[1] < 3:
        return None
    correlation = float(spearman(pair[0], pair[1]))
    return None if np.isnan(correlation) else (earlier[-1], correlation)
