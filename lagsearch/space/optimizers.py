"""The optimizers that a space may name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lagsearch.space.schema import Optimizer


@dataclass(frozen=True)
class OptimizerKind:
    """One of torch's optimizers.

    Attributes:
        torch_name: Its class in `torch.optim`; torch must be new enough to have it.
        options: From the space's words to torch's.
        keeps: What it keeps of a parameter: names by whether it is a matrix.
        size: What it keeps of a weight of a matrix, in numbers.
        has_gpu_kernel: Whether torch can do its step in one kernel on a GPU.
    """

    torch_name: str
    options: Callable[[Optimizer], dict[str, Any]]
    keeps: Callable[[bool], tuple[str, ...]]
    size: int
    has_gpu_kernel: bool = False


def _adam(settings: Optimizer) -> dict[str, Any]:
    return {"betas": settings.betas, "eps": settings.eps, "fused": True}


_MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # `step` corrects the bias of the moments
_FACTORS = ("row_var", "col_var")

OPTIMIZERS = {
    "adamw": OptimizerKind("AdamW", _adam, lambda is_matrix: _MOMENTS, 2),
    "adam": OptimizerKind("Adam", _adam, lambda is_matrix: _MOMENTS, 2),
    "sgd": OptimizerKind(
        "SGD",
        lambda each: {"momentum": each.momentum or 0.9},
        lambda _: ("momentum_buffer",),
        1,
        has_gpu_kernel=True,
    ),
    "adafactor": OptimizerKind(
        "Adafactor",
        lambda each: {},
        lambda is_matrix: ("step", *_FACTORS) if is_matrix else ("step", "variance"),
        0,
    ),
    "muon": OptimizerKind(
        "Muon",
        lambda each: {"momentum": each.momentum or 0.95, "adjust_lr_fn": "match_rms_adamw"},
        lambda _: ("momentum_buffer",),
        1,
    ),
    "lion": OptimizerKind("Lion", lambda each: {"betas": each.betas}, lambda _: ("exp_avg",), 1),
}
