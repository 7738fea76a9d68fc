"""The phases of a run, in order: sources, search, winner, baselines, downstream tasks.

Each first looks at what the run folder and the cache already hold.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lagsearch.display.watch import DoneBefore, Watch
from lagsearch.errors import (
    HarnessError,
    ModelError,
    NoSurvivorError,
    TrainerError,
)
from lagsearch.planning.stage import StagePlan
from lagsearch.records.curve import Failure, append, read_curve
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import prior_of, read_run, terms_of
from lagsearch.records.search import conclude
from lagsearch.running.evaluation.downstream import Downstream
from lagsearch.running.jobs import JobMaker, made_of
from lagsearch.running.remaining import Remaining, going_on
from lagsearch.running.search import Searching
from lagsearch.running.states import let_go
from lagsearch.running.trainers.job import TrainerJob
from lagsearch.running.workers.serial import (
    OpenRunner,
    Outcome,
    Runner,
)
from lagsearch.running.workers.slots import Slots
from lagsearch.selection import Order
from lagsearch.storage.files import UNFINISHED, appearing
from lagsearch.training.interrupted import told_where
from lagsearch.training.job import Compute, Job
from lagsearch.training.sources import CachedSource, is_cached, pretrained
from lagsearch.training.state import save_moments, saved_at


@dataclass(frozen=True)
class Phases:
    """The phases of one run.

    Attributes:
        plan: What is run.
        make: Makes the jobs.
        open_runner: Gives what trains several at a time.
        open_alone: Gives what trains one alone.
        open_source: Gives what pretrains one source.
        open_sources: Gives what pretrains several at a time; None where that is one by one.
        compute_here: What this process may use.
        slots: What candidates are trained on, and how many at a time.
        watch: Follows.
        brought: Sources that are checkpoints, by their names.
        downstream: What is evaluated at the end.
        tokenizer: The space's: it is saved with the winner.
        write_report: Writes the report of a run folder.
        has_stages: Whether the run has stages.
        told: Stopped candidates of which this process has said so.
    """

    plan: StagePlan
    make: JobMaker
    open_runner: OpenRunner
    open_alone: OpenRunner
    open_source: OpenRunner
    open_sources: OpenRunner | None
    compute_here: Compute
    slots: Slots
    watch: Watch
    brought: Mapping[str, CachedSource]
    downstream: Downstream
    tokenizer: Any
    write_report: Callable[[Path], Any]
    has_stages: bool = False
    told: set[str] = field(default_factory=set)

    @property
    def folder(self) -> RunFolder:
        """Where the run leaves its files."""
        return self.make.folder

    def sources(self) -> dict[int, list[CachedSource]]:
        """Train or read every source, for each seed: the same ones unless they vary, too."""
        space = self.plan.space
        varies = space.search.vary_sources
        with self._timed("sources"):
            ready = self._ready(space.seeds if varies else [space.seed])
        self.folder.record_sources(
            [
                each.facts | ({"seed": seed} if varies else {})
                for seed, found in ready.items()
                for each in found
            ]
        )
        for each in next(iter(ready.values())):
            if space.training.optimizer_state != "reset" and not each.facts["has_optimizer_state"]:
                self.watch.say(
                    f"source {each.facts['name']}: brings no optimizer state; it starts from zero"
                )
        return {seed: ready[seed if varies else space.seed] for seed in space.seeds}

    def ready(self, seed: int) -> list[CachedSource]:
        """Train or read the sources of a seed."""
        return self._ready([seed])[seed]

    def _ready(self, seeds: Sequence[int]) -> dict[int, list[CachedSource]]:
        """Train or read the sources of each seed, one after the other or several at once."""
        wanted = [
            (seed, each.source.name, self.make.source(each, seed))
            for seed in seeds
            for each in self.plan.sources
            if each.source.name not in self.brought
        ]
        groups = [wanted] if self.open_sources else [[each] for each in wanted]
        found: dict[tuple[int, str], CachedSource] = {}
        for group in groups:
            sources = self._pretrained([job for *_, job in group])
            for (seed, name, _), source in zip(group, sources, strict=True):
                found[seed, name] = source
        return {
            seed: [
                self.brought.get(each.source.name) or found[seed, each.source.name]
                for each in self.plan.sources
            ]
            for seed in seeds
        }

    def _pretrained(self, jobs: Sequence[Job]) -> list[CachedSource]:
        """Train sources, or take them from the cache."""
        for job in jobs:
            if is_cached(made_of(job)):
                self.watch.say(f"source {job.name}: from the cache")
        return pretrained(jobs, made_of, self._train_sources, self.watch.say)

    def _train_sources(self, jobs: Sequence[Job]) -> None:
        """Train sources to their completions.

        Raises:
            ModelError: One cannot be trained.
        """
        if len(jobs) > 1:  # under several seeds they have one name
            trial = self.plan.space.trial
            jobs = [replace(job, name=trial(job.name, job.text.seed)) for job in jobs]
        ends = {job.name: job.training.steps for job in jobs}
        title = "sources" if len(jobs) > 1 else f"source {jobs[0].name}"
        opened = (self.open_sources if len(jobs) > 1 else None) or self.open_source
        with self.watch.during(title, ends), opened() as runner:
            outcome = runner(jobs, max(ends.values()), self.watch, lambda job: None)
        for job in jobs:
            if (reason := outcome.failures.get(job.name)) is not None:
                settings = "; mend its pretrain settings (optimizer.lr, schedule, config)"
                is_its_own = read_curve(job.curve).failure is not None
                message = f"source {job.name} cannot be trained: {reason}"
                raise ModelError(message + settings * is_its_own)

    def search(self, jobs: Mapping[str, Job]) -> None:
        """Train candidates until the strategy can choose; with an oracle all to completion."""
        with self.open_runner() as runner:
            self.searching(jobs, runner).search()

    def searching(
        self,
        jobs: Mapping[str, Job],
        runner: Runner,
        tried: frozenset[str] = frozenset(),
        *,
        stops_at_lag: bool = False,
    ) -> Searching:
        """Return the search phase.

        Args:
            jobs: Those of all candidates under all seeds.
            runner: Trains several at a time.
            tried: Jobs that this process trained before.
            stops_at_lag: Whether to end with the choice, also where all are to be trained on.
        """
        kept = frozenset({*self._further(), *self.downstream.chosen})
        baselines = frozenset(each.name for each in self.plan.baselines)
        space, folder = self.plan.space, self.folder
        beside = (self._remaining, kept, tried, baselines, stops_at_lag, self.told)
        return Searching(space, folder, jobs, runner, self.watch, *beside)

    def keep(self, jobs: Mapping[str, Job]) -> None:
        """Search, and write checkpoints of the best at K before anything trains them on.

        Those that are there stay; one that was trained on, or let go, before it was asked for is
        named.
        """
        space, folder = self.plan.space, self.folder
        with self.open_runner() as runner:
            self.searching(jobs, runner, stops_at_lag=True).search()
        by_seed = {name: folder.curves_of(space, name) for name in self._names()}
        if all(any(curve.failure for curve in curves) for curves in by_seed.values()):
            return
        terms = terms_of(space, (), prior_of(folder.plans()))
        found = conclude(terms, by_seed, folder.path)
        assert not isinstance(found, Order), folder.path
        stopped = found.choice.stopped
        best = [name for name in found.ranking if name in found.table.candidates]
        best = [name for name in best if name not in stopped]
        for path in folder.kept.glob(f".*{UNFINISHED}"):  # of a process that was killed
            shutil.rmtree(path, ignore_errors=True)
        wanted = [
            name
            for name in best[: space.search.keep_checkpoints]
            if not (folder.kept / name).is_dir()
        ]
        for name in wanted:
            at = saved_at(jobs[name].state)
            if at is None or at.step != found.lag:
                self.watch.say(f"kept: not {name}, its weights of step {found.lag:,} are gone")
                continue
            with (
                self.watch.doing(f"keeping {name}", is_brief=True),
                appearing(folder.kept / name) as making,
            ):
                self._write_checkpoint(jobs[name], making)
                save_moments(jobs[name].state, making / "training" / "optimizer.safetensors")

    def of(self, plan: StagePlan) -> "Phases":
        """Return the phases of the same run with other candidates."""
        return replace(self, plan=plan, make=replace(self.make, plan=plan))

    def winner(self, jobs: dict[str, Job]) -> Job:
        """Rank at K and train the best to completion; if it fails there, the next best."""
        steps = self.plan.space.training.steps
        while True:
            self.search(jobs)
            job = jobs[self.ranking()[0]]
            if self.folder.is_over(job.name, steps) and (
                self._is_saved(job) or saved_at(job.state) is not None
            ):
                return job
            then = self._further()
            with self._timed("winner"), self._during("winner", job, steps, then, jobs):
                profiled = replace(job, profile=self.make.profile(f"winner/{job.name}"))
                outcome = self._alone(self.make.alone(profiled), steps)
            for reason in outcome.failures.values():
                if self.folder.curve(job.name).failure is None:
                    self._check_own(job, reason)
                    append(job.curve, Failure(self.folder.reached(job.name), reason))

    def _check_own(self, job: Job, reason: str) -> None:
        """Stop where a trainer of the user's own failed: the next best is no way out of that.

        Raises:
            TrainerError: It did.
        """
        if isinstance(job, TrainerJob):
            message = f"winner {job.name}: {reason}; mended, the same command goes on"
            raise TrainerError(message)

    def save_winner(self, job: Job) -> None:
        """Write the winner as a Hugging Face checkpoint, and let go of what nothing needs now."""
        if not self._is_saved(job):
            with self.watch.doing("saving the winner", is_brief=True):
                self._write_winner(job)
        needed = {*self._further(), *self.downstream.missing(job.name)} - {job.name}
        let_go(self.folder.states, but=needed | ({job.name} & {*self._further()}))

    def _write_winner(self, job: Job) -> None:
        with appearing(self.folder.winner) as making:  # before states, which could make it, go
            self._write_checkpoint(job, making)
            shutil.rmtree(self.folder.winner, ignore_errors=True)
        self.folder.note(winner=job.name)

    def _write_checkpoint(self, job: Job, making: Path) -> None:
        """Write a trained model as a Hugging Face checkpoint, tokenizer and all."""
        from lagsearch.models.checkpoints import open_checkpoint
        from lagsearch.models.files import ALONG, copy_along
        from lagsearch.models.tensors import save_checkpoint
        from lagsearch.training.growth import trained

        model: Any = trained(job)
        first = self.plan.sources[0].checkpoint
        if first is not None and self.plan.space.resources.save_dtype == "source":
            model.to(open_checkpoint(first, self.make.objective.kind).tensors.usual_type)
        save_checkpoint(model, making)
        self.tokenizer.save_pretrained(making)
        if first is not None:
            copy_along(first, making, ALONG)

    def baselines(self, jobs: dict[str, Job]) -> None:
        """Train those on that are no candidates, or have more steps than all others."""
        names = self._further()
        for place, name in enumerate(names, 1):
            job, then = jobs[name], names[place:]
            until = job.training.steps
            if self.folder.is_over(job.name, until):
                continue
            with self._timed("baselines"), self._during("baseline", job, until, then, jobs):
                profiled = replace(job, profile=self.make.profile(f"baselines/{name}"))
                outcome = self._alone(self.make.alone(profiled), until)
            for reason in outcome.failures.values():
                if self.folder.curve(name).failure is None:
                    append(job.curve, Failure(self.plan.space.training.steps, reason, again=True))

    def evaluate(self, winner: Job, jobs: Mapping[str, Job]) -> None:
        """Evaluate the downstream tasks; whatever becomes of them, the report is there."""
        if not self.downstream.missing(winner.name):
            return
        with self._timed("report"):
            self.write_report(self.folder.path)
        here = self.compute_here
        if here.device != self.make.compute.device:
            self.watch.say("harness: on CPUs, for this machine of the cluster has no GPU")
        try:
            with self._timed("downstream"):
                self.downstream.evaluate(winner.name, jobs, self.tokenizer, here, self.watch.say)
        except HarnessError:
            self.write_report(self.folder.path)
            raise

    def _further(self) -> list[str]:
        """Return what is trained to its end whatever the search chooses."""
        completion = self.plan.space.training.steps
        longer = [each.name for each in self.plan.candidates if each.steps > completion]
        return [*longer, *(each.name for each in self.plan.baselines)]

    @property
    def _remaining(self) -> Remaining:
        """What the run trains after its phases."""
        return Remaining(self.plan, self.folder, self.slots, self.has_stages, self._further())

    def _during(
        self, phase: str, job: Job, until: int, then: Sequence[str], jobs: Mapping[str, Job]
    ) -> AbstractContextManager[None]:
        """Show one model that is trained alone, for as long as a block lasts.

        Args:
            phase: In a word.
            job: The model's.
            until: The step to reach.
            then: What is trained to its end after it, by name.
            jobs: Those of all candidates and baselines.
        """
        later = self._remaining.after(job, until, then, jobs)
        before = DoneBefore(reached=going_on([job], until), later=later)
        return self.watch.during(f"{phase} {job.name}", {job.name: until}, before)

    def _alone(self, job: Job, until: int) -> Outcome:
        """Train one model."""
        with told_where([job], until), self.open_alone() as runner:
            return runner([job], until, self.watch, lambda job: None)

    def _is_saved(self, job: Job) -> bool:
        """Return whether `winner/` is this candidate's."""
        is_named = self.folder.environment().get("winner") == job.name
        return is_named and self.folder.winner.is_dir()

    def ranking(self) -> list[str]:
        """Return the candidates that did not fail, best at K first.

        Raises:
            NoSurvivorError: All failed.
        """
        curves = [self.folder.curve_of(self.plan.space, name) for name in self._names()]
        if all(curve.failure for curve in curves) and (first := curves[0].failure) is not None:
            raise NoSurvivorError(
                f"{self.folder.path}: no candidate survived; "
                f"{self._names()[0]}: step {first.step}: {first.failed}"
            )
        run = read_run(self.folder)
        return [name for name in run.ranking if name in run.table.candidates]

    def _names(self) -> list[str]:
        """Return the candidates' names."""
        return [each.name for each in self.plan.candidates]

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.folder.spend(phase, time.monotonic() - began)
