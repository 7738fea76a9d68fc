"""Several runs side by side: what each came to, and what they say of candidates they share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lagsearch.errors import LagsearchError
from lagsearch.records.folder import RunFolder, no_run
from lagsearch.records.imported_curves import read_curves, searches_in
from lagsearch.records.imported_rows import is_curves
from lagsearch.records.run import read_run
from lagsearch.records.shapes import AnyReport
from lagsearch.report.numbers.stage import training_cost
from lagsearch.report.numbers.statistics import statistics
from lagsearch.report.numbers.trust import judge_ranking
from lagsearch.report.numbers.view import alive, judged
from lagsearch.selection.scores import spearman
from lagsearch.selection.transition import FEWEST


def compare(paths: Sequence[Path]) -> dict[str, Any]:
    """Compare runs.

    Args:
        paths: Run folders, files of curves, or the folders of their reports. One with `stages`
            stands for the searches of its stages.

    Returns:
        `runs`: an entry for each, with its scores by step where all were trained to completion;
        `shared`: the candidates that stand in several, with what each run says of them;
        `rank_correlation`: Spearman's for every two runs, over the growths that both have.

    Raises:
        LagsearchError: There are fewer than two, one comes twice, or one cannot be read.
    """
    paths = [search for path in paths for search in searches_in(path)]
    if len(paths) < 2:
        example = "lagsearch compare reports/one reports/two"
        raise LagsearchError(f"compare: name two runs or more, e.g. {example}")
    whole = [path.resolve() for path in paths]
    for place, path in enumerate(whole):
        if path in whole[:place]:
            raise LagsearchError(f"compare: {paths[place]} comes twice")
    reports = [_report(path) for path in paths]
    alike = _named_alike(reports)
    names = [report["name"] for report in reports]
    labels = [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]
    pairs = [(i, j) for i in range(len(reports)) for j in range(i + 1, len(reports))]
    return {
        "runs": [_run(label, report) for label, report in zip(labels, reports, strict=True)],
        "shared": _shared(alike),
        "rank_correlation": [
            {"runs": [labels[i], labels[j]], **_agreement(alike[i], alike[j])} for i, j in pairs
        ],
    }


def _report(path: Path) -> dict[str, Any]:
    """Return the numbers of a run, of curves, or of a report that was made from curves."""
    if is_curves(path):
        return statistics(read_curves(path)) | {"curves": path.name}
    folder = RunFolder(path)
    if not folder.space_file.exists() and folder.report_file.is_file():
        if folder.report(AnyReport).get("curves") is None:
            raise no_run(path)
        return folder.report()
    run = read_run(folder)
    report = statistics(run)
    for each in report["candidates"]:
        plan = run.plans[each["name"]]
        each["operator"], each["also"] = plan["operator"], plan.get("also", [])
    return report | {"cost": training_cost(run)}


def _named_alike(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give a growth that has several names one of them in all runs: the first that it has.

    Names that mean one growth in one run and two in another stay as they are in the other.
    """
    first: dict[str, str] = {}
    for each in (each for report in reports for each in report["candidates"]):
        names = [each["name"], *each.get("also", ())]
        known = next((first[name] for name in names if name in first), each["name"])
        first |= dict.fromkeys(names, known)
    return [report | {"candidates": _renamed(report["candidates"], first)} for report in reports]


def _renamed(candidates: list[dict[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    often = Counter(names[each["name"]] for each in candidates)
    return [
        each | ({"name": names[each["name"]]} if often[names[each["name"]]] == 1 else {})
        for each in candidates
    ]


def _run(label: str, report: dict[str, Any]) -> dict[str, Any]:
    lag, end, best = str(report["lag"]), str(report["steps"]), report["candidates"][0]
    oracle, cost, ties = report["oracle"], report["cost"], report["doubt"]
    spent = cost and cost["search_flops"] + cost["winner_flops"]
    return {
        "name": label,
        "winner": best["name"],
        "val_loss": best["val_loss"][lag],
        "final_val_loss": best["val_loss"].get(end),
        "candidates": len(report["candidates"]),
        "failed": len(report["candidates"]) - len(alive(report)),
        "seeds": len(report["seeds"]),
        "batches": report["batches"],
        "strategy": report["search"]["strategy"],
        "signal": report["search"]["signal"],
        "lag": report["lag"],
        "steps": report["steps"],
        "tied": _count(ties["indistinguishable_from_winner"]),
        "best": oracle["candidate"] if oracle else None,
        "scored": len(oracle["scored"]) if oracle else None,
        "spearman": oracle["spearman"][lag] if oracle else None,
        "regret": oracle["regret"][lag] if oracle else None,
        "relative_regret": oracle["relative_regret"][lag] if oracle else None,
        "chance": oracle["random_choice_relative_regret"] if oracle else None,
        "trust": judge_ranking(report)[0],
        "flops": spent,
        "flops_share": spent / cost["oracle_flops"] if cost else None,
        "by_step": {
            metric: {step: score["value"] for step, score in oracle[metric].items()}
            for metric in ("spearman", "relative_regret")
        }
        if oracle
        else None,
    }


def _count(names: list[str] | None) -> int | None:
    return None if names is None else len(names)


def _shared(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the candidates of several runs, by their mean rank among those that a run has."""
    by_name = [{each["name"]: each for each in report["candidates"]} for report in reports]
    names = dict.fromkeys(name for found in by_name for name in found)
    several = [name for name in names if sum(name in found for found in by_name) > 1]
    rows = [
        {
            "name": name,
            "is_baseline": any(name in found and found[name]["is_baseline"] for found in by_name),
            "places": [
                _place(report, found[name]) if name in found else None
                for report, found in zip(reports, by_name, strict=True)
            ],
        }
        for name in several
    ]
    return sorted(rows, key=lambda row: _mean_share(row["places"]))


def _place(report: dict[str, Any], candidate: dict[str, Any]) -> dict[str, Any]:
    is_ok = candidate["status"] == "ok"
    return {
        "rank": candidate["rank"],
        "of": len(report["candidates"]),
        "status": candidate["status"],
        "val_loss": candidate["val_loss"].get(str(report["lag"])) if is_ok else None,
        "final_val_loss": _final(report, candidate),
    }


def _final(report: dict[str, Any], candidate: dict[str, Any]) -> float | None:
    if not report["oracle"] or candidate["status"] == "failed":
        return None
    loss = candidate["val_loss"].get(str(report["steps"]))
    return None if loss is None else float(loss)


def _mean_share(places: list[dict[str, Any] | None]) -> float:
    return float(np.mean([each["rank"] / each["of"] for each in places if each]))


def _agreement(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return how two runs agree in the order of the growths that both have, at K and at the end."""
    result: dict[str, Any] = {}
    for key, value in (("at_lag", judged), ("at_end", _final)):
        first, second = _values(one, value), _values(other, value)
        both = [name for name in first if name in second]
        found = None
        if len(both) >= FEWEST:
            pair = np.array([[first[name], second[name]] for name in both]).T
            correlation = float(spearman(pair[0], pair[1]))
            found = None if np.isnan(correlation) else correlation
        result |= {key: found, f"n_{key}": len(both)}
    return result


def _values(report: dict[str, Any], value: Any) -> dict[str, float]:
    found = {
        each["name"]: value(report, each)
        for each in report["candidates"]
        if not each["is_baseline"]
    }
    return {name: loss for name, loss in found.items() if loss is not None}
