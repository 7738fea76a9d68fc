"""LiGO's tensors: mixes over layers, widened by learned matrices. Differentiable, no training.

Letters: N target tensors, P pooled source tensors, O outputs and I inputs of the target.

W'_n = B (sum_p w_np W_p) A^T. Mixing and widening commute, as the matrices are the same for all
layers; the mix comes first because it is of smaller tensors. Every weight of the layers' table
has coefficients w of its own, biases apart. B = [I; C] is one matrix for each kind of unit in the
whole network (residual stream, key/value groups, query heads of a group, feed-forward units), and
an axis' matrix is the Kronecker product of its units' and of I for what lies inside a unit: heads
are mixed whole, so that the mix commutes with rotary embeddings and with norms of queries and
keys. What is read is shared by A = B diag(s), s one over B's column sums where it begins: one-hot
rows then are Net2Net's copies, and C = 0 is padding with zeros.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from lagsearch.errors import ModelError
from lagsearch.models.families import UNITS, Axis, Counted, Weight, units_of
from lagsearch.models.layers import LayerStack
from lagsearch.operators.execute.shapes import counted_units, n_units
from lagsearch.operators.execute.widen import scale_of
from lagsearch.operators.plan.growth import GrowthPlan, LayerOrigin, Origin
from lagsearch.operators.plan.learned import Learned
from lagsearch.operators.plan.width import Lift, Width
from lagsearch.storage.files import derive_seed

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Group:
    """Target tensors that are mixed from the same source tensors.

    Attributes:
        names: The N target tensors.
        pool: (P, ...) source tensors.
        key: Name of the coefficients, (N, P); None where target tensor n is source tensor n.
        first: Where each mix begins: a place of the pool; None for the mean of all.
        weight: What the family's table says of them.
        is_last_norm: They belong to the norm that the head reads.
    """

    names: tuple[str, ...]
    pool: torch.Tensor
    key: str | None = None
    first: tuple[int, ...] | None = None
    weight: Weight | None = None
    is_last_norm: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the coefficients."""
        return len(self.names), len(self.pool)

    def start(self, noise: float, generator: torch.Generator) -> torch.Tensor:
        """Return the coefficients at the start; those of vectors have no noise: (N, P)."""
        if self.first is None:
            return torch.full(self.shape, 1 / len(self.pool), dtype=torch.float64)
        drawn_NP = torch.rand(self.shape, generator=generator, dtype=torch.float64)
        drawn_NP *= noise if self.pool.dim() > 2 else 0.0
        drawn_NP[torch.arange(len(self.names)), torch.tensor(self.first)] = 1.0
        return drawn_NP / drawn_NP.sum(dim=1, keepdim=True)

    def mixed(self, parameters: Tensors) -> torch.Tensor:
        """Return the mixes: (N, ...)."""
        if self.key is None:
            return self.pool
        made: torch.Tensor = torch.tensordot(parameters[self.key], self.pool, 1)
        return made


class Ligo:
    """A target's learned tensors as a function of the operator's parameters."""

    def __init__(
        self, plan: GrowthPlan, stack: LayerStack, sources: Sequence[Tensors], target: Tensors
    ) -> None:
        """Gather what is mixed.

        Args:
            plan: The growth; it has a `learned` part.
            stack: Where source and target keep their layers.
            sources: Tensors of each source, by name.
            target: Tensors of the target, by name; only the names count.

        Raises:
            ModelError: A source lacks a tensor, or layers that are mixed have other shapes.
        """
        assert plan.learned is not None, "the plan learns nothing"
        self.learned = plan.learned
        self.groups = tuple(_groups(plan, self.learned, stack, sources, target))
        self.width = plan.width
        self.lifts: dict[str, Lift] = {
            unit: lift
            for unit, lift in (plan.width.lifts if plan.width else {}).items()
            if lift.source != lift.target
        }
        self.shares = {
            unit: (1 / first_matrix(lift).sum(dim=0)).to(self.like)
            for unit, lift in self.lifts.items()
        }

    @property
    def like(self) -> torch.Tensor:
        """A tensor of the type and on the device in which all is computed."""
        return self.groups[0].pool

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the operator's parameters, by name."""
        depth = {group.key: group.shape for group in self.groups if group.key is not None}
        width = {
            f"width.{unit}": (lift.target - lift.source, lift.source)
            for unit, lift in self.lifts.items()
        }
        return {**depth, **width}

    def start(self, seed: int) -> dict[str, torch.Tensor]:
        """Return the operator's parameters at the start.

        Args:
            seed: Each parameter's noise is drawn from it and the parameter's name.
        """
        noise, start = self.learned.noise, {}
        for group in self.groups:
            if group.key is not None:
                start[group.key] = group.start(noise, generator_of(seed, group.key))
        for unit, lift in self.lifts.items():
            new = first_matrix(lift)[lift.source :]
            drawn = normal(new.shape, generator_of(seed, f"width.{unit}"))
            start[f"width.{unit}"] = new + drawn * noise / math.sqrt(lift.source)
        return {name: tensor.to(self.like) for name, tensor in start.items()}

    def __call__(self, parameters: Tensors) -> dict[str, torch.Tensor]:
        """Return the learned target tensors, by name.

        Args:
            parameters: The operator's, by the names of `shapes`.
        """
        writes = self.matrices(parameters)
        reads = {unit: matrix * self.shares[unit] for unit, matrix in writes.items()}
        made: dict[str, torch.Tensor] = {}
        for group in self.groups:
            value = group.mixed(parameters)
            if self.width is not None and group.weight is not None:
                value = widened(value, group, self.width, writes, reads)
            made.update(zip(group.names, value.unbind(), strict=True))
        return made

    def matrices(self, parameters: Tensors) -> dict[str, torch.Tensor]:
        """Return B of each kind of unit that grows."""
        made = {}
        for unit, lift in self.lifts.items():
            new = parameters[f"width.{unit}"]
            own = torch.eye(lift.source, dtype=new.dtype, device=new.device)
            made[unit] = torch.cat([own, new])
        return made


def first_matrix(lift: Lift) -> torch.Tensor:
    """Return the matrix that a lift is: one-hot rows of copies, zeros or means of the new units."""
    unit = torch.arange(lift.target)
    matrix = torch.nn.functional.one_hot(unit % lift.source, lift.source).double()
    matrix[lift.copied :] = 1 / lift.source if lift.below == "mean" else 0.0
    return matrix


def generator_of(seed: int, name: str) -> torch.Generator:
    """Return the generator of one parameter's noise."""
    return torch.Generator().manual_seed(derive_seed(seed, "operator", name))


def normal(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Draw from the standard normal distribution, in float64."""
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


def widened(
    value: torch.Tensor, group: Group, width: Width, writes: Tensors, reads: Tensors
) -> torch.Tensor:
    """Widen mixes: (N, ...) to (N, ...)."""
    weight = group.weight
    assert weight is not None
    # a tied head cannot be divided: what it reads is
    is_shared = group.is_last_norm and width.is_tied
    value = value + weight.counts_from
    for place, axis in enumerate(weight.axes):
        is_read = place == weight.input_place or is_shared
        value = along(value, place + 1, axis, reads if is_read else writes, width)
    scale = scale_of(width, weight, is_last_norm=group.is_last_norm)
    return value * scale - weight.counts_from


def along(
    value: torch.Tensor, dim: int, axis: Axis, matrices: Tensors, width: Width
) -> torch.Tensor:
    """Apply units' matrices along one dimension, which is counted as `UNITS` says."""
    if not units_of(axis) & matrices.keys():
        return value
    inside = value.shape[dim] // n_units(axis, width.before)
    return _counted(value.movedim(dim, -1), UNITS[axis], inside, matrices, width).movedim(-1, dim)


def _counted(
    value: torch.Tensor, counted: Counted, inside: int, matrices: Tensors, width: Width
) -> torch.Tensor:
    """Apply units' matrices along the last dimension, `inside` places of which make a unit."""
    if not counted:
        return value
    first, rest = counted[0], counted[1:]
    if not isinstance(first, str):
        sizes = [inside * counted_units(part, width.before) for part in first]
        parts = zip(first, torch.split(value, sizes, dim=-1), strict=True)
        return torch.cat([_counted(x, part, inside, matrices, width) for part, x in parts], dim=-1)
    value = value.unflatten(-1, (width.lifts[first].source, -1))  # type: ignore[no-untyped-call]
    value = _counted(value, rest, inside, matrices, width)
    if first in matrices:
        value = torch.tensordot(value, matrices[first], ([-2], [1])).movedim(-1, -2)
    return value.flatten(-2)


def _groups(
    plan: GrowthPlan,
    learned: Learned,
    stack: LayerStack,
    sources: Sequence[Tensors],
    target: Tensors,
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
    name: str, end: Origin, stack: LayerStack, sources: Sequence[Tensors], is_even: bool
) -> Group:
    pool = _pool([(source, name) for source in end.sources], sources)
    weight = stack.weight(name)
    is_norm = weight is not None and weight.role in ("norm", "shift")
    is_last_norm = name in stack.top and is_norm
    if len(end.sources) == 1:
        return Group((name,), pool, weight=weight, is_last_norm=is_last_norm)
    return Group((name,), pool, f"ends.{name}", None if is_even else (0,), weight, is_last_norm)


def _mixed(
    rest: str,
    layers: Mapping[int, LayerOrigin],
    pool: tuple[tuple[int, int], ...],
    stack: LayerStack,
    sources: Sequence[Tensors],
) -> Group:
    names = tuple(stack.join(layer, rest) for layer in layers)
    tensors = _pool([(source, stack.join(layer, rest)) for source, layer in pool], sources)
    first = tuple(pool.index((each.source, each.layer or 0)) for each in layers.values())
    return Group(names, tensors, f"depth.{rest}", first, stack.weight(names[0]))


def _copied(
    rest: str, layers: Mapping[int, LayerOrigin], stack: LayerStack, sources: Sequence[Tensors]
) -> Group:
    names = tuple(stack.join(layer, rest) for layer in layers)
    found = [(each.source, stack.join(each.layer or 0, rest)) for each in layers.values()]
    return Group(names, _pool(found, sources), weight=stack.weight(names[0]))


def _pool(wanted: Sequence[tuple[int, str]], sources: Sequence[Tensors]) -> torch.Tensor:
    """Stack source tensors: (P, ...)."""
    found: list[torch.Tensor] = []
    for source, name in wanted:
        value = sources[source].get(name)
        if value is None:
            raise ModelError(f"{name}, which is to be mixed, is not in the source")
        if found and value.shape != found[0].shape:
            raise ModelError(
                f"{name} is {tuple(value.shape)}, but what it is to be mixed with "
                f"{tuple(found[0].shape)}"
            )
        found.append(value)
    stacked = torch.stack(found).detach()
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32))
