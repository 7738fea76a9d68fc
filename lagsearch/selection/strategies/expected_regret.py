"""Candidates are trained on as long as it is worth it, by the posterior of how all of them end."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lagsearch.selection.posterior import Ends, ends_of
from lagsearch.selection.signals import Measured
from lagsearch.selection.strategies.budgets import EARLIEST, lag_keys
from lagsearch.selection.strategies.rungs import ranked_by_signal
from lagsearch.selection.strategies.settings import Choice, Order, Reason, SearchSettings, Stop

TOLERANCE = 1.0
"""Expected regret at which a search ends, in units of the noise."""
BUDGET = 0.3
"""Share of training all that search and winner may cost."""
_RANGES = {"tolerance": (0.0, 100.0), "budget": (0.0, 1.0)}


def check_settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the settings."""
    for key, value in settings.items():
        if key not in _RANGES:
            yield key, f"unknown key; known: {', '.join(_RANGES)}"
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield key, f"{value!r}: must be a number"
        elif not _RANGES[key][0] < value <= _RANGES[key][1]:
            yield (
                key,
                f"{value:g}: must be above {_RANGES[key][0]:g} and at most {_RANGES[key][1]:g}",
            )


def budgeted_expected_regret(
    share: float, n_candidates: int, completion: int
) -> Mapping[str, Any] | None:
    """Return a search that spends a share, up to half of the final step at the latest."""
    by_lag = lag_keys(share, n_candidates, completion)
    if by_lag is None or by_lag["lag"] < EARLIEST * completion:
        return None
    return {"lag": max(1, completion // 2), "settings": {"budget": share}}


def decide_by_expected_regret(measured: Measured, settings: SearchSettings) -> Order | Choice:
    """Train candidates from rung to rung; let those go that are not worth it; end when none is.

    Args:
        measured: Of all candidates that did not fail.
        settings: Its own are `tolerance` and `budget`.
    """
    tolerance = settings.own.get("tolerance", TOLERANCE)
    budget = settings.own.get("budget", BUDGET)
    names = measured.loss.candidates
    alive, stopped = names, dict[str, Stop]()
    whole = len(names) * settings.completion
    for place, rung in enumerate(settings.rungs):
        here = measured.only(alive)
        missing = alive
        if rung in here.loss.steps:
            losses = zip(alive, here.loss.at(rung), strict=True)
            missing = tuple(name for name, loss in losses if np.isnan(loss))
        if missing:
            return Order(rung, missing, stopped)
        ends = ends_of(here.loss, rung, settings.completion, np.random.default_rng(rung))
        is_settled = ends is not None and ends.regret <= tolerance * ends.noise
        spent = sum(stop.step for stop in stopped.values()) + len(alive) * rung
        if ends is not None and not is_settled:
            gone = _let_go(ends, here, rung, tolerance * ends.noise / (2 * len(names)))
            stopped |= gone
            alive = tuple(name for name in alive if name not in gone)
        later = settings.rungs[place + 1 :]
        is_spent = not later or _cost(spent, len(alive), rung, later[0], settings) > budget * whole
        if is_settled or is_spent or len(alive) == 1:
            reason: Reason = "alone" if len(alive) == 1 and stopped else "lag"
            ranking = _ranked(measured.only(alive), ends, rung, settings)
            late = sorted(stopped, key=lambda name: (-stopped[name].step, stopped[name].difference))
            return Choice(rung, (*ranking, *late), stopped, None, reason)
    raise ValueError("a strategy needs a rung")


def _cost(spent: int, n_alive: int, rung: int, later: int, settings: SearchSettings) -> int:
    """Return the steps of a search that goes on to a later rung and of training its winner on."""
    return spent + n_alive * (later - rung) + settings.completion - later


def _let_go(ends: Ends, here: Measured, rung: int, least: float) -> dict[str, Stop]:
    """Return those that are not expected to gain anything over the leader."""
    mean = dict(zip(ends.candidates, ends.draws.mean(axis=0).tolist(), strict=True))
    leads = ends.draws[:, [ends.candidates.index(ends.leader)]]
    ahead = dict(zip(ends.candidates, (ends.draws < leads).mean(axis=0).tolist(), strict=True))
    return {
        name: Stop(rung, ends.leader, mean[name] - mean[ends.leader], min(1.0, 2 * ahead[name]))
        for name, gain in ends.gains().items()
        if name != ends.leader and gain < least
    }


def _ranked(
    measured: Measured, ends: Ends | None, rung: int, settings: SearchSettings
) -> tuple[str, ...]:
    """Return those that are left as they are to end; by the signal where that is not foreseen."""
    if ends is None:
        return ranked_by_signal(measured, rung, settings)
    mean = dict(zip(ends.candidates, ends.draws.mean(axis=0).tolist(), strict=True))
    return tuple(sorted(measured.loss.candidates, key=lambda name: mean[name]))
