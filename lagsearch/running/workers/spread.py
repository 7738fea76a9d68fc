"""A team whose processes lie on several nodes of a cluster: one in each place of its worker.

A worker has several places where no node has room for all devices of a model. Ray gives it all of
them or none, on as few nodes as it can. The worker starts the first process as on one machine; each
other one is an actor in its place. A place that is lost is not waited for: the worker ends, and the
model is given all places anew, on the nodes that are left.
"""

import os
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from lagsearch.errors import ResourceError
from lagsearch.running.workers.cluster import (  # before ray: it sets it up
    ANSWER_WITHIN_S,
    cause_of_loss,
    names_of_nodes,
)
from lagsearch.running.workers.nodes import device_name
from lagsearch.running.workers.rank import in_group, spoken
from lagsearch.running.workers.team import (
    LOOPBACK,
    Rank,
    RankDied,
    RankHere,
    RankLost,
    start_here,
    talking_by,
)
from lagsearch.training.job import Job

import ray  # isort: skip
from ray.util.placement_group import PlacementGroup, get_current_placement_group  # isort: skip
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # isort: skip

_SIGN_WITHIN_S = 30.0
"""How long a process that is there may take to say so, on a busy node."""

_SIOCGIFADDR = 0x8915

Place = tuple[str, str]
"""The id of a node, and what the device there calls itself."""


class WorkerPlaces:
    """Where the processes of a worker are, and what starts them there.

    Attributes:
        used: By its team, each node once, in the order of its processes.
    """

    def __init__(self) -> None:
        """Look how many places this worker has."""
        group = get_current_placement_group()
        self._group = group if group is not None and group.bundle_count > 1 else None
        self.used: list[Place] = []

    def start(self, job: Job, folder: Path, lasting: ExitStack) -> Sequence[Rank]:
        """Start the processes of a team, each in its place.

        Raises:
            RankLost: One does not start.
        """
        if self._group is None:
            return start_here(job, folder, lasting)
        others = [RankElsewhere(each, self._group) for each in range(1, job.compute.devices)]
        found = [place_here(job.compute.device)]
        found += [each.place(job.compute.device) for each in others]
        self.used = list(dict.fromkeys(found))
        is_spread = len({node for node, _ in found}) > 1
        store = _open_store(lasting) if is_spread else f"file://{folder / 'store'}"
        for each in others:
            each.store = store
        return [RankHere(0, job, folder, store, _ways_to(store)), *others]


class RankElsewhere:
    """A process in another place: an actor."""

    loss: type[RankDied] = RankLost

    def __init__(self, number: int, group: PlacementGroup) -> None:
        """Have it started.

        Args:
            number: Its own, and that of its place.
            group: The places.
        """
        self.connection, self._other = Pipe()
        self.store = ""
        self._number, self._node = number, "another node"
        self._fate: str | None = None
        takes = group.bundle_specs[number]
        actor = ray.remote(concurrency_groups={"signs": 1})(_RankActor).options(
            num_cpus=takes.get("CPU", 0),
            num_gpus=takes.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, number),
        )
        self._actor = actor.remote()

    def place(self, device: str) -> Place:
        """Return where it is, once it is there.

        Raises:
            RankLost: It does not start.
        """
        try:
            place: Place = ray.get(self._actor.place.remote(device), timeout=ANSWER_WITHIN_S)
        except ray.exceptions.RayError as error:
            cause = cause_of_loss(error)
            raise RankLost(f"process {self._number + 1} does not start: {cause}") from None
        self._node = names_of_nodes().get(place[0], place[0])
        return place

    def begin(self, job: Job, until: int) -> None:
        """Have it train a job up to a step; it is heard when that has ended."""
        training = self._actor.train.remote(self._number, job, until, self.store)
        training.future().add_done_callback(self._heard)

    def _heard(self, training: "Future[Any]") -> None:
        """Pass on how it ended; end the connection, as that of a process does, if it is gone."""
        try:
            said = training.result()
        except Exception as error:  # whatever it is, nothing more is to be heard
            self._fate = cause_of_loss(error)
            self._other.close()
            return
        with suppress(OSError):  # nobody listens any more
            self._other.send(said)

    def fate(self) -> str | None:
        """Say what became of it; None while it gives signs of life."""
        if self._fate is None:
            try:
                sign = self._actor.answer.options(concurrency_group="signs").remote()
                ray.get(sign, timeout=_SIGN_WITHIN_S)
                return None
            except ray.exceptions.RayError as error:
                self._fate = cause_of_loss(error)
        return f"on {self._node} is gone: {self._fate}"

    def end(self) -> None:
        """End it; without Ray it has ended."""
        if ray.is_initialized():
            ray.kill(self._actor)


class _RankActor:
    """One process of a team, as an actor; a thread beside it says that it is there."""

    def __init__(self) -> None:
        self._met: ExitStack | None = None

    def place(self, device: str) -> Place:
        """Return where it is."""
        return place_here(device)

    def train(self, number: int, job: Job, until: int, store: str) -> Any:
        """Train a job with the others up to a step; return how it ended."""
        if self._met is None:
            os.environ.update(_ways_to(store))
            self._met = ExitStack()
            self._met.enter_context(in_group(job, number, job.compute.devices, store))
        *_, end = spoken(number, job, until)
        return end

    def answer(self) -> None:
        """Do nothing, as a sign of life."""


def place_here(device: str) -> Place:
    """Return where this process is.

    Args:
        device: `cpu` or `cuda`.
    """
    return ray.get_runtime_context().get_node_id(), device_name(device)


def _open_store(lasting: ExitStack) -> str:
    """Open where the processes find each other; return its name for `torch.distributed`.

    It listens on this node's address in the cluster alone.

    Raises:
        ResourceError: It cannot listen there.
    """
    from torch import distributed

    address = _address()
    with socket.socket() as listening:
        try:
            listening.bind((address, 0))
        except OSError as error:
            raise ResourceError(
                f"node {socket.gethostname()}: cannot listen on {address}, its address in the "
                f"cluster ({error.strerror or error}); models on several nodes need an IPv4 "
                "address of the node itself: give it to `ray start --node-ip-address`",
                ("resources",),
            ) from None
        port = listening.getsockname()[1]
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            address,
            port,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )
    lasting.callback(lambda: store)  # it listens as long as it is held
    return f"tcp://{address}:{port}"


def _ways_to(store: str) -> dict[str, str]:
    """Return the variables by which a process here reaches the others."""
    if store.startswith("file://"):
        return talking_by(LOOPBACK)
    ways = talking_by(_interface(_address()))
    return {**ways, "TORCHELASTIC_USE_AGENT_STORE": "True"}  # the store is no process's of the team


def _address() -> str:
    """Return this node's address in the cluster."""
    own = ray.get_runtime_context().get_node_id()
    return str(next(each["NodeManagerAddress"] for each in ray.nodes() if each["NodeID"] == own))


def _interface(address: str) -> str | None:
    """Return the network interface of this machine that has an address; None if it is not found."""
    import fcntl  # is not there on Windows, where Ray has no nodes

    for _, name in socket.if_nameindex():
        with socket.socket() as asking, suppress(OSError):  # some have none
            told = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            if socket.inet_ntoa(told[20:24]) == address:
                return name
    return None
