"""Where text comes from: local files, a hub dataset, or the Python standard library."""

import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lagsearch.data.files import TextFile, files_in, is_plain, unit_of
from lagsearch.data.hub import open_hub
from lagsearch.data.pieces import Unit, cut_anywhere
from lagsearch.errors import DataError
from lagsearch.space import Corpus, Origin, Source, Space

_TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__"})

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
            DataError: A file is missing, or a key does nothing for these files.
        """
        paths = []
        for path in _named(self.origin):
            if not path.exists():
                message = f"{path}: no such file or folder (relative paths start at "
                raise DataError(f"{message}{Path.cwd().name}/)", self.at)
            found = files_in(path)
            if not found:
                raise DataError(f"{path}: a folder without files", self.at)
            paths += found
        if paths:
            self._check_keys([is_plain(path) for path in paths])
        hub, revision = self.origin.hub, self.origin.revision
        if hub and revision and Path(hub).expanduser().is_dir():
            raise DataError(f"{hub}: a local folder has no revisions", (*self.at, "revision"))

    def open(self) -> Documents:
        """Find it and hash its content.

        Raises:
            DataError: A file or dataset is missing or is not text.
        """
        self.check()
        try:
            return replace(_open(self.origin), at=self.at)
        except DataError as error:
            raise DataError(str(error), self.at) from None

    def _check_keys(self, are_plain: list[bool]) -> None:
        """Refuse keys that belong to other kinds of files."""
        for key, is_ignored, kind in (
            ("column", all(are_plain), "files of records (.jsonl, .parquet)"),
            ("documents", not any(are_plain), "plain text"),
        ):
            default = Origin.model_fields[key].default
            if is_ignored and getattr(self.origin, key) != default:
                raise DataError(f"belongs to {kind}; there is none here", (*self.at, key))


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


def own_parts(sources: Sequence[Source]) -> dict[str, tuple[Part, ...]]:
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
    for part in (*_training_parts(space), *validation):
        part.check()


def training_text(space: Space) -> Documents:
    """Find all texts that candidates or sources are trained on, one behind the other.

    Raises:
        DataError: A file or dataset is missing or is not text.
    """
    opened = {text.digest: text for text in (part.open() for part in _training_parts(space))}
    return _joined(tuple(opened.values()), ("data", "train"))


def open_corpus(corpus: Corpus, part: str) -> Documents:
    """Find a corpus and hash its content; the texts of a mixture follow each other.

    Args:
        corpus: What the space says.
        part: Its key in the space's `data`: `train` or `validation`.

    Raises:
        DataError: A file or dataset is missing or is not text.
    """
    at = ("data", part)
    return _joined(tuple(each.open() for each in parts_of(corpus, at)), at)


def _training_parts(space: Space) -> tuple[Part, ...]:
    own = [part for parts in own_parts(space.sources).values() for part in parts]
    common = parts_of(space.data.train, ("data", "train")) if space.data.train else ()
    return (*common, *own)


def _joined(texts: tuple[Documents, ...], at: Place) -> Documents:
    """Return texts one behind the other; one is left as it is."""
    if len(texts) == 1:
        return texts[0]
    name = " + ".join(each.name for each in texts)
    units = tuple(unit for each in texts for unit in each.units)
    return Documents(name, _combined([each.digest for each in texts]), units, at)


def _open(origin: Origin) -> Documents:
    if origin.files is not None:
        return _files(origin)
    if origin.hub is not None:
        dataset = open_hub(origin)
        return Documents(dataset.name, dataset.digest(), (dataset,))
    return _python_stdlib()


def _named(origin: Origin) -> list[Path]:
    return [Path(name).expanduser() for name in origin.files or ()]


def _files(origin: Origin) -> Documents:
    named = _named(origin)
    by_line = origin.documents == "lines"
    units = tuple(
        unit_of(path, origin.column, by_line=by_line) for each in named for path in files_in(each)
    )
    name = ", ".join(map(str, named[:3])) + (f" and {len(named) - 3} more" if named[3:] else "")
    return Documents(name, _combined([unit.digest() for unit in units]), units)


def _python_stdlib() -> Documents:
    root = Path(sysconfig.get_paths()["stdlib"])
    units = tuple(
        TextFile(path, errors="replace")
        for path in sorted(root.rglob("*.py"))
        if not _TEST_FOLDERS.intersection(path.relative_to(root).parts)
    )
    if not units:
        raise DataError(f"python-stdlib: this Python has no *.py files in {root}")
    return Documents("python-stdlib", _combined([unit.digest() for unit in units]), units)


def _combined(hashes: list[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]
