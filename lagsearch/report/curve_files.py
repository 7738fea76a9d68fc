"""Files of curves: CSV and Parquet, read column by column, with the line of what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lagsearch.errors import CurvesError, brief, did_you_mean

NEEDED = ("candidate", "step", "val_loss")
OPTIONAL = ("seed", "batch")

LONGEST_NAME = 200

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What text begins with that a spreadsheet takes for a formula."""


@dataclass(frozen=True)
class Rows:
    """The rows of a file, in its order.

    Attributes:
        path: The file.
        names: The candidates' names, in the order of their first rows.
        candidate: Index into `names`: (R,).
        step: Steps, 0 or more: (R,).
        seed: Seeds, 0 where the file has none: (R,).
        batch: Numbers of validation batches, 0 where the file has none: (R,).
        loss: Validation losses; NaN where there is none: (R,).
        place: From a row to where it is, for messages.
    """

    path: Path
    names: tuple[str, ...]
    candidate: NDArray[np.int64]
    step: NDArray[np.int64]
    seed: NDArray[np.int64]
    batch: NDArray[np.int64]
    loss: NDArray[np.float64]
    place: Callable[[int], str]


def is_curves(path: Path) -> bool:
    """Return whether a path names a file of curves, and not a folder."""
    return path.suffix.lower() in _READERS and not path.is_dir()


def read_rows(path: Path) -> Rows:
    """Read a file of curves.

    Raises:
        CurvesError: It is none; the message names the line.
    """
    if not path.is_file():
        raise CurvesError(f"{path}: no such file")
    try:
        table, place = _READERS[path.suffix.lower()](path)
    except pa.ArrowException as error:
        raise CurvesError(f"{path}: {brief(error)}") from None
    if not table.num_rows:
        raise CurvesError(f"{path}: has no rows")
    column = _Columns(path, table, place)
    names, candidate = column.names()
    step, loss = column.whole_numbers("step"), column.numbers("val_loss")
    seed, batch = (column.whole_numbers(name) for name in OPTIONAL)
    return Rows(path, names, candidate, step, seed, batch, loss, place)


def _read_csv(path: Path) -> tuple[pa.Table, Callable[[int], str]]:
    """Read a CSV file as text; empty lines are left out, and a row of another length is refused."""
    from pyarrow import csv

    wrong: list[str] = []

    def refuse(row: Any) -> str:
        found, wanted = row.actual_columns, row.expected_columns
        wrong.append(f"{path}:{row.number}: {found} values, not {wanted}")
        return "error"

    types = dict.fromkeys((*NEEDED, *OPTIONAL), pa.string())
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=refuse),
            convert_options=csv.ConvertOptions(column_types=types),
        )
    except pa.ArrowInvalid:
        if wrong:
            raise CurvesError(wrong[0]) from None
        raise
    _check_columns(path, table.column_names)
    is_empty = np.ones(table.num_rows, bool)
    for name in table.column_names:
        is_empty &= pc.equal(table[name], "").to_numpy()
    rows = np.flatnonzero(~is_empty)
    # lines count from 1, and the first one is the head
    return table.take(rows), lambda row: f"{path}:{rows[row] + 2}"


def _read_parquet(path: Path) -> tuple[pa.Table, Callable[[int], str]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    _check_columns(path, table.column_names)
    return table, lambda row: f"{path}: row {row + 1}"


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}


def _check_columns(path: Path, found: list[str]) -> None:
    known = [*NEEDED, *OPTIONAL]
    for name in found:
        if name not in known:
            hint = did_you_mean(name, known)
            raise CurvesError(f"{path}: unknown column {name!r}{hint}; known: {', '.join(known)}")
        if found.count(name) > 1:
            raise CurvesError(f"{path}: column {name} comes twice")
    if missing := [name for name in NEEDED if name not in found]:
        raise CurvesError(f"{path}: has no column {missing[0]}; needed: {', '.join(NEEDED)}")


@dataclass(frozen=True)
class _Columns:
    """The columns of a table as numbers and names."""

    path: Path
    table: pa.Table
    place: Callable[[int], str]

    def names(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the candidates' names, and each row's index into them."""
        column = self._plain("candidate")
        if not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
            raise CurvesError(f"{self.path}: column candidate holds {column.type}, not names")
        encoded = column.cast(pa.string()).fill_null("").dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        names = tuple(as_written(str(name)) for name in encoded.dictionary.to_pylist())
        for code, name in enumerate(names):
            if what := _wrong_name(name):
                row = int(np.flatnonzero(codes == code)[0])
                raise CurvesError(f"{self.place(row)}: candidate {name[:50]!r}: {what}")
        return names, codes

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers, NaN where it is empty."""
        column = self._plain(name)
        if pa.types.is_string(column.type):
            return self._parsed(name, column)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            found: NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            return found
        raise CurvesError(f"{self.path}: column {name} holds {column.type}, not numbers")

    def whole_numbers(self, name: str) -> NDArray[np.int64]:
        """Return a column of whole numbers, zeros where there is none."""
        if name not in self.table.column_names:
            return np.zeros(self.table.num_rows, np.int64)
        found = self.numbers(name)
        is_whole = (found >= 0) & (found < 2**53) & (found == np.floor(found))
        if not is_whole.all():
            row = int(np.flatnonzero(~is_whole)[0])
            said = self.table[name][row].as_py()
            message = f"{name} {said!r}: not a whole number, 0 or more"
            raise CurvesError(f"{self.place(row)}: {message}")
        return found.astype(np.int64)

    def _plain(self, name: str) -> pa.Array:
        """Return a column as one array, text as text however it is stored."""
        column = self.table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_large_string(column.type) or pa.types.is_null(column.type):
            column = column.cast(pa.string())
        return column

    def _parsed(self, name: str, column: pa.Array) -> NDArray[np.float64]:
        words = pc.utf8_trim_whitespace(column.fill_null(""))
        words = pc.if_else(pc.equal(words, ""), "nan", words)
        try:
            found: NDArray[np.float64] = words.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            found = np.array([self._number(*each, name) for each in enumerate(words.to_pylist())])
        return found

    def _number(self, row: int, word: str, name: str) -> float:
        try:
            if "_" not in word:
                return float(word)
        except ValueError:
            pass
        raise CurvesError(f"{self.place(row)}: {name} {word[:50]!r}: not a number")


def as_written(name: str) -> str:
    """Return a name without the apostrophe that keeps a spreadsheet from reading a formula."""
    return name[1:] if name[:1] == "'" and name[1:].startswith((*FORMULA, "'")) else name


def _wrong_name(name: str) -> str | None:
    if not name.strip():
        return "has no name"
    if len(name) > LONGEST_NAME:
        return f"a name of more than {LONGEST_NAME} characters"
    if not name.isprintable() or "`" in name:
        return "a name may have no line breaks, control characters or backticks"
    return None
