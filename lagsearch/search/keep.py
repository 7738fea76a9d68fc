"""Which states stay on disk: a finished one's while it is the best, or is asked for by name."""

from collections.abc import Collection
from pathlib import Path

from lagsearch.training.curve import read_curve
from lagsearch.training.job import Job


class BestStateOnly:
    """Deletes the state of each finished candidate that another finished one has beaten.

    So a search keeps at most one state more than it has running, however many candidates it has,
    and those that are asked for.

    Args:
        judged_at: The step of the ranking.
        but: Names of those whose states stay whatever comes: they are trained on, say.
    """

    def __init__(self, judged_at: int, but: Collection[str] = ()) -> None:
        self._judged_at, self._but = judged_at, but
        self._best: tuple[float, Job] | None = None

    def finished(self, job: Job) -> None:
        """Compare a finished candidate with the best so far and delete the worse one's state."""
        evaluation = read_curve(job.curve).at(self._judged_at)
        if evaluation is None:
            return
        loser = job
        if self._best is None or evaluation.val_loss < self._best[0]:
            previous = self._best
            self._best = (evaluation.val_loss, job)
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
