"""The pictures of one stage, from its numbers alone: of a report, or of one of its stages."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from lagsearch.report.numbers.tables import is_priced, source_flops
from lagsearch.report.numbers.view import (
    beside,
    came_to_lag,
    dimension_name,
    early_steps,
    first_step,
    flops_curve,
    growths,
    has_random,
    is_cut,
    is_grown,
    is_later,
    loss_by_step,
    mean_of_candidates,
    own_losses,
    role,
    say_not_shown,
    shown_candidates,
    steps_axis,
    varied,
)
from lagsearch.report.pictures.figures import draw_sheets
from lagsearch.report.pictures.fitted import Span, at_the_edge, cut_above, fitted_span, span_of
from lagsearch.report.pictures.picture import (
    Axis,
    Band,
    Bars,
    Dash,
    Heat,
    Line,
    Mark,
    Picture,
    Points,
    Sheet,
)

MARGINALS = 6
"""Settings whose values are drawn one by one in the browser, from the most important on."""

_NATS = "nats per token"
_NAMES = Axis(scale="category", has_grid=False)
_WORTH = "recall_and_regret"
_OVER_STEPS = "step %{customdata:,}: %{y:.4f}<extra>%{text}</extra>"

_Curve = tuple[list[float], list[float]]
"""Steps or FLOPs, and losses."""


def stage_pictures(report: dict[str, Any]) -> list[Picture]:
    """Return the pictures for the browser that the numbers allow, in reading order."""
    found = [_loss(report), _difference(report)]
    if report["oracle"]:
        shown = shown_candidates(report)
        found += [_early(report, step, shown) for step in early_steps(report)]
        found += [_heat(report), _spearman(report), _recall(report), _regret(report)]
    if report["importance"]:
        dimensions = report["importance"]["dimensions"]
        best = sorted(dimensions, key=lambda each: -each["importance"])[:MARGINALS]
        found += [_importance(report)]
        found += [_marginal(report, each, place) for place, each in enumerate(best)]
    return [*found, _flops(report), _cost(report)] if report["cost"] else found


def draw_stage(report: dict[str, Any], folder: Path, width: float) -> list[tuple[str, str]]:
    """Draw all figures that the numbers allow.

    Args:
        report: As `report.json`.
        folder: Where to put them.
        width: Of the figures, in inches.

    Returns:
        File name of the PNG, and caption, of each in reading order; SVG and PDF lie beside.
    """
    return draw_sheets(stage_sheets(report), folder, width)


def stage_sheets(report: dict[str, Any]) -> list[Sheet]:
    """Return the figures for paper that the numbers allow, in reading order."""
    loss, difference = _loss(report), _difference(report)
    told = (
        "Validation loss by step, and its difference from the mean of all candidates, which shows "
        f"which ones overtake which. Candidates are ranked at K = {report['lag']:,}."
        f"{_say_cut(report)}{_say_beyond(loss, difference)}{say_not_shown(report)}"
    )
    found = [Sheet("loss", told, [loss, difference])]
    if report["oracle"]:
        found += _oracle_sheets(report)
    if report["savings"] or beside(report):
        picture = _flops(report)
        counted = ", without and with those of the source" if report["savings"] else ""
        told = f"Validation loss by training FLOPs{counted}.{_say_beyond(picture)}"
        told += say_not_shown(report)
        found.append(Sheet("loss_and_flops", told, [picture], 2.8, widest=4.8))
    return [*found, _importance_sheet(report)] if report["importance"] else found


def _oracle_sheets(report: dict[str, Any]) -> list[Sheet]:
    lag, scored = report["lag"], set(report["oracle"]["scored"])
    every = [each for each in report["candidates"] if each["name"] in scored]
    early = [_early(report, step, every) for step in early_steps(report)]
    first = [picture(report, lag) for picture in (_heat, _spearman, _recall, _regret)]
    captions = (
        f"{_say_first(report)}at K = {lag:,} against the final loss (step {report['steps']:,}): "
        f"Figure 2 of the LAG paper (arXiv:2406.02469).{_say_beyond(*early)}",
        f"The first {lag:,} steps: rank correlation between every two, rank correlation with the "
        "final loss, recall and relative regret: Figure 3 of the LAG paper.",
        "Quality of the ranking at each step: whether the best candidate is among the first m, and "
        f"the relative regret of choosing there{_say_intervals(report)}.",
        "Spearman's rank correlation between every two steps.",
    )
    worth = [_recall(report), _regret(report)]
    return [
        Sheet("early_and_final", captions[0], early, widest=3.4 * len(early)),
        Sheet("first_steps", captions[1], first, columns=2, stacked=(2.9, 1.25, 1.05, 1.25)),
        Sheet("recall_and_regret", captions[2], worth),
        Sheet("rank_correlation", captions[3], [_heat(report)], 2.9, widest=3.4),
    ]


def _say_beyond(*pictures: Picture) -> str:
    """Say what axes leave out."""
    return "".join(f" {each}" for each in dict.fromkeys(each.beyond for each in pictures) if each)


def _importance_sheet(report: dict[str, Any]) -> Sheet:
    """Return a marginal picture for each dimension of the design space."""
    found = report["importance"]
    dimensions, losses = found["dimensions"], _losses_at(report, found["step"])
    values = [value for each in dimensions for value in each["values"]]
    longest = min(32, max(len(value["value"]) for value in values))
    shown = [losses[name] for value in values for name in value["candidates"]]
    low, high = min(shown), max(shown)
    room = 0.15 * (high - low) or 1e-6  # candidates are all in view, wide intervals are cut
    columns = min(3, len(dimensions))
    pictures = [_marginal(report, each, place) for place, each in enumerate(dimensions)]
    ends = fitted_span(shown) or (low - room, high + room)
    told = f"Loss at step {found['step']:,} by each setting: candidates, and their means with "
    told += f"95 % intervals.{_say_beyond(*pictures)}"
    height, widest = 1.9 + 0.045 * longest, 2.25 * columns + 0.4
    return Sheet("importance", told, pictures, height, columns, None, True, ends, widest)


def _losses_at(report: dict[str, Any], step: int) -> dict[str, Any]:
    return {each["name"]: each["val_loss"].get(str(step)) for each in report["candidates"]}


def _say_first(report: dict[str, Any]) -> str:
    if len(early_steps(report)) == 1:
        return "Loss "
    return (
        f"Loss {'right after growth' if is_grown(report) else f'at step {first_step(report)}'} and "
    )


def _say_intervals(report: dict[str, Any]) -> str:
    over = varied(report)
    return f", with 95 % bootstrap intervals over {over}" if over else ""


def _say_cut(report: dict[str, Any]) -> str:
    """Say that some curves end early, and whose mean differences are from."""
    if not is_cut(report):
        return ""
    return (
        " A curve that ends before K was stopped; the mean is over the candidates that reached K."
    )


def _steps(report: dict[str, Any], last: float = inf) -> Axis:
    """Return the axis of steps: all of them, or the first ones."""
    if last == inf:
        return Axis(steps_axis(report), "log_steps")
    return Axis(steps_axis(report), "steps", span=(0, max(last, 1) * 1.01))


def _marks(report: dict[str, Any]) -> list[Mark]:
    """Mark K, and where the ranking changes its phase if that is known."""
    marks = [Mark(report["lag"], "K", f"K = {report['lag']:,}")]
    found = report["phase_transition"]
    if found and found["step"] is not None:
        named = "phase transition"
        marks.append(Mark(found["step"], named, named, "best", "dashdot"))
    return marks


def _lines(
    report: dict[str, Any], curve_of: Callable[[dict[str, Any]], _Curve | None]
) -> list[Line]:
    """Return a line for each candidate that is shown, the best last and so on top."""
    lines: list[Line] = []
    for each in reversed(shown_candidates(report)):
        if (curve := curve_of(each)) is None:
            continue
        kind, name = role(report, each), each["name"]
        words = {"winner": f"winner: {name}", "best": f"best final loss: {name}"}
        is_rest, is_random = kind == "rest", has_random(each)
        words["rest"] = f"other candidates{', random new layers' if is_random else ''}"
        line = Line(
            words.get(kind, name),
            kind,
            *curve,
            text=name,
            candidate=name,
            group=words["rest"] if is_rest else name,
            in_legend=not is_rest or all(line.group != words["rest"] for line in lines),
            width={"winner": 2.6, "rest": 1}.get(kind, 1.8),
            dash=_dash(report, each),
        )
        lines.append(line)
    return lines


def _dash(report: dict[str, Any], candidate: dict[str, Any]) -> Dash:
    """Tell random new layers, and baselines after the first, by how a line is broken."""
    if has_random(candidate):
        return "dash"
    return "dashdot" if is_later(report, candidate["name"]) else ""


def _over_steps(report: dict[str, Any], mean: dict[int, float] | None = None) -> list[Line]:
    """Return loss by step of what is shown, or its difference from a mean."""

    def curve_of(candidate: dict[str, Any]) -> _Curve | None:
        losses = sorted(loss_by_step(candidate).items())
        if mean is None:
            return [step for step, _ in losses], [loss for _, loss in losses]
        if candidate["is_baseline"]:
            return None
        away = [(step, loss - mean[step]) for step, loss in losses if step in mean]
        return [step for step, _ in away], [loss for _, loss in away]

    found = _lines(report, curve_of)
    return [replace(line, hover=_OVER_STEPS, steps=list(map(int, line.x))) for line in found]


def _before_growth(report: dict[str, Any]) -> list[Line]:
    """Return a level line for the own loss of each source."""
    shown = shown_candidates(report)
    last = max((step for each in shown for step in loss_by_step(each)), default=0)
    found = [(f"source {each['name']}, before growth", each) for each in own_losses(report)]
    looks: dict[str, Any] = {"width": 1, "dash": "dot", "hover": "%{y:.4f}<extra>%{text}</extra>"}
    return [
        Line(name, "baseline", [0, last], [each["val_loss"]] * 2, text=name, **looks)
        for name, each in found
    ]


def _loss(report: dict[str, Any]) -> Picture:
    note = f"Candidates are ranked at K = {report['lag']:,}."
    if any(map(has_random, shown_candidates(report))):
        note += " Dashed: with random new layers."
    if is_cut(report):
        note += " A curve that ends before K was stopped."
    if len(report["seeds"]) > 1:
        note += f" Means of {len(report['seeds'])} seeds"
        first = None if report["oracle"] else report["winner"]["seed"]
        note += "." if first is None else f"; after K, the winner's curve is that of seed {first}."
    note += say_not_shown(report)
    steps, lines = _steps(report), [*_before_growth(report), *_over_steps(report)]
    shown = ("loss", steps, Axis(_NATS), lines, _marks(report))
    picture = Picture("loss", "Validation loss", note, *shown, can_be_log=True)
    return _fitted_lines(report, picture)


def _fitted_lines(report: dict[str, Any], picture: Picture) -> Picture:
    """Fit the second axis of losses to winner, best, and what others do from K on, and say so."""
    named: list[float] = []
    others: list[float] = []
    for each in growths(report):
        if role(report, each) in ("winner", "best"):
            named += loss_by_step(each).values()
        else:
            others += [loss for step, loss in loss_by_step(each).items() if step >= report["lag"]]
    every = [value for line in picture.shapes if isinstance(line, Line) for value in line.y]
    near = fitted_span(named + others, named)
    return cut_above(picture, span_of(near or named + others, every))


def _difference(report: dict[str, Any]) -> Picture:
    """Show which candidates overtake which, as wide as differences are after the first jumps."""
    mean = mean_of_candidates(came_to_lag(report))
    away: dict[bool, list[float]] = {True: [], False: []}
    for each in growths(report):
        away[role(report, each) in ("winner", "best")] += [
            loss - mean[step]
            for step, loss in loss_by_step(each).items()
            if step >= report["lag"] / 10 and step in mean
        ]
    every = away[True] + away[False]
    lines = _over_steps(report, mean)
    whole = [value for line in lines for value in line.y]
    ends = fitted_span(every, away[True]) or span_of(every, whole)
    widest = 1.1 * max(map(abs, ends or every), default=0)
    is_cut_off = widest > 0 and max(map(abs, whole), default=0) > widest
    y = Axis(_NATS, span=(-widest, widest) if widest > 0 else None)
    note = "Shows which candidates overtake which."
    note += " The mean is over the candidates that reached K." if is_cut(report) else ""
    beyond = f"Differences of more than {widest:.3f} nats are cut off." if is_cut_off else ""
    shown = ("loss", _steps(report), y, lines, _marks(report))
    title = "Difference from the mean of all candidates"
    return Picture("difference", title, note, *shown, beyond=beyond)


def _early(report: dict[str, Any], step: str, candidates: list[dict[str, Any]]) -> Picture:
    """Show the loss at an early step against the final one, of some candidates."""
    oracle, end, names = report["oracle"], str(report["steps"]), set(report["oracle"]["scored"])
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for each in reversed(candidates):
        if each["name"] in names:
            groups.setdefault((role(report, each), has_random(each)), []).append(each)
    is_best = oracle["candidate"] == report["winner"]["name"]
    winner = "winner at K, best final loss" if is_best else "winner at K"
    words = {"winner": winner, "best": "best final loss", "rest": "other candidates"}
    points = [
        Points(
            words[kind] + (", random new layers" if is_random else ""),
            kind,
            [each["val_loss"][step] for each in found],
            [each["val_loss"][end] for each in found],
            f"%{{text}}<br>step {step}: %{{x:.4f}}<br>step {end}: %{{y:.4f}}<extra></extra>",
            text=[each["name"] for each in found],
            symbol="square" if is_random else "circle",
            size=8 if kind == "rest" else 12,
        )
        for (kind, is_random), found in groups.items()
    ]
    values = [oracle[metric][step]["value"] for metric in ("spearman", "pearson")]
    shown = ["not defined" if value is None else f"{value:.2f}" for value in values]
    told = f"Spearman {shown[0]}, Pearson {shown[1]}"
    key = "early_lag" if step == str(report["lag"]) else "early_0"
    title, note = (
        f"Loss at step {int(step):,} against the final loss",
        f"{told}.{say_not_shown(report)}",
    )
    x, y = (Axis(f"validation loss at step {int(each):,}") for each in (step, end))
    paper_title = f"step {int(step):,}: {told}"
    picture = Picture(key, title, note, "early_and_final", x, y, points, paper_title=paper_title)
    ends = [_fitted_losses(report, candidates, each) for each in (step, end)]
    return at_the_edge(picture, *ends)


def _fitted_losses(
    report: dict[str, Any], candidates: list[dict[str, Any]], step: str
) -> Span | None:
    """Return the ends of an axis of losses at a step, the winner's and the best's in view."""
    scored = set(report["oracle"]["scored"])
    every = [each for each in candidates if each["name"] in scored]
    kept = [each["val_loss"][step] for each in every if role(report, each) in ("winner", "best")]
    return fitted_span([each["val_loss"][step] for each in every], kept)


def _heat(report: dict[str, Any], last: float = inf) -> Picture:
    found, title = report["oracle"]["rank_correlation"], "Rank correlation between steps"
    note = "Spearman's. A dark blue square in the upper right corner: the ranking has settled."
    steps = [step for step in found["steps"] if step <= last]
    names = [f"{step:,}" for step in steps]
    heat = Heat(names, names, [row[: len(steps)] for row in found["matrix"][: len(steps)]])
    axis, lag = Axis("step", "category", has_grid=False), report["lag"]
    marks = [Mark(steps.index(lag), "K", f"K = {lag:,}")] if lag in steps[:-1] else []
    key = "rank_correlation"
    return Picture(key, title, note, key, axis, axis, [heat], marks)


def _by_step(scores: dict[str, Any], name: str, role: str, last: float) -> list[Band | Line]:
    """Return a score and its interval by step."""
    every = {int(step): score for step, score in scores.items() if int(step) <= last}
    known = {step: score for step, score in every.items() if score["value"] is not None}
    told = {step: score["interval"] for step, score in known.items() if score["interval"]}
    ends = [score["interval"] for score in known.values()]
    line = Line(
        name,
        role,
        list(known),
        [score["value"] for score in known.values()],
        "step %{customdata:,}: %{y:.2f} %{text}<extra></extra>",
        steps=list(known),
        text=[f"[{each[0]:.2f}, {each[1]:.2f}]" if each else "" for each in ends],
        width=2,
        has_points=True,
    )
    lows, highs = ([each[end] for each in told.values()] for end in (0, 1))
    band = Band(role, list(told), lows, highs, name="95 % interval")
    return [band, line] if told else [line]


def _spearman(report: dict[str, Any], last: float = inf) -> Picture:
    title, note = "Rank correlation with the final loss", f"Spearman's{_say_intervals(report)}."
    y = Axis("Spearman", span=(-1.05, 1.05))
    shapes = _by_step(report["oracle"]["spearman"], "Spearman", "best", last)
    shown = (_WORTH, _steps(report, last), y, shapes, _marks(report))
    return Picture("spearman", title, note, *shown)


def _recall(report: dict[str, Any], last: float = inf) -> Picture:
    lines = []
    for place, (at, scores) in enumerate(report["oracle"]["recall"].items()):
        found = {int(step): score for step, score in scores.items() if int(step) <= last}
        shares = [score["share"] for score in found.values()]
        line = Line(
            f"m = {at}",
            f"shade{place}",
            list(found),
            [score["value"] for score in found.values()],
            "step %{customdata:,}%{text}<extra>%{fullData.name}</extra>",
            steps=list(found),
            text=["" if each is None else f": in {each:.0%} of resamples" for each in shares],
            width=2,
            is_stair=True,
            lift=0.012 * place,
        )
        lines.append(line)
    title = "Recall of the best candidate"
    note = "Whether the best final loss is among the m best candidates at a step; lines that "
    note += "coincide are drawn a little apart."
    y = Axis(span=(-0.08, 1.12), ticks={0: "no", 1: "yes"})
    shown = (_WORTH, _steps(report, last), y, lines, _marks(report))
    return Picture("recall", title, note, *shown)


def _regret(report: dict[str, Any], last: float = inf) -> Picture:
    chance = report["oracle"]["random_choice_relative_regret"]
    found = _by_step(report["oracle"]["relative_regret"], "relative regret", "winner", last)
    ends = [min(found[-1].x, default=0), max(found[-1].x, default=1)]
    hover, name = "%{y:.2f}<extra>%{fullData.name}</extra>", "random choice"
    random = Line(name, "muted", ends, [chance, chance], hover, width=1.4, dash="dot")
    y = Axis("relative regret", span=(-0.05, 1.05))
    shown = (_WORTH, _steps(report, last), y, [random, *found], _marks(report))
    note = (
        "Final loss of the candidate that is best at a step, less the best one, as a share of the "
    )
    note += f"range of final losses{_say_intervals(report)}."
    return Picture("regret", "Relative regret by step", note, *shown)


def _importance(report: dict[str, Any]) -> Picture:
    found = report["importance"]
    dimensions = sorted(found["dimensions"], key=lambda each: each["importance"])
    bars = Bars(
        [dimension_name(each) for each in dimensions],
        [each["importance"] for each in dimensions],
        [f"p {each['p_value']:.2g}" for each in dimensions],
        "best",
        "%{y}: %{x:.0%}, %{text}<extra></extra>",
    )
    title, x = "Importance of the settings", Axis(from_zero=True, numbers="share")
    note = (
        f"Share of the variance of losses at step {found['step']:,} that each explains "
        f"beyond chance ({found['evaluator']}), and the p-value of a permutation test."
    )
    shown = ("importance", x, _NAMES, [bars])
    return Picture("importance", title, note, *shown, height=120 + 26 * len(dimensions))


def _marginal(report: dict[str, Any], dimension: dict[str, Any], place: int) -> Picture:
    """Show the losses at each value of a setting, and their means."""
    name = dimension_name(dimension)
    told = f"{dimension['importance']:.0%}, p {dimension['p_value']:.2g}"
    note = (
        f"Loss at step {report['importance']['step']:,} by value: candidates, and their means "
        f"with 95 % intervals. Share {told}."
    )
    points, x = [_candidates(report, dimension), _means(dimension)], Axis(scale="category")
    shown = (f"marginal_{place}", name, note, "importance", x, Axis(_NATS), points)
    picture = Picture(*shown, legend="none", height=280, paper_title=f"{name}\nshare {told}")
    losses = _losses_at(report, report["importance"]["step"])
    dimensions = report["importance"]["dimensions"]
    named = [
        name for each in dimensions for value in each["values"] for name in value["candidates"]
    ]
    return at_the_edge(picture, None, fitted_span([losses[each] for each in named]))


def _candidates(report: dict[str, Any], dimension: dict[str, Any]) -> Points:
    losses = _losses_at(report, report["importance"]["step"])
    values = dimension["values"]
    pairs = [(each["value"], name) for each in values for name in each["candidates"]]
    return Points(
        "candidates",
        "rest",
        [str(value) for value, _ in pairs],
        [losses[name] for _, name in pairs],
        "%{text}: %{y:.4f}<extra></extra>",
        text=[name for _, name in pairs],
    )


def _means(dimension: dict[str, Any]) -> Points:
    values = dimension["values"]
    ends = [each["interval"] or [each["mean"]] * 2 for each in values]
    return Points(
        "mean, 95 % interval",
        "best",
        [str(each["value"]) for each in values],
        [each["mean"] for each in values],
        "%{x}: %{y:.4f}, of %{customdata}<extra></extra>",
        counts=[each["n"] for each in values],
        size=9,
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
    )


def _flops(report: dict[str, Any]) -> Picture:
    winner = report["winner"]["name"]
    lines: list[Line] = []
    for line in _lines(report, lambda each: _priced_curve(report, each)):
        hover = "%{x:.3s} FLOPs: %{y:.4f}<extra>%{text}</extra>"
        shown = replace(line, hover=hover, dash=line.dash or "solid")
        lines.append(shown)
        source = source_flops(report, str(line.candidate))
        if line.candidate == winner and source:
            counted = replace(shown, name="winner, its source included", in_legend=True)
            moved = [spent + source for spent in line.x]
            lines.append(replace(counted, x=moved, dash="dot" if line.dash else "dash"))
    against = ": grown candidates against training from scratch" if report["savings"] else ""
    note = f"The training FLOPs that a loss takes{against}.{say_not_shown(report)}"
    x = Axis(f"training FLOPs ({report['cost']['counting']})", "log", numbers="power")
    title, key = "Loss by training FLOPs", "loss_and_flops"
    picture = Picture(key, title, note, key, x, Axis(_NATS), lines, can_be_log=True)
    return _fitted_lines(report, picture)


def _priced_curve(report: dict[str, Any], candidate: dict[str, Any]) -> _Curve | None:
    return flops_curve(candidate) if is_priced(report, candidate["name"]) else None


def _cost(report: dict[str, Any]) -> Picture:
    cost = report["cost"]
    rows = [
        (f"every candidate, to step {report['steps']:,}", cost["oracle_flops"], "rest"),
        (f"winner, on to step {report['steps']:,}", cost["winner_flops"], "winner"),
        (f"search, to step {report['lag']:,}", cost["search_flops"], "best"),
        ("sources", cost["source_flops"], "baseline"),
    ]
    names, values, roles = zip(*(row for row in rows if row[1] is not None), strict=True)
    texts, hover = [f"{each:.2e}" for each in values], "%{y}: %{x:.3s} FLOPs<extra></extra>"
    x, bars = Axis(from_zero=True, numbers="power"), Bars(names, values, texts, roles, hover)
    note = "Search and winner, against training every candidate to the final step."
    return Picture("cost", "Training FLOPs", note, "cost", x, _NAMES, [bars], height=250)
