"""Candidates one after the other in this process: for debugging, and bit-equal to Ray."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lagsearch.errors import LagsearchError
from lagsearch.progress import Watch
from lagsearch.training.job import Job
from lagsearch.training.loop import train

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


def run_serial(jobs: Sequence[Job], until: int, watch: Watch, finished: Finished) -> Outcome:
    """Train jobs to a step.

    Args:
        jobs: What to train.
        until: The step to reach.
        watch: Follows.
        finished: Is called with each job that reached the step.
    """
    began = time.monotonic()
    failures: dict[str, str] = {}
    for job in jobs:
        try:
            for progress in train(job, until):
                watch.progress(progress)
        except LagsearchError as error:
            failures[job.name] = str(error)
            watch.failed(job.name, str(error))
        else:
            finished(job)
            watch.finished(job.name)
    return Outcome(failures, began, 1)
