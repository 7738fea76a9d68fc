"""Wider tensors whose rows are all the source's, so that bytes can be copied; without torch."""

from collections.abc import Sequence

import numpy as np

from lagsearch.models.families import Weight
from lagsearch.operators.execute.places import places_of
from lagsearch.operators.execute.scales import scale_of
from lagsearch.operators.plan.width import Width


def copied_rows(
    width: Width, weight: Weight, shape: Sequence[int], *, is_last_norm: bool
) -> tuple[range, ...] | None:
    """Return the source's rows that the target has one after the other, as they are.

    A row is what lies at one place of the first dimension as it is stored. None where any row is
    another one: new, longer, or with other values.

    Args:
        width: The lifts.
        weight: What the family's table says of the tensor.
        shape: The source tensor's.
        is_last_norm: It belongs to the norm that the head reads.
    """
    if scale_of(width, weight, is_last_norm=is_last_norm) != 1:
        return None
    places = [places_of(width, *each) for each in zip(weight.axes, shape, strict=True)]
    first, *others = places
    is_read = weight.input_place == 0  # copies of it share what they are read for
    is_shared = is_read or (is_last_norm and width.is_tied)
    if not all(each.are_kept for each in (others if not is_shared else places)):
        return None
    if first.is_new.any():
        return None
    ends = np.flatnonzero(np.diff(first.origin) != 1) + 1
    return tuple(range(int(run[0]), int(run[-1]) + 1) for run in np.split(first.origin, ends))
