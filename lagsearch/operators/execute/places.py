"""Places: what each place of a target's axis stands for in the source; torch is not needed.

Heads and fused projections are only other ways to count places (`UNITS`), so nothing that works
with places knows of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.models.families import UNITS, Axis, Counted, Weight, units_of
from lagsearch.operators.execute.shapes import n_units
from lagsearch.operators.plan.width import Fill, Lift, Width

_FIXED = Lift(1, 1, 1)


@dataclass(frozen=True)
class Places:
    """The places of one dimension of a target tensor, as arrays or as tensors.

    Attributes:
        origin: The source place each stands for; of new ones that of unit i mod n.
        is_new: Those without an origin.
        is_beyond: Those beyond the source's own: further copies and new ones.
        rank: Which copy of its origin each is, from 0.
        count: How many copies its origin has.
        lift: What holds for the new ones.
    """

    origin: Any
    is_new: Any
    is_beyond: Any
    rank: Any
    count: Any
    lift: Lift

    @property
    def are_kept(self) -> bool:
        """Whether the source has these very places, and no others."""
        return not self.is_beyond.any() and self.lift.source == self.lift.target


@dataclass(frozen=True)
class _Table:
    """Places of a target's axis, or of a part of one: `origin`, `is_new`, `is_beyond` as above.

    Attributes:
        n_source: Places of the source's.
    """

    origin: NDArray[np.int64]
    is_new: NDArray[np.bool_]
    is_beyond: NDArray[np.bool_]
    n_source: int

    def times(self, lift: Lift) -> "_Table":
        """Return the places of units that hold such a table each."""
        unit = np.arange(lift.target)
        origin = (unit % lift.source)[:, None] * self.n_source + self.origin
        return _Table(
            origin.flatten(),
            ((unit >= lift.copied)[:, None] | self.is_new).flatten(),
            ((unit >= lift.source)[:, None] | self.is_beyond).flatten(),
            lift.source * self.n_source,
        )

    def then(self, other: "_Table") -> "_Table":
        """Return the places of one table after the other."""
        return _Table(
            np.concatenate([self.origin, other.origin + self.n_source]),
            np.concatenate([self.is_new, other.is_new]),
            np.concatenate([self.is_beyond, other.is_beyond]),
            self.n_source + other.n_source,
        )


def _table(width: Width, counted: Counted, inside: int) -> _Table:
    """Count places, `inside` of them in each of the innermost units."""
    if not counted:
        known = np.zeros(inside, dtype=np.bool_)
        return _Table(np.arange(inside), known, known, inside)
    first, rest = counted[0], counted[1:]
    if isinstance(first, str):
        return _table(width, rest, inside).times(width.lifts[first])
    assert not rest, "parts that stand one after the other are the innermost"
    whole, *others = (_table(width, part, inside) for part in first)
    for each in others:
        whole = whole.then(each)
    return whole


def places_of(width: Width, axis: Axis | None, size: int) -> Places:
    """Count the places of an axis that has `size` of them in the source."""
    inside = size // n_units(axis, width.before)
    table = _table(width, UNITS.get(axis, ()) if axis is not None else (), inside)
    origin, is_new, is_beyond = table.origin, table.is_new, table.is_beyond
    copied = origin[~is_new]
    counts = np.bincount(copied, minlength=size)
    order = np.argsort(copied, kind="stable")
    first = np.cumsum(counts) - counts
    ranks = np.empty_like(copied)
    ranks[order] = np.arange(len(copied)) - first[copied[order]]
    rank = np.zeros_like(origin)
    rank[~is_new] = ranks
    lifts = [lift for unit, lift in width.lifts.items() if unit in units_of(axis)]
    grown = [each for each in lifts if each.source != each.target]
    return Places(origin, is_new, is_beyond, rank, counts[origin], grown[0] if grown else _FIXED)


def fills_of(
    width: Width, weight: Weight, out: Places, into: Places | None
) -> tuple[Fill, Fill, Fill]:
    """Return what stands in a weight's blocks of new units: below, right, corner.

    Args:
        width: The lifts.
        weight: What the family's table says of it.
        out: Places of its outputs.
        into: Places of its inputs; a vector needs none.
    """
    if into is not None and weight.input_place is not None:
        return out.lift.below, into.lift.right, out.lift.corner
    if weight.role == "norm":
        return (width.new_gain,) * 3
    is_mean = out.lift.below == "mean" and weight.role != "shift"
    return ("mean" if is_mean else "zero",) * 3


def new_places(width: Width, axis: Axis, size: int) -> NDArray[np.bool_]:
    """Return which of the `size` places of a target's axis are beyond the source's own."""
    inside = size // n_units(axis, width.after)
    found = places_of(width, axis, inside * n_units(axis, width.before))
    is_beyond: NDArray[np.bool_] = found.is_beyond
    return is_beyond


def new_entries(width: Width, weight: Weight, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Return which entries of a target tensor lie in places beyond the source's own."""
    is_new = np.zeros(tuple(shape), dtype=np.bool_)
    for place, axis in enumerate(weight.axes):
        along = new_places(width, axis, shape[place])
        is_new |= along.reshape([-1 if each == place else 1 for each in range(len(shape))])
    return is_new
