"""Candidates are trained from rung to rung; at each one some may be stopped, and one chosen."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lagsearch.selection.signals import Measured, find_signal
from lagsearch.selection.strategies.settings import (
    Choice,
    Order,
    Reason,
    SearchSettings,
    Stop,
)
from lagsearch.selection.table import LossTable
from lagsearch.selection.transition import phase_transition

StopOn = Callable[[Measured, int, SearchSettings, int, bool], dict[str, Stop]]
"""From what was measured of those that were not stopped, a step, the settings, the number of
candidates at the start, and whether the ranking is stable, to those that are to be stopped."""


def decide_at_rungs(
    measured: Measured, settings: SearchSettings, stop: StopOn | None = None
) -> Order | Choice:
    """Train all candidates that are left to each rung, until one can be chosen.

    Args:
        measured: Of all candidates that did not fail; only what a rung can know is looked at.
        settings: The search's.
        stop: Says at each rung but the last who is stopped; None stops nobody.
    """
    alive = measured.loss.candidates
    stopped: dict[str, Stop] = {}
    since: int | None = None
    for rung in settings.rungs:
        here = measured.only(alive)
        if rung not in here.loss.steps:
            return Order(rung, alive, stopped)
        missing = np.isnan(here.loss.at(rung))
        if missing.any():
            names = tuple(name for name, is_so in zip(alive, missing, strict=True) if is_so)
            return Order(rung, names, stopped)
        known = _until_stopped(measured.loss, stopped)
        found = phase_transition(known, rung, settings.threshold, settings.margin, settings.left)
        since, is_stable = None if found is None else found.step, found is not None
        is_last = rung == settings.rungs[-1]
        if stop is not None and not is_last:
            beaten = stop(here, rung, settings, len(measured.loss.candidates), is_stable)
            stopped |= beaten
            alive = tuple(name for name in alive if name not in beaten)
        is_open = settings.first is not None and rung >= settings.first
        if is_last or len(alive) == 1 or (is_open and is_stable):
            is_alone = stop is not None and len(alive) == 1
            reason = _reason(settings, is_stable=is_stable, is_alone=is_alone)
            ranking = ranked_by_signal(measured.only(alive), rung, settings)
            late = sorted(stopped, key=lambda name: (-stopped[name].step, stopped[name].difference))
            return Choice(rung, (*ranking, *late), stopped, since, reason)
    raise ValueError("a strategy needs a rung")


def _until_stopped(table: LossTable, stopped: Mapping[str, Stop]) -> LossTable:
    """Return the table as a search has it: an oracle's goes on where candidates were stopped."""
    steps, losses = np.array(table.steps), table.losses.copy()
    for name, stop in stopped.items():
        losses[table.candidates.index(name), steps > stop.step] = np.nan
    return replace(table, losses=losses)


def ranked_by_signal(measured: Measured, step: int, settings: SearchSettings) -> tuple[str, ...]:
    """Return candidates from best to worst by the signal at a step."""
    table = find_signal(settings.signal).judge(measured, step, settings.completion)
    order = np.argsort(table.at(step), kind="stable")  # NaN sorts last
    return tuple(table.candidates[row] for row in order)


def _reason(settings: SearchSettings, *, is_stable: bool, is_alone: bool) -> Reason:
    if is_alone:
        return "alone"
    if settings.first is None:
        return "lag"
    return "stable" if is_stable else "bound"
