"""A strategy: at the first rung all but a few are stopped, and those go on to K."""

from collections.abc import Iterator, Mapping
from typing import Any

from lagsearch.selection import (
    Choice,
    Measured,
    Order,
    SearchSettings,
    Stop,
    Strategy,
    decide_at_rungs,
    ranked_by_signal,
)


def check(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the settings."""
    for key in sorted({*settings} - {"places"}):
        yield key, "unknown key; known: places"
    if settings.get("places", 3) not in (1, 2, 3):
        yield "places", "must be 1, 2 or 3"


def stop(
    measured: Measured, step: int, settings: SearchSettings, n_candidates: int, is_stable: bool
) -> dict[str, Stop]:
    """Return all but the first places."""
    first, *others = ranked_by_signal(measured, step, settings)
    losses = dict(zip(measured.loss.candidates, measured.loss.at(step), strict=True))
    late = others[settings.own.get("places", 3) - 1 :]
    return {name: Stop(step, first, float(losses[name] - losses[first]), 1.0) for name in late}


def decide(measured: Measured, settings: SearchSettings) -> Order | Choice:
    """Stop all but a few at the first rung."""
    return decide_at_rungs(measured, settings, stop)


PODIUM = Strategy(
    "podium",
    title="podium",
    words="trains the best few of the first evaluation on to K",
    decide=decide,
    verdict="behind the best few there",
    heeds=("settings",),
    stops=True,
    is_dense=True,
    check=check,
)
