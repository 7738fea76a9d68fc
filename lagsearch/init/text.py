"""How long a text is in a checkpoint's tokens, and how a space file names it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.arguments import STDLIB, kind_of
from lagsearch.data.corpora import Documents, Opener, parts_of
from lagsearch.data.files import files_in, first_record, is_plain, unit_of
from lagsearch.errors import DataError
from lagsearch.space import Corpus
from lagsearch.storage import path_of

_SAMPLE = 1 << 21
"""Characters that are tokenized to know how many tokens a text has."""


@dataclass(frozen=True)
class Text:
    """A text to train on.

    Attributes:
        train: What a space says of it, under `data.train`.
        name: In words.
        tokens: How many it has; an estimate where it is long.
        is_exact: Whether all of it was tokenized.
        is_plain: Whether it is plain text, each file of which is taken for one document.
    """

    train: dict[str, Any]
    name: str
    tokens: int
    is_exact: bool
    is_plain: bool


def measure_text(names: Sequence[str], tokenizer: Any) -> Text:
    """Look at the beginning of a text, and work out how many tokens it has.

    Args:
        names: Files and folders, or one dataset on the Hugging Face hub, or `python-stdlib`.
        tokenizer: The checkpoint's.

    Raises:
        DataError: It is missing, empty, or not text.
    """
    train = _written(names)
    documents = _documents(_corpus(train))
    tokens, is_exact = _count(documents, tokenizer)
    if not tokens:
        raise DataError(f"{documents.name}: there is no text in it")
    paths = [path for name in train.get("files", ()) for path in files_in(path_of(name))]
    are_plain = bool(paths) and all(map(is_plain, paths))
    return Text(train, documents.name, tokens, is_exact, are_plain)


def _written(names: Sequence[str]) -> dict[str, Any]:
    """Return what a space says of a text."""
    paths = [path_of(name) for name in names]
    if list(names) == [STDLIB]:
        return {"corpus": STDLIB}
    if len(names) == 1 and kind_of(names[0]) == "missing":
        return {"hub": names[0]}
    files = [file for path in paths for file in files_in(path)]
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in seen:
            raise DataError(f"{file} is named twice, by itself or by its folder: name it once")
        seen.add(file.resolve())
    train: dict[str, Any] = {"files": list(names)}
    if column := _column(files):
        train["column"] = column
    return train


def corpus_of(names: Sequence[str]) -> Corpus:
    """Return the text of these names as a space has it.

    Raises:
        DataError: A file is missing.
    """
    return _corpus(_written(names))


def _corpus(train: dict[str, Any]) -> Corpus:
    return Corpus.model_validate_json(json.dumps(train))


def _documents(corpus: Corpus) -> Documents:
    """Open a text; files are not read whole, as a run does to know them by their content."""
    (part,) = parts_of(corpus, ("data", "train"))
    if corpus.files is None:
        return Opener().open(part)
    part.check()
    paths = [path for name in corpus.files for path in files_in(path_of(name))]
    units = tuple(unit_of(path, corpus.column, by_line=False) for path in paths)
    return Documents(", ".join(corpus.files), "", units)


def _column(files: Sequence[Path]) -> str | None:
    """Return the column of records that holds the text, where it is not `text`."""
    records = next((path for path in files if not is_plain(path)), None)
    if records is None:
        return None
    columns = _text_columns(records)
    if "text" in columns or not columns:
        return None  # where there is none at all, reading says so with its line
    return max(columns, key=lambda name: columns[name])


def _text_columns(path: Path) -> dict[str, int]:
    """Return the length of each text in the first record of a file, by its column."""
    return {key: len(value) for key, value in first_record(path).items() if isinstance(value, str)}


def _count(documents: Documents, tokenizer: Any) -> tuple[int, bool]:
    """Return the tokens of a text, and whether all of it was read."""
    encode, read, encoded, tokens = tokenizer.backend_tokenizer, 0, 0, 0
    for piece in documents.read():
        if read >= _SAMPLE:
            return round(tokens * max(1.0, documents.size / encoded)), False
        read += len(piece)
        encoded += len(piece.encode("utf-8", errors="replace"))
        tokens += len(encode.encode(piece, add_special_tokens=False).ids)
    return tokens, True
