"""What a learned mix takes, has and makes, by shapes alone: torch is not needed.

`mix_ligo` and `mix_mango` make tensors of what is gathered here; a test counts what they do, and
compares. Letters: N target tensors, P pooled source tensors; those of MANGO as in `mix_mango`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import NamedTuple

from lagsearch.errors import ModelError
from lagsearch.models.families import UNITS, Counted, Units, Weight, units_of
from lagsearch.models.layers import LayerStack
from lagsearch.operators.execute.shapes import Shaped, n_units
from lagsearch.operators.plan.growth import GrowthPlan, LayerOrigin, Origin
from lagsearch.operators.plan.learned import Learned
from lagsearch.operators.plan.width import Lift, Width

Shapes = Mapping[str, Shaped]
"""Tensors by name, or what has their shapes."""


@dataclass(frozen=True)
class Group:
    """Target tensors that are mixed from the same source tensors.

    Attributes:
        names: The N target tensors.
        pool: (source, name) of the P source tensors.
        shape: That each of them has.
        key: Name of the coefficients, (N, P); None where target tensor n is source tensor n.
        first: Where each mix begins: a place of the pool; None for the mean of all.
        weight: What the family's table says of them.
        is_last_norm: They belong to the norm that the head reads.
    """

    names: tuple[str, ...]
    pool: tuple[tuple[int, str], ...]
    shape: tuple[int, ...]
    key: str | None = None
    first: tuple[int, ...] | None = None
    weight: Weight | None = None
    is_last_norm: bool = False

    @property
    def coefficients(self) -> tuple[int, int]:
        """Shape of the coefficients."""
        return len(self.names), len(self.pool)

    @property
    def mixing_flops(self) -> int:
        """FLOPs of mixing the pool."""
        return 0 if self.key is None else 2 * prod(self.coefficients) * prod(self.shape)


class Formed(NamedTuple):
    """What comes of a group.

    Attributes:
        group: The group.
        shape: Of each of its target tensors.
        flops: Of forming them.
    """

    group: Group
    shape: tuple[int, ...]
    flops: int


class LigoSizes:
    """What LiGO mixes, and what that takes.

    Args:
        plan: The growth; it has a `learned` part.
        stack: Where source and target keep their layers.
        sources: Tensors of each source, by name.
        target: Tensors of the target, by name.

    Raises:
        ModelError: A source lacks a tensor, or layers that are mixed have other shapes.
    """

    def __init__(
        self, plan: GrowthPlan, stack: LayerStack, sources: Sequence[Shapes], target: Shapes
    ) -> None:
        assert plan.learned is not None, "the plan learns nothing"
        self.learned = plan.learned
        self.groups = tuple(_groups(plan, self.learned, stack, sources, target))
        self.width = plan.width
        self.lifts: dict[Units, Lift] = {
            unit: lift
            for unit, lift in (plan.width.lifts if plan.width else {}).items()
            if lift.source != lift.target
        }

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the operator's parameters, by name."""
        depth = {group.key: group.coefficients for group in self.groups if group.key is not None}
        width = {
            f"width.{unit}": (lift.target - lift.source, lift.source)
            for unit, lift in self.lifts.items()
        }
        return {**depth, **width}

    @property
    def n_parameters(self) -> int:
        """How many parameters the operator has."""
        return sum(map(prod, self.parameters().values()))

    def formed(self) -> Iterator[Formed]:
        """Yield what comes of each group."""
        for group in self.groups:
            shape, flops = group.shape, group.mixing_flops
            if self.width is not None and group.weight is not None:
                shape, widening = self._widened(group, self.width, self.lifts)
                flops += widening
            yield Formed(group, shape, flops)

    def forming_flops(self) -> int:
        """Return the FLOPs of forming the weights once: two for a multiply and add of a product."""
        return sum(each.flops for each in self.formed())

    @staticmethod
    def _widened(
        group: Group, width: Width, lifts: Mapping[Units, Lift]
    ) -> tuple[tuple[int, ...], int]:
        """Return the shape of a group's tensors when they are widened, and the FLOPs of that."""
        assert group.weight is not None, "it is not widened"
        shape, flops = list(group.shape), 0
        for place, axis in enumerate(group.weight.axes):
            if units_of(axis) & lifts.keys():
                inside = shape[place] // n_units(axis, width.before)
                others = len(group.names) * prod(shape) // shape[place]
                shape[place], found = _counted(UNITS[axis], inside, others, width, lifts)
                flops += found
        return tuple(shape), flops


def _counted(
    counted: Counted, inside: int, others: int, width: Width, lifts: Mapping[Units, Lift]
) -> tuple[int, int]:
    """Return the places of an axis when it is widened, and the FLOPs of that.

    Args:
        counted: How its places are counted.
        inside: Places in each of the innermost units.
        others: How many lines of such places there are.
        width: How the model grows.
        lifts: Units that are widened.
    """
    if not counted:
        return inside, 0
    first, rest = counted[0], counted[1:]
    if not isinstance(first, str):
        parts = [_counted(part, inside, others, width, lifts) for part in first]
        return sum(size for size, _ in parts), sum(flops for _, flops in parts)
    before = width.lifts[first].source
    size, flops = _counted(rest, inside, others * before, width, lifts)
    if first not in lifts:
        return before * size, flops
    after = lifts[first].target
    return after * size, flops + 2 * others * size * before * after


@dataclass(frozen=True)
class Sliced:
    """The matrices of one name, as slices.

    Attributes:
        group: The matrices.
        weight: What the family's table says of them.
        size: Places of the target's other axis.
        slices: Number of slices in source and target.
        first: Places of their first slices among all.
    """

    group: Group
    weight: Weight
    size: int
    slices: tuple[int, int]
    first: tuple[int, int] = (0, 0)

    @property
    def is_stored_input_first(self) -> bool:
        """Whether the first dimension is the input's."""
        return self.weight.input_place == 0

    @property
    def is_reader(self) -> bool:
        """Whether the input is the residual stream."""
        return self.weight.axes.index("residual") == self.weight.input_place


class MangoSizes(LigoSizes):
    """What MANGO mixes, and what that takes; see `LigoSizes`."""

    def __init__(
        self, plan: GrowthPlan, stack: LayerStack, sources: Sequence[Shapes], target: Shapes
    ) -> None:
        super().__init__(plan, stack, sources, target)
        self.sizes = {group.names: tuple(target[group.names[0]].shape) for group in self.groups}
        self.residual = self._residual_lift()
        sliced = [found for group in self.groups if (found := self._sliced(group))]
        places = [(0, 0), *accumulate((each.slices for each in sliced), _add)]
        self.sliced = [
            replace(each, first=first) for each, first in zip(sliced, places, strict=False)
        ]
        self.n_slices = places[-1]

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the four factors."""
        rank, lift = self.learned.rank, self.residual
        (b, c), (t, layers) = self.n_slices, self.sliced[0].group.coefficients
        return {
            "S_B": (rank, b, c, rank),
            "S_O": (rank, lift.target, lift.source, rank),
            "S_L": (rank, t, layers, rank),
            "S_I": (rank, lift.target, lift.source, rank),
        }

    def formed(self) -> Iterator[Formed]:
        """Yield what comes of each group; the factors' products count with the first of all."""
        flops = self._factor_flops()
        sliced = {each.group.names: each for each in self.sliced}
        for group in self.groups:
            if (each := sliced.get(group.names)) is not None:
                shape = (each.size, self.residual.target)
                is_turned = each.is_reader == each.is_stored_input_first
                yield Formed(group, shape[::-1] if is_turned else shape, flops)
            else:
                shape_outside, own = self._outside(group)
                yield Formed(group, shape_outside, flops + own)
            flops = 0

    def _factor_flops(self) -> int:
        """Return the FLOPs of putting the source through the four factors."""
        q = r = s = m = self.learned.rank
        (b, c), (t, layers) = self.n_slices, self.sliced[0].group.coefficients
        o = i = self.residual.source
        p = n = self.residual.target
        products = (
            ((r, t, s, b, o, i), (layers,)),
            ((q, s, t, b, p, i), (o, r)),
            ((q, m, t, b, p, n), (s, i)),
            ((t, c, p, n), (m, b, q)),
        )
        # where nothing is added up, torch has no product of matrices, which alone are counted
        return sum(2 * prod(kept) * prod(summed) for kept, summed in products if prod(summed) > 1)

    def _outside(self, group: Group) -> tuple[tuple[int, ...], int]:
        """Return the shape, and the FLOPs, of tensors that are no matrices of a layer."""
        flops, lift = group.mixing_flops, self.residual
        if self.width is None or group.weight is None:
            return group.shape, flops
        shape, widening = self._widened(group, self.width, {"residual": lift})
        flops, size = flops + widening, self.sizes[group.names][-1]
        if len(shape) > 1 or shape[-1] == size:
            return shape, flops
        count = math.ceil(shape[-1] / lift.source)
        return (size,), flops + 2 * len(group.names) * count * lift.source * lift.target

    def _residual_lift(self) -> Lift:
        if self.width is not None:
            return self.width.residual
        for group in self.groups:
            if group.weight is not None and "residual" in group.weight.axes:
                size = group.shape[group.weight.axes.index("residual")]
                return Lift(size, size, size)
        raise AssertionError("no learned tensor lies on the residual stream")

    def _sliced(self, group: Group) -> Sliced | None:
        weight = group.weight
        if group.key is None or weight is None or weight.input_place is None:
            return None
        other = 1 - weight.axes.index("residual")
        size, lift = self.sizes[group.names][other], self.residual
        slices = (math.ceil(group.shape[other] / lift.source), math.ceil(size / lift.target))
        return Sliced(group, weight, size, slices)


def _add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


_METHODS: Mapping[str, Callable[[GrowthPlan, LayerStack, Sequence[Shapes], Shapes], LigoSizes]] = {
    "ligo": LigoSizes,
    "mango": MangoSizes,
}


def mix_sizes(
    plan: GrowthPlan, stack: LayerStack, sources: Sequence[Shapes], target: Shapes
) -> LigoSizes:
    """Return what a plan mixes, by its method; see `LigoSizes`.

    Raises:
        ModelError: A source lacks a tensor, or layers that are mixed have other shapes.
    """
    assert plan.learned is not None, "the plan learns nothing"
    return _METHODS[plan.learned.method](plan, stack, sources, target)


def check_mix(sizes: LigoSizes, target: Shapes) -> None:
    """Check that what is mixed has its target's shape.

    Raises:
        ModelError: One has not.
    """
    for each in sizes.formed():
        for name in each.group.names:
            if each.shape != tuple(target[name].shape):
                raise ModelError(
                    f"the target's {name} is {tuple(target[name].shape)}, "
                    f"but {each.shape} when it is mixed"
                )


def _groups(
    plan: GrowthPlan,
    learned: Learned,
    stack: LayerStack,
    sources: Sequence[Shapes],
    target: Shapes,
) -> Iterator[Group]:
    """Gather the tensors that are learned: those of layers by their names, those of ends alone."""
    by_rest: dict[str, list[int]] = {}
    for name in target:
        place = stack.split(name)
        if place is not None:
            by_rest.setdefault(place[1], []).append(place[0])
            continue
        end = plan.top if name in stack.top else plan.bottom
        if plan.learns(end.treatment):
            yield _end(name, end, stack, sources, learned.has_even_ends)
    for rest, layers in by_rest.items():
        mixed = {each: plan.layers[each] for each in layers if _is(plan, each, "learned")}
        if mixed:
            yield _mixed(rest, mixed, learned.pool, stack, sources)
        copied = {each: plan.layers[each] for each in layers if _is(plan, each, "copy")}
        if copied and plan.learns("copy"):
            yield _copied(rest, copied, stack, sources)


def _is(plan: GrowthPlan, layer: int, treatment: str) -> bool:
    return plan.layers[layer].treatment == treatment


def _end(
    name: str, end: Origin, stack: LayerStack, sources: Sequence[Shapes], is_even: bool
) -> Group:
    pool = tuple((source, name) for source in end.sources)
    shape, weight = _shape(pool, sources), stack.weight(name)
    is_norm = weight is not None and weight.role in ("norm", "shift")
    is_last_norm = name in stack.top and is_norm
    if len(end.sources) == 1:
        return Group((name,), pool, shape, weight=weight, is_last_norm=is_last_norm)
    first = None if is_even else (0,)
    return Group((name,), pool, shape, f"ends.{name}", first, weight, is_last_norm)


def _mixed(
    rest: str,
    layers: Mapping[int, LayerOrigin],
    pool: tuple[tuple[int, int], ...],
    stack: LayerStack,
    sources: Sequence[Shapes],
) -> Group:
    names = tuple(stack.join(layer, rest) for layer in layers)
    pooled = tuple((source, stack.join(layer, rest)) for source, layer in pool)
    first = tuple(pool.index((each.source, each.layer or 0)) for each in layers.values())
    shape = _shape(pooled, sources)
    return Group(names, pooled, shape, f"depth.{rest}", first, stack.weight(names[0]))


def _copied(
    rest: str, layers: Mapping[int, LayerOrigin], stack: LayerStack, sources: Sequence[Shapes]
) -> Group:
    names = tuple(stack.join(layer, rest) for layer in layers)
    pool = tuple((each.source, stack.join(each.layer or 0, rest)) for each in layers.values())
    return Group(names, pool, _shape(pool, sources), weight=stack.weight(names[0]))


def _shape(pool: Sequence[tuple[int, str]], sources: Sequence[Shapes]) -> tuple[int, ...]:
    """Return the one shape that pooled tensors have."""
    found: tuple[int, ...] | None = None
    for source, name in pool:
        value = sources[source].get(name)
        if value is None:
            raise ModelError(f"{name}, which is to be mixed, is not in the source")
        shape = tuple(value.shape)
        if found is not None and shape != found:
            raise ModelError(f"{name} is {shape}, but what it is to be mixed with {found}")
        found = shape
    assert found is not None, "nothing is pooled"
    return found
