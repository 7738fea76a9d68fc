"""Documents in pieces: what readers of text give, so that none has to fit into memory."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

PIECE = 1 << 16
"""Characters of a piece, where a document can be cut."""

Cut = Callable[[str, int], int]
"""Takes a text and the number of a character in it, at which a piece begins. Returns where the
piece may end, before the text's own end, or 0 where it can be cut nowhere."""

END = -1
"""Where reading goes on after the last piece of a unit: nowhere."""

_TRIES = 10
_BETWEEN = re.compile(r"(?<=\S\n)(?=\S)|(?<=\w)(?=\s)")


@dataclass(frozen=True)
class Piece:
    """A document, or a part of one.

    Attributes:
        text: Its characters.
        ends: Whether the document ends with it.
        after: Where in its unit reading can go on after it, `END` where nothing is left; None
            inside of a record.
        done: Share of the unit that has been read, where it is known.
    """

    text: str
    ends: bool
    after: int | None
    done: float | None


class Unit(Protocol):
    """A file or a dataset: what documents are read from."""

    @property
    def name(self) -> str:
        """In words."""
        ...

    @property
    def size(self) -> int:
        """Bytes, or 0 where they are not known."""
        ...

    def digest(self) -> str:
        """Return a hash of what would be read."""
        ...

    def content(self) -> str:
        """Return a hash of the text, however it is divided into documents."""
        return self.digest()

    def ready(self) -> None:
        """Fetch what reading needs, where it is fetched late.

        Raises:
            DataError: It cannot be had.
        """
        return

    def pieces(self, after: int, cut: Cut) -> Iterator[Piece]:
        """Read the documents in their order.

        Args:
            after: Where to begin: 0, or what an earlier piece says.
            cut: Where long documents may be cut.

        Raises:
            DataError: What is there is not text.
        """
        ...


def candidates(text: str, begin: int) -> Iterator[int]:
    """Yield places at which a text can be cut in most languages, the best first.

    They lie after a new line between two characters that are no space, or before a space that
    follows a letter or digit; such a place ends a word for every usual tokenizer.

    Args:
        text: The text.
        begin: Where the piece begins that is to be `PIECE` characters long, or a little less.
    """
    half, end = begin + PIECE // 2, min(begin + PIECE, len(text) - 1)
    yield from _back(text, "\n", half, end, _is_between_lines)
    yield from _back(text, " ", half, end, _is_after_a_word)
    for number, found in enumerate(_BETWEEN.finditer(text, end)):
        if number == _TRIES or found.start() >= len(text):
            return
        yield found.start()


def cut_anywhere(text: str, begin: int) -> int:
    """Cut between any two words."""
    return next(candidates(text, begin), 0)


def in_pieces(text: str, cut: Cut) -> Iterator[str]:
    """Cut a text into pieces; one at least."""
    begin = 0
    while len(text) - begin > 2 * PIECE and (end := cut(text, begin)):
        yield text[begin:end]
        begin = end
    yield text[begin:] if begin else text


def _back(
    text: str, mark: str, first: int, last: int, is_good: Callable[[str, int], int]
) -> Iterator[int]:
    """Yield the last few good places at a mark."""
    for _ in range(_TRIES):
        last = text.rfind(mark, first, last)
        if last < 0:
            return
        if place := is_good(text, last):
            yield place


def _is_between_lines(text: str, at: int) -> int:
    is_good = not text[at - 1].isspace() and not text[at + 1].isspace()
    return at + 1 if is_good else 0


def _is_after_a_word(text: str, at: int) -> int:
    return at if text[at - 1].isalnum() else 0
