"""A study of Optuna: asked for parameters, told losses, kept where `optuna-dashboard` opens it.

It is a picture of the run, not its memory: what a run folder does not say is thrown away.
"""

import sqlite3
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lagsearch.storage.files import derive_seed

if TYPE_CHECKING:
    import optuna

Found = TypeVar("Found")


@dataclass(frozen=True)
class StudyTrial:
    """A trial as a run knows it.

    Attributes:
        parameters: What was chosen.
        candidate: The growth that it came to, if any.
        is_told: Whether its loss is known, or that it has none.
        loss: None where it has none: it failed.
    """

    parameters: dict[str, Any]
    candidate: str | None
    is_told: bool
    loss: float | None


class Study:
    """One study.

    Args:
        name: Its name, unique among those that share a dashboard.
        sampler: `tpe` or `random`.
        seed: The root of what the sampler draws.
        storage: A SQLite file; in memory where it is None.
    """

    def __init__(self, name: str, sampler: str, seed: int, storage: Path | None = None) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._name, self._sampler, self._seed = name, sampler, seed
        self._storage: Any = optuna.storages.InMemoryStorage()
        if storage is not None:
            self._storage = _open_storage(storage)
        self._study = self._open()

    def restore(
        self, trials: Sequence[StudyTrial], draw: Callable[[Callable[..., Any]], object]
    ) -> None:
        """Bring the study to what a run knows: as it was when the run was interrupted.

        Args:
            trials: By their numbers.
            draw: Chooses one parameter after the other.
        """
        if not self._agrees(trials):
            import optuna

            optuna.delete_study(study_name=self._name, storage=self._storage)
            self._study = self._open()
            for each in trials:
                self.ask(draw, each.parameters)
                self.name(each.candidate)
        for trial, known in zip(self._study.trials, trials, strict=True):
            if known.is_told and not trial.state.is_finished():
                self.tell(trial.number, known.loss)

    def ask(
        self,
        draw: Callable[[Callable[..., Any]], Found],
        parameters: dict[str, Any] | None = None,
    ) -> tuple[int, dict[str, Any], Found]:
        """Begin a trial; return its number, its parameters and what they were drawn for.

        Args:
            draw: Chooses one parameter after the other.
            parameters: The parameters, where it is not for the sampler to choose them.
        """
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = self._make_sampler(number)
        if parameters is not None:
            self._study.enqueue_trial(parameters)
        trial = self._study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = draw(trial.suggest_categorical)
        self._last = trial
        return trial.number, dict(trial.params), found

    def name(self, candidate: str | None) -> None:
        """Write down the candidate of the trial that was asked for last."""
        if candidate is not None:
            self._last.set_user_attr("candidate", candidate)

    def tell(self, number: int, loss: float | None) -> None:
        """Say what came of a trial.

        Args:
            number: The trial's.
            loss: At K; None where there is none.
        """
        import optuna

        state = optuna.trial.TrialState.FAIL if loss is None else None
        self._study.tell(number, loss, state=state)

    def close(self) -> None:
        """Let go of the storage."""
        self._storage.remove_session()

    def _open(self) -> "optuna.Study":
        import optuna

        return optuna.create_study(
            storage=self._storage, study_name=self._name, direction="minimize", load_if_exists=True
        )

    def _agrees(self, trials: Sequence[StudyTrial]) -> bool:
        """Return whether all that the study holds is known so."""
        held = self._study.trials
        if len(held) != len(trials) or any(
            trial.params != known.parameters for trial, known in zip(held, trials, strict=True)
        ):
            return False
        return all(
            known.is_told and trial.value == known.loss
            for trial, known in zip(held, trials, strict=True)
            if trial.state.is_finished()
        )

    def _make_sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        """Return the sampler of one trial: what it draws depends on the trials before alone."""
        import optuna

        seed = derive_seed(self._seed, "optuna", number) % 2**32
        if self._sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True
            )


def _open_storage(path: Path) -> "optuna.storages.RDBStorage":
    """Open a SQLite file, in place of one that cannot be read."""
    import optuna

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # what a power cut takes is made anew; to wait for the disk at every parameter takes long
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(connect()) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # somebody else holds it
            raise
        path.unlink()
    return optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": connect})
