"""MLflow: a parent run for the search, and one below it for each training."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lagsearch.loggers.registry import logger
from lagsearch.records.curve import Evaluation
from lagsearch.records.trainings import RecordedRun, RecordedTraining, TrainingOutcome

_RUN, _TRAINING = "lagsearch.run", "lagsearch.training"
"""Tags by which a run is found again."""
_MOST_VALUES = 300
"""Evaluations in a request: MLflow takes a thousand values."""


@logger(
    "mlflow",
    words="the server of MLFLOW_TRACKING_URI, else a file in the run folder",
    needs="mlflow",
    install="lagsearch[mlflow]",
)
class MlflowLogger:
    """Logs to the server of `MLFLOW_TRACKING_URI`, or to `log/mlflow/mlflow.db` without one."""

    def __init__(self, folder: Path, run: RecordedRun) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        folder = folder.absolute()
        artifacts = None if uri else f"{folder.as_uri()}/artifacts"
        if not uri:
            folder.mkdir(parents=True, exist_ok=True)
        uri = uri or f"sqlite:///{folder}/mlflow.db"
        self.where = _where(uri)
        self._client: Any = MlflowClient(tracking_uri=uri)
        self._run = run
        found = self._client.get_experiment_by_name(run.name)
        self._experiment = (
            self._client.create_experiment(run.name, artifacts)
            if found is None
            else found.experiment_id
        )
        self._runs = self._found()
        if "" not in self._runs:
            self._runs[""] = self._create(run.name, "", {})
        self._parent = self._runs[""]
        self._client.update_run(self._parent, status="RUNNING")

    def held(self, training: RecordedTraining) -> int:
        """Return the last step that MLflow has; begin a run where it has none."""
        if training.key not in self._runs:
            parent = {"mlflow.parentRunId": self._parent}
            self._runs[training.key] = self._create(training.key, training.key, parent)
            self._log_settings(training)
        history = self._client.get_metric_history(self._runs[training.key], "val_loss")
        return max((each.step for each in history), default=-1)

    def log(self, training: RecordedTraining, evaluations: Sequence[Evaluation]) -> None:
        """Log losses and FLOPs over steps."""
        for first in range(0, len(evaluations), _MOST_VALUES):
            values = [
                self._metric(name, getattr(each, name), each.step, each.wall_s)
                for each in evaluations[first : first + _MOST_VALUES]
                for name in ("flops", "wall_s", "val_loss")  # the loss last: `held` asks for it
            ]
            self._client.log_batch(self._runs[training.key], metrics=values)

    def conclude(self, training: RecordedTraining, outcome: TrainingOutcome) -> None:
        """Log the outcome, and end the run."""
        run = self._runs[training.key]
        values = [
            self._metric(name, value, outcome.lag, 0.0) for name, value in outcome.numbers.items()
        ]
        self._client.log_batch(run, metrics=values)
        self._client.set_tag(run, "status", outcome.status)
        self._client.set_tag(run, "is_winner", str(outcome.is_winner))
        self._client.set_terminated(run, "FAILED" if outcome.status == "failed" else "FINISHED")

    def close(self) -> None:
        """End the run of the search."""
        self._client.set_terminated(self._parent)

    def _found(self) -> dict[str, str]:
        """Return the runs that are there from before, by the keys of their trainings."""
        wanted, token = f"tags.`{_RUN}` = '{self._run.identity}'", None
        found: dict[str, str] = {}
        while True:
            page = self._client.search_runs([self._experiment], wanted, page_token=token)
            found |= {each.data.tags[_TRAINING]: each.info.run_id for each in page}
            if not (token := page.token):
                return found

    def _create(self, name: str, key: str, tags: dict[str, str]) -> str:
        tags = {_RUN: self._run.identity, _TRAINING: key, **tags}
        made = self._client.create_run(
            self._experiment, round(1000 * self._run.started_s), tags, run_name=name
        )
        return str(made.info.run_id)

    def _log_settings(self, training: RecordedTraining) -> None:
        from mlflow.entities import Param

        told = {**training.settings, **training.facts}
        params = [Param(key, str(value)) for key, value in told.items()]
        self._client.log_batch(self._runs[training.key], params=params)

    def _metric(self, name: str, value: float, step: int, wall_s: float) -> Any:
        from mlflow.entities import Metric

        return Metric(name, value, round(1000 * (self._run.started_s + wall_s)), step)


def _where(uri: str) -> str:
    """Say where a store's runs are seen, without what only its user may know."""
    address = urlsplit(uri)
    if address.username or address.password:
        host = address.netloc.rpartition("@")[2]
        uri = urlunsplit(address._replace(netloc=f"...@{host}"))
    if address.scheme in ("http", "https"):
        return uri
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
