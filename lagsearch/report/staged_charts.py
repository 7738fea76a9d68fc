"""The charts of a run of several stages in the browser, as plain data that plotly.js draws."""

from typing import Any

from lagsearch.report.charts import Chart
from lagsearch.report.staged_numbers import Spread, over_seeds
from lagsearch.report.staged_sections import adaptive, first_seed

ROLES = {
    "adaptive": "winner",
    "last": "best",
    "middle": "baseline",
    "doubling": "picked",
    "one-hop": "further",
    "random": "rest",
    "scratch": "ink",
}
"""The colour of each course, in all figures and charts."""

MEANS = " Means over the seeds; shaded, from the lowest to the highest."

_NATS = {"yaxis": {"title": {"text": "nats per token"}}}


def staged_charts(report: dict[str, Any]) -> list[Chart]:
    """Return loss over steps, loss over FLOPs, and depth.

    Args:
        report: As `report.json` of a run with stages.
    """
    return [_loss(report), _flops(report), _depth(report)]


def trained(report: dict[str, Any]) -> list[tuple[str, tuple[Spread, ...]]]:
    """Return the losses of each course without the very first one, adaptive at the end."""
    return [
        (name, tuple(each for each in found if each.step > 0))
        for name, found in reversed(over_seeds(report).items())
    ]


def over(report: dict[str, Any]) -> str:
    """Say what is drawn of several seeds."""
    return MEANS if len(report["seeds"]) > 1 else ""


def _loss(report: dict[str, Any]) -> Chart:
    begun = adaptive(report)[0]["stages"][1:]
    return {
        "id": "loss",
        "title": "Validation loss",
        "note": f"Dotted: where the adaptive course grows.{over(report)}",
        "table": "loss",
        "data": _lines(report, "step", "step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"),
        "layout": _NATS,
        "log_y": True,
        "steps": "linear",
        "marks": [{"x": each["begins"], "label": f"stage {each['number']}"} for each in begun],
    }


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
        "layout": {"xaxis": axis, **_NATS},
        "log_y": True,
    }


def _lines(report: dict[str, Any], key: str, template: str) -> list[dict[str, Any]]:
    """Return each course's mean over steps or FLOPs, the range of its seeds behind it."""
    bands, lines = [], []
    for name, found in trained(report):
        along = [getattr(each, key) for each in found]
        steps = [each.step for each in found]
        common = {"type": "scatter", "mode": "lines", "x": along, "legendgroup": name}
        bare = {**common, "hoverinfo": "skip", "showlegend": False, "line": {"width": 0}}
        if any(each.high > each.low for each in found):
            filled = {"fill": "tonexty", "fillcolor": f"@{ROLES[name]}/0.14"}
            bands += [
                {**bare, "y": [each.low for each in found]},
                {**bare, "y": [each.high for each in found], **filled},
            ]
        shown = {"name": name, "text": name, "customdata": steps, "hovertemplate": template}
        lines.append({**common, **shown, "y": [each.mean for each in found], "line": _looks(name)})
    return [*bands, *lines]


def _looks(name: str) -> dict[str, Any]:
    return {"color": f"@{ROLES[name]}", "width": 2.6 if name == "adaptive" else 1.5}


def _depth(report: dict[str, Any]) -> Chart:
    data = []
    for course in reversed(first_seed(report)):
        stages, name = course["stages"], course["name"]
        steps = [*(each["begins"] for each in stages), course["steps"]]
        depths = [each["depth"] for each in stages]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "text": name,
                "x": steps,
                "y": [*depths, depths[-1]],
                "customdata": steps,
                "line": {**_looks(name), "shape": "hv"},
                "hovertemplate": "from step %{customdata:,}: %{y} layers<extra>%{text}</extra>",
            }
        )
    axis = {"title": {"text": "layers"}, "rangemode": "tozero"}
    return {
        "id": "depth",
        "title": "Depth",
        "note": "Layers over the training, under the first seed.",
        "table": "stages",
        "data": data,
        "layout": {"yaxis": axis},
        "steps": "linear",
        "marks": [],
    }
