"""The numbers of a run of several stages, from its folder alone: what its `report.json` holds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lagsearch.errors import RunFolderError
from lagsearch.records.curve import Evaluation
from lagsearch.records.folder import RunFolder
from lagsearch.records.stage_result import ADAPTIVE, StageResult, read_stage_result
from lagsearch.report.numbers.layer_ancestry import drawn, genealogy
from lagsearch.selection.spread import mean_of
from lagsearch.space import SpaceFile

FORMAT = 1

_WORDS_OF_OLD_RUNS = {
    ADAPTIVE: "LAG in every stage",
    "last": "copies the last layers on top in every stage (gradual stacking)",
    "middle": "copies the middle layers in place in every stage (MIDAS)",
    "doubling": "doubles the whole stack, in fewer stages (StackBERT)",
    "one-hop": "stacks once to the full depth (G_stack)",
    "random": "a random candidate in every stage",
    "scratch": "the full depth, trained from scratch",
    "continue": "the first stage's model, trained on without growing",
}
"""What each course does, where a run folder does not say it itself."""


@dataclass(frozen=True)
class Point:
    """An evaluation of a course.

    Attributes:
        step: Training steps of the course so far.
        flops: Training FLOPs so far of what was trained on.
        spent: The same with the search and, where they are known, those of the sources.
        val_loss: Nats per predicted token.
    """

    step: int
    flops: int
    spent: int
    val_loss: float


@dataclass(frozen=True)
class Told:
    """A course, read.

    Attributes:
        name: Which.
        words: What it does.
        seed: Its seed.
        folder: Its folder in that of the run.
        stages: What each finished stage handed on.
        plans: The winner's entry in `plans.json`, of each stage.
        points: Its evaluations in order.
        begins: The step at which each stage begins.
        searched: `report.json` of each stage that had several candidates; None elsewhere.
        last: The last evaluation.
        source_flops: Training FLOPs of the sources that it began from; None where not known.
    """

    name: str
    words: str
    seed: int
    folder: str
    stages: tuple[StageResult, ...]
    plans: tuple[dict[str, Any], ...]
    points: tuple[Point, ...]
    begins: tuple[int, ...]
    searched: tuple[dict[str, Any] | None, ...]
    last: Evaluation
    source_flops: int | None = 0

    @property
    def search_flops(self) -> int:
        """Training FLOPs of candidates that did not win."""
        return self.points[-1].spent - self.points[-1].flops - (self.source_flops or 0)

    def at(self, spent: float) -> float:
        """Return the loss when so many FLOPs were spent, between evaluations on a line."""
        return float(
            np.interp(
                spent, [each.spent for each in self.points], [each.val_loss for each in self.points]
            )
        )


def read_courses(folder: RunFolder, file: SpaceFile) -> tuple[list[Told], dict[str, str]]:
    """Read all courses that came to their end, and why others did not.

    Raises:
        RunFolderError: The adaptive one has not.
    """
    environment = folder.environment()
    told, missing = [], dict(environment.get("refused", {}))
    for each in environment.get("courses", []):
        stages = _handed(folder, each["folder"])
        if not stages or stages[-1].steps != file.steps:
            if each["name"] == ADAPTIVE:
                raise RunFolderError(
                    f"{folder.path}: {each['folder']} has not come to its end; `lagsearch run` "
                    "with the same --out goes on"
                )
            missing[each["folder"]] = environment.get("failed", {}).get(each["folder"], "cut short")
            continue
        told.append(_told(folder, each, stages))
    return told, missing


def _handed(folder: RunFolder, course: str) -> list[StageResult]:
    stages: list[StageResult] = []
    while (
        found := read_stage_result(folder.path / course / f"stage-{len(stages) + 1}")
    ) is not None:
        stages.append(found)
    return stages


def _told(folder: RunFolder, course: dict[str, Any], stages: Sequence[StageResult]) -> Told:
    points, begins, plans, searched = [], [], [], []
    step = flops = 0
    brought = RunFolder(folder.path / stages[0].folder).environment()["sources"]
    each_source = [source["flops"] for source in brought]
    sources = None if None in each_source else sum(each_source)
    extra = sources or 0
    for each in stages:
        run = RunFolder(folder.path / each.folder)
        curve = run.curve(each.winner)
        plans.append(next(one for one in run.plans()["candidates"] if one["name"] == each.winner))
        report = run.report() if each.n_candidates > 1 else None
        searched.append(report)
        begins.append(step)
        if report is not None:
            at_lag = curve.at(report["lag"])
            assert at_lag is not None, each.folder
            own = at_lag.flops + sum(
                one.annealed_flops for one in curve.evaluations if one.step <= at_lag.step
            )
            extra += report["cost"]["search_flops"] - own
        points += [
            Point(step + one.step, flops + one.flops, flops + one.flops + extra, one.val_loss)
            for one in curve.evaluations
        ]
        last = curve.evaluations[-1]
        step, flops = each.steps, each.flops
    return Told(
        course["name"],
        course.get("words") or _WORDS_OF_OLD_RUNS.get(course["name"], ""),
        course["seed"],
        course["folder"],
        tuple(stages),
        tuple(plans),
        tuple(points),
        tuple(begins),
        tuple(searched),
        last,
        sources,
    )


def build_whole_numbers(folder: RunFolder, file: SpaceFile) -> dict[str, Any]:
    """Return what `report.json` of a run with stages holds."""
    courses, missing = read_courses(folder, file)
    adaptive = {each.seed: each for each in courses if each.name == ADAPTIVE}
    names = dict.fromkeys(each.name for each in courses)
    first = adaptive[file.seed]
    environment = folder.environment()
    return {
        "format": FORMAT,
        "kind": "stages",
        "name": file.name,
        "seeds": list(file.seeds),
        "steps": file.steps,
        "courses": [_course(each, adaptive.get(each.seed)) for each in courses],
        "table": [_row(name, courses, adaptive) for name in names],
        "missing": missing,
        "winner": {
            "name": first.stages[-1].winner,
            "seed": first.seed,
            "val_loss": {str(file.steps): first.last.val_loss},
            "checkpoint": "winner" if any(folder.winner.glob("*.safetensors")) else None,
        },
        "cost": _cost(first, courses, environment),
    }


def _course(told: Told, adaptive: Told | None) -> dict[str, Any]:
    lines = genealogy([each["plan"] for each in told.plans])
    entry = {
        "name": told.name,
        "seed": told.seed,
        "folder": told.folder,
        "says": told.words,
        "val_loss": told.last.val_loss,
        "steps": told.stages[-1].steps,
        "flops": told.stages[-1].flops,
        "search_flops": told.search_flops,
        "wall_s": told.stages[-1].wall_s,
        "curve": [[each.step, each.flops, each.spent, each.val_loss] for each in told.points],
        "stages": [_stage(told, number, drawn(line)) for number, line in enumerate(lines)],
        "genealogy": [[asdict(layer) for layer in line] for line in lines],
    }
    if adaptive is not None and adaptive is not told:
        spent = min(told.points[-1].spent, adaptive.points[-1].spent)
        entry["at_equal_flops"] = {
            "flops": spent,
            "val_loss": told.at(spent),
            "adaptive_val_loss": adaptive.at(spent),
        }
    return entry


def _stage(told: Told, number: int, layers: str) -> dict[str, Any]:
    handed, plan, report = told.stages[number], told.plans[number], told.searched[number]
    before = told.stages[number - 1].steps if number else 0
    entry: dict[str, Any] = {
        "number": number + 1,
        "folder": handed.folder,
        "begins": told.begins[number],
        "steps": handed.steps - before,
        "depth": len(plan["plan"]["layers"]),
        "parameters": plan["parameters"],
        "candidates": handed.n_candidates,
        "winner": handed.winner,
        "operator": plan["operator"],
        "settings": plan["settings"],
        "layer_map": plan["layer_map"],
        "layers": layers,
        "val_loss": handed.val_loss,
        "lag": None,
    }
    return entry if report is None else entry | _choice(report)


def _choice(report: dict[str, Any]) -> dict[str, Any]:
    """Return what a stage was chosen from, by how much and how surely."""
    lag, ranked = report["lag"], report["candidates"]
    best = ranked[0]
    losses = [each["val_loss"][str(lag)] for each in ranked if each["status"] == "ok"]
    return {
        "lag": lag,
        "val_loss_at_lag": best["val_loss"][str(lag)],
        "ahead_of_next": losses[1] - losses[0] if len(losses) > 1 else None,
        "spread": max(losses) - min(losses),
        "p_best": best["p_best"],
        "tied": list(report["doubt"]["indistinguishable_from_winner"]),
        "extra_steps": sum(_spent(each, lag) for each in ranked[1:]),
        "chosen_from": [
            {
                "name": each["name"],
                "layer_map": each["layer_map"],
                "status": each["status"],
                "val_loss": each["val_loss"].get(str(lag)),
            }
            for each in ranked
        ],
    }


def _spent(candidate: dict[str, Any], lag: int) -> int:
    """Return how many steps a candidate was trained for the search."""
    if candidate["status"] == "stopped":
        return int(candidate["stopped"]["step"])
    return min(lag, max(map(int, candidate["val_loss"]), default=0))


def _row(name: str, courses: Sequence[Told], adaptive: dict[int, Told]) -> dict[str, Any]:
    """Return a course's row of the table: means over the seeds, and its distance to adaptive."""
    found = {each.seed: each for each in courses if each.name == name}
    losses = mean_of([each.last.val_loss for each in found.values()])
    row: dict[str, Any] = {
        "course": name,
        "says": next(each.words for each in found.values()),
        "by_seed": {str(seed): each.last.val_loss for seed, each in found.items()},
        "val_loss": asdict(losses),
        "flops": mean_of([each.stages[-1].flops for each in found.values()]).value,
        "spent": mean_of([each.points[-1].spent for each in found.values()]).value,
    }
    pairs = [(each, adaptive[seed]) for seed, each in found.items() if seed in adaptive]
    if name == ADAPTIVE or not pairs:
        return row
    row["behind"] = _behind(pairs)
    at = [(each, one, min(each.points[-1].spent, one.points[-1].spent)) for each, one in pairs]
    row["behind_at_equal_flops"] = asdict(
        mean_of([each.at(spent) - one.at(spent) for each, one, spent in at])
    )
    return row


def _behind(pairs: Sequence[tuple[Told, Told]]) -> dict[str, Any]:
    """Return how much higher a course ended than the adaptive one, paired by seed.

    Of one seed the validation batches are the pairs: that tells measurement from chance, and
    nothing of how another seed would have ended.
    """
    over = "seeds"
    values = [each.last.val_loss - one.last.val_loss for each, one in pairs]
    if len(pairs) == 1:
        each, one = pairs[0]
        batches = zip(each.last.val_loss_batches, one.last.val_loss_batches, strict=True)
        values, over = [a - b for a, b in batches], "batches"
    return {**asdict(mean_of(values)), "over": over}


def _cost(first: Told, courses: Sequence[Told], environment: dict[str, Any]) -> dict[str, Any]:
    """Return what the search took beside what was trained on, in steps and in FLOPs."""
    stages = [_stage(first, number, "") for number in range(len(first.stages))]
    extra = sum(each.get("extra_steps", 0) for each in stages)
    return {
        "steps": first.stages[-1].steps,
        "extra_steps": extra,
        "training_flops": first.stages[-1].flops,
        "search_flops": first.search_flops,
        "source_flops": first.source_flops,
        "all_courses_flops": sum(each.stages[-1].flops + each.search_flops for each in courses),
        "wall_s": dict(environment["wall_s"]),
        "slots": environment.get("slots", 1),
    }
