"""What figures and charts of a run of several stages share: colours, and curves over the seeds."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from lagsearch.records.stage_result import ADAPTIVE

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
"""The colour of each course, in all figures and charts."""

MEANS = " Means over the seeds; shaded, from the lowest to the highest."


@dataclass(frozen=True)
class Spread:
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


def over_seeds(report: dict[str, Any]) -> dict[str, tuple[Spread, ...]]:
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
            _spread(key[0], np.array([points[key] for points in seeds]))
            for key in seeds[0]
            if all(key in points for points in seeds)
        )
        for name, seeds in found.items()
    }


def _spread(step: int, values: Any) -> Spread:
    (spent, mean), losses = values.mean(axis=0), values[:, 1]
    return Spread(step, float(spent), float(mean), float(losses.min()), float(losses.max()))


def trained(report: dict[str, Any]) -> list[tuple[str, tuple[Spread, ...]]]:
    """Return the losses of each course without the very first one, adaptive at the end."""
    return [
        (name, tuple(each for each in found if each.step > 0))
        for name, found in reversed(over_seeds(report).items())
    ]


def over(report: dict[str, Any]) -> str:
    """Say what is drawn of several seeds."""
    return MEANS if len(report["seeds"]) > 1 else ""
