"""The steps at which candidates are evaluated."""

from lagsearch.space.schema import Space


def evaluation_steps(space: Space) -> tuple[int, ...]:
    """Return the evaluated steps in order: the ladder or the listed ones, with 0, K, completion."""
    listed = space.evaluation.steps
    steps = set(log_ladder(space.training.steps) if listed is None else listed)
    steps |= {0, space.training.steps}
    if space.search.lag is not None:
        steps.add(space.search.lag)
    return tuple(sorted(steps | set(annealed_steps(space))))


def annealed_steps(space: Space) -> dict[int, int]:
    """Return the steps of each decay to zero, by the step at which it branches off."""
    annealed = space.evaluation.annealed
    if annealed is None:
        return {}
    at = annealed.at or ([] if space.search.lag is None else [space.search.lag])
    return {step: max(1, round(annealed.fraction * step)) for step in sorted({*at})}


def log_ladder(completion: int) -> tuple[int, ...]:
    """Return 0, 1, 2, 5, 10, 20, 50, then 1, 1.5, 2, 3, 5 and 7 times 100, 1000, and so on."""
    steps = [0]
    power = 1
    while power <= completion:
        rungs = (10, 20, 50) if power < 100 else (10, 15, 20, 30, 50, 70)
        steps += [power * rung // 10 for rung in rungs]
        power *= 10
    return tuple(step for step in steps if step <= completion)
