"""How many candidates run at a time, and on what: on this machine, or on the nodes of a cluster."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lagsearch.errors import ResourceError, counted
from lagsearch.running.workers.gpu_use import GpuUse
from lagsearch.running.workers.nodes import Node, machine_bytes, n_cpus, this_machine
from lagsearch.space import Placement, Resources
from lagsearch.training.job import Compute
from lagsearch.training.saving import Interval

_GPU_CONTEXT_BYTES = 1 << 30
_ON_A_GPU = (8, 4, 2, 1)
"""Candidates that may share a GPU, the most first; their shares are exact as binary fractions."""

_USABLE = 0.9
_SURELY = {"cpu": 0.75, "cuda": 0.5}
"""What is surely needed of an estimate: it may be off by a quarter, and bf16 keeps half as much."""
_MOST_NAMED = 8


@dataclass(frozen=True)
class Slots:
    """Where candidates run.

    Attributes:
        cpus: CPUs of one candidate, or of each of its devices.
        gpus: GPUs of the same, a share or several.
        number: Candidates at a time.
        devices: Devices of one candidate.
        spans: Whether they lie on several nodes, each device whole on one.
    """

    cpus: int
    gpus: float
    number: int
    devices: int = 1
    spans: bool = False

    @property
    def all_cpus(self) -> int:
        """CPUs of one candidate."""
        return self.cpus * self.devices

    @property
    def all_gpus(self) -> float:
        """GPUs of one candidate."""
        return self.gpus * self.devices

    def __str__(self) -> str:
        """Return what one candidate takes, in words."""
        gpus = "GPU" if self.all_gpus == 1 else "GPUs"
        return f"{counted(self.all_cpus, 'CPU')}, {self.all_gpus:g} {gpus}"

    @property
    def places(self) -> list[dict[str, float]]:
        """What one candidate takes in each place, which is on one node."""
        if self.spans:
            return [{"CPU": self.cpus, "GPU": self.gpus}] * self.devices
        return [{"CPU": self.all_cpus, "GPU": self.all_gpus}]

    def devices_on(self, node: Node) -> int:
        """Return for how many devices of candidates a node has room at a time."""
        if self.spans:
            return node.holds(self.cpus, self.gpus)
        return node.holds(self.all_cpus, self.all_gpus) * self.devices

    def held_by(self, nodes: Iterable[Node]) -> int:
        """Return how many candidates nodes hold at a time.

        Where they span nodes, all devices are alike, and a candidate takes any that are free: so
        no order in which Ray places some leaves too few for another one.
        """
        return sum(map(self.devices_on, nodes)) // self.devices


def assign_slots(
    wanted: Resources,
    precision: str,
    memory_bytes: Sequence[int | None],
    cluster: Sequence[Node] | None = None,
) -> tuple[Compute, Slots]:
    """Decide device, precision and how many candidates run at a time.

    Args:
        wanted: What the space says of resources.
        precision: `auto`, `fp32` or `bf16`.
        memory_bytes: Estimate of each candidate's training, None where there is none.
        cluster: The nodes that candidates run on; None is this machine.

    Raises:
        ResourceError: One candidate needs more than there is, or the nodes differ.
    """
    nodes = [this_machine()] if cluster is None else cluster
    if cluster is not None and wanted.gpus_per_candidate:
        _check_cards(nodes)
    place, share = wanted.of_candidates, wanted.gpus_per_candidate
    gpus = (
        gpu_share(memory_bytes, nodes, wanted.cpus_per_candidate)
        if share == "auto"
        else float(share)
    )
    gpus = _whole(gpus, place.devices)
    if gpus and not any(each.cards for each in nodes):
        what = "this machine has no" if cluster is None else "no node of the cluster has a"
        more = "" if cluster is None else f": {_named(nodes)}"
        at = ("resources", "gpus_per_candidate")
        raise ResourceError(f"{what} usable GPU{more}", at)
    device = "cuda" if gpus else "cpu"
    slots = slots_on(nodes, wanted.cpus_per_candidate, gpus, place.devices)
    if not slots.number and cluster is None:
        message = f"one candidate needs more than this machine has ({_offered(nodes[0], gpus)})"
        raise ResourceError(message, ("resources",))
    if not slots.number:
        raise ResourceError(f"{_too_few(nodes, slots)}: {_named(nodes)}", ("resources",))
    used = nodes_for(nodes, slots)
    used += [each for each in _spanned(wanted, slots, cluster) if each not in used]
    if cluster is not None and not wanted.mix_devices:
        _check_alike(used, device)
    if precision == "auto":
        has_bf16 = device == "cuda" and all(each.has_bf16 for each in used)
        precision = "bf16" if has_bf16 else "fp32"
    saving = Interval(every_s=wanted.save_every)
    return placed(Compute(slots.cpus, device, precision, saving), place), slots


def slots_on(nodes: Sequence[Node], cpus: int, gpus: float, devices: int) -> Slots:
    """Return how many models nodes hold at a time.

    Each is on one node; it spans several only where no node has room for all of its devices.

    Args:
        nodes: All.
        cpus: CPUs of each device.
        gpus: GPUs of the same.
        devices: Devices of one model.
    """
    slots = Slots(cpus, gpus, 0, devices)
    if devices > 1 and not slots.held_by(nodes):
        slots = replace(slots, spans=True)
    return replace(slots, number=slots.held_by(nodes))


def _spanned(wanted: Resources, slots: Slots, cluster: Sequence[Node] | None) -> list[Node]:
    """Return the nodes that the winner or a source spans; see `assign_slots`.

    Raises:
        ResourceError: There is no room for one.
    """
    nodes = [this_machine()] if cluster is None else cluster
    found: list[Node] = []
    for key, place in (("winner", wanted.of_winner), ("sources", wanted.of_sources)):
        own = slots_on(nodes, slots.cpus, _whole(slots.gpus, place.devices), place.devices)
        if not own.number:
            has = f"this machine has ({_offered(nodes[0], slots.gpus)})"
            if cluster is not None:
                room = counted(_room(nodes, own), "device")
                has = f"the {room} for which the cluster has room: {_named(nodes)}"
            raise ResourceError(f"are more than {has}", ("resources", key, "devices"))
        found += nodes_for(nodes, own) if own.spans else []
    return found


def _too_few(nodes: Sequence[Node], slots: Slots) -> str:
    """Say that a cluster does not hold one candidate."""
    if slots.devices == 1:
        return f"no node of the cluster holds one candidate ({slots})"
    each = Slots(slots.cpus, slots.gpus, 1)
    return (
        f"all nodes of the cluster have room for {_room(nodes, slots)} of the {slots.devices} "
        f"devices of one candidate (each {each})"
    )


def _room(nodes: Iterable[Node], slots: Slots) -> int:
    """Return for how many devices nodes have room."""
    return sum(node.holds(slots.cpus, slots.gpus) for node in nodes)


def _whole(gpus: float, devices: int) -> float:
    """Return the GPUs of each of some devices: none shares one with another candidate."""
    return math.ceil(gpus) if devices > 1 else gpus


def _offered(machine: Node, gpus: float) -> str:
    return f"{machine.cpus} CPUs" + (f", {machine.gpus} GPUs" if gpus else "")


def slots_alone(wanted: Resources, slots: Slots, cluster: Sequence[Node] | None = None) -> Slots:
    """Return where the winner runs, with what candidates have of CPUs and GPUs on each device.

    Args:
        wanted: What the space says of resources.
        slots: Those of candidates.
        cluster: The nodes that it may run on; None is this machine.
    """
    nodes, devices = [this_machine()] if cluster is None else cluster, wanted.of_winner.devices
    found = slots_on(nodes, slots.cpus, _whole(slots.gpus, devices), devices)
    return replace(found, number=1)


def placed(compute: Compute, place: Placement) -> Compute:
    """Return what a model may use on some devices."""
    return replace(compute, devices=place.devices, parallel=place.parallel or "ddp")


def slots_of_sources(
    wanted: Resources, slots: Slots, cluster: Sequence[Node] | None = None
) -> Slots:
    """Return where sources are pretrained: on one device each has a machine's CPUs for itself.

    Args:
        wanted: What the space says of resources.
        slots: Those of candidates.
        cluster: The nodes that they run on; None is this machine.
    """
    nodes = [this_machine()] if cluster is None else cluster
    devices = wanted.of_sources.devices
    if devices > 1:
        return slots_on(nodes, slots.cpus, _whole(slots.gpus, devices), devices)
    if slots.gpus:
        return slots_on(nodes, 1, slots.gpus, 1)
    if cluster is None:
        return Slots(slots.all_cpus * slots.number, 0.0, 1)
    all_of_one = slots.cpus * max(each.holds(slots.cpus, 0) for each in nodes)
    return slots_on(nodes, all_of_one, 0.0, 1)


def compute_here(compute: Compute) -> Compute:
    """Return what this process may use of what a candidate uses on a cluster."""
    import torch

    has_device = compute.device == "cpu" or torch.cuda.is_available()
    return replace(compute, threads=n_cpus(), device=compute.device if has_device else "cpu")


def nodes_for(nodes: Iterable[Node], slots: Slots) -> list[Node]:
    """Return the nodes that hold a candidate, or where candidates span nodes a device of one.

    Args:
        nodes: All.
        slots: What one candidate takes.
    """
    return [each for each in nodes if slots.devices_on(each)]


def _named(nodes: Sequence[Node]) -> str:
    more = f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
    return ", ".join(map(str, nodes[:_MOST_NAMED])) + more


def _check_cards(nodes: Sequence[Node]) -> None:
    """Check that torch can use the GPUs that the nodes of a cluster offer.

    Raises:
        ResourceError: It cannot: candidates there would fail, or train on a CPU.
    """
    for each in nodes:
        if each.gpus > len(each.cards):
            raise ResourceError(
                f"{each}: torch can use {len(each.cards)} of its GPUs; mend its driver or its "
                "torch, or say gpus_per_candidate: 0 to train on CPUs",
                ("resources", "gpus_per_candidate"),
            )


def _check_alike(nodes: Sequence[Node], device: str) -> None:
    """Check that candidates train on one kind of device.

    Raises:
        ResourceError: The nodes have several.
    """
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        for kind in dict.fromkeys(node.kinds(device)):
            kinds.setdefault(kind, []).append(node.name)
    if len(kinds) > 1:
        found = "; ".join(
            f"{kind} ({', '.join(names[:_MOST_NAMED])})" for kind, names in kinds.items()
        )
        raise ResourceError(
            f"the nodes that hold a candidate have different devices: {found}; losses on them "
            "differ by rounding: start Ray on nodes of one kind, or say resources.mix_devices: "
            "true",
            ("resources",),
        )


def as_far_as_here(wanted: Resources) -> Resources:
    """Return what is wanted as far as this machine has it."""
    import torch

    has_gpu = torch.cuda.is_available()
    own: dict[str, Any] = {"cpus_per_candidate": min(wanted.cpus_per_candidate, n_cpus())}
    own |= {"devices_per_candidate": None, "parallel": None, "winner": None, "sources": None}
    return wanted.model_copy(update=own if has_gpu else {**own, "gpus_per_candidate": 0})


def check_memory(
    memory_bytes: Sequence[int | None],
    device: str,
    there: int | None,
    node: str = "",
    *,
    devices: int = 1,
) -> None:
    """Check that one candidate at a time can fit at all.

    Args:
        memory_bytes: Estimate of each candidate's training, None where there is none.
        device: `cpu` or `cuda`.
        devices: Devices of one candidate that are there: they have a machine's memory together,
            but a GPU each.
        there: Bytes that the device has; None where that is not known.
        node: The node of a cluster that is meant; nothing for this machine.

    Raises:
        ResourceError: One surely cannot, however far off the estimate is.
    """
    needed = max((each for each in memory_bytes if each is not None), default=0)
    needed *= devices if device == "cpu" else 1
    if there is None or needed * _SURELY[device] <= there:
        return
    noun = "GPU" if device == "cuda" else "machine"
    where = f"the {noun} of {node}" if node else f"this {noun}"
    raise ResourceError(
        f"one candidate needs about {needed / 2**30:,.1f} GiB, and {where} has "
        f"{there / 2**30:,.1f} GiB: take fewer "
        "sequences, or a larger training.gradient_accumulation, which splits them; or a shorter "
        "data.sequence_length; or a smaller target",
        ("training", "batch_size"),
    )


def memory_of(device: str) -> int | None:
    """Return the bytes of memory that a process may have on a device of this machine.

    None where it is not known.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    return machine_bytes()


def describe(compute: Compute, cluster: Sequence[Node] | None = None) -> dict[str, Any]:
    """Return what a run used, for its record.

    Args:
        compute: What a candidate uses.
        cluster: The nodes that candidates run on; None is this machine.
    """
    used = {"used": compute.device, "precision": compute.precision}
    if cluster is None:
        here = this_machine()
        return {"cpus": here.cpus, "gpus": list(here.cards), **used}
    kept = ("name", "cpus", "gpus", "cards", "processor")
    nodes = [{key: asdict(each)[key] for key in kept} for each in cluster]
    cards = [card for each in cluster for card in each.cards]
    return {"cpus": sum(each.cpus for each in cluster), "gpus": cards, **used, "nodes": nodes}


def gpu_share(memory_bytes: Sequence[int | None], nodes: Sequence[Node], cpus: int) -> float:
    """Return the least share of a GPU that a candidate may get, 0 without a GPU.

    Any one fits in the memory of its share; no more share a GPU than there are CPUs for. Shares are
    bookkeeping: nothing keeps a candidate from taking more.

    Args:
        memory_bytes: Estimate of each candidate's training, None where there is none.
        nodes: Whose GPUs; the one with least memory counts.
        cpus: CPUs of one candidate.
    """
    there = [each.gpu_bytes for each in nodes if each.gpu_bytes is not None]
    if not there:
        return 0.0
    known = [each for each in memory_bytes if each is not None]
    if not known or len(known) < len(memory_bytes):
        return 1.0
    needed = max(known) * 1.2 + _GPU_CONTEXT_BYTES
    by_cpus = max(each.cpus // cpus / each.gpus for each in nodes if each.gpus)
    return 1 / min(_enough_on_a_gpu(by_cpus), _most_on_a_gpu(_USABLE * min(there) / needed))


def share_by_use(share: float, use: GpuUse) -> float:
    """Return the least share of a GPU that a candidate may get when it is known what one takes.

    Candidates that share a GPU take turns: nothing is gained where one keeps it busy for more than
    half of its time.

    Args:
        share: What it might get without that.
        use: What one takes.
    """
    by_time = _most_on_a_gpu(1 / max(use.busy, 1 / _ON_A_GPU[0]))
    needed = use.peak_bytes * 1.1 + _GPU_CONTEXT_BYTES
    return max(share, 1 / min(by_time, _most_on_a_gpu(_USABLE * use.gpu_bytes / needed)))


def with_fewest_on_a_gpu(slots: Slots, number: int, nodes: Sequence[Node]) -> Slots:
    """Return slots for so many models, no more of them on a GPU than must be.

    Ray fills one GPU after the other: where all have room, each gets a whole one.

    Args:
        slots: Where they may run, with the least share of a GPU that each may get.
        number: Models that are to be trained now.
        nodes: All.
    """
    gpus = sum(each.gpus for each in nodes)
    share = max(slots.gpus, 1 / _enough_on_a_gpu(number / gpus))
    return slots_on(nodes, slots.cpus, share, slots.devices)


def _most_on_a_gpu(room: float) -> int:
    return next((each for each in _ON_A_GPU if each <= room), 1)


def _enough_on_a_gpu(wanted: float) -> int:
    return next((each for each in reversed(_ON_A_GPU) if each >= wanted), _ON_A_GPU[0])
