"""One stage of a course: a growth of the sources, or of the last stage's winner."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lagsearch.data.objectives.base import Predicts
from lagsearch.data.tokens.store import Stores
from lagsearch.display.watch import Watch
from lagsearch.errors import RunFolderError
from lagsearch.planning.run import ready
from lagsearch.planning.stage import (
    StagePlan,
    make_plan,
    recorded,
)
from lagsearch.planning.vocabulary import Vocabulary
from lagsearch.records.curve import Failure, append
from lagsearch.records.folder import RunFolder, now
from lagsearch.records.stage_result import StageResult
from lagsearch.running.evaluation.downstream import Downstream, open_downstream
from lagsearch.running.jobs import (
    JobMaker,
    made_of,
    with_validation,
)
from lagsearch.running.phases import Phases
from lagsearch.running.sampling import open_sampling, sample
from lagsearch.running.states import let_go
from lagsearch.running.workers.serial import OpenRunner
from lagsearch.running.workers.slots import Slots
from lagsearch.space import StageFile
from lagsearch.storage.files import digest
from lagsearch.training.job import Compute, Job
from lagsearch.training.sources import CachedSource
from lagsearch.training.state import saved_at


@dataclass(frozen=True)
class Shared:
    """What all stages of a run share.

    Attributes:
        tokenizer: The space's.
        vocabulary: Its.
        store: The tokens.
        objective: What is predicted.
        compute: What a candidate may use.
        source_threads: Threads of a source's pretraining.
        open_runner: Gives what trains several at a time.
        open_alone: Gives what trains one alone: a worker of a cluster, or this process.
        open_source: Gives what pretrains one source.
        open_sources: Gives what pretrains several at a time; None where that is one by one.
        compute_here: What this process may use.
        slots: What candidates are trained on, and how many at a time.
        devices: What the run uses, for its record.
        brought: Sources that are checkpoints, by their names.
        watch: Follows.
        write_report: Writes the report of a run folder.
    """

    tokenizer: Any
    vocabulary: Vocabulary
    store: Stores
    objective: Predicts
    compute: Compute
    source_threads: int
    open_runner: OpenRunner
    open_alone: OpenRunner
    open_source: OpenRunner
    open_sources: OpenRunner | None
    compute_here: Compute
    slots: Slots
    devices: Mapping[str, Any]
    brought: Mapping[str, CachedSource]
    watch: Watch
    write_report: Callable[[Path], Any]

    def make_jobs(self, plan: StagePlan, folder: RunFolder) -> JobMaker:
        """Return what makes the jobs of a stage.

        Args:
            plan: The stage.
            folder: Where its candidates leave their files.
        """
        return JobMaker(plan, self.store, self.objective, folder, self.compute, self.source_threads)


class StageRun:
    """A stage that is not finished."""

    def __init__(
        self,
        file: StageFile,
        before: StageResult | None,
        root: RunFolder,
        place: str,
        shared: Shared,
        plan: StagePlan | None = None,
    ) -> None:
        """Plan it; nothing is written.

        Args:
            file: Its space.
            before: What the stage before handed on.
            root: The folder of the whole run.
            place: Its folder in there; nothing for the run's own, where there are no `stages`.
            shared: What all stages share.
            plan: Its plan, where that was made before.

        Raises:
            LagsearchError: Something in it cannot be.
        """
        self.before, self.root, self.place, self.shared = before, root, place, shared
        self.file = ready(file, before.config if before else None)
        self.folder = RunFolder(root.path / place)
        plan = plan or make_plan(self.file, shared.vocabulary)
        self.plan: StagePlan = with_validation(plan, shared.store, shared.objective)
        self.make = shared.make_jobs(self.plan, self.folder)
        self._jobs: dict[str, Job] | None = None
        self._sources = ""
        self._told: set[str] = set()

    @property
    def title(self) -> str:
        """Course and stage in words; nothing where there are no `stages`."""
        course, _, stage = self.place.rpartition("/")
        return f"{course} {stage}".strip()

    def say(self, line: str) -> None:
        """Show a line, headed by course and stage."""
        self.shared.watch.say(f"{self.title}: {line}" if self.title else line)

    @property
    def searches(self) -> bool:
        """Whether there is anything to choose from."""
        return len(self.plan.candidates) > 1

    @property
    def begins_random(self) -> bool:
        """Whether it is the first stage, and begins with random weights."""
        before = self.file.space.sources[0].before
        return before is not None and self.before is None

    def begin(self) -> None:
        """Make its folder, or check that it is this stage's; have its sources ready.

        Candidates that are sampled are trained to K thereby.
        """
        space, shared = self.file.space, self.shared
        self.folder.check(space)
        self._check_before()
        for line in self.plan.remarks:
            self.say(line)
        sampling = open_sampling(self.plan, self.folder)
        plans = recorded(self.plan) if sampling is None else sampling.record()
        self.folder.begin(space, plans, dict(shared.devices), self.make.inputs())
        if space.trainer is not None:
            shared.tokenizer.save_pretrained(self.make.tokenizer)
        states: dict[int, list[Path]] = {seed: [] for seed in space.seeds}
        if not self.begins_random:
            sources = self.phases.sources()
            states = {seed: [each.state for each in found] for seed, found in sources.items()}
            self._sources = digest([each.facts["digest"] for each in sources[space.seeds[0]]])
        if sampling is not None:
            found = sample(sampling, self.phases, states)
            self.plan, self.make = found.plan, found.make
        self._jobs = self.make.candidates(states)
        if self.title:
            first, *others = self.jobs
            self.say(f"{len(self.jobs)} candidates" if others else f"one candidate, {first}")

    def _check_before(self) -> None:
        """Check that the weights are whole that the stage before has left.

        Raises:
            RunFolderError: They are damaged, or gone.
        """
        if self.before is not None and saved_at(state := self.root.state_of(self.before)) is None:
            course = self.root.path / Path(self.before.folder).parts[0]
            raise RunFolderError(
                f"{state}: damaged or gone; delete {course}, and the same command goes through its "
                "stages again"
            )

    @property
    def phases(self) -> Phases:
        """The phases of an ordinary run."""
        shared = self.shared
        return Phases(
            self.plan,
            self.make,
            shared.open_runner,
            shared.open_alone,
            shared.open_source,
            shared.open_sources,
            shared.compute_here,
            shared.slots,
            shared.watch,
            {**shared.brought, **self._brought()},
            self._downstream,
            shared.tokenizer,
            shared.write_report,
            self.file.number is not None,
            self._told,
        )

    @cached_property
    def _downstream(self) -> Downstream:
        """Its downstream tasks; what is to be said of them was said before the run began."""
        return open_downstream(self.file, self.plan.names, self.folder, lambda line: None)

    def _brought(self) -> dict[str, CachedSource]:
        """Return the last stage's winner as a source."""
        before = self.before
        if before is None:
            return {}
        name = self.file.space.sources[0].name
        facts = {
            "name": name,
            "digest": before.identity,
            "kind": "stage",
            "steps": before.steps,
            "val_loss": before.val_loss,
            "flops": before.flops,
            "wall_s": before.wall_s,
            "has_optimizer_state": True,
        }
        return {name: CachedSource(self.root.state_of(before), facts)}

    @property
    def jobs(self) -> dict[str, Job]:
        """The jobs of its candidates; it must have begun."""
        assert self._jobs is not None, self.place
        return self._jobs

    def keep(self) -> None:
        """Keep the best at K, where that is asked for."""
        if self.file.space.search.keep_checkpoints is not None:
            self.phases.keep(self.jobs)

    def search(self) -> None:
        """Train all candidates until one can be chosen."""
        self.phases.search(self.jobs)

    def chosen(self) -> Job:
        """Return the job that is to be trained to completion.

        Raises:
            NoSurvivorError: Every candidate failed.
        """
        if not self.searches:
            return next(iter(self.jobs.values()))
        return self.jobs[self.phases.ranking()[0]]

    def identity(self, job: Job) -> str:
        """Return a digest of all that decides a job's weights at completion."""
        origin = self.before.identity if self.before else self._sources
        return digest([origin, job.plan.to_dict(), made_of(job)])

    def is_trained(self, job: Job) -> bool:
        """Return whether a job has come to completion, and its weights are there."""
        is_saved = (
            self.folder.environment().get("winner") == job.name and self.folder.winner.is_dir()
        )
        is_over = self.folder.curve(job.name).at(job.training.steps) is not None
        return is_over and (is_saved or job.state.is_file())

    def note_trained(self, job: Job, failure: str | None, began_s: float) -> None:
        """Note what came of training a job together with those of other stages."""
        curve = self.folder.curve(job.name)
        if failure is not None and curve.failure is None:
            append(job.curve, Failure(self.folder.reached(job.name), failure))
        spent = curve.evaluations[-1].wall_s if curve.evaluations else 0.0
        self.folder.spend("winner", max(0.0, spent - began_s))

    def finish(self, *, keeps_checkpoint: bool) -> StageResult:
        """Rank, train what is still to be trained, and hand on.

        Args:
            keeps_checkpoint: Whether to write the winner as a Hugging Face checkpoint.

        Raises:
            NoSurvivorError: Every candidate failed.
        """
        phases = self.phases
        winner = phases.winner(self.jobs)
        if keeps_checkpoint:
            phases.save_winner(winner)
        phases.baselines(self.jobs)
        if keeps_checkpoint:
            phases.evaluate(winner, self.jobs)
        let_go(self.folder.states, but=() if keeps_checkpoint else {winner.name})
        self.folder.note(end=now())
        result = self._result(winner)
        if self.file.number is not None:
            result.write(self.folder.path)
        return result

    def share(self, result: StageResult) -> StageResult:
        """Take over what another course's stage came to: it is the same training."""
        shutil.rmtree(self.folder.path, ignore_errors=True)
        self.folder.path.mkdir(parents=True)
        shared = replace(result, n_candidates=len(self.plan.candidates))
        shared.write(self.folder.path)
        return shared

    def _result(self, winner: Job) -> StageResult:
        before = self.before
        last = self.folder.curve(winner.name).evaluations[-1]
        planned = next(each for each in self.plan.candidates if each.name == winner.name)
        return StageResult(
            folder=self.place,
            winner=winner.name,
            chosen={"operator": planned.candidate.operator, **planned.candidate.settings},
            identity=self.identity(winner),
            config=planned.config,
            steps=last.step + (before.steps if before else 0),
            flops=last.flops + (before.flops if before else 0),
            val_loss=last.val_loss,
            wall_s=round(last.wall_s + (before.wall_s if before else 0.0), 3),
            n_candidates=len(self.plan.candidates),
        )
