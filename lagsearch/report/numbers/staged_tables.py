"""`tables/*.csv` of a run of several stages: the numbers behind its figures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lagsearch.report.numbers.tables import write_csv


def write_whole_tables(report: dict[str, Any], folder: Path) -> None:
    """Write all tables."""
    tables = {
        "courses": _courses(report),
        "stages": _stages(report),
        "loss": _loss(report),
        "genealogy": _genealogy(report),
    }
    for name, rows in tables.items():
        head, *others = rows
        write_csv(folder / f"{name}.csv", head, others)


def _courses(report: dict[str, Any]) -> Iterable[list[Any]]:
    head = ["course", "seed", "val_loss", "flops", "search_flops", "flops_at_equal"]
    yield [*head, "val_loss_at_equal_flops", "adaptive_val_loss_at_equal_flops"]
    for each in report["courses"]:
        equal = each.get("at_equal_flops", {})
        yield [
            *(each[key] for key in ("name", "seed", "val_loss", "flops", "search_flops")),
            *(equal.get(key) for key in ("flops", "val_loss", "adaptive_val_loss")),
        ]


def _stages(report: dict[str, Any]) -> Iterable[list[Any]]:
    keys = ["number", "begins", "steps", "depth", "candidates", "winner", "layer_map", "layers"]
    keys += ["lag", "val_loss_at_lag", "ahead_of_next", "spread", "p_best", "val_loss", "folder"]
    yield ["course", "seed", *keys]
    for course in report["courses"]:
        for stage in course["stages"]:
            yield [course["name"], course["seed"], *(stage.get(key) for key in keys)]


def _loss(report: dict[str, Any]) -> Iterable[list[Any]]:
    yield ["course", "seed", "step", "flops", "flops_with_search_and_sources", "val_loss"]
    for each in report["courses"]:
        for point in each["curve"]:
            yield [each["name"], each["seed"], *point]


def _genealogy(report: dict[str, Any]) -> Iterable[list[Any]]:
    keys = ["root", "source", "parent", "born", "is_new", "treatment"]
    yield ["course", "seed", "stage", "layer", *keys]
    for each in report["courses"]:
        for number, line in enumerate(each["genealogy"], 1):
            for place, layer in enumerate(line):
                yield [each["name"], each["seed"], number, place, *(layer[key] for key in keys)]
