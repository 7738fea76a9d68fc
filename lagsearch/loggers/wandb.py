"""W&B: a run for each training, in a group that is the search."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lagsearch.loggers.registry import logger
from lagsearch.records.curve import Evaluation
from lagsearch.records.trainings import RecordedRun, RecordedTraining, TrainingOutcome
from lagsearch.storage.files import digest

_LAST_STEP = "lagsearch-last-step"
"""File beside an offline run: the last step that stands in it."""


def _wandb() -> Any:
    """Import W&B's library, which reports its own errors to its makers unless it is told not to."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def _missing_key() -> str | None:
    """Say so where W&B would ask for a key: nobody could answer while a run goes on."""
    if os.environ.get("WANDB_MODE", "online") not in ("online", "run", "shared"):
        return None
    if _wandb().login(prompt=False, verify=False):
        return None
    return "there is no API key: `wandb login`, or WANDB_MODE=offline to send later"


@logger(
    "wandb",
    words="Weights & Biases, project lagsearch or WANDB_PROJECT",
    needs="wandb",
    install="lagsearch[wandb]",
    ready=_missing_key,
)
class WandbLogger:
    """Logs curves, settings and outcomes alone: no code, no console, no readings of the machine.

    Offline, `log/wandb/` has what `wandb sync` sends.
    """

    def __init__(self, folder: Path, run: RecordedRun) -> None:
        self._folder, self._run = folder.parent, run  # wandb adds a folder `wandb` to it
        self._runs: dict[str, Any] = {}
        self.where = f"wandb sync {folder}/offline-run-*"

    def held(self, training: RecordedTraining) -> int:
        """Begin or resume a run; return the last step that W&B has."""
        wandb = _wandb()
        identity = digest([self._run.identity, training.key])
        synced = self._synced(identity)
        quiet = {"disable_git": True, "console": "off", "silent": True, "save_code": False}
        private = ("x_disable_stats", "x_disable_meta", "x_disable_machine_info")
        no_files = {"x_save_requirements": False, "disable_job_creation": True}
        opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "lagsearch"),
            group=f"{self._run.name} {self._run.identity[:6]}",
            name=training.key,
            id=identity,
            dir=str(self._folder),
            job_type="baseline" if training.is_baseline else "candidate",
            config={**training.settings, **training.facts, "space": self._run.space},
            resume="allow",
            reinit="create_new",
            mode=os.environ.get("WANDB_MODE"),  # W&B itself reads it once in a process
            settings=wandb.Settings(**quiet, **dict.fromkeys(private, True), **no_files),
        )
        opened.define_metric("flops")
        opened.define_metric("val_loss", step_metric="flops", summary="last")
        self._runs[training.key] = opened
        if opened.offline:
            return synced
        self.where = opened.url or self.where
        return int(opened.starting_step) - 1

    def log(self, training: RecordedTraining, evaluations: Sequence[Evaluation]) -> None:
        """Log losses and FLOPs over steps."""
        run = self._runs[training.key]
        for each in evaluations:
            values = {name: getattr(each, name) for name in ("val_loss", "flops", "wall_s")}
            run.log(values, step=each.step, commit=True)
        if run.offline:
            Path(run.dir).with_name(_LAST_STEP).write_text(str(evaluations[-1].step))

    def conclude(self, training: RecordedTraining, outcome: TrainingOutcome) -> None:
        """Put the outcome into the summary."""
        words = {"status": outcome.status, "is_winner": outcome.is_winner, "lag": outcome.lag}
        self._runs[training.key].summary.update(outcome.numbers | words)

    def close(self) -> None:
        """Let W&B send what waits."""
        for each in self._runs.values():
            each.finish()

    def _synced(self, identity: str) -> int:
        """Return the last step of a run that was synced; what was not is deleted, to come anew."""
        import shutil

        last = -1
        for place in sorted((self._folder / "wandb").glob(f"offline-run-*-{identity}")):
            if (place / f"run-{identity}.wandb.synced").exists():
                if (noted := place / _LAST_STEP).is_file():
                    last = max(last, int(noted.read_text()))
            else:
                shutil.rmtree(place)
        return last
