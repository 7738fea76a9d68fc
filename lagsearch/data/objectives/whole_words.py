"""Where words begin among tokens, so that all tokens of a word are hidden or none.

Shape letters: T tokens in a sequence, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.tokens.tokenizers import byte_symbols


@dataclass(frozen=True)
class Words:
    """What a vocabulary says of words: two neighbours are one word if both sides agree.

    Attributes:
        joins_before: For each token, 1 if its beginning may go on with a word: V bytes.
        joins_after: For each token, 1 if a word may go on behind it: V bytes.
    """

    joins_before: bytes = field(repr=False)
    joins_after: bytes = field(repr=False)

    def numbers(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each token's word, counted from 0: (T,)."""
        before = np.frombuffer(self.joins_before, np.uint8)[row]
        after = np.frombuffer(self.joins_after, np.uint8)[row]
        begins = np.ones(len(row), bool)
        begins[1:] = (before[1:] & after[:-1]) == 0
        numbers: NDArray[np.int64] = np.cumsum(begins) - 1
        return numbers

    def choose(
        self, row: NDArray[np.int64], n_tokens: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return the places of whole words at random, of at most as many tokens; one at least.

        Args:
            row: Tokens: (T,).
            n_tokens: How many tokens may be chosen. A word that is too long is passed over, but
                for the shortest, which is taken where all are.
            generator: Draws the order of the words.
        """
        numbers = self.numbers(row)
        sizes = np.bincount(numbers)
        chosen, left = [], n_tokens
        for word in generator.permutation(len(sizes)):
            if sizes[word] <= left:
                chosen.append(word)
                left -= sizes[word]
        return np.flatnonzero(np.isin(numbers, chosen or [sizes.argmin()]))


def find_words(tokenizer: Any) -> Words:
    """Read from a tokenizer which tokens go on with a word.

    Word pieces with the mark of one (`##`) do. Elsewhere letters and digits do where letters or
    digits stand before them; a mark for a space (`Ġ`, `▁`) begins a word, and special tokens stand
    alone. Of byte-level tokenizers, bytes beyond ASCII count as letters.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    mark = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
    goes_on = _byte_goes_on() if _is_byte_level(tokenizer, vocabulary) else str.isalnum
    before = np.zeros(max(vocabulary.values()) + 1, np.uint8)
    after = np.zeros_like(before)
    for token, number in vocabulary.items():
        if token in special:
            continue
        if mark:
            before[number], after[number] = token.startswith(mark), 1
        else:
            before[number], after[number] = goes_on(token[0]), goes_on(token[-1])
    return Words(before.tobytes(), after.tobytes())


def _is_byte_level(tokenizer: Any, vocabulary: dict[str, int]) -> bool:
    """Return whether tokens are written in symbols of bytes, where `Ġ` is a space."""
    return "Ġ" in vocabulary and tokenizer.backend_tokenizer.decode([vocabulary["Ġ"]]) == " "


def _byte_goes_on() -> Callable[[str], bool]:
    """Return what says whether a byte's symbol is part of a word."""
    symbols = byte_symbols().items()
    return {symbol for symbol, byte in symbols if byte > 127 or chr(byte).isalnum()}.__contains__
