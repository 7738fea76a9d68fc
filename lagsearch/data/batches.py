"""batch(step) as a pure function: which sequences a step sees depends on seed and step alone.

Shape letters: B sequences in a batch, T tokens in a sequence.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lagsearch.storage import derive_seed


class TrainingRows:
    """Sequences of a row of tokens in an order that is drawn anew for every pass over it.

    In each pass the text is cut into sequences of T + 1 tokens that overlap by one, beginning at
    an offset below T; every sequence of a pass is seen once before the next pass begins.

    Args:
        tokens: All training tokens: (N,), at least 2 T + 1 of them.
        sequence_length: T.
        batch_size: B.
        seed: The root seed.
        stream: Separates the orders of different purposes, e.g. `growth`.
    """

    def __init__(
        self,
        tokens: NDArray[np.integer],
        sequence_length: int,
        batch_size: int,
        seed: int,
        stream: str,
    ) -> None:
        self._tokens = tokens
        self._length = sequence_length
        self._batch_size = batch_size
        self._seed = seed
        self._stream = stream
        self._per_pass = max(1, (len(tokens) - 1) // sequence_length - 1)
        self._pass = -1
        self._starts = np.empty(0, np.int64)

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Return the sequences of a step: (B, T + 1)."""
        first = step * self._batch_size
        starts = [self._start(first + row) for row in range(self._batch_size)]
        return _cut(self._tokens, np.array(starts), self._length)

    def _start(self, number: int) -> int:
        """Return where the sequence with a running number begins."""
        which, place = divmod(number, self._per_pass)
        if which != self._pass:
            seed = derive_seed(self._seed, "batches", self._stream, which)
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


def part_of(tokens: NDArray[np.integer], number: int, parts: int) -> NDArray[np.integer]:
    """Return one of the equal parts that a row of tokens is cut into, counted from 1: (N / parts,).

    Parts are disjoint and make up the whole.
    """
    return tokens[len(tokens) * (number - 1) // parts : len(tokens) * number // parts]


def validation_rows(
    tokens: NDArray[np.integer], sequence_length: int, batch_size: int, batches: int
) -> list[NDArray[np.int64]]:
    """Return the fixed validation batches, each (B, T + 1), spread evenly over the text.

    Args:
        tokens: Validation tokens: (N,), at least batches * B * T + 1 of them.
        sequence_length: T.
        batch_size: B.
        batches: Their number.
    """
    rows = batches * batch_size
    available = (len(tokens) - 1) // sequence_length
    starts = np.arange(rows) * available // rows * sequence_length
    # neighbours go to different batches, so that each batch is a sample of the whole text
    by_batch = starts.reshape(batch_size, batches).T
    return [_cut(tokens, each, sequence_length) for each in by_batch]


def _cut(tokens: NDArray[np.integer], starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return rows
