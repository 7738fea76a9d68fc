"""New layers that are faded in while training begins: the `masked` treatment of a plan."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lagsearch.operators.plan import GrowthPlan


class Ramp:
    """Blends the output of masked layers with their input: m layer(x) + (1 - m) x.

    Source:
        Du et al. 2024, arXiv:2405.15319, A.5 (34)-(36), as its code has it: the whole layer.
    """

    def __init__(self, plan: GrowthPlan, layers: Sequence[nn.Module]) -> None:
        """Put hooks on the masked layers.

        Args:
            plan: Which layers, over how many steps.
            layers: The target's layers.
        """
        self._steps = plan.ramp_steps
        self._share = 1.0
        for origin, layer in zip(plan.layers, layers, strict=True):
            if origin.treatment == "masked":
                layer.register_forward_hook(self._blend, with_kwargs=True)

    def at(self, step: int) -> None:
        """Set m = min(1, step / ramp steps)."""
        self._share = min(1.0, step / self._steps) if self._steps else 1.0

    def _blend(self, layer: nn.Module, args: Any, named: dict[str, Any], output: Any) -> Any:
        if self._share == 1.0:
            return None
        before_BTD: torch.Tensor = args[0] if args else named["hidden_states"]
        if isinstance(output, tuple):
            return (torch.lerp(before_BTD, output[0], self._share), *output[1:])
        return torch.lerp(before_BTD, output, self._share)
