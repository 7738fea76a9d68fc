"""Files that matter: atomic writes, content hashes, derived seeds and the cache folder."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

UNFINISHED = ".tmp"
"""What the name of a file ends in that is not written to its end."""
_KEPT = 200
"""Characters of a file's name in that of its temporary one: names have 255 bytes at most."""


def cache_root() -> Path:
    """Return the folder for sources and tokens: `LAGSEARCH_CACHE`, else the user's cache folder."""
    if folder := os.environ.get("LAGSEARCH_CACHE"):
        return Path(folder).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lagsearch"))


def path_of(name: str) -> Path:
    """Return a path as a user wrote it, `~` spelt out; a home that nobody has is left as it is."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def is_path(name: str) -> bool:
    """Return whether a name is that of a folder, here or not, and cannot be one of the hub."""
    is_written_so = name.startswith((".", "/", "~")) or name.count("/") > 1
    return is_written_so or path_of(name).is_dir()


def digest(value: Any) -> str:
    """Return a short hash of a JSON-like value: the same on every machine and in every run."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derive_seed(root: int, *purpose: str | int) -> int:
    """Derive a 63-bit seed from the root seed and a purpose, e.g. `(0, "batches", "growth", 3)`."""
    text = json.dumps([root, *purpose])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the operating system name the file that it is about: a full disk's does not.

    Raises:
        OSError: As inside, with `path` where it named none.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path, *, is_lasting: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place only when the block succeeds.

    Args:
        path: What is written.
        is_lasting: Whether it is on the disk before the old file is gone, so that a power cut
            leaves one of them. What is drawn from other files need not wait for that.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # a name of its own, short enough wherever `path` itself is
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name[:_KEPT]}.", suffix=UNFINISHED, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            if is_lasting:
                _flush(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
            if is_lasting:
                _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def unfinished(path: Path) -> list[Path]:
    """Return what a killed process left of writing a file, and no other file's."""
    return _named(path.parent, re.escape(path.name[:_KEPT]))


def unfinished_in(folder: Path) -> list[Path]:
    """Return what killed processes left of writing any file of a folder; none behind a link."""
    return [] if folder.is_symlink() else _named(folder, ".+")


def _named(folder: Path, name: str) -> list[Path]:
    pattern = re.compile(rf"\.{name}\.[a-z0-9_]{{8}}{re.escape(UNFINISHED)}")
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if pattern.fullmatch(each.name))


@contextmanager
def appearing(folder: Path, *, is_lasting: bool = True) -> Iterator[Path]:
    """Give the path of a folder to be made, which appears under its own name when it is whole.

    Args:
        folder: What is made, in a folder that is made where it is not there.
        is_lasting: Whether all of it is on the disk before it appears.

    Raises:
        OSError: It cannot be written, or is there and not empty.
    """
    making = folder.with_name(f".{folder.name}{UNFINISHED}")
    shutil.rmtree(making, ignore_errors=True)
    making.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield making
        if is_lasting:
            _make_lasting(making)
        making.replace(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _make_lasting(folder: Path) -> None:
    """Wait until all that is in a folder is on the disk."""
    for each in sorted(folder.rglob("*")):
        _flush(each)
    _flush(folder)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk; not all file systems can."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def alone(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold a folder of the cache for this process alone, saying so where it has to wait."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"waiting for another process that writes {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinity are refused.

    Each key of an object has a line, and each object of a list: people read it, and compare it.
    """
    write_text(path, _in_lines(value) + "\n")


def _in_lines(value: Any) -> str:
    """Write JSON; what stands below the second level is on one line, and so ten times as fast."""
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(str(key))}: {_rows(each)}" for key, each in value.items()]
        return "{\n" + ",\n".join(items) + "\n}"
    return _rows(value)


def _rows(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(each, allow_nan=False) for each in value) + "\n]"
    return json.dumps(value, allow_nan=False)
