"""Which states stay on disk: a finished one's while it is the best, or is asked for by name."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from lagsearch.training.curve import read_curve
from lagsearch.training.job import Job


class BestStateOnly:
    """Deletes the state of each finished candidate that another finished one has beaten.

    So a search keeps at most one state more than it has running, however many candidates it has,
    and those that are asked for.

    Args:
        judged_at: The step of the ranking.
        curves: The files of each candidate's evaluations, under all seeds.
        but: Names of those whose states stay whatever comes: they are trained on, say.
    """

    def __init__(
        self, judged_at: int, curves: Mapping[str, Sequence[Path]], but: Collection[str] = ()
    ) -> None:
        self._judged_at, self._curves, self._but = judged_at, curves, but
        self._best: tuple[float, Job] | None = None

    def finished(self, job: Job) -> None:
        """Compare a finished candidate with the best so far and delete the worse one's state.

        Its training under another seed than the first is measured, and needed no longer.
        """
        if job.name not in self._curves:
            job.state.unlink(missing_ok=True)
            return
        found = [read_curve(path).at(self._judged_at) for path in self._curves[job.name]]
        losses = [each.val_loss for each in found if each is not None]
        if len(losses) < len(found):
            return
        loser, loss = job, fmean(losses)
        if self._best is None or loss < self._best[0]:
            previous = self._best
            self._best = (loss, job)
            if previous is None:
                return
            loser = previous[1]
        if loser.name not in self._but:
            loser.state.unlink(missing_ok=True)


def let_go(states: Path, but: Collection[str] = ()) -> None:
    """Delete the states of a run but for those of some candidates, and the folder if it is empty.

    Args:
        states: The run's folder of states.
        but: Candidates whose states stay.
    """
    kept = {f"{name}.safetensors" for name in but}
    for path in states.glob("*"):
        if path.name not in kept:
            path.unlink()
    if states.is_dir() and not any(states.iterdir()):
        states.rmdir()
