"""Which states stay on disk: a finished candidate's only while no other has beaten it."""

from collections.abc import Collection

from lagsearch.training.curve import read_curve
from lagsearch.training.job import Job


class BestStateOnly:
    """Deletes the state of each finished candidate that another finished one has beaten.

    So a search keeps at most one state more than it has running, however many candidates it has.

    Args:
        judged_at: The step of the ranking.
        kept: Names of those that are trained on whatever their rank.
    """

    def __init__(self, judged_at: int, kept: Collection[str] = ()) -> None:
        self._judged_at, self._kept = judged_at, kept
        self._best: tuple[float, Job] | None = None

    def finished(self, job: Job) -> None:
        """Compare a finished candidate with the best so far and delete the worse one's state."""
        evaluation = read_curve(job.curve).at(self._judged_at)
        if evaluation is None or job.name in self._kept:
            return
        loser = job
        if self._best is None or evaluation.val_loss < self._best[0]:
            previous = self._best
            self._best = (evaluation.val_loss, job)
            if previous is None:
                return
            loser = previous[1]
        loser.state.unlink(missing_ok=True)
