"""The charts of a report in the browser, as plain data that plotly.js draws.

Colours are written as what they stand for (`@winner`): the page fills them in by its theme. Text
that plotly reads as markup is escaped; templates hold no name, they point at one.
"""

from html import escape
from typing import Any

from lagsearch.report.numbers.tables import is_priced, source_flops
from lagsearch.report.numbers.view import (
    came_to_lag,
    early_steps,
    growths,
    is_cut,
    noun,
    own_losses,
    varied,
)
from lagsearch.report.pictures.style import (
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

Chart = dict[str, Any]
"""`id`, `title`, `note`, `table`, plotly's `data` and `layout`; where x is a step, `steps`
says how they are drawn at first, `log` or `linear`."""

MARGINALS = 6
"""Settings whose values are drawn one by one, from the most important on."""


def charts(report: dict[str, Any]) -> list[Chart]:
    """Return the charts that the numbers allow, in reading order."""
    found = [_loss(report), _difference(report)]
    if report["oracle"]:
        found += [_early(report, step) for step in early_steps(report)]
        found += [_heat(report), _spearman(report), _recall(report), _regret(report)]
    if report["importance"]:
        found += [_importance(report), *_marginals(report)]
    return [*found, _flops(report), _cost(report)] if report["cost"] else found


def _chart(report: dict[str, Any], chart: Chart) -> Chart:
    """Add the lines that mark K and a change of phase to a chart over steps."""
    marks = [{"x": report["lag"], "label": "K"}]
    found = report["phase_transition"]
    if found and found["step"] is not None:
        marks.append({"x": found["step"], "label": "phase transition"})
    return {**chart, "steps": "log", "marks": marks}


def _line(report: dict[str, Any], candidate: dict[str, Any], seen: set[str]) -> dict[str, Any]:
    """Return the looks of a candidate's curve, named once in the legend for each role."""
    kind, name = role(report, candidate), escape(candidate["name"], quote=False)
    is_rest = kind == "rest"
    words = {"winner": "winner: ", "best": "best at completion: "}
    line = {"color": f"@{kind}", "width": {"winner": 2.6, "rest": 1}.get(kind, 1.8)}
    trace = {
        "type": "scatter",
        "mode": "lines",
        "name": f"other {noun(report)}s" if is_rest else f"{words.get(kind, '')}{name}",
        "text": name,
        "meta": candidate["name"],
        "legendgroup": kind if is_rest else name,
        "showlegend": not is_rest or kind not in seen,
        "line": {**line, **_dash(report, candidate)},
    }
    seen.add(kind)
    return trace


def _dash(report: dict[str, Any], candidate: dict[str, Any]) -> dict[str, str]:
    """Return how a line is broken: with random new layers, or a baseline that is not the first."""
    if has_random(candidate):
        return {"dash": "dash"}
    return {"dash": "dashdot"} if is_later(report, candidate) else {}


_OVER_STEPS = "step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"


def _curves(report: dict[str, Any], mean: dict[int, float] | None = None) -> list[dict[str, Any]]:
    """Return loss by step of what is drawn, the best last and so on top."""
    traces, seen = [], set[str]()
    for each in reversed(drawn(report)):
        losses = curve(each)
        steps = sorted(losses)
        values = [losses[step] for step in steps]
        if mean is not None:
            if each["is_baseline"]:
                continue
            steps = [step for step in steps if step in mean]
            values = [losses[step] - mean[step] for step in steps]
        over = {"x": steps, "y": values, "customdata": steps, "hovertemplate": _OVER_STEPS}
        traces.append({**_line(report, each, seen), **over})
    return traces


def _before_growth(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a level line for the own loss of each source."""
    last = max((step for each in drawn(report) for step in curve(each)), default=0)
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"source {escape(each['name'], quote=False)}, before growth",
            "text": f"source {escape(each['name'], quote=False)}, before growth",
            "x": [0, last],
            "y": [each["val_loss"]] * 2,
            "line": {"color": "@baseline", "width": 1, "dash": "dot"},
            "hovertemplate": "%{y:.4f}<extra>%{text}</extra>",
        }
        for each in own_losses(report)
    ]


def _loss(report: dict[str, Any]) -> Chart:
    dashes = any(has_random(each) for each in drawn(report))
    return _chart(
        report,
        {
            "id": "loss",
            "title": "Validation loss",
            "note": f"Candidates are ranked at K = {report['lag']:,}."
            + (" Dashed: with random new layers." if dashes else "")
            + (" A curve that ends before K was stopped." if is_cut(report) else "")
            + left_out(report),
            "table": "loss",
            "data": [*_before_growth(report), *_curves(report)],
            "layout": {"yaxis": {"title": {"text": "nats per token"}}},
            "log_y": True,
        },
    )


def _difference(report: dict[str, Any]) -> Chart:
    mean = mean_curve(came_to_lag(report))
    later = [step for step in mean if step >= min(20, max(mean, default=0) / 10)]
    away = [
        abs(each["val_loss"][str(step)] - mean[step])
        for each in growths(report)
        for step in later
        if str(step) in each["val_loss"]
    ]
    layout: dict[str, Any] = {"yaxis": {"title": {"text": "nats per token"}}}
    if max(away, default=0) > 0:
        layout["yaxis"]["range"] = [-1.1 * max(away), 1.1 * max(away)]
    return _chart(
        report,
        {
            "id": "difference",
            "title": f"Difference from the mean of all {noun(report)}s",
            "note": "Shows who overtakes whom."
            + (f" The mean is that of {noun(report)}s that came to K." if is_cut(report) else ""),
            "table": "loss",
            "data": _curves(report, mean),
            "layout": layout,
        },
    )


def _early(report: dict[str, Any], step: str) -> Chart:
    oracle, end = report["oracle"], str(report["steps"])
    names = set(oracle["scored"])
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for each in reversed(drawn(report)):
        if each["name"] in names:
            groups.setdefault((role(report, each), has_random(each)), []).append(each)
    is_best = oracle["candidate"] == report["winner"]["name"]
    winner = "winner at K, best at completion" if is_best else "winner at K"
    words = {"winner": winner, "best": "best at completion", "rest": noun(report)}
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": words[kind] + (", random new layers" if is_random else ""),
            "text": [escape(each["name"], quote=False) for each in found],
            "x": [each["val_loss"][step] for each in found],
            "y": [each["val_loss"][end] for each in found],
            "marker": {
                "color": f"@{kind}",
                "symbol": "square" if is_random else "circle",
                "size": 8 if kind == "rest" else 12,
                "line": {"color": "@card", "width": 1},
            },
            "hovertemplate": f"%{{text}}<br>step {step}: %{{x:.4f}}<br>step {end}: %{{y:.4f}}"
            "<extra></extra>",
        }
        for (kind, is_random), found in groups.items()
    ]
    values = [oracle[metric][step]["value"] for metric in ("spearman", "pearson")]
    shown = ["not defined" if value is None else f"{value:.2f}" for value in values]
    return {
        "id": "early_lag" if step == str(report["lag"]) else "early_0",
        "title": f"Loss at step {int(step):,} against the end",
        "note": f"Spearman {shown[0]}, Pearson {shown[1]}.{left_out(report)}",
        "table": "early_and_final",
        "data": data,
        "layout": {
            "xaxis": {"title": {"text": f"validation loss at step {int(step):,}"}},
            "yaxis": {"title": {"text": f"validation loss at step {int(end):,}"}},
        },
    }


def _heat(report: dict[str, Any]) -> Chart:
    found = report["oracle"]["rank_correlation"]
    steps = [f"{step:,}" for step in found["steps"]]
    heat = {
        "type": "heatmap",
        "x": steps,
        "y": steps,
        "z": found["matrix"],
        "zmin": -1,
        "zmax": 1,
        "colorscale": "@diverging",
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": [-1, -0.5, 0, 0.5, 1]},
        "hovertemplate": "steps %{x} and %{y}: %{z:.2f}<extra></extra>",
    }
    axis = {"type": "category", "title": {"text": "step"}, "showgrid": False}
    return {
        "id": "rank_correlation",
        "title": "Rank correlation of every two steps",
        "note": "Spearman's. A bright square in the upper corner: the order has settled.",
        "table": "rank_correlation",
        "data": [{**heat, "texttemplate": "%{z:.2f}"} if len(steps) <= 16 else heat],
        "layout": {"xaxis": axis, "yaxis": axis},
    }


def _by_step(scores: dict[str, Any], color: str) -> list[dict[str, Any]]:
    """Return a score and its interval by step."""
    known = {int(step): score for step, score in scores.items() if score["value"] is not None}
    steps = list(known)
    told = {step: score["interval"] for step, score in known.items() if score["interval"]}
    band = {
        "type": "scatter",
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "line": {"color": f"@{color}", "width": 0},
        "x": list(told),
    }
    return [
        {**band, "y": [low for low, _ in told.values()]},
        {
            **band,
            "y": [high for _, high in told.values()],
            "fill": "tonexty",
            "fillcolor": f"@{color}/0.16",
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "value",
            "showlegend": False,
            "line": {"color": f"@{color}", "width": 2},
            "x": steps,
            "y": [known[step]["value"] for step in steps],
            "customdata": steps,
            "text": [
                f"[{score['interval'][0]:.2f}, {score['interval'][1]:.2f}]"
                if score["interval"]
                else ""
                for score in known.values()
            ],
            "hovertemplate": "step %{customdata:,}: %{y:.2f} %{text}<extra></extra>",
        },
    ]


def _intervals(report: dict[str, Any]) -> str:
    over = varied(report)
    return f", with 95 % bootstrap intervals over {over}" if over else ""


def _spearman(report: dict[str, Any]) -> Chart:
    return _chart(
        report,
        {
            "id": "spearman",
            "title": "Rank correlation with the end",
            "note": f"Spearman's{_intervals(report)}.",
            "table": "recall_and_regret",
            "data": _by_step(report["oracle"]["spearman"], "best"),
            "layout": {"yaxis": {"range": [-1.05, 1.05], "title": {"text": "Spearman"}}},
        },
    )


def _recall(report: dict[str, Any]) -> Chart:
    data = []
    for place, (at, scores) in enumerate(report["oracle"]["recall"].items()):
        steps = [int(step) for step in scores]
        line = {"shape": "hv", "width": 2, "color": f"@shade{place}"}
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"m = {at}",
                "line": line,
                "x": steps,
                "y": [score["value"] for score in scores.values()],
                "lift": 0.012 * place,
                "customdata": steps,
                "text": [
                    "" if score["share"] is None else f": in {score['share']:.0%} of resamples"
                    for score in scores.values()
                ],
                "hovertemplate": "step %{customdata:,}%{text}<extra>%{fullData.name}</extra>",
            }
        )
    axis = {"tickvals": [0, 1], "ticktext": ["no", "yes"], "range": [-0.08, 1.12]}
    return _chart(
        report,
        {
            "id": "recall",
            "title": "Is the best among the m best so far?",
            "note": "Recall at m; lines that coincide are drawn a little apart.",
            "table": "recall_and_regret",
            "data": data,
            "layout": {"yaxis": axis},
        },
    )


def _regret(report: dict[str, Any]) -> Chart:
    chance = report["oracle"]["random_choice_relative_regret"]
    data = _by_step(report["oracle"]["relative_regret"], "winner")
    steps = data[-1]["x"]
    random = {
        "type": "scatter",
        "mode": "lines",
        "name": "a choice at random",
        "hovertemplate": "%{y:.2f}<extra>%{fullData.name}</extra>",
        "line": {"color": "@muted", "dash": "dot", "width": 1.4},
        "x": [min(steps, default=0), max(steps, default=1)],
        "y": [chance, chance],
    }
    return _chart(
        report,
        {
            "id": "regret",
            "title": "What choosing at a step gives away",
            "note": "Relative regret: the share of the spread of final losses"
            f"{_intervals(report)}.",
            "table": "recall_and_regret",
            "data": [random, *data],
            "layout": {"yaxis": {"range": [-0.05, 1.05], "title": {"text": "relative regret"}}},
        },
    )


def _importance(report: dict[str, Any]) -> Chart:
    found = report["importance"]
    dimensions = sorted(found["dimensions"], key=lambda each: each["importance"])
    bars = {
        "type": "bar",
        "orientation": "h",
        "marker": {"color": "@best"},
        "x": [each["importance"] for each in dimensions],
        "y": [escape(dimension_name(each), quote=False) for each in dimensions],
        "text": [f"p {each['p_value']:.2g}" for each in dimensions],
        "textposition": "auto",
        "hovertemplate": "%{y}: %{x:.0%}, %{text}<extra></extra>",
    }
    return {
        "id": "importance",
        "title": "Importance of the settings",
        "note": f"Share of the variance of losses at step {found['step']:,} that each explains "
        f"beyond chance ({found['evaluator']}), and the p-value of a permutation test.",
        "table": "importance",
        "data": [bars],
        "layout": {
            "height": 120 + 26 * len(dimensions),
            "xaxis": {"rangemode": "tozero", "tickformat": ".0%"},
            "yaxis": {"type": "category", "showgrid": False, "automargin": True},
        },
    }


def _marginals(report: dict[str, Any]) -> list[Chart]:
    """Return the losses at each value of the most important settings, and their means."""
    found = report["importance"]
    losses = {each["name"]: each["val_loss"] for each in report["candidates"]}
    best = sorted(found["dimensions"], key=lambda each: -each["importance"])[:MARGINALS]
    made = []
    for place, dimension in enumerate(best):
        values = dimension["values"]
        ends = [each["interval"] or [each["mean"]] * 2 for each in values]
        means = [each["mean"] for each in values]
        each_one = [
            (escape(str(value["value"]), quote=False), name)
            for value in values
            for name in value["candidates"]
        ]
        candidates = {
            "type": "scatter",
            "mode": "markers",
            "name": "candidates",
            "marker": {"color": "@rest", "size": 6},
            "x": [value for value, _ in each_one],
            "y": [losses[name][str(found["step"])] for _, name in each_one],
            "text": [escape(name, quote=False) for _, name in each_one],
            "hovertemplate": "%{text}: %{y:.4f}<extra></extra>",
        }
        points = {
            "type": "scatter",
            "mode": "markers",
            "name": "mean",
            "marker": {"color": "@best", "size": 9},
            "x": [escape(str(each["value"]), quote=False) for each in values],
            "y": means,
            "customdata": [each["n"] for each in values],
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [high - mean for (_, high), mean in zip(ends, means, strict=True)],
                "arrayminus": [mean - low for (low, _), mean in zip(ends, means, strict=True)],
                "color": "@best",
                "thickness": 1.2,
                "width": 4,
            },
            "hovertemplate": "%{x}: %{y:.4f}, of %{customdata}<extra></extra>",
        }
        made.append(
            {
                "id": f"marginal_{place}",
                "title": dimension_name(dimension),
                "note": f"Loss at step {found['step']:,} by its value: candidates, and their means "
                f"with 95 % intervals. Share {dimension['importance']:.0%}, "
                f"p {dimension['p_value']:.2g}.",
                "table": "importance",
                "data": [candidates, points],
                "layout": {
                    "height": 280,
                    "showlegend": False,
                    "xaxis": {"type": "category"},
                    "yaxis": {"title": {"text": "nats per token"}},
                },
            }
        )
    return made


def _flops(report: dict[str, Any]) -> Chart:
    savings, winner, seen = report["savings"], report["winner"]["name"], set[str]()
    against = ": growths against training from scratch" if savings else ""
    hover = {"hovertemplate": "%{x:.3s} FLOPs: %{y:.4f}<extra>%{text}</extra>"}
    data = []
    for each in reversed(drawn(report)):
        if not is_priced(report, each["name"]):
            continue
        flops, losses = flops_curve(each)
        line = _line(report, each, seen)
        line["line"] = {**line["line"], "dash": "dashdot" if is_later(report, each) else "solid"}
        data.append({**line, **hover, "x": flops, "y": losses})
        source = source_flops(report, each["name"])
        if each["name"] == winner and source:
            counted = {"name": "the same, its sources counted", "showlegend": True}
            dashed = {**line["line"], "dash": "dash"}
            moved = {"x": [spent + source for spent in flops], "y": losses, "line": dashed}
            data.append({**line, **hover, **counted, **moved})
    return {
        "id": "loss_and_flops",
        "title": "Loss against training FLOPs",
        "note": f"What a loss costs{against}.{left_out(report)}",
        "table": "loss_and_flops",
        "data": data,
        "layout": {
            "xaxis": {
                "type": "log",
                "title": {"text": f"training FLOPs ({report['cost']['counting']})"},
                "exponentformat": "power",
            },
            "yaxis": {"title": {"text": "nats per token"}},
        },
        "log_y": True,
    }


def _cost(report: dict[str, Any]) -> Chart:
    cost, lag = report["cost"], report["lag"]
    rows = [
        ("all to completion", cost["oracle_flops"], "rest"),
        ("winner, to completion", cost["winner_flops"], "winner"),
        (f"search, to step {lag:,}", cost["search_flops"], "best"),
        ("sources", cost["source_flops"], "baseline"),
    ]
    known = [row for row in rows if row[1] is not None]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [row[0] for row in known],
        "x": [row[1] for row in known],
        "marker": {"color": [f"@{row[2]}" for row in known]},
        "text": [f"{row[1]:.2e}" for row in known],
        "textposition": "auto",
        "hovertemplate": "%{y}: %{x:.3s} FLOPs<extra></extra>",
    }
    return {
        "id": "cost",
        "title": "Training FLOPs",
        "note": "Search and winner against training all candidates to completion.",
        "table": "cost",
        "data": [bars],
        "layout": {
            "height": 250,
            "xaxis": {"exponentformat": "power", "rangemode": "tozero", "nticks": 5},
            "yaxis": {"type": "category", "automargin": True, "showgrid": False},
        },
    }
