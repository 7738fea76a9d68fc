"""What is new in a run folder goes to the loggers: while the run goes on, and at its end.

The folder is what counts, and the run knows nothing of this: a finished run is sent in the same
way, and one that was killed and goes on is sent without a step twice or missing.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lagsearch.display.screen import NobodyReads
from lagsearch.errors import LoggerError, RunFolderError, reason_of
from lagsearch.loggers.registry import KnownLogger, RunLogger
from lagsearch.records.trainings import (
    RecordedRun,
    RecordedTraining,
    RunReader,
    TrainingOutcome,
)

EVERY_S = 5.0
"""Seconds between two looks at the folder."""
LONGEST_WAIT_S = 120.0
"""How long the end of a run waits for a logger that does not answer."""

Say = Callable[[str], None]


class _Sent:
    """A logger, and what it was sent so far."""

    def __init__(self, known: KnownLogger) -> None:
        self.known = known
        self.opened: RunLogger | None = None
        self._steps: dict[str, int] = {}
        self._outcomes: dict[str, TrainingOutcome] = {}

    def bring(
        self,
        folder: Path,
        run: RecordedRun,
        trainings: Sequence[RecordedTraining],
        outcomes: dict[str, TrainingOutcome],
    ) -> None:
        """Send what is new."""
        if self.opened is None:
            self.opened = self.known.open(folder / self.known.name, run)
        for each in trainings:
            if not each.curve.seen:
                continue
            if each.key not in self._steps:
                self._steps[each.key] = self.opened.held(each)
            last = self._steps[each.key]
            if new := [one for one in each.curve.evaluations if one.step > last]:
                self.opened.log(each, new)
                self._steps[each.key] = new[-1].step
            outcome = outcomes.get(each.key)
            if outcome is not None and outcome != self._outcomes.get(each.key):
                self.opened.conclude(each, outcome)
                self._outcomes[each.key] = outcome

    def close(self) -> None:
        """Let the logger go, once."""
        opened, self.opened = self.opened, None
        if opened is not None:
            opened.close()


class Follower:
    """Sends a run folder to loggers.

    Args:
        folder: The run's; it need not be there yet.
        loggers: Where to.
        say: Is told of a logger that fails, once; all others go on, and so does the run.
    """

    def __init__(self, folder: Path, loggers: Sequence[KnownLogger], say: Say) -> None:
        self._folder, self._say = folder, say
        self._reader = RunReader(folder)
        self._sent = [_Sent(each) for each in loggers]
        self._run: RecordedRun | None = None
        self._lock = FileLock(folder / "log" / "log.lock")

    @property
    def names(self) -> list[str]:
        """The loggers that have not failed."""
        return [each.known.name for each in self._sent]

    def update(self, *, is_end: bool = False) -> None:
        """Send what is new.

        Args:
            is_end: Whether this is the last time: then the outcome is sent as well, and what
                cannot be read is told.
        """
        try:
            self._run = self._run or self._reader.run()
            if self._run is None:
                return
            trainings = self._reader.trainings()
            outcomes = self._reader.outcomes() if is_end else {}
        except Exception as error:  # a stage's folder is being moved, say: no concern of the search
            if is_end:
                self._drop(self._sent, error)
            return
        try:
            self._hold()
        except (Timeout, OSError):
            self._drop(self._sent, LoggerError("another process logs this run"))
            return
        for each in list(self._sent):
            try:
                each.bring(self._folder / "log", self._run, trainings, outcomes)
            except Exception as error:  # the network, a full disk: no concern of the search
                self._drop([each], error)

    def close(self) -> None:
        """Send the rest, close all loggers, and say where one sees it."""
        self.update(is_end=True)
        for each in list(self._sent):
            where = each.opened.where if each.opened is not None else None
            try:
                each.close()
            except Exception as error:
                self._drop([each], error)
            else:
                if where is not None:
                    self._tell(f"log: {each.known.name}: {where}")
        self._lock.release()

    def _hold(self) -> None:
        """Keep other processes from logging the same run at the same time."""
        if not self._lock.is_locked:
            self._folder.joinpath("log").mkdir(exist_ok=True)
            self._lock.acquire(timeout=0)

    def _drop(self, failed: Sequence[_Sent], error: Exception) -> None:
        """Go on without some of the loggers."""
        for each in list(failed):
            self._sent.remove(each)
            name, rest = each.known.name, f"lagsearch log {self._folder} --to {each.known.name}"
            self._tell(f"log: {name} failed, {reason_of(error)}; `{rest}` sends it later")
            with suppress(Exception):
                each.close()

    def _tell(self, line: str) -> None:
        with suppress(NobodyReads):  # the thread that trains notices it, too
            self._say(line)


@contextmanager
def following(
    folder: Path, loggers: Sequence[KnownLogger], say: Say, every_s: float = EVERY_S
) -> Iterator[None]:
    """Send a run to loggers for as long as a block lasts, in a thread, and its end behind it.

    Args:
        folder: The run's, held by this process.
        loggers: Where to.
        say: Is told what fails, and in the end where one sees what was sent.
        every_s: Seconds between two looks.
    """
    if not loggers:
        yield
        return
    follower, is_over = Follower(folder, loggers, say), threading.Event()

    def follow() -> None:
        while not is_over.wait(every_s):
            follower.update()
        follower.close()

    thread = threading.Thread(target=follow, name="lagsearch-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(LONGEST_WAIT_S)
        if thread.is_alive():
            names = ",".join(follower.names)
            rest = f"lagsearch log {folder} --to {names}"
            say(f"log: {names}: no answer for {LONGEST_WAIT_S:.0f} s; `{rest}` sends it later")


def send(folder: Path, loggers: Sequence[KnownLogger], say: Say) -> None:
    """Send a run that is finished, or as far as it came.

    Args:
        folder: The run's.
        loggers: Where to.
        say: Is told where one sees it.

    Raises:
        LoggerError: A logger failed; the others were sent all.
        RunFolderError: This is no run folder.
    """
    if RunReader(folder).run() is None:
        raise RunFolderError(f"{folder}: not a run folder, or of a run that has not begun")
    follower = Follower(folder, loggers, say)
    follower.close()
    if len(follower.names) < len(loggers):
        lost = [each.name for each in loggers if each.name not in follower.names]
        raise LoggerError(f"log: {folder} was not sent to {', '.join(lost)}")
