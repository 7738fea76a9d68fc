"""The figure of a comparison: how early each run's ranking was right, and who ranks where."""

from pathlib import Path
from textwrap import shorten
from typing import Any

from lagsearch.report.pictures.picture import Axis, Dash, Heat, Line, Picture, Points, Shape, Sheet

COLORS = ("#1f6fb4", "#e07b00", "#2e7d32", "#c8102e", "#7b4ea3", "#8f5e00", "#d6589f", "#3a9ea5")
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot")

MOST = 30
"""Shared candidates that are drawn."""

LONGEST = 40
"""Characters of a name that are written."""

LEGEND = 4
"""Runs in a row of the legend."""

_SHARE = Axis(
    "share of training",
    "log_share",
    span=(0, 1.02),
    ticks={0: "0", 0.01: "1 %", 0.1: "10 %", 1: "100 %"},
)


_SCORES = (
    ("spearman", "Spearman with the loss at completion", Axis(span=(-1.04, 1.04))),
    ("relative_regret", "relative regret of choosing at a step", Axis(span=(-0.04, 1.04))),
)


def draw_comparison(comparison: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw what there is of it, as PNG and SVG; return its file name and caption.

    Nothing where no run was trained to completion and fewer than two growths are shared.
    """
    from lagsearch.report.pictures.as_matplotlib import draw_sheets

    sheet = comparison_sheet(comparison)
    return draw_sheets([sheet] if sheet else [], folder)


def comparison_sheet(comparison: dict[str, Any]) -> Sheet | None:
    """Return scores by the share of training, and the ranks of who stands in several runs."""
    scored = [run for run in comparison["runs"] if run["by_step"]]
    shared = [row for row in comparison["shared"] if not row["is_baseline"]][:MOST]
    pictures, widths = [], []
    if scored:
        pictures += [_by_step(comparison, *score) for score in _SCORES]
        widths += [4.6, 4.6]
    if len(shared) > 1:
        runs = range(len(comparison["runs"]))
        there = [at for at in runs if any(row["places"][at] for row in shared)]
        pictures.append(_ranks(comparison, shared, there))
        widths.append(2.6 + 0.45 * len(there))
    if not pictures:
        return None
    height = max(4.0, 1.8 + 0.2 * len(shared)) + 0.25 * -(-len(scored) // LEGEND)
    caption = _caption(has_scores=bool(scored), has_ranks=len(shared) > 1)
    return Sheet(
        "compare",
        caption,
        pictures,
        (sum(widths), height),
        widths=widths,
        legend_columns=LEGEND if scored else 0,
    )


def _caption(*, has_scores: bool, has_ranks: bool) -> str:
    told = ["rank correlation with the end", "relative regret of choosing at each step"]
    told = [*(told if has_scores else []), *(["ranks at K"] if has_ranks else [])]
    line = ", ".join(told)
    caption = f"{line[0].upper()}{line[1:]}."
    if has_scores:
        caption += " Steps are shares of completion; a dot is K."
    if has_ranks:
        caption += " Numbers are ranks among all candidates of the run, dark the best."
    return caption


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
    return Picture(metric, title, "", "runs", _SHARE, axis, shapes, legend="none")


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
    title = "ranks at K of shared candidates"
    return Picture("ranks", title, "", "shared", axis, axis, [heat], legend="none")
