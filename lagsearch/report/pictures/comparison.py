"""The figure of a comparison: how early each run's ranking was right, and who ranks where."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import matplotlib as mpl
import numpy as np

from lagsearch.report.pictures.figures import (
    INK,
    STYLE,
    plain,
    save,
)

plt = mpl.pyplot

COLORS = ("#1f6fb4", "#e07b00", "#2e7d32", "#c8102e", "#7b4ea3", "#8f5e00", "#d6589f", "#3a9ea5")
DASHES = ("-", "--", ":", "-.")

MOST = 30
"""Shared candidates that are drawn."""

LONGEST = 40
"""Characters of a name that are written."""

LEGEND = 4
"""Runs in a row of the legend."""


def draw_comparison(comparison: dict[str, Any], folder: Path) -> tuple[str, str] | None:
    """Draw what there is of it, as PNG and SVG; return its name and caption.

    None where no run was trained to completion and fewer than two growths are shared.
    """
    scored = [run for run in comparison["runs"] if run["by_step"]]
    shared = [row for row in comparison["shared"] if not row["is_baseline"]][:MOST]
    there = [
        place
        for place in range(len(comparison["runs"]))
        if any(row["places"][place] for row in shared)
    ]
    panels: list[tuple[Callable[[Any], None], float, str]] = []
    if scored:
        for metric, caption in (
            ("spearman", "Rank correlation with the end"),
            ("relative_regret", "relative regret of choosing at each step"),
        ):
            panels.append((partial(_by_step, comparison, metric), 4.6, caption))
    if len(shared) > 1:
        width = 2.6 + 0.45 * len(there)
        panels.append((partial(_ranks, comparison, shared, there), width, "ranks at K"))
    if not panels:
        return None
    height = max(4.0, 1.8 + 0.2 * len(shared)) + 0.25 * -(-len(scored) // LEGEND)
    with plt.rc_context(STYLE):
        figure, (every,) = plt.subplots(
            *(1, len(panels)),
            figsize=(sum(width for _, width, _ in panels), height),
            width_ratios=[width for _, width, _ in panels],
            layout="constrained",
            squeeze=False,
        )
        for axes, (draw, _, _) in zip(every, panels, strict=True):
            draw(axes)
        if scored:
            lines = every[0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside lower left", ncols=LEGEND)
        save(figure, folder, "compare")
    told = ", ".join(caption for _, _, caption in panels)
    caption = f"{told[0].upper()}{told[1:]}."
    if scored:
        caption += " Steps are shares of completion; a dot is K."
    if len(shared) > 1:
        caption += " Numbers are ranks among all candidates of the run, dark the best."
    return "compare", caption


def _looks(place: int) -> dict[str, Any]:
    color = COLORS[place % len(COLORS)]
    return {"color": color, "ls": DASHES[place // len(COLORS) % len(DASHES)]}


def _by_step(comparison: dict[str, Any], metric: str, axes: Any) -> None:
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
    else:
        axes.set(title="relative regret of choosing at a step", ylim=(-0.04, 1.04))


def _ranks(
    comparison: dict[str, Any], shared: list[dict[str, Any]], there: list[int], axes: Any
) -> None:
    """Write the ranks of shared candidates, a row for each and a column for each run."""
    shares = np.full((len(shared), len(there)), np.nan)
    for i, row in enumerate(shared):
        for j, place in enumerate(there):
            found = row["places"][place]
            if found is None:
                continue
            shares[i, j] = (found["rank"] - 1) / max(found["of"] - 1, 1)
            color = "white" if shares[i, j] < 0.4 else INK
            axes.text(j, i, found["rank"], ha="center", va="center", fontsize=8, color=color)
    axes.imshow(shares, cmap="Blues_r", vmin=-0.15, vmax=1.1, aspect="auto")
    labels = [plain(comparison["runs"][place]["name"]) for place in there]
    axes.set_xticks(range(len(there)), labels, rotation=60, ha="right", rotation_mode="anchor")
    names = [plain(shorten(row["name"], LONGEST, placeholder=" …")) for row in shared]
    axes.set_yticks(range(len(shared)), names, fontsize=8)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_title("ranks at K of shared candidates")
