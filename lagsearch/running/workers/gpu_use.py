"""How much of a GPU one model in training takes."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from lagsearch.training.job import Job

_WARM_STEPS = 5
_STEPS = 20


@dataclass(frozen=True)
class GpuUse:
    """What one model in training takes of a GPU.

    Attributes:
        busy: Share of a step's time in which the GPU computes, 0 to 1.
        peak_bytes: Most memory that it held at once.
        gpu_bytes: Memory of the GPU.
    """

    busy: float
    peak_bytes: int
    gpu_bytes: int


def measure_gpu_use(job: Job) -> GpuUse:
    """Train some steps of a job on this process's GPU, and leave nothing behind."""
    from lagsearch.training.loop import steps_of

    with tempfile.TemporaryDirectory(prefix="lagsearch-") as folder:
        own = replace(
            job,
            state=Path(folder) / "state",
            curve=Path(folder) / "curve",
            training=job.training.model_copy(update={"steps": _WARM_STEPS + 2 * _STEPS}),
        )
        with closing(steps_of(own)) as steps:
            return gpu_use_of(steps)


def gpu_use_of(steps: Iterator[object]) -> GpuUse:
    """Return what steps take of this process's GPU; each that is drawn is one.

    The time of a step is taken without a profiler, which lengthens it; the time that the GPU
    computes is taken with one, which does not.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    def train(n_steps: int) -> None:
        for _ in islice(steps, n_steps):
            pass
        torch.cuda.synchronize()

    train(_WARM_STEPS)
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    train(_STEPS)
    wall_us = (time.perf_counter() - began) * 1e6
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        train(_STEPS)
    spans = [
        (each.time_range.start, each.time_range.end)
        for each in profiler.events() or []
        if each.device_type.name == "CUDA"
    ]
    there = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return GpuUse(min(1.0, covered(spans) / wall_us), torch.cuda.max_memory_allocated(), there)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of what spans cover together, each counted once where they overlap.

    Args:
        spans: Start and end of each.
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
