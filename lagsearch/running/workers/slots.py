"""How many candidates run at a time on this machine."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lagsearch.errors import ResourceError
from lagsearch.space import Placement, Resources
from lagsearch.training.job import Compute
from lagsearch.training.saving import Interval

_GPU_CONTEXT_BYTES = 1 << 30
_SHARES = (0.125, 0.25, 0.5)
_SURELY = {"cpu": 0.75, "cuda": 0.5}
"""What is surely needed of an estimate: it may be off by a quarter, and bf16 keeps half as much."""
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True)
class Slots:
    """Where candidates run.

    Attributes:
        cpus: CPUs of one candidate, or of each of its devices.
        gpus: GPUs of the same, a share or several.
        number: Candidates at a time on this machine.
        devices: Devices of one candidate.
    """

    cpus: int
    gpus: float
    number: int
    devices: int = 1

    @property
    def all_cpus(self) -> int:
        """CPUs of one candidate."""
        return self.cpus * self.devices

    @property
    def all_gpus(self) -> float:
        """GPUs of one candidate."""
        return self.gpus * self.devices


def assign_slots(
    wanted: Resources, precision: str, memory_bytes: Sequence[int | None]
) -> tuple[Compute, Slots]:
    """Decide device, precision and how many candidates run at a time.

    On a cluster (RAY_ADDRESS) what there is shows only later; here it is only asked for.

    Args:
        wanted: What the space says of resources.
        precision: `auto`, `fp32` or `bf16`.
        memory_bytes: Estimate of each candidate's training, None where there is none.

    Raises:
        ResourceError: One candidate needs more than this machine has.
    """
    import torch

    is_here = not os.environ.get("RAY_ADDRESS")
    place = wanted.of_candidates
    share = wanted.gpus_per_candidate
    gpus = gpu_share(memory_bytes) if share == "auto" else float(share)
    gpus = math.ceil(gpus) if place.devices > 1 else gpus
    if gpus and is_here and not torch.cuda.is_available():
        at = ("resources", "gpus_per_candidate")
        raise ResourceError("this machine has no usable GPU", at)
    number = count_slots(wanted.cpus_per_candidate * place.devices, gpus * place.devices)
    there = f"{n_cpus()} CPUs" + (f", {torch.cuda.device_count()} GPUs" if gpus else "")
    if number < 1 and is_here:
        message = f"one candidate needs more than this machine has ({there})"
        raise ResourceError(message, ("resources",))
    for key, each in (("winner", wanted.of_winner), ("sources", wanted.of_sources)):
        if (
            is_here
            and count_slots(wanted.cpus_per_candidate * each.devices, gpus and each.devices) < 1
        ):
            message = f"are more than this machine has ({there})"
            raise ResourceError(message, ("resources", key, "devices"))
    device = "cuda" if gpus else "cpu"
    if precision == "auto":
        has_bf16 = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if has_bf16 else "fp32"
    saving = Interval(every_s=wanted.save_every)
    compute = Compute(wanted.cpus_per_candidate, device, precision, saving)
    compute = placed(compute, place)
    return compute, Slots(wanted.cpus_per_candidate, gpus, max(1, number), place.devices)


def slots_alone(wanted: Resources, slots: Slots) -> Slots:
    """Return where the winner runs, with what candidates have of CPUs and GPUs on each device."""
    devices = wanted.of_winner.devices
    return Slots(slots.cpus, math.ceil(slots.gpus) if devices > 1 else slots.gpus, 1, devices)


def placed(compute: Compute, place: Placement) -> Compute:
    """Return what a model may use on some devices."""
    return replace(compute, devices=place.devices, parallel=place.parallel or "ddp")


def as_far_as_here(wanted: Resources) -> Resources:
    """Return what is wanted as far as this machine has it."""
    import torch

    has_gpu = torch.cuda.is_available()
    own: dict[str, Any] = {"cpus_per_candidate": min(wanted.cpus_per_candidate, n_cpus())}
    own |= {"devices_per_candidate": None, "parallel": None, "winner": None, "sources": None}
    return wanted.model_copy(update=own if has_gpu else {**own, "gpus_per_candidate": 0})


def check_memory(
    memory_bytes: Sequence[int | None], device: str, there: int | None, devices: int = 1
) -> None:
    """Check that one candidate at a time can fit at all.

    Args:
        memory_bytes: Estimate of each candidate's training, None where there is none.
        device: `cpu` or `cuda`.
        devices: Devices of one candidate, which have a machine's memory together, but a GPU each.
        there: Bytes that the device has; None where that is not known.

    Raises:
        ResourceError: One surely cannot, however far off the estimate is.
    """
    needed = max((each for each in memory_bytes if each is not None), default=0)
    needed *= devices if device == "cpu" else 1
    if there is None or needed * _SURELY[device] <= there:
        return
    raise ResourceError(
        f"one candidate needs about {needed / 2**30:,.1f} GiB, and this "
        f"{'GPU' if device == 'cuda' else 'machine'} has {there / 2**30:,.1f} GiB: take fewer "
        "sequences, or a larger training.gradient_accumulation, which splits them; or a shorter "
        "data.sequence_length; or a smaller target",
        ("training", "batch_size"),
    )


def memory_of(device: str) -> int | None:
    """Return the bytes of memory that a process may have on a device; None where it is not known.

    On a CPU they are the machine's, or fewer where a control group (of a container, say) sets a
    limit.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    found = [int(text) for path in _CGROUP_LIMITS if (text := _read(path)).isdigit()]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def describe(compute: Compute) -> dict[str, Any]:
    """Return what a run used, for its record."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"cpus": n_cpus(), "gpus": gpus, "used": compute.device, "precision": compute.precision}


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


def gpu_share(memory_bytes: Sequence[int | None]) -> float:
    """Return the share of a GPU that holds any one candidate, 0 without a GPU.

    Shares are bookkeeping: nothing keeps a candidate from taking more.

    Args:
        memory_bytes: Estimate of each candidate's training, None where there is none.
    """
    import torch

    if not torch.cuda.is_available():
        return 0.0
    known = [each for each in memory_bytes if each is not None]
    if len(known) < len(memory_bytes):
        return 1.0
    total = torch.cuda.get_device_properties(0).total_memory * 0.9
    needed = max(known) * 1.2 + _GPU_CONTEXT_BYTES
    return next((share for share in _SHARES if share * total >= needed), 1.0)
