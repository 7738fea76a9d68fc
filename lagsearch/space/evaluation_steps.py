"""The steps at which candidates are evaluated, on how much, and where a search may decide."""

from collections.abc import Collection

from lagsearch.space.schema import Space

_SPARSE = (10, 15, 20, 30, 50, 70)
_DENSE = (10, 12, 15, 17, 20, 25, 30, 35, 40, 50, 60, 80)


def evaluation_steps(space: Space) -> tuple[int, ...]:
    """Return the evaluated steps in order: the ladder or the listed ones, with 0, K, completion.

    A search that decides on its way has a ladder of smaller steps. A trainer of the user's own has
    checkpoints at the listed steps alone and, where it measures itself, no loss before it trains.
    """
    listed = space.evaluation.steps
    completion = space.training.steps
    from lagsearch.selection import find_strategy

    is_dense = space.search.lag == "auto" or find_strategy(space.search.strategy).is_dense
    ladder = () if space.trainer else log_ladder(completion, is_dense=is_dense)
    ranked = {space.cut, space.latest_lag}
    steps = set(ladder if listed is None else listed) | ranked | {0, completion}
    if measures_itself(space):
        steps -= {0}
    return tuple(sorted(steps | set(annealed_steps(space))))


def measures_itself(space: Space) -> bool:
    """Return whether losses are those that a trainer of the user's own logs: without batches."""
    return space.trainer is not None and space.trainer.evaluate == "trainer"


def rungs(space: Space, judged: Collection[int] | None = None) -> tuple[int, ...]:
    """Return the steps at which a search may choose or stop candidates; K alone where it is fixed.

    Args:
        space: The space.
        judged: Steps at which there is what candidates are judged by; None for all evaluated ones.
    """
    from lagsearch.selection import find_strategy

    if space.search.lag != "auto" and not find_strategy(space.search.strategy).stops:
        return (space.latest_lag,)
    return tuple(
        step
        for step in evaluation_steps(space)
        if 0 < step <= space.latest_lag and (judged is None or step in judged)
    )


def thinned_steps(space: Space) -> frozenset[int]:
    """Return the steps at which the first validation batches are enough: early ones.

    What is known at K comes from 0, from the last step up to half of K and from the window of
    forecasts that ends there. Before that window nothing is decided but by strategies that may stop
    candidates at every step, and no loss is needed but for curves.
    """
    from lagsearch.selection import find_signal, find_strategy
    from lagsearch.selection.forecast import WINDOW

    strategy, lag = find_strategy(space.search.strategy), space.cut
    is_decided = space.search.lag == "auto" or strategy.is_dense
    looks_back = find_signal(space.search.signal).looks_back
    if not space.evaluation.thin or is_decided or looks_back or space.trainer:
        return frozenset()
    steps = evaluation_steps(space)
    half = max(each for each in steps if each <= lag / 2)
    early = {each for each in steps if 0 < each < lag / WINDOW and each != half}
    return frozenset(early - annealed_steps(space).keys())


def first_batches(batches: int) -> int:
    """Return how many of some validation batches are measured at `thinned_steps`."""
    return batches if batches < 2 * LEAST_BATCHES else max(LEAST_BATCHES, -(-batches // 4))


LEAST_BATCHES = 4
"""Validation batches that are measured at least, to tell chance apart."""


def evaluated_rows(space: Space, batch_size: int) -> int:
    """Return the sequences of a validation batch, as far as there is text.

    Args:
        space: The space.
        batch_size: Sequences in a training step of the model that is measured.
    """
    evaluation = space.evaluation
    most = evaluation.tokens // (evaluation.batches * space.data.sequence_length)
    return min(evaluation.batch_size or batch_size, max(1, most))


def annealed_steps(space: Space) -> dict[int, int]:
    """Return the steps of each decay to zero, by the step at which it branches off."""
    annealed = space.evaluation.annealed
    if annealed is None:
        return {}
    at = annealed.at or (space.cut, space.latest_lag)
    return {step: max(1, round(annealed.fraction * step)) for step in sorted({*at})}


def log_ladder(completion: int, *, is_dense: bool = False) -> tuple[int, ...]:
    """Return 0, 1, 2, 5, 10, 20, 50, then 1, 1.5, 2, 3, 5 and 7 times 100, 1000, and so on.

    A dense one has every 10 steps from 20 to 60, and twelve steps to a power of ten.
    """
    steps = [0]
    power = 1
    while power <= completion:
        few = (10, 20, 30, 40, 50, 60, 80) if is_dense and power == 10 else (10, 20, 50)
        factors = few if power < 100 else _DENSE if is_dense else _SPARSE
        steps += [power * factor // 10 for factor in factors]
        power *= 10
    return tuple(step for step in steps if step <= completion)
