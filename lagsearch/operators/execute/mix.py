"""What learns: the methods by which target tensors are mixed, and what they take.

The same function of the operator's parameters serves while they are learned and when the target is
made of them. What it mixes is gathered by `mix_sizes`, also in planning.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from lagsearch.models.layers import LayerStack
from lagsearch.operators.execute.mix_ligo import Ligo, Tensors
from lagsearch.operators.execute.mix_mango import Mango
from lagsearch.operators.execute.mix_sizes import LigoSizes, check_mix, mix_sizes
from lagsearch.operators.execute.shapes import check_copies
from lagsearch.operators.plan.growth import GrowthPlan


class Mix(Protocol):
    """A target's learned tensors as a differentiable function of the operator's parameters."""

    @property
    def sizes(self) -> LigoSizes:
        """What it mixes, and what that takes."""
        ...

    @property
    def like(self) -> torch.Tensor:
        """A tensor of the type and on the device in which all is computed."""
        ...

    def start(self, seed: int) -> dict[str, torch.Tensor]:
        """Return the parameters at the start; their noise is drawn from the seed."""
        ...

    def __call__(self, parameters: Tensors) -> dict[str, torch.Tensor]:
        """Return the learned target tensors, by name."""
        ...


_METHODS: Mapping[str, Callable[[Any, Sequence[Tensors]], Mix]] = {
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
        sources: Tensors of each source, by name.
        target: Tensors of the target, by name; only their shapes count.

    Raises:
        ModelError: A source lacks a tensor, or layers that are mixed have other shapes.
    """
    assert plan.learned is not None, "the plan learns nothing"
    sizes = mix_sizes(plan, stack, sources, target)
    return _METHODS[plan.learned.method](sizes, sources)


def check_fit(
    plan: GrowthPlan, stack: LayerStack, sources: Sequence[Tensors], target: Tensors
) -> None:
    """Check that all that the plan copies or mixes is there and gets its target's shape.

    Args:
        plan: The growth.
        stack: Where source and target keep their layers.
        sources: Tensors of each source, by name; only their shapes count.
        target: Tensors of the target, by name.

    Raises:
        ModelError: One is missing or has another shape; layers of one stack differ, say.
    """
    check_copies(plan, stack, sources, target)
    if plan.learned is not None:
        check_mix(mix_sizes(plan, stack, sources, target), target)
