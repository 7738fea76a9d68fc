"""The whole run, readable from top to bottom: space, sources, candidates, search, winner, report.

`run` may be interrupted anywhere and called again: each phase first looks at what the run folder
and the cache already hold.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lagsearch.data.objectives import make_objective
from lagsearch.data.predicting import Predicts
from lagsearch.data.store import Stores, check_length, open_stores
from lagsearch.data.tokenizers import vocabulary_size
from lagsearch.downstream import Downstream, open_downstream
from lagsearch.errors import (
    CandidateFailed,
    DataError,
    HarnessError,
    ModelError,
    NoSurvivorError,
    ResourceError,
    RunFolderError,
)
from lagsearch.jobs import JobMaker, made_of
from lagsearch.planning import (
    RunPlan,
    find_tokenizer,
    make_plan,
    recorded,
    vocabulary_of,
    with_lag,
)
from lagsearch.progress import Watch, make_watch
from lagsearch.report.build import build_report, curves_table
from lagsearch.report.folder import RunFolder, now
from lagsearch.report.numbers import read_run
from lagsearch.search.keep import BestStateOnly, let_go
from lagsearch.search.serial import Finished, Outcome, run_serial
from lagsearch.search.slots import Slots, decide, describe
from lagsearch.space import SpaceFile
from lagsearch.training.curve import Failure, append
from lagsearch.training.job import Compute, Job
from lagsearch.training.sources import CachedSource, from_checkpoint, is_cached, pretrained

if TYPE_CHECKING:
    import pandas as pd


Runner = Callable[[Sequence[Job], int, Watch, Finished], Outcome]
"""Trains jobs to a step, in parallel or one after the other."""


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate and what it came to.

    Attributes:
        name: Unique in its run.
        operator: The operator's name.
        settings: The operator's settings.
        layer_map: Its layers drawn, e.g. `1 2 1* 2* 3`.
        rank: 1 is the lowest loss at K; failed ones come last.
        status: `ok` or `failed`.
        val_loss: Nats per predicted token, by step.
        parameters: Tied ones once.
        flops: Training FLOPs up to K.
        wall_s: Seconds of its own training and evaluation up to K.
    """

    name: str
    operator: str
    settings: dict[str, Any]
    layer_map: str
    rank: int
    status: str
    val_loss: dict[int, float]
    parameters: int
    flops: int
    wall_s: float


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        folder: The run folder.
        report: The numbers of `report.json`.
    """

    folder: Path
    report: dict[str, Any]

    @property
    def candidates(self) -> list[RankedCandidate]:
        """All candidates, best at K first."""
        names = [each.name for each in fields(RankedCandidate)]
        ranked = []
        for entry in self.report["candidates"]:
            losses = {int(step): loss for step, loss in entry["val_loss"].items()}
            values = {name: entry[name] for name in names}
            ranked.append(RankedCandidate(**{**values, "val_loss": losses}))
        return ranked

    @property
    def winner(self) -> str:
        """The winner's name."""
        return str(self.report["winner"]["name"])

    @property
    def checkpoint(self) -> Path:
        """Folder of the winner's Hugging Face checkpoint."""
        return self.folder / "winner"

    @property
    def curves(self) -> "pd.DataFrame":
        """All evaluations as a table: candidate, step, val_loss, wall_s, flops."""
        return curves_table(self.folder)


def run(
    space: str | Path | SpaceFile,
    *,
    lag: int | None = None,
    oracle: bool = False,
    out: str | Path | None = None,
    serial: bool = False,
    watch: Watch | None = None,
) -> RunResult:
    """Find the best growth by LAG and train it to completion; go on where a run was interrupted.

    Args:
        space: A space file, or one that is loaded.
        lag: K, in place of the space's `search.lag`.
        oracle: Train all candidates to completion and score the ranking.
        out: The run folder, in place of `reports/<name>`.
        serial: Train one candidate after the other in this process, without Ray.
        watch: Follows the run; a live table or plain lines when left out.

    Raises:
        LagsearchError: The space cannot be run; nothing was written.
        NoSurvivorError: Every candidate failed.
    """
    watch = watch or make_watch()
    file = with_lag(space, lag, oracle=oracle)
    folder = RunFolder(Path(out) if out else Path("reports") / file.space.name)
    file = replace(file, space=folder.check(file.space))
    tokenizer = find_tokenizer(file)
    plan = make_plan(file, vocabulary_of(tokenizer, file.space))
    downstream = open_downstream(file, [each.name for each in plan.candidates], folder, watch.say)
    compute, slots = _resources(file, plan)
    store, objective = _open_data(file, tokenizer, watch)
    brought = _checkpoints(file, plan, objective.kind, watch)
    threads = 1 if slots.gpus else slots.cpus * slots.number
    make = JobMaker(plan, store, objective, folder, compute, threads)
    lock = folder.lock()
    try:
        folder.begin(file.space, recorded(plan), describe(compute), make.inputs())
        runner = run_serial if serial else _parallel(slots)
        phases = _Phases(plan, make, runner, watch, brought, downstream)
        sources = phases.sources()
        jobs = make.candidates([source.state for source in sources])
        phases.search(jobs)
        winner = phases.winner(jobs)
        phases.save_winner(winner)
        phases.baselines(jobs)
        phases.evaluate(winner, jobs)
        let_go(folder.states)
        began = time.monotonic()
        report = build_report(folder.path)
        folder.spend("report", time.monotonic() - began)
        folder.note(end=now())
    finally:
        lock.release()
    return RunResult(folder.path, report)


@dataclass(frozen=True)
class _Phases:
    """The phases of one run, in order."""

    plan: RunPlan
    make: JobMaker
    runner: Runner
    watch: Watch
    brought: Mapping[str, CachedSource]
    downstream: Downstream

    @property
    def folder(self) -> RunFolder:
        """Where the run leaves its files."""
        return self.make.folder

    def sources(self) -> list[CachedSource]:
        """Train or read every source."""
        with self._timed("sources"):
            ready = [
                self.brought.get(planned.source.name) or self._pretrained(self.make.source(planned))
                for planned in self.plan.sources
            ]
        self.folder.record_sources([each.facts for each in ready])
        keeps = self.plan.space.training.optimizer_state == "keep"
        for each in ready:
            if keeps and not each.facts["has_optimizer_state"]:
                self.watch.say(
                    f"source {each.facts['name']}: brings no optimizer state; it starts from zero"
                )
        return ready

    def _pretrained(self, job: Job) -> CachedSource:
        """Train a source, or take it from the cache."""
        origin = made_of(job)
        if is_cached(origin):
            self.watch.say(f"source {job.name}: from the cache")
            return pretrained(job, origin, self.watch.progress, self.watch.say)
        with self._watched(f"source {job.name}", [job], job.training.steps):
            try:
                source = pretrained(job, origin, self.watch.progress, self.watch.say)
            except CandidateFailed as failed:
                raise ModelError(
                    f"source {job.name} cannot be trained: {failed}; "
                    "mend its pretrain settings (optimizer.lr, schedule, config)"
                ) from None
            self.watch.finished(job.name)
        return source

    def search(self, jobs: dict[str, Job]) -> None:
        """Train all candidates to K, or to completion with an oracle."""
        space = self.plan.space
        until = space.training.steps if space.search.oracle else self.plan.lag
        missing = [job for job in jobs.values() if not self._has(job, until)]
        if not missing:
            return
        keep = BestStateOnly(self.plan.lag, {*self._further(), *self.downstream.chosen})
        for job in jobs.values():
            if self.folder.curve(job.name).at(until) is not None:
                keep.finished(job)
        called = time.monotonic()
        try:
            with self._watched("search", missing, until):
                outcome = self.runner(missing, until, self.watch, keep.finished)
        except BaseException:
            self.folder.spend("search", time.monotonic() - called)
            raise
        for name, reason in outcome.failures.items():
            if self.folder.curve(name).failure is None:
                step = max((e.step for e in self.folder.curve(name).evaluations), default=0)
                append(jobs[name].curve, Failure(step, reason, again=True))
        unseen = [job.name for job in missing if not self.folder.curve(job.name).seen]
        if unseen:
            raise RunFolderError(
                f"{self.folder.path}: workers trained {unseen[0]}, but its curve cannot be seen "
                "from here; run folder and cache (LAGSEARCH_CACHE) must be on shared storage"
            )
        self.folder.spend("search", time.monotonic() - outcome.began)
        self.folder.note(slots=outcome.slots)

    def winner(self, jobs: dict[str, Job]) -> Job:
        """Rank at K and train the best to completion; if it fails there, the next best."""
        steps = self.plan.space.training.steps
        while True:
            job = jobs[self._ranking()[0]]
            if self._has(job, steps) and (self._is_saved(job) or job.state.is_file()):
                return job
            with self._timed("winner"), self._watched(f"winner {job.name}", [job], steps):
                outcome = self._alone([job], steps, self.watch, lambda job: None)
            for reason in outcome.failures.values():
                if self.folder.curve(job.name).failure is None:
                    append(job.curve, Failure(self.plan.lag, reason))

    def save_winner(self, job: Job) -> None:
        """Write the winner as a Hugging Face checkpoint, and let go of what nothing needs now."""
        from lagsearch.training.growth import build
        from lagsearch.training.state import load_weights

        if not self._is_saved(job):
            model: Any = build(job)
            load_weights(job.state, model)
            making = self.folder.path / ".winner.tmp"
            shutil.rmtree(making, ignore_errors=True)
            model.save_pretrained(making)
            self.make.store.tokenizer().save_pretrained(making)
            shutil.rmtree(self.folder.winner, ignore_errors=True)
            making.replace(self.folder.winner)
            self.folder.note(winner=job.name)
        needed = {*self._further(), *self.downstream.missing(job.name)} - {job.name}
        let_go(self.folder.states, but=needed | ({job.name} & {*self._further()}))

    def baselines(self, jobs: dict[str, Job]) -> None:
        """Train those on that have more steps than all others."""
        for name in self._further():
            job = jobs[name]
            until = job.training.steps
            if self._has(job, until):
                continue
            with self._timed("baselines"), self._watched(f"baseline {name}", [job], until):
                outcome = self._alone([job], until, self.watch, lambda job: None)
            for reason in outcome.failures.values():
                if self.folder.curve(name).failure is None:
                    append(job.curve, Failure(self.plan.space.training.steps, reason, again=True))

    def evaluate(self, winner: Job, jobs: Mapping[str, Job]) -> None:
        """Evaluate the downstream tasks; whatever becomes of them, the report is there."""
        if not self.downstream.missing(winner.name):
            return
        build_report(self.folder.path)
        compute = replace(self.make.compute, threads=self.make.source_threads)
        tokenizer = self.make.store.tokenizer()
        try:
            self.downstream.evaluate(winner.name, jobs, tokenizer, compute, self.watch.say)
        except HarnessError:
            build_report(self.folder.path)
            raise

    def _further(self) -> list[str]:
        """Return the candidates that are trained further than all others."""
        completion = self.plan.space.training.steps
        return [each.name for each in self.plan.candidates if each.steps > completion]

    @property
    def _alone(self) -> Runner:
        """The runner of one model: on this machine there is no need to start a worker for it."""
        return self.runner if os.environ.get("RAY_ADDRESS") else run_serial

    def _is_saved(self, job: Job) -> bool:
        """Return whether `winner/` is this candidate's."""
        is_named = self.folder.environment().get("winner") == job.name
        return is_named and self.folder.winner.is_dir()

    def _ranking(self) -> list[str]:
        """Return the candidates that did not fail, best at K first.

        Raises:
            NoSurvivorError: All failed.
        """
        names = [each.name for each in self.plan.candidates]
        failures = [self.folder.curve(name).failure for name in names]
        if all(failures) and (first := failures[0]) is not None:
            raise NoSurvivorError(
                f"{self.folder.path}: no candidate survived; "
                f"{names[0]}: step {first.step}: {first.failed}"
            )
        run = read_run(self.folder)
        return [name for name in run.ranking if name in run.table.candidates]

    def _has(self, job: Job, step: int) -> bool:
        """Return whether a candidate has come to a step, or failed for good."""
        curve = self.folder.curve(job.name)
        if curve.failure is not None:
            return not curve.failure.again
        return curve.at(step) is not None

    @contextmanager
    def _watched(self, phase: str, jobs: Sequence[Job], until: int) -> Iterator[None]:
        self.watch.begin(phase, [job.name for job in jobs], until)
        try:
            yield
        finally:
            self.watch.end()

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.folder.spend(phase, time.monotonic() - began)


def _open_data(file: SpaceFile, tokenizer: Any, watch: Watch) -> tuple[Stores, Predicts]:
    """Find the tokens and the objective, and check that there is text enough."""
    space = file.space
    try:
        length = space.data.sequence_length
        size = vocabulary_size(tokenizer)
        objective = make_objective(space.objective, tokenizer, size, length)
        store = open_stores(space.data, tokenizer, watch.say, watch.passing)
        pretrained = [each.pretrain for each in space.sources if each.pretrain]
        sizes = [space.training.batch_size, *(each.batch_size or 0 for each in pretrained)]
        parts = [each.place_in_text[1] for each in pretrained]
        rows = space.evaluation.batches * max(sizes)
        check_length(store, space.data, rows, max(parts, default=1))
    except DataError as error:
        raise file.error(error.at, str(error)) from None
    return store, objective


def _checkpoints(
    file: SpaceFile, plan: RunPlan, kind: str, watch: Watch
) -> dict[str, CachedSource]:
    """Read the sources that are checkpoints into the cache, by their names."""
    brought = {}
    for index, planned in enumerate(plan.sources):
        if planned.checkpoint is not None:
            name = planned.source.name
            try:
                brought[name] = from_checkpoint(
                    name, planned.checkpoint, kind, planned.n_tokens, watch.say
                )
            except ModelError as error:
                raise file.error(("sources", index, "checkpoint"), str(error)) from None
    return brought


def _resources(file: SpaceFile, plan: RunPlan) -> tuple[Compute, Slots]:
    space = file.space
    memory = [each.cost.memory_bytes for each in plan.candidates]
    try:
        return decide(space.resources, space.training.precision, memory)
    except ResourceError as error:
        raise file.error(error.at, str(error)) from None


def _parallel(slots: Slots) -> Runner:
    """Return the runner that trains candidates in Ray."""

    def runner(jobs: Sequence[Job], until: int, watch: Watch, finished: Finished) -> Outcome:
        from lagsearch.search.ray_runner import run_ray

        return run_ray(jobs, until, slots, watch, finished)

    return runner
