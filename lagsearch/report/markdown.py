"""`report.md`: the numbers as a page that reads alone."""

from html import escape
from typing import Any

from lagsearch.operators.plan import legend
from lagsearch.progress import clock
from lagsearch.report.times import tell_times
from lagsearch.report.verdict import dimension_name, judge, varied
from lagsearch.selection import holm


def write_page(report: dict[str, Any], figures: list[tuple[str, str]]) -> str:
    """Return the page.

    Args:
        report: As `report.json`.
        figures: File name and caption of each figure.
    """
    parts = [
        f"# {report['name']}",
        "\n".join(f"**{escape(line, quote=False)}**  " for line in judge(report).lines),
        "\n".join(_source(each) for each in report["sources"]),
        _ranking(report),
        *(f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in figures[:1]),
    ]
    if report["oracle"]:
        parts += [_table_one(report), _scores(report)]
    parts += [f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in figures[1:]]
    if report["importance"]:
        parts.append(_importance(report))
    if report["savings"]:
        parts.append(_savings(report))
    if any("val_loss_parts" in each for each in report["candidates"]):
        parts.append(_objective(report))
    if report["harness"]:
        parts.append(_downstream(report))
    parts += [_cost(report), *_times(report), _reading(report)]
    return "\n\n".join(parts) + "\n"


def _source(source: dict[str, Any]) -> str:
    if source["kind"] == "checkpoint":
        kept = "it brings no optimizer state, so the optimizer starts from zero"
        return f"Source `{source['name']}`: a checkpoint; {kept}."
    trained = f"trained {source['steps']:,} steps, validation loss {source['val_loss']:.4f}"
    return f"Source `{source['name']}`: {trained}."


def _ranking(report: dict[str, Any]) -> str:
    lag, steps = str(report["lag"]), str(report["steps"])
    tied = set(report["doubt"]["indistinguishable_from_winner"])
    best = report["winner"]["val_loss"][lag]
    has_average = any("val_loss_ema" in each for each in report["candidates"])
    rows = []
    for each in report["candidates"]:
        losses = each["val_loss"]
        is_ok = each["status"] == "ok"
        error = each["val_loss_se"].get(lag)
        row = [
            _rank(each),
            f"`{each['name']}`" + (" (baseline)" if each["is_baseline"] else ""),
            each["layer_map"],
            _loss(losses.get("0")),
            (_loss(losses.get(lag)) + (f" ± {error:.4f}" if error else "")) if is_ok else "failed",
            f"{losses[lag] - best:+.4f}" if is_ok else "",
            "=" if each["name"] in tied else "",
            "" if each["p_best"] is None else _probability(each["p_best"]),
        ]
        if has_average:
            row.append(_loss(each.get("val_loss_ema", {}).get(lag)))
        if report["oracle"]:
            row.append(_loss(losses.get(steps)))
        rows.append(row)
    head = ["rank", "candidate", "layers", "loss at 0", f"loss at {lag}", "to the winner", "tied"]
    head.append("best")
    head += [f"average's at {lag}"] if has_average else []
    head += [f"loss at {steps}"] if report["oracle"] else []
    marks = legend((each["layer_map"] for each in report["candidates"]), "`")
    layers = (
        f"{marks}. ± is the standard error over {varied(report)}; most of it is shared by all "
        "candidates, so differences are surer than it says. `=`: cannot be told apart from the "
        "winner. In parentheses the ranks that a candidate may have (95 % interval); best: the "
        f"probability to be the best of them. Both over {varied(report)}."
    )
    return f"## Ranking at step {lag}\n\n{_grid(head, rows)}\n\n{layers}"


def _table_one(report: dict[str, Any]) -> str:
    rows = [
        [
            each["name"],
            f"`{each['candidate']}`",
            f"{each['final_val_loss']:.4f}",
            f"{each['regret']:.4f}",
            f"{each['relative_regret']:.4f}",
        ]
        for each in report["baselines"]
    ]
    head = ["strategy", "candidate", "final validation loss", "regret", "relative regret"]
    note = "A choice at random has a relative regret of "
    chance = report["oracle"]["random_choice_relative_regret"]
    return (
        f"## What each strategy comes to\n\n{_grid(head, rows)}\n\n{note}{chance:.4f} on average."
    )


def _scores(report: dict[str, Any]) -> str:
    oracle = report["oracle"]
    rows = []
    for step in oracle["spearman"]:
        row = [f"**{step}**" if int(step) == report["lag"] else step]
        for metric in ("spearman", "pearson", "regret", "relative_regret"):
            row.append(_score(oracle[metric][step], 4 if metric == "regret" else 2))
        row += [_recall(scores[step]) for scores in oracle["recall"].values()]
        rows.append(row)
    head = ["step", "Spearman", "Pearson", "regret", "relative regret"]
    head += [f"recall@{at}" for at in oracle["recall"]]
    count = len(oracle["scored"])
    note = (
        f"Loss at each step against the loss at step {report['steps']}, over the {count} growths "
        f"that got there; in brackets 95 % bootstrap intervals over {varied(report)}."
        + (" They do not hold what another seed would change." if len(report["seeds"]) < 2 else "")
        + " Where more than half of the variance between candidates is noise, a correlation and "
        "relative regret are not known, and their interval is the whole range. Recall is 1 "
        "where the best is among so many; in parentheses the share of the resamples where it is."
    )
    return f"## What the ranking at each step was worth\n\n{_grid(head, rows)}\n\n{note}"


def _importance(report: dict[str, Any]) -> str:
    """What decides the loss, a row for each dimension of the design space."""
    found = report["importance"]
    dimensions = found["dimensions"]
    rows = [
        [
            f"`{dimension_name(each)}`",
            f"{each['importance']:.0%}",
            f"{each['p_value']:.2g}",
            ", ".join(
                f"{value['value']} {value['mean']:.4f} ({value['n']})"
                for value in sorted(each["values"], key=lambda value: float(value["mean"]))
            ),
        ]
        for each in sorted(dimensions, key=lambda each: each["p_value"])
    ]
    p_values = {dimension_name(each): each["p_value"] for each in dimensions}
    decides = holm(p_values)
    if decides:
        named = ", ".join(f"`{name}`" for name in p_values if name in decides)
        line = f"What decides the loss at step {found['step']:,}: {named} (Holm-corrected, 5 %)."
    else:
        line = f"No setting is shown to decide the loss at step {found['step']:,}."
    note = (
        "Share: of the variance of the losses, what the setting alone explains beyond chance "
        f"({found['evaluator']}, over the candidates of its operator; `operator`: over all "
        "growths); settings that vary together share it. p: how often losses dealt out at random "
        "would give as much. Means are over the candidates with a value, their number in "
        "parentheses."
    )
    head = ["setting", "share", "p", "mean loss by value"]
    return f"## What decides the loss\n\n{line}\n\n{_grid(head, rows)}\n\n{note}"


def _savings(report: dict[str, Any]) -> str:
    """What growths save against training from scratch; a negative number is a loss."""
    savings = report["savings"]
    ranks = {each["name"]: each["rank"] for each in report["candidates"]}
    rows = []
    for name in sorted(savings["growths"], key=lambda name: ranks[name]):
        entry = savings["growths"][name]
        row = [f"`{name}`", f"{entry['val_loss']:.4f}"]
        for unit in ("flops", "tokens"):
            for way in ("growth", "with_sources", "with_search"):
                row.append(_percent(entry[unit][f"{way}_speed_up"], entry["is_bound"]))
        row.append(_percent(entry["flops"]["with_sources_saving"], entry["is_bound"]))
        rows.append(row)
    ways = ["growth alone", "with its source", "and the search"]
    head = ["candidate", "equal loss", *(f"FLOPs: {way}" for way in ways)]
    head += [*(f"tokens: {way}" for way in ways), "FLOPs saved, with its source"]
    note = (
        f"Speed-up at equal validation loss against `{savings['baseline']}`, trained "
        f"{savings['steps']:,} steps: its spending until it reaches that loss, divided by the "
        "growth's, less one. The loss is the one that both come to, of curves smoothed so that "
        "they never rise; ≥: the baseline never came to it, and what it spent in all is counted. A "
        "negative number is a slow-down. The search is all candidates' training "
        f"to step {report['lag']}."
    )
    return f"## What growing saves\n\n{_grid(head, rows)}\n\n{note}"


def _objective(report: dict[str, Any]) -> str:
    """The loss of each part of the objective at K, and at completion where it was reached."""
    measured = [each for each in report["candidates"] if "val_loss_parts" in each]
    names = list(measured[0]["val_loss_parts"])
    steps = [str(report["lag"]), *([str(report["steps"])] if report["oracle"] else [])]
    rows = [
        [
            f"`{each['name']}`",
            *(_loss(each["val_loss_parts"][name].get(step)) for step in steps for name in names),
        ]
        for each in measured
    ]
    head = ["candidate", *(f"{name} at {step}" for step in steps for name in names)]
    note = "The whole is their mean, each part weighted as in `objective.weights`."
    return f"## The parts of the objective\n\n{_grid(head, rows)}\n\n{note}"


def _percent(value: float | None, is_bound: bool) -> str:
    return "not known" if value is None else f"{'≥ ' if is_bound else ''}{value:+.0%}"


def _downstream(report: dict[str, Any]) -> str:
    """Return the downstream tasks, candidates under one another."""
    harness = report["harness"]
    measures = list(dict.fromkeys(map(_measure, harness["results"])))
    results = sorted(harness["results"], key=lambda row: measures.index(_measure(row)))
    rows = [
        [
            f"`{row['task']}`",
            _metric(row),
            f"`{row['candidate']}`",
            _value(row),
            "" if row["samples"] is None else f"{row['samples']:,}",
            "" if row["num_fewshot"] is None else str(row["num_fewshot"]),
        ]
        for row in results
    ]
    head = ["task", "metric", "candidate", "value", "documents", "examples in a prompt"]
    versions = ", ".join(sorted({row["lm_eval"] for row in results}))
    notes = (
        f"Of the weights at completion, by lm-evaluation-harness {versions}. ± is the "
        "standard error over the documents. ↑: higher is better, ↓: lower."
    )
    if any(row["is_truncated"] for row in results):
        notes += " ✂: there were prompts of more tokens than the model takes, cut from the left."
    parts = ["## Downstream tasks"]
    parts += [_grid(head, rows), notes] if rows else []
    if harness["failures"]:
        reasons = (escape(each["reason"], quote=False) for each in harness["failures"])
        parts.append("Not evaluated; `lagsearch run` tries again:")
        parts.append("\n".join(f"- {reason}" for reason in dict.fromkeys(reasons)))
    return "\n\n".join(parts)


def _measure(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what candidates are compared in."""
    return tuple(row[key] for key in ("task", "num_fewshot", "limit", "metric", "filter"))


def _metric(row: dict[str, Any]) -> str:
    used_filter = "" if row["filter"] == "none" else f" ({row['filter']})"
    arrow = {True: " ↑", False: " ↓"}.get(row["higher_is_better"], "")
    return f"{row['metric']}{used_filter}{arrow}"


def _value(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "not defined"
    error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.4f}"
    return f"{row['value']:.4f}{error}" + (" ✂" if row["is_truncated"] else "")


_COUNTED = {
    "full": "attention counted in full",
    "causal": "half of attention counted, as it is causal",
    "calflops": "attention not counted, as calflops does where it is written with `@`",
    "6nd": "6 N D without embeddings and head",
}


def _cost(report: dict[str, Any]) -> str:
    cost = report["cost"]
    wall = cost["wall_s"]
    further = []
    if cost["baseline_flops"]:
        time = clock(wall.get("baselines", 0.0))
        further.append(["baselines, beyond completion", _flops(cost["baseline_flops"]), time])
    rows = [
        ["source", _flops(cost["source_flops"]), clock(wall["sources"])],
        [f"search, all to step {report['lag']}", _flops(cost["search_flops"]), _search(report)],
        ["winner, from there to completion", _flops(cost["winner_flops"]), _winner(report)],
        *further,
        ["all candidates to completion", _flops(cost["oracle_flops"]), _oracle_wall(report)],
    ]
    spent = cost["search_flops"] + cost["winner_flops"]
    share = f"Search and winner took {spent / cost['oracle_flops']:.0%} of the training FLOPs of "
    counted = _COUNTED[cost["counting"]]
    note = (
        f"{share}training all candidates. FLOPs are those of training, {counted}; "
        f"the search's evaluations took {_flops(cost['evaluation_flops'])} more. "
        f"{cost['slots']} candidates ran at a time. A source from the cache takes no time."
    )
    return f"## Cost\n\n{_grid(['', 'training FLOPs', 'time'], rows)}\n\n{note}"


def _search(report: dict[str, Any]) -> str:
    return "in the row below" if report["oracle"] else clock(report["cost"]["wall_s"]["search"])


def _winner(report: dict[str, Any]) -> str:
    return "in the row below" if report["oracle"] else clock(report["cost"]["wall_s"]["winner"])


def _oracle_wall(report: dict[str, Any]) -> str:
    return clock(report["cost"]["wall_s"]["search"]) if report["oracle"] else "not done"


def _times(report: dict[str, Any]) -> list[str]:
    if "profile" not in report:
        return []
    line, head, rows, note = tell_times(report)
    return [f"## Where the time goes\n\n{line}\n\n{_grid(head, rows)}\n\n{note}"]


def _reading(report: dict[str, Any]) -> str:
    tasks = "`harness.json` the downstream tasks, " if report["harness"] else ""
    return (
        "## Files\n\n`report.json` holds all numbers of this page, `curves/` every evaluation with "
        "the loss of each batch, `plans.json` every growth, `space.yaml` what was run, "
        f"`schedule.yaml` the winner alone as a space, {tasks}`environment.json` where it ran, and "
        "`winner/` the trained model as a Hugging Face checkpoint. Losses are nats per predicted "
        "token; steps count from growth."
    )


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _score(score: dict[str, Any], digits: int) -> str:
    if score["value"] is None:
        return "not defined"
    if score["interval"] is None:
        return f"{score['value']:.{digits}f}"
    low, high = score["interval"]
    return f"{score['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _rank(entry: dict[str, Any]) -> str:
    if entry["rank_interval"] is None:
        return str(entry["rank"])
    low, high = entry["rank_interval"]
    return f"{entry['rank']} ({low}-{high})"


def _probability(value: float) -> str:
    return f"{value:.0%}" if value >= 0.005 else "< 1%"


def _recall(score: dict[str, Any]) -> str:
    share = "" if score["share"] is None else f" ({score['share']:.2f})"
    return f"{score['value']:.0f}{share}"


def _flops(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2e}"


def _grid(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
