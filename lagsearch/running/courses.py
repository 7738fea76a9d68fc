"""A whole run, readable from top to bottom: its courses, each through all of its stages.

Most runs have one course of one stage.

Courses go through their stages side by side: first every adaptive one searches, then the winners
of all are trained together. What has come to its end is found in the stages' folders, so that the
same call continues an interrupted run; a stage that another course has gone through in the same
way is not trained again.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from lagsearch.errors import NoSurvivorError
from lagsearch.planning.run import Plan, plan_stages
from lagsearch.planning.stage import StagePlan
from lagsearch.records.folder import RunFolder
from lagsearch.records.stage_result import ADAPTIVE, StageResult, read_stage_result
from lagsearch.running.baselines import (
    Course,
    baseline_courses,
    courses_with_search,
    stage_place,
)
from lagsearch.running.stage import Shared, StageRun
from lagsearch.running.states import let_go
from lagsearch.space import dump_yaml
from lagsearch.training.job import Job


class CourseProgress:
    """A course on its way.

    Attributes:
        course: Which.
        results: Of its finished stages.
        failure: Why it cannot go on, if so.
    """

    def __init__(self, course: Course, root: RunFolder, plan: StagePlan | None = None) -> None:
        """Read how far it has come.

        Args:
            course: The course.
            root: The folder of the whole run.
            plan: Of its first stage, where that was made before.
        """
        self.course, self.root, self._plan = course, root, plan
        self.results: list[StageResult] = []
        self.failure: str | None = None
        for number in range(1, len(course.file.stages) + 1):
            if (found := read_stage_result(root.path / self.place(number))) is None:
                break
            self.results.append(found)

    def place(self, number: int) -> str:
        """Return the folder of a stage, from the run's."""
        return stage_place(self.course.file, self.course.folder, number)

    @property
    def is_over(self) -> bool:
        """Whether there is no stage to come."""
        return self.failure is not None or len(self.results) == len(self.course.file.stages)

    def next(self, shared: Shared) -> StageRun:
        """Return its next stage, planned."""
        number = len(self.results) + 1
        before = self.results[-1] if self.results else None
        file = self.course.file.stages[number - 1]
        plan = self._plan if number == 1 else None
        return StageRun(file, before, self.root, self.place(number), shared, plan)

    @property
    def is_last(self) -> bool:
        """Whether one stage is to come."""
        return len(self.results) + 1 == len(self.course.file.stages)

    @property
    def keeps_checkpoint(self) -> bool:
        """Whether its next stage ends in the model that the run is for."""
        return self.is_last and self.course.is_first


@dataclass(frozen=True)
class Run:
    """A run: courses of stages.

    Attributes:
        plan: The adaptive course under the first seed.
        folder: The run's.
        shared: What all stages share.
    """

    plan: Plan
    folder: RunFolder
    shared: Shared

    def run(self, *, baselines: bool) -> None:
        """Go through all stages of all courses; what is finished is not done again.

        Args:
            baselines: Whether to train what the adaptive course is compared with.

        Raises:
            NoSurvivorError: Every candidate of an adaptive stage failed.
        """
        if not self.plan.file.has_stages:
            self._go(courses_with_search(self.plan.file))
            return
        began = time.monotonic()
        self._start()
        try:
            with self.shared.open_runner() as runner:  # the workers stay for all stages
                shared = replace(self.shared, open_runner=lambda: nullcontext(runner))
                replace(self, shared=shared)._run_courses(baselines=baselines)
        finally:
            self.folder.spend("search", time.monotonic() - began)

    def _start(self) -> None:
        """Write what is known before training; a folder that was begun keeps its record."""
        file, shared = self.plan.file, self.shared
        make = shared.make_jobs(self.plan.stages[0], self.folder)
        text = dump_yaml(file.written_out())
        self.folder.start(text, dict(shared.devices), make.inputs(), file.seeds)

    def _run_courses(self, *, baselines: bool) -> None:
        """Go through the courses of a run with stages."""
        courses = courses_with_search(self.plan.file)
        refused: dict[str, str] = {}
        if baselines:
            for seed in self.plan.file.seeds:
                plan = plan_stages(self.plan.file.under(seed), self.shared.vocabulary)
                found, refused = baseline_courses(
                    plan, seed, self.plan.file.seed, self.shared.vocabulary
                )
                courses += found
        for name, why in refused.items():
            self.shared.watch.say(f"baseline {name}: not here, {why}")
        recorded = [
            {key: getattr(each, key) for key in ("name", "seed", "folder", "words")}
            for each in courses
        ]
        self.folder.note(refused=refused, courses=recorded)
        progress = self._go(courses)
        failed = {each.course.folder: each.failure for each in progress if each.failure}
        self.folder.note(failed=failed)
        self._keep_winner(progress[0])
        for path in sorted(self.folder.path.glob("*/stage-*")):
            let_go(RunFolder(path).states)

    def _go(self, courses: Sequence[Course]) -> list[CourseProgress]:
        """Take courses to their ends."""
        first, *others = courses
        progress = [CourseProgress(first, self.folder, self.plan.stages[0])]
        progress += [CourseProgress(course, self.folder) for course in others]
        while open_ones := [each for each in progress if not each.is_over]:
            self._wave(open_ones, progress)
            self._let_go(progress)
        return progress

    def _wave(
        self, open_ones: Sequence[CourseProgress], progress: Sequence[CourseProgress]
    ) -> None:
        """Take every course that is not over through its next stage."""
        known = {each.identity: each for one in progress for each in one.results}
        runs = [(each, each.next(self.shared)) for each in open_ones]
        leaders: dict[str, tuple[CourseProgress, StageRun, Job]] = {}
        followers: list[tuple[CourseProgress, StageRun, str]] = []
        for one, run in runs:
            run.begin()
            run.keep()
            if run.searches:
                run.search()
            try:
                job = run.chosen()
            except NoSurvivorError as error:
                self._fail(one, error)
                continue
            identity = run.identity(job)
            twin = known.get(identity)
            is_there = twin is not None and (one.is_last or self.folder.state_of(twin).is_file())
            if not run.searches and (is_there or identity in leaders):
                followers.append((one, run, identity))
            else:
                leaders[identity] = (one, run, job)
        self._train([(run, job) for _, run, job in leaders.values()])
        for one, run, _ in leaders.values():
            self._finish(one, run)
            known |= {each.identity: each for each in one.results}
        for one, run, identity in followers:
            if identity in known:
                one.results.append(run.share(known[identity]))
            else:
                self._finish(one, run)

    def _let_go(self, progress: Sequence[CourseProgress]) -> None:
        """Delete the weights of finished stages that no course goes on from."""
        needed = {each.results[-1].folder for each in progress if each.results and not each.is_over}
        for folder in {stage.folder for each in progress for stage in each.results} - needed:
            let_go(RunFolder(self.folder.path / folder).states)

    def _train(self, pairs: Sequence[tuple[StageRun, Job]]) -> None:
        """Train jobs of several stages to their completions, the longest first.

        One alone is trained when its stage is finished.
        """
        open_ones = [(run, job) for run, job in pairs if not run.is_trained(job)]
        open_ones = [
            each for each in open_ones if each[0].folder.curve(each[1].name).failure is None
        ]
        if len(open_ones) < 2:
            return
        named = {f"{run.title}: {job.name}": (run, job) for run, job in open_ones}
        jobs = [replace(job, name=name) for name, (_, job) in named.items()]
        jobs.sort(key=lambda job: -job.training.steps * job.flops_per_step)
        until = max(job.training.steps for job in jobs)
        spent = {
            name: max((each.wall_s for each in run.folder.curve(job.name).evaluations), default=0.0)
            for name, (run, job) in named.items()
        }
        watch = self.shared.watch
        shown = watch.during("stages", {job.name: job.training.steps for job in jobs})
        with shown, self.shared.open_runner() as runner:
            outcome = runner(jobs, until, watch, lambda job: None)
        for name, (run, job) in named.items():
            run.note_trained(job, outcome.failures.get(name), spent[name])
            run.folder.note(slots=outcome.slots)

    def _finish(self, one: CourseProgress, run: StageRun) -> None:
        """Finish a stage."""
        try:
            one.results.append(run.finish(keeps_checkpoint=one.keeps_checkpoint))
        except NoSurvivorError as error:
            self._fail(one, error)
            return
        if run.title:
            run.say(f"{one.results[-1].winner}, val loss {one.results[-1].val_loss:.4f}")

    def _fail(self, one: CourseProgress, error: NoSurvivorError) -> None:
        """Leave a baseline that cannot go on where it is.

        Raises:
            NoSurvivorError: It is no baseline.
        """
        if one.course.name == ADAPTIVE:
            raise error
        one.failure = str(error)
        self.shared.watch.say(f"baseline {one.course.folder}: {error}")

    def _keep_winner(self, adaptive: CourseProgress) -> None:
        """Put the final model where runs have it."""
        made = self.folder.path / adaptive.results[-1].folder / "winner"
        if made.is_dir() and not self.folder.winner.is_dir():
            made.replace(self.folder.winner)
