"""Tables of named things that anybody may add to, in this package or in one of their own.

A thing enters itself: importing its module enters it, by a decorator or because it is a record.
Nobody lists the modules. At the first lookup those of a folder of this package are imported, then
what installed packages name as entry points of the table's group.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import ismodule
from pkgutil import iter_modules
from threading import RLock
from types import ModuleType
from typing import Any, Generic, TypeVar

from lagsearch.errors import LagsearchError, PluginError, and_then, brief, did_you_mean

T = TypeVar("T")


@dataclass(eq=False)
class Registry(Generic[T]):
    """One table.

    Attributes:
        noun: What an entry is called, e.g. `operator`.
        home: The module, or the folder of modules, of this package that fills it.
        group: The group of entry points by which other packages add to it.
        record: The type of entries that are plain records with a `name`: each one that stands in
            a module enters by itself. None where a decorator enters them.
    """

    noun: str
    home: str
    group: str
    record: type[T] | None = None
    _entries: dict[str, tuple[T, str]] = field(default_factory=dict)
    _lock: Any = field(default_factory=RLock, repr=False)
    _is_loaded: bool = False
    _failure: PluginError | None = None

    def enter(self, name: str, entry: T, place: str) -> None:
        """Enter something.

        Args:
            name: Its name.
            entry: It.
            place: Where it is written, e.g. `package.module:function`.

        Raises:
            PluginError: The name is taken.
        """
        if name in self._entries:
            both = f"{self._entries[name][1]} and {place}"
            raise PluginError(f"{self.noun} {name!r} is there twice: {both}")
        self._entries[name] = (entry, place)

    def get(self, name: str) -> T | None:
        """Return the entry of a name, or None.

        Raises:
            PluginError: An installed package adds something that cannot be had.
        """
        self._load()
        return self._entries[name][0] if name in self._entries else None

    def all(self) -> tuple[T, ...]:
        """Return all entries: this package's, then those of others, each by module and line.

        So their order does not depend on what was imported first.
        """
        self._load()
        return tuple(self._entries[name][0] for name in self.names())

    def names(self) -> list[str]:
        """Return the names of all entries in the same order."""
        self._load()
        return sorted(self._entries, key=self._order)  # it is stable: the order in a module stays

    def unknown(self, name: str) -> str:
        """Say that there is none of a name: all there are, and the nearest."""
        known = sorted(self.names())
        message = f"{self.noun} {name!r} is unknown{did_you_mean(name, known)}"
        return and_then(message, f"known: {', '.join(known)}")

    def _order(self, name: str) -> tuple[bool, str]:
        module = self._entries[name][1].partition(":")[0]
        return not f"{module}.".startswith(f"{self.home}."), module

    def _load(self) -> None:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._is_loaded:  # or is being loaded, by what one of the modules looks up
                return
            self._is_loaded = True
            try:
                for module in _modules(self.home):
                    self._take(module, module.__name__)
                for point in _points(self.group):
                    self._plug(point)
            except PluginError as failure:
                self._failure = failure
                raise
            except BaseException:
                self._is_loaded = False
                raise

    def _take(self, found: Any, place: str) -> None:
        """Enter what is a record; decorators have entered all else."""
        if self.record is None:
            return
        if ismodule(found):
            for name, each in vars(found).items():
                if not name.startswith("_") and isinstance(each, self.record):
                    self._take(each, f"{place}:{name}")
        elif isinstance(found, self.record) and all(found is not each for each, _ in self._held):
            self.enter(found.name, found, place)  # type: ignore[attr-defined]  # as `record` says

    @property
    def _held(self) -> list[tuple[T, str]]:
        return list(self._entries.values())

    def _plug(self, point: EntryPoint) -> None:
        """Import what another package adds."""
        package = "a package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
        where = f"{package}: entry point {point.name} = {point.value} of {self.group}"
        before = len(self._entries)
        try:
            found = point.load()
            self._take(found, point.value)
        except LagsearchError as error:
            raise PluginError(f"{where}: {error}") from error
        except (Exception, SystemExit) as error:
            raise PluginError(f"{where}: {type(error).__name__}: {brief(str(error))}") from error
        if len(self._entries) == before and not self._has_entered(point.module):
            raise PluginError(f"{where}: adds no {self.noun}")

    def _has_entered(self, module: str) -> bool:
        """Return whether something of a module was entered: it may be imported already."""
        places = [place.partition(":")[0] for _, place in self._held]
        return any(place == module or place.startswith(f"{module}.") for place in places)


def place_of(thing: Any) -> str:
    """Return where a function or a class is written."""
    return f"{thing.__module__}:{thing.__qualname__}"


def _modules(home: str) -> Iterator[ModuleType]:
    """Import a module and, where it is a folder, all that are in it."""
    package = import_module(home)
    yield package
    for each in iter_modules(getattr(package, "__path__", ())):
        yield import_module(f"{home}.{each.name}")


def _points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group in an order that does not depend on the machine."""

    def order(point: EntryPoint) -> tuple[str, str]:
        return point.dist.name if point.dist else "", point.name

    return sorted(entry_points(group=group), key=order)
