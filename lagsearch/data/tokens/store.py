"""The token store: a corpus as one row of numbers on disk, memory-mapped by all who read it."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.objectives.base import Predicts
from lagsearch.data.text.corpora import (
    CorpusText,
    Documents,
    Opener,
    Place,
    own_parts,
    parts_of,
    training_parts,
)
from lagsearch.data.text.overlaps import (
    apart,
    check_apart,
    check_held_out_alike,
)
from lagsearch.data.tokens.batches import BLOCK, shares
from lagsearch.data.tokens.boundaries import Boundaries, boundaries_of
from lagsearch.data.tokens.encoding import Encoder
from lagsearch.data.tokens.tokenizers import vocabulary_size
from lagsearch.data.tokens.writing import (
    Say,
    Task,
    WriteOptions,
    forget,
    short_stretch,
    write_tokens,
)
from lagsearch.errors import DataError
from lagsearch.space import Data, Source
from lagsearch.storage.cache import CacheEntry, provide
from lagsearch.storage.files import (
    alone,
    cache_root,
    digest,
    write_json,
)


@dataclass(frozen=True)
class TokenStore:
    """Training and validation tokens in a folder of the cache.

    Attributes:
        folder: Holds `train.bin`, `validation.bin`, `tokenizer/`, `store.json` and a seal.
    """

    folder: Path

    @property
    def entry(self) -> CacheEntry:
        """The same as an entry of the cache."""
        return CacheEntry(self.folder)

    @property
    def facts(self) -> dict[str, Any]:
        """What `store.json` says: counts, vocabulary, corpus names and hashes."""
        facts: dict[str, Any] = json.loads((self.folder / "store.json").read_text())
        return facts

    def tokens(self, part: str) -> NDArray[Any]:
        """Map the tokens of `train` or `validation` into memory, read-only: (N,)."""
        dtype = np.dtype(self.facts["dtype"])
        return np.memmap(self.folder / f"{part}.bin", dtype=dtype, mode="r")

    def tokenizer(self) -> Any:
        """Load the tokenizer that made the tokens."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder / "tokenizer", trust_remote_code=False)


@dataclass(frozen=True)
class Share:
    """A text's token store, and how much of a whole comes from it.

    Attributes:
        folder: The store's folder.
        weight: Relative to the weights of the others.
        at: The text's key in the space file.
        name: The text in words, as the space names it.
    """

    folder: Path
    weight: float = 1.0
    at: Place = ("data", "train")
    name: str = ""

    @property
    def store(self) -> TokenStore:
        """The store."""
        return TokenStore(self.folder)


@dataclass(frozen=True)
class Stores:
    """The token stores that a model is trained and measured on.

    Attributes:
        train: What is trained on.
        validation: What losses are measured on.
        own: What a source is trained on, by its name, where it has text of its own.
    """

    train: tuple[Share, ...]
    validation: tuple[Share, ...]
    own: Mapping[str, tuple[Share, ...]] = field(default_factory=dict)

    def of(self, source: str) -> "Stores":
        """Return the stores that a source is trained and measured on."""
        return Stores(self.own.get(source, self.train), self.validation)

    @property
    def identity(self) -> Any:
        """What tells them from other ones, as plain values: for one text, its store's name."""
        if len(self.train) == 1 and [self.train[0].folder] == [x.folder for x in self.validation]:
            return self.train[0].folder.name
        return {
            part: [[share.folder.name, share.weight] for share in texts]
            for part, texts in (("train", self.train), ("validation", self.validation))
        }


def open_stores(
    data: Data,
    tokenizer: Any,
    tell: Say = lambda line: None,
    show: Say = lambda line: None,
    *,
    sources: Sequence[Source] = (),
    opener: Opener | None = None,
) -> Stores:
    """Return the token stores of a space's text, making those that the cache lacks.

    Each text has a store of its own, the one that it would have alone, and texts that overlap are
    divided into what they share and what they do not. Of what losses are measured on, and of that
    alone, a fraction is held out. Where there is no training text but the sources' own, all of
    these are trained on in proportion to their tokens.

    Args:
        data: What the space says.
        tokenizer: As `make_tokenizer` makes it.
        tell: Is told in a line when there is something to wait for.
        show: Is told how far it is, in a line in place of the one before; an empty one ends it.
        sources: The space's sources.
        opener: Has perhaps opened some of the texts.

    Raises:
        DataError: A corpus or tokenizer is missing or does not fit.
    """
    opener = opener or Opener(tell)
    fraction = data.validation.fraction
    train = parts_of(data.train, ("data", "train")) if data.train else ()
    own = own_parts(sources)
    parts = training_parts(data.train, sources)
    validation = parts_of(data.validation, ("data", "validation"))
    texts = [opener.open(part) for part in parts]
    measured = [opener.open(part) for part in validation]
    check_apart(texts, measured)
    pieces = {part.at: found for part, found in zip(parts, apart(texts), strict=True)}
    held_out: set[str] = set()
    if fraction is not None:
        common = train or parts
        check_held_out_alike(texts[: len(common)], texts)
        held_out.update(text.digest for part in common for text in pieces[part.at])
    tasks = {
        text.digest: Task(text, fraction if fraction and text.digest in held_out else 0.0)
        for found in pieces.values()
        for text in found
    }
    make = _StoreMaker(tokenizer, boundaries_of(tokenizer, data.separators), tell, show)
    make.all([*tasks.values(), *(Task(text, 1.0) for text in measured)])
    for task in tasks.values():
        make.say_if_short(task)
    shared = _Sharing({name: make.store(task) for name, task in tasks.items()}, pieces)
    trained_on = shared.by_weight(train) if train else shared.by_size(parts)
    measured_on = _merged(
        Share(make.store(Task(text, 1.0)).folder, part.weight, part.at, text.name)
        for part, text in zip(validation, measured, strict=True)
    )
    its_own = {name: shared.by_weight(each) for name, each in own.items()}
    return Stores(trained_on, measured_on or trained_on, its_own)


@dataclass(frozen=True)
class _Sharing:
    """Finds the shares of texts that may be divided.

    Attributes:
        stores: The store of each piece, by its digest.
        pieces: Those of each text, by its key in the space file.
    """

    stores: Mapping[str, TokenStore]
    pieces: Mapping[Place, tuple[Documents, ...]]

    def by_weight(self, parts: Sequence[CorpusText]) -> tuple[Share, ...]:
        """Return the shares of texts with weights; of each, its pieces by their tokens.

        Raises:
            DataError: A piece is so short that hardly a sequence of it would be seen.
        """
        shares = []
        for part in parts:
            found = self._by_size(part)
            whole = sum(share.weight for share in found)
            shares += [
                replace(share, weight=part.weight * (share.weight / whole)) for share in found
            ]
        return self._checked(_merged(shares))

    def by_size(self, parts: Sequence[CorpusText]) -> tuple[Share, ...]:
        """Return different texts with their numbers of tokens as weights.

        Raises:
            DataError: A text is so short beside the others that hardly a sequence of it would be
                seen.
        """
        shares = {share.folder: share for part in reversed(parts) for share in self._by_size(part)}
        first = {share.folder: None for part in parts for share in self._by_size(part)}
        return self._checked(tuple(shares[folder] for folder in first))

    def _by_size(self, part: CorpusText) -> list[Share]:
        found = []
        for text in self.pieces[part.at]:
            store = self.stores[text.digest]
            tokens = float(store.facts["corpus"]["tokens"])
            found.append(Share(store.folder, tokens, part.at, text.name))
        return found

    def _checked(self, shares: tuple[Share, ...]) -> tuple[Share, ...]:
        whole = sum(share.weight for share in shares) * (1 - 1e-9)
        for share in shares:
            if share.weight * BLOCK < whole:
                tokens = share.store.facts["corpus"]["tokens"]
                raise DataError(
                    f"{share.name}: {tokens:,} tokens are less than a thousandth of all text that "
                    "is trained on; give data.train a mixture with weights",
                    share.at,
                )
        return shares


def _merged(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Return shares with their weights added up where they are of one store."""
    merged: dict[Path, Share] = {}
    for share in shares:
        if (known := merged.get(share.folder)) is not None:
            share = replace(known, weight=known.weight + share.weight)
        merged[share.folder] = share
    return tuple(merged.values())


@dataclass(frozen=True)
class _StoreMaker:
    """Makes the stores that the cache lacks."""

    tokenizer: Any
    boundaries: Boundaries
    tell: Say
    show: Say

    def all(self, tasks: Sequence[Task]) -> None:
        """Make the stores of texts, after all that have none are found to be there."""
        found = [(task, self.store(task)) for task in tasks]
        missing = [each for each in found if not self._is_usable(*each)]
        for task, _ in missing:
            task.documents.ready()
        for task, store in missing:
            provide(store.entry, partial(self._write, store, task), self.tell)

    def store(self, task: Task) -> TokenStore:
        """Return the store of a text, whether it is made or not."""
        backend, text = self.tokenizer.backend_tokenizer, task.documents.digest
        before, after = self.boundaries.before, self.boundaries.after
        is_validation = task.held_out == 1
        made_of = {
            "format": 1,
            "train": None if is_validation else text,
            "validation": text if is_validation else task.held_out or None,
            "tokenizer": self._tokenizer_digest,
            "separator": None if not after else after[0] if len(after) == 1 else list(after),
        }
        if before:  # without it the name is what it was when there was but one separator
            made_of["before"] = list(before)
        if backend.truncation or backend.padding:  # earlier stores were cut off or padded by it
            made_of["whole"] = True
        return TokenStore(cache_root() / "tokens" / digest(made_of))

    @cached_property
    def _tokenizer_digest(self) -> str:
        return digest(self.tokenizer.backend_tokenizer.to_str())

    def say_if_short(self, task: Task) -> None:
        """Say how much is held out where it is more than the share that is asked for."""
        facts = self.store(task).facts
        held_out = facts["validation"]["tokens"]
        whole = held_out + facts["corpus"]["tokens"]
        if short_stretch(whole, task.held_out) and held_out > task.held_out * whole:
            self.tell(
                f"{task.documents.name} is short: {held_out:,} of its {whole:,} tokens are held "
                f"out for validation, {held_out / whole:.2g} of it and not {task.held_out:g}"
            )

    def _is_usable(self, task: Task, store: TokenStore) -> bool:
        """Return whether a store is there and whole, with what is to be held out."""
        if not store.entry.is_usable():
            return False
        held_out, trained_on = (store.facts[part]["tokens"] for part in ("validation", "corpus"))
        if held_out or not short_stretch(trained_on, task.held_out):
            return True
        with alone(store.folder, self.tell):  # nothing was held out once, and it was of no use
            store.entry.discard()
        return False

    def _write(self, store: TokenStore, task: Task) -> None:
        size = vocabulary_size(self.tokenizer)
        dtype = np.dtype(np.uint16 if size <= 2**16 else np.uint32)
        how = WriteOptions(Encoder(self.tokenizer), self.boundaries, dtype, self.tell, self.show)
        counts = write_tokens(store.folder, task, how)
        is_short = bool(short_stretch(sum(counts), task.held_out))
        share = f"{counts[1] / sum(counts):.2g}" if is_short else str(task.held_out)
        self.tokenizer.save_pretrained(store.folder / "tokenizer")
        names = _names(task.documents)
        facts: dict[str, Any] = {
            "dtype": dtype.name,
            "vocabulary": size,
            "boundaries": [self.boundaries.before, self.boundaries.after],
            "corpus": {**_names(None if task.held_out == 1 else task.documents)},
            "validation": {**names},
        }
        if 0 < task.held_out < 1:
            facts["validation"]["name"] = f"{share} of {task.documents.name}"
        for part, count in zip(("corpus", "validation"), counts, strict=True):
            facts[part]["tokens"] = count
        forget(store.folder)
        write_json(store.entry.record, facts)


def _names(documents: Documents | None) -> dict[str, Any]:
    """Return what a store says of a text."""
    return {
        "name": documents.name if documents else None,
        "sha256": documents.digest if documents else None,
    }


FEWEST = 4
"""Validation batches that are needed, where no fewer are asked for, to tell chance apart."""

_ENOUGH = 8
"""Validation batches below which smaller ones are taken rather than fewer."""


@dataclass(frozen=True)
class ValidationSize:
    """The validation batches that every evaluation takes.

    Attributes:
        batches: Their number.
        rows: Sequences in each.
    """

    batches: int
    rows: int


def check_text(
    stores: Stores,
    objective: Predicts,
    length: int,
    wanted: Sequence[ValidationSize],
    sources: Sequence[Source] = (),
) -> None:
    """Check that there is text for training and for the fewest validation batches that make sense.

    Args:
        stores: The tokens.
        objective: What is predicted.
        length: Tokens in a sequence.
        wanted: Validation batches that are asked for; several where sources have batches of their
            own size.
        sources: The space's sources, which may use parts of a text.

    Raises:
        DataError: A text is too short; the message has the longest sequences that it allows.
    """
    texts = _Texts(stores, objective, wanted, sources)
    if (short := texts.too_short(length)) is None:
        return
    share, message = short
    allowed = (each for each in range(length - 1, 1, -1) if texts.too_short(each) is None)
    longest = next(allowed, None)
    ways = "give more text" if longest is None else f"give data.sequence_length {longest} or less"
    more = "" if longest is None else ", or more text"
    raise DataError(f"{share.name}: {message}: {ways}{more}", share.at)


class _Texts:
    """The lengths of all texts, and what is asked of them."""

    def __init__(
        self,
        stores: Stores,
        objective: Predicts,
        wanted: Sequence[ValidationSize],
        sources: Sequence[Source],
    ) -> None:
        parts = {each.name: each.pretrain.place_in_text[1] for each in sources if each.pretrain}
        used = [(1, stores.train), *((n, stores.of(name).train) for name, n in parts.items())]
        self._trained = [
            (share, n_parts, share.store.facts["corpus"]["tokens"])
            for n_parts, texts in used
            for share in texts
        ]
        least_rows = _least_rows(objective)
        fewest = [min(each.batches, FEWEST) * min(each.rows, least_rows) for each in wanted]
        weights = [share.weight for share in stores.validation]
        rows = np.max([shares(weights, count) for count in fewest], axis=0).tolist()
        self._measured = [
            (share, n_rows, share.store.facts["validation"]["tokens"])
            for share, n_rows in zip(stores.validation, rows, strict=True)
        ]

    def too_short(self, length: int) -> tuple[Share, str] | None:
        """Return a text that is too short for sequences of a length, and that in words."""
        for share, n_parts, found in self._trained:
            if found < n_parts * (2 * length + 1):
                part = f", of which a source has one of {n_parts} parts," if n_parts > 1 else ""
                what = f"{found:,} tokens to train on{part} are too few"
                return share, f"{what} for sequences of {length}"
        for share, n_rows, found in self._measured:
            if (there := max(0, found - 1) // length) < n_rows:
                what = f"{found:,} tokens to measure losses on are {there} sequences of {length}"
                return share, f"{what}, and {n_rows} are needed"
        return None


def validation_size(
    stores: Stores, objective: Predicts, length: int, wanted: ValidationSize
) -> ValidationSize:
    """Return the validation batches that are taken: those that are wanted, as far as there is text.

    Where the held-out text is short these are fewer batches, and where they would be fewer than
    eight, smaller ones. So it depends on the texts and on what is wanted alone.

    Args:
        stores: The tokens, of which there are enough (`check_text`).
        objective: Each of its parts needs a sequence of every batch.
        length: Tokens in a sequence.
        wanted: What the space asks for.
    """
    weights = [share.weight for share in stores.validation]
    tokens = [share.store.facts["validation"]["tokens"] for share in stores.validation]
    found = size_within(tokens, weights, length, wanted, _least_rows(objective))
    assert found is not None, "there is too little text for any"
    return found


def size_within(
    tokens: Sequence[int],
    weights: Sequence[float],
    length: int,
    wanted: ValidationSize,
    least_rows: int = 1,
) -> ValidationSize | None:
    """Return the validation batches that there is text for, None where there is too little for any.

    Args:
        tokens: Held out of each text.
        weights: Of each text.
        length: Tokens in a sequence.
        wanted: What is asked for.
        least_rows: Sequences that a batch needs.
    """
    there = [max(0, each - 1) // length for each in tokens]
    enough, fewest = min(wanted.batches, _ENOUGH), min(wanted.batches, FEWEST)
    least = min(least_rows, wanted.rows)
    most = min(wanted.batches, sum(there) // wanted.rows)
    largest = min(wanted.rows, sum(there) // enough)
    choices = itertools.chain(
        ((each, wanted.rows) for each in range(most, enough - 1, -1)),
        ((enough, rows) for rows in range(largest, least - 1, -1)),
        ((each, least) for each in range(enough, fewest - 1, -1)),
    )
    for batches, rows in choices:
        if (shares(weights, batches * rows) <= there).all():
            return ValidationSize(batches, rows)
    return None


def _least_rows(objective: Predicts) -> int:
    """Return how many rows a batch needs at least so that each part of an objective has one."""
    weights = [weight for _, weight in objective.parts]
    lacking = [n for n in range(1, int(2 / min(weights))) if not shares(weights, n).all()]
    return max(lacking, default=0) + 1
