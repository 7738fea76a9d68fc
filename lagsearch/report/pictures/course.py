"""The pictures of a run of several stages, from its numbers alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lagsearch.records.stage_result import ADAPTIVE
from lagsearch.report.numbers.view import adaptive_courses, first_seed_courses
from lagsearch.report.pictures.picture import Axis, Band, Block, Line, Mark, Picture, Shape, Sheet

ROLES = {
    ADAPTIVE: "winner",
    "last": "best",
    "middle": "baseline",
    "doubling": "picked",
    "one-hop": "further",
    "random": "rest",
    "scratch": "ink",
    "continue": "muted",
}
"""The colour of each course."""

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


def draw_courses(report: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw all figures.

    Args:
        report: As `report.json` of a run with stages.
        folder: Where to put them.

    Returns:
        File name of the PNG, and caption, of each in reading order; an SVG lies beside.
    """
    from lagsearch.report.pictures.as_matplotlib import draw_sheets

    return draw_sheets(course_sheets(report), folder)


def course_sheets(report: dict[str, Any]) -> list[Sheet]:
    """Return the figures for paper, in reading order."""
    over, ancestry = _say_over(report), adaptive_courses(report)[0]["genealogy"]
    size = (max(4.0, 0.42 * max(map(len, ancestry)) + 1.2), 0.75 * len(ancestry) + 0.6)
    captions = (
        "Validation loss over the whole training, and its end. Dotted: where the adaptive course "
        f"grows.{over}",
        "Validation loss against training FLOPs, the search charged to the adaptive course, and "
        f"the sources' training to all that grow them.{over}",
        "Layers over the training, under the first seed.",
        "Every layer of the adaptive course through its stages, coloured by the layer that it goes "
        "back to; ringed: added in that stage.",
    )
    return [
        Sheet("loss", captions[0], [_loss(report), _last_stage(report)], (10, 3.8)),
        Sheet("loss_and_flops", captions[1], [_flops(report)], (7, 3.8)),
        Sheet("depth", captions[2], [_depth(report)], (7, 2.8)),
        Sheet("genealogy", captions[3], [_genealogy(ancestry)], size),
    ]


def _trained(report: dict[str, Any]) -> list[tuple[str, tuple[MeanLoss, ...]]]:
    """Return the losses of each course without the very first one, adaptive at the end."""
    return [
        (name, tuple(each for each in found if each.step > 0))
        for name, found in reversed(mean_losses(report).items())
    ]


def _say_over(report: dict[str, Any]) -> str:
    """Say what is drawn of several seeds."""
    several = " Means over the seeds; shaded, from the lowest to the highest."
    return several if len(report["seeds"]) > 1 else ""


def _marks(report: dict[str, Any]) -> list[Mark]:
    begun = adaptive_courses(report)[0]["stages"][1:]
    return [Mark(each["begins"], f"stage {each['number']}", "muted") for each in begun]


def _line(
    name: str, x: Sequence[float], y: Sequence[float], steps: Sequence[int], hover: str
) -> Line:
    width = 2.6 if name == ADAPTIVE else 1.5
    return Line(name, ROLES[name], x, y, hover, steps, text=name, group=name, width=width)


def _shapes(report: dict[str, Any], key: str, hover: str, since: int = 0) -> list[Shape]:
    """Return each course's mean over steps or FLOPs, behind all the ranges of their seeds."""
    bands: list[Shape] = []
    lines: list[Shape] = []
    for name, every in _trained(report):
        found = [each for each in every if each.step > since]
        x, steps = [getattr(each, key) for each in found], [each.step for each in found]
        low, high = [each.low for each in found], [each.high for each in found]
        if high != low:
            bands.append(Band(ROLES[name], x, low, high, 0.14, group=name))
        lines.append(_line(name, x, [each.mean for each in found], steps, hover))
    return [*bands, *lines]


def _loss(report: dict[str, Any]) -> Picture:
    note = f"Dotted: where the adaptive course grows.{_say_over(report)}"
    lines = _shapes(report, "step", _OVER_STEPS)
    shown = ("loss", _STEPS, Axis(_NATS), lines, _marks(report))
    title = "Validation loss"
    return Picture("loss", title, note, *shown, legend="reversed", can_be_log=True)


def _last_stage(report: dict[str, Any]) -> Picture:
    marks = _marks(report)
    since = int(marks[-1].x) if marks else 0
    return replace(
        _loss(report),
        title="The last stage",
        x=replace(_STEPS, span=(since, report["steps"])),
        shapes=_shapes(report, "step", _OVER_STEPS, since),
        legend="none",
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
    note += "step. Means over the seeds." if len(report["seeds"]) > 1 else "step."
    shown = ("loss", _STEPS, y, lines, _marks(report))
    return Picture("difference", title, note, *shown, legend="reversed")


def _flops(report: dict[str, Any]) -> Picture:
    hover = "%{x:.3s} FLOPs, step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"
    note = (
        "The search is charged to the adaptive course, and the sources' training to all "
        f"that grow them.{_say_over(report)}"
    )
    x = Axis("training FLOPs, search and sources charged", "log", numbers="power")
    shown = ("loss", x, Axis(_NATS), _shapes(report, "spent", hover))
    key, title = "loss_and_flops", "Loss against training FLOPs"
    return Picture(key, title, note, *shown, legend="reversed", can_be_log=True)


def _depth(report: dict[str, Any]) -> Picture:
    hover = "from step %{customdata:,}: %{y} layers<extra>%{text}</extra>"
    lines = []
    for course in reversed(first_seed_courses(report)):
        stages = course["stages"]
        steps = [*(each["begins"] for each in stages), course["steps"]]
        depths = [*(each["depth"] for each in stages), stages[-1]["depth"]]
        lines.append(replace(_line(course["name"], steps, depths, steps, hover), is_stair=True))
    note, y = "Layers over the training, under the first seed.", Axis("layers", from_zero=True)
    return Picture("depth", "Depth", note, "stages", _STEPS, y, lines, legend="beside")


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
