"""What a benchmark shows, as figures."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from pathlib import Path

import numpy as np

from lagsearch.bench.design import designs
from lagsearch.bench.figures import GROUPS, SHARES, OperatorFigures, RunFigures, operators_of
from lagsearch.bench.strategies import interval_over_runs
from lagsearch.report.pictures.figures import draw_sheets
from lagsearch.report.pictures.picture import (
    Axis,
    Band,
    Dash,
    Line,
    Picture,
    Points,
    Shape,
    Sheet,
)
from lagsearch.selection.taught import STANDARD, AtBudget

Budgets = Mapping[str, Mapping[float, AtBudget]]
"""What searches came to, by budget."""

_ROLES = ("picked", "best", "further", "baseline", "rest", "ink")
_DASHES: tuple[Dash, ...] = ("solid", "dash")
_REGRET = Axis("relative regret", from_zero=True)
MOST = 16
"""Kinds of growths that are drawn."""
NONE_AT = 1.25
"""Where a run without a phase transition is drawn."""


def bench_sheets(runs: Sequence[RunFigures], budgets: Budgets, with_prior: Budgets) -> list[Sheet]:
    """Return the figures of a benchmark's page."""
    floors = [each.floor for each in runs if each.floor is not None]
    floor = float(np.mean(floors)) if floors else None
    designed = {each.name for each in designs()}
    transitions = Sheet(
        "transitions",
        "The phase transition of each run, as a share of the final step; at the top the runs "
        "that have none. In parentheses: how many have one, of how many.",
        [_transitions(runs, title) for title in GROUPS],
        height=2.3,
        columns=3,
        has_one_y=True,
    )
    return [
        Sheet(
            "choice",
            "Relative regret of searches that make the most of a budget, the mean over runs; right "
            "where what growths of their kinds came to in other runs counts, too. Dotted: the "
            "noise floor, the regret of choosing by the final losses of another seed.",
            [
                _budgets(budgets, floor, "Within a budget"),
                _budgets(with_prior, floor, "Within a budget, with a prior"),
            ],
            has_one_y=True,
        ),
        Sheet(
            "earliness",
            "Relative regret of LAG at a share of the final step, the mean over runs with its 95 % "
            "interval. Dotted: the noise floor.",
            [_shares(runs, floor)],
            widest=4.0,
        ),
        Sheet(
            "operators",
            "Mean place of the kinds of growths that were in most runs, among all growths of a "
            "run, from 0, best, to 1, worst. Right: width and depth at once.",
            [*_operators(runs)],
            height=3.4,
            has_one_y=True,
        ),
        *([transitions] if any(each.name in designed for each in runs) else []),
    ]


def draw_bench(
    runs: Sequence[RunFigures],
    budgets: Budgets,
    with_prior: Budgets,
    folder: Path,
) -> list[tuple[str, str]]:
    """Draw the figures as PNG, SVG and PDF; return file names and captions."""
    folder.mkdir(parents=True, exist_ok=True)
    return draw_sheets(bench_sheets(runs, budgets, with_prior), folder)


def _floor(floor: float | None, until: float) -> list[Shape]:
    if floor is None:
        return []
    return [Line("noise floor", "ink", [0, until], [floor, floor], dash="dot", in_legend=True)]


def _budgets(budgets: Budgets, floor: float | None, title: str) -> Picture:
    shapes: list[Shape] = _floor(floor, 0.5)
    for place, (name, row) in enumerate(budgets.items()):
        role = _ROLES[place % len(_ROLES)]
        dash = _DASHES[place // len(_ROLES) % len(_DASHES)]
        x, y = [at.cost for at in row.values()], [at.regret for at in row.values()]
        width = 2.4 if name == STANDARD else 1.5
        shapes.append(Line(name, role, x, y, width=width, dash=dash, has_points=True))
    cost = Axis("cost, as a share of training all", from_zero=True, numbers="share")
    return Picture(title, title, "", "budgets", cost, _REGRET, shapes)


def _shares(runs: Sequence[RunFigures], floor: float | None) -> Picture:
    x = [0.0, *SHARES]
    rows = [[each.at[share].relative_regret for each in runs] for share in x]
    ends = [interval_over_runs(row) for row in rows]
    low, high = [each[0] for each in ends], [each[1] for each in ends]
    shapes: list[Shape] = []
    if np.isfinite(low).all():
        shapes.append(Band(_ROLES[0], x, low, high))
    shapes += _floor(floor, max(x))
    shapes.append(Line("", _ROLES[0], x, [float(np.mean(row)) for row in rows], has_points=True))
    at = Axis("K, as a share of the final step", from_zero=True, numbers="share")
    return Picture("shares", "LAG at K", "", "shares", at, _REGRET, shapes)


def _operators(runs: Sequence[RunFigures]) -> Iterator[Picture]:
    found = operators_of(runs)
    combined = [each for each in found if " + " in each.label]
    for title, some in {
        "One operator": [each for each in found if each not in combined],
        "Width and depth": combined,
    }.items():
        if some:
            yield _places(title, some)


def _places(title: str, every: Sequence[OperatorFigures]) -> Picture:
    often = {each.label for each in sorted(every, key=lambda each: -each.n_runs)[:MOST]}
    found = [each for each in every if each.label in often]
    names = [each.label for each in found]
    place = Axis("mean place", span=(-0.04, 1.04))
    shapes: list[Shape] = [
        Points("at 5 % of the final step", "further", names, [each.early for each in found]),
        Points("at the final step", "picked", names, [each.final for each in found], size=8),
    ]
    return Picture(title, title, "", "operators", Axis("", "category"), place, shapes)


def _transitions(runs: Sequence[RunFigures], title: str) -> Picture:
    known = {each.name: each for each in designs()}
    rows = [
        (GROUPS[title](known[each.name]), each.transition) for each in runs if each.name in known
    ]
    groups: dict[str, list[float | None]] = {}
    for name, share in sorted(rows, key=lambda row: _order(row[0])):
        groups.setdefault(name, []).append(share)
    there = [
        (f"{name} ({sum(each is not None for each in found)} of {len(found)})", share)
        for name, found in groups.items()
        for share in found
    ]
    y = [NONE_AT if share is None else share for _, share in there]
    ticks = {0.0: "0 %", 0.5: "50 %", 1.0: "100 %", NONE_AT: "none"}
    axis = Axis("", span=(-0.05, 1.35), ticks=ticks)
    points = Points("", "picked", [name for name, _ in there], y)
    return Picture(title, title, "", "transitions", Axis("", "category"), axis, [points])


def _order(name: str) -> tuple[float, str]:
    """Return a key that sorts numbers by size, before words."""
    try:
        return float(name), ""
    except ValueError:
        return inf, name
