"""What the report of a run, or of one stage, holds in words and tables."""

from collections.abc import Callable
from typing import Any

from lagsearch.display.layer_blocks import legend
from lagsearch.display.watch import clock
from lagsearch.report.numbers.view import (
    behind,
    beside,
    dimension_name,
    evidence_in_words,
    first_step,
    has,
    has_average_column,
    judged,
    noun,
    own_losses,
    signal_column,
    tied,
    titled,
    varied,
)
from lagsearch.report.words.growing import tell_growing
from lagsearch.report.words.parts import (
    SHOWN,
    Grid,
    Part,
    Quotes,
    Section,
    code,
    loss_cell,
    score_cell,
)
from lagsearch.report.words.profile import tell_times
from lagsearch.selection import find_strategy, holm


def tell_source(source: dict[str, Any]) -> str:
    """Say what a source is, in one line."""
    if source["kind"] == "checkpoint":
        kept = "it brings no optimizer state, so the optimizer starts from zero"
        return f"Source `{source['name']}`: a checkpoint; {kept}."
    trained = f"trained {source['steps']:,} steps, validation loss {source['val_loss']:.4f}"
    return f"Source `{source['name']}`: {trained}."


def stage_sections(report: dict[str, Any]) -> dict[str, Section]:
    """Return the parts of a report that its numbers allow, by what they are about."""
    every, has_oracle = report["candidates"], bool(report["oracle"])
    wanted: dict[str, tuple[Callable[[dict[str, Any]], Section], bool]] = {
        "left_out": (_left_out, bool(report.get("left_out"))),
        "growing": (tell_growing, bool(beside(report) or own_losses(report))),
        "strategies": (_strategies, has_oracle),
        "scores": (_scores, has_oracle),
        "importance": (_importance, bool(report["importance"])),
        "savings": (_savings, bool(report["savings"])),
        "objective": (_objective, any("val_loss_parts" in each for each in every)),
        "downstream": (_downstream, bool(report["harness"])),
        "cost": (_cost, bool(report["cost"])),
        "times": (tell_times, "profile" in report),
        "files": (_files, True),
    }
    return {name: tell(report) for name, (tell, has) in wanted.items() if has}


def ranking(report: dict[str, Any]) -> Section:
    """Return the best candidates and all baselines, best at K first."""
    lag, steps, first = str(report["lag"]), str(report["steps"]), first_step(report)
    shown, is_tied, signal = _shown(report), tied(report), signal_column(report)
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "rank": _rank,
        "candidate": lambda each: titled(each, "`") + (" (baseline)" * each["is_baseline"]),
    }
    if has(report, "layer_map"):
        columns["layers"] = lambda each: str(each["layer_map"])
    if first != lag:
        columns[f"loss at {first}"] = lambda each: loss_cell(each["val_loss"].get(first))
    columns[f"loss at {lag}"] = lambda each: _at_lag(each, lag)
    if signal:
        columns[signal] = lambda each: loss_cell(judged(report, each))
    columns["to the winner"] = lambda each: _behind(report, each)
    if varied(report):
        columns["tied"] = lambda each: "=" if each["name"] in is_tied else ""
        columns["best"] = lambda each: _probability(each["p_best"])
    if has_average_column(report):
        columns[f"average's at {lag}"] = lambda each: loss_cell(
            each.get("val_loss_ema", {}).get(lag)
        )
    if report["oracle"]:
        columns[f"loss at {steps}"] = lambda each: loss_cell(each["val_loss"].get(steps))
    rows = [[tell(each) for tell in columns.values()] for each in (*shown, *beside(report))]
    grid = Grid(list(columns), rows)
    note = _ranking_note(report, shown)
    return Section(f"Ranking at step {lag}", (grid, note) if note else (grid,))


def _ranking_note(report: dict[str, Any], shown: list[dict[str, Any]]) -> str:
    notes = [_say_listed(report).rstrip()]
    if has(report, "layer_map"):
        notes.append(f"{legend((each['layer_map'] for each in shown), '`')}.")
    if over := varied(report):
        notes.append(
            f"± is the standard error over {over}; most of it is shared by all candidates, so "
            "differences are surer than it says. `=`: cannot be told apart from the winner. In "
            "parentheses the ranks that a candidate may have (95 % interval); best: the "
            f"probability to be the best of them. Both over {over}."
        )
    if signal := signal_column(report):
        notes.append(f"Ranks, `to the winner`, `=` and best go by `{signal}`, not by the loss.")
    if beside(report):
        notes.append("A baseline without a rank is compared with the others, and never chosen.")
    if any(each["status"] == "stopped" for each in shown):
        notes.append(
            "A stopped candidate is told with its difference from who led there, in what "
            "candidates are ranked by, and the p-value of that before the correction for all tests."
        )
    return " ".join(note for note in notes if note)


def _at_lag(candidate: dict[str, Any], lag: str) -> str:
    if candidate["status"] == "stopped":
        return f"stopped at {candidate['stopped']['step']:,}"
    if candidate["status"] != "ok":
        return "failed"
    error = candidate["val_loss_se"].get(lag)
    return loss_cell(candidate["val_loss"].get(lag)) + (f" ± {error:.4f}" if error else "")


def _behind(report: dict[str, Any], candidate: dict[str, Any]) -> str:
    if candidate["status"] == "stopped":
        return evidence_in_words(candidate)
    value = behind(report, candidate)
    return "" if value is None else f"{value:+.4f}"


def _rank(candidate: dict[str, Any]) -> str:
    if candidate["rank_interval"] is None:
        return str(candidate["rank"] or "")
    low, high = candidate["rank_interval"]
    return f"{candidate['rank']} ({low}-{high})"


def _probability(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0%}" if value >= 0.005 else "< 1%"


def _shown(report: dict[str, Any]) -> list[dict[str, Any]]:
    best, others = report["candidates"][:SHOWN], report["candidates"][SHOWN:]
    return [*best, *(each for each in others if each["is_baseline"])]


def _say_listed(report: dict[str, Any]) -> str:
    """Say where the candidates are that a table does not list."""
    count = len(report["candidates"])
    if count <= SHOWN:
        return ""
    return f"The best {SHOWN} of {count:,}, and baselines; all are in `tables/ranking.csv`. "


def _left_out(report: dict[str, Any]) -> Section:
    """Return the candidates that do not fit, and why."""
    by_reason: dict[str, list[str]] = {}
    for each in report["left_out"]:
        by_reason.setdefault(each["reason"], []).append(each["name"])
    lines = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    told = "Listed in the space, but they do not fit the sources and the target:"
    return Section("Left out", (told, Quotes(lines)))


def _strategies(report: dict[str, Any]) -> Section:
    """Return the rows of the LAG paper's Table 1 that there are candidates for."""
    rows = [
        [
            each["name"],
            _with_ties(each),
            f"{each['final_val_loss']:.4f}",
            f"{each['regret']:.4f}",
            f"{each['relative_regret']:.4f}",
        ]
        for each in report["baselines"]
    ]
    head = ["strategy", "candidate", "final validation loss", "regret", "relative regret"]
    chance = report["oracle"]["random_choice_relative_regret"]
    note = f"A choice at random has a relative regret of {chance:.4f} on average."
    return Section("What each strategy comes to", (Grid(head, rows), note))


_SCORES = {
    "spearman": "Spearman",
    "pearson": "Pearson",
    "regret": "regret",
    "relative_regret": "relative regret",
    "regret_of_best_half": "of the best half",
}
"""Scores by step, with what their columns are headed."""


def _with_ties(row: dict[str, Any]) -> str:
    more = len(row.get("tied", ()))
    return code(row["candidate"]) + (f" and {more:,} equal to it: their mean" if more else "")


def _scores(report: dict[str, Any]) -> Section:
    """Return what the ranking at every step was worth."""
    oracle = report["oracle"]
    shown = {key: word for key, word in _SCORES.items() if key in oracle}
    rows = []
    for step in oracle["spearman"]:
        row = [f"**{step}**" if int(step) == report["lag"] else step]
        for metric in shown:
            row.append(score_cell(oracle[metric][step], 4 if metric == "regret" else 2))
        row += [_recall(found[step]) for found in oracle["recall"].values()]
        rows.append(row)
    head = ["step", *shown.values()]
    head += [f"recall@{at}" for at in oracle["recall"]]
    note = (
        f"Loss at each step against the loss at step {report['steps']}, over the "
        f"{len(oracle['scored'])} {noun(report)}s that got there{_scores_note(report)} Recall is 1 "
        "where the best is among so many; regret is in nats, relative regret its share of the "
        "spread of final losses, then of that of the better half of them"
    )
    note += "; in parentheses the share of the resamples where it is." if varied(report) else "."
    return Section("What the ranking at each step was worth", (Grid(head, rows), note))


def _scores_note(report: dict[str, Any]) -> str:
    if not varied(report):
        return ". Each loss was measured once: there are no intervals."
    unseen = " They do not hold what another seed would change."
    return (
        f"; in brackets 95 % bootstrap intervals over {varied(report)}."
        + (unseen if len(report["seeds"]) < 2 else "")
        + " Where more than half of the variance between candidates is noise, a correlation and "
        "relative regret are not known, and their interval is the whole range."
    )


def _importance(report: dict[str, Any]) -> Section:
    """Return what decides the loss, a row for each dimension of the design space."""
    found = report["importance"]
    dimensions = found["dimensions"]
    rows = [
        [
            code(dimension_name(each)),
            f"{each['importance']:.0%}",
            f"{each['p_value']:.2g}",
            ", ".join(
                f"{value['value']} {value['mean']:.4f} ({value['n']})"
                for value in sorted(each["values"], key=lambda value: float(value["mean"]))
            ),
        ]
        for each in sorted(dimensions, key=lambda each: float(each["p_value"]))
    ]
    p_values = {dimension_name(each): each["p_value"] for each in dimensions}
    decides = holm(p_values)
    if decides:
        named = ", ".join(code(name) for name in p_values if name in decides)
        line = (
            f"What decides the loss at step {found['step']:,}: {named} (5 %, Holm-corrected for "
            f"looking at {len(dimensions)})."
        )
    else:
        least = min(dimensions, key=lambda each: float(each["p_value"]))
        line = (
            f"No setting is shown to decide the loss at step {found['step']:,}, once it is "
            f"corrected for looking at {len(dimensions)} (Holm, 5 %). By itself "
            f"`{dimension_name(least)}` has the least p, {least['p_value']:.2g}, and a share of "
            f"{least['importance']:.0%}."
        )
    note = (
        "Share: of the variance of the losses, what the setting alone explains beyond chance "
        f"({found['evaluator']}, over the candidates of its operator; `operator`: over all "
        "growths); settings that vary together share it. p: how often losses dealt out at random "
        "would give as much. Means are over the candidates with a value, their number in "
        "parentheses."
    )
    head = ["setting", "share", "p", "mean loss by value"]
    return Section("What decides the loss", (line, Grid(head, rows), note))


def _savings(report: dict[str, Any]) -> Section:
    """What growths save against training from scratch; a negative number is a loss."""
    found = report["savings"]
    rows = []
    names = [each["name"] for each in report["candidates"] if each["name"] in found["growths"]]
    for name in names[:SHOWN]:
        entry = found["growths"][name]
        row = [code(name), f"{entry['val_loss']:.4f}"]
        for unit in ("flops", "tokens"):
            for way in ("growth", "with_sources", "with_search"):
                row.append(_percent(entry[unit][f"{way}_speed_up"]))
        row.append(_percent(entry["flops"]["with_sources_saving"]))
        rows.append(row)
    ways = ["growth alone", "with its source", "and the search"]
    head = ["candidate", "equal loss", *(f"FLOPs: {way}" for way in ways)]
    head += [*(f"tokens: {way}" for way in ways), "FLOPs saved, with its source"]
    note = (
        f"Speed-up at equal validation loss against `{found['baseline']}`, trained "
        f"{found['steps']:,} steps: its spending until it reaches that loss, divided by the "
        "growth's, less one. The loss is the one that both come to, of curves smoothed so that "
        "they never rise; not known: the baseline never came to where the growth began, or what "
        "the source took is not known. A negative number is a slow-down. The search is all "
        f"candidates' training to step {report['lag']}{_as_far(report)}."
    )
    if len(names) > SHOWN:
        note = f"The best {SHOWN} of {len(names):,}; all are in `tables/savings.csv`. {note}"
    return Section("What growing saves", (Grid(head, rows), note))


def _objective(report: dict[str, Any]) -> Section:
    """Return the loss of each part of the objective at K, and at completion where reached."""
    measured = [each for each in _shown(report) if "val_loss_parts" in each]
    names = list(measured[0]["val_loss_parts"])
    steps = [str(report["lag"]), *([str(report["steps"])] if report["oracle"] else [])]
    rows = [
        [
            code(each["name"]),
            *(
                loss_cell(each["val_loss_parts"][name].get(step))
                for step in steps
                for name in names
            ),
        ]
        for each in measured
    ]
    head = ["candidate", *(f"{name} at {step}" for step in steps for name in names)]
    weighted = "The whole is their mean, each part weighted as in `objective.weights`."
    note = _say_listed(report) + weighted
    return Section("The parts of the objective", (Grid(head, rows), note))


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:+.0%}"


def _downstream(report: dict[str, Any]) -> Section:
    """Return the downstream tasks, candidates under one another."""
    harness = report["harness"]
    measures = list(dict.fromkeys(map(_measure, harness["results"])))
    results = sorted(harness["results"], key=lambda row: measures.index(_measure(row)))
    rows = [
        [
            code(row["task"]),
            _metric(row),
            code(row["candidate"]),
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
    parts: list[Part] = [Grid(head, rows), notes] if rows else []
    if harness["failures"]:
        reasons = dict.fromkeys(each["reason"] for each in harness["failures"])
        parts += ["Not evaluated; `lagsearch run` tries again:", Quotes(list(reasons))]
    return Section("Downstream tasks", tuple(parts))


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


def _cost(report: dict[str, Any]) -> Section:
    """Return what was spent, and what training all would have taken."""
    spending = report["cost"]
    wall = spending["wall_s"]
    further = []
    if spending["baseline_flops"]:
        time = clock(wall.get("baselines", 0.0))
        named = "baselines" if beside(report) else "baselines, beyond completion"
        further.append([named, _flops(spending["baseline_flops"]), time])
    rows = [
        ["source", _flops(spending["source_flops"]), clock(wall["sources"])],
        [_search_row(report), _flops(spending["search_flops"]), _search(report)],
        ["evaluations up to there", _flops(spending["evaluation_flops"]), "in the row above"],
        ["winner, from there to completion", _flops(spending["winner_flops"]), _winner(report)],
        *further,
        ["all candidates to completion", _flops(spending["oracle_flops"]), _oracle_wall(report)],
    ]
    spent = spending["search_flops"] + spending["winner_flops"]
    more = spent + spending["evaluation_flops"]
    share = (
        f"Search and winner took {spent / spending['oracle_flops']:.0%} of the training FLOPs of "
    )
    counted = _COUNTED[spending["counting"]]
    note = (
        f"{share}training all candidates, {more / spending['oracle_flops']:.0%} with the search's "
        f"evaluations. FLOPs are those of training, {counted}, but for the row of evaluations. "
        f"{spending['slots']} candidates ran at a time. A source from the cache takes no time."
    )
    return Section("Cost", (Grid(["", "FLOPs", "time"], rows), note))


def _search_row(report: dict[str, Any]) -> str:
    return f"search, all to step {report['lag']}{_as_far(report)}"


def _as_far(report: dict[str, Any]) -> str:
    stops = find_strategy(report["search"]["strategy"]).stops
    return " or to where they were stopped" if stops else ""


def _search(report: dict[str, Any]) -> str:
    return "in the row below" if report["oracle"] else clock(report["cost"]["wall_s"]["search"])


def _winner(report: dict[str, Any]) -> str:
    return "in the row below" if report["oracle"] else clock(report["cost"]["wall_s"]["winner"])


def _oracle_wall(report: dict[str, Any]) -> str:
    return clock(report["cost"]["wall_s"]["search"]) if report["oracle"] else "not done"


def _files(report: dict[str, Any]) -> Section:
    """Return what else the folder holds."""
    pages = (
        "`report.html` shows this page's numbers in a browser, to sort and to search, "
        "`report.json` holds all of them, `tables/` those behind every figure, "
    )
    if report["curves"] is not None:
        file = report["curves"].replace("`", "'")
        told = (
            f"{pages}and `figures/` the figures as PNG and SVG. Made from the curves in `{file}`."
        )
        return Section("Files", (told,))
    tasks = "`harness.json` the downstream tasks, " if report["harness"] else ""
    told = (
        f"{pages}`figures/` the figures as PNG and SVG, `curves/` every evaluation with the loss "
        "of each batch, `plans.json` every growth, `space.yaml` what was run, `schedule.yaml` the "
        f"winner alone as a space, {tasks}`environment.json` where it ran, and `winner/` the "
        "trained model as a Hugging Face checkpoint. Losses are nats per predicted token; steps "
        "count from growth."
    )
    return Section("Files", (told,))


def _recall(score: dict[str, Any]) -> str:
    share = "" if score["share"] is None else f" ({score['share']:.2f})"
    return f"{score['value']:.2g}{share}"


def _flops(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2e}"
