"""How many candidates run at a time on this machine."""

import os
from dataclasses import dataclass

_GPU_CONTEXT_BYTES = 1 << 30
_SHARES = (0.125, 0.25, 0.5)


@dataclass(frozen=True)
class Slots:
    """Where candidates run.

    Attributes:
        cpus: CPUs of one candidate.
        gpus: GPUs of one candidate, a share or several.
        number: Candidates at a time on this machine.
    """

    cpus: int
    gpus: float
    number: int


def n_cpus() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_slots(cpus: int, gpus: float) -> int:
    """Return how many candidates fit on this machine at a time; 0 if not one does."""
    import torch

    number = n_cpus() // cpus
    if gpus:
        number = min(number, int(torch.cuda.device_count() // gpus))
    return number


def gpu_share(memory_bytes: int) -> float:
    """Return the share of a GPU that holds one candidate, 0 without a GPU.

    Shares are bookkeeping: nothing keeps a candidate from taking more.

    Args:
        memory_bytes: Estimate of one candidate's training.
    """
    import torch

    if not torch.cuda.is_available():
        return 0.0
    total = torch.cuda.get_device_properties(0).total_memory * 0.9
    needed = memory_bytes * 1.2 + _GPU_CONTEXT_BYTES
    return next((share for share in _SHARES if share * total >= needed), 1.0)
