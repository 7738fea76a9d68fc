"""An Optuna study of any search, with curves: a file in the run folder for `optuna-dashboard`.

It is a picture of the run, drawn anew by each process: Optuna does not let a trial that has ended
go on.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lagsearch.loggers.registry import logger
from lagsearch.records.curve import Evaluation
from lagsearch.records.trainings import RecordedRun, RecordedTraining, TrainingOutcome

if TYPE_CHECKING:
    import optuna


@dataclass
class _Trial:
    """What is known of a trial."""

    training: RecordedTraining
    losses: dict[int, float] = field(default_factory=dict)
    outcome: TrainingOutcome | None = None


@logger(
    "optuna",
    words="a study in the run folder, for optuna-dashboard",
    needs="optuna",
    install="optuna",
)
class OptunaLogger:
    """Writes `log/optuna/journal.log`: a study for each stage, a trial for each training.

    Baselines are no trials: they would be the best ones where growing does not pay.
    """

    def __init__(self, folder: Path, run: RecordedRun) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("journal.log*"):
            left.unlink()
        journal = str(folder / "journal.log")
        self.where = f"optuna-dashboard {shlex.quote(journal)}"
        self._storage: Any = optuna.storages.JournalStorage(JournalFileBackend(journal))
        self._run = run
        self._trials: dict[str, dict[str, _Trial]] = {}
        self._choices: dict[str, Mapping[str, Any]] = {}
        self._ids: dict[str, int] = {}

    def held(self, training: RecordedTraining) -> int:
        """Begin a trial; nothing is there from before."""
        if training.is_baseline:
            return -1
        stage = self._trials.setdefault(training.stage, {})
        stage[training.key] = _Trial(training)
        if self._choices.get(training.stage) == training.choices:
            self._add(training.key, stage[training.key])
        else:  # the first one, or candidates were sampled: Optuna's choices cannot grow
            self._choices[training.stage] = training.choices
            self._redraw(training.stage)
        return -1

    def log(self, training: RecordedTraining, evaluations: Sequence[Evaluation]) -> None:
        """Write losses over steps."""
        if training.is_baseline:
            return
        trial, losses = self._of(training), {each.step: each.val_loss for each in evaluations}
        trial.losses |= losses
        if trial.outcome is not None:
            self._redraw(training.stage)
            return
        for step, loss in losses.items():
            self._storage.set_trial_intermediate_value(self._ids[training.key], step, loss)

    def conclude(self, training: RecordedTraining, outcome: TrainingOutcome) -> None:
        """End a trial: its value is the loss at K."""
        if training.is_baseline:
            return
        trial = self._of(training)
        is_over, trial.outcome = trial.outcome is not None, outcome
        if is_over:
            self._redraw(training.stage)
            return
        for name, value in _told(trial).items():
            self._storage.set_trial_user_attr(self._ids[training.key], name, value)
        self._storage.set_trial_state_values(self._ids[training.key], *_end(outcome))

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()

    def _of(self, training: RecordedTraining) -> _Trial:
        return self._trials[training.stage][training.key]

    def _redraw(self, stage: str) -> None:
        """Write the study of a stage anew."""
        import optuna

        name = self._name(stage)
        if name in optuna.get_all_study_names(self._storage):
            optuna.delete_study(study_name=name, storage=self._storage)
        study = optuna.create_study(storage=self._storage, study_name=name, direction="minimize")
        study.set_user_attr("space", self._run.space)
        for key, trial in self._trials[stage].items():
            self._add(key, trial)

    def _add(self, key: str, trial: _Trial) -> None:
        from optuna.distributions import CategoricalDistribution
        from optuna.trial import TrialState, create_trial

        state, values = TrialState.RUNNING, None
        if trial.outcome is not None:
            state, values = _end(trial.outcome)
        choices, settings = self._choices[trial.training.stage], trial.training.settings
        study = self._storage.get_study_id_from_name(self._name(trial.training.stage))
        self._ids[key] = self._storage.create_new_trial(
            study,
            create_trial(
                state=state,
                values=values,
                params=settings,
                distributions={name: CategoricalDistribution(choices[name]) for name in settings},
                intermediate_values=trial.losses,
                user_attrs=_told(trial),
            ),
        )

    def _name(self, stage: str) -> str:
        return f"{self._run.name} {stage}".strip()


def _told(trial: _Trial) -> dict[str, Any]:
    """Return what is said of a trial beside its parameters."""
    told = {"name": trial.training.key, **trial.training.facts}
    if (outcome := trial.outcome) is not None:
        told |= {**outcome.numbers, "lag": outcome.lag, "is_winner": outcome.is_winner}
    return told


def _end(outcome: TrainingOutcome) -> "tuple[optuna.trial.TrialState, list[float] | None]":
    """Return how a trial ended, and its value."""
    from optuna.trial import TrialState

    if outcome.status == "ok" and outcome.val_loss_at_lag is not None:
        return TrialState.COMPLETE, [outcome.val_loss_at_lag]
    return (TrialState.PRUNED if outcome.status == "stopped" else TrialState.FAIL), None
