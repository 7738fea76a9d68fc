"""A plan as plain values, for other programs: `lagsearch plan --json`."""

import json
from typing import Any

from lagsearch.planning.run import Plan
from lagsearch.planning.stage import StagePlan, recorded

FORMAT = 1


def dump_plan(plan: Plan) -> str:
    """Return a plan as JSON."""
    return json.dumps(plain_plan(plan), indent=1, allow_nan=False)


def plain_plan(plan: Plan) -> dict[str, Any]:
    """Return all that a plan knows as plain values.

    `candidates` are as in `plans.json` of a run folder; what is not known is null. FLOPs are those
    of training but for `evaluations` (of the search) and `evaluation_flops` (of one of them),
    counted as the space says; memory is an estimate in bytes.

    Args:
        plan: Of one growth, or of stages: then the same for each of them, in `stages`.
    """
    if not plan.file.has_stages:
        return {"format": FORMAT, "kind": "growth", **_growth(plan.stages[0]), **_told(plan)}
    stages = [{"number": number, **_growth(each)} for number, each in enumerate(plan.stages, 1)]
    return {
        "format": FORMAT,
        "kind": "stages",
        "name": plan.file.name,
        "seeds": list(plan.file.seeds),
        "steps": plan.file.steps,
        "extra_steps": plan.extra_steps,
        "flops": {"training": plan.training_flops(), "search": plan.search_flops()},
        "stages": stages,
        **_told(plan),
    }


def _told(plan: Plan) -> dict[str, Any]:
    return {"documents": plan.documents, "notes": list(plan.notes)}


def _growth(plan: StagePlan) -> dict[str, Any]:
    space = plan.space
    return {
        "name": space.name,
        "seeds": list(space.seeds),
        "lag": plan.lag,
        "is_lag_found": space.search.lag == "auto",
        "steps": space.training.steps,
        "evaluation_steps": list(plan.steps),
        "evaluation": _evaluation(plan),
        "sources": [
            {
                "name": each.source.name,
                "checkpoint": each.source.checkpoint,
                "steps": each.source.pretrain.steps if each.source.pretrain else None,
                "parameters": each.cost.parameters,
                "flops_per_step": each.cost.flops_per_step,
                "memory_bytes": each.cost.memory_bytes,
            }
            for each in plan.sources
        ],
        "candidates": recorded(plan)["candidates"],
        "sampled": None if plan.domain is None else _sampled(plan),
        "flops": {
            "sources": plan.source_flops(),
            "search": plan.search_flops(),
            "evaluations": plan.evaluation_flops(),
            "winner": plan.winner_flops(),
            "baselines": plan.baseline_flops(),
            "every_candidate_to_completion": plan.flops(space.training.steps),
        },
        "advice": plan.advice(),
    }


def _evaluation(plan: StagePlan) -> dict[str, Any]:
    """Return on how much losses are measured; `batches_by_step` is up to K."""
    batches, rows = plan.validation_size
    return {
        "batches": batches,
        "batch_size": rows,
        "tokens": batches * rows * plan.space.data.sequence_length,
        "batches_by_step": {str(step): size for step, size in plan.evaluations.items()},
    }


def _sampled(plan: StagePlan) -> dict[str, Any]:
    assert plan.domain is not None, "the space lists its candidates"
    return {
        "combinations": plan.domain.size,
        "candidates": plan.n_sampled,
        "entries": [
            {
                "name": branch.label,
                "options": {name: list(each) for name, each in branch.parameters.items()},
            }
            for branch in plan.domain.branches
        ],
    }
