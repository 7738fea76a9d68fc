"""An interval of a mean that holds for few values, whatever their distribution."""

from collections.abc import Sequence

import numpy as np

DRAWS = 10_000


def mean_interval(
    values: Sequence[float], generator: np.random.Generator, level: float = 0.95
) -> tuple[float, float] | None:
    """Return an interval of the mean of what values between 0 and 1 were drawn from.

    The values are weighed at random, as in a Bayesian bootstrap, together with one more that was
    not seen: 0 for the lower end, 1 for the upper. A bootstrap of three values knows only what the
    three are, and a t-interval that they are normal; few regrets are neither, many being 0 and some
    large. Of ones and zeros alone this is Clopper's and Pearson's interval.

    Args:
        values: Independent ones, each from 0 to 1.
        generator: Draws the weights.
        level: How often the mean is to lie in it, at least.

    Returns:
        None for fewer than two values.

    Raises:
        ValueError: A value lies outside of 0 to 1.

    Source:
        Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of
        a nonnegative variable"; Learned-Miller and Thomas 2019, arXiv:1905.06208.
    """
    size = len(values)
    if any(not 0 <= value <= 1 for value in values):
        raise ValueError(f"values must be from 0 to 1, not {list(values)}")
    if size < 2:
        return None
    weights_DN = generator.dirichlet(np.ones(size + 1), DRAWS)
    outside = (1 - level) / 2
    low = np.quantile(weights_DN @ np.array([*values, 0.0]), outside)
    high = np.quantile(weights_DN @ np.array([*values, 1.0]), 1 - outside)
    return float(low), float(high)
