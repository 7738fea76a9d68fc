"""Tensors widened by a plan's lifts, one by one. Letters: O outputs, I inputs, of the target.

Every axis becomes a table of places (`places.py`): which source place each target place stands
for, which copy of it, of how many. Moments of gradients are widened by the same places, with
shares of their own (`moments.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from lagsearch.models.families import Axis, Weight
from lagsearch.operators.execute.moments import Value, Values, expected, shares_of, zero_moments
from lagsearch.operators.execute.places import Places, fills_of, places_of
from lagsearch.operators.execute.scales import scale_of
from lagsearch.operators.plan.width import Fill, Width


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


def widen(width: Width, what: Widened, fresh: torch.Tensor, power: int = 0) -> torch.Tensor:
    """Return the target tensor's values: those of a weight, or of a moment of its gradient.

    Args:
        width: The lifts.
        what: The source tensor.
        fresh: The target tensor's own values, for random blocks of a weight.
        power: How many gradients are multiplied in it: none in a weight, 1 or 2 in a moment.
    """
    if what.source.dim() == 0:  # a step count
        return what.source
    turn = _Turn(what.weight.input_place)
    w_OI, fresh_OI = turn.to_matrix(what.source), turn.to_matrix(fresh)
    above_OI = None if what.above is None else turn.to_matrix(what.above)
    out_axis, in_axis = turn.axes(what.weight.axes)
    out = _as_tensors(places_of(width, out_axis, w_OI.shape[0]))
    into = _as_tensors(places_of(width, in_axis, w_OI.shape[1]))
    if power:
        rule = _of_moment(width, what, w_OI, (out, into), power)
    else:
        rule = _of_weight(width, what, (w_OI, fresh_OI), (out, into))
    offset = 0.0 if power else what.weight.counts_from
    made_OI = torch.empty_like(fresh_OI)
    rows = max(1, _BLOCK // len(into.origin))
    for first in range(0, len(out.origin), rows):
        block = slice(first, first + rows)
        part = replace(out, **{name: getattr(out, name)[block] for name in _COUNTED})
        made_OI[block] = _block((part, into), (w_OI, above_OI), *rule(part, block), offset)
    return turn.back(made_OI)


_BLOCK = 2**22
"""Entries that are widened at a time: the memory of a block is some dozens of bytes for each."""

_COUNTED = ("origin", "is_new", "is_beyond", "rank", "count")


def _as_tensors(places: Places) -> Places:
    tensors: dict[str, Any] = {name: torch.from_numpy(getattr(places, name)) for name in _COUNTED}
    return replace(places, **tensors)


Rule = Callable[[Places, slice], tuple[torch.Tensor, Values]]
"""Returns, for some rows, how much of each input they take, and what makes their new entries."""


def _of_weight(
    width: Width,
    what: Widened,
    matrices: tuple[torch.Tensor, torch.Tensor],
    places: tuple[Places, Places],
) -> Rule:
    """Return how a weight is widened.

    Args:
        width: The lifts.
        what: The source tensor.
        matrices: The source's, and the target's with the values of random blocks.
        places: Of all rows, and of all inputs.
    """
    (w_OI, fresh_OI), (out, into) = matrices, places
    kind = torch.promote_types(w_OI.dtype, torch.float32)
    mean = cache(lambda: w_OI.mean(dim=0, dtype=kind))
    several = int(out.count.max()) > 1
    is_vector, offset = what.weight.input_place is None, what.weight.counts_from
    random_scale = 1.0 if is_vector else width.random_scale  # a vector's are a fresh model's

    def rule(part: Places, block: slice) -> tuple[torch.Tensor, Values]:
        values: Mapping[Fill, Value] = {
            "zero": zero_moments
            if not offset
            else lambda rows_OI, _: rows_OI.new_full((1, 1), -offset),
            "random": lambda *_: fresh_OI[block].to(w_OI.device, kind) * random_scale,
            "copy": lambda rows_OI, _: rows_OI[:, into.origin],
            "mean": lambda *_: mean()[into.origin] / into.count.to(kind),
        }
        shares_OI = _shares(part, into, block.start, several) * _scale(width, what, part)
        below, right, corner = fills_of(width, what.weight, part, into)
        return shares_OI.to(kind), (values[below], values[right], values[corner])

    return rule


def _of_moment(
    width: Width,
    what: Widened,
    moment_OI: torch.Tensor,
    places: tuple[Places, Places],
    power: int,
) -> Rule:
    """Return how a moment of a weight's gradient is widened."""
    kind = torch.promote_types(moment_OI.dtype, torch.float32)
    shares_O1 = shares_of(places[0], _scale(width, what, places[0]), power).to(kind)
    values = expected(moment_OI.to(kind), shares_O1, places, power)
    return lambda _, block: (shares_O1[block], values)


def _block(
    places: tuple[Places, Places],
    sources: tuple[torch.Tensor, torch.Tensor | None],
    shares_OI: torch.Tensor,
    values: Values,
    offset: float,
) -> torch.Tensor:
    """Widen some rows.

    Args:
        places: Of the rows, and of all inputs.
        sources: The source's matrix, and that of the layer above where rows come from it.
        shares_OI: How much of each input the rows take.
        values: What makes the entries of new units.
        offset: What is added to the entries where they are used.
    """
    (out, into), (w_OI, above_OI) = places, sources
    kind = shares_OI.dtype
    copied_OI = rows_OI = _taken(w_OI, 0, out.origin)
    if above_OI is not None:
        above = _taken(above_OI, 0, out.origin).to(kind)
        rows_OI = torch.where(out.is_beyond[:, None], above, rows_OI.to(kind))
    taken_OI = _taken(rows_OI, 1, into.origin)
    new_O, new_I = out.is_new[:, None], into.is_new[None, :]
    blocks = ((new_O, ~new_I), (~new_O, new_I), (new_O, new_I))
    new = [block if block[0].any() and block[1].any() else None for block in blocks]
    rounded_OI = shares_OI.to(taken_OI.dtype)
    if not any(new) and not offset and torch.equal(rounded_OI.to(kind), shares_OI):
        if bool((rounded_OI == 1).all()):
            return taken_OI
        return taken_OI * rounded_OI  # in the weights' own type: a product is rounded once
    made_OI = taken_OI.to(kind) * shares_OI
    if offset:
        made_OI = made_OI + (shares_OI - 1) * offset
    for block, value in zip(new, values, strict=True):
        if block is not None:
            made = value(copied_OI.to(kind), shares_OI)
            made_OI = torch.where(block[0] & block[1], made, made_OI)
    return made_OI


def _taken(matrix: torch.Tensor, dim: int, places: torch.Tensor) -> torch.Tensor:
    """Return some rows or columns; where they follow one another, nothing is copied."""
    ends = (torch.nonzero(places.diff() != 1)[:, 0] + 1).tolist()
    if len(ends) > _FEW_RUNS:
        return matrix.index_select(dim, places)
    runs = [matrix.narrow(dim, int(run[0]), len(run)) for run in places.tensor_split(ends)]
    return runs[0] if len(runs) == 1 else torch.cat(runs, dim)


_FEW_RUNS = 64
"""Runs of places up to which each is copied as a whole, which takes a tenth of the time."""


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

    def to_matrix(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.place is None:
            return tensor[:, None]
        return tensor if self.place == 1 else tensor.T

    def back(self, matrix_OI: torch.Tensor) -> torch.Tensor:
        if self.place is None:
            return matrix_OI[:, 0]
        return matrix_OI if self.place == 1 else matrix_OI.T


def _shares(out: Places, into: Places, first: int, several: bool) -> torch.Tensor:
    """Return how much of each input every output takes: (O, I), or (1, I) where all take alike.

    Args:
        out: Places of some outputs.
        into: Places of all inputs.
        first: The first of these outputs.
        several: Whether any output has several copies.
    """
    count: torch.Tensor = into.count.double()[None, :]
    rank, out_rank = into.rank[None, :], out.rank[:, None]
    if into.lift.split == "own" and several:
        is_own: torch.Tensor = out_rank == rank
        return is_own.double()
    if into.lift.split == "uneven":
        row = torch.arange(first, first + len(out.origin))[:, None]
        turned: torch.Tensor = 1 + (row + rank) % into.count[None, :]
        return turned * 2 / (count * (count + 1))
    return 1 / count


def _scale(width: Width, what: Widened, out: Places) -> torch.Tensor:
    """Return the factor of each output: (O, 1)."""
    scale = scale_of(width, what.weight, is_last_norm=what.is_last_norm)
    is_shared = what.is_last_norm and width.is_tied
    return scale / (out.count.double() if is_shared else torch.ones(1).double())[:, None]
