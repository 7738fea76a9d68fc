"""What the machine under a model gives and takes: time, matrix products, memory, the GPU's load."""

import gc
import re
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lagsearch.training.job import Compute

_SIDE = {"cpu": 1024, "cuda": 4096}  # large enough for the best rate, small enough to be quick
_PRODUCTS = {"cpu": 1, "cuda": 10}  # between two looks at the clock: on a GPU each look waits
_MEASURE_S = 0.3
_LOOK_EVERY_S = 1.0  # the driver itself averages over up to a second


class HostClock:
    """The time of this process: on the CPU, work is done when the call returns."""

    def mark(self) -> float:
        """Return this moment."""
        return time.perf_counter()

    def between(self, begin: float, end: float) -> float:
        """Return the seconds from one moment to another."""
        return end - begin

    def wait(self) -> None:
        """Wait until all that was asked for is done."""


class GpuClock:
    """The time of the GPU's queue: calls return before their work is done.

    What the GPU waits for is in the time between two marks, but not what it does not wait for.
    """

    def mark(self) -> Any:
        """Return this moment of the queue."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(self, begin: Any, end: Any) -> float:
        """Return the seconds from one moment to another; both have passed (`wait`)."""
        return float(begin.elapsed_time(end)) / 1e3

    def wait(self) -> None:
        """Wait until all that was asked for is done."""
        torch.cuda.synchronize()


def clock_of(device: str) -> HostClock | GpuClock:
    """Return the clock that knows how long work takes on a device."""
    return GpuClock() if device == "cuda" else HostClock()


@cache
def peak_flops_per_s(compute: Compute) -> float:
    """Return the best rate that a square matrix product reaches here, in FLOPs a second.

    It is measured once in each process, with the threads, the device and the precision of the
    training, and beside whatever else runs then: the best of all products in 0.3 s. No number of
    a data sheet is taken for it.

    Args:
        compute: What is used; its threads must be those that torch is set to.
    """
    device, side = compute.device, _SIDE[compute.device]
    dtype = torch.bfloat16 if compute.precision == "bf16" else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    left = torch.randn(side, side, device=device, generator=generator).to(dtype)
    right = torch.randn(side, side, device=device, generator=generator).to(dtype)
    product = torch.empty_like(left)
    clock = clock_of(device)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < _MEASURE_S:
        clock.wait()
        start = time.perf_counter()
        for _ in range(_PRODUCTS[device]):
            torch.mm(left, right, out=product)
        clock.wait()
        times.append((time.perf_counter() - start) / _PRODUCTS[device])
    if device == "cuda":
        del left, right, product
        torch.cuda.empty_cache()
    return 2 * side**3 / min(times)


class PeakMemory:
    """The most memory in use since this was made."""

    def __init__(self, device: str) -> None:
        """Let go of what is garbage, and count from here on.

        Args:
            device: `cpu` or `cuda`.
        """
        gc.collect()  # the model before this one is full of cycles
        self._device = device
        self._before: int | None
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._kind = "allocated on the GPU"
            self._before = torch.cuda.memory_allocated()
        else:
            since = "this model began" if _reset_resident_peak() else "the process began"
            self._kind = f"resident set of the process since {since}"
            self._before = _resident("VmRSS")

    def figures(self) -> dict[str, Any]:
        """Return the peak, what was in use before, and what is counted; bytes."""
        is_gpu = self._device == "cuda"
        peak = torch.cuda.max_memory_allocated() if is_gpu else _resident("VmHWM")
        return {"kind": self._kind, "peak_bytes": peak, "before_bytes": self._before}


def _reset_resident_peak() -> bool:
    """Let the kernel count the peak of this process's resident set anew, where it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # no Linux, or a sandbox
        return False
    return True


def _resident(key: str) -> int | None:
    """Return an entry of the process's status in bytes; without Linux only the peak is known."""
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) * 1024
    if key != "VmHWM" or sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class GpuLoad:
    """How busy the whole GPU is, whoever uses it; known where `nvidia-ml-py` is installed."""

    def __init__(self, device: str) -> None:
        """Begin.

        Args:
            device: `cpu` or `cuda`.
        """
        self._percents: list[int] = []
        self._is_known, self._next = device == "cuda", 0.0

    def look(self) -> None:
        """Take a sample, once a second at most."""
        now = time.perf_counter()
        if not self._is_known or now < self._next:
            return
        self._next = now + _LOOK_EVERY_S
        try:
            self._percents.append(torch.cuda.utilization())
        except Exception:  # the driver's own errors are of a package that may be missing
            self._is_known = False

    def figures(self) -> dict[str, Any] | None:
        """Return the mean share of the time in which the GPU did anything, and the samples."""
        if not self._percents:
            return None
        mean = sum(self._percents) / len(self._percents) / 100
        return {"mean": mean, "samples": len(self._percents)}
