"""`report.md` and `report.html` of a run, or of one stage."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lagsearch.display.watch import clock
from lagsearch.errors import counted
from lagsearch.report.numbers.trust import HEADLINES, Trust, tied_with_winner
from lagsearch.report.numbers.view import (
    behind,
    beside,
    compared_at_lag,
    evidence_in_words,
    first_step,
    has,
    has_average_column,
    is_grown,
    judged,
    mean_of_seeds,
    of_seed,
    signal_column,
    steps_axis,
    stopped,
    tied,
    titled,
    varied,
)
from lagsearch.report.numbers.worth import judge_growing
from lagsearch.report.pages.html import Chapter, chart_page
from lagsearch.report.pages.markdown import (
    Figure,
    Passage,
    bold,
    escape_markdown,
    write_markdown,
)
from lagsearch.report.pictures.as_plotly import Chart, chart
from lagsearch.report.pictures.stage import stage_pictures
from lagsearch.report.words.advice import Advice, advise
from lagsearch.report.words.stage import ranking, ranking_notes, stage_sections, tell_source
from lagsearch.report.words.verdict import judge

FEEL: dict[Trust, str] = {
    "useful": "good",
    "settled": "good",
    "partly": "doubtful",
    "unknown": "doubtful",
    "open": "doubtful",
    "unsettled": "doubtful",
    "misleading": "bad",
}
"""The colour that a verdict has, beside its words."""


def stage_markdown(report: dict[str, Any], figures: list[Figure], folder: Path) -> str:
    """Return the page that reads alone.

    Args:
        report: As `report.json`.
        figures: File name and caption of each figure.
        folder: The run folder, as in commands.
    """
    advices, told = advise(report, folder), stage_sections(report)
    scored = [told.pop(name) for name in ("strategies", "scores") if name in told]
    blocks: list[Passage] = [
        bold(judge(report).lines),
        *(_advised(*each) for each in zip(("Next", "Also"), advices, strict=False)),
        *(["\n".join(map(tell_source, report["sources"]))] if report["sources"] else []),
        ranking(report),
        *figures[:1],
        *scored,
        *figures[1:],
        *told.values(),
    ]
    return write_markdown(report["name"], blocks)


def _advised(word: str, advice: Advice) -> str:
    command = f"\n\n```sh\n{advice.command}\n```" if advice.command else ""
    return f"{word}: {escape_markdown(advice.line)}{command}"


def stage_html(report: dict[str, Any], folder: Path) -> str:
    """Return the page for a browser.

    Args:
        report: As `report.json`.
        folder: The run folder, as in commands.
    """
    charts = [chart(each) for each in stage_pictures(report)]
    verdict, best, chapters = judge(report), report["candidates"][0], _chapters(report, charts)
    doubts = [each.line for each in judge_growing(report) if not each.pays]
    return chart_page(
        "stage.html",
        {"ranking": _table(report), "charts": charts, "over": steps_axis(report)},
        "ranking.js",
        title=report["name"],
        facts=_facts(report),
        links=[("ranking", "Ranking"), *((each.key, each.title) for each in chapters)],
        feel=FEEL[verdict.trust],
        doubts=doubts,
        headline=HEADLINES[verdict.trust],
        winner=titled(best),
        layer_map=best["layer_map"],
        tiles=_tiles(report),
        lines=[line for line in verdict.lines if line not in doubts],
        advices=advise(report, folder),
        lag=f"{report['lag']:,}",
        filters="name, operator, layers" if has(report, "layer_map") else "name",
        kinds=_kinds(report),
        ranking_note=_ranking_note(report),
        chapters=chapters,
    )


_WORTH = ["early_0", "early_lag", "rank_correlation", "spearman", "recall", "regret"]


def _chapters(report: dict[str, Any], charts: Sequence[Chart]) -> list[Chapter]:
    """Return the parts below the ranking of which anything is known, in reading order."""
    told, by_id = stage_sections(report), {each["id"]: each for each in charts}
    importance = [name for name in by_id if name.startswith(("importance", "marginal"))]
    files = "Sources and files" if report["sources"] else "Files"
    saving, spent = ([], ["cost", "loss_and_flops"])
    if report["savings"]:
        saving, spent = ["loss_and_flops"], ["cost"]
    groups: list[tuple[str, str, list[str], list[str]]] = [
        ("left_out", "Left out", [], ["left_out"]),
        ("curves", "Loss", ["loss", "difference"], []),
        ("growing", "Does growing pay off?", [], ["growing"]),
        ("worth", "Quality of the ranking", _WORTH, ["strategies", "scores"]),
        ("importance", "Effect of the settings", importance, ["importance"]),
        ("savings", "Savings over training from scratch", saving, ["savings"]),
        ("objective", "The parts of the objective", [], ["objective"]),
        ("downstream", "Downstream tasks", [], ["downstream"]),
        ("cost", "Cost", spent, ["cost"]),
        ("times", "Where the time goes", [], ["times"]),
        ("files", files, [], ["files"]),
    ]
    found = []
    for key, title, ids, names in groups:
        shown = [by_id[each] for each in ids if each in by_id]
        sections = [told[name] for name in names if name in told]
        lines = list(map(tell_source, report["sources"])) if key == "files" else []
        found.append(Chapter(key, title, shown, sections, lines))
    return [each for each in found if each.charts or each.sections]


def _facts(report: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, report["seeds"]))
    facts = [
        counted(len(report["candidates"]), "candidate"),
        f"ranked at step K = {report['lag']:,} of {report['steps']:,}",
        f"seed {seeds}" if len(report["seeds"]) == 1 else f"seeds {seeds}",
        "every candidate trained to the final step" if report["oracle"] else "without an oracle",
    ]
    return " · ".join(facts)


def _tiles(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the numbers that a reader wants first: a heading, the number, and a remark."""
    lag, steps, best = str(report["lag"]), str(report["steps"]), report["candidates"][0]
    at_lag, error = best["val_loss"][lag], best["val_loss_se"].get(lag)
    final, over = best["val_loss"].get(steps), mean_of_seeds(report)
    told = f"nats per token{f' ± {error:.4f}' if error else ''}{f', {over}' if over else ''}"
    if final is not None and lag != steps:
        told += f"; {final:.4f} at step {int(steps):,}{of_seed(report, best, steps)}"
    loss = (f"Loss at step {int(lag):,}", f"{at_lag:.4f}", told)
    quality = [_regret(report), *([_correlation(report)] if report["oracle"] else [])]
    return [loss, _ahead(report), *quality, *([_spent(report)] if report["cost"] else [])]


def _spent(report: dict[str, Any]) -> tuple[str, str, str]:
    cost = report["cost"]
    spent = cost["search_flops"] + cost["winner_flops"]
    wall = cost["wall_s"]
    time = clock(wall.get("search", 0.0) + wall.get("winner", 0.0))
    took = "every candidate took" if report["oracle"] else "took"
    more = f", {cost['evaluation_flops']:.2e} for evaluations; {took} {time}"
    return (
        "Cost of search and winner",
        f"{spent / cost['oracle_flops']:.0%}",
        f"of the compute to train every candidate to the final step: {spent:.2e} training FLOPs"
        f"{more if report['curves'] is None else ''}",
    )


def _ahead(report: dict[str, Any]) -> tuple[str, str, str]:
    found, beaten = compared_at_lag(report), len(stopped(report))
    also = f"; {counted(beaten, 'candidate')} stopped" if beaten else ""
    gap = behind(report, found[1]) if len(found) > 1 else None
    if gap is None:
        return ("Ahead by", "no other", f"no other candidate reached the ranking{also}")
    ties = f"; {tied_with_winner(len(tied(report)), len(found) - 1)}" if varied(report) else ""
    by = "" if (signal := signal_column(report)) is None else f" by {signal}"
    floor = report["doubt"].get("noise_floor")
    noise = "" if floor is None else f"; noise floor {floor:.4f} nats"
    told = f"nats ahead of {found[1]['name']}{by}{noise}{ties}{also}"
    if gap < 0:  # a prior broke a tie
        return ("Behind by", f"{-gap:.4f}", told.replace(" ahead of ", " behind ", 1))
    return ("Ahead by", f"{gap:.4f}", told)


def _regret(report: dict[str, Any]) -> tuple[str, str, str]:
    """Return the winner's regret where it is known, and what is to be expected of it at K."""
    lag, oracle, found = (
        str(report["lag"]),
        report["oracle"],
        report["doubt"].get("expected_regret"),
    )
    expected = (
        f"{found['value']:.4f} nats, at most {found['high']:.4f} (95 %)" if found else "not known"
    )
    if not oracle:
        told = "of the winner, if curves go on as they did since K / 4"
        return ("Expected regret", expected.partition(" nats")[0], _rest(expected, told))
    nats, relative = oracle["regret"][lag], oracle["relative_regret"][lag]["value"]
    chance, ends = oracle["random_choice_relative_regret"], nats["interval"]
    told = f"{nats['value']:.4f} nats" + (f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else "")
    told += f"; random choice {chance:.0%}" + (f"; expected at K: {expected}" if found else "")
    return ("Relative regret", "not known" if relative is None else f"{relative:.0%}", told)


def _rest(expected: str, told: str) -> str:
    _, nats, bound = expected.partition("nats")
    return f"{nats}{bound} {told}" if nats else "too few evaluations before K"


def _correlation(report: dict[str, Any]) -> tuple[str, str, str]:
    score = report["oracle"]["spearman"][str(report["lag"])]
    ends = f" [{score['interval'][0]:.2f}, {score['interval'][1]:.2f}]" if score["interval"] else ""
    shown = "not defined" if score["value"] is None else f"{score['value']:.2f}"
    return ("Rank correlation", shown, f"Spearman, with the final loss{ends}")


def _table(report: dict[str, Any]) -> dict[str, Any]:
    """Return the ranking as columns and rows, numbers as they are in `report.json`."""
    told = ("key", "label", "kind", "note")
    columns = [column for is_known, *column in _columns(report) if is_known]
    every, first, ties = [*report["candidates"], *beside(report)], first_step(report), tied(report)
    return {
        "columns": [dict(zip(told, column, strict=True)) for column in columns],
        "rows": [_row(report, each, first, ties) for each in every],
        "winner": report["winner"]["name"],
    }


def _columns(report: dict[str, Any]) -> list[tuple[bool, str, str, str, str]]:
    """Return of each column whether anything is in it, and key, label, kind and note."""
    lag, first, over = report["lag"], int(first_step(report)), varied(report)
    signal, oracle = signal_column(report), bool(report["oracle"])
    ranks = "in parentheses its 95 % interval"
    start = "right after growth" if is_grown(report) else "the first one"
    error = f"± standard error over {over}"
    is_averaged, seeds = has_average_column(report), report["seeds"]
    under = f"loss at step {lag} under this seed"
    return [
        (True, "rank", "rank", "rank", ranks),
        (True, "name", "candidate", "name", ""),
        (has(report, "layer_map"), "map", "layers", "map", ""),
        (first != lag, "at_0", f"loss at {first:,}", "loss", start),
        (True, "at_lag", f"loss at {lag:,}", "error", error if over else ""),
        (signal is not None, "signal", signal or "", "loss", "what candidates are ranked by"),
        (True, "gap", "behind winner", "gap", "= cannot be told apart from the winner"),
        (is_averaged, "ema", f"EMA loss at {lag:,}", "loss", "of the averaged weights"),
        (oracle, "end", f"loss at {report['steps']:,}", "loss", "at the final step"),
        *((len(seeds) > 1, f"seed_{seed}", f"seed {seed}", "loss", under) for seed in seeds),
        (has(report, "parameters"), "parameters", "parameters", "count", ""),
        (has(report, "flops"), "flops", "FLOPs", "flops", f"training FLOPs to step {lag}"),
    ]


def _row(
    report: dict[str, Any], candidate: dict[str, Any], first: str, ties: set[str]
) -> dict[str, Any]:
    """Return a candidate's values, of columns that are not shown too."""
    lag, losses, status = str(report["lag"]), candidate["val_loss"], candidate["status"]
    is_ok, is_stopped, oracle = status == "ok", status == "stopped", report["oracle"]
    by_seed = candidate.get("val_loss_by_seed", {})
    return {
        "rank": candidate["rank"],
        "ranks": candidate["rank_interval"],
        "name": candidate["name"],
        "also": candidate.get("also", []),
        "operator": candidate["operator"],
        "map": candidate["layer_map"],
        "at_0": losses.get(first),
        "at_lag": losses.get(lag) if is_ok else None,
        "se": candidate["val_loss_se"].get(lag) if is_ok else None,
        "signal": judged(report, candidate),
        "gap": behind(report, candidate),
        "ema": candidate.get("val_loss_ema", {}).get(lag),
        "end": losses.get(str(report["steps"])),
        "parameters": candidate["parameters"],
        "flops": candidate["flops"],
        "tied": candidate["name"] in ties,
        "baseline": candidate["is_baseline"],
        "failure": candidate.get("failure"),
        "stopped": candidate["stopped"]["step"] if is_stopped else None,
        "evidence": evidence_in_words(candidate).replace("`", "") if is_stopped else None,
        "best": bool(oracle) and candidate["name"] == oracle["candidate"],
        **{f"seed_{seed}": by_seed.get(str(seed), {}).get(lag) for seed in report["seeds"]},
    }


def _kinds(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return which candidates a reader may ask for, and how that is called."""
    return [
        ("all", "all"),
        ("growths", "no baselines"),
        ("baselines", "baselines"),
        ("tied", "winner and tied"),
        ("stopped", "stopped"),
        ("failed", "failed"),
    ]


def _ranking_note(report: dict[str, Any]) -> str:
    return " ".join([*ranking_notes(report), "Select a name to show its curve in the charts."])
