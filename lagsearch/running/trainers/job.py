"""What a trainer of the user's own is asked for, and where a candidate's files are then."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from lagsearch.grow import Growth
from lagsearch.records.logged_losses import LoggedLosses
from lagsearch.running.growing import Beside
from lagsearch.space import Trainer, filled_in, has_step, words_of_command
from lagsearch.training.job import Job
from lagsearch.training.state import saved_at


@dataclass(frozen=True)
class Call:
    """One call of a trainer: from a checkpoint to a step.

    Attributes:
        name: The candidate's name.
        checkpoint: The grown Hugging Face folder: weights, configuration, tokenizer; moments in
            `training/optimizer.safetensors` where the sources have any.
        out: A folder of the candidate's own, for the trainer's checkpoints and logs.
        steps: The step after growth to stop at.
        total_steps: The final step, which a schedule spans.
        seed: Decides the order of the data.
        last: The trainer's own checkpoint to go on from; None begins at `checkpoint`.
        step: Its step; 0 without one.
    """

    name: str
    checkpoint: Path
    out: Path
    steps: int
    total_steps: int
    seed: int
    last: Path | None = None
    step: int = 0

    @property
    def values(self) -> dict[str, str | int]:
        """What the placeholders of a command stand for, `{python}` aside."""
        found: dict[str, str | int] = {
            "name": self.name,
            "checkpoint": str(self.checkpoint),
            "out": str(self.out),
            "steps": self.steps,
            "total_steps": self.total_steps,
            "seed": self.seed,
            "step": self.step,
        }
        return found if self.last is None else found | {"last": str(self.last)}


@dataclass(frozen=True)
class TrainerJob(Job):
    """A job that a trainer of the user's own does.

    Attributes:
        trainer: What the space says of it.
        growth: The candidate's growth from file to file, where that can be.
        beside: What the grown folder has beside grown weights.
        where: The folder that commands are run in: that of `lagsearch run`.
    """

    trainer: Trainer = field(default_factory=Trainer)
    growth: Growth | None = None
    beside: Beside = field(default_factory=lambda: Beside(Path()))
    where: Path = Path()

    @property
    @override
    def can_go_on(self) -> bool:
        return self.trainer.resume is not None or self.trainer.python is not None

    @override
    def goes_on_from(self, until: int) -> int:
        """Return the step of the trainer's own last checkpoint that is surely whole; 0 for none.

        One that a killed trainer was writing may not be: a later loss or checkpoint must say that
        it went on behind it; that of the saved state was read.

        Raises:
            CurvesError: To read its losses needs a library that is not installed.
        """
        if not self.can_go_on:
            return 0
        saved = saved_at(self.state)
        step = saved.step if saved else 0
        if self.has_steps and step < until:
            written, losses = self.written(), self.losses()
            seen = max([*written, losses.read().last if losses else 0], default=0)
            step = max((each for each in written if step < each < min(seen, until)), default=step)
        is_there = self.path_at(step).exists() if self.has_steps else self.kept.exists()
        return step if is_there else 0

    def losses(self) -> LoggedLosses | None:
        """Return what reads the losses that the trainer logs; None where none are asked for."""
        asked = self.trainer.losses
        return None if asked is None else LoggedLosses(asked, self.out, self.output)

    @property
    def own(self) -> Path:
        """The folder of the grown checkpoint and of the trainer's files, beside the state."""
        return trainer_folder(self.state)

    @property
    def out(self) -> Path:
        """The trainer's folder."""
        return self.own / "out"

    @property
    def kept(self) -> Path:
        """A copy of the last step's checkpoint, where all steps have one path."""
        return self.own / "last"

    @property
    def output(self) -> Path:
        """The file of what the trainer prints, beside the curve: it stays."""
        return self.curve.with_suffix(".log")

    def path_at(self, step: int) -> Path:
        """Return where the trainer's checkpoint of a step is."""
        pattern = self.trainer.checkpoints.path
        return self.where / filled_in(pattern, {"out": str(self.out), "step": step})

    @property
    def has_steps(self) -> bool:
        """Whether each step has a checkpoint of its own."""
        return has_step(self.trainer.checkpoints.path)

    def written(self) -> list[int]:
        """Return the steps of which the trainer has left checkpoints of their own."""
        if not self.has_steps:
            return []
        shared = Path(os.path.commonpath([self.path_at(1), self.path_at(2)]))
        if not shared.is_dir():
            return []
        numbers = {int(each) for path in shared.iterdir() for each in re.findall(r"\d+", path.name)}
        return sorted(step for step in numbers if self.path_at(step).exists())


def trainer_folder(state: Path) -> Path:
    """Return the folder of what a trainer of the user's own leaves, by the file of the state."""
    return state.with_name(f"{state.name.removesuffix('.safetensors')}.trainer")


def command_words(command: str, values: Mapping[str, str | int]) -> list[str]:
    """Return the words of a command of the space; `{python}` is the Python that runs this."""
    import sys

    return words_of_command(command, {**values, "python": sys.executable})
