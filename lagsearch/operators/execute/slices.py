"""Wider tensors that are slices of the source's rows and columns; torch is not needed."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.models.families import Weight
from lagsearch.operators.execute.places import Places, fills_of, places_of
from lagsearch.operators.execute.scales import scale_of
from lagsearch.operators.plan.slices import AS_IT_IS, Slice, Slices
from lagsearch.operators.plan.width import Width


def slices_of(
    width: Width, weight: Weight, shape: Sequence[int], *, is_last_norm: bool
) -> Slices | None:
    """Return a wider tensor as the source's rows and columns, each with a factor.

    None where it is not: where new units are anything but zeros, where what an input is multiplied
    by differs from output to output, and where there are factors of what does not count from zero.

    Args:
        width: The lifts.
        weight: What the family's table says of the tensor.
        shape: The source tensor's.
        is_last_norm: It belongs to the norm that the head reads.
    """
    places = [places_of(width, *each) for each in zip(weight.axes, shape, strict=True)]
    if not (_are_new_ones_zero(width, weight, places) and _do_outputs_read_alike(weight, places)):
        return None
    scale = scale_of(width, weight, is_last_norm=is_last_norm)
    factors = [np.ones(len(each.origin)) for each in places]
    if (read := weight.input_place) is not None:
        factors[read] = 1 / places[read].count * scale
    else:
        factors[0] *= scale / (places[0].count if is_last_norm and width.is_tied else 1)
    for each, factor in zip(places, factors, strict=True):
        factor[each.is_new] = 0.0
    if weight.counts_from and any((each != 1).any() for each in factors):
        return None
    pairs = zip(places, factors, shape, strict=True)
    found = [_slices(each.origin, factor, size) for each, factor, size in pairs]
    if not any(found):
        return AS_IT_IS
    rows, columns = found if len(found) == 2 else ((), found[0])
    return Slices(rows or (Slice(range(shape[0] if len(shape) == 2 else 1)),), columns)


def _are_new_ones_zero(width: Width, weight: Weight, places: Sequence[Places]) -> bool:
    out, into = _turned(weight, places)
    below, right, corner = fills_of(width, weight, out, into)
    is_out, is_into = bool(out.is_new.any()), into is not None and bool(into.is_new.any())
    asked = {below} if is_out else set()
    asked |= {right} if is_into else set()
    asked |= {corner} if is_out and is_into else set()
    return asked <= {"zero"}


def _do_outputs_read_alike(weight: Weight, places: Sequence[Places]) -> bool:
    """Return whether copies of an input are multiplied by the same for all that read them."""
    out, into = _turned(weight, places)
    if into is None or not (into.count > 1).any():
        return True
    if into.lift.split == "own":
        return not (out.count > 1).any()
    return into.lift.split == "even"


def _turned(weight: Weight, places: Sequence[Places]) -> tuple[Places, Places | None]:
    """Return the places of outputs, and of inputs."""
    if (place := weight.input_place) is None:
        return places[0], None
    return places[1 - place], places[place]


def _slices(origin: Any, factor: NDArray[np.float64], size: int) -> tuple[Slice, ...]:
    """Return the slices of an axis; none where it is the source's as it is."""
    is_end = (np.diff(origin) != 1) | (np.diff(factor) != 0)
    ends = np.flatnonzero(is_end) + 1
    bounds = [0, *ends.tolist(), len(origin)]
    slices = tuple(
        Slice(range(int(origin[first]), int(origin[last - 1]) + 1), float(factor[first]))
        for first, last in pairwise(bounds)
    )
    return () if slices == (Slice(range(size)),) else slices
