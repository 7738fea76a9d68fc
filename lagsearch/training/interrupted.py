"""From where trainings go on that an interrupt came between, in a sentence."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lagsearch.errors import counted
from lagsearch.records.curve import read_curve
from lagsearch.training.job import Job

_NAMED = 3


@contextmanager
def told_where(jobs: Sequence[Job], until: int | None = None) -> Iterator[None]:
    """Add to an interrupt, as a note, from where trainings go on.

    Args:
        jobs: All that are to come to the step.
        until: The step; of each its last one if left out.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(where_they_go_on(jobs, until))
        raise


def where_they_go_on(jobs: Sequence[Job], until: int | None = None) -> str:
    """Say how many trainings came to a step, and from where those go on that had begun.

    Returns:
        E.g. `3 of 7 trainings are at step 300, stack goes on from step 240`.
    """
    curves = {job.name: read_curve(job.curve) for job in jobs}
    ends = {job.name: until or job.training.steps for job in jobs}
    over = [name for name, curve in curves.items() if curve.at(ends[name]) is not None]
    left = [job for job in jobs if job.name not in over and not curves[job.name].failure]
    begun = [job for job in left if len(jobs) == 1 or curves[job.name].evaluations]
    parts = []
    if len(jobs) > 1:
        are = "is" if len(over) == 1 else "are"
        there = f"at step {until:,}" if until else "over"
        parts.append(f"{len(over)} of {counted(len(jobs), 'training')} {are} {there}")
    named = [f"{job.name} from step {job.goes_on_from(ends[job.name]):,}" for job in begun[:_NAMED]]
    if len(begun) == 1:
        parts.append(named[0].replace(" from", " goes on from", 1))
    elif begun:
        more = [f"{len(begun) - _NAMED:,} more"] if len(begun) > _NAMED else []
        *first, last = named + more
        parts.append(f"will resume: {', '.join(first)} and {last}")
    return ", ".join(parts)
