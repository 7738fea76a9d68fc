"""The cache: entries that are sealed when they are complete, and checked before they are used.

An entry is a folder, `<kind>/<digest of what made it>/`. Its record says what it is; it is written
last, so that an entry without one is unfinished. `seal.json` holds the SHA-256 of each of its
files. Who uses an entry holds its folder shared, so that `lagsearch cache clear` leaves it alone.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lagsearch.storage.files import (
    UNFINISHED,
    alone,
    cache_root,
    file_digest,
    unfinished_in,
    write_json,
)

KINDS = {"sources": "source.json", "tokens": "store.json"}
"""Kinds of entries, and the name of each one's record."""

SEAL = "seal.json"
_LOCK = "lock"

_checked: dict[Path, list[tuple[str, int, int]]] = {}
"""Entries that this process found whole, with the sizes and times that their files then had."""

_held: list[list[int]] = []


@dataclass(frozen=True)
class CacheEntry:
    """An entry of the cache, made or not.

    Attributes:
        folder: Where it is.
    """

    folder: Path

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.folder.parent.name

    @property
    def name(self) -> str:
        """Its kind and digest, as the user names it."""
        return f"{self.kind}/{self.folder.name}"

    @property
    def record(self) -> Path:
        """The file that says what it is."""
        return self.folder / KINDS[self.kind]

    @property
    def seal(self) -> Path:
        """The file with the hashes of the others."""
        return self.folder / SEAL

    @property
    def is_made(self) -> bool:
        """Whether it was completed once; it may be damaged since."""
        return self.record.is_file()

    @property
    def files(self) -> list[Path]:
        """Its files but for lock and seal."""
        own = {self.folder / _LOCK, self.seal}
        found = [Path(place) / name for place, _, names in os.walk(self.folder) for name in names]
        return sorted(each for each in found if each not in own)

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(size for _, size, _ in self._sizes())

    @property
    def used_at(self) -> datetime | None:
        """When it was last used, or made; None where nothing is there."""
        seconds = [each.stat().st_mtime for each in (*self.files, self.seal) if each.is_file()]
        return datetime.fromtimestamp(max(seconds), UTC) if seconds else None

    def facts(self) -> dict[str, Any]:
        """Return what its record says; nothing where that cannot be read."""
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(self.record.read_bytes())
            return found if isinstance(found, dict) else {}
        return {}

    def damage(self) -> str | None:
        """Compare its files with its seal; return what is wrong, in words, or None.

        One that was made by an earlier version has no seal: it gets one where it can be written.
        """
        found = self._sizes()
        if _checked.get(self.folder) == found:
            return None
        if self.seal.is_file():
            wrong = self._broken()
        else:
            wrong = None
            with suppress(OSError):  # a cache that can only be read
                self.close()
        if wrong is None:
            _checked[self.folder] = found
        return wrong

    def close(self) -> None:
        """Seal it: it is complete. What a killed process left half written goes."""
        left = unfinished_in(self.folder)
        names = [
            each.relative_to(self.folder).as_posix() for each in self.files if each not in left
        ]
        try:
            write_json(self.seal, {name: file_digest(self.folder / name) for name in names})
        except FileNotFoundError:  # another process, which sealed it meanwhile, took ours for such
            if not self.seal.is_file():
                raise
        for each in left:
            each.unlink(missing_ok=True)

    def is_usable(self) -> bool:
        """Return whether it is complete and whole; if so, it is noted as in use."""
        if not self.is_made or self.damage() is not None:
            return False
        _hold(self.folder)
        with suppress(OSError):  # a cache that can only be read
            os.utime(self.seal)
        return True

    def discard(self) -> None:
        """Delete its files by their names, its record first: without one it is unfinished."""
        _checked.pop(self.folder, None)
        for path in (self.record, self.seal, *self.files):
            path.unlink(missing_ok=True)
        for place, _, _ in os.walk(self.folder, topdown=False):
            if Path(place) != self.folder:
                with suppress(OSError):  # what is not ours stays
                    Path(place).rmdir()

    def _sizes(self) -> list[tuple[str, int, int]]:
        stats = [(str(each), each.lstat()) for each in self.files]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

    def _broken(self) -> str | None:
        try:
            recorded = json.loads(self.seal.read_bytes())
            for name, digest in recorded.items():
                path = self.folder / name
                if not path.is_file():
                    return f"{name} is missing"
                if file_digest(path) != digest:
                    return f"{name} is not what was written"
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return f"{SEAL} cannot be read"
        return None if self.record.name in recorded else f"{SEAL} cannot be read"


def provide(entry: CacheEntry, build: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Have an entry ready: as it is if it is whole, else made by this process alone.

    Nothing is written where it is whole, so that a cache that can only be read will do.

    Args:
        entry: The entry.
        build: Makes its files, the record last; it finds what an interrupted process left.
        tell: Is told in a line what is waited for, and what is damaged and therefore made anew.
    """
    with making(entry, tell) as is_missing:
        if is_missing:
            build()


@contextmanager
def making(entry: CacheEntry, tell: Callable[[str], None]) -> Iterator[bool]:
    """Have an entry that is not whole for this process alone, to make it in a block; see `provide`.

    Gives whether it is to be made.
    """
    if entry.is_usable():
        yield False
        return
    with alone(entry.folder, tell):
        if entry.is_usable():
            yield False
            return
        if entry.is_made:
            tell(f"cache: {entry.name} is damaged ({entry.damage()}): it is made anew")
            entry.discard()
        for left in entry.files:
            if left.name.startswith(".") and left.suffix == UNFINISHED:
                left.unlink()
        yield True
        entry.close()
    _hold(entry.folder)


def entries() -> list[CacheEntry]:
    """Return all entries that hold anything, unfinished ones too."""
    root = cache_root()
    found = [CacheEntry(path) for kind in KINDS for path in sorted((root / kind).glob("*"))]
    return [each for each in found if each.folder.is_dir() and each.files]


def clear(entry: CacheEntry) -> bool:
    """Delete an entry that no process makes or uses; return whether it was deleted."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(entry.folder / _LOCK, timeout=0):
            handle = _lock(entry.folder, is_shared=False)
            if handle is None:
                return False
            try:
                entry.discard()
            finally:
                os.close(handle)
    except Timeout:
        return False
    return True


@contextmanager
def holding() -> Iterator[None]:
    """Keep what is used of the cache inside from being cleared."""
    _held.append([])
    try:
        yield
    finally:
        for handle in _held.pop():
            os.close(handle)


def _hold(folder: Path) -> None:
    if _held and (handle := _lock(folder, is_shared=True)) is not None:
        _held[-1].append(handle)


def _lock(folder: Path, *, is_shared: bool) -> int | None:
    """Lock a folder of this machine until its handle is closed; None where another has it.

    Nothing is written for that. Where folders cannot be locked there is nothing to be held.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        return os.open(os.devnull, os.O_RDONLY)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
