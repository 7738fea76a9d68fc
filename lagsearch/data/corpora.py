"""Where text comes from: local files, a hub dataset, or the Python standard library."""

import hashlib
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.errors import DataError
from lagsearch.space import Corpus, Origin
from lagsearch.storage import file_digest

_TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__"})


@dataclass(frozen=True)
class Documents:
    """A corpus, ready to be read as often as needed.

    Attributes:
        name: In words.
        digest: Hash of the content.
        read: Begins a reading of all documents, in a fixed order.
    """

    name: str
    digest: str
    read: Callable[[], Iterator[str]]


Place = tuple[str | int, ...]
"""A key of the space file."""


@dataclass(frozen=True)
class Part:
    """One text of a corpus.

    Attributes:
        origin: Where it comes from.
        weight: Its share of the rows, relative to the others'.
        at: Its key in the space file.
    """

    origin: Origin
    weight: float
    at: Place

    def check(self) -> None:
        """Check that its files are there; a hub dataset is not asked for.

        Raises:
            DataError: A file is missing.
        """
        for path in _paths(self.origin):
            if not path.is_file():
                message = f"{path}: no such file (relative paths start at {Path.cwd().name}/)"
                raise DataError(message, self.at)

    def open(self) -> Documents:
        """Find it and hash its content.

        Raises:
            DataError: A file or dataset is missing or is not text.
        """
        self.check()
        try:
            return _open(self.origin)
        except DataError as error:
            raise DataError(str(error), self.at) from None


def parts_of(corpus: Corpus, at: Place) -> tuple[Part, ...]:
    """Return the texts that a corpus consists of: one, or those of a mixture; none is opened.

    Args:
        corpus: What the space says.
        at: Its key in the space file.
    """
    if corpus.mixture is not None:
        return tuple(
            Part(each, each.weight, (*at, "mixture", index))
            for index, each in enumerate(corpus.mixture)
        )
    if corpus.corpus or corpus.files or corpus.hub:
        return (Part(corpus, 1.0, at),)
    return ()


def check_corpus(corpus: Corpus, part: str) -> None:
    """Check that the files of a corpus are there; a hub dataset is not asked for.

    Args:
        corpus: What the space says.
        part: Its key in the space's `data`: `train` or `validation`.

    Raises:
        DataError: A file is missing.
    """
    for each in parts_of(corpus, ("data", part)):
        each.check()


def open_corpus(corpus: Corpus, part: str) -> Documents:
    """Find a corpus and hash its content; the texts of a mixture follow each other.

    Args:
        corpus: What the space says.
        part: Its key in the space's `data`: `train` or `validation`.

    Raises:
        DataError: A file or dataset is missing or is not text.
    """
    opened = [each.open() for each in parts_of(corpus, ("data", part))]
    if len(opened) == 1:
        return opened[0]

    def read() -> Iterator[str]:
        for each in opened:
            yield from each.read()

    name = " + ".join(each.name for each in opened)
    return Documents(name, _combined([each.digest for each in opened]), read)


def _open(corpus: Origin) -> Documents:
    if corpus.files is not None:
        return _files(_paths(corpus))
    if corpus.hub is not None:
        return _hub(corpus)
    return _python_stdlib()


def _paths(corpus: Origin) -> list[Path]:
    return [Path(name).expanduser() for name in corpus.files or ()]


def _files(paths: list[Path]) -> Documents:
    hashes = [file_digest(path) for path in paths]

    def read() -> Iterator[str]:
        for path in paths:
            try:
                yield path.read_bytes().decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: not UTF-8 text ({error.reason})") from None

    return Documents(", ".join(map(str, paths)), _combined(hashes), read)


def _python_stdlib() -> Documents:
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(
        path
        for path in root.rglob("*.py")
        if not _TEST_FOLDERS.intersection(path.relative_to(root).parts)
    )
    if not paths:
        raise DataError(f"python-stdlib: this Python has no *.py files in {root}")

    def read() -> Iterator[str]:
        for path in paths:
            yield path.read_bytes().decode(errors="replace")

    return Documents("python-stdlib", _combined([file_digest(path) for path in paths]), read)


def _hub(corpus: Origin) -> Documents:
    import datasets

    from lagsearch.models.build import quiet

    quiet()
    datasets.disable_progress_bars()
    try:
        rows: Any = datasets.load_dataset(corpus.hub, corpus.config, split=corpus.split)
    except Exception as error:  # datasets and the hub raise many types; all mean: not to be had
        first = (str(error).strip() or repr(error)).splitlines()[0][:160]
        raise DataError(
            f"dataset {corpus.hub!r} cannot be fetched ({first}); give local `files`, a local "
            "folder, or set HF_HOME to a cache that has it"
        ) from error
    if corpus.column not in rows.column_names:
        raise DataError(
            f"dataset {corpus.hub!r} has no column {corpus.column!r}; it has: "
            f"{', '.join(rows.column_names)}"
        )

    def read() -> Iterator[str]:
        for row in rows.select_columns([corpus.column]):
            yield str(row[corpus.column])

    name = " ".join(filter(None, [corpus.hub, corpus.config, corpus.split]))
    hasher = hashlib.sha256()
    for text in read():
        hasher.update(text.encode() + b"\0")
    return Documents(name, hasher.hexdigest()[:16], read)


def _combined(hashes: list[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]
