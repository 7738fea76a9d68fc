"""What learns: the methods by which target tensors are mixed, and what they take.

The same function of the operator's parameters serves while they are learned, when the target is
made of them, and, without values, in planning: so the three cannot disagree.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Protocol

import torch

from lagsearch.errors import ModelError
from lagsearch.models.layers import LayerStack
from lagsearch.operators.execute.mix_ligo import Ligo, Tensors
from lagsearch.operators.execute.mix_mango import Mango
from lagsearch.operators.execute.shapes import check_copies
from lagsearch.operators.plan.growth import GrowthPlan


class Mix(Protocol):
    """A target's learned tensors as a differentiable function of the operator's parameters."""

    @property
    def like(self) -> torch.Tensor:
        """A tensor of the type and on the device in which all is computed."""
        ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the operator's parameters, by name."""
        ...

    def start(self, seed: int) -> dict[str, torch.Tensor]:
        """Return the parameters at the start; their noise is drawn from the seed."""
        ...

    def __call__(self, parameters: Tensors) -> dict[str, torch.Tensor]:
        """Return the learned target tensors, by name."""
        ...


_METHODS: Mapping[str, Callable[[GrowthPlan, LayerStack, Sequence[Tensors], Tensors], Mix]] = {
    "ligo": Ligo,
    "mango": Mango,
}


def make_mix(
    plan: GrowthPlan, stack: LayerStack, sources: Sequence[Tensors], target: Tensors
) -> Mix:
    """Make a plan's mix.

    Args:
        plan: The growth; it has a `learned` part.
        stack: Where source and target keep their layers.
        sources: Tensors of each source, by name; on `meta` they cost nothing.
        target: Tensors of the target, by name; only the names count.

    Raises:
        ModelError: A source lacks a tensor, or layers that are mixed have other shapes.
    """
    assert plan.learned is not None, "the plan learns nothing"
    return _METHODS[plan.learned.method](plan, stack, sources, target)


def n_operator_parameters(mix: Mix) -> int:
    """Count the operator's parameters."""
    return sum(prod(shape) for shape in mix.shapes().values())


def empty_parameters(mix: Mix) -> dict[str, torch.Tensor]:
    """Return parameters without values."""
    return {name: mix.like.new_empty(shape) for name, shape in mix.shapes().items()}


def forming_flops(mix: Mix) -> int:
    """Count the FLOPs of forming the weights once: two for each multiply and add of a product.

    Args:
        mix: Of tensors on `meta`, where it costs nothing.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        mix(empty_parameters(mix))
    return int(counter.get_total_flops())


def check_mix(mix: Mix, target: Tensors) -> None:
    """Check that what is mixed has its target's shape.

    Args:
        mix: Of tensors on `meta`, where it costs nothing.
        target: Tensors of the target, by name.

    Raises:
        ModelError: One has not.
    """
    for name, value in mix(empty_parameters(mix)).items():
        if value.shape != target[name].shape:
            raise ModelError(
                f"the target's {name} is {tuple(target[name].shape)}, "
                f"but {tuple(value.shape)} when it is mixed"
            )


def check_fit(
    plan: GrowthPlan, stack: LayerStack, sources: Sequence[Tensors], target: Tensors
) -> None:
    """Check that all that the plan copies or mixes is there and gets its target's shape.

    Args:
        plan: The growth.
        stack: Where source and target keep their layers.
        sources: Tensors of each source on `meta`, by name.
        target: Tensors of the target, by name.

    Raises:
        ModelError: One is missing or has another shape; layers of one stack differ, say.
    """
    check_copies(plan, stack, sources, target)
    if plan.learned is not None:
        check_mix(make_mix(plan, stack, sources, target), target)
