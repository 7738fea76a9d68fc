"""The token store: a corpus as one row of numbers on disk, memory-mapped by all who read it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.cache import Entry, provide
from lagsearch.data.batches import BLOCK, shares
from lagsearch.data.corpora import (
    Documents,
    Opener,
    Part,
    Place,
    own_parts,
    parts_of,
    training_parts,
)
from lagsearch.data.encoding import Encoder
from lagsearch.data.overlaps import apart, check_apart, check_held_out_alike
from lagsearch.data.tokenizers import vocabulary_size
from lagsearch.data.writing import STRETCH, How, Say, Task, forget, write_tokens
from lagsearch.errors import DataError
from lagsearch.space import Data, Source
from lagsearch.storage import cache_root, digest, write_json


@dataclass(frozen=True)
class TokenStore:
    """Training and validation tokens in a folder of the cache.

    Attributes:
        folder: Holds `train.bin`, `validation.bin`, `tokenizer/`, `store.json` and a seal.
    """

    folder: Path

    @property
    def entry(self) -> Entry:
        """The same as an entry of the cache."""
        return Entry(self.folder)

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
    make = _StoreMaker(tokenizer, data.separators, tell, show)
    make.all([*tasks.values(), *(Task(text, 1.0) for text in measured)])
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

    def by_weight(self, parts: Sequence[Part]) -> tuple[Share, ...]:
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

    def by_size(self, parts: Sequence[Part]) -> tuple[Share, ...]:
        """Return different texts with their numbers of tokens as weights.

        Raises:
            DataError: A text is so short beside the others that hardly a sequence of it would be
                seen.
        """
        shares = {share.folder: share for part in reversed(parts) for share in self._by_size(part)}
        first = {share.folder: None for part in parts for share in self._by_size(part)}
        return self._checked(tuple(shares[folder] for folder in first))

    def _by_size(self, part: Part) -> list[Share]:
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
    has_separators: bool
    tell: Say
    show: Say

    @property
    def separator(self) -> int | None:
        """The token after each document, if any."""
        found: int | None = self.tokenizer.eos_token_id
        return found if self.has_separators else None

    def all(self, tasks: Sequence[Task]) -> None:
        """Make the stores of texts, after all that have none are found to be there."""
        found = [(task, self.store(task)) for task in tasks]
        missing = [each for each in found if not each[1].entry.is_usable()]
        for task, _ in missing:
            task.documents.ready()
        for task, store in missing:
            provide(store.entry, partial(self._write, store, task), self.tell)

    def store(self, task: Task) -> TokenStore:
        """Return the store of a text, whether it is made or not."""
        backend, text = self.tokenizer.backend_tokenizer, task.documents.digest
        is_validation = task.held_out == 1
        made_of = {
            "format": 1,
            "train": None if is_validation else text,
            "validation": text if is_validation else task.held_out or None,
            "tokenizer": self._tokenizer_digest,
            "separator": self.separator,
        }
        if backend.truncation or backend.padding:  # earlier stores were cut off or padded by it
            made_of["whole"] = True
        return TokenStore(cache_root() / "tokens" / digest(made_of))

    @cached_property
    def _tokenizer_digest(self) -> str:
        return digest(self.tokenizer.backend_tokenizer.to_str())

    def _write(self, store: TokenStore, task: Task) -> None:
        size = vocabulary_size(self.tokenizer)
        dtype = np.dtype(np.uint16 if size <= 2**16 else np.uint32)
        how = How(Encoder(self.tokenizer), self.separator, dtype, self.tell, self.show)
        counts = write_tokens(store.folder, task, how)
        self.tokenizer.save_pretrained(store.folder / "tokenizer")
        names = _names(task.documents)
        facts: dict[str, Any] = {
            "dtype": dtype.name,
            "vocabulary": size,
            "corpus": {**_names(None if task.held_out == 1 else task.documents)},
            "validation": {**names},
        }
        if 0 < task.held_out < 1:
            facts["validation"]["name"] = f"{task.held_out} of {task.documents.name}"
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


def check_length(stores: Stores, data: Data, rows: int, sources: Sequence[Source] = ()) -> None:
    """Check that there is text for a step and for the validation batches.

    Args:
        stores: The tokens.
        data: What the space says.
        rows: Validation sequences that are asked for.
        sources: The space's sources, which may use parts of a text.

    Raises:
        DataError: A text is too short.
    """
    length = data.sequence_length
    parts = {each.name: each.pretrain.place_in_text[1] for each in sources if each.pretrain}
    used = [(1, stores.train), *((n, stores.of(name).train) for name, n in parts.items())]
    for n_parts, texts in used:
        for share in texts:
            where = ("corpus", share.name, share.at)
            _check_tokens(share, where, length, n_parts * (2 * length + 1))
    counts = shares([share.weight for share in stores.validation], rows)
    for share, n_rows in zip(stores.validation, counts.tolist(), strict=True):
        fraction = data.validation.fraction
        name = f"{fraction} of {share.name}" if fraction else share.name
        where = ("validation", name, ("evaluation", "batches"))
        _check_tokens(share, where, length, n_rows * length + 1)


def _check_tokens(share: Share, where: tuple[str, str, Place], length: int, needed: int) -> None:
    part, name, at = where
    if (found := share.store.facts[part]["tokens"]) >= needed:
        return
    hint = ""
    if part == "validation" and not found:
        hint = f"; whole stretches of {STRETCH:,} tokens are held out: give validation its own text"
    raise DataError(
        f"{name}: {found:,} tokens, but {needed:,} are needed "
        f"({needed // length} sequences of {length}){hint}",
        at,
    )
