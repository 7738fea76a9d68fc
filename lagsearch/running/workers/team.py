"""Processes that train one model together, and are kept for the next one."""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

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
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class RankDied(LagsearchError):
    """One of the processes that train a model together is gone."""


class Team:
    """Processes of this machine that train one model after the other, each model together.

    They find each other by a file and talk through the loopback interface alone.
    """

    def __init__(self, job: Job) -> None:
        """Start them; they wait for jobs.

        Args:
            job: The first one that they are for.
        """
        self._compute = job.compute
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lagsearch-ranks-"))
        self._folder = Path(folder)
        self._connections: list[Any] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in range(job.compute.devices):
            self._start(number, job)

    def suits(self, job: Job) -> bool:
        """Return whether a job may be trained by these processes."""
        own, wanted = self._compute, job.compute
        return all(
            getattr(own, each) == getattr(wanted, each) for each in ("devices", "threads", "device")
        )

    def _start(self, number: int, job: Job) -> None:
        own, other = Pipe()
        words = (other.fileno(), number, job.compute.devices, f"file://{self._folder / 'store'}")
        environment = {
            **os.environ,
            **_own_gpu(number, job),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": str(job.compute.threads),
            "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", _LOOPBACK),
            "NCCL_SOCKET_IFNAME": os.environ.get("NCCL_SOCKET_IFNAME", _LOOPBACK),
        }
        with self._output(number).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[other.fileno()],
                start_new_session=True,  # a Ctrl-C is for lagsearch, which ends them
            )
        other.close()
        self._connections.append(own)
        self._processes.append(process)

    def _output(self, number: int) -> Path:
        return self._folder / f"{number}.log"

    def begin(self, job: Job, until: int) -> None:
        """Have each process train a job up to a step.

        Raises:
            RankDied: One is gone.
        """
        for number, connection in enumerate(self._connections):
            with self._seen(number):
                connection.send((job, until))

    def said(self) -> Iterator[tuple[int, Any]]:
        """Yield what processes say, with their numbers, until each has said that it ended.

        Raises:
            RankDied: One is gone.
        """
        waiting = {each: number for number, each in enumerate(self._connections)}
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
            raise RankDied(f"process {number + 1} of {len(self._processes)} is gone") from None

    def check_alive(self, grace_s: float) -> None:
        """Check that no process has ended, nor does in a while.

        Raises:
            RankDied: One has.
        """
        until = time.monotonic() + grace_s
        while True:
            for number, process in enumerate(self._processes):
                if (code := process.poll()) is not None:
                    raise RankDied(self._fate(number, code))
            if time.monotonic() > until:
                return
            time.sleep(_POLL_S)

    def _fate(self, number: int, code: int) -> str:
        """Say what became of a process."""
        which = f"process {number + 1} of {len(self._processes)}"
        if code < 0:
            what = signal.Signals(-code).name
            return f"{which} was killed ({what}), as a system does where memory runs out"
        return f"{which} ended with exit code {code}: {brief(last_words(self._output(number)))}"

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            process.kill()
            process.wait()
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


def train_together(job: Job, until: int) -> Generator[Progress, None, None]:
    """Train a job of several devices up to a step; see `lagsearch.training.loop.train`.

    A process that dies is no end: all begin again from the last saved state.

    Raises:
        CandidateFailed: A loss is NaN or infinite.
        LagsearchError: It cannot be trained.
        OSError: A process could not read or write a file.
        RankDied: A process died again and again.
    """
    for left in reversed(range(1 + _TRIES)):
        try:
            team = _team_for(job)
            team.begin(job, until)
            yield from _signs(team)
        except RankDied:
            dismiss()
            if not left:
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


def _team_for(job: Job) -> Team:
    if _Kept.team is not None and not _Kept.team.suits(job):
        dismiss()
    if _Kept.team is None:
        _Kept.team = Team(job)
    return _Kept.team


def dismiss() -> None:
    """End the processes that wait for a next job."""
    team, _Kept.team = _Kept.team, None
    if team is not None:
        team.close()


atexit.register(dismiss)
