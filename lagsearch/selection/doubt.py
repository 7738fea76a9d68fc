"""How far a ranking can be trusted before completion is known."""

import numpy as np
from scipy.stats import t as student_t

from lagsearch.selection.ranking import rank_candidates
from lagsearch.selection.scores import Array, spearman
from lagsearch.selection.table import LossTable


def indistinguishable(table: LossTable, step: int, level: float = 0.05) -> list[str]:
    """Return the candidates whose loss at a step cannot be told apart from the winner's.

    Paired t-tests (`p_values`), corrected for the number of candidates by Holm's step-down rule.

    Args:
        table: All losses.
        step: The step of the ranking.
        level: Probability of telling any two apart that are equal.
    """
    found = p_values(table, step)
    tested = sorted((p_value, name) for name, p_value in found.items())
    for place, (p_value, _) in enumerate(tested):
        if p_value > level / (len(tested) - place):
            equal = {name for _, name in tested[place:]}
            return [name for name in found if name in equal]
    return []


def p_values(table: LossTable, step: int) -> dict[str, float]:
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
    """
    order = rank_candidates(table, step)
    place = {name: row for row, name in enumerate(table.candidates)}
    losses_CEN = table.batches_at(step)[[place[name] for name in order]]
    present = np.flatnonzero(~np.isnan(losses_CEN).any(axis=(1, 2)))
    names, losses_CEN = [order[row] for row in present], losses_CEN[present]
    seeds = _interaction(losses_CEN.mean(axis=2))
    return {
        name: _p_value(each - losses_CEN[0], seeds)
        for name, each in zip(names[1:], losses_CEN[1:], strict=True)
    }


def _interaction(losses_CE: Array) -> tuple[float, int]:
    """Return the mean square of what is neither candidate's nor seed's, and its freedom."""
    rows, columns = losses_CE.shape
    left = losses_CE - losses_CE.mean(axis=1, keepdims=True)
    left = left - left.mean(axis=0, keepdims=True)
    freedom = (rows - 1) * (columns - 1)
    return (float((left**2).sum() / freedom), freedom) if freedom else (0.0, 0)


def _p_value(difference_EN: Array, seeds: tuple[float, int]) -> float:
    """Test whether the mean of differences is zero.

    Args:
        difference_EN: Of two candidates, by seed and batch.
        seeds: Mean square and freedom of what varies with the seed, in one candidate.
    """
    n_seeds, size = difference_EN.shape
    mean = float(difference_EN.mean())
    by_batch = difference_EN.mean(axis=0)
    parts = []
    if size > 1 and np.ptp(by_batch) > 0:
        parts.append((float(by_batch.var(ddof=1)) / size, size - 1))
    if n_seeds > 1 and seeds[0] > 0:
        parts.append((2 * seeds[0] / n_seeds, seeds[1]))
    if not parts:
        return 0.0 if size * n_seeds > 1 and mean != 0 else 1.0
    variance = sum(part for part, _ in parts)
    terms = list(parts)
    if len(parts) > 1:
        left = difference_EN - by_batch - (difference_EN.mean(axis=1, keepdims=True) - mean)
        freedom = (n_seeds - 1) * (size - 1)
        twice = float((left**2).sum()) / freedom / (n_seeds * size)
        variance = max(variance - twice, *(part for part, _ in parts))
        terms.append((twice, freedom))
    freedom_of_all = variance**2 / sum(part**2 / freedom for part, freedom in terms)
    return float(2 * student_t.sf(abs(mean) / np.sqrt(variance), freedom_of_all))


def standard_error(losses_EN: Array) -> float | None:
    """Return the standard error of a mean loss over seeds and batches; None where both are one.

    The variances over the seeds and over the batches add up; what both hold is counted twice.

    Args:
        losses_EN: Batch losses under each seed.
    """
    parts = [
        means.var(ddof=1) / len(means)
        for means in (losses_EN.mean(axis=1), losses_EN.mean(axis=0))
        if len(means) > 1
    ]
    return float(np.sqrt(sum(parts))) if parts else None


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
