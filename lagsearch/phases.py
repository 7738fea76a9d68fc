"""The phases of a run, in order: sources, search, winner, baselines, downstream tasks.

Each first looks at what the run folder and the cache already hold.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lagsearch.downstream import Downstream
from lagsearch.errors import (
    CandidateFailed,
    HarnessError,
    ModelError,
    NoSurvivorError,
    RunFolderError,
)
from lagsearch.jobs import JobMaker, made_of
from lagsearch.planning import RunPlan
from lagsearch.progress import Watch
from lagsearch.report.build import build_report
from lagsearch.report.folder import RunFolder
from lagsearch.report.numbers import read_run
from lagsearch.search.keep import BestStateOnly, let_go
from lagsearch.search.serial import Finished, Outcome, run_serial
from lagsearch.training.curve import Failure, append
from lagsearch.training.job import Job
from lagsearch.training.sources import CachedSource, is_cached, pretrained

Runner = Callable[[Sequence[Job], int, Watch, Finished], Outcome]
"""Trains jobs to a step, in parallel or one after the other."""


@dataclass(frozen=True)
class Phases:
    """The phases of one run.

    Attributes:
        plan: What is run.
        make: Makes the jobs.
        runner: Trains several at a time.
        watch: Follows.
        brought: Sources that are checkpoints, by their names.
        downstream: What is evaluated at the end.
        tokenizer: The space's: it is saved with the winner.
    """

    plan: RunPlan
    make: JobMaker
    runner: Runner
    watch: Watch
    brought: Mapping[str, CachedSource]
    downstream: Downstream
    tokenizer: Any

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
        self._say_unprofiled([job for job in jobs.values() if job not in missing])
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

    def _say_unprofiled(self, trained: Sequence[Job]) -> None:
        """Say so where profiling was asked for too late."""
        unseen = [job.name for job in trained if job.profile and not job.profile.is_file()]
        if unseen:
            self.watch.say(
                f"profile: {len(unseen)} candidates are trained already and cannot be profiled, "
                f"e.g. {unseen[0]}; another --out profiles all"
            )

    def winner(self, jobs: dict[str, Job]) -> Job:
        """Rank at K and train the best to completion; if it fails there, the next best."""
        steps = self.plan.space.training.steps
        while True:
            job = jobs[self._ranking()[0]]
            if self._has(job, steps) and (self._is_saved(job) or job.state.is_file()):
                return job
            with self._timed("winner"), self._watched(f"winner {job.name}", [job], steps):
                profiled = replace(job, profile=self.make.profile(f"winner/{job.name}"))
                outcome = self._alone([profiled], steps, self.watch, lambda job: None)
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
            self.tokenizer.save_pretrained(making)
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
                profiled = replace(job, profile=self.make.profile(f"baselines/{name}"))
                outcome = self._alone([profiled], until, self.watch, lambda job: None)
            for reason in outcome.failures.values():
                if self.folder.curve(name).failure is None:
                    append(job.curve, Failure(self.plan.space.training.steps, reason, again=True))

    def evaluate(self, winner: Job, jobs: Mapping[str, Job]) -> None:
        """Evaluate the downstream tasks; whatever becomes of them, the report is there."""
        if not self.downstream.missing(winner.name):
            return
        build_report(self.folder.path)
        compute = replace(self.make.compute, threads=self.make.source_threads)
        try:
            self.downstream.evaluate(winner.name, jobs, self.tokenizer, compute, self.watch.say)
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
