"""Axes that show the candidates that matter: far outliers are drawn at the edge, not to scale."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lagsearch.report.pictures.picture import Line, Picture, Points, Shape

REACH = 3.0
"""Interquartile ranges beyond the quartiles from which on a value is a far outlier (Tukey 1977)."""

CRUSHED = 2.0
"""How much longer an axis must be with the far outliers than without, for it to be fitted."""

_MARGIN = 0.06

Span = tuple[float, float]


def fitted_span(values: Sequence[float], kept: Sequence[float] = ()) -> Span | None:
    """Return the ends of an axis without far outliers, None where they do not crush the others.

    Args:
        values: All that would be drawn.
        kept: Those that must be in view.
    """
    if len(values) == 0:
        return None
    low, high = np.quantile(values, [0.25, 0.75])
    reach = REACH * (high - low)
    near = [value for value in values if low - reach <= value <= high + reach]
    return _around([*near, *kept], values)


def span_of(shown: Sequence[float], values: Sequence[float]) -> Span | None:
    """Return the ends of an axis that shows some of the values, None where they fill it anyway."""
    return _around(shown, values) if len(shown) else None


def _around(shown: Sequence[float], values: Sequence[float]) -> Span | None:
    low, high = min(shown), max(shown)
    if low == high or max(values) - min(values) <= CRUSHED * (high - low):
        return None
    margin = _MARGIN * (high - low)
    return low - margin, high + margin


def cut_above(picture: Picture, span: Span | None) -> Picture:
    """Cut what a picture of losses has above a span, and say so; nothing where there is none.

    A logarithmic first axis begins where the first line comes into view.
    """
    if span is None:
        return picture
    points = [
        point
        for line in picture.shapes
        if isinstance(line, Line)
        for point in zip(line.x, line.y, strict=True)
    ]
    low, high = min(span[0], *(value for _, value in points)), span[1]
    x = picture.x
    if x.scale == "log":
        shown = [place for place, value in points if value <= high]
        x = replace(x, span=(min(shown) / 1.3, 1.1 * max(place for place, _ in points)))
    told = f"Losses above {high:.2f} nats are cut off."
    return replace(picture, x=x, y=replace(picture.y, span=(low, high)), beyond=told)


def at_the_edge(picture: Picture, x: Span | None, y: Span | None) -> Picture:
    """Fit the axes of a picture of points; what lies beyond is drawn at the edge, and this said.

    Points with intervals stay where they are.

    Args:
        picture: As it is with all in view.
        x: Ends of the first axis; None leaves it as it is.
        y: Of the second one.
    """
    if x is None and y is None:
        return picture
    inside: list[Shape] = []
    names: list[str] = []
    xs: list[Any] = []
    ys: list[Any] = []
    for shape in picture.shapes:
        if not isinstance(shape, Points) or shape.low:
            inside.append(shape)
            continue
        texts = shape.text or [""] * len(shape.y)
        is_in = [_is_in(shape.x[at], x) and _is_in(value, y) for at, value in enumerate(shape.y)]
        near = [at for at, yes in enumerate(is_in) if yes]
        for at, yes in enumerate(is_in):
            if not yes:
                names.append(f"{texts[at]}: {_told(shape.x[at])}{shape.y[at]:.4f}")
                xs.append(_moved(shape.x[at], x))
                ys.append(_moved(shape.y[at], y))
        if near:
            kept: list[Any] = [[each[at] for at in near] for each in (shape.x, shape.y, texts)]
            inside.append(replace(shape, x=kept[0], y=kept[1], text=kept[2]))
    hover = "%{text}<extra>beyond the axes</extra>"
    beyond = Points(
        "beyond the axes", "rest", xs, ys, hover, text=names, symbol="triangle-up", size=8
    )
    told = f"Triangles: {len(names)} beyond the axes, drawn at the edge." if names else ""
    return replace(
        picture,
        beyond=told,
        x=replace(picture.x, span=x) if x else picture.x,
        y=replace(picture.y, span=y) if y else picture.y,
        shapes=[*inside, *([beyond] if names else [])],
    )


def _is_in(value: float | str, span: Span | None) -> bool:
    return span is None or isinstance(value, str) or span[0] <= value <= span[1]


def _moved(value: float | str, span: Span | None) -> float | str:
    if span is None or isinstance(value, str):
        return value
    inset = 0.03 * (span[1] - span[0])
    return min(max(value, span[0] + inset), span[1] - inset)


def _told(value: float | str) -> str:
    return "" if isinstance(value, str) else f"{value:.4f}, "
