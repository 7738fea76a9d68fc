"""Ray, started on this machine or joined as the cluster that RAY_ADDRESS names, and its nodes."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
if not os.environ.get("RAY_ADDRESS"):
    # despite its name it holds on Linux too: without clusters Ray listens on the loopback address
    # alone, and otherwise on all
    _QUIET["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
elif os.environ.get("RAY_AUTH_TOKEN") or (Path.home() / ".ray" / "auth_token").is_file():
    _QUIET["RAY_AUTH_MODE"] = "token"  # a cluster by its address is not asked for it otherwise
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  (ray reads these variables when it is imported)
from ray._private import worker as ray_worker  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from lagsearch.display.watch import Watch  # noqa: E402
from lagsearch.errors import ResourceError, RunFolderError, brief  # noqa: E402
from lagsearch.running.interrupts import kept  # noqa: E402
from lagsearch.running.workers.nodes import (  # noqa: E402
    Node,
    differing,
    names_of,
    this_machine,
    unseen,
)
from lagsearch.running.workers.slots import Slots  # noqa: E402
from lagsearch.storage.files import UNFINISHED, cache_root  # noqa: E402

_FOR_WORKERS = (
    "GOMP_SPINCOUNT",
    "CUBLAS_WORKSPACE_CONFIG",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
    "LAGSEARCH_LOCAL",
    "GLOO_SOCKET_IFNAME",
    "NCCL_SOCKET_IFNAME",
)
"""What the workers of a cluster must have as this process has it; local ones inherit it."""

ANSWER_WITHIN_S = 300.0
"""How long a node may take to load torch from a network file system."""


@dataclass(frozen=True)
class Cluster:
    """The cluster that a run has joined.

    Attributes:
        nodes: Those that have any CPU for candidates.
    """

    nodes: tuple[Node, ...]

    def check_storage(self, shared: Mapping[str, Path], others: Mapping[str, Path]) -> None:
        """Check that each node sees what this process does.

        Args:
            shared: Folders in which all of them write, by what is to be done where one is not
                shared.
            others: What they read, likewise.

        Raises:
            RunFolderError: One does not; the message names it, and the way out.
        """
        with ExitStack() as stack:
            marks = {stack.enter_context(_mark(path)): path for path in shared.values()}
            for node, wrong in _ask_all(unseen, [list(marks), list(others.values())]).items():
                for path, what in wrong.items():
                    place = marks.get(path, path)
                    mend = next(do for do, each in {**shared, **others}.items() if each == place)
                    raise RunFolderError(f"node {node} {what} {place}: {mend}")


@contextmanager
def joined(watch: Watch) -> Iterator[Cluster]:
    """Join the cluster that RAY_ADDRESS names for as long as a block lasts, and ask its nodes.

    Args:
        watch: Follows.

    Raises:
        ResourceError: There is none, or a node of it cannot train as others do.
    """
    address = os.environ["RAY_ADDRESS"]
    given = {name: os.environ[name] for name in _FOR_WORKERS if name in os.environ}
    given["LAGSEARCH_CACHE"] = str(cache_root())
    options = {"address": address, "runtime_env": {"env_vars": given}}
    with _connected(f"the cluster at {address}", watch, include_dashboard=None, **options):
        with watch.doing("asking the nodes", is_brief=True):
            found = Cluster(_nodes())
        yield found


@contextmanager
def started(slots: Slots, watch: Watch) -> Iterator[None]:
    """Have Ray on this machine for as long as a block lasts.

    Args:
        slots: What it has room for.
        watch: Follows.

    Raises:
        ResourceError: It does not start.
    """
    options = {
        "address": "local",
        "num_cpus": slots.all_cpus * slots.number,
        # where candidates share GPUs, they may come to need more of one
        "num_gpus": this_machine().gpus if slots.gpus % 1 else int(slots.all_gpus) * slots.number,
    }
    with (
        _connected("this machine", watch, include_dashboard=False, **options),
        _workers_that_wait(),
    ):
        yield


@contextmanager
def _workers_that_wait() -> Iterator[None]:
    """Have Tune train in the workers that Ray starts with: they inherit this process's environment.

    It would give its workers an environment of their own, and so have Ray start others.
    """
    from ray.tune.execution import class_cache

    names: dict[str, Any] = {"DEFAULT_ENV_VARS": {}, "ENV_VARS_TO_PROPAGATE": set()}
    with ExitStack() as stack:
        for name, nothing in names.items():
            if hasattr(class_cache, name):  # they are Ray's own: another version may have others
                stack.callback(setattr, class_cache, name, getattr(class_cache, name))
                setattr(class_cache, name, nothing)
        yield


@contextmanager
def _connected(where: str, watch: Watch, **options: Any) -> Iterator[None]:
    try:
        with kept(), watch.doing("starting Ray"):
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except SystemExit:  # how Ray itself takes a SIGTERM while it starts
        raise KeyboardInterrupt from None
    except (RuntimeError, OSError, ValueError) as error:  # a busy machine, a cluster that is gone
        ray.shutdown()
        reason = " ".join(str(error).split())[:200]
        message = f"Ray cannot start on {where}: {reason}; try again, or use --serial"
        raise ResourceError(message, ("resources",)) from error
    # Ray prints of a dead worker what is no use to a person, to the standard output
    printed, ray_worker.print_to_stdstream = ray_worker.print_to_stdstream, _unheard
    try:
        yield
    finally:
        with watch.doing("stopping Ray", is_brief=True):
            ray.shutdown()
        ray_worker.print_to_stdstream = printed


def is_joined() -> bool:
    """Return whether this process has joined a cluster."""
    return ray.is_initialized() and bool(os.environ.get("RAY_ADDRESS"))


def cause_of_loss(error: BaseException) -> str:
    """Say why an actor is gone."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "the machine ran out of memory"
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return "it cannot be reached"
    if isinstance(error, ray.exceptions.RayActorError) and "node has died" in str(error):
        return "the node is gone"
    if isinstance(error, ray.exceptions.RayActorError):
        return "it crashed or was killed, as a system does where memory runs out"
    return brief(Exception((str(error).strip().splitlines() or [repr(error)])[-1]))


def _unheard(data: Any, ignore_prefix: bool) -> None:
    pass


def names_of_nodes() -> dict[str, str]:
    """Return the names of all nodes, those that are gone too, by their ids."""
    nodes = ray.nodes()
    named = names_of([(each["NodeManagerHostname"], each["NodeID"]) for each in nodes])
    return {each["NodeID"]: name for each, name in zip(nodes, named, strict=True)}


def _working() -> dict[str, Mapping[str, float]]:
    """Return what the nodes offer that have any CPU for candidates, by their ids."""
    alive = {each["NodeID"]: each["Resources"] for each in ray.nodes() if each["Alive"]}
    return {key: offers for key, offers in alive.items() if offers.get("CPU", 0) >= 1}


def can_hold(slots: Slots) -> bool:
    """Return whether the nodes that are alive hold a candidate, were they free."""
    offers = [(int(each["CPU"]), int(each.get("GPU", 0))) for each in _working().values()]
    return slots.held_by(Node("", cpus, gpus) for cpus, gpus in offers) > 0


def _nodes() -> tuple[Node, ...]:
    """Return what each node has.

    Raises:
        ResourceError: None has a CPU for candidates, one does not answer, or has other versions.
    """
    offers = _working()
    if not offers:
        message = "no node of the cluster has a CPU for candidates; start Ray on more nodes"
        raise ResourceError(message, ("resources",))
    names = names_of_nodes()
    calls = {
        key: (names[key], int(each["CPU"]), int(each.get("GPU", 0))) for key, each in offers.items()
    }
    nodes = tuple(_ask(this_machine, calls).values())
    for each in nodes:
        if (wrong := differing(each)) is not None:
            message = f"{wrong}: losses would differ; install the same on all nodes"
            raise ResourceError(message, ("resources",))
    return nodes


def _ask_all(function: Callable[..., Any], arguments: Sequence[Any]) -> dict[str, Any]:
    return _ask(function, dict.fromkeys(_working(), arguments))


def _ask(function: Callable[..., Any], calls: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Call a function of lagsearch on nodes, on all at once; return each answer by its name.

    It takes no CPU and no GPU from others, and runs where there is none.

    Args:
        function: Which.
        calls: Its arguments, by the ids of nodes.

    Raises:
        ResourceError: A node does not answer.
    """
    names = names_of_nodes()
    remote = ray.remote(function)
    called = {
        key: remote.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(key, soft=False)
        ).remote(*arguments)
        for key, arguments in calls.items()
    }
    answers = {}
    ray.wait(list(called.values()), num_returns=len(called), timeout=ANSWER_WITHIN_S)
    for key, answer in called.items():
        try:
            answers[names[key]] = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            reason = f"does not answer within {ANSWER_WITHIN_S:.0f} seconds"
            raise _silent(names[key], reason) from None
        except ray.exceptions.RayError as error:
            raise _silent(names[key], cause_of(error)) from None
    return answers


def _silent(name: str, reason: str) -> ResourceError:
    return ResourceError(f"node {name}: {reason}", ("resources",))


def cause_of(error: Exception) -> str:
    """Say in a line why a node could not do what it was asked for."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    last = next((each for each in reversed(lines) if "Error" in each), lines[-1])
    if "ModuleNotFoundError" in last and "lagsearch" in last:
        return "lagsearch is not installed there"
    return brief(last)


@contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    """Leave a file in a folder for as long as a block lasts; a folder that was not there goes."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".shared.", suffix=UNFINISHED, dir=folder)
    os.close(handle)
    try:
        yield Path(name).absolute()
    finally:
        Path(name).unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):
                folder.rmdir()
