"""What a growth that only copies writes, worked out of tables and of the files' headers."""

import struct
from collections.abc import Sequence

from lagsearch.grow.shards import WrittenTensor
from lagsearch.models.headers import ITEM_BYTES
from lagsearch.models.tabled import TabledCheckpoint, shapes_of
from lagsearch.models.tabled_configs import TabledConfig
from lagsearch.operators import GrowthPlan
from lagsearch.operators.execute.recipe import Recipe, recipe

_FORMATS = {"F16": "<e", "F32": "<f", "F64": "<d"}


def tabled_entries(
    plan: GrowthPlan, sources: Sequence[TabledCheckpoint], config: TabledConfig
) -> tuple[WrittenTensor, ...] | None:
    """Return the tensors of the target, or None where not all are copies that fit.

    Args:
        plan: The growth.
        sources: What it grows.
        config: The target's configuration.
    """
    stack, anatomy, spelling = sources[0].stack, config.anatomy, sources[0].spelling
    if anatomy is None or not only_copies(plan) or any(each.stack != stack for each in sources):
        return None
    entries = []
    for name, shape in shapes_of(anatomy, stack, config.num_hidden_layers).items():
        made = recipe(plan, stack, name)
        if made is None or len(made.copied) > 1:
            return None
        [(source, copied)] = made.copied
        tensor = sources[source].tensors.get(copied)
        if tensor is None or tensor.shape != shape:
            return None
        entries.append(
            WrittenTensor(
                spelling.written(name), tensor.dtype, shape, tensor, value_of(made, tensor.dtype)
            )
        )
    return tuple(entries)


def only_copies(plan: GrowthPlan) -> bool:
    """Return whether a tensor that takes from one other has the other's values, or one value."""
    return plan.width is None and not plan.noise and plan.learned is None


def value_of(made: Recipe, dtype: str) -> bytes | None:
    """Return the bytes of the one value that a tensor has everywhere, or None where it has not."""
    if not made.is_zero:
        return None
    if not made.nothing:
        return bytes(ITEM_BYTES[dtype])
    if dtype == "BF16":
        return struct.pack("<f", made.nothing)[2:]
    return struct.pack(_FORMATS[dtype], made.nothing)
