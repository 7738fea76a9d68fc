"""The pictures of a run of several stages, from its numbers alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lagsearch.records.stage_result import ADAPTIVE
from lagsearch.report.numbers.view import adaptive_courses, first_seed_courses
from lagsearch.report.pictures.figures import draw_sheets
from lagsearch.report.pictures.fitted import cut_above, span_of
from lagsearch.report.pictures.picture import (
    Axis,
    Band,
    Block,
    Dash,
    Line,
    Mark,
    Picture,
    Shape,
    Sheet,
)

ROLES = {
    ADAPTIVE: "winner",
    "last": "best",
    "middle": "baseline",
    "doubling": "picked",
    "one-hop": "further",
    "random": "rest",
    "scratch": "ink",
    "continue": "ink",
}
"""The colour of each course; `continue` is dashed. Baselines of packages are dotted."""

_TELLING = 0.25
"""Share of the training from which on losses are in view."""

_STEPS = Axis("training steps", "steps")
_NATS = "nats per token"
_OVER_STEPS = "step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"


@dataclass(frozen=True)
class MeanLoss:
    """An evaluation of a course under all seeds.

    Attributes:
        step: Training steps of the course so far.
        spent: Training FLOPs so far with the search and the sources, the mean.
        mean: Validation loss, nats per predicted token.
        low: Of the seed with the lowest one.
        high: Of the seed with the highest one.
    """

    step: int
    spent: float
    mean: float
    low: float
    high: float


def mean_losses(report: dict[str, Any]) -> dict[str, tuple[MeanLoss, ...]]:
    """Return the evaluations that every seed of a course has, course by course.

    Where a stage begins there are two at one step: before growth, and behind it.

    Args:
        report: As `report.json` of a run with stages.
    """
    found: dict[str, list[dict[tuple[int, int], list[float]]]] = {}
    for course in report["courses"]:
        seen: Counter[int] = Counter()
        points = {}
        for step, _, spent, loss in course["curve"]:
            points[step, seen[step]] = [spent, loss]
            seen[step] += 1
        found.setdefault(course["name"], []).append(points)
    return {
        name: tuple(
            _mean(key[0], np.array([points[key] for points in seeds]))
            for key in seeds[0]
            if all(key in points for points in seeds)
        )
        for name, seeds in found.items()
    }


def _mean(step: int, values: Any) -> MeanLoss:
    (spent, mean), losses = values.mean(axis=0), values[:, 1]
    return MeanLoss(step, float(spent), float(mean), float(losses.min()), float(losses.max()))


def course_pictures(report: dict[str, Any]) -> list[Picture]:
    """Return loss over steps and over FLOPs, the differences from adaptive, and depth.

    Args:
        report: As `report.json` of a run with stages.
    """
    found = [_loss(report), _difference(report), _flops(report), _depth(report)]
    return [each for each in found if each.shapes]


def draw_courses(report: dict[str, Any], folder: Path, width: float) -> list[tuple[str, str]]:
    """Draw all figures.

    Args:
        report: As `report.json` of a run with stages.
        folder: Where to put them.
        width: Of the figures, in inches.

    Returns:
        File name of the PNG, and caption, of each in reading order; SVG and PDF lie beside.
    """
    return draw_sheets(course_sheets(report), folder, width)


def course_sheets(report: dict[str, Any]) -> list[Sheet]:
    """Return the figures for paper, in reading order."""
    over, ancestry = _say_over(report), adaptive_courses(report)[0]["genealogy"]
    widest = max(3.25, 0.36 * max(map(len, ancestry)) + 0.8)
    loss, flops = _loss(report), _flops(report)
    captions = (
        "Validation loss over the whole training and over its last stage. Dotted: where the "
        f"adaptive course grows.{over} {loss.beyond}".rstrip(),
        "Validation loss by training FLOPs: the search is charged to the adaptive course, the "
        f"training of the sources to every course that grows them.{over} {flops.beyond}".rstrip(),
        f"Number of layers over the training{_first_seed(report)}.",
        "Every layer of the adaptive course through its stages, coloured by the layer that it "
        f"descends from; outlined: added in that stage{_first_seed(report)}.",
    )
    return [
        Sheet("loss", captions[0], [loss, _last_stage(report)], 2.5),
        Sheet("loss_and_flops", captions[1], [flops], 2.8, widest=4.8),
        Sheet("depth", captions[2], [_depth(report)], 2.2, widest=4.8),
        Sheet(
            "genealogy",
            captions[3],
            [_genealogy(ancestry)],
            0.5 * len(ancestry) + 0.5,
            widest=widest,
        ),
    ]


def _first_seed(report: dict[str, Any]) -> str:
    """Say of which seed a figure is that shows one of several."""
    return f", seed {report['seeds'][0]}" if len(report["seeds"]) > 1 else ""


def _trained(report: dict[str, Any]) -> list[tuple[str, tuple[MeanLoss, ...]]]:
    """Return the losses of each course without the very first one, adaptive at the end."""
    return [
        (name, tuple(each for each in found if each.step > 0))
        for name, found in reversed(mean_losses(report).items())
    ]


def _say_over(report: dict[str, Any]) -> str:
    """Say what is drawn of several seeds."""
    count = len(report["seeds"])
    return f" Means of {count} seeds; shaded: lowest to highest." if count > 1 else ""


def _marks(report: dict[str, Any]) -> list[Mark]:
    begun = adaptive_courses(report)[0]["stages"][1:]
    name = "adaptive grows"
    return [Mark(each["begins"], f"stage {each['number']}", name, "muted") for each in begun]


def _role(name: str) -> str:
    return ROLES.get(name, "rest")


def _line(
    name: str, x: Sequence[float], y: Sequence[float], steps: Sequence[int], hover: str
) -> Line:
    width = 2.6 if name == ADAPTIVE else 1.5
    dash: Dash = "dash" if name == "continue" else "" if name in ROLES else "dot"
    looks: dict[str, Any] = {"width": width, "dash": dash}
    return Line(name, _role(name), x, y, hover, steps, text=name, group=name, **looks)


def _shapes(report: dict[str, Any], key: str, hover: str, since: int = 0) -> list[Shape]:
    """Return each course's mean over steps or FLOPs, behind all the ranges of their seeds."""
    bands: list[Shape] = []
    lines: list[Shape] = []
    for name, every in _trained(report):
        found = [each for each in every if each.step > since]
        x, steps = [getattr(each, key) for each in found], [each.step for each in found]
        low, high = [each.low for each in found], [each.high for each in found]
        if high != low:
            name_of_all = "" if bands else "lowest to highest seed"
            bands.append(Band(_role(name), x, low, high, 0.14, name, name_of_all))
        lines.append(_line(name, x, [each.mean for each in found], steps, hover))
    return [*bands, *lines]


def _loss(report: dict[str, Any]) -> Picture:
    note = f"Dotted: where the adaptive course grows.{_say_over(report)}"
    lines = _shapes(report, "step", _OVER_STEPS)
    shown = ("loss", _STEPS, Axis(_NATS), lines, _marks(report))
    title = "Validation loss"
    picture = Picture("loss", title, note, *shown, legend="reversed", can_be_log=True)
    return _fitted(report, picture)


def _fitted(report: dict[str, Any], picture: Picture) -> Picture:
    """Cut the second axis above the losses of the first part of the training, and say so."""
    lines = [each for each in picture.shapes if isinstance(each, Line)]
    pairs = [pair for line in lines for pair in zip(line.steps or (), line.y, strict=True)]
    losses = [loss for _, loss in pairs]
    span = span_of([loss for step, loss in pairs if step >= _TELLING * report["steps"]], losses)
    return cut_above(picture, span)


def _last_stage(report: dict[str, Any]) -> Picture:
    marks = _marks(report)
    since = int(marks[-1].x) if marks else 0
    return replace(
        _loss(report),
        title="The last stage",
        x=replace(_STEPS, span=(since, report["steps"])),
        y=Axis(),
        shapes=_shapes(report, "step", _OVER_STEPS, since),
    )


def _difference(report: dict[str, Any]) -> Picture:
    losses = {
        name: {each.step: each.mean for each in reversed(found)}  # before growth, where both are
        for name, found in _trained(report)
    }
    adaptive, lines = losses.pop(ADAPTIVE), []
    for name, own in losses.items():
        steps = sorted(own.keys() & adaptive.keys())
        away = [own[step] - adaptive[step] for step in steps]
        lines += [_line(name, steps, away, steps, _OVER_STEPS)] if steps else []
    widest = 2.5 * max((abs(line.y[-1]) for line in lines), default=0.0)
    y = Axis(_NATS, span=(-widest, widest) if widest else None)
    title, note = "Difference from adaptive", "Above zero: a higher loss than adaptive at the same "
    note += f"step. Means of {len(report['seeds'])} seeds." if len(report["seeds"]) > 1 else "step."
    shown = ("loss", _STEPS, y, lines, _marks(report))
    return Picture("difference", title, note, *shown, legend="reversed")


def _flops(report: dict[str, Any]) -> Picture:
    hover = "%{x:.3s} FLOPs, step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"
    note = (
        "The search is charged to the adaptive course, the training of the sources to every course "
        f"that grows them.{_say_over(report)}"
    )
    x = Axis("training FLOPs, search and sources included", "log", numbers="power")
    shown = ("loss", x, Axis(_NATS), _shapes(report, "spent", hover))
    key, title = "loss_and_flops", "Loss by training FLOPs"
    picture = Picture(key, title, note, *shown, legend="reversed", can_be_log=True)
    return _fitted(report, picture)


def _depth(report: dict[str, Any]) -> Picture:
    hover = "from step %{customdata:,}: %{y} layers<extra>%{text}</extra>"
    lines = []
    courses = first_seed_courses(report)
    for place, course in reversed(list(enumerate(courses))):
        stages = course["stages"]
        steps = [*(each["begins"] for each in stages), course["steps"]]
        depths = [*(each["depth"] for each in stages), stages[-1]["depth"]]
        line = _line(course["name"], steps, depths, steps, hover)
        lines.append(replace(line, is_stair=True, lift=0.006 * max(depths) * place))
    note = f"Number of layers{_first_seed(report)}; lines that coincide are drawn a little apart."
    y = Axis("layers", from_zero=True)
    return Picture("depth", "Depth", note, "stages", _STEPS, y, lines, legend="reversed")


def _genealogy(stages: list[list[dict[str, Any]]]) -> Picture:
    """Show the layers of each stage from left to right, the first stage at the top."""
    own = {(each["source"], each["root"]) for stage in stages for each in stage}
    roots = sorted(root for root in own if root[1] is not None)
    shade = {root: 0.9 * place / max(1, len(roots) - 1) for place, root in enumerate(roots)}
    shapes: list[Shape] = []
    for y, stage in enumerate(reversed(stages)):
        for x, each in enumerate(stage):
            text = "R" if each["root"] is None else str(each["root"])
            color = shade.get((each["source"], each["root"]))
            shapes.append(Block(x, y, text, color, each["is_new"]))
            if y < len(stages) - 1 and each["parent"] is not None:
                ends = [each["parent"], x]
                shapes.append(Line("", "rest", ends, [y + 0.75, y + 0.25], width=0.9))
    names: dict[float, str] = {len(stages) - at: f"stage {at}" for at in range(1, len(stages) + 1)}
    x_axis = Axis(
        "from the embedding (left) up, numbered from 0", span=(-0.6, max(map(len, stages)) - 0.4)
    )
    y_axis = Axis(span=(-0.5, len(stages) - 0.5), ticks=names)
    shown = ("genealogy", "", "", "genealogy", x_axis, y_axis, shapes)
    return Picture(*shown, legend="none", is_bare=True)
