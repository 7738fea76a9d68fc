"""Downstream tasks on the winner and on chosen candidates: what is asked for, had and missing."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lagsearch.errors import HarnessError, RunFolderError, reason_of
from lagsearch.models.checkpoints import load_checkpoint
from lagsearch.records.folder import RunFolder
from lagsearch.running.evaluation.harness import evaluate_tasks
from lagsearch.running.evaluation.tasks import (
    Tasks,
    open_tasks,
    own_files,
)
from lagsearch.space import (
    AskedTask,
    Harness,
    Space,
    StageFile,
    asked_tasks,
    chosen_candidates,
)
from lagsearch.storage.files import write_json
from lagsearch.training.growth import trained
from lagsearch.training.job import Compute, Job

FORMAT = 1

_KEY = ("candidate", "asked", "asked_num_fewshot", "limit", "own_files")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Downstream:
    """The downstream tasks of one run.

    Attributes:
        folder: Where `harness.json` is.
        harness: What the space says; None where it asks for nothing.
        chosen: Candidates to evaluate beside the winner.
        own_files: Hash of the space's own task files.
        tasks: The tasks, where some are still to be evaluated.
    """

    folder: RunFolder
    harness: Harness | None
    chosen: tuple[str, ...] = ()
    own_files: str | None = None
    tasks: Tasks | None = None

    def missing(self, winner: str) -> dict[str, list[AskedTask]]:
        """Return what is still to be evaluated, by candidate; one that failed is left out."""
        if self.harness is None:
            return {}
        had = [_key(each) for each in self._record()["evaluations"]]
        names = dict.fromkeys((winner, *self.chosen))
        tasks = asked_tasks(self.harness)
        asked = {
            name: [task for task in tasks if _key(self._words(name, task)) not in had]
            for name in names
            if self.folder.curve(name).failure is None
        }
        return {name: found for name, found in asked.items() if found}

    def evaluate(
        self, winner: str, jobs: Mapping[str, Job], tokenizer: Any, compute: Compute, tell: Tell
    ) -> None:
        """Evaluate what is missing; each result is kept as soon as it is there.

        Args:
            winner: Its checkpoint is in the run folder; the others' weights are in their states.
            jobs: The jobs of all candidates.
            tokenizer: The space's.
            compute: What may be used.
            tell: Is told in a line what came out.

        Raises:
            HarnessError: Some tasks failed. The others are kept, and the record says which.
        """
        if self.harness is None:
            return
        tasks = self.tasks or open_tasks(self.harness, tell)
        missing = self.missing(winner)
        self._write(failures=[])
        failures = []
        not_loaded: dict[AskedTask, str] = {}
        for name, asked in missing.items():
            model = self._model(jobs[name], is_winner=name == winner)
            for task in asked:
                words = self._words(name, task)
                began = time.monotonic()
                try:
                    if task in not_loaded:
                        raise HarnessError(not_loaded[task])
                    measured = evaluate_tasks(model, tokenizer, tasks, task, compute)
                except HarnessError as error:  # as it would be for the other candidates
                    not_loaded[task] = str(error)
                    failures.append({**words, "reason": str(error)})
                except Exception as error:  # one task's mishap must not end the others
                    failures.append({**words, "reason": f"task {task.name}: {reason_of(error)}"})
                else:
                    self._keep({**words, **measured, "wall_s": round(time.monotonic() - began, 3)})
                    tell(f"harness: {name}: {_told(measured['results'])}")
        self._write(failures=failures)
        if failures:
            count = sum(map(len, missing.values()))
            raise HarnessError(
                f"{self.folder.path}: downstream evaluations: {len(failures)} of {count} failed, "
                f"the first on {failures[0]['candidate']}: {failures[0]['reason']}; the report "
                "holds the rest, and the same command tries these again"
            )

    def _model(self, job: Job, *, is_winner: bool) -> Any:
        """Return a candidate as it was at completion."""
        if is_winner:
            return load_checkpoint(self.folder.winner, job.text.objective.kind)
        return trained(job)

    def _words(self, candidate: str, task: AskedTask) -> dict[str, Any]:
        """Return what makes one evaluation, as the record has it."""
        assert self.harness is not None, candidate
        values = (candidate, task.name, task.num_fewshot, self.harness.limit, self.own_files)
        return dict(zip(_KEY, values, strict=True))

    def _record(self) -> dict[str, Any]:
        return self.folder.harness() or {"format": FORMAT, "evaluations": [], "failures": []}

    def _keep(self, evaluation: dict[str, Any]) -> None:
        """Add an evaluation, in place of one of the same task that was another."""
        same = _key(evaluation)[:-1]
        others = [each for each in self._record()["evaluations"] if _key(each)[:-1] != same]
        self._write(evaluations=[*others, evaluation])

    def _write(self, **changes: Any) -> None:
        write_json(self.folder.harness_file, {**self._record(), **changes})


def open_downstream(
    file: StageFile, names: Mapping[str, str], folder: RunFolder, tell: Tell
) -> Downstream:
    """Check all that can be checked of the downstream tasks before anything trains.

    Args:
        file: The space.
        names: Each candidate's name by every name that it has.
        folder: The run folder; what it holds is not evaluated again.
        tell: Is told in a line what takes long.

    Raises:
        SpaceError: A task is unknown, lm-evaluation-harness is not installed, or a candidate will
            not be trained to completion.
        RunFolderError: A candidate's weights are gone.
    """
    harness = file.space.evaluation.harness
    if harness is None:
        return Downstream(folder, None)
    if harness.candidates and not file.space.search.oracle:
        message = "are not trained to the final step without --oracle; leave them out, or add it"
        raise file.error(("evaluation", "harness", "candidates"), message)
    try:
        chosen = chosen_candidates(harness, names)
        downstream = Downstream(folder, harness, chosen, own_files(harness))
        winner = _winner(folder)
        missing = downstream.missing(winner or "")
        _check_states(file.space, folder, [name for name in missing if name not in ("", winner)])
        if missing:
            downstream = replace(downstream, tasks=open_tasks(harness, tell))
    except HarnessError as error:
        raise file.error(error.at, str(error)) from None
    return downstream


def _winner(folder: RunFolder) -> str | None:
    """Return the winner of a run that has one already."""
    return folder.environment().get("winner") if folder.environment_file.is_file() else None


def _check_states(space: Space, folder: RunFolder, names: Sequence[str]) -> None:
    for name in names:
        is_complete = folder.curve(name).at(space.training.steps) is not None
        if is_complete and not folder.state_file(name).is_file():
            raise RunFolderError(
                f"{folder.path}: {name} came to the final step before "
                "evaluation.harness.candidates named it, and its weights are gone; "
                "choose another folder with --out"
            )


def _key(evaluation: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(evaluation[key] for key in _KEY)


def _told(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say in a line what came out."""
    values = [
        f"{row['task']} {row['metric']} "
        + ("not defined" if row["value"] is None else f"{row['value']:.4f}")
        for row in rows
    ]
    return ", ".join(values)
