"""Places: what each place of a target's axis stands for in the source.

Heads and fused projections are only other ways to count places (`UNITS`), so nothing that works
with places knows of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lagsearch.models.families import UNITS, Axis, Weight
from lagsearch.operators.plan.width import Lift, Width

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


def parts_of(width: Width, axis: Axis | None) -> list[Lift]:
    """Return the lifts by which an axis' places are counted, outermost first."""
    parts = UNITS.get(axis, ()) if axis is not None else ()
    lifts = width.lifts
    return [Lift(part, part, part) if isinstance(part, int) else lifts[part] for part in parts]


def places_of(width: Width, axis: Axis | None, size: int) -> Places:
    """Count the places of an axis that has `size` of them in the source."""
    parts = parts_of(width, axis)
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


def new_places(width: Width, axis: Axis, size: int) -> torch.Tensor:
    """Return which of the `size` places of a target's axis are beyond the source's own."""
    parts = parts_of(width, axis)
    inside = size // math.prod(each.target for each in parts)
    return places_of(width, axis, inside * math.prod(each.source for each in parts)).is_beyond


def new_entries(width: Width, weight: Weight, shape: Sequence[int]) -> torch.Tensor:
    """Return which entries of a target tensor lie in places beyond the source's own."""
    is_new = torch.zeros(tuple(shape), dtype=torch.bool)
    for place, axis in enumerate(weight.axes):
        along = new_places(width, axis, shape[place])
        is_new |= along.reshape([-1 if each == place else 1 for each in range(len(shape))])
    return is_new
