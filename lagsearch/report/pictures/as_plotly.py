"""A picture for the browser, as plain data that plotly.js draws.

Colours stand as `@role`: the page fills them in by its theme. Text that plotly reads as markup is
escaped; hover templates hold no name, they point at one.
"""

from collections.abc import Callable, Sequence
from html import escape
from math import log10
from typing import Any

from lagsearch.report.pictures.picture import Axis, Band, Bars, Heat, Line, Picture, Points

Chart = dict[str, Any]
"""`id`, `title`, `note`, `table`, plotly's `data` and `layout`; where x is a step, `steps`
says how they are drawn at first, `log` or `linear`, and `marks` what vertical lines mark."""

_STEPS = {"steps": "linear", "log_steps": "log"}

_TEXTS = 16
"""Rows of a heat map up to which each cell says its number."""
_LABELS = 12
"""Rows of a heat map that are named; more run together."""


def chart(picture: Picture) -> Chart:
    """Return a picture as a chart of a page."""
    made: Chart = {
        "id": picture.key,
        "title": picture.title,
        "note": f"{picture.note} {picture.beyond}".rstrip(),
        "table": picture.table,
        "data": [trace for shape in picture.shapes for trace in _TRACES[type(shape)](shape)],
        "layout": _layout(picture),
    }
    if picture.can_be_log:
        made["log_y"] = True
    if steps := _STEPS.get(picture.x.scale):
        marks = [{"x": each.x, "label": each.label} for each in picture.marks]
        made |= {"steps": steps, "marks": marks}
    return made


def _layout(picture: Picture) -> dict[str, Any]:
    x_axis = {} if picture.x.scale in _STEPS else _axis(picture.x)
    legend = {"traceorder": "reversed"} if picture.legend == "reversed" else {}
    layout = {"height": picture.height, "xaxis": x_axis, "yaxis": _axis(picture.y)}
    layout |= {"legend": legend}
    for shape in picture.shapes:
        if isinstance(shape, Heat):
            layout |= _cells(shape, picture.y)
    shown = {key: value for key, value in layout.items() if value not in (None, {})}
    return {**shown, "showlegend": False} if picture.legend == "none" else shown


def _cells(heat: Heat, axis: Axis) -> dict[str, Any]:
    """Return the layout of a heat map, whose rows are bars upon one another."""
    every = -(-len(heat.rows) // _LABELS)
    named = list(enumerate(heat.rows))[::every]
    y_axis = {
        "title": {"text": axis.label},
        "range": [0, len(heat.rows)],
        "tickvals": [place + 0.5 for place, _ in named],
        "ticktext": [_safe(name) for _, name in named],
        "showgrid": False,
    }
    x_axis = {"title": {"text": axis.label}, "type": "category", "showgrid": False}
    x_axis |= {"tickvals": _safe(heat.columns[::every])}
    bar = {"thickness": 10, "outlinewidth": 0, "tickvals": [-1, -0.5, 0, 0.5, 1]}
    colors = {"cmin": -1, "cmax": 1, "colorscale": "@diverging", "colorbar": bar}
    bars = {"barmode": "stack", "bargap": 0, "uniformtext": {"minsize": 8, "mode": "hide"}}
    return {"xaxis": x_axis, "yaxis": y_axis, "coloraxis": colors, **bars}


def _axis(axis: Axis) -> dict[str, Any]:
    numbers: dict[str, dict[str, Any]] = {
        "plain": {},
        "share": {"tickformat": ".0%"},
        "power": {"exponentformat": "power"} | ({} if axis.scale == "log" else {"nticks": 5}),
    }
    made: dict[str, Any] = {} if axis.scale == "linear" else {"type": axis.scale}
    made |= {"title": {"text": axis.label}} if axis.label else {}
    if axis.span:
        made |= {"range": [log10(end) if axis.scale == "log" else end for end in axis.span]}
        if axis.scale == "log":
            made |= {"dtick": 1 if axis.span[1] >= 30 * axis.span[0] else "D2"}
    made |= {"rangemode": "tozero"} if axis.from_zero else {}
    if axis.ticks:
        made |= {"tickvals": list(axis.ticks), "ticktext": list(axis.ticks.values())}
    made |= numbers[axis.numbers]
    return made if axis.has_grid else {**made, "showgrid": False}


def _safe(text: str | Sequence[str]) -> str | list[str]:
    """Return text that plotly reads as it is."""
    if isinstance(text, str):
        return escape(text, quote=False)
    return [escape(each, quote=False) for each in text]


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _line(line: Line) -> list[dict[str, Any]]:
    looks: dict[str, Any] = {"color": f"@{line.role}", "width": line.width}
    looks |= {"dash": line.dash} if line.dash else {}
    looks |= {"shape": "hv"} if line.is_stair else {}
    trace = {
        "type": "scatter",
        "mode": "lines+markers" if line.has_points else "lines",
        "name": _safe(line.name),
        "text": None if line.text is None else _safe(line.text),
        "meta": line.candidate,
        "legendgroup": None if line.group is None else _safe(line.group),
        "showlegend": line.in_legend,
        "line": looks,
        "x": list(line.x),
        "y": list(line.y),
        "lift": line.lift,
        "customdata": None if line.steps is None else list(line.steps),
        "hovertemplate": line.hover,
    }
    return [_known(trace)]


def _band(band: Band) -> list[dict[str, Any]]:
    bare = {
        "type": "scatter",
        "mode": "lines",
        "x": list(band.x),
        "hoverinfo": "skip",
        "showlegend": False,
        "line": {"width": 0},
        "legendgroup": band.group,
    }
    filled = {"fill": "tonexty", "fillcolor": f"@{band.role}/{band.opacity}"}
    edges = [{**bare, "y": list(band.low)}, {**bare, "y": list(band.high), **filled}]
    return [_known(edge) for edge in edges]


def _points(points: Points) -> list[dict[str, Any]]:
    marker: dict[str, Any] = {"color": f"@{points.role}", "size": points.size}
    if points.symbol:
        marker |= {"symbol": points.symbol, "line": {"color": "@card", "width": 1}}
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": _safe(points.name),
        "marker": marker,
        "x": [_safe(each) if isinstance(each, str) else each for each in points.x],
        "y": list(points.y),
        "text": None if points.text is None else _safe(points.text),
        "customdata": None if points.counts is None else list(points.counts),
        "error_y": _intervals(points) if points.low else None,
        "hovertemplate": points.hover,
    }
    return [_known(trace)]


def _intervals(points: Points) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - y for high, y in zip(points.high, points.y, strict=True)],
        "arrayminus": [y - low for low, y in zip(points.low, points.y, strict=True)],
        "color": f"@{points.role}",
        "thickness": 1.2,
        "width": 4,
    }


def _bars(bars: Bars) -> list[dict[str, Any]]:
    is_one = isinstance(bars.role, str)
    return [
        {
            "type": "bar",
            "orientation": "h",
            "y": _safe(bars.names),
            "x": list(bars.values),
            "marker": {"color": f"@{bars.role}" if is_one else [f"@{each}" for each in bars.role]},
            "text": list(bars.texts),
            "textposition": "auto",
            "hovertemplate": bars.hover,
        }
    ]


def _heat(heat: Heat) -> list[dict[str, Any]]:
    """Return a row of bars of one height for each row of cells: basic plotly has no heat map."""
    columns, is_told = _safe(heat.columns), len(heat.rows) <= _TEXTS
    return [
        {
            "type": "bar",
            "x": columns,
            "y": [1] * len(row),
            "marker": {
                "color": [0 if value is None else value for value in row],
                "opacity": [0 if value is None else 1 for value in row],
                "coloraxis": "coloraxis",
                "line": {"color": "@card", "width": 1},
            },
            "text": ["" if value is None else f"{value:.2f}" for value in row] if is_told else None,
            "textposition": "inside" if is_told else "none",
            "insidetextanchor": "middle",
            "textangle": 0,
            "customdata": [
                [_safe(name), "not defined" if value is None else f"{value:.2f}"] for value in row
            ],
            "hovertemplate": "steps %{x} and %{customdata[0]}: %{customdata[1]}<extra></extra>",
            "showlegend": False,
        }
        for name, row in zip(heat.rows, heat.values, strict=True)
    ]


_TRACES: dict[type, Callable[[Any], list[dict[str, Any]]]] = {
    Line: _line,
    Band: _band,
    Points: _points,
    Bars: _bars,
    Heat: _heat,
}
"""How each shape is drawn; blocks are for paper, from where a page takes them."""
