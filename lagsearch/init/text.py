"""How long a text is in a checkpoint's tokens, and how a space file names it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.data.text.corpora import Documents, Opener, parts_of
from lagsearch.data.text.files import files_in, first_records, is_plain, unit_of
from lagsearch.errors import DataError, and_then, did_you_mean
from lagsearch.space import Corpus
from lagsearch.space.arguments import STDLIB, argument_kind
from lagsearch.storage.files import path_of

_LOOKED_AT = 100
"""Records that are looked at to find the column of the text."""

_SAMPLE = 1 << 21
"""Characters that are tokenized to know how many tokens a text has."""


@dataclass(frozen=True)
class MeasuredText:
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


def measure_text(names: Sequence[str], tokenizer: Any, column: str | None = None) -> MeasuredText:
    """Look at the beginning of a text, and work out how many tokens it has.

    Args:
        names: Files and folders, or one dataset on the Hugging Face hub, or `python-stdlib`.
        tokenizer: The checkpoint's.
        column: Of records: the key that holds the text; found when left out.

    Raises:
        DataError: It is missing, empty, or not text.
    """
    train = _written(names, column)
    documents = _documents(_corpus(train))
    try:
        tokens, is_exact = _count(documents, tokenizer)
    except DataError as error:
        if "no column" not in str(error):
            raise
        raise DataError(and_then(str(error), "--column names another")) from None
    if not tokens:
        raise DataError(f"{documents.name}: there is no text in it")
    paths = [path for name in train.get("files", ()) for path in files_in(path_of(name))]
    are_plain = bool(paths) and all(map(is_plain, paths))
    return MeasuredText(train, documents.name, tokens, is_exact, are_plain)


def _written(names: Sequence[str], column: str | None) -> dict[str, Any]:
    """Return what a space says of a text."""
    paths = [path_of(name) for name in names]
    if list(names) == [STDLIB]:
        return {"corpus": STDLIB}
    if len(names) == 1 and argument_kind(names[0]) == "missing":
        return {"hub": names[0], **({"column": column} if column else {})}
    files = [file for path in paths for file in files_in(path)]
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in seen:
            raise DataError(f"{file} is named twice, by itself or by its folder: name it once")
        seen.add(file.resolve())
    train: dict[str, Any] = {"files": list(names)}
    if found := _column(files, column):
        train["column"] = found
    return train


def corpus_of(names: Sequence[str], column: str | None = None) -> Corpus:
    """Return the text of these names as a space has it.

    Args:
        names: As `measure_text` takes them.
        column: Of records: the key that holds the text.

    Raises:
        DataError: A file is missing.
    """
    return _corpus(_written(names, column))


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


def _column(files: Sequence[Path], wanted: str | None) -> str | None:
    """Return the column of records that holds the text, where it is not `text`.

    Raises:
        DataError: The records have no such column, or none of text; or there are no records.
    """
    path = next((each for each in files if not is_plain(each)), None)
    if path is None:
        if wanted:
            message = "is for records (.jsonl, .parquet); there are none here"
            raise DataError(f"--column {wanted}: {message}")
        return None
    records = first_records(path, _LOOKED_AT)
    known = list(dict.fromkeys(key for each in records for key in each))
    if wanted and known and wanted not in known:
        raise DataError(and_then(_no_column(path, wanted, known), f"it has {', '.join(known)}"))
    if wanted or not known:  # where there are no records, reading says so with its line
        return wanted if wanted != "text" else None
    lengths = _lengths(records)
    if not lengths:
        raise DataError(
            f"{path}: no column of its first {len(records)} records holds text; they have "
            f"{', '.join(known)}: give other records, or name the column that has text farther on: "
            "--column NAME"
        )
    return None if "text" in lengths else lengths.most_common(1)[0][0]


def _no_column(path: Path, wanted: str, known: list[str]) -> str:
    return f"--column {wanted}: {path} has none of this name{did_you_mean(wanted, known)}"


def _lengths(records: Sequence[dict[str, Any]]) -> Counter[str]:
    """Return the characters of text in each column that has any."""
    lengths: Counter[str] = Counter()
    for record in records:
        lengths.update({key: len(each) for key, each in record.items() if isinstance(each, str)})
    return lengths


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
