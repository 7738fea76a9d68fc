"""What is faded in while training begins: `masked` layers, and the new units of a width.

Letters: B sequences, T tokens, D places of the residual stream, O outputs of any module.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lagsearch.models.families import Weight, units_of
from lagsearch.models.layers import LayerStack
from lagsearch.operators.execute.places import new_places
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.operators.plan.width import Width


class Ramp:
    """Fades in what a plan says, by hooks on the model; after the last step nothing is changed.

    Nor is anything before `at` says how far it is.

    The output of masked layers is blended with their input, m layer(x) + (1 - m) x. New units of
    a width are multiplied by a mask of their own in the output of every embedding and linear map;
    norms take mean and variance over the mask.

    Source:
        Du et al. 2024, arXiv:2405.15319, A.5 (34)-(36), as its code has it (the whole layer; three
        ramps of the width, one after the other); masked structural growth: Yao et al. 2023.
    """

    def __init__(self, plan: GrowthPlan, model: nn.Module, stack: LayerStack) -> None:
        """Put hooks on the model.

        Args:
            plan: What is faded in, over how many steps.
            model: The target.
            stack: Where it keeps its layers, with the table of its weights if a width fades in.
        """
        self._plan = plan
        self._depth = 1.0
        self._width: list[float] = []
        layers = model.get_submodule(stack.prefix).children()
        for origin, layer in zip(plan.layers, layers, strict=True):
            if origin.treatment == "masked":
                layer.register_forward_hook(self._blend, with_kwargs=True)
        if plan.width is None or not plan.width.ramp_steps:
            return
        for name, module in model.named_modules():
            weight = stack.weight(f"{name}.weight")
            if weight is not None and isinstance(module.weight, torch.Tensor):
                self._mask(plan.width, module, weight)
                self._mask_new_heads(plan.width, module, weight)
        self._width = [1.0] * len(plan.width.fading)

    @property
    def is_any(self) -> bool:
        """Whether anything is faded in: what the model computes then changes with each step."""
        return bool(self._plan.ramp_steps or self._width)

    def at(self, step: int) -> None:
        """Set every share to what it is at a step: min(1, step / ramp steps), stage by stage."""
        steps, width = self._plan.ramp_steps, self._plan.width
        self._depth = min(1.0, step / steps) if steps else 1.0
        if width is not None and width.ramp_steps:
            ramps = step / width.ramp_steps
            self._width = [min(1.0, max(0.0, ramps - stage)) for stage in range(len(width.fading))]

    def _blend(self, layer: nn.Module, args: Any, named: dict[str, Any], output: Any) -> Any:
        if self._depth == 1.0:
            return None
        before_BTD: torch.Tensor = args[0] if args else named["hidden_states"]
        if isinstance(output, tuple):
            return (torch.lerp(before_BTD, output[0], self._depth), *output[1:])
        return torch.lerp(before_BTD, output, self._depth)

    def _mask(self, width: Width, module: Any, weight: Weight) -> None:
        """Put a hook on a module whose output has new units."""
        place = 0 if weight.input_place is None else 1 - weight.input_place
        axis = weight.axes[place]
        stages = [at for at, units in enumerate(width.fading) if units & units_of(axis)]
        if not stages:
            return
        stage = stages[0]
        is_new_O = torch.from_numpy(new_places(width, axis, module.weight.shape[place]))
        is_norm, offset = weight.role == "norm", weight.counts_from

        def fade(module: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> Any:
            mask_O = self._mask_at(stage, is_new_O, output)
            if mask_O is not None and is_norm:
                return _masked_norm(module, args[0], mask_O, offset).to(output.dtype)
            return None if mask_O is None else output * mask_O

        module.register_forward_hook(fade)

    def _mask_new_heads(self, width: Width, module: Any, weight: Weight) -> None:
        """Put a hook on what reads the heads, where they grow within groups that are there.

        Such a head reads its group's values at once: with a query of 0 it gives their mean. (What
        heads of new groups read is masked itself.)
        """
        if weight.role != "writer" or "query" not in weight.axes:
            return
        if width.heads.source == width.heads.target:
            return
        stage = next(at for at, units in enumerate(width.fading) if "heads" in units)
        size = module.weight.shape[weight.axes.index("query")]
        with_old_groups = replace(width, key_value=width.key_value.kept())
        is_new_I = torch.from_numpy(new_places(with_old_groups, "query", size))

        def fade(module: nn.Module, args: tuple[torch.Tensor]) -> Any:
            mask_I = self._mask_at(stage, is_new_I, args[0])
            return None if mask_I is None else args[0] * mask_I

        module.register_forward_pre_hook(fade)

    def _mask_at(self, stage: int, is_new: torch.Tensor, like: torch.Tensor) -> torch.Tensor | None:
        """Return the mask as it stands, or None where all counts in full."""
        share = self._width[stage]
        if share == 1.0:
            return None
        return torch.where(is_new.to(like.device), share, 1.0).to(like.dtype)


def _masked_norm(
    norm: Any, x_BTD: torch.Tensor, mask_D: torch.Tensor, offset: float
) -> torch.Tensor:
    """Return a norm's output where only `mask_D` of each place counts: a LayerNorm or RMSNorm.

    The offset is what is added to its stored gains.
    """
    x_BTD = x_BTD.to(torch.promote_types(x_BTD.dtype, torch.float32))
    mask_D = mask_D.to(x_BTD.dtype)
    eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
    if isinstance(norm, nn.LayerNorm):
        x_BTD = x_BTD - (x_BTD * mask_D).sum(-1, keepdim=True) / mask_D.sum()
    masked_BTD = x_BTD * mask_D
    mean_square_BT1 = masked_BTD.square().sum(-1, keepdim=True) / mask_D.sum()
    scaled_BTD = masked_BTD * torch.rsqrt(mean_square_BT1 + eps)
    gained_BTD: torch.Tensor = scaled_BTD * (norm.weight + offset)
    bias: torch.Tensor | None = getattr(norm, "bias", None)
    return (gained_BTD if bias is None else gained_BTD + bias) * mask_D
