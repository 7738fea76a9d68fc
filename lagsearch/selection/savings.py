"""What growth saves: the compute at which two trainings come to the same validation loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spending:
    """A training as its spending goes on.

    Attributes:
        spent: FLOPs or tokens at each evaluation, ascending: (S,).
        losses: Validation loss there, nats per predicted token: (S,).
    """

    spent: Sequence[float]
    losses: Sequence[float]

    def until(self, loss: float) -> float | None:
        """Return what is spent until a loss is reached, or None where it is not.

        The losses are smoothed so that they never rise (isotonic regression), and read between
        evaluations on a straight line over the logarithm of the spending.
        """
        smooth = self._smooth
        reached = np.flatnonzero(smooth <= loss)
        if not len(reached):
            return None
        after = int(reached[0])
        if after == 0 or self.spent[after - 1] <= 0:
            return float(self.spent[after])
        share = (smooth[after - 1] - loss) / (smooth[after - 1] - smooth[after])
        low, high = np.log(self.spent[after - 1]), np.log(self.spent[after])
        return float(np.exp(low + share * (high - low)))

    @property
    def _smooth(self) -> NDArray[np.float64]:
        from scipy.optimize import isotonic_regression

        found: NDArray[np.float64] = isotonic_regression(
            np.asarray(self.losses, float), increasing=False
        ).x
        return found

    @property
    def end(self) -> float:
        """The smoothed loss at the last evaluation."""
        return float(self._smooth[-1])


def speed_up(reference: float, method: float) -> float:
    """Return how much faster a method is at equal loss: 0.5 is half as much again.

    Args:
        reference: What training from scratch spends.
        method: What the method spends.

    Source:
        Du et al. 2024, arXiv:2405.15319, section 3: sp = FLOPs_scratch / FLOPs_method - 1.
    """
    return reference / method - 1


def saving(reference: float, method: float) -> float:
    """Return the share of the spending of training from scratch that a method saves."""
    return 1 - method / reference
