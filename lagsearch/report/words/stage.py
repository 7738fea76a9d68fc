"""What the report of a run, or of one stage, holds in words and tables."""

from collections.abc import Callable
from typing import Any

from lagsearch.display.layer_blocks import legend, widths_once
from lagsearch.display.watch import clock
from lagsearch.errors import counted
from lagsearch.report.numbers.trust import ended_best
from lagsearch.report.numbers.view import (
    behind,
    beside,
    candidates_scored,
    dimension_name,
    evidence_in_words,
    first_step,
    has,
    has_average_column,
    judged,
    mean_of_seeds,
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
        kept = "without optimizer state, so the optimizer starts from zero"
        return f"Source `{source['name']}`: a checkpoint {kept}."
    trained = f"trained {source['steps']:,} steps, validation loss {source['val_loss']:.4f}"
    of = f" (seed {source['seed']})" if "seed" in source else ""
    return f"Source `{source['name']}`{of}: {trained}."


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
    every = [*shown, *beside(report)]
    maps, widths = widths_once([each["layer_map"] or "" for each in every])
    layers = {each["name"]: layers for each, layers in zip(every, maps, strict=True)}
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "rank": _rank,
        "candidate": lambda each: titled(each, "`") + (" (baseline)" * each["is_baseline"]),
    }
    if has(report, "layer_map"):
        columns["layers"] = lambda each: layers[each["name"]]
    if first != lag:
        columns[f"loss at {first}"] = lambda each: loss_cell(each["val_loss"].get(first))
    columns[f"loss at {lag}"] = lambda each: _at_lag(each, lag)
    if signal:
        columns[signal] = lambda each: loss_cell(judged(report, each))
    columns["behind winner"] = lambda each: _behind(report, each)
    if varied(report):
        columns["tied"] = lambda each: "=" if each["name"] in is_tied else ""
    if has_average_column(report):
        columns[f"EMA loss at {lag}"] = lambda each: loss_cell(
            each.get("val_loss_ema", {}).get(lag)
        )
    if report["oracle"]:
        columns[f"loss at {steps}"] = lambda each: loss_cell(each["val_loss"].get(steps))
    rows = [[tell(each) for tell in columns.values()] for each in every]
    grid = Grid(list(columns), rows)
    note = " ".join(filter(None, [_ranking_note(report, shown), widths and f"{widths}."]))
    return Section(f"Ranking at step {lag}", (grid, note) if note else (grid,))


def _ranking_note(report: dict[str, Any], shown: list[dict[str, Any]]) -> str:
    notes = [_say_listed(report).rstrip()]
    if has(report, "layer_map"):
        notes.append(f"{legend((each['layer_map'] for each in shown), '`')}.")
    notes += ranking_notes(report, "`")
    if any(each["status"] == "stopped" for each in shown):
        notes.append(
            "A stopped candidate has its difference from the leader at that step, in what "
            "candidates are ranked by, and its p-value before the correction for all tests."
        )
    return " ".join(note for note in notes if note)


def ranking_notes(report: dict[str, Any], mark: str = "") -> list[str]:
    """Say what the columns of a ranking mean.

    Args:
        report: As `report.json`.
        mark: What stands around names of columns.
    """
    notes = []
    if over := mean_of_seeds(report):
        notes.append(f"Losses: {over}.")
    if over := varied(report):
        floor = report["doubt"].get("noise_floor")
        notes.append(
            f"±: standard error over {over}; candidates share most of it, so their differences are "
            f"more certain. {mark}={mark}: tied, i.e. not told apart from the winner by a paired "
            f"t-test over {over}, Holm-corrected for all candidates at 5 %; the verdict goes by "
            "this test. In parentheses: 95 % interval of the rank in bootstrap resamples, each "
            "candidate by itself, and so narrower than the ties."
        )
        if floor is not None:
            notes.append(
                f"Noise floor: differences from the winner below {floor:.4f} nats are within their "
                "own 95 % intervals (median of the candidates)."
            )
    if signal := signal_column(report):
        notes.append(f"Ranks, differences and ties go by {mark}{signal}{mark}, not by the loss.")
    if beside(report):
        notes.append("A baseline without a rank was trained for comparison and is never chosen.")
    return notes


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


def _shown(report: dict[str, Any]) -> list[dict[str, Any]]:
    best, others = report["candidates"][:SHOWN], report["candidates"][SHOWN:]
    return [*best, *(each for each in others if each["is_baseline"])]


def _say_listed(report: dict[str, Any]) -> str:
    """Say where the candidates are that a table does not list."""
    count = len(report["candidates"])
    if count <= SHOWN:
        return ""
    return f"The best {SHOWN} of {count:,}, and the baselines; all: `tables/ranking.csv`. "


def _left_out(report: dict[str, Any]) -> Section:
    """Return the candidates that do not fit, and why."""
    by_reason: dict[str, list[str]] = {}
    for each in report["left_out"]:
        by_reason.setdefault(each["reason"], []).append(each["name"])
    lines = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    told = "Listed in the space, but not applicable to these sources and this target:"
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
    note = f"A random choice has a relative regret of {chance:.4f} on average."
    return Section("Selection strategies compared", (Grid(head, rows), note))


_SCORES = {
    "spearman": "Spearman",
    "pearson": "Pearson",
    "regret": "regret",
    "relative_regret": "relative regret",
    "regret_of_best_half": "of the better half",
}
"""Scores by step, with what their columns are headed."""


def _with_ties(row: dict[str, Any]) -> str:
    more = len(row.get("tied", ()))
    return code(row["candidate"]) + (f" and {more:,} with the same loss: mean" if more else "")


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
        f"Loss at each step against the loss at step {report['steps']:,}, over the "
        f"{candidates_scored(report)} that reached "
        f"it{_scores_note(report)} Regret: final loss of the candidate that is best at a step, "
        "less the best final loss, in nats; relative regret: as a share of the range of final "
        "losses, then of the range of their better half. Recall@m: 1 where the best final loss is "
        "among the first m"
    )
    note += "; in parentheses the share of resamples where it is." if varied(report) else "."
    return Section("Quality of the ranking by step", (Grid(head, rows), note))


def _scores_note(report: dict[str, Any]) -> str:
    if not varied(report):
        return ". Each loss was measured once: there are no intervals."
    unseen = " They do not cover what another seed would change."
    return (
        f"; in brackets 95 % bootstrap intervals over {varied(report)}."
        + (unseen if len(report["seeds"]) < 2 else "")
        + " Where more than half of the variance between candidates is noise, correlation and "
        "relative regret are unknown, and their interval is the whole range."
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
            f"Settings with a significant effect on the loss at step {found['step']:,}: {named} "
            f"(permutation test at 5 %, Holm-corrected for {len(dimensions)})."
        )
    else:
        least = min(dimensions, key=lambda each: float(each["p_value"]))
        line = (
            f"No setting has a significant effect on the loss at step {found['step']:,} "
            f"(permutation test at 5 %, Holm-corrected for {len(dimensions)}). The smallest "
            f"p-value is that of `{dimension_name(least)}`, {least['p_value']:.2g}, with a share "
            f"of {least['importance']:.0%}."
        )
    note = (
        "Share: of the variance of the losses, what the setting alone explains beyond chance "
        f"({found['evaluator']}, over the candidates of its operator; `operator`: over all "
        "candidates); settings that vary together share it. p: how often randomly permuted losses "
        "give as much. Means are over the candidates with a value, their number in parentheses."
    )
    head = ["setting", "share", "p", "mean loss by value"]
    return Section("Effect of the settings", (line, Grid(head, rows), note))


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
    ways = ["own training", "with source", "with source and search"]
    head = ["candidate", "equal loss", *(f"FLOPs, {way}" for way in ways)]
    head += [*(f"tokens, {way}" for way in ways), "FLOPs saved, with source"]
    note = (
        f"Speed-up over `{found['baseline']}`, trained {found['steps']:,} steps, to equal "
        "validation loss: what it spends until it reaches that loss, over what the candidate "
        "spends, minus one; negative is a slow-down. Equal loss: the lowest that both reach, on "
        "curves smoothed never to rise (isotonic regression). Not known: the baseline never "
        "reached the loss that the candidate began with, or the cost of the source is unknown. "
        "The search is the training "
        f"of every candidate to step {report['lag']:,}{_as_far(report)}."
    )
    if len(names) > SHOWN:
        note = f"The best {SHOWN} of {len(names):,}; all: `tables/savings.csv`. {note}"
    return Section("Savings over training from scratch", (Grid(head, rows), note))


def _objective(report: dict[str, Any]) -> Section:
    """Return the loss of each part of the objective at K, and at the final step where reached."""
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
    weighted = "The loss is the mean of its parts, weighted by `objective.weights`."
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
        f"Of the weights at the final step, by lm-evaluation-harness {versions}. ±: standard error "
        "over the documents. ↑: higher is better, ↓: lower is better."
    )
    if any(row["is_truncated"] for row in results):
        notes += " ✂: prompts longer than the model's context were cut from the left."
    parts: list[Part] = [Grid(head, rows), notes] if rows else []
    if harness["failures"]:
        reasons = dict.fromkeys(each["reason"] for each in harness["failures"])
        parts += ["Not evaluated (`lagsearch run` tries again):", Quotes(list(reasons))]
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
    spending, end = report["cost"], f"{report['steps']:,}"
    if report["curves"] is not None:
        return _cost_elsewhere(report)
    wall, spent = spending["wall_s"], spending["search_flops"] + spending["winner_flops"]
    further = []
    if spending["baseline_flops"]:
        time = clock(wall.get("baselines", 0.0))
        named = "baselines" if beside(report) else "baselines, beyond the final step"
        further.append([named, _flops(spending["baseline_flops"]), time])
    rows = [
        ["source", _flops(spending["source_flops"]), clock(wall["sources"])],
        [_search_row(report), _flops(spending["search_flops"]), _search(report)],
        ["evaluations of the search", _flops(spending["evaluation_flops"]), _evaluations(report)],
        [f"winner, on to step {end}", _flops(spending["winner_flops"]), _winner(report)],
        *further,
        [f"every candidate to step {end}", _flops(spending["oracle_flops"]), _oracle_wall(report)],
    ]
    more = spent + spending["evaluation_flops"]
    counted, slots = _COUNTED[spending["counting"]], spending["slots"]
    note = (
        f"{_compared_cost(report)} {spent / spending['oracle_flops']:.0%} of the last row's FLOPs, "
        f"{more / spending['oracle_flops']:.0%} with the evaluations of the search. FLOPs of "
        f"training ({counted}), but for the row of evaluations. Up to {slots} "
        f"candidate{'s' * (slots > 1)} trained at a time{_nodes(report)}. "
        "A source from the cache takes no time."
    )
    return Section("Cost", (Grid(["training", "FLOPs", "time"], rows), note))


def _nodes(report: dict[str, Any]) -> str:
    """Say on what a cluster trained the candidates; nothing of a run on one machine."""
    places = [place for each in report["candidates"] for place in each.get("devices", ())]
    if not places:
        return ""
    nodes = len({each["node"] for each in places})
    kinds = sorted({each["device"] for each in places})
    return f", on {counted(nodes, 'node')} with {', '.join(kinds)}"


def _cost_elsewhere(report: dict[str, Any]) -> Section:
    """Return the training FLOPs alone of exported candidates: seconds are the trainer's."""
    spending, end = report["cost"], f"{report['steps']:,}"
    spent, every = spending["search_flops"] + spending["winner_flops"], spending["oracle_flops"]
    rows = [
        ["source", _flops(spending["source_flops"])],
        [_search_row(report), _flops(spending["search_flops"])],
        [f"winner, on to step {end}", _flops(spending["winner_flops"])],
        [f"every candidate to step {end}", _flops(every)],
    ]
    note = (
        f"Search and winner take {spent / every:.0%} of the compute to train every candidate. "
        f"FLOPs of training ({_COUNTED[spending['counting']]}), as the manifest counts them."
    )
    return Section("Cost", (Grid(["training", "FLOPs"], rows), note))


def _search_row(report: dict[str, Any]) -> str:
    return f"search: every candidate to step {report['lag']:,}{_as_far(report)}"


def _as_far(report: dict[str, Any]) -> str:
    stops = find_strategy(report["search"]["strategy"]).stops
    return ", or to where it was stopped" if stops else ""


_IN_LAST = "in the last row"


def _search(report: dict[str, Any]) -> str:
    return _IN_LAST if report["oracle"] else clock(report["cost"]["wall_s"]["search"])


def _evaluations(report: dict[str, Any]) -> str:
    return _IN_LAST if report["oracle"] else "in the search's time"


def _winner(report: dict[str, Any]) -> str:
    return _IN_LAST if report["oracle"] else clock(report["cost"]["wall_s"]["winner"])


def _compared_cost(report: dict[str, Any]) -> str:
    """Say what is compared with the training of every candidate, done or not."""
    if report["oracle"]:
        return "The last row was trained to score the ranking. Search and winner alone take"
    return "The last row is what it would take to know the best candidate. Search and winner took"


def _oracle_wall(report: dict[str, Any]) -> str:
    return clock(report["cost"]["wall_s"]["search"]) if report["oracle"] else "not done"


def _files(report: dict[str, Any]) -> Section:
    """Return what else the folder holds."""
    pages = (
        "`report.html`: the same with sortable tables and interactive charts; `report.json`: every "
        "number; `tables/`: the numbers of each figure; "
    )
    if report["curves"] is not None:
        file = report["curves"].replace("`", "'")
        told = f"{pages}`figures/`: PNG, SVG and PDF. Made from the curves in `{file}`."
        return Section("Files", (told,))
    tasks = "`harness.json`: the downstream tasks; " if report["harness"] else ""
    best = "`best.yaml`: the one that ended best, alike; " if ended_best(report) else ""
    winner, end = report["winner"], str(report["steps"])
    of = f" of seed {winner['seed']}" if len(report["seeds"]) > 1 else ""
    ended = f", validation loss {winner['val_loss'][end]:.4f}" if end in winner["val_loss"] else ""
    told = (
        f"{pages}`figures/`: PNG, SVG and PDF; `curves/`: every evaluation with the loss of each "
        "batch; `plans.json`: how each candidate grows; `space.yaml`: what was run; "
        f"`schedule.yaml`: the winner alone, as a space; {best}{tasks}"
        f"`environment.json`: where it ran; `winner/`: the trained model{of} as a Hugging "
        f"Face checkpoint{ended}. Losses are nats per predicted token; steps count from growth."
    )
    return Section("Files", (told,))


def _recall(score: dict[str, Any]) -> str:
    share = "" if score["share"] is None else f" ({score['share']:.2f})"
    return f"{score['value']:.2g}{share}"


def _flops(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2e}"
