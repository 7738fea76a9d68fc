"""Several trained models of one architecture become one deeper model."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from lagsearch.errors import MistakeError, OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators.plan.growth import (
    GrowthPlan,
    LayerOrigin,
    Origin,
)
from lagsearch.operators.registry import Choices, Control, Drawn, Draws, Short, operator

_MOST_LISTED = 40_320  # orders of eight sources

Sources = Mapping[str, ModelShape]
"""Shapes of the sources by their names, in the order of the space."""


def orders(value: str, names: tuple[str, ...], seed: int) -> list[str]:
    """Return the orders that a word stands for: `all`, or `sample N` of them, else one as written.

    Raises:
        OperatorError: N is no number, or more than there are; or there are too many to list.
    """
    word, _, rest = value.partition(" ")
    if value != "all" and (word != "sample" or word in names):
        return [value]
    if (count := math.factorial(len(names))) > _MOST_LISTED:
        message = f"order {value!r}: {count:,} orders are too many to list; write any, and "
        raise MistakeError(message + "search: {strategy: optuna, ...}", "order")
    every = [" ".join(each) for each in itertools.permutations(names)]
    if value == "all":
        return every
    if not rest.isdigit() or not 1 <= int(rest) <= len(every):
        raise MistakeError(f"order {value!r}: write `sample N`, N from 1 to {len(every)}", "order")
    import numpy as np

    drawn = np.random.default_rng(seed).choice(len(every), size=int(rest), replace=False)
    return [every[place] for place in sorted(drawn)]


def _any_order(sources: Sources, target: ModelShape) -> Drawn:
    """Draw an order: every source after the first finds its place among those before it."""
    first, *others = sources
    steps = {name: tuple(range(place + 1)) for place, name in enumerate(others, start=1)}

    def value(places: Sequence[int]) -> str:
        order = [first]
        for name, place in zip(others, places, strict=True):
            order.insert(place, name)
        return " ".join(order)

    return Drawn(steps, value)


def boundaries(value: str, names: tuple[str, ...], seed: int) -> list[str]:
    """Return the boundary policies that a word stands for: `all`, else one as written."""
    if value != "all":
        return [value]
    return ["attached", "average", *(f"same-{name}" for name in names)]


Order = Annotated[
    str,
    Short("", lambda value: value.replace(" ", ".")),
    Choices(orders),
    Draws(_any_order),
]
Boundary = Annotated[str, Short(""), Choices(boundaries)]


@operator(
    "multi-stack",
    paper="survey, section on multi-model growth",
    grows="depth",
    preserves="no",
    takes="several",
    control=Control("stack"),
    example={"order": "a b"},
)
def multi_stack(
    sources: Sources, target: ModelShape, *, order: Order, boundary: Boundary = "attached"
) -> GrowthPlan:
    """Put whole models one on another: all layers of the first, then of the second, and so on.

    Args:
        sources: Shapes of the sources; equal but for their depths.
        target: Shape to reach; as deep as all sources together, otherwise equal.
        order: Names of the sources from the embedding up, `a b c`; `all` orders, or `sample N`; or
            `any` of them, drawn by `search: {strategy: optuna}`.
        boundary: Where embedding and head come from: `attached` (embedding of the first, final
            norm and head of the last), `average` (the mean of all), `same-NAME` (both from one
            source), or `all` of these. A tied head goes with the embedding.

    Raises:
        OperatorError: The sources differ, the depths do not add up, or a name is unknown.

    Source:
        The survey's multi-model stacking (section 5 of its code: sources of 4 layers, 2 to 4 of
        them). There the order is drawn without a seed; here it is part of the candidate.
    """
    names = _ordered(sources, target, order)
    places = [(name, layer) for name in names for layer in range(sources[name].n_layers)]
    return _plan(sources, names, places, boundary)


@operator(
    "multi-interleave",
    paper="survey, section on multi-model growth",
    grows="depth",
    preserves="no",
    takes="several",
    control=Control("interleave"),
    example={"order": "a b"},
)
def multi_interleave(
    sources: Sources, target: ModelShape, *, order: Order, boundary: Boundary = "attached"
) -> GrowthPlan:
    """Take layers in turn: the first of every model, then the second of every model, and so on.

    Args:
        sources: Shapes of the sources; equal.
        target: Shape to reach; as deep as all sources together, otherwise equal.
        order: As for `multi-stack`; the same at every depth.
        boundary: As for `multi-stack`.

    Raises:
        OperatorError: The sources differ, the depths do not add up, or a name is unknown.

    Source:
        The survey's multi-model interleaving.
    """
    names = _ordered(sources, target, order)
    depths = {sources[name].n_layers for name in names}
    if len(depths) > 1:
        raise OperatorError("multi-interleave needs sources of one depth")
    places = [(name, layer) for layer in range(depths.pop()) for name in names]
    return _plan(sources, names, places, boundary)


def _ordered(sources: Sources, target: ModelShape, order: str) -> list[str]:
    """Check shapes and order; return the names in order."""
    first, *others = sources.values()
    for other in [*others, target]:
        if differences := first.differences(other):
            key, (one, another) = next(iter(differences.items()))
            raise OperatorError(
                f"sources and target must be equal but for the depth: {key} is {one} and {another}"
            )
    names = order.split()
    if sorted(names) != sorted(sources):
        raise OperatorError(
            f"order {order!r} must name each source once: {', '.join(sources)}; or be all, or "
            "sample N",
            "order",
        )
    depth = sum(shape.n_layers for shape in sources.values())
    if depth != target.n_layers:
        raise OperatorError(
            f"the sources have {depth} layers together, but the target {target.n_layers}"
        )
    return names


def _plan(
    sources: Sources, names: list[str], places: list[tuple[str, int]], boundary: str
) -> GrowthPlan:
    index = {name: place for place, name in enumerate(sources)}
    layers = tuple(LayerOrigin(source=index[name], layer=layer) for name, layer in places)
    policy, _, chosen = boundary.partition("-")
    if boundary == "attached":
        ends = (Origin((index[names[0]],)), Origin((index[names[-1]],)))
    elif boundary == "average":
        ends = (Origin(tuple(range(len(index)))),) * 2
    elif policy == "same" and chosen in index:
        ends = (Origin((index[chosen],)),) * 2
    else:
        known = boundaries("all", tuple(sources), 0)
        raise OperatorError(
            f"boundary {boundary!r} is unknown; known: {', '.join(known)}, all", "boundary"
        )
    return GrowthPlan(layers, *ends)
