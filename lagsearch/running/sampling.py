"""Candidates that are sampled, in rounds: the study is asked, they are trained to K, it is told.

What was drawn stands in `plans.json` before it is trained, and what came of it in the curves. A run
that was interrupted reads both, and goes on as it would have: the study is brought to what they
say, and what it draws depends on nothing else.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lagsearch.errors import ModelError, NoSurvivorError, OperatorError, counted
from lagsearch.planning.planned import PlannedCandidate
from lagsearch.planning.stage import StagePlan, recorded
from lagsearch.records.folder import RunFolder
from lagsearch.running.optuna_study import Study, StudyTrial
from lagsearch.running.phases import Phases
from lagsearch.running.search import has_failed, judged_at_lag
from lagsearch.space import Entry, Space, written_out
from lagsearch.storage.files import derive_seed, digest

_REPEATS = 10
"""So often in a row a sampler may draw what is known; then chance draws."""

_PATIENCE = 1000
"""So many draws in a row that bring no new growth end the sampling."""


@dataclass(frozen=True)
class Draw:
    """One trial of the study.

    Attributes:
        number: From 0.
        round: From 0: those of one round were drawn before any of them was trained.
        parameters: What was chosen.
        candidate: The growth that it comes to; None where there is none.
        reason: Why there is none.
    """

    number: int
    round: int
    parameters: Mapping[str, Any]
    candidate: str | None
    reason: str | None = None


class Sampling:
    """The draws of a run and the candidates they came to.

    Args:
        plan: The run, with the domain of its candidates.

    Attributes:
        draws: By their numbers.
        losses: What candidates came to at K; None for those that failed.
        sampled: The growths that were found, in order.
        ended: Why there are no more, where there are fewer than asked for.
    """

    def __init__(self, plan: StagePlan) -> None:
        assert plan.domain is not None, "the space lists its candidates"
        self._plan, self._domain = plan, plan.domain
        self._study: Study
        self.draws: list[Draw] = []
        self.losses: dict[str, float | None] = {}
        self.sampled: list[str] = []
        self.ended: str | None = None
        self._planned = {each.name: each for each in plan.ranked_baselines}
        self._growths = {each.growth: each.name for each in plan.ranked_baselines}
        self._tried: dict[str, tuple[str | None, str | None]] = {}

    @property
    def plan(self) -> StagePlan:
        """The run with the candidates so far."""
        return replace(self._plan, candidates=tuple(self._planned.values()))

    def record(self) -> dict[str, Any]:
        """Return what `plans.json` holds."""
        trials = [asdict(each) for each in self.draws]
        return {**recorded(self.plan), "trials": trials, "ended": self.ended}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Read the draws of a run that was interrupted.

        Args:
            record: What `record` returned.
        """
        for each in record["trials"]:
            parameters = dict(each["parameters"])

            def chosen(name: str, _: Sequence[Any], by_name: dict[str, Any] = parameters) -> Any:
                return by_name[name]

            self._note(each["number"], each["round"], parameters, self._domain.draw(chosen))
        self.ended = record["ended"]

    def follow(self, study: Study, losses: Mapping[str, float | None]) -> None:
        """Bring a study to the draws and to what is known of them; ask and tell it from now on.

        Args:
            study: Whatever it holds.
            losses: At K, by candidate; None for those that failed.
        """
        self._study = study
        self.losses |= losses
        study.restore([self._told(each) for each in self.draws], self._domain.draw)

    def ask(self) -> bool:
        """Draw a round, unless one is to be trained; return whether there is anything to train."""
        if self.draws and self._missing():
            return True
        search = self._plan.space.search
        enough = min(len(self.sampled) + search.at_a_time, search.candidates or 0)
        number = 1 + max((each.round for each in self.draws), default=-1)
        in_vain = 0
        while len(self.sampled) < enough and self.ended is None:
            known = len(self.sampled)
            self._draw(number, in_vain)
            in_vain = 0 if len(self.sampled) > known else in_vain + 1
            if in_vain >= _PATIENCE:
                self.ended = f"{_PATIENCE:,} draws in a row brought no new growth"
        return self._missing()

    def tell(self, losses: Mapping[str, float | None]) -> None:
        """Say what the candidates came to.

        Args:
            losses: At K, by candidate; None for those that failed.
        """
        told = {each.number for each in self.draws if self._is_known(each)}
        self.losses |= losses
        for each in self.draws:
            if each.number not in told and self._is_known(each):
                self._study.tell(each.number, self._told(each).loss)

    def _missing(self) -> bool:
        """Return whether there are candidates whose loss is not known."""
        return any(name not in self.losses for name in self._planned)

    def _told(self, draw: Draw) -> StudyTrial:
        loss = None if draw.candidate is None else self.losses.get(draw.candidate)
        return StudyTrial(dict(draw.parameters), draw.candidate, self._is_known(draw), loss)

    def _is_known(self, draw: Draw) -> bool:
        return draw.candidate is None or draw.candidate in self.losses

    def _draw(self, number_of_round: int, in_vain: int) -> None:
        """Draw once: by the sampler, or by chance where that found nothing new so often."""
        if len(self._tried) == self._domain.size:
            self.ended = "there is nothing else in the space"
            return
        parameters = None
        if in_vain >= _REPEATS:
            parameters = self._by_chance(in_vain)
            if _key(parameters) in self._tried:
                return
        number, chosen, entry = self._study.ask(self._domain.draw, parameters)
        draw = self._note(number, number_of_round, chosen, entry)
        self._study.name(draw.candidate)
        if self._is_known(draw):
            self._study.tell(number, self._told(draw).loss)

    def _by_chance(self, in_vain: int) -> dict[str, Any]:
        """Draw parameters that depend on nothing but the seed and the draws before."""
        seed = derive_seed(self._plan.space.seed, "by-chance", len(self.draws), in_vain)
        generator = np.random.default_rng(seed)
        parameters: dict[str, Any] = {}

        def choose(name: str, options: Sequence[Any]) -> Any:
            parameters[name] = options[int(generator.integers(len(options)))]
            return parameters[name]

        self._domain.draw(choose)
        return parameters

    def _note(
        self, number: int, number_of_round: int, parameters: dict[str, Any], entry: Entry
    ) -> Draw:
        """Take a draw down, and its candidate where it is a new growth."""
        key = _key(parameters)
        if key not in self._tried:
            self._tried[key] = self._grown(entry)
        draw = Draw(number, number_of_round, parameters, *self._tried[key])
        self.draws.append(draw)
        return draw

    def _grown(self, entry: Entry) -> tuple[str | None, str | None]:
        """Return the candidate of an entry, or why there is none."""
        planner = self._plan.planner
        try:
            planned = planner.candidate(entry)
            if (twin := self._twin(planned)) is not None:
                self._name(twin, planned.name)
                return twin, None
            control = planner.control(entry)
            beside = None if control is None else planner.candidate(control)
        except (OperatorError, ModelError) as error:
            return None, str(error)
        self._add(planned)
        self.sampled.append(planned.name)
        if beside is not None and self._twin(beside) is None:
            self._add(beside)
        return planned.name, None

    def _twin(self, planned: PlannedCandidate) -> str | None:
        """Return the candidate that is the same growth, if there is one."""
        if planned.name in self._planned:
            return planned.name
        return self._growths.get(planned.growth)

    def _name(self, twin: str, name: str) -> None:
        """Give a candidate a further name."""
        known = self._planned[twin]
        if name not in (twin, *known.also):
            self._planned[twin] = replace(known, also=(*known.also, name))

    def _add(self, planned: PlannedCandidate) -> None:
        self._planned[planned.name] = planned
        self._growths[planned.growth] = planned.name


def _key(parameters: Mapping[str, Any]) -> str:
    return digest(dict(parameters))


def open_sampling(plan: StagePlan, folder: RunFolder) -> Sampling | None:
    """Return the draws of a run so far; None where its candidates are listed.

    Raises:
        RunFolderError: What the folder holds cannot be read.
    """
    if plan.domain is None:
        return None
    sampling = Sampling(plan)
    if folder.plans_file.is_file():
        sampling.restore(folder.plans())
    return sampling


def sample(sampling: Sampling, phases: Phases, states: Mapping[int, Sequence[Path]]) -> Phases:
    """Sample candidates and train them to K, with an oracle to completion; round by round.

    Args:
        sampling: The draws so far.
        phases: Those of the run.
        states: State files of the sources, by seed.

    Returns:
        The phases with the candidates that were sampled.

    Raises:
        NoSurvivorError: None of those that were drawn can be.
    """
    space, folder = phases.plan.space, phases.folder
    study = Study(
        study_name(space), space.search.sampler, space.seed, folder.path.absolute() / "optuna.db"
    )
    tried: set[str] = set()
    try:
        sampling.follow(study, losses_at_lag(phases.of(sampling.plan), tried))
        with phases.open_runner() as runner:
            while sampling.ask():
                folder.record_plans(sampling.record())
                _say(sampling, phases)
                grown = phases.of(sampling.plan)
                jobs = grown.make.candidates(states)
                grown.searching(jobs, runner, frozenset(tried)).search()
                tried |= set(jobs)
                sampling.tell(losses_at_lag(grown, tried))
    finally:
        study.close()
    folder.record_plans(sampling.record())
    if sampling.ended is not None:
        phases.watch.say(f"{counted(len(sampling.sampled), 'candidate')} sampled: {sampling.ended}")
    if not sampling.sampled:
        reasons = [each.reason for each in sampling.draws if each.reason]
        message = f"{folder.path}: no candidate could be sampled"
        raise NoSurvivorError(f"{message}, e.g. {reasons[0]}" if reasons else message)
    return phases.of(sampling.plan)


def losses_at_lag(phases: Phases, tried: Collection[str]) -> dict[str, float | None]:
    """Return what candidates came to at K, as far as it is known; None for those that failed.

    Args:
        phases: Those of the run, with its candidates.
        tried: Jobs of this process: those among them whose worker died have failed.
    """
    space, folder = phases.plan.space, phases.folder
    found: dict[str, float | None] = {}
    for each in phases.plan.candidates:
        curves = folder.curves_of(space, each.name)
        if has_failed(space, each.name, curves, tried):
            found[each.name] = None
        elif (loss := judged_at_lag(space, curves)) is not None:
            found[each.name] = loss
    return found


def study_name(space: Space) -> str:
    """Return the name of a space's study: another one for every other space.

    What may be added to a run that has begun does not change it.
    """
    search = space.search.model_copy(update={"oracle": False, "seeds": ()})
    evaluation = space.evaluation.model_copy(update={"harness": None})
    kept = written_out(space.model_copy(update={"search": search, "evaluation": evaluation}))
    kept.pop("resources")
    for key in ("baselines", "keep_checkpoints"):
        kept["search"].pop(key, None)
    return f"{space.name}-{digest(kept)}"


def _say(sampling: Sampling, phases: Phases) -> None:
    """Say how far the sampling is."""
    search = phases.plan.space.search
    known = {name: loss for name, loss in sampling.losses.items() if loss is not None}
    best = min(known, key=lambda name: known[name], default=None)
    so_far = f"; best so far {best}, {known[best]:.4f}" if best is not None else ""
    phases.watch.say(f"sampled {len(sampling.sampled)} of {search.candidates}{so_far}")
