"""Student's t distribution: all of `scipy.stats` would take longer to import than most commands."""

from typing import Any


def t_above(value: Any, freedom: Any) -> Any:
    """Return the probability of more than a value, or of more than each of an array's."""
    from scipy.special import stdtr

    return stdtr(freedom, -value)


def t_quantile(share: float, freedom: Any) -> Any:
    """Return the value below which a share of the distribution lies, or those of an array."""
    from scipy.special import stdtrit

    return stdtrit(freedom, share)
