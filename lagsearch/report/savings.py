"""What each growth saves against training from scratch: part of `report.json`."""

from typing import TYPE_CHECKING, Any

from lagsearch.selection import Spending, saving, speed_up

if TYPE_CHECKING:
    from lagsearch.report.numbers import Recorded


def savings(run: "Recorded", growths: list[str], search_flops: int) -> dict[str, Any] | None:
    """Compare growths with the baseline that was trained longest, at equal validation loss.

    The loss is the one that both come to: the higher one of their last ones. What a growth spends
    is counted three ways: its own training, with that of its sources, and with the search's too.

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
    sources = _sources(run, search_flops)
    return {
        "baseline": reference,
        "steps": run.curves[reference].evaluations[-1].step,
        "growths": {name: _entry(run, reference, name, sources) for name in growths},
    }


def _longest_baseline(run: "Recorded") -> str | None:
    lengths = {
        name: curve.evaluations[-1].step
        for name, curve in run.curves.items()
        if run.plans[name]["is_baseline"] and curve.at(run.completion) is not None
    }
    return max(lengths, key=lambda name: lengths[name]) if lengths else None


def _entry(
    run: "Recorded", reference: str, name: str, others: dict[str, dict[str, float | None]]
) -> dict[str, Any]:
    """Return what both spend until they come to the same loss, and what that saves."""
    entry: dict[str, Any] = {}
    for unit in ("flops", "tokens"):
        scratch, growth = _spending(run, reference, unit), _spending(run, name, unit)
        loss = max(scratch.end, growth.end)
        needed, spent = scratch.until(loss), growth.until(loss)
        assert needed is not None and spent is not None, name
        entry["val_loss"] = loss
        entry[unit] = {"baseline": needed, "growth": spent}
        for way in ("growth", "with_sources", "with_search"):
            more = 0.0 if way == "growth" else others[unit][way]
            total = None if more is None else spent + more
            is_told = total is not None and min(total, needed) > 0
            entry[unit][way] = total
            entry[unit][f"{way}_speed_up"] = speed_up(needed, total or 0.0) if is_told else None
            entry[unit][f"{way}_saving"] = saving(needed, total or 0.0) if is_told else None
    return entry


def _spending(run: "Recorded", name: str, unit: str) -> Spending:
    evaluations = run.curves[name].evaluations
    losses = [each.val_loss for each in evaluations]
    if unit == "flops":
        return Spending([each.flops for each in evaluations], losses)
    learned = (run.plans[name]["plan"].get("learned") or {}).get("steps", 0)
    per_step = run.space.training.batch_size * run.space.data.sequence_length
    return Spending([(each.step + learned) * per_step for each in evaluations], losses)


def _sources(run: "Recorded", search_flops: int) -> dict[str, dict[str, float | None]]:
    """Return what sources took, and what sources and the other candidates up to K took."""
    space, training = run.space, run.space.training
    flops = [source["flops"] for source in run.environment["sources"]]
    pretrained = [each.pretrain for each in space.sources]
    tokens = [
        None if each is None else each.steps * (each.batch_size or training.batch_size)
        for each in pretrained
    ]
    at_lag = run.curves[run.winner].at(run.lag)
    per_step = training.batch_size * space.data.sequence_length
    others = {
        "flops": search_flops - (at_lag.flops if at_lag else 0),
        "tokens": (len(run.plans) - 1) * run.lag * per_step,
    }
    spent = {
        "flops": _sum(flops),
        "tokens": _sum([each and each * space.data.sequence_length for each in tokens]),
    }
    return {
        unit: {
            "with_sources": total,
            "with_search": None if total is None else total + others[unit],
        }
        for unit, total in spent.items()
    }


def _sum(values: list[int | None]) -> int | None:
    known = [each for each in values if each is not None]
    return sum(known) if len(known) == len(values) else None
