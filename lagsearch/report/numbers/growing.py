"""Whether growing is worth it: growths beside what was not chosen from, part of `report.json`."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from lagsearch.records.curve import Curve, levelled
from lagsearch.records.run import Baseline, Recorded
from lagsearch.selection import compare_losses, losses_when_spent, on_first
from lagsearch.space import evaluated_rows


def growing(run: Recorded) -> dict[str, Any]:
    """Compare every growth with every baseline, at equal steps and at equal training FLOPs.

    At the last step that both came to: completion, or K for a growth that was trained no further.
    Equal FLOPs are the smaller one of what both spent in all until then; what a source took is not
    in them, as both go on from it. A comparison is fair where the learning rate had fallen alike:
    a schedule that falls to an end makes a loss on the way a poor measure of a training that ends
    there.

    Returns:
        What is known of the `sources` before growth, the `baselines`, and `comparisons`.
    """
    alive = {name: each for name, each in run.baselines.items() if each.curve.failure is None}
    growths = [name for name in run.ranking if name in run.growths]
    return {
        "sources": _sources(run),
        "baselines": [_entry(run, name) for name in run.baselines],
        "comparisons": [
            _comparison(run, growth, name, each)
            for growth in growths
            for name, each in alive.items()
        ],
    }


def _entry(run: Recorded, name: str) -> dict[str, Any]:
    """Return a baseline as candidates are written, but without a rank."""
    baseline = run.baselines[name]
    evaluations, plan = baseline.curve.evaluations, baseline.plan
    until_lag = [each for each in evaluations if each.step <= run.lag]
    sources = [run.space.sources[place].name for place in baseline.sources]
    failure = baseline.curve.failure
    entry = {
        "rank": None,
        "name": name,
        **{key: plan[key] for key in ("operator", "settings", "layer_map", "parameters", "steps")},
        "source": sources[0] if sources else None,
        "rank_interval": None,
        "p_best": None,
        "signal": None,
        "status": "failed" if failure else "ok",
        "is_baseline": True,
        "wall_s": until_lag[-1].wall_s if until_lag else 0.0,
        "flops": until_lag[-1].flops if until_lag else 0,
        "val_loss": {str(each.step): each.val_loss for each in evaluations},
        "val_loss_se": {},
        "flops_by_step": {str(each.step): each.flops for each in evaluations},
    }
    told = {} if failure is None else {"failure": f"step {failure.step}: {failure.failed}"}
    return entry | told


def _sources(run: Recorded) -> list[dict[str, Any]]:
    """Return each source's own loss on the validation batches, where it is known.

    An ungrown baseline begins with it. A source that was trained here on as many sequences a step
    was measured on the same batches, too.
    """
    found = []
    for place, source in enumerate(run.space.sources):
        begun = [
            each.curve.at(0)
            for each in run.baselines.values()
            if each.plan["operator"] == "continue" and each.sources == [place]
        ]
        losses = [each.val_loss for each in begun if each is not None][:1]
        own = run.space.training.batch_size
        rows = source.pretrain and (source.pretrain.batch_size or own)
        is_same = rows and evaluated_rows(run.space, rows) == evaluated_rows(run.space, own)
        if not losses and is_same:
            facts = [each for each in run.environment["sources"] if each["name"] == source.name]
            losses = [each["val_loss"] for each in facts if "val_loss" in each]
        if losses:
            found.append({"name": source.name, "val_loss": fmean(losses)})
    return found


def _comparison(run: Recorded, growth: str, name: str, baseline: Baseline) -> dict[str, Any]:
    pairs = list(zip(run.by_seed[growth], baseline.by_seed, strict=True))
    last = max((step for pair in pairs for step in _shared(pair)), default=None)
    compared: dict[str, Any] = {"growth": growth, "baseline": name}
    if last is None:
        return compared | {"equal_steps": None, "equal_flops": None}
    pairs = [pair for pair in pairs if last in _shared(pair)]
    read = [[_batches(curve)[last] for curve in pair] for pair in pairs]
    is_fair = not run.space.training.schedule.falls or baseline.plan["steps"] == run.completion
    at_steps = {"step": last, **_compared(read, is_fair=is_fair)}
    return compared | {"equal_steps": at_steps, "equal_flops": _at_equal_flops(run, pairs)}


def _at_equal_flops(run: Recorded, pairs: Sequence[tuple[Curve, Curve]]) -> dict[str, Any] | None:
    """Compare under the seeds under which both have spent what the first seed's two have."""
    ends = [curve.evaluations[-1] for curve in pairs[0]]
    flops = min(each.flops for each in ends)
    read = [[_when_spent(curve, flops) for curve in pair] for pair in pairs]
    known = [pair for pair in read if all(losses is not None for losses in pair)]
    if not known:
        return None
    step_flops = ends[1].flops / max(1, ends[1].step)
    is_over = ends[0].step == run.completion and ends[1].flops - flops < step_flops
    is_fair = not run.space.training.schedule.falls or (is_over and ends[0].flops == flops)
    return {"flops": flops, **_compared(known, is_fair=is_fair)}


def _shared(pair: tuple[Curve, Curve]) -> set[int]:
    first, second = ({each.step for each in curve.evaluations} for curve in pair)
    return first & second


def _batches(curve: Curve) -> dict[int, tuple[float, ...]]:
    return levelled((each.step, each.val_loss_batches) for each in curve.evaluations)


def _when_spent(curve: Curve, flops: int) -> Any:
    spent = [each.flops for each in curve.evaluations]
    return losses_when_spent(spent, tuple(map(np.array, _batches(curve).values())), flops)


def _compared(read: Sequence[Sequence[Any]], *, is_fair: bool) -> dict[str, Any]:
    """Return what growth and baseline came to, from the batch losses of both under each seed."""
    size = min(len(losses) for pair in read for losses in pair)
    grown, other = (
        np.array([on_first(losses, size) for losses in side]) for side in zip(*read, strict=True)
    )
    found = compare_losses(grown, other)
    return {
        "val_loss": found.first,
        "baseline_val_loss": found.second,
        "difference": found.first - found.second,
        "p_value": found.p_value,
        "seeds": len(read),
        "is_fair": is_fair,
    }
