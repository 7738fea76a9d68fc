"""A logger: a line of text for each evaluation."""

from collections.abc import Sequence
from pathlib import Path

from lagsearch.loggers import logger
from lagsearch.records.curve import Evaluation
from lagsearch.records.trainings import RecordedRun, RecordedTraining, TrainingOutcome


@logger("jotter", words="a text file in the run folder")
class Jotter:
    """Writes `log/jotter.txt` anew."""

    def __init__(self, folder: Path, run: RecordedRun) -> None:
        """Begin with the run's name."""
        self._path = folder.with_suffix(".txt")
        self._path.write_text(f"{run.name}\n")
        self.where = str(self._path)

    def held(self, training: RecordedTraining) -> int:
        """Return -1: the file is new."""
        return -1

    def log(self, training: RecordedTraining, evaluations: Sequence[Evaluation]) -> None:
        """Write steps and losses."""
        lines = [f"{training.key} {each.step} {each.val_loss!r}\n" for each in evaluations]
        self._write("".join(lines))

    def conclude(self, training: RecordedTraining, outcome: TrainingOutcome) -> None:
        """Write the rank."""
        self._write(f"{training.key} rank {outcome.rank}\n")

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(text)
