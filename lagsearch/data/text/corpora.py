"""Where text comes from: local files, a hub dataset, or the Python standard library."""

import hashlib
import os
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import override

from lagsearch.data.text.documents import Unit, cut_anywhere
from lagsearch.data.text.files import (
    TextFile,
    files_in,
    is_plain,
    unit_of,
)
from lagsearch.data.text.hub import open_hub
from lagsearch.errors import DataError, counted
from lagsearch.space import Corpus, Source, Space, TextOrigin
from lagsearch.storage.files import digest, path_of

_TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__"})

_BESIDE_TEXT = 4
"""Tokens that may stand at the ends of a document, at most."""

_LARGE = 2 << 30
"""Bytes that take a while to read."""

Place = tuple[str | int, ...]
"""A key of the space file."""


@dataclass(frozen=True)
class Documents:
    """A corpus, ready to be read as often as needed.

    Attributes:
        name: In words.
        digest: Hash of the content.
        units: Its files or datasets, in the order that they are read in.
        at: Its key in the space file.
    """

    name: str
    digest: str
    units: tuple[Unit, ...]
    at: Place = ("data",)

    @property
    def size(self) -> int:
        """Bytes, or 0 where they are not known."""
        return sum(unit.size for unit in self.units)

    def ready(self) -> None:
        """Fetch what reading needs, where it is fetched late.

        Raises:
            DataError: It cannot be had.
        """
        try:
            for unit in self.units:
                unit.ready()
        except DataError as error:
            raise DataError(str(error), self.at) from None

    def read(self) -> Iterator[str]:
        """Read all text, in a fixed order; long documents come in several pieces of whole words.

        Raises:
            DataError: Something is not text.
        """
        for unit in self.units:
            try:
                for piece in unit.pieces(0, cut_anywhere):
                    yield piece.text
            except DataError as error:
                raise DataError(str(error), self.at) from None


@dataclass(frozen=True)
class Joined(Documents):
    """Texts one behind the other.

    Attributes:
        texts: What they are.
    """

    texts: tuple[Documents, ...] = ()

    @override
    def read(self) -> Iterator[str]:
        for text in self.texts:
            yield from text.read()


@dataclass(frozen=True)
class CorpusText:
    """One text of a corpus.

    Attributes:
        origin: Where it comes from.
        weight: Its share of the rows, relative to the others'.
        at: Its key in the space file.
    """

    origin: TextOrigin
    weight: float
    at: Place

    def check(self) -> None:
        """Check that its files are there; a hub dataset is not asked for.

        Raises:
            DataError: A file is missing, or a key does nothing for these files.
        """
        paths = []
        for path in _named(self.origin):
            if not path.exists():
                message = f"{path}: no such file or folder (relative paths start at "
                raise DataError(f"{message}{Path.cwd().name}/)", self.at)
            try:
                found = files_in(path)
            except DataError as error:
                raise DataError(str(error), self.at) from None
            if not found:
                raise DataError(f"{path}: a folder without files", self.at)
            paths += found
        for path in paths:
            if not os.access(path, os.R_OK):
                raise DataError(f"{path}: cannot be read: permission denied", self.at)
        if paths:
            self._check_keys([is_plain(path) for path in paths])
        hub, revision = self.origin.hub, self.origin.revision
        if hub and revision and path_of(hub).is_dir():
            raise DataError(f"{hub}: a local folder has no revisions", (*self.at, "revision"))

    def check_size(self, tokens: int, why: str) -> None:
        """Check by the bytes of its files that a text can have so many tokens; none is opened.

        No token is shorter than a byte, but for a few at the ends of each document. What is
        compressed, or has records, is only checked not to be empty; other texts are not checked.

        Args:
            tokens: The fewest that are needed.
            why: What for.

        Raises:
            DataError: It cannot.
        """
        if not all(each.exists() for each in _named(self.origin)):
            return
        paths = [path for each in _named(self.origin) for path in files_in(each)]
        if not paths:
            return
        named, sizes = _listed([str(each) for each in _named(self.origin)]), _sizes(paths)
        if not sum(sizes):
            raise DataError(f"{named}: no text at all", self.at)
        documents = sum(sizes) if self.origin.documents == "lines" else len(paths)
        most = sum(sizes) + _BESIDE_TEXT * documents
        if most < tokens and all(is_plain(each) and each.suffix.lower() != ".gz" for each in paths):
            way = "give more text, or a smaller data.sequence_length"
            message = f"{counted(sum(sizes), 'byte')}, but {why}: {way}"
            raise DataError(f"{named}: {message}", self.at)

    def _check_keys(self, are_plain: list[bool]) -> None:
        """Refuse keys that belong to other kinds of files."""
        for key, is_ignored, kind in (
            ("column", all(are_plain), "files of records (.jsonl, .parquet)"),
            ("documents", not any(are_plain), "plain text"),
        ):
            default = TextOrigin.model_fields[key].default
            if is_ignored and getattr(self.origin, key) != default:
                raise DataError(f"belongs to {kind}; there is none here", (*self.at, key))


class Opener:
    """Finds texts and hashes their content, once for each origin.

    Args:
        tell: Is told in a line when there is something to wait for.
    """

    def __init__(self, tell: Callable[[str], None] = lambda line: None) -> None:
        self.tell = tell
        self._known: dict[str, Documents] = {}

    def open(self, part: CorpusText) -> Documents:
        """Open a text.

        Raises:
            DataError: A file or dataset is missing or is not text.
        """
        part.check()
        key = digest(part.origin.model_dump(mode="json", include={*TextOrigin.model_fields}))
        try:
            if key not in self._known:
                self._known[key] = _open(part.origin, self.tell)
            return replace(self._known[key], at=part.at)
        except DataError as error:
            raise DataError(str(error), part.at) from None

    def training_text(self, space: Space) -> Documents:
        """Open all texts that candidates or sources are trained on, one behind the other.

        What several of them hold comes once.

        Raises:
            DataError: A file or dataset is missing or is not text.
        """
        parts = training_parts(space.data.train, space.sources)
        first, *others = (self.open(part) for part in parts)
        texts, seen = [first], {unit.digest() for unit in first.units}
        for text in others:
            units = tuple(unit for unit in text.units if unit.digest() not in seen)
            if units:
                texts.append(part_of_text(text, units))
                seen.update(unit.digest() for unit in units)
        return _joined(tuple(texts), ("data", "train"))


def part_of_text(text: Documents, units: tuple[Unit, ...]) -> Documents:
    """Return some units of a text, as they would be if they alone were listed."""
    if {unit.digest() for unit in units} == {unit.digest() for unit in text.units}:
        return text
    return Documents(_listed([unit.name for unit in units]), _hash_of(units), units, text.at)


def training_parts(train: Corpus | None, sources: Sequence[Source]) -> tuple[CorpusText, ...]:
    """Return all texts that candidates or sources are trained on.

    Args:
        train: The text that is trained on, if any beside the sources' own.
        sources: The space's sources.
    """
    own = [part for parts in own_parts(sources).values() for part in parts]
    return (*(parts_of(train, ("data", "train")) if train else ()), *own)


def parts_of(corpus: Corpus, at: Place) -> tuple[CorpusText, ...]:
    """Return the texts that a corpus consists of: one, or those of a mixture; none is opened.

    Args:
        corpus: What the space says.
        at: Its key in the space file.
    """
    if corpus.mixture is not None:
        return tuple(
            CorpusText(each, each.weight, (*at, "mixture", index))
            for index, each in enumerate(corpus.mixture)
        )
    if corpus.corpus or corpus.files or corpus.hub:
        return (CorpusText(corpus, 1.0, at),)
    return ()


def own_parts(sources: Sequence[Source]) -> dict[str, tuple[CorpusText, ...]]:
    """Return the texts of the sources that have a corpus of their own, by the source's name."""
    return {
        source.name: parts_of(source.pretrain.corpus, ("sources", index, "pretrain", "corpus"))
        for index, source in enumerate(sources)
        if source.pretrain is not None and source.pretrain.corpus is not None
    }


def check_corpora(space: Space) -> None:
    """Check that the files of all corpora are there; a hub dataset is not asked for.

    Raises:
        DataError: A file is missing, or a key does nothing for these files.
    """
    validation = parts_of(space.data.validation, ("data", "validation"))
    for part in (*training_parts(space.data.train, space.sources), *validation):
        part.check()


def _sizes(paths: Sequence[Path]) -> list[int]:
    return [path.stat().st_size for path in paths]


def _joined(texts: tuple[Documents, ...], at: Place) -> Documents:
    """Return texts one behind the other; one is left as it is."""
    if len(texts) == 1:
        return texts[0]
    name = " + ".join(each.name for each in texts)
    units = tuple(unit for each in texts for unit in each.units)
    return Joined(name, _combined([each.digest for each in texts]), units, at, texts)


def _open(origin: TextOrigin, tell: Callable[[str], None]) -> Documents:
    if origin.files is not None:
        return _files(origin, tell)
    if origin.hub is not None:
        dataset = open_hub(origin, tell)
        return Documents(dataset.name, dataset.digest(), (dataset,))
    return _python_stdlib()


def _named(origin: TextOrigin) -> list[Path]:
    return [path_of(name) for name in origin.files or ()]


def _files(origin: TextOrigin, tell: Callable[[str], None]) -> Documents:
    named = _named(origin)
    by_line = origin.documents == "lines"
    units = tuple(
        unit_of(path, origin.column, by_line=by_line) for each in named for path in files_in(each)
    )
    name = _listed([str(each) for each in named])
    if (size := sum(unit.size for unit in units)) > _LARGE:
        tell(f"reading {name} to know it by its content, {size / 1e9:,.1f} GB")
    return Documents(name, _hash_of(units), units)


def _python_stdlib() -> Documents:
    root = Path(sysconfig.get_paths()["stdlib"])
    units = tuple(
        TextFile(path, errors="replace")
        for path in sorted(root.rglob("*.py"))
        if not _TEST_FOLDERS.intersection(path.relative_to(root).parts)
    )
    if not units:
        raise DataError(f"python-stdlib: this Python has no *.py files in {root}")
    return Documents("python-stdlib", _hash_of(units), units)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _hash_of(units: tuple[Unit, ...]) -> str:
    return _combined([unit.digest() for unit in units])


def _combined(hashes: list[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]
