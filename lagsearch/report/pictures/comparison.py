"""The figures of a comparison: how early each run's ranking was right, and which ranks differ."""

from pathlib import Path
from textwrap import shorten
from typing import Any

from lagsearch.report.pictures.figures import draw_sheets
from lagsearch.report.pictures.picture import Axis, Dash, Heat, Line, Picture, Points, Shape, Sheet

COLORS = ("best", "picked", "baseline", "winner", "further", "ink", "rest")
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot")
"""A run's line: by its place, and beyond the colours with another dash."""

MOST = 30
"""Shared candidates that are drawn."""

LONGEST = 40
"""Characters of a name that are written."""

_SHARE = Axis(
    "share of training",
    "log_share",
    span=(0, 1.02),
    ticks={0: "0", 0.01: "1 %", 0.1: "10 %", 1: "100 %"},
)


_SCORES = (
    ("spearman", "Spearman with the final loss", Axis(span=(-1.04, 1.04))),
    ("relative_regret", "relative regret", Axis(span=(-0.04, 1.04))),
)


def draw_comparison(comparison: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw what there is of it, as PNG, SVG and PDF; return file names and captions.

    Nothing where no run was trained to the end and fewer than two candidates are shared.
    """
    return draw_sheets(comparison_sheets(comparison), folder)


def comparison_sheets(comparison: dict[str, Any]) -> list[Sheet]:
    """Return scores by the share of training, and the ranks of candidates of several runs."""
    shared = [row for row in comparison["shared"] if not row["is_baseline"]][:MOST]
    sheets = []
    if any(run["by_step"] for run in comparison["runs"]):
        told = (
            "Rank correlation with the final loss, and relative regret of choosing at a step, by "
        )
        told += "the share of the training; a dot is K."
        sheets.append(Sheet("scores", told, [_by_step(comparison, *score) for score in _SCORES]))
    if len(shared) > 1:
        runs = range(len(comparison["runs"]))
        there = [at for at in runs if any(row["places"][at] for row in shared)]
        told = "Ranks at K among all candidates of a run; dark: the best."
        height, widest = 1.6 + 0.15 * len(shared), 2.6 + 0.45 * len(there)
        ranks = _ranks(comparison, shared, there)
        sheets.append(Sheet("ranks", told, [ranks], height, widest=widest))
    return sheets


def _by_step(comparison: dict[str, Any], metric: str, title: str, axis: Axis) -> Picture:
    """Show a score over the share of training, a line for each run."""
    shapes: list[Shape] = []
    for place, run in enumerate(comparison["runs"]):
        if not run["by_step"]:
            continue
        color, dash = COLORS[place % len(COLORS)], DASHES[place // len(COLORS) % len(DASHES)]
        scores = {int(step): value for step, value in run["by_step"][metric].items()}
        steps = [step for step in sorted(scores) if scores[step] is not None]
        x, y = [step / run["steps"] for step in steps], [scores[step] for step in steps]
        shapes.append(Line(run["name"], color, x, y, width=1.9, dash=dash))
        if (at_lag := scores[run["lag"]]) is not None:
            shapes.append(Points("", color, [run["lag"] / run["steps"]], [at_lag], size=9))
    if metric == "spearman":
        shapes.append(Line("", "ink", [0, 1.02], [0, 0], width=0.8))
    return Picture(metric, title, "", "runs", _SHARE, axis, shapes)


def _ranks(comparison: dict[str, Any], shared: list[dict[str, Any]], there: list[int]) -> Picture:
    """Show the ranks of shared candidates, a row for each and a column for each run."""
    runs = comparison["runs"]
    shares, texts = [], []
    for row in reversed(shared):
        places = [row["places"][at] for at in there]
        shares.append([place and (place["rank"] - 1) / max(place["of"] - 1, 1) for place in places])
        texts.append([str(place["rank"]) if place else "" for place in places])
    names = [shorten(row["name"], LONGEST, placeholder=" …") for row in reversed(shared)]
    columns = [runs[at]["name"] for at in there]
    axis = Axis(scale="category", has_grid=False)
    heat = Heat(columns, names, shares, "share", texts)
    title = "rank at K"
    return Picture("ranks", title, "", "shared", axis, axis, [heat], legend="none")
