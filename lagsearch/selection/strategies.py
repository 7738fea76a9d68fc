"""How a search goes on: which candidates to train up to which step, and when to choose.

A strategy is a pure function of what was measured. It is asked again whenever there is more, in a
run and in a replay of one alike; a run that was interrupted asks it from the start. What candidates
are stopped on is a function here, or in a package with an entry point of `lagsearch.strategies`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from lagsearch.errors import LagsearchError
from lagsearch.registry import Registry, place_of
from lagsearch.selection.doubt import p_values
from lagsearch.selection.forecast import forecasts
from lagsearch.selection.phase import LEFT, MARGIN, THRESHOLD, phase_transition
from lagsearch.selection.signals import Measured, find_signal
from lagsearch.selection.table import LossTable

Reason = Literal["lag", "stable", "bound", "alone"]
"""Why a search chose when it did: it came to K; the ranking was stable; it came to the upper bound
of K; one candidate was left."""


@dataclass(frozen=True)
class Strategy:
    """The settings of a search.

    Attributes:
        rungs: Steps at which it may choose or stop candidates, ascending; the last one is the
            latest.
        completion: Steps of the whole training.
        signal: What candidates are judged by, by its name.
        first: The first rung at which it may choose; None chooses at the last one alone.
        evidence: What candidates are stopped on, by its name; None stops none.
        since: `forecast` stops none before this step.
        threshold: See `phase_transition`, as the next two.
        margin: How many times as many steps as up to the transition.
        left: Correlation with the first ranking below which that one has been left.
        level: `batches`: probability of stopping any candidate that is as good as the leader.
        doubt: `forecast`: probability of stopping one that will end as well as the leader.
    """

    rungs: tuple[int, ...]
    completion: int
    signal: str = "loss"
    first: int | None = None
    evidence: str | None = None
    since: int = 20
    threshold: float = THRESHOLD
    margin: float = MARGIN
    left: float = LEFT
    level: float = 0.05
    doubt: float = 0.2


@dataclass(frozen=True)
class Order:
    """What to train next.

    Attributes:
        step: The step to reach.
        candidates: Who is to reach it.
        stopped: Those that are stopped so far.
    """

    step: int
    candidates: tuple[str, ...]
    stopped: Mapping[str, "Stop"] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    """Why a candidate was stopped.

    Attributes:
        step: Where.
        leader: Who was better.
        difference: By how much, in nats per predicted token: of the signal there, or of the
            forecast at completion.
        p_value: Of that difference, two-sided, before the correction for the number of tests.
    """

    step: int
    leader: str
    difference: float
    p_value: float


@dataclass(frozen=True)
class Choice:
    """What a search came to.

    Attributes:
        step: K: where it chose.
        ranking: Candidates from best to worst; stopped ones come last, the latest first.
        stopped: Those that were stopped.
        stable_since: The phase transition; None where there was none.
        reason: Why it chose there.
    """

    step: int
    ranking: tuple[str, ...]
    stopped: Mapping[str, Stop] = field(default_factory=dict)
    stable_since: int | None = None
    reason: Reason = "lag"


def decide(measured: Measured, strategy: Strategy) -> Order | Choice:
    """Say how a search goes on.

    Args:
        measured: Of all candidates that did not fail; only what a rung can know is looked at.
        strategy: The settings.
    """
    alive = measured.loss.candidates
    stopped: dict[str, Stop] = {}
    since: int | None = None
    for rung in strategy.rungs:
        here = measured.only(alive)
        if rung not in here.loss.steps:
            return Order(rung, alive, stopped)
        missing = np.isnan(here.loss.at(rung))
        if missing.any():
            names = tuple(name for name, is_so in zip(alive, missing, strict=True) if is_so)
            return Order(rung, names, stopped)
        known = _until_stopped(measured.loss, stopped)
        found = phase_transition(known, rung, strategy.threshold, strategy.margin, strategy.left)
        since, is_stable = None if found is None else found.step, found is not None
        is_last = rung == strategy.rungs[-1]
        if strategy.evidence is not None and not is_last:
            beaten = find_evidence(strategy.evidence).stop(
                here, rung, strategy, len(measured.loss.candidates), is_stable
            )
            stopped |= beaten
            alive = tuple(name for name in alive if name not in beaten)
        is_open = strategy.first is not None and rung >= strategy.first
        if is_last or len(alive) == 1 or (is_open and is_stable):
            reason = _reason(strategy, is_stable=is_stable, is_alone=len(alive) == 1)
            ranking = ranked_by_signal(measured.only(alive), rung, strategy)
            late = sorted(stopped, key=lambda name: (-stopped[name].step, stopped[name].difference))
            return Choice(rung, (*ranking, *late), stopped, since, reason)
    raise ValueError("a strategy needs a rung")


def _until_stopped(table: LossTable, stopped: Mapping[str, Stop]) -> LossTable:
    """Return the table as a search has it: an oracle's goes on where candidates were stopped."""
    steps, losses = np.array(table.steps), table.losses.copy()
    for name, stop in stopped.items():
        losses[table.candidates.index(name), steps > stop.step] = np.nan
    return replace(table, losses=losses)


def ranked_by_signal(measured: Measured, step: int, strategy: Strategy) -> tuple[str, ...]:
    """Return candidates from best to worst by the signal at a step."""
    table = find_signal(strategy.signal).judge(measured, step, strategy.completion)
    order = np.argsort(table.at(step), kind="stable")  # NaN sorts last
    return tuple(table.candidates[row] for row in order)


StopOn = Callable[[Measured, int, Strategy, int, bool], dict[str, Stop]]
"""From what was measured of those that were not stopped, a step, the settings, the number of
candidates at the start, and whether the ranking is stable, to those that are to be stopped."""


@dataclass(frozen=True)
class Evidence:
    """What a race stops candidates on: one row of the table.

    Attributes:
        name: What a space asks for as `search.evidence`.
        title: What a race on it is called in replays.
        words: Why candidates were stopped, after "3 of 8 were stopped by step 200, ".
        heeds: Keys of `search` that it heeds; others are errors where somebody sets them.
        stop: Says who is stopped.
    """

    name: str
    title: str
    words: str
    heeds: tuple[Literal["stability", "min_lag"], ...]
    stop: StopOn


EVIDENCE = Registry[Evidence]("evidence", __name__, "lagsearch.strategies")


def evidence(
    name: str, *, title: str, words: str, heeds: tuple[Literal["stability", "min_lag"], ...] = ()
) -> Callable[[StopOn], StopOn]:
    """Enter a function `(measured, step, strategy, n_candidates, is_stable) -> stops`.

    Args:
        name: See `Evidence`, as the others.
        title: In replays.
        words: In sentences.
        heeds: Keys of `search`.

    Raises:
        PluginError: The name is taken.
    """

    def enter(stop: StopOn) -> StopOn:
        EVIDENCE.enter(name, Evidence(name, title, words, heeds, stop), place_of(stop))
        return stop

    return enter


def find_evidence(name: str) -> Evidence:
    """Look up what candidates are stopped on.

    Raises:
        LagsearchError: There is none of that name; the message lists all and the nearest.
    """
    if (found := EVIDENCE.get(name)) is None:
        raise LagsearchError(EVIDENCE.unknown(name))
    return found


@evidence(
    "batches",
    title="race",
    words="significantly worse than the leader (paired t-tests, 5 % for all together)",
    heeds=("stability",),
)
def worse_in_batches(
    measured: Measured, step: int, strategy: Strategy, n_candidates: int, is_stable: bool
) -> dict[str, Stop]:
    """Return those that are worse than the leader, beyond a doubt that all tests share.

    Nobody before the phase transition: right after growth the loss ranks candidates wrongly.
    """
    if not is_stable:
        return {}
    table = find_signal(strategy.signal).judge(measured, step, strategy.completion)
    leader = ranked_by_signal(measured, step, strategy)[0]
    losses = dict(zip(table.candidates, table.at(step), strict=True))
    tests = max(1, n_candidates - 1) * len(strategy.rungs)
    return {
        name: Stop(step, leader, float(losses[name] - losses[leader]), p_value)
        for name, p_value in p_values(table, step).items()
        if p_value / 2 < strategy.level / tests
    }


@evidence(
    "forecast",
    title="race on forecasts",
    words="behind the leader and forecast to end there (lines over one over the step; "
    "one-sided tests, 20 % each)",
    heeds=("min_lag",),
)
def worse_in_forecasts(
    measured: Measured, step: int, strategy: Strategy, n_candidates: int, is_stable: bool
) -> dict[str, Stop]:
    """Return those that are behind and, as far as can be seen, will be at completion.

    Before the phase transition, too: a curve that will cross the leader's is forecast to.
    """
    if step < strategy.since or len(measured.loss.candidates) < 2:
        return {}
    found = forecasts(measured.loss, step, strategy.completion)
    if found is None:
        return {}
    leader = min(found, key=lambda name: found[name].loss)
    now = dict(zip(measured.loss.candidates, measured.loss.at(step), strict=True))
    return {
        name: Stop(step, leader, each.loss - found[leader].loss, each.p_value)
        for name, each in found.items()
        if name != leader and each.p_value / 2 < strategy.doubt and now[name] >= now[leader]
    }


def _reason(strategy: Strategy, *, is_stable: bool, is_alone: bool) -> Reason:
    if is_alone and strategy.evidence is not None:
        return "alone"
    if strategy.first is None:
        return "lag"
    return "stable" if is_stable else "bound"
