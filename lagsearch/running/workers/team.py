"""Processes that train one model together, and are kept for the next one."""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

from lagsearch.display.watch import Progress
from lagsearch.errors import CandidateFailed, LagsearchError, brief
from lagsearch.running.trainers.process import last_words
from lagsearch.running.workers.rank import Mishap
from lagsearch.training.job import Job

_TRIES = 3
"""How often a job is tried again at once when a process dies; it goes on from its state."""

_PROGRAM = "from lagsearch.running.workers.rank import begin; begin()"
"""Not as a module to be run: what it sends would then be of no module that is known here."""

_GRACE_S = 5.0
_POLL_S = 0.05
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class RankDied(LagsearchError):
    """One of the processes that train a model together is gone."""


class RankLost(RankDied):
    """One in another place of a cluster is gone, and perhaps its node: all need places anew."""


class Rank(Protocol):
    """One of the processes of a team.

    Attributes:
        connection: Where it is heard; what it says ends with it.
        loss: What is raised when it is gone.
    """

    connection: Any
    loss: type[RankDied]

    def begin(self, job: Job, until: int) -> None:
        """Have it train a job up to a step.

        Raises:
            OSError: It is gone.
        """

    def fate(self) -> str | None:
        """Say what became of it, behind its number; None while it is there."""

    def end(self) -> None:
        """End it; its connection is closed."""


StartRanks = Callable[[Job, Path, ExitStack], Sequence[Rank]]
"""Starts the processes for jobs like one, given a folder and what lasts as long as they do."""


class RankHere:
    """A process of this machine."""

    loss = RankDied

    def __init__(
        self, number: int, job: Job, folder: Path, store: str, ways: Mapping[str, str]
    ) -> None:
        """Start it; it waits for jobs.

        Args:
            number: Its own, from 0.
            job: The first one that it is for.
            folder: For what it prints.
            store: Where all find each other, as `torch.distributed` names it.
            ways: Variables of its environment, by which it reaches the others.
        """
        self.connection, other = Pipe()
        words = (other.fileno(), number, job.compute.devices, store)
        environment = {
            **os.environ,
            **_own_gpu(number, job),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": str(job.compute.threads),
            **ways,
        }
        self._printed = folder / f"{number}.log"
        with self._printed.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[other.fileno()],
                start_new_session=True,  # a Ctrl-C is for lagsearch, which ends them
            )
        other.close()

    def begin(self, job: Job, until: int) -> None:
        """Have it train a job up to a step."""
        self.connection.send((job, until))

    def fate(self) -> str | None:
        """Say what became of it; None while it is there."""
        if (code := self.process.poll()) is None:
            return None
        if code < 0:
            what = signal.Signals(-code).name
            return f"was killed ({what}), as a system does where memory runs out"
        return f"ended with exit code {code}: {brief(last_words(self._printed))}"

    def end(self) -> None:
        """End it, where it does not end by itself."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_S)
        self.process.kill()
        self.process.wait()


def talking_by(interface: str | None) -> dict[str, str]:
    """Return what has torch talk through a network interface, unless the user names another one.

    Args:
        interface: Its name; None leaves the choice to torch.
    """
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    return {name: chosen for name in names if (chosen := os.environ.get(name, interface))}


def start_here(job: Job, folder: Path, lasting: ExitStack) -> Sequence[Rank]:
    """Start all processes on this machine.

    They find each other by a file and talk through the loopback interface alone.
    """
    store, ways = f"file://{folder / 'store'}", talking_by(LOOPBACK)
    return [RankHere(number, job, folder, store, ways) for number in range(job.compute.devices)]


class Team:
    """Processes that train one model after the other, each model together."""

    def __init__(self, job: Job, start: StartRanks = start_here) -> None:
        """Start them; they wait for jobs.

        Args:
            job: The first one that they are for.
            start: Starts them.
        """
        self._compute = job.compute
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lagsearch-ranks-"))
            self.ranks = start(job, Path(folder), stack)
            self._stack = stack.pop_all()

    def suits(self, job: Job) -> bool:
        """Return whether a job may be trained by these processes."""
        own, wanted = self._compute, job.compute
        return all(
            getattr(own, each) == getattr(wanted, each) for each in ("devices", "threads", "device")
        )

    def begin(self, job: Job, until: int) -> None:
        """Have each process train a job up to a step.

        Raises:
            RankDied: One is gone.
        """
        for number, rank in enumerate(self.ranks):
            with self._seen(number):
                rank.begin(job, until)

    def said(self) -> Iterator[tuple[int, Any]]:
        """Yield what processes say, with their numbers, until each has said that it ended.

        Raises:
            RankDied: One is gone.
        """
        waiting = {each.connection: number for number, each in enumerate(self.ranks)}
        while waiting:
            ready: list[Any] = wait(list(waiting))
            for connection in ready:
                number = waiting[connection]
                with self._seen(number):
                    said = connection.recv()
                if not isinstance(said, Progress):
                    del waiting[connection]
                yield number, said

    @contextmanager
    def _seen(self, number: int) -> Iterator[None]:
        """Talk with a process inside.

        Raises:
            RankDied: It is gone.
        """
        try:
            yield
        except (EOFError, OSError):
            self.check_alive(_GRACE_S)
            raise self._lost(number, "is gone") from None

    def check_alive(self, grace_s: float) -> None:
        """Check that no process has ended, nor does in a while.

        Raises:
            RankDied: One has.
        """
        until = time.monotonic() + grace_s
        while True:
            for number, rank in enumerate(self.ranks):
                if (fate := rank.fate()) is not None:
                    raise self._lost(number, fate)
            if time.monotonic() > until:
                return
            time.sleep(_POLL_S)

    def _lost(self, number: int, fate: str) -> RankDied:
        """Return the error that says what became of a process."""
        return self.ranks[number].loss(f"process {number + 1} of {len(self.ranks)} {fate}")

    def close(self) -> None:
        """End the processes."""
        for each in self.ranks:
            each.connection.close()
        for each in self.ranks:
            each.end()
        self._stack.close()


def _own_gpu(number: int, job: Job) -> dict[str, str]:
    """Return what lets a process see one GPU alone, so that it takes nothing of the others."""
    if job.compute.device != "cuda":
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else list(map(str, range(job.compute.devices)))
    return {"CUDA_VISIBLE_DEVICES": names[number]}


class _Kept:
    """The team of this process, which stays for the next job that it suits."""

    team: Team | None = None


def train_together(
    job: Job, until: int, start: StartRanks = start_here
) -> Generator[Progress, None, None]:
    """Train a job of several devices up to a step; see `lagsearch.training.loop.train`.

    A process that dies is no end: all begin again from the last saved state. One that is lost in
    another place of a cluster is left to who gives places.

    Args:
        job: What to train.
        until: The step to reach.
        start: Starts its processes, where none wait for it.

    Raises:
        CandidateFailed: A loss is NaN or infinite.
        LagsearchError: It cannot be trained.
        OSError: A process could not read or write a file.
        RankDied: A process died again and again.
        RankLost: One in another place is gone.
    """
    for left in reversed(range(1 + _TRIES)):
        try:
            team = _team_for(job, start)
            team.begin(job, until)
            yield from _signs(team)
        except RankDied as died:
            dismiss()
            if not left or isinstance(died, RankLost):
                raise
        except BaseException:
            dismiss()  # they are somewhere in the middle
            raise
        else:
            return


def _signs(team: Team) -> Iterator[Progress]:
    """Yield how far a team is, and raise what stops it."""
    for number, said in team.said():
        if isinstance(said, Progress):
            yield said
        elif isinstance(said, CandidateFailed) and number:
            continue  # all fail alike, and the first one writes it down
        elif isinstance(said, Exception):
            raise said
        elif isinstance(said, Mishap):
            team.check_alive(0.0 if said.is_foreseen else _GRACE_S)
            raise LagsearchError(said.reason)


def _team_for(job: Job, start: StartRanks = start_here) -> Team:
    if _Kept.team is not None and not _Kept.team.suits(job):
        dismiss()
    if _Kept.team is None:
        _Kept.team = Team(job, start)
    return _Kept.team


def dismiss() -> None:
    """End the processes that wait for a next job."""
    team, _Kept.team = _Kept.team, None
    if team is not None:
        team.close()


atexit.register(dismiss)
