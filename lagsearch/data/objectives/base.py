"""What every objective does: rows of tokens into inputs and labels.

Shape letters: B sequences in a batch, T tokens in a sequence.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
"""Label of a position that enters no loss."""

Example = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Inputs and labels, both (B, T)."""


class Predicts(Protocol):
    """What every objective does. What is drawn depends on the seed alone."""

    @property
    def kind(self) -> str:
        """The kind of model it trains: `causal` or `masked`."""
        ...

    @property
    def parts(self) -> tuple[tuple[str, float], ...]:
        """Name and weight of each part that is measured apart; the weights' sum is 1."""
        ...

    def parts_of(self, n_rows: int, seed: int, *, exact: bool) -> NDArray[np.int64]:
        """Return the part of each row of a batch: (B,).

        Args:
            n_rows: B.
            seed: What is drawn is drawn from it.
            exact: Give each part its exact share of the rows, as validation does.
        """
        ...

    def example(self, rows: NDArray[np.int64], seed: int, *, exact: bool = False) -> Example:
        """Turn rows (B, T + 1) into inputs and labels, both (B, T).

        Args:
            rows: Tokens.
            seed: What is drawn is drawn from it.
            exact: As in `parts_of`.
        """
        ...


class OnePart:
    """An objective of one part."""

    @property
    def parts(self) -> tuple[tuple[str, float], ...]:
        """The only one."""
        return (("all", 1.0),)

    def parts_of(self, n_rows: int, seed: int, *, exact: bool) -> NDArray[np.int64]:
        """Return zeros: (B,)."""
        return np.zeros(n_rows, np.int64)
