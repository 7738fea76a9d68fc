"""What a growth writes, worked out of tables and of the files' headers."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lagsearch.grow.shards import WrittenTensor
from lagsearch.models.headers import FLOATS, ITEM_BYTES, StoredTensor
from lagsearch.models.layers import LayerStack
from lagsearch.models.tabled import TabledCheckpoint, shapes_of
from lagsearch.models.tabled_configs import TabledConfig
from lagsearch.operators import GrowthPlan
from lagsearch.operators.execute.recipe import Recipe
from lagsearch.operators.execute.shapes import found_for
from lagsearch.operators.plan.slices import AS_IT_IS, Slices

_FORMATS = {"F16": "<e", "F32": "<f", "F64": "<d"}


@dataclass(frozen=True)
class _Shaped:
    shape: tuple[int, ...]


def tabled_entries(
    plan: GrowthPlan, sources: Sequence[TabledCheckpoint], config: TabledConfig
) -> tuple[WrittenTensor, ...] | None:
    """Return the tensors of the target, or None where not all are made of the sources' alone.

    Args:
        plan: The growth.
        sources: What it grows.
        config: The target's configuration.

    Raises:
        ModelError: A source lacks what is copied, or has it in another shape.
    """
    stack, anatomy, spelling = sources[0].stack, config.anatomy, sources[0].spelling
    is_random = plan.width is not None and plan.width.has_random
    if anatomy is None or is_random or any(each.stack != stack for each in sources):
        return None
    shapes = shapes_of(anatomy, stack, config.num_hidden_layers)
    targets = {name: _Shaped(shape) for name, shape in shapes.items()}
    entries = []
    for name, made, found in found_for(plan, stack, [each.tensors for each in sources], targets):
        dtype = found[0].dtype
        slices = _parts_of(plan, stack, name, made, found[0]) if len(found) == 1 else None
        copied = None if slices is None else found[0]
        value = None if slices is None else value_of(made, dtype)
        written = spelling.written(name)
        if slices is None or value is not None:
            slices = AS_IT_IS
        entries.append(WrittenTensor(written, dtype, shapes[name], copied, value, name, slices))
    return tuple(entries) if len(entries) == len(shapes) else None


def only_copies(plan: GrowthPlan) -> bool:
    """Return whether a tensor that takes from one other has the other's values, or one value."""
    return plan.width is None and not plan.noise and plan.learned is None


def _parts_of(
    plan: GrowthPlan, stack: LayerStack, name: str, made: Recipe, copied: StoredTensor
) -> Slices | None:
    """Return a target tensor as rows and columns of the one that it is made of, where it is so.

    Args:
        plan: The growth.
        stack: Where the target keeps its layers.
        name: The target tensor's.
        made: How the plan makes it.
        copied: What it is made of.
    """
    weight = stack.weight(name)
    if only_copies(plan):
        return AS_IT_IS
    if plan.width is None or plan.noise or plan.learned is not None or made.above is not None:
        return None
    if weight is None or not copied.shape or not copied.size:  # no width changes it
        return AS_IT_IS
    from lagsearch.operators.execute.slices import slices_of  # numpy, for widths alone

    is_last_norm = name in stack.top and weight.role in ("norm", "shift")
    slices = slices_of(plan.width, weight, copied.shape, is_last_norm=is_last_norm)
    is_float = copied.dtype in FLOATS
    return slices if slices is None or is_float or slices.factors <= {0, 1} else None


def value_of(made: Recipe, dtype: str) -> bytes | None:
    """Return the bytes of the one value that a tensor has everywhere, or None where it has not."""
    if not made.is_zero:
        return None
    if not made.nothing:
        return bytes(ITEM_BYTES[dtype])
    if dtype == "BF16":
        return struct.pack("<f", made.nothing)[2:]
    return struct.pack(_FORMATS[dtype], made.nothing)


def by_layer(stack: LayerStack, names: Iterable[str]) -> list[list[str]]:
    """Return names of tensors layer by layer, those outside of the layers together."""
    found: dict[int | None, list[str]] = {}
    for name in names:
        place = stack.split(name)
        found.setdefault(place[0] if place else None, []).append(name)
    return list(found.values())
