"""The table of loggers: what `--log` may name.

A new one is a module here, or in a package with an entry point of the group `lagsearch.loggers`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from lagsearch.errors import LoggerError
from lagsearch.records.curve import Evaluation
from lagsearch.records.trainings import RecordedRun, RecordedTraining, TrainingOutcome
from lagsearch.registry import Registry, place_of


class RunLogger(Protocol):
    """Sends the trainings of one run somewhere. One thread calls it; whatever it raises ends it.

    Attributes:
        where: How one sees what was sent, in a line.
    """

    where: str

    def held(self, training: RecordedTraining) -> int:
        """Return the last step of a training that is there from before; -1 where none is.

        It is asked once for each training, before anything of it is sent.
        """

    def log(self, training: RecordedTraining, evaluations: Sequence[Evaluation]) -> None:
        """Send the evaluations that are new, in the order of their steps."""

    def conclude(self, training: RecordedTraining, outcome: TrainingOutcome) -> None:
        """Say what a training came to; called again where that changes."""

    def close(self) -> None:
        """Send what waits, and let go."""


Open = Callable[[Path, RecordedRun], RunLogger]
"""From a folder for what the logger keeps beside the run, and the run, to what logs it."""


@dataclass(frozen=True)
class KnownLogger:
    """One row of the table.

    Attributes:
        name: What `--log` asks for.
        words: Where it sends to.
        needs: The module that must be installed, if any.
        install: What pip installs to have it.
        ready: Returns what is missing beside that, in a line; None where nothing is.
        open: Opens it.
    """

    name: str
    words: str
    needs: str | None
    install: str
    ready: Callable[[], str | None]
    open: Open

    def check(self) -> None:
        """Check that it can be used.

        Raises:
            LoggerError: It cannot; the message says what to do.
        """
        if self.needs is not None and find_spec(self.needs) is None:
            message = f"needs the package {self.needs}: pip install '{self.install}'"
            raise LoggerError(f"logger {self.name} {message}")
        if (missing := self.ready()) is not None:
            raise LoggerError(f"logger {self.name}: {missing}")


LOGGERS = Registry[KnownLogger]("logger", "lagsearch.loggers", "lagsearch.loggers")


def _always_ready() -> str | None:
    return None


def logger(
    name: str,
    *,
    words: str,
    needs: str | None = None,
    install: str = "",
    ready: Callable[[], str | None] = _always_ready,
) -> Callable[[Open], Open]:
    """Enter a class or a function `(folder, run) -> RunLogger` as a logger.

    Args:
        name: See `KnownLogger`, as the others.
        words: Where it sends to.
        needs: The module.
        install: For pip.
        ready: What else is missing.

    Raises:
        PluginError: The name is taken.
    """

    def enter(opens: Open) -> Open:
        LOGGERS.enter(name, KnownLogger(name, words, needs, install, ready, opens), place_of(opens))
        return opens

    return enter


def find_loggers(names: str | Sequence[str]) -> tuple[KnownLogger, ...]:
    """Look loggers up, and check that each can be used.

    Args:
        names: Names, or a text of names between commas.

    Raises:
        LoggerError: There is none of a name, or it is named twice, or something is missing for it.
    """
    listed = [each.strip() for each in names.split(",")] if isinstance(names, str) else [*names]
    found = []
    for name in listed:
        if (known := LOGGERS.get(name)) is None:
            raise LoggerError(LOGGERS.unknown(name))
        if known in found:
            raise LoggerError(f"logger {name} is named twice")
        known.check()
        found.append(known)
    return tuple(found)
