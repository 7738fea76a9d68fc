"""What is predicted from a row of tokens. What is hidden depends on (seed, step) alone.

Shape letters: B sequences in a batch, T tokens in a sequence, N hidden tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.objectives.base import (
    IGNORED,
    Example,
    OnePart,
)
from lagsearch.data.objectives.registry import objective
from lagsearch.data.objectives.whole_words import Words, find_words
from lagsearch.errors import DataError
from lagsearch.space import Objective
from lagsearch.storage.files import derive_seed

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Row and column of each hidden token, both (N,)."""


@dataclass(frozen=True)
class Causal(OnePart):
    """Predict each next token."""

    kind: str = "causal"

    def example(self, rows: NDArray[np.int64], seed: int, *, exact: bool = False) -> Example:
        """Return all tokens but the last, and all but the first."""
        return rows[:, :-1], rows[:, 1:]


@dataclass(frozen=True)
class Masked(OnePart):
    """Predict hidden tokens: of those, 80 % are masked, 10 % random and 10 % left as they are.

    Every sequence has the same number of hidden tokens, so each batch weighs the same; whole words
    may come to a few less.

    Attributes:
        fraction: Share of the tokens that is hidden.
        mask_token: What stands in their place.
        n_vocabulary: Tokens that random ones are drawn from.
        words: How to find words, where all tokens of a word are hidden or none.

    Source:
        Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """

    fraction: float
    mask_token: int
    n_vocabulary: int
    words: Words | None = None
    kind: str = "masked"

    def example(self, rows: NDArray[np.int64], seed: int, *, exact: bool = False) -> Example:
        """Return the rows with some tokens hidden, and what they were."""
        whole = rows[:, :-1]
        generator = np.random.default_rng(seed)
        places = self._places(whole, generator)
        hidden = whole[places]
        labels = np.full_like(whole, IGNORED)
        labels[places] = hidden
        lot = generator.random(len(hidden))
        shown = np.where(lot < 0.8, self.mask_token, hidden)
        others = generator.integers(self.n_vocabulary, size=len(hidden))
        inputs = whole.copy()
        inputs[places] = np.where(lot >= 0.9, others, shown)
        return inputs, labels

    def _places(self, whole: NDArray[np.int64], generator: np.random.Generator) -> Places:
        """Draw what is hidden of each row."""
        n_hidden = max(1, round(self.fraction * whole.shape[1]))
        if self.words is None:
            columns = list(generator.random(whole.shape).argsort(axis=1)[:, :n_hidden])
        else:
            columns = [self.words.choose(row, n_hidden, generator) for row in whole]
        rows = np.repeat(np.arange(len(whole)), [len(each) for each in columns])
        return rows, np.concatenate(columns)


@objective("causal", kind="causal", words="each next token")
def make_causal(
    objective: Objective, tokenizer: Any, n_vocabulary: int, sequence_length: int
) -> Causal:
    """Return it; it needs nothing."""
    return Causal()


@objective(
    "masked",
    kind="masked",
    words="tokens that are hidden, as BERT does",
    uses=("mask_fraction", "whole_words"),
)
def make_masked(
    objective: Objective, tokenizer: Any, n_vocabulary: int, sequence_length: int
) -> Masked:
    """Return it with what a tokenizer hides tokens by.

    Raises:
        DataError: The tokenizer has no mask token.
    """
    if tokenizer.mask_token_id is None:
        raise DataError("masked needs a tokenizer with a mask token", ("objective", "name"))
    words = find_words(tokenizer) if objective.whole_words else None
    return Masked(objective.mask_fraction, tokenizer.mask_token_id, n_vocabulary, words)


def example_seed(seed: int, stream: str, step: int) -> int:
    """Return the seed of what is drawn for one batch."""
    return derive_seed(seed, "objective", stream, step)
