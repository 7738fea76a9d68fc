"""The table that selection sees: candidates by steps, and the seeds and batches behind each loss.

Shape letters: C candidates, S steps, E seeds, N validation batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

Losses = Mapping[int, Sequence[float]]
"""For one candidate and one seed: the losses of the validation batches at each step."""


@dataclass(frozen=True)
class LossTable:
    """Validation losses in nats per predicted token; NaN where a candidate has none.

    Attributes:
        candidates: Their names, in the order of the space.
        steps: Evaluated steps, ascending.
        losses: Mean loss over seeds and batches, where all seeds have one: (C, S).
        batches: Loss of each validation batch under each seed, NaN for batches that were not
            measured at a step: (C, S, E, N).
    """

    candidates: tuple[str, ...]
    steps: tuple[int, ...]
    losses: NDArray[np.float64]
    batches: NDArray[np.float64]

    @staticmethod
    def of(curves: Mapping[str, Losses]) -> "LossTable":
        """Make a table of one seed from each candidate's batch losses by step."""
        return LossTable.of_seeds({name: [curve] for name, curve in curves.items()})

    @staticmethod
    def of_seeds(curves: Mapping[str, Sequence[Losses]]) -> "LossTable":
        """Make a table from each candidate's batch losses by step, under each seed.

        A step may have fewer batches than others: the first ones. Where some candidates or seeds
        have more of them there than others, what only some have is left out.

        Raises:
            ValueError: Candidates differ in their number of seeds.
        """
        names = tuple(curves)
        every = [each for of_seeds in curves.values() for each in of_seeds]
        steps = tuple(sorted({step for each in every for step in each}))
        seeds = {len(of_seeds) for of_seeds in curves.values()}
        sizes = {len(losses) for each in every for losses in each.values()}
        if len(seeds) > 1:
            raise ValueError(f"candidates have {sorted(seeds)} seeds, not all as many")
        shape = (len(names), len(steps), max(seeds, default=1), max(sizes, default=0))
        batches = np.full(shape, np.nan)
        columns = {step: column for column, step in enumerate(steps)}
        fewest = {step: min(len(each[step]) for each in every if step in each) for step in steps}
        for row, name in enumerate(names):
            for seed, of_seed in enumerate(curves[name]):
                for step, losses in of_seed.items():
                    size = fewest[step]
                    batches[row, columns[step], seed, :size] = losses[:size]
        return LossTable.of_batches(names, steps, batches)

    @staticmethod
    def of_batches(
        candidates: tuple[str, ...], steps: tuple[int, ...], batches: NDArray[np.float64]
    ) -> "LossTable":
        """Make a table of batch losses: (C, S, E, N)."""
        return LossTable(candidates, steps, _means(batches), batches)

    @property
    def n_seeds(self) -> int:
        """E."""
        return int(self.batches.shape[2])

    @property
    def is_repeated(self) -> bool:
        """Whether a loss is the mean of several, so that there is something to tell noise by."""
        return bool(self.batches.shape[2] * self.batches.shape[3] > 1)

    def at(self, step: int) -> NDArray[np.float64]:
        """Return all candidates' losses at a step: (C,).

        Raises:
            KeyError: The step was not evaluated.
        """
        return self.losses[:, self._column(step)]

    def batches_at(self, step: int) -> NDArray[np.float64]:
        """Return all candidates' losses of the batches that were measured at a step: (C, E, N).

        Raises:
            KeyError: The step was not evaluated.
        """
        losses_CEN = self.batches[:, self._column(step)]
        return losses_CEN[:, :, _is_measured(losses_CEN)]

    def batches_at_each(self, steps: Sequence[int]) -> NDArray[np.float64]:
        """Return losses of the batches that were measured at all of some steps: (C, S, E, N).

        Where a step has more batches, its losses are moved together, so that their mean stays.

        Raises:
            KeyError: A step was not evaluated.
        """
        losses_CSEN = self.batches[:, [self._column(step) for step in steps]]
        is_kept = np.all([_is_measured(losses_CSEN[:, each]) for each in range(len(steps))], axis=0)
        if is_kept.all():
            return losses_CSEN
        kept_CSEN = losses_CSEN[..., is_kept]
        means = np.stack([self.batches_at(step).mean(axis=2) for step in steps], axis=1)
        moved: NDArray[np.float64] = kept_CSEN + (means - kept_CSEN.mean(axis=3))[..., None]
        return moved

    def shared(self) -> "LossTable":
        """Return the table of the steps at which all candidates have a loss."""
        kept = np.flatnonzero(~np.isnan(self.losses).any(axis=0)).tolist()
        steps = tuple(self.steps[column] for column in kept)
        return LossTable(self.candidates, steps, self.losses[:, kept], self.batches[:, kept])

    def only(self, candidates: Sequence[str]) -> "LossTable":
        """Return the table of some of the candidates, in this table's order."""
        kept = set(candidates)
        rows = [row for row, name in enumerate(self.candidates) if name in kept]
        names = tuple(self.candidates[row] for row in rows)
        return LossTable(names, self.steps, self.losses[rows], self.batches[rows])

    def until(self, step: int) -> "LossTable":
        """Return the table as it was known at a step: without all later ones."""
        kept = tuple(each for each in self.steps if each <= step)
        columns = slice(0, len(kept))
        return LossTable(self.candidates, kept, self.losses[:, columns], self.batches[:, columns])

    def at_step(self, step: int) -> "LossTable":
        """Return the table of one step alone.

        Raises:
            KeyError: The step was not evaluated.
        """
        columns = slice(self._column(step), self._column(step) + 1)
        losses, batches = self.losses[:, columns], self.batches[:, columns]
        return LossTable(self.candidates, (step,), losses, batches)

    def under(self, seed: int) -> "LossTable":
        """Return the table of one seed alone, by its place among the seeds."""
        return LossTable.of_batches(self.candidates, self.steps, self.batches[:, :, [seed]])

    def _column(self, step: int) -> int:
        if step not in self.steps:
            raise KeyError(step)
        return self.steps.index(step)


def _means(batches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over seeds of the mean over batches: (C, S, E, N) to (C, S).

    Sums are exact, as in the evaluations themselves: of one seed they are the same to the bit.
    """
    candidates, steps, n_seeds, _ = batches.shape
    means = np.empty((candidates, steps))
    for column in range(steps):
        at_CEN = batches[:, column][:, :, _is_measured(batches[:, column])]
        size = at_CEN.shape[2]
        means[:, column] = [
            fsum(fsum(batch) / size for batch in cell) / n_seeds for cell in at_CEN.tolist()
        ]
    return means


def _is_measured(losses_CEN: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which batches anybody has a loss of: (N,); all where nobody has any."""
    found: NDArray[np.bool_] = np.logical_not(np.isnan(losses_CEN).all(axis=(0, 1)))
    return found if found.any() else np.logical_not(found)
