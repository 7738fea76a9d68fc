"""Files of curves: CSV, Parquet and JSON lines, read by column, with the line of what is wrong."""

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable
from csv import Error as CsvError
from csv import Sniffer
from csv import reader as csv_reader
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lagsearch.errors import CurvesError, brief
from lagsearch.records.imported_forms import known_columns

LONGEST_NAME = 200

_FLAGS = {"true": True, "1": True, "false": False, "0": False}

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
        baselines: Names of the candidates that the file calls baselines.
        place: From a row to where it is, for messages.
        ignored: Columns that were left out.
    """

    path: Path
    names: tuple[str, ...]
    candidate: NDArray[np.int64]
    step: NDArray[np.int64]
    seed: NDArray[np.int64]
    batch: NDArray[np.int64]
    loss: NDArray[np.float64]
    place: Callable[[int], str]
    ignored: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()


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
        whole, where, may_have_commas = _READERS[path.suffix.lower()](path)
    except pa.ArrowException as error:
        raise CurvesError(f"{path}: {brief(error)}") from None
    known = known_columns(path, whole)
    if not known.table.num_rows:
        raise CurvesError(f"{path}: has no rows")
    place = _Place(where, known.rows)
    column = _Columns(path, known.table, place, may_have_commas)
    names, candidate = column.names()
    step, loss = column.whole_numbers("step"), column.numbers("val_loss")
    seed, batch = column.whole_numbers("seed"), column.whole_numbers("batch")
    marked = set(candidate[column.flags("is_baseline")].tolist())
    baselines = tuple(name for number, name in enumerate(names) if number in marked)
    values = (candidate, step, seed, batch, loss, place, known.ignored, baselines)
    return Rows(path, names, *values)


@dataclass(frozen=True)
class _Place:
    """From a row of the known columns to where it is in the file."""

    where: Callable[[int], str]
    rows: NDArray[np.int64]

    def __call__(self, row: int) -> str:
        return self.where(int(self.rows[row]))


def _read_csv(path: Path) -> tuple[pa.Table, Callable[[int], str], bool]:
    """Read a CSV file as text; empty lines are left out, and a row of another length is refused.

    Commas, semicolons or tabs stand between values, and blanks beside them; with the last two,
    losses may have decimal commas.
    """
    from pyarrow import csv

    text = _decoded(path)
    delimiter, head = _head(path, text)
    wrong: list[str] = []

    def refuse(row: Any) -> str:
        found, wanted = row.actual_columns, row.expected_columns
        wrong.append(f"{path}:{row.number}: {found} values, not {wanted}")
        return "error"

    try:
        table = csv.read_csv(
            pa.BufferReader(text.encode()),
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=refuse
            ),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(head, pa.string())),
        )
    except pa.ArrowInvalid:
        if wrong:
            raise CurvesError(wrong[0]) from None
        raise
    columns = [pc.utf8_trim_whitespace(column) for column in table.columns]
    table = pa.table(columns, names=[name.strip() for name in table.column_names])
    is_empty = np.ones(table.num_rows, bool)
    for column in table.columns:
        is_empty &= pc.equal(column, "").to_numpy()
    rows = np.flatnonzero(~is_empty)
    # lines count from 1, and the first one is the head
    return table.take(rows), lambda row: f"{path}:{rows[row] + 2}", delimiter != ","


def _decoded(path: Path) -> str:
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        message = "neither UTF-8 nor UTF-16 text: save it as UTF-8"
        raise CurvesError(f"{path}: byte {error.start + 1} is {message}") from None


def _head(path: Path, text: str) -> tuple[str, list[str]]:
    """Return what stands between values, and the names of the columns as they are written."""
    line = text.partition("\n")[0].rstrip("\r")
    try:
        delimiter = Sniffer().sniff(line, delimiters=",;\t").delimiter
    except CsvError:
        delimiter = ","  # one column, or none
    return delimiter, next(csv_reader([line], delimiter=delimiter), [])


def _read_parquet(path: Path) -> tuple[pa.Table, Callable[[int], str], bool]:
    from pyarrow import parquet

    return parquet.read_table(path), lambda row: f"{path}: row {row + 1}", False


def _read_jsonl(path: Path) -> tuple[pa.Table, Callable[[int], str], bool]:
    """Read an object a line; one that lacks a column of others has nothing there."""
    found: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(_decoded(path).splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise CurvesError(f"{path}:{number}: no object of JSON: {line[:50]!r}")
            found.append((number, row))
    names = list(dict.fromkeys(name for _, row in found for name in row))
    columns = {name: [row.get(name) for _, row in found] for name in names}
    return pa.table(columns), lambda row: f"{path}:{found[row][0]}", False


_READERS = {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_jsonl}


@dataclass(frozen=True)
class _Columns:
    """The columns of a table as numbers and names."""

    path: Path
    table: pa.Table
    place: Callable[[int], str]
    may_have_commas: bool

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

    def flags(self, name: str) -> NDArray[np.bool_]:
        """Return a column of true and false, or 1 and 0; false where there is none."""
        if name not in self.table.column_names:
            return np.zeros(self.table.num_rows, bool)
        words = [str(each).strip().lower() for each in self._plain(name).to_pylist()]
        for row, word in enumerate(words):
            if word not in _FLAGS:
                raise CurvesError(f"{self.place(row)}: {name} {word[:50]!r}: not true or false")
        return np.array([_FLAGS[word] for word in words])

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
        words = pc.if_else(pc.equal(words, ""), "nan", self._with_points(name, words))
        try:
            found: NDArray[np.float64] = words.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            found = np.array([self._number(*each, name) for each in enumerate(words.to_pylist())])
        return found

    @cached_property
    def has_commas(self) -> bool:
        """Whether losses have decimal commas."""
        column = self._plain("val_loss")
        if not (self.may_have_commas and pa.types.is_string(column.type)):
            return False
        return bool(pc.any(pc.match_substring(column, ",")).as_py())

    def _with_points(self, name: str, words: pa.Array) -> pa.Array:
        """Return words with points for decimal commas; then a point may be for thousands."""
        if not self.has_commas:
            return words
        both = np.flatnonzero(pc.match_substring(words, ".").to_numpy(zero_copy_only=False))
        if len(both):
            row = int(both[0])
            message = f"{name} {words[row].as_py()!r}: a point, where losses have decimal commas"
            raise CurvesError(f"{self.place(row)}: {message}")
        return pc.replace_substring(words, ",", ".") if name == "val_loss" else words

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
