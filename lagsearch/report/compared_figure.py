"""The figure of a comparison: how early each run's ranking was right, and who ranks where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

from lagsearch.report.figures import INK, REST, STYLE, plain, save

plt = mpl.pyplot

COLORS = ("#1f6fb4", "#e07b00", "#2e7d32", "#c8102e", "#7b4ea3", "#8f5e00", "#d6589f", "#3a9ea5")
DASHES = ("-", "--", ":", "-.")

MOST = 30
"""Shared candidates that are drawn."""


def draw_comparison(comparison: dict[str, Any], folder: Path) -> tuple[str, str] | None:
    """Draw what there is of it, as PNG and SVG; return its name and caption.

    None where no run was trained to completion and fewer than two growths are shared.
    """
    scored = [run for run in comparison["runs"] if run["by_step"]]
    shared = [row for row in comparison["shared"] if not row["is_baseline"]][:MOST]
    wanted: list[tuple[Callable[[Any], None], str]] = []
    if scored:
        wanted += [
            (lambda axes: _by_step(axes, comparison, "spearman"), "rank correlation with the end"),
            (lambda axes: _by_step(axes, comparison, "relative_regret"), "relative regret"),
        ]
    if len(shared) > 1:
        wanted.append((lambda axes: _ranks(axes, comparison, shared), "ranks of shared candidates"))
    if not wanted:
        return None
    with plt.rc_context(STYLE):
        size = (4.6 * len(wanted), 4.2)
        figure, (panels,) = plt.subplots(
            1, len(wanted), figsize=size, layout="constrained", squeeze=False
        )
        for axes, (draw, _) in zip(panels, wanted, strict=True):
            draw(axes)
        save(figure, folder, "compare")
    told = "; ".join(caption for _, caption in wanted)
    caption = f"{told[0].upper()}{told[1:]}."
    if scored:
        caption += " Steps are shares of completion; a dot is K."
    return "compare", caption


def _looks(place: int) -> dict[str, Any]:
    color = COLORS[place % len(COLORS)]
    return {"color": color, "ls": DASHES[place // len(COLORS) % len(DASHES)]}


def _by_step(axes: Any, comparison: dict[str, Any], metric: str) -> None:
    """Draw a score over the share of training, a line for each run."""
    for place, run in enumerate(comparison["runs"]):
        if not run["by_step"]:
            continue
        scores = {int(step): value for step, value in run["by_step"][metric].items()}
        steps = [step for step in sorted(scores) if scores[step] is not None]
        over = [step / run["steps"] for step in steps]
        axes.plot(over, [scores[step] for step in steps], label=plain(run["name"]), **_looks(place))
        if scores[run["lag"]] is not None:
            axes.plot(
                run["lag"] / run["steps"], scores[run["lag"]], "o", color=_looks(place)["color"]
            )
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(0, 1.02)
    axes.set_xticks([0, 0.01, 0.1, 1], ["0", "1 %", "10 %", "100 %"])
    axes.set_xlabel("share of training")
    if metric == "spearman":
        axes.set(title="Spearman with the loss at completion", ylim=(-1.04, 1.04))
        axes.axhline(0, color=INK, lw=0.6)
        axes.legend(loc="best")
    else:
        axes.set(title="relative regret of choosing at a step", ylim=(-0.04, 1.04))


def _ranks(axes: Any, comparison: dict[str, Any], shared: list[dict[str, Any]]) -> None:
    """Draw the ranks of shared candidates, counted among themselves, from run to run."""
    runs = comparison["runs"]
    columns = [place for place in range(len(runs)) if any(row["places"][place] for row in shared)]
    ranks = [dict[str, int]() for _ in runs]
    for place in columns:
        there = [row for row in shared if row["places"][place]]
        there.sort(key=lambda row: row["places"][place]["rank"])
        ranks[place] = {row["name"]: rank for rank, row in enumerate(there, 1)}
    for row in shared:
        name = row["name"]
        xs = [x for x, place in enumerate(columns) if name in ranks[place]]
        ys = [ranks[columns[x]][name] for x in xs]
        is_first = 1 in ys
        color = COLORS[0] if is_first else REST
        axes.plot(
            xs, ys, marker="o", ms=4, color=color, lw=1.6 if is_first else 1, zorder=2 + is_first
        )
        axes.annotate(
            plain(name),
            (xs[-1], ys[-1]),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_xticks(
        range(len(columns)),
        [plain(runs[place]["name"]) for place in columns],
        rotation=20,
        ha="right",
    )
    axes.set_xlim(-0.2, len(columns) - 1 + 0.9)
    axes.invert_yaxis()
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    axes.set(title="ranks at K among shared candidates", ylabel="rank")
