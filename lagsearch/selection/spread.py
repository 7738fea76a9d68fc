"""Means of a few repeats, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from lagsearch.selection.student import t_quantile


@dataclass(frozen=True)
class Mean:
    """A mean and its interval.

    Attributes:
        value: The mean.
        low: Lower end of the interval; None where one value alone is known.
        high: Upper end.
        n: How many values.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def mean_of(values: Sequence[float], level: float = 0.95) -> Mean:
    """Return the mean of independent values, with Student's interval.

    Args:
        values: At least one.
        level: How often such an interval covers the truth.
    """
    found = np.asarray(values, dtype=np.float64)
    mean, n = float(found.mean()), len(found)
    if n < 2:
        return Mean(mean, None, None, n)
    half = t_quantile(0.5 + level / 2, n - 1) * float(found.std(ddof=1)) / sqrt(n)
    return Mean(mean, mean - half, mean + half, n)
