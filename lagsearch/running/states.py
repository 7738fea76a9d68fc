"""Which states stay on disk: a finished one's while it is the best, or is asked for by name."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from lagsearch.running.trainers.job import trainer_folder
from lagsearch.storage.files import unfinished
from lagsearch.training.job import Job


class Keeps:
    """Decides what becomes of the states of finished jobs. This one keeps all."""

    def finished(self, job: Job) -> None:
        """Look at a job that reached its step."""


class BestStatesOnly(Keeps):
    """Deletes the state of each finished candidate that others that finished have beaten.

    So a search keeps at most so many states more than it has running, however many candidates it
    has, and those that are asked for.

    Args:
        judge: Gives what a candidate is judged by, by its name; None where it is not known yet.
        others: Names of jobs under other seeds than the first: they are measured, and needed no
            longer.
        but: Names of those whose states stay whatever comes: they are trained on, say.
        unjudged: Names of those that are no candidates: their states stay, too.
        count: How many of the best stay.
    """

    def __init__(
        self,
        judge: Callable[[str], float | None],
        others: Collection[str] = (),
        but: Collection[str] = (),
        unjudged: Collection[str] = (),
        count: int = 1,
    ) -> None:
        self._judge, self._others, self._but = judge, others, but
        self._unjudged, self._count = unjudged, count
        self._best: list[tuple[float, Job]] = []

    def finished(self, job: Job) -> None:
        """Compare a finished candidate with the best so far and delete the worst one's state."""
        if job.name in self._others:
            drop_state(job.state)
            return
        if job.name in self._unjudged:
            return
        loss = self._judge(job.name)
        if loss is None:
            return
        ranked = sorted([*self._best, (loss, job)], key=lambda each: each[0])
        self._best = ranked[: self._count]
        for _, loser in ranked[self._count :]:
            if loser.name not in self._but:
                drop_state(loser.state)


def drop_state(state: Path) -> None:
    """Delete a state, what killed processes left of it, and a trainer's folder beside it."""
    for each in (state, *unfinished(state)):
        each.unlink(missing_ok=True)
    shutil.rmtree(trainer_folder(state), ignore_errors=True)


def let_go(states: Path, but: Collection[str] = ()) -> None:
    """Delete the states of a run but for those of some candidates, and the folder if it is empty.

    Those alone of which the run has curves, and what killed processes left of writing them: other
    files that lie there, or where a link leads, are not the run's.

    Args:
        states: The run's folder of states, beside that of its curves.
        but: Candidates whose states stay.
    """
    curves = states.with_name("curves").glob("*.jsonl*")
    trained = {each.name.removesuffix(".gz").removesuffix(".jsonl") for each in curves}
    for name in sorted(trained - {*but}):
        drop_state(states / f"{name}.safetensors")
    if states.is_dir() and not states.is_symlink() and not any(states.iterdir()):
        states.rmdir()
