"""TensorBoard: event files in the run folder, a run of TensorBoard for each training."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lagsearch.loggers.registry import logger
from lagsearch.records.curve import Evaluation
from lagsearch.records.trainings import RecordedRun, RecordedTraining, TrainingOutcome

FLOPS_OF_A_STEP = 10**6
"""TensorBoard draws over whole numbers of 64 bits alone: training FLOPs are counted in millions."""


@logger(
    "tensorboard",
    words="event files in the run folder",
    needs="tensorboardX",
    install="lagsearch[tensorboard]",
)
class TensorBoardLogger:
    """Writes `log/tensorboard/TRAINING/`; a process that goes on with a run writes all anew."""

    def __init__(self, folder: Path, run: RecordedRun) -> None:
        self.where = f"tensorboard --logdir {shlex.quote(str(folder))}"
        self._folder, self._run = folder, run
        self._n_files = 0
        for left in folder.glob("**/events.out.tfevents.*"):
            left.unlink()
        with self._writer(folder) as writer:
            writer.add_text("space", f"```yaml\n{run.space}\n```", walltime=run.started_s)

    def held(self, training: RecordedTraining) -> int:
        """Return -1: nothing is there from before."""
        with self._writer(self._folder / training.key) as writer:
            self._add_settings(writer, training)
        return -1

    def log(self, training: RecordedTraining, evaluations: Sequence[Evaluation]) -> None:
        """Write losses over steps and over FLOPs."""
        with self._writer(self._folder / training.key) as writer:
            for each in evaluations:
                spent, at = each.flops // FLOPS_OF_A_STEP, self._run.started_s + each.wall_s
                writer.add_scalar("val_loss", each.val_loss, each.step, at)
                writer.add_scalar("val_loss_by_million_flops", each.val_loss, spent, at)

    def conclude(self, training: RecordedTraining, outcome: TrainingOutcome) -> None:
        """Write what the table of hyperparameters shows beside the settings."""
        with self._writer(self._folder / training.key) as writer:
            for name, value in outcome.numbers.items():
                writer.add_scalar(f"outcome/{name}", value, outcome.lag)

    def close(self) -> None:
        """All files are closed already."""

    def _writer(self, folder: Path) -> Any:
        """Open one more file: none stays open, so that there may be many candidates."""
        from tensorboardX import SummaryWriter

        self._n_files += 1
        return SummaryWriter(str(folder), filename_suffix=f".{self._n_files:08d}")

    def _add_settings(self, writer: Any, training: RecordedTraining) -> None:
        from tensorboardX.summary import hparams

        names = [f"outcome/{name}" for name in TrainingOutcome.NUMBERS]
        settings = {**training.settings, **training.facts}
        for summary in hparams(settings, dict.fromkeys(names)):
            writer.file_writer.add_summary(summary)
