"""The figures of a report, in one style, from its numbers alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from lagsearch.report.verdict import dimension_name, varied
from lagsearch.storage import replacing

mpl.use("Agg")

from matplotlib import pyplot as plt

INK, WINNER, BEST, BASELINE, REST = "#222222", "#c8102e", "#1f6fb4", "#2e7d32", "#9aa5b1"

STYLE = {
    "figure.dpi": 110,
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e6e9ed",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "lagsearch",
}


def draw_figures(report: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw all figures that the numbers allow.

    Args:
        report: As `report.json`.
        folder: Where to put them.

    Returns:
        File name and caption of each, in reading order.
    """
    lag = report["lag"]
    wanted: list[tuple[str, str, Callable[[dict[str, Any]], Any]]] = [
        (
            "loss.png",
            "Validation loss against step, and the same as the difference from the mean of all "
            f"growths, which shows who overtakes whom. Candidates are ranked at K = {lag}.",
            _loss,
        )
    ]
    if report["oracle"]:
        wanted += [
            (
                "early_and_final.png",
                f"Loss at growth and at K = {lag} against the loss at completion.",
                _early_and_final,
            ),
            (
                "recall_and_regret.png",
                "What a choice at each step would have been worth: whether the best is among the "
                "m best so far, and the share of the spread of final losses that is given away, "
                f"with 95 % bootstrap intervals over {varied(report)}.",
                _recall_and_regret,
            ),
            (
                "rank_correlation.png",
                "Spearman's correlation of the rankings at every two steps.",
                _rank_correlation,
            ),
        ]
    if report["importance"]:
        wanted.append(
            (
                "importance.png",
                f"Loss at step {report['importance']['step']} by each setting: candidates, and "
                "their means with 95 % intervals.",
                _importance,
            )
        )
    if report["savings"]:
        counted = "Validation loss against training FLOPs, and against those with the source's."
        wanted.append(("loss_and_flops.png", counted, _flops))
    drawn = []
    for name, caption, draw in wanted:
        with plt.rc_context(STYLE):
            figure = draw(report)
            with replacing(folder / name) as temporary:
                figure.savefig(temporary, format="png", bbox_inches="tight", metadata={})
            plt.close(figure)
        drawn.append((name, caption))
    return drawn


def _loss(report: dict[str, Any]) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    curves = _curves(report)
    growths = _names(report, is_baseline=False)
    mean = _mean_curve([curves[name] for name in growths])
    for name in _drawing_order(report):
        style = _line_style(report, name)
        steps = sorted(curves[name])
        left.plot(steps, [curves[name][step] for step in steps], **style)
        shared = [step for step in steps if step in mean]
        if name in growths and len(growths) > 1:
            differences = [curves[name][step] - mean[step] for step in shared]
            right.plot(shared, differences, **style)
    left.set(title="validation loss", ylabel="nats per token")
    right.set(title="difference from the mean of all growths", ylabel="nats per token")
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
        axes.set_xlabel("steps after growth")
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda step, _: f"{step:g}"))
        axes.axvline(report["lag"], color=INK, lw=0.8, ls=":")
    _zoom(right, [curves[name] for name in growths], mean)
    left.legend(loc="best")
    return figure


def _zoom(axes: Any, curves: list[dict[int, float]], mean: dict[int, float]) -> None:
    """Scale an axis to the differences after the first jumps."""
    later = [
        abs(curve[step] - mean[step])
        for curve in curves
        for step in curve
        if step in mean and step >= min(20, max(mean) / 10)
    ]
    if later and max(later) > 0:
        axes.set_ylim(-1.1 * max(later), 1.1 * max(later))


def _early_and_final(report: dict[str, Any]) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    oracle, steps = report["oracle"], str(report["steps"])
    scored = [each for each in report["candidates"] if each["name"] in set(oracle["scored"])]
    for axes, step in zip(panels, ("0", str(report["lag"])), strict=True):
        for each in scored:
            axes.scatter(
                each["val_loss"][step],
                each["val_loss"][steps],
                color=_color(report, each["name"]),
                marker="s" if "R" in each["layer_map"] else "o",
                s=34,
                zorder=3,
            )
        values = [oracle[metric][step]["value"] for metric in ("spearman", "pearson")]
        shown = ["not defined" if value is None else f"{value:.2f}" for value in values]
        axes.set_title(f"step {step}: Spearman {shown[0]}, Pearson {shown[1]}")
        axes.set_xlabel(f"validation loss at step {step}")
    panels[0].set_ylabel(f"validation loss at step {steps}")
    marks = [
        mpl.lines.Line2D([], [], color=WINNER, marker="o", ls="", label="winner at K"),
        mpl.lines.Line2D([], [], color=BEST, marker="o", ls="", label="best at completion"),
        mpl.lines.Line2D([], [], color=REST, marker="s", ls="", label="random new layers"),
    ]
    panels[1].legend(handles=marks, loc="best")
    return figure


def _flops(report: dict[str, Any]) -> Any:
    """Loss against training FLOPs: the baseline, the winner, and the winner with its source."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    savings, winner = report["savings"], report["winner"]["name"]
    curves, cost = _curves(report), report["cost"]
    growths = [name for name in savings["growths"] if name != winner]
    entries = {each["name"]: each for each in report["candidates"]}
    for name in [*growths, *([winner] if winner in savings["growths"] else [])]:
        spent = entries[name]["flops_by_step"]
        steps = [step for step in curves[name] if spent[str(step)] > 0]
        losses = [curves[name][step] for step in steps]
        color = _color(report, name)
        flops = np.array([spent[str(step)] for step in steps])
        axes.plot(flops, losses, color=color, lw=0.8 if color == REST else 1.8)
        before = savings["growths"][name]["flops"]
        if name == winner and before["with_sources"] is not None:
            source = before["with_sources"] - before["growth"]
            axes.plot(flops + source, losses, color=color, lw=1.8, ls="--")
    reference = savings["baseline"]
    spent = entries[reference]["flops_by_step"]
    steps = [step for step in curves[reference] if spent[str(step)] > 0]
    losses = [curves[reference][step] for step in steps]
    axes.plot([spent[str(step)] for step in steps], losses, color=BASELINE, lw=1.8)
    marks = [
        mpl.lines.Line2D([], [], color=WINNER, label=f"winner: {winner}"),
        mpl.lines.Line2D([], [], color=WINNER, ls="--", label="the same, its source counted"),
        mpl.lines.Line2D([], [], color=BASELINE, label=reference),
        mpl.lines.Line2D([], [], color=REST, lw=0.8, label="other growths"),
    ]
    best = report["oracle"]["candidate"] if report["oracle"] else winner
    if best != winner:
        marks.insert(1, mpl.lines.Line2D([], [], color=BEST, label=f"best at the end: {best}"))
    axes.legend(handles=marks if growths else marks[:3], loc="best")
    axes.set_xscale("log")
    axes.set(
        xlabel=f"training FLOPs ({cost['counting']})", ylabel="validation loss, nats per token"
    )
    return figure


def _recall_and_regret(report: dict[str, Any]) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    oracle = report["oracle"]
    shades = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, len(oracle["recall"])))
    for shade, (at, scores) in zip(shades, oracle["recall"].items(), strict=True):
        steps = [int(step) for step in scores]
        offset = (int(at) - 3) * 0.008  # lines that coincide stay visible
        values = [score["value"] + offset for score in scores.values()]
        left.step(steps, values, where="post", color=shade, label=f"m = {at}")
    left.set(title="the best is among the m best so far", yticks=[0, 1], ylabel="recall at m")
    left.legend(loc="center right")
    scores = oracle["relative_regret"]
    steps = [int(step) for step in scores]
    ends = np.array([score["interval"] or [np.nan] * 2 for score in scores.values()], dtype=float)
    right.fill_between(steps, ends[:, 0], ends[:, 1], color=WINNER, alpha=0.15, lw=0)
    right.plot(steps, [score["value"] for score in scores.values()], color=WINNER, marker="o", ms=3)
    chance = oracle["random_choice_relative_regret"]
    right.axhline(chance, color=INK, lw=0.8, ls="--", label="a choice at random")
    right.set(title="relative regret of choosing at a step", ylim=(-0.04, 1.04))
    right.legend(loc="upper right")
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
        axes.set_xlabel("steps after growth")
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda step, _: f"{step:g}"))
        axes.axvline(report["lag"], color=INK, lw=0.8, ls=":")
    return figure


def _rank_correlation(report: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(5.6, 4.8), layout="constrained")
    steps = report["oracle"]["rank_correlation"]["steps"]
    matrix = np.array(report["oracle"]["rank_correlation"]["matrix"], dtype=float)
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower")
    axes.set_xticks(range(len(steps)), steps, rotation=90)
    axes.set_yticks(range(len(steps)), steps)
    axes.grid(visible=False)
    axes.set(title="Spearman between steps", xlabel="step", ylabel="step")
    if report["lag"] in steps:
        axes.axvline(steps.index(report["lag"]), color=INK, lw=0.8, ls=":")
    figure.colorbar(image, ax=axes, shrink=0.85)
    return figure


def _importance(report: dict[str, Any]) -> Any:
    """A marginal plot for each dimension of the design space."""
    found = report["importance"]
    dimensions, curves = found["dimensions"], _curves(report)
    shown = {
        name for each in dimensions for value in each["values"] for name in value["candidates"]
    }
    of_candidate = {name: curves[name][found["step"]] for name in shown}
    columns = min(3, len(dimensions))
    rows = -(-len(dimensions) // columns)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(3.6 * columns, 3.1 * rows),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axes in panels.flat[len(dimensions) :]:
        axes.set_visible(False)
    for axes, dimension in zip(panels.flat, dimensions, strict=False):
        values = dimension["values"]
        for place, value in enumerate(values):
            losses = [of_candidate[name] for name in value["candidates"]]
            axes.scatter([place] * len(losses), losses, color=REST, s=14, zorder=2)
            low, high = value["interval"] or [value["mean"]] * 2
            axes.plot([place, place], [low, high], color=BEST, lw=1.6, zorder=3)
            axes.plot(place, value["mean"], color=BEST, marker="o", ms=6, zorder=4)
        share, p_value = dimension["importance"], dimension["p_value"]
        axes.set_title(f"{dimension_name(dimension)}\nshare {share:.0%}, p {p_value:.2g}")
        is_long = sum(len(value["value"]) for value in values) > 24
        rotation = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        axes.set_xticks(range(len(values)), [value["value"] for value in values], **rotation)
        axes.set_xlim(-0.6, len(values) - 0.4)
    low, high = min(of_candidate.values()), max(of_candidate.values())
    room = 0.15 * (high - low) or 1e-6  # candidates are all in view, wide intervals are cut
    panels[0][0].set_ylim(low - room, high + room)
    for row in panels:
        row[0].set_ylabel("nats per token")
    return figure


def _curves(report: dict[str, Any]) -> dict[str, dict[int, float]]:
    return {
        each["name"]: {int(step): loss for step, loss in each["val_loss"].items()}
        for each in report["candidates"]
    }


def _names(report: dict[str, Any], is_baseline: bool) -> list[str]:
    return [
        each["name"]
        for each in report["candidates"]
        if each["is_baseline"] == is_baseline and each["status"] == "ok"
    ]


def _mean_curve(curves: list[dict[int, float]]) -> dict[int, float]:
    """Return the mean at the steps that all have."""
    shared = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {step: float(np.mean([curve[step] for curve in curves])) for step in sorted(shared)}


def _drawing_order(report: dict[str, Any]) -> list[str]:
    """Return names so that those that matter are drawn last, on top."""
    names = [each["name"] for each in report["candidates"] if each["status"] == "ok"]
    return [*reversed(names)]


def _color(report: dict[str, Any], name: str) -> str:
    if name == report["winner"]["name"]:
        return WINNER
    if report["oracle"] and name == report["oracle"]["candidate"]:
        return BEST
    return BASELINE if name in _names(report, is_baseline=True) else REST


def _line_style(report: dict[str, Any], name: str) -> dict[str, Any]:
    color = _color(report, name)
    labels = {WINNER: f"winner: {name}", BEST: f"best at the end: {name}", BASELINE: name}
    maps = {each["name"]: each["layer_map"] for each in report["candidates"]}
    dashes = "--" if "R" in maps[name] else "-"  # dashed: random new layers
    return {
        "color": color,
        "lw": 2 if color == WINNER else 1.4 if color != REST else 0.9,
        "ls": dashes,
        "label": labels.get(color),
        "zorder": 3 if color != REST else 2,
    }
