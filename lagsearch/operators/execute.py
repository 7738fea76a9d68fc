"""The one executor: a plan and named source tensors fill named target tensors."""

from collections.abc import Mapping, Sequence

import torch

from lagsearch.models.layers import LayerStack
from lagsearch.operators.plan import GrowthPlan


def source_name(plan: GrowthPlan, stack: LayerStack, name: str) -> tuple[int, str] | None:
    """Return (source, tensor name) that a target tensor copies, or None where it stays random."""
    place = stack.split(name)
    if place is None:
        return (plan.outer.source, name) if plan.outer.treatment == "copy" else None
    layer, rest = place
    origin = plan.layers[layer]
    if origin.treatment == "random" or origin.layer is None:
        return None
    return origin.source, stack.join(origin.layer, rest)


def fill(
    plan: GrowthPlan,
    stack: LayerStack,
    sources: Sequence[Mapping[str, torch.Tensor]],
    target: Mapping[str, torch.Tensor],
) -> None:
    """Fill target tensors, in place and one by one, with what the plan copies.

    Weights, moments and step counts of the optimizer all go through here: what the plan does not
    copy keeps the value it has in `target` (fresh random weights, zero moments, step 0).

    Args:
        plan: The growth.
        stack: Where source and target keep their layers.
        sources: Tensors of each source, by name; read only as they are needed.
        target: Tensors of the target, by name.

    Raises:
        KeyError: A source lacks a tensor that the plan copies.
    """
    with torch.no_grad():
        for name, tensor in target.items():
            origin = source_name(plan, stack, name)
            if origin is not None:
                source, copied = origin
                tensor.copy_(sources[source][copied])
