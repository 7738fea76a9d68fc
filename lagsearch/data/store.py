"""The token store: a corpus as one row of numbers on disk, memory-mapped by all who read it."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.corpora import Documents, open_corpus
from lagsearch.data.tokenizers import encode, vocabulary_size
from lagsearch.errors import DataError
from lagsearch.space import Data
from lagsearch.storage import alone, cache_root, digest, replacing, write_json

STRETCH = 8192
"""Tokens in a stretch: what validation takes from a corpus is whole stretches, evenly spread."""

_CHARACTERS_AT_A_TIME = 4_000_000

Tell = Callable[[str], None]


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


def open_store(data: Data, tokenizer: Any, tell: Tell = lambda line: None) -> TokenStore:
    """Return the token store of a space's data, making it when the cache lacks it.

    Args:
        data: What the space says.
        tokenizer: As `make_tokenizer` makes it.
        tell: Is told in a line when there is something to wait for.

    Raises:
        DataError: A corpus or tokenizer is missing or does not fit.
    """
    train = open_corpus(data.train, "train")
    is_apart = data.validation.fraction is None
    held_out = open_corpus(data.validation, "validation") if is_apart else None
    made_of = {
        "format": 1,
        "train": train.digest,
        "validation": held_out.digest if held_out else data.validation.fraction,
        "tokenizer": digest(tokenizer.backend_tokenizer.to_str()),
        "separator": tokenizer.eos_token_id,
    }
    store = TokenStore(cache_root() / "tokens" / digest(made_of))
    if not (store.folder / "store.json").is_file():
        with alone(store.folder, tell):
            if not (store.folder / "store.json").is_file():
                tell(f"tokenizing {train.name}")
                _write_store(store, data.validation.fraction, tokenizer, train, held_out)
    return store


def _write_store(
    store: TokenStore,
    fraction: float | None,
    tokenizer: Any,
    train: Documents,
    held_out: Documents | None,
) -> None:
    size = vocabulary_size(tokenizer)
    dtype = np.dtype(np.uint16 if size <= 2**16 else np.uint32)
    whole = store.folder / "train.bin"
    kept_out = store.folder / "validation.bin"
    with replacing(whole) as train_path, replacing(kept_out) as validation_path:
        with train_path.open("wb") as train_file, validation_path.open("wb") as validation_file:
            pieces = _encoded(tokenizer, train, dtype)
            if held_out is None:
                _split(pieces, fraction or 0.0, train_file, validation_file)
            else:
                _append(pieces, train_file)
                _append(_encoded(tokenizer, held_out, dtype), validation_file)
        counts = [path.stat().st_size // dtype.itemsize for path in (train_path, validation_path)]
    tokenizer.save_pretrained(store.folder / "tokenizer")
    facts = {
        "dtype": dtype.name,
        "vocabulary": size,
        "corpus": {"name": train.name, "sha256": train.digest, "tokens": counts[0]},
        "validation": {
            "name": held_out.name if held_out else f"{fraction} of {train.name}",
            "sha256": held_out.digest if held_out else train.digest,
            "tokens": counts[1],
        },
    }
    write_json(store.folder / "store.json", facts)


def _encoded(tokenizer: Any, documents: Documents, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield pieces of the corpus as tokens, every document followed by the separator."""
    separator = tokenizer.eos_token_id
    ending = [] if separator is None else [separator]
    for texts in _portions(documents.read()):
        rows = encode(tokenizer, texts)
        yield np.concatenate([part for row in rows for part in (row, ending)]).astype(dtype)


def _portions(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield documents in lists of about `_CHARACTERS_AT_A_TIME` characters."""
    portion: list[str] = []
    size = 0
    for text in texts:
        portion.append(text)
        size += len(text)
        if size >= _CHARACTERS_AT_A_TIME:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _append(pieces: Iterable[NDArray[Any]], file: BinaryIO) -> None:
    for piece in pieces:
        file.write(piece.tobytes())


def _split(
    pieces: Iterable[NDArray[Any]], fraction: float, train: BinaryIO, validation: BinaryIO
) -> None:
    """Send whole stretches of tokens to validation, evenly spread over the corpus."""
    rest = np.empty(0, np.uint16)
    number = 0
    for piece in pieces:
        rest = np.concatenate([rest, piece]) if len(rest) else piece
        while len(rest) >= STRETCH:
            is_held_out = int((number + 1) * fraction) > int(number * fraction)
            (validation if is_held_out else train).write(rest[:STRETCH].tobytes())
            rest = rest[STRETCH:]
            number += 1
    train.write(rest.tobytes())


def check_length(store: TokenStore, data: Data, rows: int, n_parts: int = 1) -> None:
    """Check that there is text for a step and for the validation batches.

    Args:
        store: The tokens.
        data: What the space says.
        rows: Validation sequences that are asked for.
        n_parts: Parts that the training text is cut into.

    Raises:
        DataError: One of the two is too short.
    """
    length = data.sequence_length
    facts = store.facts
    parts = (
        ("corpus", n_parts * (2 * length + 1), ("data", "train")),
        ("validation", rows * length + 1, ("evaluation", "batches")),
    )
    for part, needed, at in parts:
        if (found := facts[part]["tokens"]) < needed:
            name = facts[part]["name"]
            raise DataError(
                f"{name}: {found:,} tokens, but {needed:,} are needed "
                f"({needed // length} sequences of {length})",
                at,
            )
