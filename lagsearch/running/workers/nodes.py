"""What a machine has for candidates: this one, or each node of a cluster, which is asked for it."""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from lagsearch.errors import counted
from lagsearch.storage.files import digest, replacing
from lagsearch.training.job import Job

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_DECIDE_LOSSES = ("torch", "transformers", "lagsearch")
_SEEN_WITHIN_S = 5.0
"""A network file system may take a moment to show a new file."""


@dataclass(frozen=True)
class Node:
    """What a machine has.

    Attributes:
        name: Of a node of a cluster; nothing for this machine.
        cpus: CPUs for candidates.
        gpus: GPUs for candidates.
        cards: What torch calls each GPU that it can use; there may be fewer of them.
        gpu_bytes: Memory of the GPU that has least of it; None without a GPU.
        has_bf16: Whether its GPUs compute in bf16.
        memory_bytes: Memory of the machine that a process may have; None where that is not known.
        processor: What its CPU calls itself.
        versions: Of what decides losses, by name.
    """

    name: str
    cpus: int
    gpus: int
    cards: tuple[str, ...] = ()
    gpu_bytes: int | None = None
    has_bf16: bool = False
    memory_bytes: int | None = None
    processor: str = ""
    versions: tuple[tuple[str, str], ...] = ()

    def holds(self, cpus: int, gpus: float) -> int:
        """Return how many candidates it holds at a time.

        Args:
            cpus: Of one candidate.
            gpus: Of one candidate.
        """
        number = self.cpus // cpus
        return min(number, int(self.gpus // gpus)) if gpus else number

    def kinds(self, device: str) -> tuple[str, ...]:
        """Return the kinds of a device that it has.

        Args:
            device: `cpu` or `cuda`.
        """
        return self.cards if device == "cuda" else (self.processor,)

    def __str__(self) -> str:
        """Return its name and what it offers, in words."""
        gpus = f", {counted(self.gpus, 'GPU')}" if self.gpus else ""
        return f"{self.name} ({counted(self.cpus, 'CPU')}{gpus})"


def this_machine(name: str = "", cpus: int | None = None, gpus: int | None = None) -> Node:
    """Look at the machine that this process runs on.

    Args:
        name: Its name in a cluster.
        cpus: How many CPUs it offers; all that this process may use when left out.
        gpus: How many GPUs it offers; all that torch can use when left out.
    """
    cards, gpu_bytes, has_bf16 = _gpus() if gpus != 0 else ((), None, False)
    return Node(
        name=name,
        cpus=n_cpus() if cpus is None else cpus,
        gpus=len(cards) if gpus is None else gpus,
        cards=cards,
        gpu_bytes=gpu_bytes,
        has_bf16=has_bf16,
        memory_bytes=machine_bytes(),
        processor=processor(),
        versions=versions(),
    )


def n_cpus() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> tuple[tuple[str, ...], int | None, bool]:
    """Return the name of each GPU that torch can use, their least memory, and if all have bf16."""
    import torch

    if not torch.cuda.is_available():
        return (), None, False
    found = [torch.cuda.get_device_properties(each) for each in range(torch.cuda.device_count())]
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return tuple(each.name for each in found), min(each.total_memory for each in found), has_bf16


def machine_bytes() -> int | None:
    """Return the bytes of memory that a process may have; None where that is not known.

    They are the machine's, or fewer where a control group (of a container, say) sets a limit.
    """
    found = [int(text) for path in _CGROUP_LIMITS if (text := _read(path)).isdigit()]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def processor() -> str:
    """Return what the CPU calls itself."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """Return what the device calls itself that this process trains on.

    Args:
        device: `cpu` or `cuda`.
    """
    if device == "cpu":
        return processor()
    import torch

    return torch.cuda.get_device_name(torch.cuda.current_device())


def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions here of what decides losses."""
    found = ((package, version(package)) for package in _DECIDE_LOSSES)
    return ("Python", ".".join(map(str, sys.version_info[:2]))), *found


def differing(node: Node) -> str | None:
    """Say which version on a node is not that of this process; None where all are the same."""
    here = dict(versions())
    for name, there in node.versions:
        if there != here[name]:
            return f"{node.name} has {name} {there}, and this process {here[name]}"
    return None


def names_of(hosts: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each node: its host's, with a part of its id where several share one.

    Args:
        hosts: Host name and id of each.
    """
    names = [host for host, _ in hosts]
    return [host if names.count(host) == 1 else f"{host}-{key[:6]}" for host, key in hosts]


def unseen(marks: Iterable[Path], others: Iterable[Path]) -> dict[Path, str]:
    """Look for what a node must see; return what is wrong, by path.

    Args:
        marks: Files that another node has just written; beside them it must be able to write.
        others: What must be there.
    """
    wrong = {}
    deadline = time.monotonic() + _SEEN_WITHIN_S
    for path in marks:
        while not path.is_file() and time.monotonic() < deadline:
            time.sleep(0.2)
        if not path.is_file():
            wrong[path] = "does not see"
            continue
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError:
            wrong[path] = "cannot write to"
    return wrong | {path: "does not see" for path in others if not path.exists()}


def near(job: Job) -> Job:
    """Return a job that reads its sources from this machine's own disk, if it is to."""
    return replace(job, sources=tuple(map(copied_here, job.sources)))


def copied_here(path: Path) -> Path:
    """Return a copy of a file on this machine's own disk, made by the first that asks for it.

    It is in the folder that `LAGSEARCH_LOCAL` names; without one, or room in it, the file itself
    is returned.
    """
    if not (folder := os.environ.get("LAGSEARCH_LOCAL")):
        return path
    from filelock import FileLock

    try:
        stat = path.stat()
        made_of = [str(path), stat.st_size, stat.st_mtime_ns]
        copy = Path(folder).expanduser() / "lagsearch" / f"{digest(made_of)}{path.suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(copy.with_suffix(".lock")):
            if not copy.is_file():
                with replacing(copy, is_lasting=False) as temporary:
                    shutil.copyfile(path, temporary)
    except OSError:
        return path
    return copy


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
