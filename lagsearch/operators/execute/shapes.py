"""Whether a plan's copies fit their targets, by shapes alone: torch is not needed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from lagsearch.errors import ModelError
from lagsearch.models.families import UNITS, Axis, Counted, Units, Weight
from lagsearch.models.layers import LayerStack
from lagsearch.operators.execute.recipe import Recipe, recipe
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.operators.plan.width import Width


class Shaped(Protocol):
    """What has a shape: a tensor, or what stands for one."""

    @property
    def shape(self) -> Sequence[int]:
        """It."""
        ...


AnyShaped = TypeVar("AnyShaped", bound=Shaped)


def check_copies(
    plan: GrowthPlan,
    stack: LayerStack,
    sources: Sequence[Mapping[str, AnyShaped]],
    target: Mapping[str, Shaped],
) -> None:
    """Check that all that the plan copies is there and gets its target's shape.

    Args:
        plan: The growth.
        stack: Where source and target keep their layers.
        sources: Tensors of each source, by name, or what has their shapes.
        target: Those of the target, by name.

    Raises:
        ModelError: One is missing or has another shape; layers of one stack differ, say.
    """
    for _ in found_for(plan, stack, sources, target):
        pass


def found_for(
    plan: GrowthPlan,
    stack: LayerStack,
    sources: Sequence[Mapping[str, AnyShaped]],
    target: Mapping[str, Shaped],
) -> Iterator[tuple[str, Recipe, list[AnyShaped]]]:
    """Yield each target tensor that is not left random, its recipe, and what that copies."""
    for name, tensor in target.items():
        made = recipe(plan, stack, name)
        if made is None:
            continue
        found = []
        for source, copied in made.copied:
            value = sources[source].get(copied)
            if value is None:
                raise ModelError(f"the target's {name} has no {copied} in the source to copy")
            shape: tuple[int, ...] | None = tuple(value.shape)
            if plan.width:
                shape = widened_shape(plan.width, stack.weight(name), value.shape)
            if shape != tuple(tensor.shape):
                raise ModelError(
                    f"the target's {name} is {tuple(tensor.shape)}, "
                    f"but the source's {copied} is {tuple(value.shape)}"
                    + (f", {shape} when it is widened" if plan.width and shape else "")
                )
            found.append(value)
        yield name, made, found


def widened_shape(
    width: Width, weight: Weight | None, shape: Sequence[int]
) -> tuple[int, ...] | None:
    """Return the shape that a source tensor gets, or None where its own does not fit the lifts."""
    if weight is None or not shape:
        return tuple(shape)
    if len(shape) != len(weight.axes):
        return None
    sizes = []
    for axis, size in zip(weight.axes, shape, strict=True):
        known = n_units(axis, width.before)
        if size % known:
            return None
        sizes.append(size // known * n_units(axis, width.after))
    return tuple(sizes)


def n_units(axis: Axis | None, sizes: Mapping[Units, int]) -> int:
    """Return how many of the innermost units an axis has, with so many of each kind."""
    return counted_units(UNITS.get(axis, ()) if axis is not None else (), sizes)


def counted_units(counted: Counted, sizes: Mapping[Units, int]) -> int:
    """Return the same of what is counted so."""
    product = 1
    for part in counted:
        each = (
            sizes[part] if isinstance(part, str) else sum(counted_units(one, sizes) for one in part)
        )
        product *= each
    return product
