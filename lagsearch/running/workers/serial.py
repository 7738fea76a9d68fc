"""Candidates one after the other in this process: for debugging, and bit-equal to Ray."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from lagsearch.display.watch import Watch
from lagsearch.errors import reason_of
from lagsearch.running.trainers.advance import advance
from lagsearch.training.job import Job

Finished = Callable[[Job], None]


@dataclass(frozen=True)
class Outcome:
    """How a search went.

    Attributes:
        failures: Why a job failed, by its name.
        began: When the first job began, by `time.monotonic`.
        slots: Jobs at a time.
    """

    failures: dict[str, str]
    began: float
    slots: int


Runner = Callable[[Sequence[Job], int, Watch, Finished], Outcome]
"""Trains jobs to a step, in parallel or one after the other."""

OpenRunner = Callable[[], AbstractContextManager[Runner]]
"""Gives a runner for as long as a block lasts."""


def run_serial(jobs: Sequence[Job], until: int, watch: Watch, finished: Finished) -> Outcome:
    """Train jobs to a step.

    Args:
        jobs: What to train.
        until: The step to reach.
        watch: Follows.
        finished: Is called with each job that reached the step.

    Raises:
        OSError: A file cannot be read or written.
    """
    began = time.monotonic()
    failures: dict[str, str] = {}
    for job in jobs:
        try:
            for progress in advance(job, until):
                watch.progress(progress)
        except OSError:  # a full disk, say, is no fault of a candidate's: it must not lose by it
            raise
        except Exception as error:  # one candidate's mishap must not end the others
            failures[job.name] = reason_of(error)
            watch.failed(job.name, failures[job.name])
        else:
            finished(job)
            watch.finished(job.name)
    return Outcome(failures, began, 1)


def open_serial() -> AbstractContextManager[Runner]:
    """Give the runner of one job after the other."""
    return nullcontext(run_serial)
