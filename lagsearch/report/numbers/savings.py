"""What each growth saves against training from scratch: part of `report.json`."""

from typing import Any

from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.records.curve import Curve
from lagsearch.records.run import Recorded
from lagsearch.selection import Spending, saving, speed_up


def savings(run: Recorded, growths: list[str], search_flops: int) -> dict[str, Any] | None:
    """Compare growths with the baseline that was trained longest, at equal validation loss.

    The loss is the one that both come to: the higher one of their last ones. Where the grown model
    was better than that before it was trained, there is none: the baseline never came near, and
    what it spent says nothing of what it would need, so that there is no speed-up. What a growth
    spends is counted three ways: its own training, with that of the sources it takes from, and with
    the training of all other candidates to K too.

    Args:
        run: The run.
        growths: Those that were trained to completion.
        search_flops: FLOPs of training all candidates to K.

    Returns:
        The baseline and an entry for each growth, or None without a baseline that long.
    """
    reference = _longest_baseline(run)
    if reference is None:
        return None
    return {
        "baseline": reference,
        "steps": _curve(run, reference).evaluations[-1].step,
        "val_loss": _curve(run, reference).evaluations[-1].val_loss,
        "growths": {name: _entry(run, reference, name, search_flops) for name in growths},
    }


def _longest_baseline(run: Recorded) -> str | None:
    listed = [name for name, plan in run.plans.items() if plan["is_baseline"]]
    beside = [name for name, each in run.baselines.items() if not each.sources]
    lengths = {
        name: _curve(run, name).evaluations[-1].step
        for name in (*listed, *beside)
        if _curve(run, name).at(run.completion) is not None
    }
    return max(lengths, key=lambda name: lengths[name]) if lengths else None


def _entry(run: Recorded, reference: str, name: str, search_flops: int) -> dict[str, Any]:
    """Return what both spend until they come to the same loss, and what that saves."""
    entry: dict[str, Any] = {"is_bound": False}
    sources, others = _sources(run, name), _others(run, name, search_flops)
    for unit in ("flops", "tokens"):
        scratch, growth = _spending(run, reference, unit), _spending(run, name, unit)
        loss = max(scratch.end, growth.end)
        needed, spent = scratch.until(loss), growth.until(loss)
        if not spent:  # the grown model was better before it was trained than scratch ever came
            loss, needed, spent = growth.end, max(scratch.spent), growth.until(growth.end)
            entry["is_bound"] = True
        assert needed is not None and spent is not None, name
        before = sources[unit]
        totals = {
            "growth": spent,
            "with_sources": None if before is None else spent + before,
            "with_search": None if before is None else spent + before + others[unit],
        }
        entry["val_loss"] = loss
        entry[unit] = {"baseline": needed, **totals}
        for way, total in totals.items():
            is_told = total is not None and min(total, needed) > 0 and not entry["is_bound"]
            entry[unit][f"{way}_speed_up"] = speed_up(needed, total or 0.0) if is_told else None
            entry[unit][f"{way}_saving"] = saving(needed, total or 0.0) if is_told else None
    return entry


def _curve(run: Recorded, name: str) -> Curve:
    return run.curves[name] if name in run.curves else run.baselines[name].curve


def _spending(run: Recorded, name: str, unit: str) -> Spending:
    evaluations = _curve(run, name).evaluations
    losses = [each.val_loss for each in evaluations]
    if unit == "flops":
        return Spending([each.flops for each in evaluations], losses)
    plan = run.plans[name]["plan"] if name in run.plans else {}
    learned = (plan.get("learned") or {}).get("steps", 0)
    per_step = run.space.training.batch_size * run.space.data.sequence_length
    return Spending([(each.step + learned) * per_step for each in evaluations], losses)


def _sources(run: Recorded, name: str) -> dict[str, int | None]:
    """Return what the sources took that a growth takes from; None where one is not known."""
    flops, tokens = [], []
    for place in sorted(GrowthPlan.from_dict(run.plans[name]["plan"]).sources):
        flops.append(run.environment["sources"][place]["flops"])
        pretrain, training = run.space.sources[place].pretrain, run.space.training
        if pretrain is not None:
            rows = pretrain.steps * (pretrain.batch_size or training.batch_size)
            tokens.append(rows * run.space.data.sequence_length)
    if None in flops:
        return {"flops": None, "tokens": None}
    return {"flops": sum(flops), "tokens": sum(tokens)}


def _others(run: Recorded, name: str, search_flops: int) -> dict[str, int]:
    """Return what all other candidates took up to K, as far as each came."""
    own = run.curves[name].at(run.lag)
    tokens = 0.0
    for other in run.plans:
        reached = sum(each.step <= run.lag for each in run.curves[other].evaluations)
        if other != name and reached:
            tokens += _spending(run, other, "tokens").spent[reached - 1]
    return {"flops": search_flops - (own.flops if own else 0), "tokens": int(tokens)}
