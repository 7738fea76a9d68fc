"""One curve of a candidate from those of its seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import fsum

from lagsearch.records.curve import (
    Curve,
    Evaluation,
    Failure,
)


def mean_curve(curves: Sequence[Curve], seeds: Sequence[int]) -> Curve:
    """Return the mean over seeds at the steps that all have, and beyond those the first alone.

    It failed if it failed under any seed. Losses of batches and of parts are means as well; FLOPs
    and seconds are those of one seed.

    Args:
        curves: Under each seed; the first one's goes on beyond the others, a winner's say.
        seeds: The seeds.
    """
    if len(curves) == 1:
        return curves[0]
    shared = set.intersection(*({each.step for each in curve.evaluations} for curve in curves))
    last = max(shared, default=-1)
    evaluations = [
        _mean([curve.at(each.step) for curve in curves]) if each.step in shared else each
        for each in curves[0].evaluations
        if each.step in shared or each.step > last
    ]
    return Curve(tuple(evaluations), _failure(curves, seeds))


def _failure(curves: Sequence[Curve], seeds: Sequence[int]) -> Failure | None:
    for curve, seed in zip(curves, seeds, strict=True):
        if curve.failure is not None:
            return replace(curve.failure, failed=f"{curve.failure.failed} (seed {seed})")
    return None


def _mean(found: Sequence[Evaluation | None]) -> Evaluation:
    each = [one for one in found if one is not None]
    return replace(
        each[0],
        val_loss=fsum(one.val_loss for one in each) / len(each),
        val_loss_batches=_means(one.val_loss_batches for one in each),
        wall_s=round(fsum(one.wall_s for one in each) / len(each), 3),
        parts={name: _means(one.parts[name] for one in each) for name in each[0].parts},
        ema_batches=_means(one.ema_batches for one in each),
        annealed_batches=_means(one.annealed_batches for one in each),
    )


def _means(batches: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """Return the mean of each batch that was measured under all seeds."""
    return tuple(fsum(losses) / len(losses) for losses in zip(*batches, strict=False))
