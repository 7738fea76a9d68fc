"""What is predicted from a row of tokens. Masks depend on (seed, step) alone.

Shape letters: B sequences in a batch, T tokens in a sequence.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lagsearch.errors import DataError
from lagsearch.space import Objective
from lagsearch.storage import derive_seed

IGNORED = -100
"""Label of a position that enters no loss."""

Example = tuple[NDArray[np.int64], NDArray[np.int64]]


class Predicts(Protocol):
    """What every objective does."""

    @property
    def kind(self) -> str:
        """The kind of model it trains: `causal` or `masked`."""
        ...

    def example(self, rows: NDArray[np.int64], seed: int) -> Example:
        """Turn rows (B, T + 1) into inputs and labels, both (B, T), drawing from `seed`."""
        ...


@dataclass(frozen=True)
class Causal:
    """Predict each next token."""

    kind: str = "causal"

    def example(self, rows: NDArray[np.int64], seed: int) -> Example:
        """Return all tokens but the last, and all but the first."""
        return rows[:, :-1], rows[:, 1:]


@dataclass(frozen=True)
class Masked:
    """Predict hidden tokens: of those, 80 % are masked, 10 % random and 10 % left as they are.

    Every sequence has the same number of hidden tokens, so each batch weighs the same.

    Source:
        Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """

    fraction: float
    mask_token: int
    n_vocabulary: int
    kind: str = "masked"

    def example(self, rows: NDArray[np.int64], seed: int) -> Example:
        """Return the rows with some tokens hidden, and what they were."""
        whole = rows[:, :-1]
        generator = np.random.default_rng(seed)
        hidden = max(1, round(self.fraction * whole.shape[1]))
        order = generator.random(whole.shape).argsort(axis=1)[:, :hidden]  # (B, hidden)
        labels = np.full_like(whole, IGNORED)
        np.put_along_axis(labels, order, np.take_along_axis(whole, order, 1), 1)
        lot = generator.random(order.shape)
        shown = np.take_along_axis(whole, order, 1)
        shown = np.where(lot < 0.8, self.mask_token, shown)
        words = generator.integers(self.n_vocabulary, size=order.shape)
        shown = np.where(lot >= 0.9, words, shown)
        inputs = whole.copy()
        np.put_along_axis(inputs, order, shown, 1)
        return inputs, labels


def make_objective(objective: Objective, tokenizer: Any, n_vocabulary: int) -> Predicts:
    """Return the objective that a space names.

    Raises:
        DataError: The tokenizer cannot serve it.
    """
    if objective.name == "causal":
        return Causal()
    if tokenizer.mask_token_id is None:
        raise DataError("masked needs a tokenizer with a mask token", ("objective", "name"))
    return Masked(objective.mask_fraction, tokenizer.mask_token_id, n_vocabulary)


def example_seed(seed: int, stream: str, step: int) -> int:
    """Return the seed of what is drawn for one batch."""
    return derive_seed(seed, "objective", stream, step)
