"""`tables/*.csv`: the numbers behind every figure, for programs and for spreadsheets."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lagsearch.records.imported_rows import FORMULA
from lagsearch.report.numbers.view import (
    behind,
    beside,
    came_to_lag,
    first_step,
    has,
    judged,
    mean_of_candidates,
    tied,
    varied,
)
from lagsearch.selection.scores import METRICS
from lagsearch.storage.files import replacing

Table = tuple[list[str], Iterable[list[Any]]]
"""The columns' names, and rows."""


def write_tables(report: dict[str, Any], folder: Path) -> list[str]:
    """Write the tables that the numbers allow, and return their names without `.csv`."""
    oracle, cost = bool(report["oracle"]), bool(report["cost"])
    wanted: dict[str, tuple[Callable[[dict[str, Any]], Table], bool]] = {
        "ranking": (_ranking, True),
        "loss": (_loss, True),
        "early_and_final": (_early_and_final, oracle),
        "recall_and_regret": (_recall_and_regret, oracle),
        "rank_correlation": (_rank_correlation, oracle),
        "loss_and_flops": (_loss_and_flops, cost),
        "savings": (_savings, bool(report["savings"])),
        "growing": (_growing, bool(beside(report))),
        "importance": (_importance, bool(report["importance"])),
        "cost": (_cost, cost),
    }
    return _write_all(
        {name: tell(report) if has else None for name, (tell, has) in wanted.items()}, folder
    )


def write_course_tables(report: dict[str, Any], folder: Path) -> list[str]:
    """Write the tables of a run of several stages, and return their names."""
    tables = {
        "courses": _courses(report),
        "stages": _stages(report),
        "loss": _course_loss(report),
        "genealogy": _genealogy(report),
    }
    return _write_all(tables, folder)


def write_comparison_tables(comparison: dict[str, Any], folder: Path) -> list[str]:
    """Write a row for each run, each shared candidate, and each pair; return the tables' names."""
    tables = {
        "runs": _runs(comparison["runs"]),
        "shared": _shared(comparison),
        "rank_correlation": _agreement(comparison["rank_correlation"]),
    }
    return _write_all(tables, folder)


def _write_all(tables: Mapping[str, Table | None], folder: Path) -> list[str]:
    """Write tables, and remove those that are none: they are of an earlier report."""
    for name, table in tables.items():
        if table is None:
            (folder / f"{name}.csv").unlink(missing_ok=True)
        else:
            write_csv(folder / f"{name}.csv", *table)
    return [name for name, table in tables.items() if table is not None]


def write_csv(path: Path, head: list[str], rows: Iterable[list[Any]]) -> None:
    """Write a table whole or not at all, text in quotes and none of it a formula."""
    with (
        replacing(path, is_lasting=False) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([neutral(cell) for cell in row] for row in rows)


def neutral(cell: Any) -> Any:
    """Return a cell as a spreadsheet takes it for what it is: an apostrophe makes text of text.

    Numbers stay numbers; `imported_rows.as_written` takes the apostrophe off again.
    """
    is_mistaken = isinstance(cell, str) and cell.startswith((*FORMULA, "'"))
    return f"'{cell}" if is_mistaken else cell


def _ranking(report: dict[str, Any]) -> Table:
    lag, steps, seeds = str(report["lag"]), str(report["steps"]), report["seeds"]
    is_tied, first, has_noise = tied(report), first_step(report), bool(varied(report))
    before = [key for key in ("operator", "layer_map") if has(report, key)]
    after = [key for key in ("parameters", "flops", "wall_s") if has(report, key)]
    several = seeds if len(seeds) > 1 else []
    head = ["rank", "rank_low", "rank_high", "p_best", "candidate", "status", "failure"]
    head += ["stopped_at", "stopped_by", "stopped_difference", "stopped_p_value"]
    head += ["is_baseline", *before, f"val_loss_at_{first}", "val_loss_at_lag"]
    head += ["standard_error", "signal_at_lag", "to_the_winner", "is_tied"]
    head += ["val_loss_ema_at_lag", "val_loss_at_completion"]
    head += [*(f"val_loss_at_lag_seed_{seed}" for seed in several), *after, "also"]

    def row(each: dict[str, Any]) -> list[Any]:
        losses, is_ok = each["val_loss"], each["status"] == "ok"
        by_seed, stop = each.get("val_loss_by_seed", {}), each.get("stopped", {})
        return [
            each["rank"],
            *(each["rank_interval"] or (None, None)),
            each["p_best"],
            each["name"],
            each["status"],
            each.get("failure", ""),
            *(stop.get(key) for key in ("step", "leader", "difference", "p_value")),
            each["is_baseline"],
            *(each[key] for key in before),
            losses.get(first),
            losses.get(lag) if is_ok else None,
            each["val_loss_se"].get(lag) if is_ok else None,
            judged(report, each),
            behind(report, each),
            each["name"] in is_tied if has_noise else None,
            each.get("val_loss_ema", {}).get(lag),
            losses.get(steps),
            *(by_seed.get(str(seed), {}).get(lag) for seed in several),
            *(each[key] for key in after),
            " = ".join(each.get("also", ())),
        ]

    return head, map(row, report["candidates"])


def _loss(report: dict[str, Any]) -> Table:
    mean = mean_of_candidates(came_to_lag(report))
    seeds, has_flops = report["seeds"], has(report, "flops_by_step")

    def rows() -> Iterable[list[Any]]:
        for each in (*report["candidates"], *beside(report)):
            for step, loss in each["val_loss"].items():
                error = each["val_loss_se"].get(step)
                flops = [each["flops_by_step"].get(step)] if has_flops else []
                away = loss - mean[int(step)] if int(step) in mean else None
                seed = "mean" if len(seeds) > 1 else seeds[0]
                yield [each["name"], seed, int(step), loss, error, away, *flops]
            for seed, losses in each.get("val_loss_by_seed", {}).items():
                for step, loss in losses.items():
                    empty = [None] * (2 + has_flops)
                    yield [each["name"], int(seed), int(step), loss, *empty]

    head = ["candidate", "seed", "step", "val_loss", "standard_error", "from_the_mean"]
    return head + ["flops"] * has_flops, rows()


def _early_and_final(report: dict[str, Any]) -> Table:
    first, lag, steps = first_step(report), str(report["lag"]), str(report["steps"])
    scored = set(report["oracle"]["scored"])
    rows = [
        [each["name"], each["rank"], *(each["val_loss"].get(step) for step in (first, lag, steps))]
        for each in report["candidates"]
        if each["name"] in scored
    ]
    head = ["candidate", "rank", f"val_loss_at_{first}", "val_loss_at_lag"]
    return [*head, "val_loss_at_completion"], rows


def _recall_and_regret(report: dict[str, Any]) -> Table:
    oracle = report["oracle"]
    named = {key: oracle[key] for key in METRICS if key in oracle}
    named |= {f"recall_{at}": scores for at, scores in oracle["recall"].items()}
    head = ["step", *(f"{name}{part}" for name in named for part in ("", "_low", "_high"))]
    head += [f"recall_{at}_share" for at in oracle["recall"]]

    def row(step: str) -> list[Any]:
        cells = (_cells(scores[step]) for scores in named.values())
        shares = (scores[step]["share"] for scores in oracle["recall"].values())
        return [int(step), *(cell for three in cells for cell in three), *shares]

    return head, map(row, oracle["spearman"])


def _rank_correlation(report: dict[str, Any]) -> Table:
    found = report["oracle"]["rank_correlation"]
    steps, matrix = found["steps"], found["matrix"]
    rows = (
        [steps[i], steps[j], value] for i, row in enumerate(matrix) for j, value in enumerate(row)
    )
    return ["step", "other_step", "spearman"], rows


def _loss_and_flops(report: dict[str, Any]) -> Table:
    def rows() -> Iterable[list[Any]]:
        for each in (*report["candidates"], *beside(report)):
            name = each["name"]
            if not is_priced(report, name):
                continue
            before = source_flops(report, name)
            for step, loss in each["val_loss"].items():
                spent = each["flops_by_step"][step]
                yield [name, int(step), spent, None if before is None else spent + before, loss]

    return ["candidate", "step", "flops", "flops_with_sources", "val_loss"], rows()


def is_priced(report: dict[str, Any], name: str) -> bool:
    """Whether a loss is shown over FLOPs: all, or what is compared with scratch, and baselines."""
    savings = report["savings"]
    if not savings or name in savings["growths"] or name == savings["baseline"]:
        return True
    return any(each["name"] == name for each in beside(report))


def source_flops(report: dict[str, Any], name: str) -> float | None:
    """Return what the sources took that are taken from, None where it is not known."""
    savings = report["savings"]
    if not savings:
        return None
    for each in beside(report):
        if each["name"] == name and each["source"] is not None:
            flops = [of["flops"] for of in report["sources"] if of["name"] == each["source"]]
            return None if flops[0] is None else float(flops[0])
    if name not in savings["growths"]:
        return 0
    found = savings["growths"][name]["flops"]
    if found["with_sources"] is None:
        return None
    return float(found["with_sources"] - found["growth"])


def _savings(report: dict[str, Any]) -> Table:
    growths = report["savings"]["growths"]
    first: dict[str, Any] = next(iter(growths.values()), {"flops": {}, "tokens": {}})
    keys = [(unit, key) for unit in ("flops", "tokens") for key in first[unit]]
    head = ["candidate", "val_loss", "is_bound", *(f"{unit}_{key}" for unit, key in keys)]
    rows = (
        [name, each["val_loss"], each["is_bound"], *(each[unit][key] for unit, key in keys)]
        for name, each in growths.items()
    )
    return head, rows


def _growing(report: dict[str, Any]) -> Table:
    keys = ("val_loss", "baseline_val_loss", "difference", "p_value", "seeds", "is_fair")
    head = ["growth", "baseline", "step", *(f"{key}_at_equal_steps" for key in keys)]
    head += ["flops", *(f"{key}_at_equal_flops" for key in keys)]

    def row(each: dict[str, Any]) -> list[Any]:
        cells = [each["growth"], each["baseline"]]
        for at, unit in (("equal_steps", "step"), ("equal_flops", "flops")):
            point = each[at] or {}
            cells += [point.get(key) for key in (unit, *keys)]
        return cells

    return head, map(row, report["growing"]["comparisons"])


def _importance(report: dict[str, Any]) -> Table:
    head = ["operator", "setting", "importance", "p_value", "value", "mean_val_loss", "n"]
    head += ["low", "high", "candidates"]
    rows = (
        [
            dimension["operator"] or "",
            dimension["name"],
            dimension["importance"],
            dimension["p_value"],
            value["value"],
            value["mean"],
            value["n"],
            *(value["interval"] or (None, None)),
            json.dumps(value["candidates"], ensure_ascii=False),
        ]
        for dimension in report["importance"]["dimensions"]
        for value in dimension["values"]
    )
    return head, rows


def _cost(report: dict[str, Any]) -> Table:
    keys = ("source", "search", "winner", "baseline", "oracle", "evaluation")
    rows = [[key, report["cost"][f"{key}_flops"]] for key in keys]
    return ["what", "flops"], rows


def _courses(report: dict[str, Any]) -> Table:
    own = ("name", "seed", "val_loss", "flops", "search_flops")
    equal = {
        "flops_at_equal": "flops",
        "val_loss_at_equal_flops": "val_loss",
        "adaptive_val_loss_at_equal_flops": "adaptive_val_loss",
    }
    rows = (
        [*(each[key] for key in own), *map(each.get("at_equal_flops", {}).get, equal.values())]
        for each in report["courses"]
    )
    return ["course", *own[1:], *equal], rows


def _stages(report: dict[str, Any]) -> Table:
    keys = ["number", "begins", "steps", "depth", "candidates", "winner", "layer_map", "layers"]
    keys += ["lag", "val_loss_at_lag", "ahead_of_next", "spread", "p_best", "val_loss", "folder"]
    rows = (
        [course["name"], course["seed"], *map(stage.get, keys)]
        for course in report["courses"]
        for stage in course["stages"]
    )
    return ["course", "seed", *keys], rows


def _course_loss(report: dict[str, Any]) -> Table:
    head = ["course", "seed", "step", "flops", "flops_with_search_and_sources", "val_loss"]
    rows = (
        [each["name"], each["seed"], *point]
        for each in report["courses"]
        for point in each["curve"]
    )
    return head, rows


def _genealogy(report: dict[str, Any]) -> Table:
    keys = ["root", "source", "parent", "born", "is_new", "treatment"]
    rows = (
        [each["name"], each["seed"], number, place, *(layer[key] for key in keys)]
        for each in report["courses"]
        for number, line in enumerate(each["genealogy"], 1)
        for place, layer in enumerate(line)
    )
    return ["course", "seed", "stage", "layer", *keys], rows


_SCORES = ("spearman", "regret", "relative_regret")


def _runs(runs: list[dict[str, Any]]) -> Table:
    plain = [key for key in runs[0] if key not in (*_SCORES, "by_step")]
    head = [*plain, *(f"{key}{end}" for key in _SCORES for end in ("", "_low", "_high"))]
    rows = (
        [*(run[key] for key in plain), *(cell for key in _SCORES for cell in _cells(run[key]))]
        for run in runs
    )
    return head, rows


def _cells(score: dict[str, Any] | None) -> list[Any]:
    """Return a score and the ends of its interval, as far as they are known."""
    if score is None:
        return [None] * 3
    return [score["value"], *(score["interval"] or (None, None))]


def _shared(comparison: dict[str, Any]) -> Table:
    facts = ("rank", "of", "status", "val_loss", "final_val_loss")
    names = [run["name"] for run in comparison["runs"]]
    rows = (
        [row["name"], row["is_baseline"], name, *(place[key] for key in facts)]
        for row in comparison["shared"]
        for name, place in zip(names, row["places"], strict=True)
        if place
    )
    return ["candidate", "is_baseline", "run", *facts], rows


def _agreement(pairs: list[dict[str, Any]]) -> Table:
    keys = ("at_lag", "n_at_lag", "at_end", "n_at_end")
    rows = ([*pair["runs"], *(pair[key] for key in keys)] for pair in pairs)
    return ["run", "other_run", *keys], rows
