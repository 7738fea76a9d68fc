"""The token store: a corpus as one row of numbers on disk, memory-mapped by all who read it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.batches import BLOCK, shares
from lagsearch.data.corpora import Documents, Part, Place, own_parts, parts_of
from lagsearch.data.encoding import Encoder
from lagsearch.data.tokenizers import vocabulary_size
from lagsearch.data.writing import STRETCH, How, Say, Task, forget, write_tokens
from lagsearch.errors import DataError
from lagsearch.space import Data, Source
from lagsearch.storage import alone, cache_root, digest, write_json


@dataclass(frozen=True)
class TokenStore:
    """Training and validation tokens in a folder of the cache.

    Attributes:
        folder: Holds `train.bin`, `validation.bin`, `store.json` and `tokenizer/`.
    """

    folder: Path

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
    """

    folder: Path
    weight: float = 1.0
    at: Place = ("data", "train")

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

    def tokenizer(self) -> Any:
        """Load the tokenizer that made the tokens."""
        return self.train[0].store.tokenizer()


def open_stores(
    data: Data,
    tokenizer: Any,
    tell: Say = lambda line: None,
    show: Say = lambda line: None,
    *,
    sources: Sequence[Source] = (),
) -> Stores:
    """Return the token stores of a space's text, making those that the cache lacks.

    Each text of a mixture has a store of its own, the one that it would have alone. Where there is
    no training text but the sources' own, all of these are trained on in proportion to their
    tokens.

    Args:
        data: What the space says.
        tokenizer: As `make_tokenizer` makes it.
        tell: Is told in a line when there is something to wait for.
        show: Is told how far it is, in a line in place of the one before; an empty one ends it.
        sources: The space's sources.

    Raises:
        DataError: A corpus or tokenizer is missing or does not fit.
    """
    make = _StoreMaker(tokenizer, data.separators, tell, show)
    fraction = data.validation.fraction
    parts = parts_of(data.train, ("data", "train")) if data.train else ()
    held_out = parts_of(data.validation, ("data", "validation"))
    if len(parts) == len(held_out) == 1:
        folder = make.store(parts[0].open(), held_out[0].open()).folder
        train: tuple[Share, ...] = (Share(folder, at=parts[0].at),)
        validation: tuple[Share, ...] = (Share(folder, at=held_out[0].at),)
    else:
        train = make.shares(parts, fraction)
        validation = tuple(
            Share(make.store(None, part.open()).folder, part.weight, part.at) for part in held_out
        )
    own = {name: make.shares(texts, fraction) for name, texts in own_parts(sources).items()}
    train = train or _in_proportion([share for texts in own.values() for share in texts])
    return Stores(train, validation or train, own)


def _in_proportion(texts: Sequence[Share]) -> tuple[Share, ...]:
    """Return different texts with their numbers of tokens as weights.

    Raises:
        DataError: A text is so short beside the others that hardly a sequence of it would be seen.
    """
    sizes = {share.folder: share.store.facts["corpus"]["tokens"] for share in texts}
    for share in texts:
        if sizes[share.folder] * BLOCK < sum(sizes.values()):
            raise DataError(
                f"{share.store.facts['corpus']['name']}: {sizes[share.folder]:,} tokens are less "
                "than a thousandth of all sources' text; give data.train a mixture with weights",
                share.at,
            )
    places = {share.folder: share.at for share in reversed(texts)}
    return tuple(Share(folder, float(size), places[folder]) for folder, size in sizes.items())


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

    def shares(self, parts: Sequence[Part], fraction: float | None) -> tuple[Share, ...]:
        """Return texts with their weights, of each of which a fraction is held out."""
        return tuple(
            Share(self.store(part.open(), fraction).folder, part.weight, part.at) for part in parts
        )

    def store(self, train: Documents | None, held_out: Documents | float | None) -> TokenStore:
        """Return the store of a text, and of held-out text: of its own, a share of it, or none."""
        backend = self.tokenizer.backend_tokenizer
        made_of = {
            "format": 1,
            "train": train.digest if train else None,
            "validation": held_out.digest if isinstance(held_out, Documents) else held_out,
            "tokenizer": digest(backend.to_str()),
            "separator": self.separator,
        }
        if backend.truncation or backend.padding:  # earlier stores were cut off or padded by it
            made_of["whole"] = True
        store = TokenStore(cache_root() / "tokens" / digest(made_of))
        if not (store.folder / "store.json").is_file():
            with alone(store.folder, self.tell):
                if not (store.folder / "store.json").is_file():
                    self._write(store, train, held_out)
        return store

    def _write(
        self, store: TokenStore, train: Documents | None, held_out: Documents | float | None
    ) -> None:
        share = held_out if isinstance(held_out, float) else 0.0
        tasks = [] if train is None else [Task(train, share)]
        tasks += [Task(held_out, 1.0)] if isinstance(held_out, Documents) else []
        size = vocabulary_size(self.tokenizer)
        dtype = np.dtype(np.uint16 if size <= 2**16 else np.uint32)
        how = How(Encoder(self.tokenizer), self.separator, dtype, self.tell, self.show)
        counts = write_tokens(store.folder, tasks, how)
        self.tokenizer.save_pretrained(store.folder / "tokenizer")
        kept = held_out if isinstance(held_out, Documents) else train
        facts: dict[str, Any] = {
            "dtype": dtype.name,
            "vocabulary": size,
            "corpus": {**_names(train), "tokens": counts[0]},
            "validation": {**_names(kept), "tokens": counts[1]},
        }
        if isinstance(held_out, float) and train is not None:
            facts["validation"]["name"] = f"{held_out} of {train.name}"
        write_json(store.folder / "store.json", facts)
        forget(store.folder)


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
            _check_tokens(share, "corpus", length, n_parts * (2 * length + 1), share.at)
    counts = shares([share.weight for share in stores.validation], rows)
    for share, n_rows in zip(stores.validation, counts.tolist(), strict=True):
        at = ("evaluation", "batches")
        _check_tokens(share, "validation", length, n_rows * length + 1, at)


def _check_tokens(share: Share, part: str, length: int, needed: int, at: Place) -> None:
    facts = share.store.facts[part]
    if (found := facts["tokens"]) >= needed:
        return
    hint = ""
    if part == "validation" and not found:
        hint = f"; whole stretches of {STRETCH:,} tokens are held out: give validation its own text"
    raise DataError(
        f"{facts['name']}: {found:,} tokens, but {needed:,} are needed "
        f"({needed // length} sequences of {length}){hint}",
        at,
    )
