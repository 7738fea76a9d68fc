"""What a strategy is given: the settings of the search, and what was measured, of its curves."""

from collections.abc import Mapping, Sequence

from lagsearch.records.curve import Curve, levelled
from lagsearch.selection import LossTable, Measured, SearchSettings, find_signal, find_strategy
from lagsearch.space import Space, annealed_steps, rungs


def search_settings(space: Space, prior: Mapping[str, float] | None = None) -> SearchSettings:
    """Return the settings of the search that a space asks for.

    Args:
        space: What is run.
        prior: Where candidates like these ended in other runs, by name.
    """
    search = space.search
    heeds = find_strategy(search.strategy).heeds
    needs_decay = find_signal(search.signal).needs == "annealed"
    return SearchSettings(
        rungs=rungs(space, annealed_steps(space) if needs_decay else None),
        completion=space.training.steps,
        strategy=search.strategy,
        signal=search.signal,
        cut=space.cut if "cut" in heeds else None,
        keep=search.keep,
        first=search.min_lag if search.lag == "auto" else None,
        evidence=search.evidence if "evidence" in heeds else None,
        since=search.min_lag,
        threshold=search.stability.threshold,
        margin=search.stability.margin,
        left=search.stability.left,
        own=search.settings or {},
        prior=prior or {},
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
                levelled(
                    (each.step, getattr(each, of))
                    for each in curve.evaluations
                    if each.step <= until
                )
                for curve in found
            ]
            for name, found in curves.items()
        }
    )
