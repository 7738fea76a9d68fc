"""Student's t distribution, from scipy, which is imported when a test is first computed."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def two_sided_p(t: ArrayLike, freedom: ArrayLike) -> NDArray[np.float64]:
    """Return the two-sided p values of t statistics that are not negative.

    Args:
        t: The statistics, of any shape.
        freedom: Degrees of freedom.
    """
    from scipy.special import stdtr

    tail: Any = stdtr(freedom, -np.asarray(t))
    return np.asarray(2 * tail)


def t_quantile(probability: float, freedom: float) -> float:
    """Return the value that a t variable stays below with a probability."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))
