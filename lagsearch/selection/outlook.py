"""Whether a ranking has settled, known at K alone.

Early rankings agree with one another whether or not they are right: while candidates still move,
the ranking may only be the one that growth made, and it may as well have been right from the start.
So agreement says nothing; how far candidates lie apart does, measured by how far they still move.
"""

from dataclasses import dataclass
from math import inf, log

import numpy as np

from lagsearch.selection.forecast import forecasts
from lagsearch.selection.scores import Array
from lagsearch.selection.table import LossTable

LEAST = 2.0
"""Least distance between candidates, over the movement that is still to come, in a clear ranking.

Chosen from 0.5, 1, 1.5, 2 and 3 on the benchmark's half `choice`, as the least at which 95 % of the
choices stay within the noise (`tests/benchmarks/settled.py`).
"""

FEWEST = 5
"""Candidates from which on their distance and movement say something."""

EARLIEST = 50
"""Steps before which a ranking says little, on recorded runs."""


@dataclass(frozen=True)
class Outlook:
    """What a ranking looks like from K to completion.

    Attributes:
        since: The last evaluated step up to half of K.
        apart: Standard deviation of the candidates' losses at K, in nats.
        to_come: That of what their losses are still to move, were every doubling of the steps to
            move them as much as the steps from `since` to K did.
        leader: The candidate that is first at K.
        forecast: The one that is forecast to be first at completion (`forecasts`); None where there
            are too few evaluations to tell.
    """

    since: int
    apart: float
    to_come: float
    leader: str
    forecast: str | None

    @property
    def is_apart(self) -> bool:
        """Whether candidates lie far enough apart for what they are still to move."""
        return self.apart > 0 and self.apart >= LEAST * self.to_come

    @property
    def is_clear(self) -> bool:
        """Whether they do, and the leader is forecast to lead at completion too."""
        return self.is_apart and self.forecast == self.leader


def outlook(table: LossTable, step: int, completion: int, leader: str) -> Outlook | None:
    """Return what a ranking looks like from K to completion.

    Of the two standard deviations, those without the candidate are returned whose absence makes
    their ratio least: one that is far worse than all others does not make a ranking clear.

    Args:
        table: Losses of the candidates that are compared.
        step: K.
        completion: The last step.
        leader: The candidate that is first at K.

    Returns:
        None with fewer than `FEWEST` candidates, or without an evaluation from 1 to K / 2.
    """
    known = table.until(step).shared()
    earlier = [each for each in known.steps if 0 < each <= step / 2]
    if len(known.candidates) < FEWEST or not earlier or step not in known.steps:
        return None
    doublings = log(completion / step) / log(step / earlier[-1])
    now_C = known.at(step)
    pairs = zip(
        _without_each(now_C), _without_each((now_C - known.at(earlier[-1])) * doublings),
        strict=True,
    )  # fmt: skip
    apart, to_come = min(pairs, key=lambda pair: pair[0] / pair[1] if pair[1] > 0 else inf)
    return Outlook(earlier[-1], apart, to_come, leader, _forecast(known, step, completion, leader))


def _without_each(values_C: Array) -> list[float]:
    """Return the standard deviations of values when each one in turn is left out."""
    size = len(values_C)
    off_C = (values_C - values_C.mean()) ** 2
    # leaving one out moves the mean as well
    left_C = off_C.sum() - off_C * size / (size - 1)
    rounding = size * (1e-12 * np.abs(values_C).max()) ** 2
    found: list[float] = np.sqrt(np.where(left_C > rounding, left_C, 0.0) / (size - 2)).tolist()
    return found


def _forecast(known: LossTable, step: int, completion: int, leader: str) -> str | None:
    if step >= completion:
        return leader
    found = forecasts(known, step, completion)
    return None if found is None else min(found, key=lambda name: found[name].loss)
