"""What a race stops candidates on: functions here, or of packages (`lagsearch.evidence`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lagsearch.errors import LagsearchError
from lagsearch.registry import Registry, place_of
from lagsearch.selection.doubt import p_values
from lagsearch.selection.forecast import forecasts
from lagsearch.selection.signals import Measured, find_signal
from lagsearch.selection.strategies.rungs import StopOn, ranked_by_signal
from lagsearch.selection.strategies.settings import SearchSettings, Stop


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


EVIDENCE = Registry[Evidence]("evidence", __name__, "lagsearch.evidence")


def evidence(
    name: str, *, title: str, words: str, heeds: tuple[Literal["stability", "min_lag"], ...] = ()
) -> Callable[[StopOn], StopOn]:
    """Enter a function `(measured, step, settings, n_candidates, is_stable) -> stops`.

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
    measured: Measured, step: int, settings: SearchSettings, n_candidates: int, is_stable: bool
) -> dict[str, Stop]:
    """Return those that are worse than the leader, beyond a doubt that all tests share.

    Nobody before the phase transition: right after growth the loss ranks candidates wrongly.
    """
    if not is_stable:
        return {}
    table = find_signal(settings.signal).judge(measured, step, settings.completion)
    leader = ranked_by_signal(measured, step, settings)[0]
    losses = dict(zip(table.candidates, table.at(step), strict=True))
    tests = max(1, n_candidates - 1) * len(settings.rungs)
    return {
        name: Stop(step, leader, float(losses[name] - losses[leader]), p_value)
        for name, p_value in p_values(table, step).items()
        if p_value / 2 < settings.level / tests
    }


@evidence(
    "forecast",
    title="race on forecasts",
    words="behind the leader and forecast to end there (lines over one over the step; "
    "one-sided tests, 20 % each)",
    heeds=("min_lag",),
)
def worse_in_forecasts(
    measured: Measured, step: int, settings: SearchSettings, n_candidates: int, is_stable: bool
) -> dict[str, Stop]:
    """Return those that are behind and, as far as can be seen, will be at completion.

    Before the phase transition, too: a curve that will cross the leader's is forecast to.
    """
    if step < settings.since or len(measured.loss.candidates) < 2:
        return {}
    found = forecasts(measured.loss, step, settings.completion)
    if found is None:
        return {}
    leader = min(found, key=lambda name: found[name].loss)
    now = dict(zip(measured.loss.candidates, measured.loss.at(step), strict=True))
    return {
        name: Stop(step, leader, each.loss - found[leader].loss, each.p_value)
        for name, each in found.items()
        if name != leader and each.p_value / 2 < settings.doubt and now[name] >= now[leader]
    }
