"""Tensors widened by a plan's lifts, one by one. Letters: O outputs, I inputs, of the target.

Every axis becomes a table of places: which source place each target place stands for, which copy
of it, of how many. Heads and fused projections are only other ways to count places (`UNITS`), so
nothing below this knows of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from lagsearch.models.families import UNITS, Axis, Weight
from lagsearch.operators.width_plan import Fill, Lift, Width

_FIXED = Lift(1, 1, 1)


@dataclass(frozen=True)
class Places:
    """The places of one dimension of a target tensor.

    Attributes:
        origin: The source place each stands for; of new ones that of unit i mod n.
        is_new: Those without an origin.
        is_beyond: Those beyond the source's own: further copies and new ones.
        rank: Which copy of its origin each is, from 0.
        count: How many copies its origin has.
        lift: What holds for the new ones.
    """

    origin: torch.Tensor
    is_new: torch.Tensor
    is_beyond: torch.Tensor
    rank: torch.Tensor
    count: torch.Tensor
    lift: Lift


def widened_shape(
    width: Width, weight: Weight | None, shape: Sequence[int]
) -> tuple[int, ...] | None:
    """Return the shape that a source tensor gets, or None where its own does not fit the lifts."""
    if weight is None or not shape:
        return tuple(shape)
    if len(shape) != len(weight.axes):
        return None
    sizes = []
    for axis, size in zip(weight.axes, shape, strict=True):
        parts = _parts(width, axis)
        known = math.prod(each.source for each in parts)
        if size % known:
            return None
        sizes.append(size // known * math.prod(each.target for each in parts))
    return tuple(sizes)


@dataclass(frozen=True)
class Widened:
    """What is to be widened.

    Attributes:
        weight: What the family's table says of the tensor.
        source: The source tensor.
        above: The same tensor of the next source layer, where rows come from it.
        is_last_norm: It belongs to the norm that the head reads.
    """

    weight: Weight
    source: torch.Tensor
    above: torch.Tensor | None = None
    is_last_norm: bool = False


def widen(width: Width, what: Widened, fresh: torch.Tensor) -> torch.Tensor:
    """Return the target tensor's values.

    Optimizer moments are widened by the same map as the weights: copies get the shares, what is
    new keeps its zero, for `fresh` is zero then. (Gradients would have the shares on their rows
    instead; the difference lasts as long as the moments remember.)

    Args:
        width: The lifts.
        what: The source tensor.
        fresh: The target tensor's own values, for random blocks.
    """
    if what.source.dim() == 0:  # a step count
        return what.source
    turn = _Turn(what.weight.input_place)
    w_OI, fresh_OI = turn.to_matrix(what.source), turn.to_matrix(fresh)
    above_OI = None if what.above is None else turn.to_matrix(what.above)
    out_axis, in_axis = turn.axes(what.weight.axes)
    out = _places(width, out_axis, w_OI.shape[0])
    into = _places(width, in_axis, w_OI.shape[1])
    kind = torch.promote_types(w_OI.dtype, torch.float32)
    mean = cache(lambda: w_OI.mean(dim=0, dtype=kind))
    made_OI = torch.empty_like(fresh_OI)
    several = int(out.count.max()) > 1
    rows = max(1, _BLOCK // len(into.origin))
    for first in range(0, len(out.origin), rows):
        block = slice(first, first + rows)
        part = replace(out, **{name: getattr(out, name)[block] for name in _COUNTED})
        shares_OI = _shares(part, into, first, several) * _scale(width, what, part)
        made_OI[block] = _block(
            width, what.weight, (part, into), (w_OI, above_OI, mean), shares_OI,
            fresh_OI[block] * turn.scale(width),
        )  # fmt: skip
    return turn.back(made_OI)


_BLOCK = 2**22
"""Entries that are widened at a time: the memory of a block is some dozens of bytes for each."""

_COUNTED = ("origin", "is_new", "is_beyond", "rank", "count")


def _block(
    width: Width,
    weight: Weight,
    places: tuple[Places, Places],
    sources: tuple[torch.Tensor, torch.Tensor | None, Callable[[], torch.Tensor]],
    shares_OI: torch.Tensor,
    random_OI: torch.Tensor,
) -> torch.Tensor:
    """Widen some rows.

    Args:
        width: The lifts.
        weight: What the family's table says of the tensor.
        places: Of the rows, and of all inputs.
        sources: The source's matrix, that of the layer above where rows come from it, and what
            works out the mean of the source's rows.
        shares_OI: How much of each input the rows take.
        random_OI: Values of random blocks.
    """
    (out, into), (w_OI, above_OI, mean) = places, sources
    kind = torch.promote_types(w_OI.dtype, torch.float32)
    copied_OI = w_OI[out.origin].to(kind)
    rows_OI = copied_OI
    if above_OI is not None:
        rows_OI = torch.where(out.is_beyond[:, None], above_OI[out.origin].to(kind), rows_OI)
    made_OI = rows_OI[:, into.origin] * shares_OI.to(kind)
    values: Mapping[Fill, Callable[[], torch.Tensor]] = {
        "zero": lambda: torch.zeros(1, 1, dtype=kind),
        "random": lambda: random_OI.to(kind),
        "copy": lambda: copied_OI[:, into.origin],
        "mean": lambda: mean()[into.origin] / into.count.to(kind),
    }
    new_O, new_I = out.is_new[:, None], into.is_new[None, :]
    blocks = (new_O & ~new_I, ~new_O & new_I, new_O & new_I)
    for block_OI, fill in zip(blocks, _fills(width, weight, out, into), strict=True):
        if block_OI.any():
            made_OI = torch.where(block_OI, values[fill](), made_OI)
    return made_OI


def new_places(width: Width, axis: Axis, size: int) -> torch.Tensor:
    """Return which of the `size` places of a target's axis are beyond the source's own."""
    parts = _parts(width, axis)
    inside = size // math.prod(each.target for each in parts)
    return _places(width, axis, inside * math.prod(each.source for each in parts)).is_beyond


def norm_scale(width: Width, weight: Weight) -> float:
    """Return the factor of a tensor for what new units take from the mean square of its norm."""
    if weight.role == "norm" and weight.axes == ("residual",):
        return width.gain_scale
    return width.head_norm_scale if weight.is_normed else 1.0


@dataclass(frozen=True)
class _Turn:
    """Stored tensors as matrices of outputs by inputs, there and back; a vector has one input.

    Attributes:
        place: The dimension of the inputs, or None.
    """

    place: int | None

    def axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, Axis | None]:
        if self.place is None:
            return axes[0], None
        return axes[1 - self.place], axes[self.place]

    def scale(self, width: Width) -> float:
        """Return the factor of random blocks; a vector's new values are a fresh model's."""
        return 1.0 if self.place is None else width.random_scale

    def to_matrix(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.place is None:
            return tensor[:, None]
        return tensor if self.place == 1 else tensor.T

    def back(self, matrix_OI: torch.Tensor) -> torch.Tensor:
        if self.place is None:
            return matrix_OI[:, 0]
        return matrix_OI if self.place == 1 else matrix_OI.T


def _parts(width: Width, axis: Axis | None) -> list[Lift]:
    """Return the lifts by which an axis' places are counted, outermost first."""
    parts = UNITS.get(axis, ()) if axis is not None else ()
    lifts = width.lifts
    return [Lift(part, part, part) if isinstance(part, int) else lifts[part] for part in parts]


def _places(width: Width, axis: Axis | None, size: int) -> Places:
    """Count the places of an axis that has `size` of them in the source."""
    parts = _parts(width, axis)
    inside = size // math.prod(each.source for each in parts)
    origin = torch.zeros(1, dtype=torch.long)
    is_new, is_beyond = torch.zeros(2, 1, dtype=torch.bool)
    for part in (*parts, Lift(inside, inside, inside)):
        unit = torch.arange(part.target)
        origin = (origin[:, None] * part.source + unit % part.source).flatten()
        is_new = (is_new[:, None] | (unit >= part.copied)).flatten()
        is_beyond = (is_beyond[:, None] | (unit >= part.source)).flatten()
    copied = origin[~is_new]
    counts = torch.bincount(copied, minlength=size)
    order = torch.argsort(copied, stable=True)
    first = torch.cumsum(counts, 0) - counts
    ranks = torch.empty_like(copied)
    ranks[order] = torch.arange(len(copied)) - first[copied[order]]
    rank = torch.zeros_like(origin)
    rank[~is_new] = ranks
    grown = [each for each in parts if each.source != each.target]
    return Places(origin, is_new, is_beyond, rank, counts[origin], grown[0] if grown else _FIXED)


def _shares(out: Places, into: Places, first: int, several: bool) -> torch.Tensor:
    """Return how much of each input every output takes: (O, I), or (1, I) where all take alike.

    Args:
        out: Places of some outputs.
        into: Places of all inputs.
        first: The first of these outputs.
        several: Whether any output has several copies.
    """
    count, rank = into.count.double()[None, :], into.rank[None, :]
    if into.lift.split == "own" and several:
        return (out.rank[:, None] == rank).double()
    if into.lift.split == "uneven":
        row = torch.arange(first, first + len(out.origin))[:, None]
        return (1 + (row + rank) % into.count[None, :]) * 2 / (count * (count + 1))
    return 1 / count


def _scale(width: Width, what: Widened, out: Places) -> torch.Tensor:
    """Return the factor of each output: (O, 1)."""
    scale = norm_scale(width, what.weight)
    is_shared = what.is_last_norm and width.is_tied
    return scale / (out.count.double() if is_shared else torch.ones(1).double())[:, None]


def _fills(width: Width, weight: Weight, out: Places, into: Places) -> tuple[Fill, Fill, Fill]:
    """Return what stands in the blocks of new units: below, right, corner."""
    if weight.input_place is not None:
        return out.lift.below, into.lift.right, out.lift.corner
    if weight.role == "norm":
        return (width.new_gain,) * 3
    is_mean = out.lift.below == "mean" and weight.role != "shift"
    return ("mean" if is_mean else "zero",) * 3
