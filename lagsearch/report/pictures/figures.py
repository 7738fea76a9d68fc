"""The figures of a report, in one style, from its numbers alone."""

from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import Any

import matplotlib as mpl
import numpy as np

from lagsearch.report.numbers.tables import is_priced, source_flops
from lagsearch.report.numbers.view import (
    beside,
    came_to_lag,
    early_steps,
    first_step,
    growths,
    is_cut,
    noun,
    own_losses,
    steps_axis,
    varied,
)
from lagsearch.report.pictures.style import (
    LIGHT,
    curve,
    drawn,
    flops_curve,
    has_random,
    is_later,
    left_out,
    mean_curve,
    role,
)
from lagsearch.report.words.verdict import dimension_name
from lagsearch.storage.files import replacing

mpl.use("Agg")

from matplotlib import pyplot as plt

INK, WINNER, BEST = LIGHT["ink"], LIGHT["winner"], LIGHT["best"]
BASELINE, REST = LIGHT["baseline"], LIGHT["rest"]

STYLE = {
    "figure.dpi": 110,
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": LIGHT["line"],
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "lagsearch",
}

FORMATS: dict[str, dict[str, Any]] = {"png": {"metadata": {}}, "svg": {"metadata": {"Date": None}}}
"""How each figure is saved; without a date the same numbers give the same bytes."""


def draw_figures(report: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw all figures that the numbers allow.

    Args:
        report: As `report.json`.
        folder: Where to put them.

    Returns:
        File name of the PNG, and caption, of each in reading order; an SVG lies beside.
    """
    return draw_all(_wanted(report), report, folder)


_BESIDE = {False: "-", True: "-."}
"""Lines of baselines beside the candidates: the first one, and others. Random layers: dashed."""

Drawing = tuple[str, str, Callable[[dict[str, Any]], Any]]
"""Name and caption of a figure, and what draws it from a report."""


def draw_all(wanted: list[Drawing], report: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw figures; return the file name of the PNG, and the caption, of each."""
    for name, _, draw in wanted:
        with plt.rc_context(STYLE):
            save(draw(report), folder, name)
    return [(f"{name}.png", caption) for name, caption, _ in wanted]


def save(figure: Any, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG, and let it go."""
    for kind, settings in FORMATS.items():
        with replacing(folder / f"{name}.{kind}", is_lasting=False) as temporary:
            figure.savefig(temporary, format=kind, **settings)
        figure.set_layout_engine("none")  # it stays as it was laid out
    plt.close(figure)


def _wanted(report: dict[str, Any]) -> list[Drawing]:
    """Return name, caption and drawing of each figure, in reading order."""
    lag = report["lag"]
    wanted: list[Drawing] = [
        (
            "loss",
            "Validation loss against step, and the same as the difference from the mean of all "
            f"{noun(report)}s, which shows who overtakes whom. Candidates are ranked at K = "
            f"{lag}.{_cut_short(report)}{left_out(report)}",
            _loss,
        )
    ]
    if report["oracle"]:
        wanted += [
            (
                "early_and_final",
                f"{_first(report)}at K = {lag} against the loss at completion: Figure 2 of the "
                "LAG paper (arXiv:2406.02469).",
                _early_and_final,
            ),
            (
                "first_steps",
                f"The first {lag} steps: rank correlation of every two, rank correlation with the "
                "loss at completion, recall and relative regret: Figure 3 of the LAG paper.",
                _first_steps,
            ),
            (
                "recall_and_regret",
                "What a choice at each step would have been worth: whether the best is among the "
                "m best so far, and the share of the spread of final losses that is given away"
                f"{_intervals(report)}.",
                _recall_and_regret,
            ),
            (
                "rank_correlation",
                "Spearman's correlation of the rankings at every two steps.",
                _rank_correlation,
            ),
        ]
    if report["savings"] or beside(report):
        with_sources = ", and against those with the source's" if report["savings"] else ""
        counted = f"Validation loss against training FLOPs{with_sources}."
        wanted.append(("loss_and_flops", counted + left_out(report), _flops))
    if report["importance"]:
        told = f"Loss at step {report['importance']['step']} by each setting: candidates, and "
        wanted.append(("importance", f"{told}their means with 95 % intervals.", _importance))
    return wanted


def _first(report: dict[str, Any]) -> str:
    if len(early_steps(report)) == 1:
        return "Loss "
    is_growth = noun(report) == "growth"
    return f"Loss at {'growth' if is_growth else f'step {first_step(report)}'} and "


def _intervals(report: dict[str, Any]) -> str:
    over = varied(report)
    return f", with 95 % bootstrap intervals over {over}" if over else ""


def _cut_short(report: dict[str, Any]) -> str:
    """Say that some curves end early, and whose mean differences are from."""
    if not is_cut(report):
        return ""
    came = f"the mean is that of {noun(report)}s that came to K."
    return f" A curve that ends before K was stopped; {came}"


def _loss(report: dict[str, Any]) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    every = growths(report)
    mean = mean_curve(came_to_lag(report))
    for each in reversed(drawn(report)):
        style, losses = _line_style(report, each), curve(each)
        steps = sorted(losses)
        left.plot(steps, [losses[step] for step in steps], **style)
        if not each["is_baseline"] and len(every) > 1:
            shared = [step for step in steps if step in mean]
            right.plot(shared, [losses[step] - mean[step] for step in shared], **style)
    for each in own_losses(report):
        label = plain(f"source {each['name']}, before growth")
        left.axhline(each["val_loss"], color=BASELINE, lw=0.9, ls=":", label=label)
    left.set(title="validation loss", ylabel="nats per token")
    title = f"difference from the mean of all {noun(report)}s"
    right.set(title=title, ylabel="nats per token")
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=1)
        _steps_axis(report, axes)
    _zoom(right, [curve(each) for each in every], mean)
    left.legend(loc="best")
    return figure


def _steps_axis(report: dict[str, Any], axes: Any) -> None:
    """Name the axis of steps and mark K, and where the ranking changes its phase if known."""
    axes.set_xlim(left=0)
    axes.set_xlabel(steps_axis(report))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda step, _: f"{step:g}"))
    axes.axvline(report["lag"], color=INK, lw=0.8, ls=":")
    found = report["phase_transition"]
    if found and found["step"] is not None:
        axes.axvline(found["step"], color=BEST, lw=0.8, ls="-.")


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
    early, oracle, steps = early_steps(report), report["oracle"], str(report["steps"])
    size = (5 * len(early), 4)
    figure, (panels,) = plt.subplots(
        1, len(early), figsize=size, layout="constrained", sharey=True, squeeze=False
    )
    names = set(oracle["scored"])
    scored = [each for each in reversed(report["candidates"]) if each["name"] in names]
    for axes, step in zip(panels, early, strict=True):
        for marker, is_random in (("o", False), ("s", True)):
            found = [each for each in scored if has_random(each) == is_random]
            axes.scatter(
                [each["val_loss"][step] for each in found],
                [each["val_loss"][steps] for each in found],
                color=[LIGHT[role(report, each)] for each in found],
                marker=marker,
                s=34 if len(scored) <= 200 else 10,
                zorder=3,
                rasterized=len(scored) > 1000,
            )
        values = [oracle[metric][step]["value"] for metric in ("spearman", "pearson")]
        shown = ["not defined" if value is None else f"{value:.2f}" for value in values]
        axes.set_title(f"step {step}: Spearman {shown[0]}, Pearson {shown[1]}")
        axes.set_xlabel(f"validation loss at step {step}")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    panels[0].set_ylabel(f"validation loss at step {steps}")
    kinds = {"winner": ("o", "winner at K"), "best": ("o", "best at completion")}
    if oracle["candidate"] == report["winner"]["name"]:
        kinds = {"winner": ("o", "winner at K, best at completion")}
    if any(has_random(each) for each in scored):
        kinds["rest"] = ("s", "random new layers")
    marks = [
        mpl.lines.Line2D([], [], color=LIGHT[kind], marker=marker, ls="", label=label)
        for kind, (marker, label) in kinds.items()
    ]
    panels[-1].legend(handles=marks, loc="best")
    return figure


def _flops(report: dict[str, Any]) -> Any:
    """Loss against training FLOPs: baselines, the winner, and the winner with its source."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    winner = report["winner"]["name"]
    shown = [each for each in reversed(drawn(report)) if is_priced(report, each["name"])]
    for each in shown:
        name, kind = each["name"], role(report, each)
        flops, losses = flops_curve(each)
        color, width = LIGHT[kind], 0.8 if kind == "rest" else 1.8
        axes.plot(flops, losses, color=color, lw=width, ls=_BESIDE[is_later(report, each)])
        source = source_flops(report, name)
        if name == winner and source:
            axes.plot(np.array(flops) + source, losses, color=color, lw=1.8, ls="--")
    marks = [(WINNER, "-", f"winner: {winner}")]
    best = report["oracle"]["candidate"] if report["oracle"] else winner
    if best != winner:
        marks.append((BEST, "-", f"best at the end: {best}"))
    if source_flops(report, winner):
        marks.append((WINNER, "--", "the same, its source counted"))
    named = [each for each in reversed(shown) if role(report, each) == "baseline"]
    marks += [(BASELINE, _BESIDE[is_later(report, each)], each["name"]) for each in named]
    if any(role(report, each) == "rest" for each in shown):
        marks.append((REST, "-", "other growths"))
    lines = [mpl.lines.Line2D([], [], color=c, ls=ls, label=plain(of)) for c, ls, of in marks]
    axes.legend(handles=lines, loc="best")
    axes.set_xscale("log")
    counting = report["cost"]["counting"]
    axes.set(xlabel=f"training FLOPs ({counting})", ylabel="validation loss, nats per token")
    return figure


def _recall_and_regret(report: dict[str, Any]) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    _recall(report, left)
    _regret(report, right)
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=1)
        _steps_axis(report, axes)
    return figure


def _recall(report: dict[str, Any], axes: Any, last: float = np.inf) -> None:
    recalls = report["oracle"]["recall"]
    shades = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, len(recalls)))
    for shade, (at, scores) in zip(shades, recalls.items(), strict=True):
        offset = (int(at) - 3) * 0.008  # lines that coincide stay visible
        steps = [step for step in map(int, scores) if step <= last]
        values = [scores[str(step)]["value"] + offset for step in steps]
        axes.step(steps, values, where="post", color=shade, label=f"m = {at}")
    axes.set(title="the best is among the m best so far", yticks=[0, 1], ylabel="recall at m")
    axes.legend(loc="center right")


def _regret(report: dict[str, Any], axes: Any, last: float = np.inf) -> None:
    _scores(report, axes, "relative_regret", WINNER, last)
    chance = report["oracle"]["random_choice_relative_regret"]
    axes.axhline(chance, color=INK, lw=0.8, ls="--", label="a choice at random")
    axes.set(title="relative regret of choosing at a step", ylim=(-0.04, 1.04))
    axes.legend(loc="upper right")


def _scores(report: dict[str, Any], axes: Any, metric: str, color: str, last: float) -> None:
    """Draw a score by step, with its interval."""
    scores = {int(step): score for step, score in report["oracle"][metric].items()}
    steps = [step for step in scores if step <= last and scores[step]["value"] is not None]
    told = [scores[step]["interval"] or [np.nan] * 2 for step in steps]
    ends = np.array(told, dtype=float).reshape(-1, 2)
    axes.fill_between(steps, ends[:, 0], ends[:, 1], color=color, alpha=0.15, lw=0)
    values = [scores[step]["value"] for step in steps]
    axes.plot(steps, values, color=color, marker="o", ms=3)


def _first_steps(report: dict[str, Any]) -> Any:
    """Figure 3 of the LAG paper: four panels over the steps up to K."""
    figure, panels = plt.subplots(2, 2, figsize=(10, 7.6), layout="constrained")
    last = report["lag"]
    _heat(report, figure, panels[0, 0], last)
    _scores(report, panels[0, 1], "spearman", BEST, last)
    panels[0, 1].set(title="Spearman with the loss at completion", ylim=(-1.04, 1.04))
    _recall(report, panels[1, 0], last)
    _regret(report, panels[1, 1], last)
    for axes in (panels[0, 1], panels[1, 0], panels[1, 1]):
        _steps_axis(report, axes)
        axes.set_xlim(0, max(last, 1) * 1.01)
    return figure


def _rank_correlation(report: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(5.6, 4.8), layout="constrained")
    _heat(report, figure, axes)
    return figure


def _heat(report: dict[str, Any], figure: Any, axes: Any, last: float = np.inf) -> None:
    every = report["oracle"]["rank_correlation"]["steps"]
    steps = [step for step in every if step <= last]
    matrix = np.array(report["oracle"]["rank_correlation"]["matrix"], dtype=float)
    matrix = matrix[: len(steps), : len(steps)]
    image = axes.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1, origin="lower")
    places = range(0, len(steps), -(-len(steps) // 25))  # more labels than that run together
    axes.set_xticks(places, [steps[place] for place in places], rotation=90)
    axes.set_yticks(places, [steps[place] for place in places])
    axes.grid(visible=False)
    axes.set(title="Spearman between steps", xlabel="step", ylabel="step")
    if report["lag"] in steps[:-1]:
        axes.axvline(steps.index(report["lag"]), color=INK, lw=0.8, ls=":")
    figure.colorbar(image, ax=axes, shrink=0.85)


_LABEL = 32
"""Characters of a value that are written below a marginal plot."""


def _importance(report: dict[str, Any]) -> Any:
    """A marginal plot for each dimension of the design space."""
    found = report["importance"]
    dimensions, step = found["dimensions"], str(found["step"])
    losses = {each["name"]: each["val_loss"].get(step) for each in report["candidates"]}
    columns = min(3, len(dimensions))
    rows = -(-len(dimensions) // columns)
    longest = max(len(value["value"]) for each in dimensions for value in each["values"])
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(3.6 * columns, (3.1 + 0.07 * min(longest, _LABEL)) * rows),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axes in panels.flat[len(dimensions) :]:
        axes.set_visible(False)
    for axes, dimension in zip(panels.flat, dimensions, strict=False):
        _marginals(axes, dimension, losses)
    shown = [losses[name] for each in dimensions for name in _candidates_of(each)]
    low, high = min(shown), max(shown)
    room = 0.15 * (high - low) or 1e-6  # candidates are all in view, wide intervals are cut
    panels[0][0].set_ylim(low - room, high + room)
    for row in panels:
        row[0].set_ylabel("nats per token")
    return figure


def _candidates_of(dimension: dict[str, Any]) -> list[str]:
    return [name for value in dimension["values"] for name in value["candidates"]]


def _marginals(axes: Any, dimension: dict[str, Any], losses: dict[str, Any]) -> None:
    """Draw the losses by each value of a setting, and their means."""
    values = dimension["values"]
    for place, value in enumerate(values):
        of_value = [losses[name] for name in value["candidates"]]
        axes.scatter([place] * len(of_value), of_value, color=REST, s=14, zorder=2)
        low, high = value["interval"] or [value["mean"]] * 2
        axes.plot([place, place], [low, high], color=BEST, lw=1.6, zorder=3)
        axes.plot(place, value["mean"], color=BEST, marker="o", ms=6, zorder=4)
    share, p_value = dimension["importance"], dimension["p_value"]
    axes.set_title(f"{plain(dimension_name(dimension))}\nshare {share:.0%}, p {p_value:.2g}")
    is_long = sum(len(value["value"]) for value in values) > 24
    rotation = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
    labels = [plain(shorten(value["value"], _LABEL, placeholder=" …")) for value in values]
    axes.set_xticks(range(len(values)), labels, **rotation)
    axes.set_xlim(-0.6, len(values) - 0.4)


def plain(text: str) -> str:
    """Return a text that matplotlib writes as it is: a dollar begins no formula."""
    return text.replace("$", r"\$")


def _line_style(report: dict[str, Any], candidate: dict[str, Any]) -> dict[str, Any]:
    kind, name = role(report, candidate), candidate["name"]
    labels = {"winner": f"winner: {name}", "best": f"best at the end: {name}", "baseline": name}
    labels = {kind: plain(label) for kind, label in labels.items()}
    return {
        "color": LIGHT[kind],
        "lw": {"winner": 2, "rest": 0.9}.get(kind, 1.4),
        "ls": "--" if has_random(candidate) else _BESIDE[is_later(report, candidate)],
        "label": labels.get(kind),
        "zorder": 2 if kind == "rest" else 3,
    }
