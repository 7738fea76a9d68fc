"""Local files as documents: plain text, lines of JSON and Parquet."""

import codecs
import gzip
import itertools
import json
import shlex
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from typing_extensions import override

from lagsearch.data.text.documents import (
    END,
    PIECE,
    Cut,
    Piece,
    Unit,
    in_pieces,
)
from lagsearch.errors import DataError, brief
from lagsearch.storage.files import file_digest

JSON_SUFFIXES = frozenset({".jsonl", ".json", ".ndjson"})
_READ_BYTES = 8 * PIECE
_ROWS_AT_A_TIME = 256
_BUFFER = 1 << 20


def unit_of(path: Path, column: str, *, by_line: bool) -> "FileUnit":
    """Return a file as documents; its suffix says what kind it is.

    Args:
        path: The file.
        column: Of records: the key that holds the text.
        by_line: Of plain text: whether each line is a document.
    """
    suffix = _suffix(path)
    if suffix in JSON_SUFFIXES:
        return JsonLines(path, column)
    if suffix == ".parquet":
        return Parquet(path, column)
    return TextLines(path) if by_line else TextFile(path)


def is_plain(path: Path) -> bool:
    """Return whether a file is text as it is, and has no columns."""
    return _suffix(path) not in {*JSON_SUFFIXES, ".parquet"}


def files_in(path: Path) -> list[Path]:
    """Return a file, or all files of a folder and the folders in it, sorted, but hidden ones.

    Raises:
        DataError: There is a link to a folder, which could lead in a circle, or to nothing.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: neither a file nor a folder, but a device or a pipe")
    names = {each: each.relative_to(path).parts for each in path.rglob("*")}
    shown = [each for each in names if not any(name.startswith(".") for name in names[each])]
    for each in shown:
        if each.is_symlink() and not each.exists():
            raise DataError(f"{each}: a link to nothing")
        if each.is_symlink() and each.is_dir():
            raise DataError(f"{each}: links to folders are not followed: list the folder itself")
    return sorted((each for each in shown if each.is_file()), key=lambda each: names[each])


def _suffix(path: Path) -> str:
    suffixes = [each.lower() for each in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@dataclass(frozen=True)
class FileUnit(Unit):
    """A file.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    @override
    def name(self) -> str:
        return str(self.path)

    @property
    @override
    def size(self) -> int:
        return self.path.stat().st_size

    @override
    def digest(self) -> str:
        return self._bytes

    @cached_property
    def _bytes(self) -> str:
        """A hash of the file."""
        return file_digest(self.path)


@dataclass(frozen=True)
class PlainText(FileUnit):
    """UTF-8 text; a byte order mark before it is none of it."""

    @override
    def digest(self) -> str:
        return f"unmarked {self._bytes}" if self._begins else self._bytes

    @override
    def content(self) -> str:
        return self._bytes

    @cached_property
    def _begins(self) -> int:
        """The byte at which the text begins."""
        mark = codecs.BOM_UTF8
        with _opened(self.path) as (file, _):
            return len(mark) if file.read(len(mark)) == mark else 0


@dataclass(frozen=True)
class TextFile(PlainText):
    """One document of UTF-8 text.

    Attributes:
        errors: What is done about bytes that are not UTF-8: `strict` refuses them.
    """

    errors: str = "strict"

    @override
    def digest(self) -> str:
        return super().digest() if self.errors == "strict" else self._bytes

    @override
    def pieces(self, after: int, cut: Cut) -> Iterator[Piece]:
        if self.errors != "strict":  # bytes cannot be counted by the characters that replace them
            for text in in_pieces(self.path.read_bytes().decode(errors=self.errors), cut):
                yield Piece(text, False, None, None)
            yield Piece("", True, END, 1.0)
            return
        after = max(after, self._begins)
        with _opened(self.path) as (file, done):
            file.seek(after)
            decoder = codecs.getincrementaldecoder("utf-8")()
            held, enough = "", 2 * PIECE
            while block := file.read(_READ_BYTES):
                held += decoder.decode(block)
                begin = 0
                while len(held) - begin > enough:
                    if not (end := cut(held, begin)):
                        enough = 2 * (len(held) - begin)
                        break
                    after += len(held[begin:end].encode())
                    yield Piece(held[begin:end], False, after, done())
                    begin, enough = end, 2 * PIECE
                held = held[begin:]
            held += decoder.decode(b"", final=True)
            yield Piece(held, True, END, 1.0)


@dataclass(frozen=True)
class TextLines(PlainText):
    """UTF-8 text, each line of which is a document; blank ones are left out."""

    @override
    def digest(self) -> str:
        return f"lines {super().digest()}"

    @override
    def pieces(self, after: int, cut: Cut) -> Iterator[Piece]:
        for line, behind, done in _lines(self.path, max(after, self._begins)):
            yield from _document(line.rstrip("\r\n"), cut, behind, done)


@dataclass(frozen=True)
class JsonLines(FileUnit):
    """A JSON object a line, one key of which holds a document; null is none, nor is an empty one.

    Attributes:
        column: The key.
    """

    column: str

    @override
    def digest(self) -> str:
        return f"json records {json.dumps(self.column)} {super().digest()}"

    @override
    def pieces(self, after: int, cut: Cut) -> Iterator[Piece]:
        begins = after
        for line, behind, done in _lines(self.path, after):
            try:
                text = self._text(line)
            except DataError as error:
                raise DataError(f"{self.path}:{self._number(begins)}: {error}") from None
            begins = behind
            if text:
                yield from _document(text, cut, behind, done)

    def _text(self, line: str) -> str | None:
        try:
            row = json.loads(line.removeprefix("\ufeff"))
        except (ValueError, RecursionError) as error:
            found = getattr(error, "msg", str(error)) or "not valid"
            message = f"not a JSON object in one line ({found})"
            raise DataError(f"{message}{self._as_array(line)}") from None
        if not isinstance(row, dict):
            raise DataError(f"not a JSON object in one line{self._as_array(line)}")
        if self.column not in row:
            raise DataError(f"no column {self.column!r}; it has: {', '.join(row) or 'none'}")
        return as_text(row[self.column], self.column)

    def _as_array(self, line: str) -> str:
        """Say what to do about a file that is one array."""
        if not line.lstrip("\ufeff \t").startswith("["):
            return ""
        command = f"jq -c '.[]' {shlex.quote(self.path.name)} > records.jsonl"
        return f": it begins an array; write each object in a line of its own, e.g. {command}"

    def _number(self, begins: int) -> int:
        """Return the number of the line that begins at a byte, blank ones before it passed."""
        with _opened(self.path) as (file, _):
            before = 0
            for number, line in enumerate(file, start=1):
                before += len(line)
                if before > begins and line.strip():
                    return number
        return 0


@dataclass(frozen=True)
class Parquet(FileUnit):
    """A table, one column of which holds documents; null is none, nor is an empty one.

    Attributes:
        column: The column's name.
    """

    column: str

    @override
    def digest(self) -> str:
        return f"parquet records {json.dumps(self.column)} {super().digest()}"

    @override
    def pieces(self, after: int, cut: Cut) -> Iterator[Piece]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # a buffer, so that a column of a row group is read page by page and not as a whole
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=_BUFFER) as file:
                names = file.schema_arrow.names
                if self.column not in names:
                    raise DataError(
                        f"{self.path}: no column {self.column!r}; it has: {', '.join(names)}"
                    )
                rows = file.metadata.num_rows
                for number, value in self._values(file, after):
                    text = self._text(value, number)
                    if text:
                        yield from _document(text, cut, number + 1, (number + 1) / rows)
        except (pa.lib.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read as Parquet ({brief(error)})") from None

    def _values(self, file: Any, after: int) -> Iterator[tuple[int, Any]]:
        """Yield each row's number and value."""
        number = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if number + rows <= after:
                number += rows
                continue
            for batch in file.iter_batches(_ROWS_AT_A_TIME, [group], [self.column]):
                for value in batch.column(0).to_pylist():
                    if number >= after:
                        yield number, value
                    number += 1

    def _text(self, value: Any, number: int) -> str | None:
        try:
            return as_text(value, self.column)
        except DataError as error:
            raise DataError(f"{self.path}: row {number + 1}: {error}") from None


def first_records(path: Path, most: int) -> list[dict[str, Any]]:
    """Return the records that a file of records begins with, by their columns.

    Args:
        path: The file.
        most: How many; there are fewer where the file ends, or holds something else.
    """
    if _suffix(path) == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                rows = next(file.iter_batches(most), None)
        except (pa.lib.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as Parquet ({brief(error)})") from None
        return rows.to_pylist() if rows is not None else []
    found: list[dict[str, Any]] = []
    for line, _, _ in itertools.islice(_lines(path, 0), most):
        try:
            row = json.loads(line.removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict):
            break
        found.append(row)
    return found


def as_text(value: Any, column: str) -> str | None:
    """Return a record's text, None where it has none.

    Raises:
        DataError: It is something else.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if not value.isascii():
            _check_whole(value, column)
        return value
    raise DataError(f"column {column!r} holds {type(value).__name__}, not text")


def _check_whole(text: str, column: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write one half of a pair alone
        raise DataError(f"column {column!r} holds half a character (a lone surrogate)") from None


def _document(text: str, cut: Cut, after: int, done: float) -> Iterator[Piece]:
    """Yield a record's text in pieces; reading can go on only after the last one."""
    *before, last = in_pieces(text, cut)
    for each in before:
        yield Piece(each, False, None, done)
    yield Piece(last, True, after, done)


def _lines(path: Path, after: int) -> Iterator[tuple[str, int, float]]:
    """Yield every line that is not blank, the byte behind it and the share of the file read."""
    with _opened(path) as (file, done):
        file.seek(after)
        for line in file:
            after += len(line)
            text = line.decode()
            if text.strip():
                yield text, after, done()


def _in_utf_8(path: Path) -> str:
    """Say what to do about a text in another encoding."""
    with path.open("rb") as file:
        if file.read(2) not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "; a text in another encoding must be saved as UTF-8"
    name = shlex.quote(path.name)
    return f": it is UTF-16; save it as UTF-8, e.g. iconv -f UTF-16 -t UTF-8 {name} > utf8-{name}"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], float]]]:
    """Open a file for reading, unpacked where it is packed; the other says how much is read.

    Raises:
        DataError: It is not UTF-8 text, or broken.
    """
    size = max(1, path.stat().st_size)
    try:
        with path.open("rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
            yield file, lambda: raw.tell() / size
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason}){_in_utf_8(path)}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({brief(error)})") from None
