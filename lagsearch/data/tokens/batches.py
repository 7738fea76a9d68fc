"""batch(step) as a pure function: which sequences a step sees depends on seed and step alone.

Shape letters: B sequences in a batch, T tokens in a sequence.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lagsearch.storage.files import derive_seed

Tokens = NDArray[np.integer]

BLOCK = 1000
"""Rows of a mixture in which every text has its exact share, by largest remainder."""


def training_rows(
    texts: Sequence[tuple[Tokens, float]],
    sequence_length: int,
    batch_size: int,
    seed: int,
    stream: str,
    behind: int = 0,
) -> "TrainingRows | MixedRows":
    """Return the rows of one text, or of several by their weights.

    Args:
        texts: Training tokens (N,) of each text and its weight.
        sequence_length: T.
        batch_size: B.
        seed: The root seed.
        stream: Separates the orders of different purposes, e.g. `growth`.
        behind: Rows that were seen before step 0: it goes on behind them.
    """
    if len(texts) == 1:
        return TrainingRows(texts[0][0], sequence_length, batch_size, seed, stream, behind)
    return MixedRows(texts, sequence_length, batch_size, seed, stream, behind)


class TrainingRows:
    """Sequences of a row of tokens in an order that is drawn anew for every pass over it.

    In each pass the text is cut into sequences of T + 1 tokens that overlap by one, beginning at
    an offset below T; every sequence of a pass is seen once before the next pass begins. So a pass
    leaves out fewer than 2 T tokens, some at the beginning and some at the end, and each pass
    others.

    Args:
        tokens: All training tokens: (N,), at least 2 T + 1 of them.
        sequence_length: T.
        batch_size: B.
        seed: The root seed.
        stream: Separates the orders of different purposes, e.g. `growth`.
        behind: Rows that were seen before step 0.
    """

    def __init__(
        self,
        tokens: Tokens,
        sequence_length: int,
        batch_size: int,
        seed: int,
        stream: str,
        behind: int = 0,
    ) -> None:
        self._tokens = tokens
        self._length = sequence_length
        self._batch_size = batch_size
        self._behind = behind
        self._passes = _Passes(len(tokens), sequence_length, seed, (stream,))

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Return the sequences of a step: (B, T + 1)."""
        first = self._behind + step * self._batch_size
        starts = [self._passes.start(first + row) for row in range(self._batch_size)]
        return _cut(self._tokens, np.array(starts), self._length)


class MixedRows:
    """Sequences of several rows of tokens, each with its share.

    In every block of `BLOCK` rows each text has the number of rows that its weight comes to, by
    largest remainder, spread over the block in an order drawn for the block. Within a text the
    sequences are those of `TrainingRows`, in passes of its own.

    Args:
        texts: Training tokens (N,) of each text and its weight.
        sequence_length: T.
        batch_size: B.
        seed: The root seed.
        stream: Separates the orders of different purposes, e.g. `growth`.
        behind: Rows that were seen before step 0.
    """

    def __init__(
        self,
        texts: Sequence[tuple[Tokens, float]],
        sequence_length: int,
        batch_size: int,
        seed: int,
        stream: str,
        behind: int = 0,
    ) -> None:
        self._tokens = [tokens for tokens, _ in texts]
        self._length = sequence_length
        self._batch_size = batch_size
        self._behind = behind
        self._seed, self._stream = seed, stream
        self._counts = shares([weight for _, weight in texts], BLOCK)
        self._passes = [
            _Passes(len(tokens), sequence_length, seed, (stream, text))
            for text, tokens in enumerate(self._tokens)
        ]
        self._number = -1

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Return the sequences of a step: (B, T + 1)."""
        first = self._behind + step * self._batch_size
        rows = []
        for number in range(first, first + self._batch_size):
            text, start = self._place(number)
            rows.append(self._tokens[text][start : start + self._length + 1].astype(np.int64))
        return np.stack(rows)

    def _place(self, number: int) -> tuple[int, int]:
        """Return the text of a row with a running number, and where in it the row begins."""
        block, place = divmod(number, BLOCK)
        if block != self._number:
            self._draw(block)
        text = int(self._text[place])
        before = block * int(self._counts[text]) + int(self._before[place])
        return text, self._passes[text].start(before)

    def _draw(self, block: int) -> None:
        """Draw the order of a block: the text of each row, and its earlier rows in the block."""
        generator = np.random.default_rng(derive_seed(self._seed, "mixture", self._stream, block))
        # one row of a text in each of its equal stretches of the block: batches are alike, too
        at = [(np.arange(count) + generator.random(count)) / count for count in self._counts]
        order = np.argsort(np.concatenate(at), kind="stable")
        self._text = np.repeat(np.arange(len(self._counts)), self._counts)[order]
        self._before = np.concatenate([np.arange(count) for count in self._counts])[order]
        self._number = block


class _Passes:
    """Where the sequences of one text begin, by running number.

    Args:
        n_tokens: Tokens of the text.
        length: T.
        seed: The root seed.
        purpose: Separates the orders.
    """

    def __init__(self, n_tokens: int, length: int, seed: int, purpose: tuple[str | int, ...]):
        self._length, self._seed, self._purpose = length, seed, purpose
        self._per_pass = max(1, (n_tokens - 1) // length - 1)
        self._pass = -1
        self._starts = np.empty(0, np.int64)

    def start(self, number: int) -> int:
        """Return where the sequence with a running number begins."""
        which, place = divmod(number, self._per_pass)
        if which != self._pass:
            seed = derive_seed(self._seed, "batches", *self._purpose, which)
            generator = np.random.default_rng(seed)
            offset = int(generator.integers(self._length))
            self._starts = generator.permutation(self._per_pass) * self._length + offset
            self._pass = which
        return int(self._starts[place])


def shares(weights: Sequence[float], rows: int) -> NDArray[np.int64]:
    """Divide rows among texts by their weights, by largest remainder."""
    exact = np.array(weights) / sum(weights) * rows
    counts = np.floor(exact).astype(np.int64)
    left = rows - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return counts


def part_of(tokens: Tokens, number: int, parts: int) -> Tokens:
    """Return one of the equal parts that a row of tokens is cut into, counted from 1: (N / parts,).

    Parts are disjoint and make up the whole.
    """
    return tokens[len(tokens) * (number - 1) // parts : len(tokens) * number // parts]


def validation_rows(
    texts: Sequence[tuple[Tokens, float]], sequence_length: int, batch_size: int, batches: int
) -> list[NDArray[np.int64]]:
    """Return the fixed validation batches, each (B, T + 1), spread evenly over several texts.

    Each text has its share of all rows, by largest remainder, and of the rows of each batch, to
    within one row.

    Args:
        texts: Validation tokens of each text, (N,), and its weight; of a text with n rows, at
            least n T + 1 tokens.
        sequence_length: T.
        batch_size: B.
        batches: Their number.
    """
    counts = shares([weight for _, weight in texts], batches * batch_size)
    rows = np.concatenate(
        [
            _cut(tokens, _spread(len(tokens), int(n_rows), sequence_length), sequence_length)
            for (tokens, _), n_rows in zip(texts, counts, strict=True)
        ]
    )
    # neighbours go to different batches, so that each batch is a sample of the whole text
    return [rows[first::batches].copy() for first in range(batches)]


def _spread(n_tokens: int, n_rows: int, length: int) -> NDArray[np.int64]:
    """Return where rows begin that are spread evenly over a text."""
    available = (n_tokens - 1) // length
    starts: NDArray[np.int64] = np.arange(n_rows) * available // max(1, n_rows) * length
    return starts


def _cut(tokens: Tokens, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return rows
