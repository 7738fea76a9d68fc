"""The charts of a run of several stages in the browser, as plain data that plotly.js draws."""

from typing import Any

from lagsearch.records.stage_result import ADAPTIVE
from lagsearch.report.pictures.charts import Chart
from lagsearch.report.pictures.staged_style import (
    ROLES,
    over,
    trained,
)
from lagsearch.report.words.course import adaptive, first_seed

_NATS = {"title": {"text": "nats per token"}}
_LEGEND = {"legend": {"traceorder": "reversed"}}
_OVER_STEPS = "step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"


def staged_charts(report: dict[str, Any]) -> list[Chart]:
    """Return loss over steps and over FLOPs, the differences from adaptive, and depth.

    Args:
        report: As `report.json` of a run with stages.
    """
    found = [_loss(report), _difference(report), _flops(report), _depth(report)]
    return [each for each in found if each["data"]]


def _over_steps(report: dict[str, Any], chart: Chart) -> Chart:
    """Add the lines that mark where the adaptive course grows to a chart over steps."""
    begun = adaptive(report)[0]["stages"][1:]
    marks = [{"x": each["begins"], "label": f"stage {each['number']}"} for each in begun]
    return {**chart, "table": "loss", "steps": "linear", "marks": marks}


def _loss(report: dict[str, Any]) -> Chart:
    return _over_steps(
        report,
        {
            "id": "loss",
            "title": "Validation loss",
            "note": f"Dotted: where the adaptive course grows.{over(report)}",
            "data": _lines(report, "step", _OVER_STEPS),
            "layout": {"yaxis": _NATS, **_LEGEND},
            "log_y": True,
        },
    )


def _difference(report: dict[str, Any]) -> Chart:
    losses = {
        name: {each.step: each.mean for each in reversed(found)}  # before growth, where both are
        for name, found in trained(report)
    }
    data, ends = [], []
    for name, own in losses.items():
        shared = sorted(step for step in own if step in losses[ADAPTIVE])
        away = [own[step] - losses[ADAPTIVE][step] for step in shared]
        if name != ADAPTIVE and away:
            data.append({**_line(name, shared, _OVER_STEPS), "x": shared, "y": away})
            ends.append(abs(away[-1]))
    axis: dict[str, Any] = dict(_NATS)
    if widest := max(ends, default=0.0):
        axis["range"] = [-2.5 * widest, 2.5 * widest]
    seeds = " Means over the seeds." if len(report["seeds"]) > 1 else ""
    return _over_steps(
        report,
        {
            "id": "difference",
            "title": "Difference from adaptive",
            "note": f"Above zero: a higher loss than adaptive at the same step.{seeds}",
            "data": data,
            "layout": {"yaxis": axis, **_LEGEND},
        },
    )


def _flops(report: dict[str, Any]) -> Chart:
    template = "%{x:.3s} FLOPs, step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"
    axis = {
        "type": "log",
        "title": {"text": "training FLOPs, search and sources charged"},
        "exponentformat": "power",
    }
    return {
        "id": "loss_and_flops",
        "title": "Loss against training FLOPs",
        "note": "The search is charged to the adaptive course, and the sources' training to all "
        f"that grow them.{over(report)}",
        "table": "loss",
        "data": _lines(report, "spent", template),
        "layout": {"xaxis": axis, "yaxis": _NATS, **_LEGEND},
        "log_y": True,
    }


def _lines(report: dict[str, Any], key: str, template: str) -> list[dict[str, Any]]:
    """Return each course's mean over steps or FLOPs, the range of its seeds behind it."""
    bands, lines = [], []
    for name, found in trained(report):
        along = [getattr(each, key) for each in found]
        steps = [each.step for each in found]
        bare: dict[str, Any] = {"type": "scatter", "mode": "lines", "x": along}
        bare |= {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0}}
        bare["legendgroup"] = name
        if any(each.high > each.low for each in found):
            filled = {"fill": "tonexty", "fillcolor": f"@{ROLES[name]}/0.14"}
            bands += [
                {**bare, "y": [each.low for each in found]},
                {**bare, "y": [each.high for each in found], **filled},
            ]
        means = [each.mean for each in found]
        lines.append({**_line(name, steps, template), "x": along, "y": means})
    return [*bands, *lines]


def _line(name: str, steps: list[int], template: str) -> dict[str, Any]:
    """Return the looks of a course's line."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "text": name,
        "legendgroup": name,
        "customdata": steps,
        "hovertemplate": template,
        "line": {"color": f"@{ROLES[name]}", "width": 2.6 if name == ADAPTIVE else 1.5},
    }


def _depth(report: dict[str, Any]) -> Chart:
    data = []
    for course in reversed(first_seed(report)):
        stages, name = course["stages"], course["name"]
        steps = [*(each["begins"] for each in stages), course["steps"]]
        depths = [each["depth"] for each in stages]
        line = _line(name, steps, "from step %{customdata:,}: %{y} layers<extra>%{text}</extra>")
        stairs = {**line["line"], "shape": "hv"}
        data.append({**line, "x": steps, "y": [*depths, depths[-1]], "line": stairs})
    axis = {"title": {"text": "layers"}, "rangemode": "tozero"}
    return {
        "id": "depth",
        "title": "Depth",
        "note": "Layers over the training, under the first seed.",
        "table": "stages",
        "data": data,
        "layout": {"yaxis": axis, **_LEGEND},
        "steps": "linear",
        "marks": [],
    }
