"""The search phase: candidates are trained as a strategy orders it, until it can choose."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from lagsearch.display.watch import DoneBefore, Watch
from lagsearch.errors import RunFolderError, counted
from lagsearch.records.curve import (
    Curve,
    Failure,
    append,
)
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import prior_of
from lagsearch.records.strategy_input import measured_of, search_settings
from lagsearch.running.remaining import Remaining, going_on
from lagsearch.running.states import BestStatesOnly, Keeps, drop_state
from lagsearch.running.workers.serial import Runner
from lagsearch.selection import (
    Choice,
    Order,
    SearchSettings,
    Stop,
    decide,
    find_signal,
    why_stopped,
)
from lagsearch.space import Space
from lagsearch.training.interrupted import told_where
from lagsearch.training.job import Job


@dataclass(frozen=True)
class Searching:
    """The search phase of a run.

    Attributes:
        space: What is run.
        folder: Where candidates leave their files.
        jobs: Those of all candidates under all seeds, by their names (`Space.trial`).
        runner: Trains several at a time.
        watch: Follows.
        remaining: What the run trains after it.
        asked_for: Candidates whose states stay whatever comes.
        tried: Jobs that this process trained before: those whose worker died have failed.
        baselines: Names of what is trained beside the candidates, and not chosen from.
        stops_at_lag: Whether to end with the choice, also where all are to be trained on.
        told: Stopped candidates of which this process has said so.
    """

    space: Space
    folder: RunFolder
    jobs: Mapping[str, Job]
    runner: Runner
    watch: Watch
    remaining: Remaining
    asked_for: frozenset[str]
    tried: frozenset[str] = frozenset()
    baselines: frozenset[str] = frozenset()
    stops_at_lag: bool = False
    told: set[str] = field(default_factory=set)

    @cached_property
    def settings(self) -> SearchSettings:
        """The search's."""
        return search_settings(self.space, prior_of(self.folder.plans()))

    def search(self) -> None:
        """Train candidates until the strategy can choose; with an oracle all to completion."""
        space, settings = self.space, self.settings
        if space.search.oracle and not self.stops_at_lag:
            end = space.training.steps
            self._say_unprofiled(end)
            left = [job for name, job in self.jobs.items() if not self.folder.is_over(name, end)]
            self._train([job for job in left if job.name not in self.tried], end)
            return
        self._say_unprofiled(settings.rungs[0])
        tried = set(self.tried)
        while isinstance(order := self._order(settings, tried), Order):
            self._stop(order.stopped)
            tried |= self._reach(order.step, [*order.candidates, *self.baselines], tried)
        if order is not None:
            self._stop(order.stopped)
            self._reach(order.step, self.baselines, tried, chosen=order.ranking[0])

    def _reach(
        self,
        step: int,
        names: Collection[str],
        tried: Collection[str],
        chosen: str | None = None,
    ) -> set[str]:
        """Train what has not come to a step up to there, under all seeds; return those jobs.

        Args:
            step: The step.
            names: Candidates and baselines.
            tried: Jobs of this process: those among them that failed are left as they are.
            chosen: The candidate that wins, where that is known.
        """
        wanted = {trial for each in names for trial in self.space.trials(each)}
        missing = [
            job
            for name, job in self.jobs.items()
            if name in wanted
            and not self.folder.is_over(name, step)
            and not (name in tried and self.folder.curve(name).failure)
        ]
        self._train(missing, step, chosen)
        return {job.name for job in missing}

    def _stop(self, stopped: Mapping[str, Stop]) -> None:
        """Let the states go of candidates that were stopped, and say so once."""
        new = [name for name in stopped if name not in self.told]
        for name in new:
            if self.space.search.oracle or name in self.asked_for:
                continue  # it is trained on, though it cannot be chosen
            for trial in self.space.trials(name):
                drop_state(self.folder.state_file(trial))
        if new:
            step = max(stopped[name].step for name in new)
            settings = self.settings
            why = why_stopped(settings.strategy, settings.evidence)
            self.watch.say(f"step {step:,}: stopped {counted(len(new), 'candidate')}, {why}")
        self.told.update(new)

    def _order(self, settings: SearchSettings, tried: Collection[str]) -> Order | Choice | None:
        """Ask the strategy how to go on; None where no candidate is left.

        Args:
            settings: The search's.
            tried: Jobs of this process: those among them whose worker died have failed.
        """
        space = self.space
        curves = {name: self.folder.curves_of(space, name) for name in self._names}
        alive = {
            name: found
            for name, found in curves.items()
            if not has_failed(space, name, found, tried)
        }
        return decide(measured_of(alive, space.training.steps), settings) if alive else None

    def _title(self, until: int) -> str:
        """Return what training up to a step is called: which rung of how many, if there are some.

        With an oracle the search does not wait at rungs.
        """
        settings = self.settings
        at = settings.rungs
        if settings.cut is not None:
            at = tuple(dict.fromkeys((settings.cut, at[-1])))
        is_whole = self.space.search.oracle and not self.stops_at_lag
        if is_whole or len(at) == 1 or until not in at:
            return "search"
        return f"search, rung {at.index(until) + 1} of {len(at)}"

    def _there(self, step: int) -> dict[str, float]:
        """Return the losses of jobs that came to a step before, by name."""
        found = {name: self.folder.curve(name).at(step) for name in self.jobs}
        return {name: each.val_loss for name, each in found.items() if each is not None}

    @property
    def _unranked(self) -> frozenset[str]:
        return frozenset(trial for name in self.baselines for trial in self.space.trials(name))

    def _train(self, missing: Sequence[Job], until: int, chosen: str | None = None) -> None:
        """Train jobs to a step, and let go of the states that are of no use."""
        if not missing:
            return
        keep, there = self._keep(), self._there(until)
        for name in there:
            keep.finished(self.jobs[name])
        missing = longest_first(missing, until, self.folder.reached)
        called = time.monotonic()
        try:
            rest, reached = self.remaining, going_on(missing, until)
            later = rest.after_search(until, self.settings, self.jobs, missing, chosen)
            slots = rest.slots.number
            before = DoneBefore(there, until, self._unranked, reached, later, slots)
            with (
                told_where([*map(self.jobs.__getitem__, there), *missing], until),
                self.watch.during(self._title(until), {job.name: until for job in missing}, before),
            ):
                outcome = self.runner(missing, until, self.watch, keep.finished)
        except BaseException:
            self.folder.spend("search", time.monotonic() - called)
            raise
        for name, reason in outcome.failures.items():
            if self.folder.curve(name).failure is None:
                append(
                    self.jobs[name].curve, Failure(self.folder.reached(name), reason, again=True)
                )
        unseen = [job.name for job in missing if not self.folder.curve(job.name).seen]
        if unseen:
            raise RunFolderError(
                f"{self.folder.path}: workers trained {unseen[0]}, but its curve cannot be seen "
                "from here; run folder and cache (LAGSEARCH_CACHE) must be on shared storage"
            )
        self.folder.spend("search", time.monotonic() - outcome.began)
        self.folder.note(slots=outcome.slots)

    def _keep(self) -> Keeps:
        """Return what decides which states stay: the best ones' where K is known, else all."""
        space, settings = self.space, self.settings
        if settings.prior or len(settings.rungs) > 1 or (space.search.oracle and self.stops_at_lag):
            return Keeps()
        judge = partial(_judged, self.folder, space)
        first = {*self._names, *self.baselines}
        others, count = set(self.jobs) - first, space.search.keep_checkpoints or 1
        return BestStatesOnly(judge, others, self.asked_for, self.baselines, count)

    def _say_unprofiled(self, until: int) -> None:
        """Say so where profiling was asked for too late: the step was reached."""
        unseen = [
            job.name
            for job in self.jobs.values()
            if job.profile and job.name not in self.baselines
            if not job.profile.is_file() and self.folder.is_over(job.name, until)
        ]
        if unseen:
            self.watch.say(
                "profile: what is trained already cannot be profiled, "
                f"{counted(len(unseen), 'candidate')}, e.g. {unseen[0]}; another --out profiles all"
            )

    @property
    def _names(self) -> list[str]:
        """The candidates' names: those of the jobs under the first seed, but for baselines."""
        first = [name for name, job in self.jobs.items() if job.text.seed == self.space.seeds[0]]
        return [name for name in first if name not in self.baselines]


def longest_first(jobs: Sequence[Job], until: int, reached: Callable[[str], int]) -> list[Job]:
    """Return jobs by the FLOPs that they still take, the most first, so that all slots end alike.

    Args:
        jobs: What is to be trained.
        until: The step to reach.
        reached: From a job's name to the step that it has come to.
    """

    def left(job: Job) -> int:
        at = reached(job.name)
        branches = sum(count for step, count in job.annealed.items() if at < step <= until)
        return (until - at + branches) * job.flops_per_step + (0 if at else job.operator_flops)

    return sorted(jobs, key=left, reverse=True)


def has_failed(
    space: Space, candidate: str, curves: Sequence[Curve], tried: Collection[str]
) -> bool:
    """Return whether a candidate failed under any seed, for good.

    Args:
        space: What is run.
        candidate: Its name.
        curves: Its curves, under each seed.
        tried: Jobs of this process: those among them whose worker died have failed.
    """
    return any(
        curve.failure is not None and (not curve.failure.again or trial in tried)
        for curve, trial in zip(curves, space.trials(candidate), strict=True)
    )


def judged_at_lag(space: Space, curves: Sequence[Curve]) -> float | None:
    """Return what a candidate is judged by at K, where that is known beforehand.

    Args:
        space: What is run.
        curves: The candidate's, under each seed.

    Returns:
        The signal, the mean over seeds; None where K was not reached under all.
    """
    settings = search_settings(space)
    lag = settings.rungs[0]
    if not all(curve.at(lag) for curve in curves):
        return None
    measured = measured_of({"": curves}, settings.completion)
    judge = find_signal(settings.signal).judge
    return float(judge(measured, lag, settings.completion).at(lag)[0])


def _judged(folder: RunFolder, space: Space, candidate: str) -> float | None:
    return judged_at_lag(space, folder.curves_of(space, candidate))
