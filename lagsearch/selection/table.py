"""The table that selection sees: candidates by steps, and the batches behind each loss.

Shape letters: C candidates, S steps, N validation batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

Losses = Mapping[int, Sequence[float]]
"""For one candidate: the losses of the validation batches at each step."""


@dataclass(frozen=True)
class LossTable:
    """Validation losses in nats per predicted token; NaN where a candidate has none.

    Attributes:
        candidates: Their names, in the order of the space.
        steps: Evaluated steps, ascending.
        losses: Mean loss: (C, S).
        batches: Loss of each validation batch: (C, S, N).
    """

    candidates: tuple[str, ...]
    steps: tuple[int, ...]
    losses: NDArray[np.float64]
    batches: NDArray[np.float64]

    @staticmethod
    def of(curves: Mapping[str, Losses]) -> "LossTable":
        """Make a table from each candidate's batch losses by step.

        Raises:
            ValueError: Evaluations differ in their number of batches.
        """
        names = tuple(curves)
        steps = tuple(sorted({step for curve in curves.values() for step in curve}))
        sizes = {len(losses) for curve in curves.values() for losses in curve.values()}
        batches = np.full((len(names), len(steps), max(sizes, default=0)), np.nan)
        for row, name in enumerate(names):
            for column, step in enumerate(steps):
                if step in curves[name]:
                    losses = curves[name][step]
                    if len(losses) != batches.shape[2]:
                        raise ValueError(f"{name}, step {step}: {len(losses)} batches, not {sizes}")
                    batches[row, column] = losses
        means = [[fsum(cell) / len(cell) for cell in row] for row in batches.tolist()]
        losses_CS = np.array(means, np.float64).reshape(len(names), len(steps))
        return LossTable(names, steps, losses_CS, batches)

    def at(self, step: int) -> NDArray[np.float64]:
        """Return all candidates' losses at a step: (C,).

        Raises:
            KeyError: The step was not evaluated.
        """
        if step not in self.steps:
            raise KeyError(step)
        return self.losses[:, self.steps.index(step)]

    def batches_at(self, step: int) -> NDArray[np.float64]:
        """Return all candidates' batch losses at a step: (C, N)."""
        return self.batches[:, self.steps.index(step)]

    def only(self, candidates: Sequence[str]) -> "LossTable":
        """Return the table of some of the candidates, in this table's order."""
        rows = [row for row, name in enumerate(self.candidates) if name in set(candidates)]
        names = tuple(self.candidates[row] for row in rows)
        return LossTable(names, self.steps, self.losses[rows], self.batches[rows])
