"""Texts to files of tokens: in pieces, on all cores, and going on where it was killed.

Reading, encoding and writing each have a thread of their own; the library that encodes uses all
cores. What is in memory does not depend on the size of the text.
"""

import base64
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.text.corpora import Documents
from lagsearch.data.text.documents import (
    END,
    PIECE,
    Piece,
)
from lagsearch.data.text.files import FileUnit
from lagsearch.data.tokens.boundaries import Boundaries
from lagsearch.data.tokens.encoding import Encoder
from lagsearch.errors import DataError, counted
from lagsearch.storage.files import naming, replacing, write_json

STRETCH = 8192
"""Tokens in a stretch: what validation takes from a corpus is whole stretches, evenly spread."""

_FEW = 4
"""Stretches that validation takes from a text too short for one of the usual length."""

_LARGEST_SHARE = 0.25
"""Of a text too short for a stretch of the usual length, so much is enough to hold out."""

_PORTION = 16 * PIECE * max(2, os.cpu_count() or 1)
"""Characters that are encoded at a time."""

_SAVE_EVERY_S = 2.0
_SHOW_EVERY_S = 0.5
_NAMES = ("train.bin", "validation.bin")
_FORMAT = 2

Say = Callable[[str], None]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Task:
    """A text, and where its tokens go.

    Attributes:
        documents: The text.
        held_out: Share that goes to validation, in whole stretches evenly spread.
    """

    documents: Documents
    held_out: float


@dataclass(frozen=True)
class WriteOptions:
    """How tokens are written.

    Attributes:
        encoder: Turns text into numbers.
        boundaries: What is written around each document.
        dtype: How a number is stored.
        tell: Is told in a line what begins and ends.
        show: Is told in a line how far it is, again and again; in the end an empty one.
    """

    encoder: Encoder
    boundaries: Boundaries
    dtype: np.dtype[Any]
    tell: Say = lambda line: None
    show: Say = lambda line: None


@dataclass
class _State:
    """How far the writing of a text is; all that is needed to go on.

    Attributes:
        unit: Number of the unit in it.
        after: Where in the unit reading goes on.
        documents: Documents of the text that are read.
        tokens: Tokens of the text that are read, without separators.
        stretches: Stretches of the text that are written.
        rest: Tokens that do not fill a stretch yet, in base64.
        sizes: Bytes in each of the files.
        is_inside: Whether a document has begun that has not ended.
        format: Of this record.
    """

    unit: int = 0
    after: int = 0
    documents: int = 0
    tokens: int = 0
    stretches: int = 0
    rest: str = ""
    sizes: list[int] = field(default_factory=lambda: [0, 0])
    is_inside: bool = False
    format: int = _FORMAT


def write_tokens(folder: Path, task: Task, how: WriteOptions) -> list[int]:
    """Write the tokens of a text, or go on where an earlier process was killed.

    Args:
        folder: Gets `train.bin` and `validation.bin`, and `progress.json`, which `forget` removes
            when it is no longer needed. This process alone has it.
        task: The text.
        how: How.

    Returns:
        The tokens in `train.bin` and in `validation.bin`.

    Raises:
        DataError: The text cannot be read, or holds nothing.
        OSError: The tokens cannot be written: the disk is full, say.
    """
    state = _begin(folder)
    try:
        with naming(folder), ExitStack() as stack:
            files = [stack.enter_context((folder / name).open("r+b")) for name in _NAMES]
            for file, size in zip(files, state.sizes, strict=True):
                file.truncate(size)
                file.seek(size)
            _Writing(folder, task, how, state, files).run()
        if 0 < task.held_out < 1 and not state.sizes[1]:
            state.sizes = _hold_out_little(folder, task.held_out, how.dtype)
    except DataError:
        if all(isinstance(unit, FileUnit) for unit in task.documents.units):  # mended: another text
            forget(folder, *_NAMES)
        raise
    finally:
        how.show("")
    return [size // how.dtype.itemsize for size in state.sizes]


def held_out_tokens(n_tokens: int, share: float) -> int:
    """Return how many tokens of a text are held out: whole stretches, or some of a short text.

    Args:
        n_tokens: Tokens of the text.
        share: What is asked for, above 0 and below 1.
    """
    whole = int(n_tokens // STRETCH * share)
    return whole * STRETCH if whole else _FEW * short_stretch(n_tokens, share)


def short_stretch(n_tokens: int, share: float) -> int:
    """Return the tokens of each of the four stretches that are held out of a short text.

    Together they are the share that is asked for, but as many tokens as a stretch of the usual
    length has, or a quarter of the text, where that is less.

    Args:
        n_tokens: Tokens of the text.
        share: What is to be held out.

    Returns:
        0 where a stretch of the usual length can be held out, or nothing at all.
    """
    if not 0 < share < 1 or int(n_tokens // STRETCH * share) >= 1:
        return 0
    return int(max(n_tokens * share, min(STRETCH, n_tokens * _LARGEST_SHARE))) // _FEW


def _hold_out_little(folder: Path, share: float, dtype: np.dtype[Any]) -> list[int]:
    """Hold short stretches out of a text, each at the end of a quarter of it.

    Returns:
        The bytes in `train.bin` and in `validation.bin`.
    """
    n_tokens = (folder / _NAMES[0]).stat().st_size // dtype.itemsize
    length = short_stretch(n_tokens, share)
    if not length:
        return [n_tokens * dtype.itemsize, 0]
    tokens = np.memmap(folder / _NAMES[0], dtype=dtype, mode="r")
    ends = [n_tokens * number // _FEW for number in range(_FEW + 1)]
    with replacing(folder / _NAMES[0]) as train, replacing(folder / _NAMES[1]) as validation:
        with train.open("wb") as kept, validation.open("wb") as held_out:
            for begin, end in itertools.pairwise(ends):
                tokens[begin : end - length].tofile(kept)
                tokens[end - length : end].tofile(held_out)
        forget(folder)  # what is on the disk from here on is no beginning to go on from
    sizes = np.array([n_tokens - _FEW * length, _FEW * length]) * dtype.itemsize
    return [int(size) for size in sizes]


def forget(folder: Path, *names: str) -> None:
    """Remove the record of how far the writing was, and files with it."""
    for name in ("progress.json", *names):
        (folder / name).unlink(missing_ok=True)


def _begin(folder: Path) -> _State:
    """Return how far an earlier process was; make the files where there was none."""
    paths = [folder / name for name in _NAMES]
    try:
        state = _State(**json.loads((folder / "progress.json").read_text()))
        there = [path.stat().st_size for path in paths]
        if state.format == _FORMAT and all(map(int.__ge__, there, state.sizes)):
            return state
    except (OSError, ValueError, TypeError):  # none, or not one of ours: all is written anew
        pass
    for path in paths:
        path.write_bytes(b"")
    return _State()


@dataclass(frozen=True)
class _Portion:
    """What is encoded at a time.

    Attributes:
        pieces: Parts of documents.
        unit: Number of the unit that reading goes on in.
        after: Where in it, or None where it cannot.
        share: How much of the text is read, where that is known.
        size: Bytes of the text, or 0 where they are not known.
        encoded: What `Encoder.encode` gave.
    """

    pieces: list[Piece]
    unit: int
    after: int | None
    share: float | None
    size: int
    encoded: list[Any] = field(default_factory=list)


class _Writing:
    """The writing of one text."""

    def __init__(
        self, folder: Path, task: Task, how: WriteOptions, state: _State, files: Sequence[BinaryIO]
    ) -> None:
        self.folder, self.task, self.how, self.state, self.files = folder, task, how, state, files
        self.beginning = np.array(how.boundaries.before, how.dtype)
        self.ending = np.array(how.boundaries.after, how.dtype)
        self.rest = np.frombuffer(base64.b64decode(state.rest), how.dtype)
        self.began, self.tokens_then = time.monotonic(), state.tokens
        self.saved_at = self.shown_at = self.began

    def run(self) -> None:
        """Write what is left of the text, and note in the state how far that is."""
        name, state = self.task.documents.name, self.state
        gone_on = f", going on behind {state.tokens:,} tokens" if state.tokens else ""
        self.how.tell(f"tokenizing {name}{gone_on}")
        try:
            portions = _portions(self.task.documents, state.unit, state.after, self.how.encoder)
            encoded = (self._encoded(portion) for portion in _ahead(portions))
            for portion in _ahead(encoded):
                self._take(portion)
            if not state.tokens:
                raise DataError(f"{name}: no text at all")
        except DataError as error:
            raise DataError(str(error), self.task.documents.at) from None
        self._write(self.rest, is_held_out=self.task.held_out == 1)
        for file in self.files:
            file.flush()
            os.fsync(file.fileno())
        counts = f"{counted(state.documents, 'document')}, {state.tokens:,} tokens"
        self.how.tell(f"tokenized {name}: {counts}, {time.monotonic() - self.began:,.0f} s")

    def save(self, state: _State) -> None:
        """Write down how far the files are, after they are on the disk."""
        for file in self.files:
            file.flush()
            os.fsync(file.fileno())
        write_json(self.folder / "progress.json", asdict(state))
        self.saved_at = time.monotonic()

    def _encoded(self, portion: _Portion) -> _Portion:
        encoded = self.how.encoder.encode([piece.text for piece in portion.pieces])
        return replace(portion, encoded=encoded)

    def _take(self, portion: _Portion) -> None:
        """Write a portion."""
        self._send(np.concatenate([self.rest, *self._tokens(portion)]))
        if portion.after is not None:
            self.state.unit, self.state.after = portion.unit, portion.after
            if time.monotonic() - self.saved_at >= _SAVE_EVERY_S:
                self.state.rest = base64.b64encode(self.rest.tobytes()).decode()
                self.save(self.state)
        if time.monotonic() - self.shown_at >= _SHOW_EVERY_S:
            self.how.show(self._pace(portion))
            self.shown_at = time.monotonic()

    def _tokens(self, portion: _Portion) -> list[NDArray[Any]]:
        """Return the tokens of a portion, with what stands around every document."""
        found = []
        for piece, encoded in zip(portion.pieces, portion.encoded, strict=True):
            tokens = self.how.encoder.numbers(encoded).astype(self.how.dtype)
            self.state.tokens += len(tokens)
            self.state.documents += piece.ends
            found += [tokens] if self.state.is_inside else [self.beginning, tokens]
            found += [self.ending] if piece.ends else []
            self.state.is_inside = not piece.ends
        return found

    def _send(self, tokens: NDArray[Any]) -> None:
        """Write whole stretches, each to where it belongs, and keep what is left."""
        share, first = self.task.held_out, 0
        while len(tokens) - first >= STRETCH:
            number = self.state.stretches
            is_held_out = int((number + 1) * share) > int(number * share)
            self._write(tokens[first : first + STRETCH], is_held_out=is_held_out)
            self.state.stretches += 1
            first += STRETCH
        self.rest = tokens[first:]

    def _write(self, tokens: NDArray[Any], *, is_held_out: bool) -> None:
        self.files[is_held_out].write(tokens.tobytes())
        self.state.sizes[is_held_out] += tokens.nbytes

    def _pace(self, portion: _Portion) -> str:
        """Return how far it is, in words."""
        pace = (self.state.tokens - self.tokens_then) / (time.monotonic() - self.began)
        parts = [f"tokenizing {self.task.documents.name}: {self.state.tokens:,} tokens"]
        if portion.share is not None:
            size = f" of {portion.size / 1e6:,.1f} MB" if portion.size else ""
            parts.append(f"{portion.share:.0%}{size}")
        return ", ".join([*parts, f"{pace:,.0f} tokens/s"])


def _portions(documents: Documents, unit: int, after: int, encoder: Encoder) -> Iterator[_Portion]:
    """Read documents from a place on, in lists of about `_PORTION` characters.

    They end where reading can go on, if there is such a place in their second half.
    """
    sizes = [each.size for each in documents.units]
    pieces: list[Piece] = []
    n_characters = 0
    for number in range(unit, len(sizes)):
        for piece in documents.units[number].pieces(after, encoder.cut):
            pieces.append(piece)
            n_characters += len(piece.text)
            if n_characters >= (_PORTION if piece.after is None else _PORTION // 2):
                yield _portion(pieces, number, sizes)
                pieces, n_characters = [], 0
        after = 0
    if pieces:
        yield _portion(pieces, len(sizes) - 1, sizes)


def _portion(pieces: list[Piece], unit: int, sizes: list[int]) -> _Portion:
    """Return a portion that ends in a unit."""
    last = pieces[-1]
    share, size = last.done, sum(sizes)
    if share is not None and size:
        share = (sum(sizes[:unit]) + share * sizes[unit]) / size
    unit, after = (unit + 1, 0) if last.after == END else (unit, last.after)
    return _Portion(pieces, unit, after, share, size)


def _ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Yield items, the next one being made in a thread of its own meanwhile."""
    pool = ThreadPoolExecutor(1)
    try:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
