"""The optimizer, its rate at every step, and its state as named tensors."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from lagsearch.space import Optimizer, Schedule

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""Names of AdamW's state of one parameter; `step` corrects the bias of the moments."""


def make_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """Make AdamW: tensors of two dimensions and more decay, vectors do not."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    matrices = [each for each in parameters if each.dim() >= 2]
    vectors = [each for each in parameters if each.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )


def learning_rate(step: int, completion: int, peak: float, schedule: Schedule) -> float:
    """Return the rate of the update that follows `step` updates.

    Args:
        step: Updates so far, after growth.
        completion: Updates of the whole training after growth.
        peak: The rate at the end of the warm-up.
        schedule: How it changes; `continued` says how many steps came before growth.
    """
    behind = int(schedule.continued)
    step, end = step + behind, schedule.total_steps or completion + behind
    if step < schedule.warmup_steps:
        return peak * (step + 1) / schedule.warmup_steps
    if schedule.name == "constant":
        return peak
    if schedule.name == "inverse_sqrt":
        return peak * math.sqrt(max(1, schedule.warmup_steps) / max(1, step))
    share = _left(step, end, schedule)
    return peak * (schedule.final_fraction + (1 - schedule.final_fraction) * share)


def _left(step: int, end: int, schedule: Schedule) -> float:
    """Return the share of the fall that is still to come at a step behind the warm-up: 1 to 0."""
    span = end - schedule.warmup_steps
    if schedule.name == "wsd":
        span = min(span, schedule.decay_steps or max(1, end // 10))
    left = max(0.0, min(1.0, (end - step) / max(1, span)))
    return 0.5 * (1 - math.cos(math.pi * left)) if schedule.name == "cosine" else left


def zero_state(
    optimizer: torch.optim.Optimizer, model: nn.Module
) -> dict[str, dict[str, torch.Tensor]]:
    """Give every parameter zero moments and step 0; return them by moment and name."""
    named: dict[str, dict[str, torch.Tensor]] = {moment: {} for moment in MOMENTS}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        state = {moment: torch.zeros_like(parameter) for moment in MOMENTS[:2]}
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        optimizer.state[parameter] = state
        for moment, tensor in state.items():
            named[moment][name] = tensor
    return named


def state_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> Mapping[str, torch.Tensor]:
    """Return the optimizer's state as `exp_avg.<parameter>` and so on."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        for moment, tensor in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = tensor
    return tensors
