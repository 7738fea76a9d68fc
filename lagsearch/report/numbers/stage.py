"""The numbers of a report, from a run folder alone: what `report.json` holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lagsearch.operators.plan.growth import GrowthPlan, layers_of
from lagsearch.records.curve import Evaluation
from lagsearch.records.run import Recorded
from lagsearch.report.numbers.growing import growing
from lagsearch.report.numbers.savings import savings
from lagsearch.report.numbers.statistics import (
    losses_at,
    statistics,
    strategy_rows,
)
from lagsearch.selection import EVALUATOR, importance
from lagsearch.storage.files import derive_seed


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
    ramp_end = GrowthPlan.from_dict(plan["plan"]).ramp_end
    known |= {"fades_until": ramp_end} if ramp_end else {}
    known |= {"learned": run.operators[name]} if name in run.operators else {}
    return known | ({"devices": run.devices[name]} if name in run.devices else {})


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
    spent, evaluated = 0, 0.0
    for name, curves in run.by_seed.items():
        stop = run.choice.stopped.get(name)
        until = run.lag if stop is None else stop.step
        for curve in curves:
            until_lag = [each for each in curve.evaluations if each.step <= until]
            spent += until_lag[-1].flops if until_lag else 0
            spent += sum(each.annealed_flops for each in until_lag)
            evaluated += run.plans[name]["evaluation_flops"] * _measured(run, until_lag)
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
        "evaluation_flops": round(evaluated),
        "counting": run.space.evaluation.flops,
        "slots": run.environment["slots"],
        "wall_s": dict(run.environment["wall_s"]),
    }


def _measured(run: Recorded, evaluations: Sequence[Evaluation]) -> float:
    """Return how many whole evaluations some come to.

    With a moving average a whole one measures all batches twice; a decay that branches off is
    measured once more.
    """
    once = run.table.batches.shape[3] * (1 if run.space.evaluation.ema is None else 2)
    kinds = ("val_loss_batches", "ema_batches", "annealed_batches")
    measured = sum(len(getattr(each, kind)) for each in evaluations for kind in kinds)
    return float(measured / once)


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
