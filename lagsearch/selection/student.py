"""Student's t distribution: all of `scipy.stats` would take longer to import than most commands."""

from typing import Any

from scipy.special import stdtr, stdtrit


def t_above(value: Any, freedom: Any) -> Any:
    """Return the probability of more than a value, or of more than each of an array's."""
    return stdtr(freedom, -value)


def t_quantile(share: float, freedom: float) -> float:
    """Return the value below which a share of the distribution lies."""
    return float(stdtrit(freedom, share))
