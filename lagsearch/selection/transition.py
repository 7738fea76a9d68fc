"""The phase transition: the step after which the ranking no longer changes much."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagsearch.selection.scores import Array, rank_correlation
from lagsearch.selection.table import LossTable

THRESHOLD = 0.8
"""Least of Spearman's correlation between every two rankings since the transition."""

MARGIN = 2.0
"""How many times as many steps as the transition's the ranking must have held for."""

LEFT = 0.6
"""Spearman's correlation with the first ranking below which that one has been left behind."""

FEWEST = 3
"""Candidates from which on a correlation of two rankings counts."""


@dataclass(frozen=True)
class PhaseTransition:
    """A transition and how well the ranking has held since.

    Attributes:
        step: The transition.
        until: The last step looked at.
        spearman: Least correlation of any two rankings since, both steps included.
    """

    step: int
    until: int
    spearman: float


def phase_transition(
    table: LossTable,
    step: int | None = None,
    threshold: float = THRESHOLD,
    margin: float = MARGIN,
    left: float = LEFT,
) -> PhaseTransition | None:
    """Return the step after which the ranking is stable, or None where it is not.

    It is the first evaluated step t > 0 such that, of all evaluated steps from t to now,

    - every two rankings correlate by at least `threshold` (Spearman),
    - every ranking correlates with the first one by less than `left`: early on all rankings are
      still the one that growth made, and agree for that reason alone,
    - the last step is at least `margin` times t.

    Two rankings are compared over the candidates that have a loss at both steps. Where these are
    fewer than three, or all are equal, the rankings do not count as agreeing. The first ranking is
    that of the earliest step at which candidates differ.

    Args:
        table: All losses; no later step than `step` is looked at.
        step: Now; by default the last step.
        threshold: Least correlation of rankings that agree.
        margin: Least ratio of now to t.
        left: Correlation with the first ranking below which it has been left.
    """
    known = table if step is None else table.until(step)
    if not known.steps:
        return None
    steps, matrix = np.array(known.steps), _agreement(known)
    first = _first_ranking(matrix)
    if first is None:
        return None
    has_left = ~(matrix[first] >= left)
    found = None
    for column in reversed(range(first + 1, len(steps))):
        if steps[column] == 0 or not has_left[column]:
            break
        if not (matrix[column, column:] >= threshold).all():
            break
        found = column
    if found is None or found == len(steps) - 1 or steps[-1] < margin * steps[found]:
        return None
    since = float(matrix[found:, found:].min())
    return PhaseTransition(int(steps[found]), int(steps[-1]), since)


def _agreement(table: LossTable) -> Array:
    """Return the correlation of every two steps, NaN where too few candidates have both."""
    is_there: NDArray[np.int64] = (~np.isnan(table.losses)).astype(np.int64)
    matrix = rank_correlation(table)
    matrix[is_there.T @ is_there < FEWEST] = np.nan
    return matrix


def _first_ranking(matrix: Array) -> int | None:
    """Return the first step at which candidates differ."""
    differ = np.flatnonzero(~np.isnan(np.diag(matrix)))
    return int(differ[0]) if len(differ) else None
