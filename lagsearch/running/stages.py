"""A whole run of several stages, readable from top to bottom.

Courses go through their stages side by side: first every adaptive one searches, then the winners
of all are trained together. What has come to its end is found in the stages' folders, so that the
same call continues an interrupted run; a stage that another course has gone through in the same
way is not trained again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lagsearch.errors import NoSurvivorError
from lagsearch.planning.run import StagedPlan, plan_stages
from lagsearch.records.folder import RunFolder
from lagsearch.records.stage_result import ADAPTIVE, Handed, read_handed
from lagsearch.records.whole import WholeFolder
from lagsearch.running.baselines import (
    Course,
    adaptive_course,
    baseline_courses,
)
from lagsearch.running.stage import Engine, StageRun
from lagsearch.running.states import let_go
from lagsearch.training.job import Job


class Going:
    """A course on its way.

    Attributes:
        course: Which.
        handed: What its finished stages handed on.
        failure: Why it cannot go on, if so.
    """

    def __init__(self, course: Course, root: Path) -> None:
        """Read how far it has come."""
        self.course, self.root = course, root
        self.handed: list[Handed] = []
        self.failure: str | None = None
        for number in range(1, len(course.file.stages) + 1):
            if (found := read_handed(root / self.place(number))) is None:
                break
            self.handed.append(found)

    def place(self, number: int) -> str:
        """Return the folder of a stage, from the run's."""
        return f"{self.course.folder}/stage-{number}"

    @property
    def is_over(self) -> bool:
        """Whether there is no stage to come."""
        return self.failure is not None or len(self.handed) == len(self.course.file.stages)

    def next(self, engine: Engine) -> StageRun:
        """Return its next stage, planned."""
        number = len(self.handed) + 1
        before = self.handed[-1] if self.handed else None
        file = self.course.file.stages[number - 1]
        return StageRun(file, before, self.root, self.place(number), engine)

    @property
    def is_last(self) -> bool:
        """Whether one stage is to come."""
        return len(self.handed) + 1 == len(self.course.file.stages)

    @property
    def keeps_checkpoint(self) -> bool:
        """Whether its next stage ends in the model that the run is for."""
        return self.is_last and self.course.folder == ADAPTIVE


@dataclass(frozen=True)
class StagedRun:
    """A run of several stages.

    Attributes:
        plan: The adaptive course under the first seed.
        folder: The run's.
        engine: What all stages share.
    """

    plan: StagedPlan
    folder: WholeFolder
    engine: Engine

    def run(self, *, baselines: bool) -> None:
        """Go through all stages of all courses; what is finished is not done again.

        Args:
            baselines: Whether to train what the adaptive course is compared with.

        Raises:
            NoSurvivorError: Every candidate of an adaptive stage failed.
        """
        file = self.plan.file
        courses = [adaptive_course(file, seed) for seed in file.seeds]
        refused: dict[str, str] = {}
        if baselines:
            for seed in file.seeds:
                plan = plan_stages(file.under(seed), self.engine.vocabulary)
                found, refused = baseline_courses(
                    plan, seed, file.space.seed, self.engine.vocabulary
                )
                courses += found
        for name, why in refused.items():
            self.engine.watch.say(f"baseline {name}: not here, {why}")
        self.folder.note(
            refused=refused,
            courses=[
                {"name": each.name, "seed": each.seed, "folder": each.folder} for each in courses
            ],
        )
        going = [Going(course, self.folder.path) for course in courses]
        while open_ones := [each for each in going if not each.is_over]:
            self._wave(open_ones, going)
            self._let_go(going)
        failed = {each.course.folder: each.failure for each in going if each.failure}
        self.folder.note(failed=failed)
        self._keep_winner(going[0])
        for path in sorted(self.folder.path.glob("*/stage-*")):
            let_go(RunFolder(path).states)

    def _wave(self, open_ones: Sequence[Going], going: Sequence[Going]) -> None:
        """Take every course that is not over through its next stage."""
        known = {each.identity: each for one in going for each in one.handed}
        runs = [(each, each.next(self.engine)) for each in open_ones]
        leaders: dict[str, tuple[Going, StageRun, Job]] = {}
        followers: list[tuple[Going, StageRun, str]] = []
        for one, run in runs:
            run.begin()
            if run.searches:
                run.search()
            job = run.chosen()
            if job is None:
                self._finish(one, run)
                continue
            identity = run.identity(job)
            twin = known.get(identity)
            is_there = twin is not None and (one.is_last or twin.state(self.folder.path).is_file())
            if not run.searches and (is_there or identity in leaders):
                followers.append((one, run, identity))
            else:
                leaders[identity] = (one, run, job)
        self._train([(run, job) for _, run, job in leaders.values()])
        for one, run, _ in leaders.values():
            self._finish(one, run)
            known |= {each.identity: each for each in one.handed}
        for one, run, identity in followers:
            if identity in known:
                one.handed.append(run.share(known[identity]))
            else:
                self._finish(one, run)

    def _let_go(self, going: Sequence[Going]) -> None:
        """Delete the weights of finished stages that no course goes on from."""
        root = self.folder.path
        needed = {each.handed[-1].folder for each in going if each.handed and not each.is_over}
        for folder in {stage.folder for each in going for stage in each.handed} - needed:
            let_go(RunFolder(root / folder).states)

    def _train(self, pairs: Sequence[tuple[StageRun, Job]]) -> None:
        """Train jobs of several stages to their completions, the longest first."""
        open_ones = [(run, job) for run, job in pairs if not run.is_trained(job)]
        open_ones = [
            each for each in open_ones if each[0].folder.curve(each[1].name).failure is None
        ]
        if not open_ones:
            return
        named = {f"{run.title}: {job.name}": (run, job) for run, job in open_ones}
        jobs = [replace(job, name=name) for name, (_, job) in named.items()]
        jobs.sort(key=lambda job: -job.training.steps * job.flops_per_step)
        until = max(job.training.steps for job in jobs)
        spent = {
            name: max((each.wall_s for each in run.folder.curve(job.name).evaluations), default=0.0)
            for name, (run, job) in named.items()
        }
        watch = self.engine.watch
        with watch.during("stages", {job.name: job.training.steps for job in jobs}):
            outcome = self.engine.runner(jobs, until, watch, lambda job: None)
        for name, (run, job) in named.items():
            run.note_trained(job, outcome.failures.get(name), spent[name])
            run.folder.note(slots=outcome.slots)

    def _finish(self, one: Going, run: StageRun) -> None:
        """Finish a stage; a baseline that cannot go on is left where it is."""
        try:
            one.handed.append(run.finish(keeps_checkpoint=one.keeps_checkpoint))
        except NoSurvivorError as error:
            if one.course.name == ADAPTIVE:
                raise
            one.failure = str(error)
            self.engine.watch.say(f"baseline {one.course.folder}: {error}")
            return
        last = one.handed[-1]
        self.engine.watch.say(f"{run.title}: {last.winner}, val loss {last.val_loss:.4f}")

    def _keep_winner(self, adaptive: Going) -> None:
        """Put the final model where runs have it."""
        made = self.folder.path / adaptive.handed[-1].folder / "winner"
        if made.is_dir() and not self.folder.winner.is_dir():
            made.replace(self.folder.winner)
