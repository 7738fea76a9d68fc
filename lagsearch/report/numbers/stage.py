"""The numbers of a report, from a run folder alone: what `report.json` holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lagsearch.errors import RunFolderError
from lagsearch.operators.plan.growth import layers_of
from lagsearch.records.choice import strategy_of
from lagsearch.records.curve import Curve
from lagsearch.records.folder import RunFolder
from lagsearch.records.search import (
    Searched,
    Terms,
    conclude,
)
from lagsearch.records.seeds import mean_curve
from lagsearch.report.numbers.growing import Baseline, growing
from lagsearch.report.numbers.savings import savings
from lagsearch.report.numbers.statistics import (
    losses_at,
    statistics,
    strategy_rows,
)
from lagsearch.selection import EVALUATOR, Order, importance
from lagsearch.space import Space, annealed_steps
from lagsearch.storage.files import derive_seed


@dataclass(frozen=True)
class Recorded(Searched):
    """A run folder, read.

    Attributes:
        space: What was run.
        plans: `plans.json`: each candidate's entry by its name.
        environment: `environment.json`.
        operators: What came of learning the operators that are learned, by candidate.
        profiles: Where the time went, by candidate, where somebody looked.
        has_winner: Whether the winner's weights are there.
        harness: `harness.json`, None where no downstream tasks were evaluated.
        left_out: Candidates of the space that do not fit: name and reason of each.
        baselines: What candidates are compared with, and were not chosen from.
    """

    space: Space
    plans: Mapping[str, dict[str, Any]]
    environment: Mapping[str, Any]
    operators: Mapping[str, dict[str, Any]]
    profiles: Mapping[str, dict[str, Any]]
    has_winner: bool
    harness: Mapping[str, Any] | None
    left_out: tuple[dict[str, str], ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=dict)


def terms_of(space: Space, baselines: Iterable[str]) -> Terms:
    """Return the terms on which a space compares its candidates."""
    return Terms(
        name=space.name,
        seed=space.seed,
        seeds=space.seeds,
        strategy=strategy_of(space),
        kind=space.search.strategy,
        asked_lag=space.search.lag,
        has_oracle=space.search.oracle,
        baselines=frozenset(baselines),
        annealed=annealed_steps(space),
    )


def read_run(folder: RunFolder) -> Recorded:
    """Read a run folder.

    Raises:
        RunFolderError: It is none, or no candidate has reached K, or some are still to reach it.
    """
    space = folder.space()
    recorded = folder.plans()
    plans = {entry["name"]: entry for entry in recorded["candidates"]}
    terms = terms_of(space, [name for name, plan in plans.items() if plan["is_baseline"]])
    by_seed = {name: folder.curves_of(space, name) for name in plans}
    found = conclude(terms, by_seed, folder.path)
    if space.search.oracle and (late := _late(by_seed, space.training.steps)):
        found = Order(space.training.steps, late)
    if isinstance(found, Order):
        raise RunFolderError(
            f"{folder.path}: {len(found.candidates)} of {len(plans)} candidates have not reached "
            f"step {found.step}, e.g. {found.candidates[0]}; `lagsearch run` with the same --out "
            "goes on"
        )
    environment = folder.environment()
    baselines = _baselines(folder, space)
    if environment.get("end"):
        _check_ends(folder, space, found.winner)
    return Recorded(
        **vars(found),
        space=space,
        plans=plans,
        environment=environment,
        operators={name: learnt for name in plans if (learnt := folder.operator(name)) is not None},
        profiles={name: seen for name in plans if (seen := folder.profile(name)) is not None},
        has_winner=any(folder.winner.glob("*.safetensors")),
        harness=folder.harness(),
        left_out=tuple(recorded.get("left_out", ())),
        baselines=baselines,
    )


def _check_ends(folder: RunFolder, space: Space, winner: str) -> None:
    """Check that what a run that is over trained to an end is recorded until there.

    Raises:
        RunFolderError: A curve ends before.
    """
    ends = {space.trials(winner)[0]: space.training.steps}
    for plan in folder.plans().get("baselines", ()):
        ends |= dict.fromkeys(space.trials(plan["name"]), plan["steps"])
    for trial, step in ends.items():
        curve = folder.curve(trial)
        if curve.failure is None and curve.at(step) is None:
            raise RunFolderError(
                f"{folder.curve_file(trial)}: has lost its end, step {step}; `lagsearch run` with "
                "the same --out mends it"
            )


def _baselines(folder: RunFolder, space: Space) -> dict[str, Baseline]:
    """Return what was trained beside the candidates, as far as it came."""
    found = {}
    for plan in folder.plans().get("baselines", ()):
        by_seed = folder.curves_of(space, plan["name"])
        curve = mean_curve(by_seed, space.seeds)
        if curve.seen:
            found[plan["name"]] = Baseline(plan, by_seed, curve)
    return found


def _late(by_seed: Mapping[str, tuple[Curve, ...]], step: int) -> tuple[str, ...]:
    """Return the candidates that did not fail and have not reached a step under all seeds."""
    return tuple(
        name
        for name, curves in by_seed.items()
        if not any(curve.failure for curve in curves) and not all(each.at(step) for each in curves)
    )


def build_numbers(run: Recorded) -> dict[str, Any]:
    """Return what `report.json` holds: statistics, and what the run folder knows besides."""
    report = statistics(run)
    report["seeds"] = list(run.environment["seeds"])
    report["sources"] = [_source(each) for each in run.environment["sources"]]
    report["candidates"] = [each | _facts(run, each["name"]) for each in report["candidates"]]
    report["winner"] |= {
        "seed": run.space.seeds[0],
        "val_loss": losses_at(run, run.by_seed[run.winner][0]),
        "checkpoint": "winner" if run.has_winner else None,
    }
    report["left_out"] = list(run.left_out)
    report["importance"] = _importance(run)
    report["cost"] = training_cost(run)
    report["savings"] = savings(run, run.complete_growths, report["cost"]["search_flops"])
    report["growing"] = growing(run)
    report["harness"] = _harness(run)
    if report["oracle"]:
        report["baselines"] = strategy_rows(run, _published(run))
    if run.profiles:
        report["profile"] = dict(run.profiles)
    return report


def _facts(run: Recorded, name: str) -> dict[str, Any]:
    """Return what is known of a candidate beside its losses."""
    evaluations, plan = run.curves[name].evaluations, run.plans[name]
    until_lag = [each for each in evaluations if each.step <= run.lag]
    last = until_lag[-1] if until_lag else None
    known = {key: plan[key] for key in ("operator", "settings", "layer_map", "parameters")}
    known |= {
        "also": plan.get("also", []),
        "wall_s": last.wall_s if last else 0.0,
        "flops": last.flops if last else 0,
        "flops_by_step": {str(each.step): each.flops for each in evaluations},
    }
    return known | ({"learned": run.operators[name]} if name in run.operators else {})


def _source(facts: dict[str, Any]) -> dict[str, Any]:
    """What a reader must know of a source; its seconds are under cost."""
    return {key: value for key, value in facts.items() if key != "wall_s"}


def _importance(run: Recorded) -> dict[str, Any] | None:
    """What decides the loss at completion with an oracle, at K without."""
    scored = run.complete_growths if run.space.search.oracle else run.growths
    step = run.completion if run.space.search.oracle else run.lag
    designs = {name: (run.plans[name]["operator"], run.plans[name]["settings"]) for name in scored}
    at_step = dict(zip(run.table.candidates, run.table.at(step).tolist(), strict=True))
    generator = np.random.default_rng(derive_seed(run.space.seed, "importance"))
    found = importance(designs, at_step, generator)
    if not found:
        return None
    return {
        "evaluator": EVALUATOR,
        "step": step,
        "dimensions": [
            {
                "operator": each.operator,
                "name": each.name,
                "importance": each.importance,
                "p_value": each.p_value,
                "values": [
                    {
                        "value": value.value,
                        "mean": value.mean,
                        "n": len(value.candidates),
                        "candidates": list(value.candidates),
                        "interval": None if value.interval is None else list(value.interval),
                    }
                    for value in each.marginals
                ],
            }
            for each in found
        ],
    }


def training_cost(run: Recorded) -> dict[str, Any]:
    """FLOPs of training; those of evaluation stand apart."""
    sources = [source["flops"] for source in run.environment["sources"]]
    spent = evaluated = 0
    for name, curves in run.by_seed.items():
        stop = run.choice.stopped.get(name)
        until = run.lag if stop is None else stop.step
        for curve in curves:
            until_lag = [each for each in curve.evaluations if each.step <= until]
            spent += until_lag[-1].flops if until_lag else 0
            spent += sum(each.annealed_flops for each in until_lag)
            evaluated += len(until_lag) * run.plans[name]["evaluation_flops"]
    winner = run.plans[run.winner]
    after = run.completion - run.lag
    return {
        "source_flops": None if None in sources else sum(sources),
        "search_flops": spent,
        "winner_flops": after * winner["flops_per_step"],
        "baseline_flops": _beyond_completion(run) + _beside(run),
        "oracle_flops": len(run.space.seeds)
        * sum(
            run.completion * each["flops_per_step"] + each.get("operator_flops", 0)
            for each in run.plans.values()
        ),
        "evaluation_flops": evaluated,
        "counting": run.space.evaluation.flops,
        "slots": run.environment["slots"],
        "wall_s": dict(run.environment["wall_s"]),
    }


def _beyond_completion(run: Recorded) -> int:
    """Return the FLOPs of candidates that are trained further than all others."""
    return sum(
        max(0, curve.evaluations[-1].step - run.completion) * run.plans[name]["flops_per_step"]
        for name, curve in run.curves.items()
        if curve.evaluations
    )


def _beside(run: Recorded) -> int:
    """Return the FLOPs of what was trained beside the candidates, under all seeds."""
    curves = [curve for each in run.baselines.values() for curve in each.by_seed]
    return sum(curve.evaluations[-1].flops for curve in curves if curve.evaluations)


_OF_EVALUATION = ("limit", "lm_eval", "max_length", "is_truncated")


def _harness(run: Recorded) -> dict[str, Any] | None:
    """What came out on downstream tasks: a row for each candidate, task and metric, by rank."""
    if run.harness is None:
        return None
    evaluations = run.harness["evaluations"]
    evaluations = sorted(evaluations, key=lambda each: run.ranking.index(each["candidate"]))
    return {
        "results": [
            {"candidate": each["candidate"], **row, **{key: each[key] for key in _OF_EVALUATION}}
            for each in evaluations
            for row in each["results"]
        ],
        "failures": [
            {"candidate": each["candidate"], "task": each["asked"], "reason": each["reason"]}
            for each in run.harness["failures"]
        ],
    }


def _published(run: Recorded) -> dict[str, str | None]:
    """Return the candidates that published strategies would choose."""
    return {
        "last block on top": _on_top(run, run.complete_growths, "copy"),
        "random block on top": _on_top(run, run.complete_growths, "random"),
    }


def _on_top(run: Recorded, names: list[str], treatment: str) -> str | None:
    """Find the growth that leaves the source as it is and puts one block on its top.

    A copied block is that of the last layers: last stacking (Reddi et al. 2023). It does nothing
    else: growths in width are no such row.
    """
    for name in names:
        if run.plans[name]["plan"].get("width") is not None:
            continue
        layers = layers_of(run.plans[name]["plan"])
        old = [layer for layer in layers if not layer.is_new]
        new = [layer for layer in layers if layer.is_new]
        last = [layer.layer for layer in old[-len(new) :]] if new else []
        is_on_top = layers == tuple(old + new) and all(
            layer.treatment == treatment for layer in new
        )
        if new and is_on_top and (treatment == "random" or [each.layer for each in new] == last):
            return name
    return None
