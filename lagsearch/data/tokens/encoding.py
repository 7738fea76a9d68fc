"""Text to numbers on all cores, and where text can be cut without changing them."""

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.text.documents import candidates
from lagsearch.data.tokens.tokenizers import is_bytes

_CONTEXT = 64
"""Characters on each side of a cut that are looked at."""


class Encoder:
    """Turns texts into rows of token numbers.

    Special tokens are neither added nor found: what looks like one in a text is text. Nothing is
    cut off or padded, whatever the tokenizer's own settings say. Bytes are taken as they are, which
    is what the byte tokenizer's own work would give, later.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Set a tokenizer up.

        Args:
            tokenizer: As `make_tokenizer` makes it.
        """
        self._is_bytes = is_bytes(tokenizer)
        self._backend = copy(tokenizer.backend_tokenizer)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self._normalizer = self._backend.normalizer
        self._words_of = self._backend.pre_tokenizer

    def __call__(self, texts: list[str]) -> list[NDArray[Any]]:
        """Return the numbers of each text: (N,)."""
        return [self.numbers(each) for each in self.encode(texts)]

    def encode(self, texts: list[str]) -> list[Any]:
        """Begin to turn texts into numbers, without holding up other threads of Python."""
        if self._is_bytes:
            return [text.encode() for text in texts]
        found: list[Any] = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return found

    def numbers(self, encoded: Any) -> NDArray[Any]:
        """Return the numbers of what was encoded: (N,)."""
        if self._is_bytes:
            return np.frombuffer(encoded, np.uint8)
        return np.fromiter(encoded.ids, np.uint32, len(encoded))

    def cut(self, text: str, begin: int) -> int:
        """Return where a piece may end so that its numbers are those it has in the whole text.

        The tokenizer itself is asked whether it separates words there, with and without the text
        on the other side. One that does not separate words at all (`pre_tokenizer: null`) is never
        cut: a document is then encoded as a whole, in memory.

        Args:
            text: The text.
            begin: Where the piece begins.

        Returns:
            A place in the text, or 0 where there is none.
        """
        if self._words_of is None:
            return 0
        return next((at for at in candidates(text, begin) if self._is_safe(text, at)), 0)

    def _is_safe(self, text: str, at: int) -> bool:
        if self._is_bytes:
            return True
        left, right = text[max(0, at - _CONTEXT) : at], text[at : at + _CONTEXT]
        if self._words(left + right) != self._words(left) + self._words(right):
            return False
        whole, *parts = self([left + right, left, right])
        return np.array_equal(whole, np.concatenate(parts))

    def _words(self, text: str) -> list[str]:
        if self._normalizer is not None:
            text = self._normalizer.normalize_str(text)
        return [word for word, _ in self._words_of.pre_tokenize_str(text)]
