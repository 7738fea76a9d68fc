"""Where trainings are when a phase begins, and what a run still trains after it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lagsearch.display.time_left import Later
from lagsearch.display.watch import Progress
from lagsearch.planning.stage import StagePlan
from lagsearch.records.curve import read_curve
from lagsearch.records.folder import RunFolder
from lagsearch.running.workers.slots import Slots
from lagsearch.selection import SearchSettings
from lagsearch.training.job import Job


def going_on(jobs: Iterable[Job], until: int) -> tuple[Progress, ...]:
    """Return how far those jobs are that go on from a saved state.

    Args:
        jobs: What is to be trained.
        until: The step to reach.
    """
    found = []
    for job in jobs:
        measured = read_curve(job.curve).evaluations
        step = job.goes_on_from(until) if measured else 0
        if step and (behind := [each for each in measured if each.step <= step]):
            last = behind[-1]
            loss, at = last.val_loss, last.step
            found.append(Progress(job.name, step, loss, last.wall_s, evaluated_at=at))
    return tuple(found)


@dataclass(frozen=True)
class Remaining:
    """What a run still trains after one of its phases; of one with stages that is not known.

    Attributes:
        plan: The run's.
        folder: Where its trainings leave their files.
        slots: What candidates are trained on, and how many at a time.
        has_stages: Whether it is that of a stage among several.
        further: What is trained to an end of its own after the winner, by name.
    """

    plan: StagePlan
    folder: RunFolder
    slots: Slots
    has_stages: bool
    further: Sequence[str]

    def after_search(
        self,
        step: int,
        settings: SearchSettings,
        jobs: Mapping[str, Job],
        missing: Collection[Job],
        chosen: str | None = None,
    ) -> tuple[Later, ...] | None:
        """Return what comes after the search has come to a step.

        Which candidate wins is not known then: it is taken to cost what they do on average, and to
        be none of `further`.

        Args:
            step: The cut, K or, with an oracle, the final step.
            settings: The search's.
            jobs: Those of all candidates and baselines, under all seeds.
            missing: Those that are trained to the step now.
            chosen: The candidate that wins, where that is known.
        """
        space, lag, end = self.plan.space, settings.rungs[-1], self.plan.space.training.steps
        is_open = len(settings.rungs) > 1 and settings.cut is None and step < end
        if (is_open and chosen is None) or not self._is_foreseen:
            return None
        unit = fmean(job.flops_per_step for job in jobs.values())
        at = {job.name: step for job in missing}
        if space.search.oracle:
            found, at = self._all_to(end, jobs, at, unit), self._missing(jobs, end)
        elif chosen is not None:
            found, at = [*self._alone({chosen: end}, jobs, at, unit)], at | {chosen: end}
        else:
            like = jobs[self.plan.candidates[0].name]
            cost = fmean(jobs[each.name].flops_per_step for each in self.plan.candidates) / unit
            lag = step if (count := self._n_finalists()) == 1 else lag  # one alone is chosen
            found = self._finalists(count, step, lag, jobs, unit) if step < lag else []
            found.append(_later(like, _from(like, lag), end, cost))
            at |= self._missing((each.name for each in self.plan.baselines), lag)
        ends = {name: jobs[name].training.steps for name in self.further}
        return *found, *self._alone(ends, jobs, at, unit)

    def after(
        self, job: Job, until: int, names: Iterable[str], jobs: Mapping[str, Job]
    ) -> tuple[Later, ...] | None:
        """Return what comes after one that is trained alone.

        Args:
            job: It.
            until: The step to which it is trained.
            names: What is trained to its end after it: all of `further`, or the rest of it.
            jobs: Those of all candidates and baselines.
        """
        if not self._ends_with_training:
            return None
        ends = {name: jobs[name].training.steps for name in names}
        return tuple(self._alone(ends, jobs, {job.name: until}, job.flops_per_step))

    def _all_to(
        self, end: int, jobs: Mapping[str, Job], at: Mapping[str, int], unit: float
    ) -> list[Later]:
        """Return the trainings of all candidates and baselines to completion, side by side."""
        left: dict[int, list[Job]] = {}
        for name, begin in self._begins(dict.fromkeys(jobs, end), jobs, at):
            left.setdefault(begin, []).append(jobs[name])
        return [
            _later(each[0], begin, end, fmean(job.flops_per_step for job in each) / unit, len(each))
            for begin, each in left.items()
        ]

    def _n_finalists(self) -> int:
        """Return how many candidates are trained to K, of those that have not failed for good."""
        space = self.plan.space
        alive = [
            each.name
            for each in self.plan.candidates
            if not any(self._has_failed(trial) for trial in space.trials(each.name))
        ]
        return space.n_finalists(len(alive))

    def _finalists(
        self, count: int, cut: int, lag: int, jobs: Mapping[str, Job], unit: float
    ) -> list[Later]:
        """Return the trainings of finalists and baselines from the cut to K, side by side."""
        space, candidates = self.plan.space, self.plan.candidates
        count *= len(space.seeds)
        cost = fmean(jobs[each.name].flops_per_step for each in candidates)
        trials = [trial for each in self.plan.baselines for trial in space.trials(each.name)]
        beside = [
            jobs[name].flops_per_step for name in trials if not self.folder.is_over(name, lag)
        ]
        like, models = jobs[candidates[0].name], count + len(beside)
        share = (count * cost + sum(beside)) / models / unit if models else 0.0
        return [_later(like, _from(like, cut), lag, share, models)] if models else []

    def _missing(self, names: Iterable[str], step: int) -> dict[str, int]:
        """Return those that have still to come to a step, with that step: there they are then."""
        return {name: step for name in names if not self.folder.is_over(name, step)}

    def _has_failed(self, name: str) -> bool:
        """Return whether a training failed for good."""
        failure = self.folder.curve(name).failure
        return failure is not None and not failure.again

    def _alone(
        self, ends: Mapping[str, int], jobs: Mapping[str, Job], at: Mapping[str, int], unit: float
    ) -> Iterator[Later]:
        """Yield the trainings of models one after the other; see `_begins`."""
        for name, begin in self._begins(ends, jobs, at):
            yield _later(jobs[name], begin, ends[name], jobs[name].flops_per_step / unit)

    def _begins(
        self, ends: Mapping[str, int], jobs: Mapping[str, Job], at: Mapping[str, int]
    ) -> Iterator[tuple[str, int]]:
        """Yield the names of those that are not over, and the steps from which they go on.

        Args:
            ends: The step that each is to reach, by name.
            jobs: Theirs.
            at: Where those are that are trained before; others are where their states are.
        """
        for name, end in ends.items():
            if at.get(name, 0) >= end or self.folder.is_over(name, end):
                continue
            job = jobs[name]
            yield name, _from(job, at[name]) if name in at else job.goes_on_from(end)

    @property
    def _ends_with_training(self) -> bool:
        return not self.has_stages and self.plan.space.evaluation.harness is None

    @property
    def _is_foreseen(self) -> bool:
        """Whether all that comes is training, as fast as the candidates': on the same devices.

        One that shared a GPU is faster where it has a whole one.
        """
        resources, slots = self.plan.space.resources, self.slots
        shares = 0 < slots.gpus < 1 and slots.number > 1
        is_alike = resources.of_winner == resources.of_candidates and not shares
        return is_alike and self._ends_with_training and self.plan.domain is None


def _from(job: Job, step: int) -> int:
    """Return where one like this begins that has come to a step."""
    return step if job.can_go_on else 0


def _later(job: Job, begin: int, end: int, cost: float, models: int = 1) -> Later:
    """Return trainings from a step to another one.

    Args:
        job: Of such a model.
        begin: Where they begin.
        end: Where they end.
        cost: Of a step, in steps of the models whose pace is measured.
        models: How many there are.
    """
    evaluations = sum(begin < step <= end for step in job.evaluate_at)
    return Later(models, (end - begin) * cost, evaluations)
