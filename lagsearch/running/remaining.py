"""Where trainings are when a phase begins, and what a run still trains after it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lagsearch.display.time_left import Later
from lagsearch.display.watch import Progress
from lagsearch.planning.stage import StagePlan
from lagsearch.records.curve import read_curve
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
        has_stages: Whether it is that of a stage among several.
        further: What is trained to an end of its own after the winner, by name.
    """

    plan: StagePlan
    has_stages: bool
    further: Sequence[str]

    def after_search(
        self, step: int, settings: SearchSettings, jobs: Mapping[str, Job]
    ) -> tuple[Later, ...] | None:
        """Return what comes after the search has come to a step.

        Args:
            step: K, the step at which finalists are chosen or, with an oracle, the final one.
            settings: The search's.
            jobs: Those of all candidates and baselines, under all seeds.

        Returns:
            None where that depends on losses to come, or nothing tells how long it takes.
        """
        space, lag, end = self.plan.space, settings.rungs[-1], self.plan.space.training.steps
        is_open = len(settings.rungs) > 1 and settings.cut is None and step < end
        if is_open or not self._is_foreseen:
            return None
        one, unit = next(iter(jobs.values())), fmean(job.flops_per_step for job in jobs.values())
        if space.search.oracle:
            found, at = [_later(one, step, end, models=len(jobs))], end
        else:
            count = space.n_finalists(self.plan.n_searched) + len(self.plan.baselines)
            finalists = _later(one, step, lag, models=count * len(space.seeds))
            found, at = [finalists, _later(one, lag, end)], lag
        further = [jobs[name] for name in self.further]
        found += [_later(job, at, job.training.steps, unit=unit) for job in further]
        return tuple(each for each in found if each.steps > 0)

    def after(self, job: Job, jobs: Mapping[str, Job]) -> tuple[Later, ...] | None:
        """Return what comes after one that is trained alone: the winner, or one of `further`.

        Args:
            job: It.
            jobs: Those of all candidates and baselines.
        """
        if not self._is_foreseen:
            return None
        names = list(self.further)
        names = names[names.index(job.name) + 1 :] if job.name in names else names
        left = [(jobs[name], jobs[name].training.steps) for name in names]
        return tuple(
            _later(each, each.goes_on_from(end), end, unit=job.flops_per_step) for each, end in left
        )

    @property
    def _is_foreseen(self) -> bool:
        """Whether all that comes is training, by the same devices as the candidates'."""
        space = self.plan.space
        is_alike = space.resources.of_winner == space.resources.of_candidates
        is_listed = self.plan.domain is None and not self.has_stages
        return is_alike and is_listed and space.evaluation.harness is None


def _later(job: Job, begin: int, end: int, *, models: int = 1, unit: float | None = None) -> Later:
    """Return a training from a step to another one.

    Args:
        job: Of such a model.
        begin: Where it begins.
        end: Where it ends.
        models: How many there are.
        unit: FLOPs of a step of the models whose pace is measured, where it is no such model.
    """
    share = 1.0 if unit is None else job.flops_per_step / unit
    evaluations = sum(begin < step <= end for step in job.evaluate_at)
    return Later(models, (end - begin) * share, evaluations)
