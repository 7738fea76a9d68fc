"""The one executor: a plan and named source tensors fill named target tensors."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from lagsearch.errors import ModelError
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


def check_fit(
    plan: GrowthPlan,
    stack: LayerStack,
    sources: Sequence[Mapping[str, torch.Tensor]],
    target: Mapping[str, torch.Tensor],
) -> None:
    """Check that every tensor the plan copies is there, and has its target's shape.

    Args:
        plan: The growth.
        stack: Where source and target keep their layers.
        sources: Tensors of each source, by name; on `meta` they cost nothing.
        target: Tensors of the target, by name.

    Raises:
        ModelError: One is missing or has another shape; layers of one stack differ, say.
    """
    for _ in _copies(plan, stack, sources, target):
        pass


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
        ModelError: A source lacks a tensor that the plan copies, or has it in another shape.
    """
    with torch.no_grad():
        for tensor, found in _copies(plan, stack, sources, target):
            tensor.copy_(found)


def _copies(
    plan: GrowthPlan,
    stack: LayerStack,
    sources: Sequence[Mapping[str, torch.Tensor]],
    target: Mapping[str, torch.Tensor],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each target tensor that is copied, and what it copies."""
    for name, tensor in target.items():
        if (origin := source_name(plan, stack, name)) is None:
            continue
        source, copied = origin
        found = sources[source].get(copied)
        if found is None:
            raise ModelError(f"the target's {name} has no {copied} in the source to copy")
        if found.shape != tensor.shape:
            raise ModelError(
                f"the target's {name} is {tuple(tensor.shape)}, "
                f"but the source's {copied} is {tuple(found.shape)}"
            )
        yield tensor, found
