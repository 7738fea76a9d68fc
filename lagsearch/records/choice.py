"""From a space and its curves to what a strategy sees and says."""

from collections.abc import Mapping, Sequence

from lagsearch.records.curve import Curve
from lagsearch.selection import LossTable, Measured, Strategy, find_signal
from lagsearch.space import Space, annealed_steps, rungs


def strategy_of(space: Space) -> Strategy:
    """Return the strategy that a space asks for."""
    search = space.search
    needs_decay = find_signal(search.signal).needs == "annealed"
    return Strategy(
        rungs=rungs(space, annealed_steps(space) if needs_decay else None),
        completion=space.training.steps,
        signal=search.signal,
        first=search.min_lag if search.lag == "auto" else None,
        evidence=search.evidence if search.strategy == "race" else None,
        since=search.min_lag,
        threshold=search.stability.threshold,
        margin=search.stability.margin,
        left=search.stability.left,
    )


def measured_of(curves: Mapping[str, Sequence[Curve]], until: int) -> Measured:
    """Return what was measured of candidates up to a step.

    Args:
        curves: Each candidate's evaluations under each seed.
        until: Completion: baselines may go on beyond it.
    """
    loss = _table(curves, "val_loss_batches", until)
    averaged, annealed = (_table(curves, of, until) for of in ("ema_batches", "annealed_batches"))
    return Measured(
        loss, averaged if averaged.steps else None, annealed if annealed.steps else None
    )


def _table(curves: Mapping[str, Sequence[Curve]], of: str, until: int) -> LossTable:
    """Return the table of one kind of loss."""
    return LossTable.of_seeds(
        {
            name: [
                {
                    each.step: getattr(each, of)
                    for each in curve.evaluations
                    if each.step <= until and getattr(each, of)
                }
                for curve in found
            ]
            for name, found in curves.items()
        }
    )
