"""UL2 for decoder-only models: next tokens, prefixes, and spans taken out, in one mixture.

Shape letters: B sequences in a batch, T tokens in a sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.objectives.base import IGNORED, Example
from lagsearch.data.objectives.registry import Broken, objective
from lagsearch.data.tokens.batches import shares
from lagsearch.errors import DataError
from lagsearch.space import Objective, Space, evaluated_rows

MODES = {"causal": "[NLG]", "prefix": "[S2S]", "span": "[NLU]"}
"""Token that every sequence of a part begins with; the names are those of UL2's checkpoints."""

_Made = tuple[NDArray[np.int64] | list[int], int]
"""A text, and how many of its tokens are given."""


@dataclass(frozen=True)
class Ul2:
    """Each sequence is of one part, which its first token names; loss on what is predicted only.

    `causal`: all tokens. `prefix`: those behind a prefix whose length is drawn evenly; attention
    stays causal. `span`: a text with spans taken out and sentinels in their places, then each
    sentinel with what was there, and a last sentinel; the loss is on this second half. Sentinels
    take room, so a sequence of T holds a text of n tokens with n + 2 spans + 1 <= T: what is
    behind them in that row is not shown in that pass. What is left at the end is padding.

    Attributes:
        parts: Name and weight of each part; the weights' sum is 1.
        modes: The mode token of each part.
        sentinels: As many as a sequence may need.
        pad: The padding token.
        fraction: Share of the text that is taken out.
        mean_span: Mean length of the spans, in tokens.

    Source:
        Tay et al. 2022, arXiv:2205.05131, section 3.1; the mixture as in LAG, section A.2.
        Spans as in T5 (Raffel et al. 2020): their number is fixed, their lengths are random.
    """

    parts: tuple[tuple[str, float], ...]
    modes: tuple[int, ...]
    sentinels: tuple[int, ...]
    pad: int
    fraction: float
    mean_span: float
    kind: str = "causal"

    def parts_of(self, n_rows: int, seed: int, *, exact: bool) -> NDArray[np.int64]:
        """Return the part of each row; see `Predicts`."""
        generator = np.random.default_rng([seed, 0])
        weights = [weight for _, weight in self.parts]
        if exact:
            counts = shares(weights, n_rows)
            return generator.permutation(np.repeat(np.arange(len(counts)), counts))
        edges = np.cumsum(weights)[:-1]
        return np.searchsorted(edges, generator.random(n_rows), side="right")

    def example(self, rows: NDArray[np.int64], seed: int, *, exact: bool = False) -> Example:
        """Return inputs and labels; see `Predicts`."""
        length = rows.shape[1] - 1
        inputs = np.full((len(rows), length), self.pad)
        labels = np.full_like(inputs, IGNORED)
        made = {"causal": self._causal, "prefix": self._prefix, "span": self._span}
        for number, part in enumerate(self.parts_of(len(rows), seed, exact=exact)):
            text, n_given = made[self.parts[part][0]](rows[number], [seed, 1, number])
            size = len(text)
            inputs[number, 0] = self.modes[part]
            inputs[number, 1:size] = text[:-1]
            labels[number, n_given:size] = text[n_given:]
        return inputs, labels

    def _causal(self, row: NDArray[np.int64], seed: list[int]) -> _Made:
        """Return a text and how many of its tokens are given: none."""
        return row[:-1], 0

    def _prefix(self, row: NDArray[np.int64], seed: list[int]) -> _Made:
        text = row[:-1]
        return text, int(np.random.default_rng(seed).integers(1, len(text)))

    def _span(self, row: NDArray[np.int64], seed: list[int]) -> _Made:
        generator = np.random.default_rng(seed)
        size, n_out, n_spans = span_sizes(len(row) - 1, self.fraction, self.mean_span)
        out = _split(n_out, n_spans, generator)
        kept = _split(size - n_out, n_spans, generator)
        tokens: list[int] = row.tolist()
        given: list[int] = []
        asked: list[int] = []
        place = 0
        for sentinel, left, taken in zip(self.sentinels, kept, out, strict=False):
            given += [*tokens[place : place + left], sentinel]
            asked += [sentinel, *tokens[place + left : place + left + taken]]
            place += left + taken
        return [*given, *asked, self.sentinels[n_spans]], size - n_out + n_spans


@lru_cache
def span_sizes(length: int, fraction: float, mean_span: float) -> tuple[int, int, int]:
    """Return how much text a sequence holds when spans are taken out of it.

    Args:
        length: T, the tokens of the sequence.
        fraction: Share of the text that is taken out.
        mean_span: Mean length of the spans.

    Returns:
        Tokens of the text, how many of them are taken out, and in how many spans.
    """
    for size in range(length - 2, 1, -1):
        n_out = min(size - 1, max(1, round(size * fraction)))
        n_spans = min(size - n_out, n_out, max(1, round(n_out / mean_span)))
        if size + 2 * n_spans + 1 <= length:
            return size, n_out, n_spans
    raise ValueError(length)


def _split(total: int, n_parts: int, generator: np.random.Generator) -> list[int]:
    """Cut a number into positive parts, all ways being equally likely."""
    drawn: list[int] = generator.choice(total - 1, n_parts - 1, replace=False).tolist()
    cuts = [0, *(each + 1 for each in sorted(drawn)), total]
    return [end - begin for begin, end in pairwise(cuts)]


def sentinel(number: int) -> str:
    """Return the name of a sentinel, counted from 0, as T5 has it."""
    return f"<extra_id_{number}>"


def tokens_of_ul2(objective: Objective, sequence_length: int) -> list[str]:
    """Return the mode tokens and sentinels that sequences of this length may need."""
    _, _, n_spans = span_sizes(sequence_length, objective.mask_fraction, objective.mean_span)
    return [*MODES.values(), *(sentinel(number) for number in range(n_spans + 1))]


_SHORTEST = 5  # two tokens of text, one of them a span, and its two sentinels and the last one


def sizes_too_small(space: Space) -> Iterator[Broken]:
    """Yield sizes too small: a sequence holds a text with a span, a batch a row of each part."""
    if space.data.sequence_length < _SHORTEST:
        at = ("data", "sequence_length")
        yield at, f"is too short: ul2 needs {_SHORTEST} tokens at least"
    trained, measured = space.training.batch_size, evaluated_rows(space, space.training.batch_size)
    batches: list[tuple[tuple[str | int, ...], int | None]] = [
        (("training", "batch_size"), trained)
    ]
    batches += [
        (("sources", index, "pretrain", "batch_size"), source.pretrain.batch_size)
        for index, source in enumerate(space.sources)
        if source.pretrain is not None
    ]
    if measured != trained:
        is_as_asked = measured == space.evaluation.batch_size
        batches.append((("evaluation", "batch_size" if is_as_asked else "tokens"), measured))
    for place, rows in batches:
        lacking = _parts_without_rows(space.objective, rows) if rows is not None else []
        if lacking:
            message = f"is too small: no validation sequence would be of ul2's {lacking[0]}"
            yield place, message


def _parts_without_rows(objective: Objective, rows: int) -> list[str]:
    """Return the parts that the largest remainder gives none of a batch's rows."""
    weights = objective.weights.model_dump()
    parts = [weight / sum(weights.values()) for weight in weights.values()]
    exact = {part: share / sum(parts) * rows for part, share in zip(weights, parts, strict=True)}
    left = rows - sum(map(floor, exact.values()))
    order = sorted(exact, key=lambda part: floor(exact[part]) - exact[part])
    return [part for part in order[left:] if exact[part] < 1]


@objective(
    "ul2",
    kind="causal",
    words="next tokens, what follows a prefix, and spans taken out, in one mixture",
    uses=("mask_fraction", "mean_span", "weights"),
    tokens=tokens_of_ul2,
    check=sizes_too_small,
)
def make_ul2(objective: Objective, tokenizer: Any, n_vocabulary: int, sequence_length: int) -> Ul2:
    """Return the objective of a tokenizer that has its tokens.

    Raises:
        DataError: It has no padding token.
    """
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        raise DataError("ul2 needs a tokenizer with a padding token", ("objective", "name"))
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    weights = objective.weights.model_dump()
    total = sum(weights.values())
    _, _, n_spans = span_sizes(sequence_length, objective.mask_fraction, objective.mean_span)
    number = tokenizer.convert_tokens_to_ids
    return Ul2(
        parts=tuple((part, weight / total) for part, weight in weights.items()),
        modes=tuple(number(MODES[part]) for part in weights),
        sentinels=tuple(number(sentinel(each)) for each in range(n_spans + 1)),
        pad=pad,
        fraction=objective.mask_fraction,
        mean_span=objective.mean_span,
    )
