"""How fast this machine trains a model: a short measurement on random weights and random tokens."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from lagsearch.models.build import auto_class, quiet
from lagsearch.space import Optimizer
from lagsearch.training.optimizer import make_optimizer

_MEASURE_S = 2.0
_MOST_STEPS = 20


@dataclass(frozen=True)
class Speed:
    """How fast one candidate is trained, while others are trained beside it.

    Attributes:
        flops_per_s: Training FLOPs of a candidate in a second.
        slots: Candidates at a time.
    """

    flops_per_s: float
    slots: int


def measure_speed(config: Any, kind: str, batch: tuple[int, int], flops: int, device: str) -> float:
    """Return the training FLOPs that one candidate does in a second, alone on its thread.

    The model is trained for about two seconds; one step is done at least, and one before that is
    not counted.

    Args:
        config: The model's.
        kind: `causal` or `masked`.
        batch: Sequences in a step, and tokens in a sequence.
        flops: Training FLOPs of such a step.
        device: `cpu` or `cuda`.
    """
    quiet()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            model = auto_class(kind).from_config(config, dtype=torch.float32).to(device)
            tokens = torch.randint(0, config.vocab_size, batch, device=device)
        optimizer = make_optimizer(model, Optimizer())
        seconds = _seconds_per_step(model, optimizer, tokens, device)
    finally:
        torch.set_num_threads(threads)
    return flops / seconds


def _seconds_per_step(model: Any, optimizer: Any, tokens: torch.Tensor, device: str) -> float:
    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device

    step()
    began, steps = time.perf_counter(), 0
    while steps == 0 or (steps < _MOST_STEPS and time.perf_counter() - began < _MEASURE_S):
        step()
        steps += 1
    return (time.perf_counter() - began) / steps
