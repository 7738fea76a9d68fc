"""The figures of a run of several stages, in the style of all others."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from lagsearch.report.pictures.figures import (
    INK,
    WINNER,
    Drawing,
    draw_all,
)
from lagsearch.report.pictures.staged_style import (
    ROLES,
    Spread,
    over,
    trained,
)
from lagsearch.report.pictures.style import LIGHT
from lagsearch.report.words.course import adaptive, first_seed

COLORS = {name: LIGHT[role] for name, role in ROLES.items()}
"""One for each course, in all figures."""


def draw_whole(report: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw all figures.

    Args:
        report: As `report.json` of a run with stages.
        folder: Where to put them.

    Returns:
        File name of the PNG, and caption, of each in reading order; an SVG lies beside.
    """
    return draw_all(_wanted(report), report, folder)


def _wanted(report: dict[str, Any]) -> list[Drawing]:
    marks = "Dotted: where the adaptive course grows."
    return [
        (
            "loss",
            f"Validation loss over the whole training, and its end. {marks}{over(report)}",
            _loss,
        ),
        (
            "loss_and_flops",
            "Validation loss against training FLOPs, the search charged to the adaptive course, "
            f"and the sources' training to all that grow them.{over(report)}",
            _flops,
        ),
        ("depth", "Layers over the training, under the first seed.", _depth),
        (
            "genealogy",
            "Every layer of the adaptive course through its stages, coloured by the layer that it "
            "goes back to; ringed: added in that stage.",
            _genealogy,
        ),
    ]


def _loss(report: dict[str, Any]) -> Any:
    figure, (whole, end) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    begins = [stage["begins"] for stage in adaptive(report)[0]["stages"]][1:]
    since = begins[-1] if begins else 0
    for name, found in trained(report):
        _draw(whole, name, found, "step")
        _draw(end, name, tuple(each for each in found if each.step > since), "step")
    for axes in (whole, end):
        for step in begins:
            axes.axvline(step, color=LIGHT["muted"], lw=0.8, ls=":")
        axes.set_xlabel("training steps")
    whole.set_ylabel("validation loss, nats per token")
    end.set_xlim(since, report["steps"])
    end.set_title("the last stage")
    handles, labels = whole.get_legend_handles_labels()
    whole.legend(handles[::-1], labels[::-1])
    return figure


def _draw(axes: Any, name: str, found: tuple[Spread, ...], key: str) -> None:
    """Draw a course's mean, and from its lowest to its highest, over steps or over FLOPs."""
    along = np.array([getattr(each, key) for each in found])
    color, width = COLORS[name], 2 if name == "adaptive" else 1.2
    axes.plot(along, [each.mean for each in found], label=name, color=color, lw=width)
    low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
    if np.any(high > low):
        axes.fill_between(along, low, high, color=color, alpha=0.15, lw=0)


def _flops(report: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for name, found in trained(report):
        _draw(axes, name, found, "spent")
    axes.set_xscale("log")
    axes.set_xlabel("training FLOPs")
    axes.set_ylabel("validation loss, nats per token")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1])
    return figure


def _depth(report: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    for course in reversed(first_seed(report)):
        stages = course["stages"]
        steps = [each["begins"] for each in stages] + [course["steps"]]
        depths = [each["depth"] for each in stages]
        width = 2 if course["name"] == "adaptive" else 1.2
        color = COLORS[course["name"]]
        axes.step(
            steps, [*depths, depths[-1]], where="post", label=course["name"], color=color, lw=width
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training steps")
    axes.set_ylabel("layers")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _genealogy(report: dict[str, Any]) -> Any:
    lines = adaptive(report)[0]["genealogy"]
    deepest = max(len(line) for line in lines)
    size = (max(4.0, 0.42 * deepest + 1.2), 0.75 * len(lines) + 0.6)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    own = [(each["source"], each["root"]) for line in lines for each in line]
    roots = sorted({root for root in own if root[1] is not None})
    colors = plt.get_cmap("viridis")
    step = 0.9 / max(1, len(roots) - 1)
    shades = {root: colors(step * place) for place, root in enumerate(roots)}
    for row, line in enumerate(lines):
        y = len(lines) - 1 - row
        for place, each in enumerate(line):
            _block(axes, place, y, each, shades)
            if row and each["parent"] is not None:
                joined = [each["parent"], place]
                axes.plot(joined, [y + 0.75, y + 0.25], color=LIGHT["rest"], lw=0.7)
    axes.set_yticks(range(len(lines)), [f"stage {len(lines) - row}" for row in range(len(lines))])
    axes.set_xlim(-0.6, deepest - 0.4)
    axes.set_ylim(-0.5, len(lines) - 0.5)
    axes.set_xticks([])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("from the embedding (left) up")
    return figure


def _block(axes: Any, place: int, y: float, each: dict[str, Any], shades: dict[Any, Any]) -> None:
    shade = shades.get((each["source"], each["root"]), "white")
    edge, width = (WINNER, 1.8) if each["is_new"] else (INK, 0.4)
    axes.add_patch(
        plt.Rectangle((place - 0.4, y - 0.25), 0.8, 0.5, facecolor=shade, edgecolor=edge, lw=width)
    )
    light = sum(shade[:3]) > 1.5 if not isinstance(shade, str) else True
    text = "R" if each["root"] is None else str(each["root"] + 1)
    axes.text(place, y, text, ha="center", va="center", fontsize=8, color=INK if light else "white")
