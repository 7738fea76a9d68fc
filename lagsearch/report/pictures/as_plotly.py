"""A picture for the browser, as plain data that plotly.js draws.

Colours stand as `@role`: the page fills them in by its theme. Text that plotly reads as markup is
escaped; hover templates hold no name, they point at one.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from lagsearch.report.pictures.picture import Axis, Band, Bars, Heat, Line, Picture, Points

Chart = dict[str, Any]
"""`id`, `title`, `note`, `table`, plotly's `data` and `layout`; where x is a step, `steps`
says how they are drawn at first, `log` or `linear`, and `marks` what vertical lines mark."""

_STEPS = {"steps": "linear", "log_steps": "log"}

_TEXTS = 16
"""Rows of a heat map up to which each cell says its number."""


def chart(picture: Picture) -> Chart:
    """Return a picture as a chart of a page."""
    made: Chart = {
        "id": picture.key,
        "title": picture.title,
        "note": picture.note,
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
    legend = {"traceorder": "reversed"} if picture.legend in ("reversed", "beside") else {}
    layout = {"height": picture.height, "xaxis": x_axis, "yaxis": _axis(picture.y)}
    layout |= {"legend": legend}
    shown = {key: value for key, value in layout.items() if value}
    return {**shown, "showlegend": False} if picture.legend == "none" else shown


def _axis(axis: Axis) -> dict[str, Any]:
    numbers: dict[str, dict[str, Any]] = {
        "plain": {},
        "share": {"tickformat": ".0%"},
        "power": {"exponentformat": "power"} | ({} if axis.scale == "log" else {"nticks": 5}),
    }
    made: dict[str, Any] = {} if axis.scale == "linear" else {"type": axis.scale}
    made |= {"title": {"text": axis.label}} if axis.label else {}
    made |= {"range": list(axis.span)} if axis.span else {}
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
    trace = {
        "type": "heatmap",
        "x": _safe(heat.columns),
        "y": _safe(heat.rows),
        "z": [list(row) for row in heat.values],
        "zmin": -1,
        "zmax": 1,
        "colorscale": "@diverging",
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": [-1, -0.5, 0, 0.5, 1]},
        "hovertemplate": "steps %{x} and %{y}: %{z:.2f}<extra></extra>",
        "texttemplate": "%{z:.2f}" if len(heat.rows) <= _TEXTS else None,
    }
    return [_known(trace)]


_TRACES: dict[type, Callable[[Any], list[dict[str, Any]]]] = {
    Line: _line,
    Band: _band,
    Points: _points,
    Bars: _bars,
    Heat: _heat,
}
"""How each shape is drawn; blocks are for paper, from where a page takes them."""
