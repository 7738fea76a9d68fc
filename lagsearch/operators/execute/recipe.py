"""What a plan says of one tensor, for those that copy values and those that copy bytes."""

from dataclasses import dataclass

from lagsearch.models.layers import LayerStack
from lagsearch.operators.plan.growth import GrowthPlan


@dataclass(frozen=True)
class Recipe:
    """How one target tensor is made.

    Attributes:
        copied: (source, tensor name) of what it copies; of several the mean.
        is_zero: It counts nothing instead; what it would copy still tells its shape.
        nothing: The stored value that counts nothing in it.
        above: (source, tensor name) of the next layer, where a width takes rows from there.
    """

    copied: tuple[tuple[int, str], ...]
    is_zero: bool = False
    nothing: float = 0.0
    above: tuple[int, str] | None = None


def recipe(plan: GrowthPlan, stack: LayerStack, name: str) -> Recipe | None:
    """Return how the plan makes a target tensor, or None where it stays random or is learned."""
    place = stack.split(name)
    if place is None:
        end = plan.top if name in stack.top else plan.bottom
        if end.treatment != "copy" or plan.learns(end.treatment):
            return None
        return Recipe(tuple((source, name) for source in end.sources))
    layer, rest = place
    origin = plan.layers[layer]
    if origin.treatment in ("random", "masked") or origin.layer is None:
        return None
    if plan.learns(origin.treatment):
        return None
    copied = ((origin.source, stack.join(origin.layer, rest)),)
    role, above = stack.role(rest), None
    if plan.width and plan.width.takes_from_next_layer and role == "reader":
        above = (origin.source, stack.join(origin.layer + 1, rest))
    is_zero = origin.treatment == "zero_output" and stack.is_closing(rest)
    weight = stack.weight(name)
    is_gain = weight is not None and weight.role == "norm"
    return Recipe(copied, is_zero, 0.0 - weight.counts_from if weight and is_gain else 0.0, above)
