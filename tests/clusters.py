"""Clusters of Ray nodes on this machine, each node a process of its own that can be killed."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from terminals import descendants

READY_WITHIN_S = 90


@dataclass(frozen=True)
class Network:
    """A network of its own, with a loopback interface of its own, that reaches others of its kind.

    Attributes:
        name: Of the namespace.
        address: What others reach it by.
    """

    name: str
    address: str

    @property
    def inside(self):
        """What a command is to be run by."""
        return ["ip", "netns", "exec", self.name]


class Nodes:
    """Nodes of one cluster, on the loopback address or others; the first one is its head."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.host = "127.0.0.1"
        self.port = free_port()
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # this process may have set it to 0, for Ray on one machine
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        }

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def joining(self):
        """What a process has in its environment that is to join it."""
        return {**self.environment, "RAY_ADDRESS": self.address}

    def start(self, cpus, *more, without=None, network=None):
        """Start a node; return its number.

        Args:
            cpus: That it offers.
            more: Options of `ray start`.
            without: A folder that is another one there, as on a machine of its own.
            network: The one that it is in.
        """
        number = len(self.processes)
        host = network.address if network else "127.0.0.1"
        self.host = self.host if number else host
        where = [f"--address={self.address}"] if number else ["--head", f"--port={self.port}"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--block"]
        if without is not None:
            hide = f'mount -t tmpfs none "{without}" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", hide, "sh", *command]
        if network is not None:
            command = [*network.inside, *command]
        own = [f"--node-ip-address={host}", f"--num-cpus={cpus}", "--disable-usage-stats"]
        quiet = [] if number else ["--include-dashboard=false"]
        with (self.folder / f"node-{number}.txt").open("w") as log:
            process = subprocess.Popen(
                [*command, *own, *quiet, *more],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        self.processes.append(process)
        self._wait(number)
        return number

    def _wait(self, number):
        """Wait until a node has registered itself."""
        log = self.folder / f"node-{number}.txt"
        deadline = time.monotonic() + READY_WITHIN_S
        while "Ray runtime started" not in log.read_text():
            assert self.processes[number].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def kill(self, number):
        """Kill a node and all that runs on it."""
        process = self.processes[number]
        killed(process.pid)
        process.wait(timeout=60)

    def end(self):
        for number, process in reversed([*enumerate(self.processes)]):
            if process.poll() is None:
                self.kill(number)


def can_hide():
    """Return whether a process may have folders of its own here."""
    tried = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(tried, capture_output=True).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def two_networks():
    """Give two networks that are one wire apart; None where that may not be had."""
    names = [f"lagsearch-{os.getpid()}-{each}" for each in (1, 2)]
    found = [Network(name, f"10.213.77.{each}") for each, name in enumerate(names, 1)]
    lines = [f"netns add {name}" for name in names]
    lines += [f"link add wire netns {names[0]} type veth peer name wire netns {names[1]}"]
    for each in found:
        lines += [f"-n {each.name} addr add {each.address}/24 dev wire"]
        lines += [f"-n {each.name} link set {link} up" for link in ("lo", "wire")]
    try:
        done = [_ip(line) for line in lines]
        yield found if all(done) else None
    finally:
        for name in names:
            _ip(f"netns del {name}")


def _ip(words):
    try:
        return subprocess.run(["ip", *words.split()], capture_output=True).returncode == 0
    except OSError:
        return False


def listens_on(pid):
    """Return the IPv4 addresses on which a process listens."""
    own = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(os.readlink(each).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in own:
            found.add(socket.inet_ntoa(bytes.fromhex(fields[1].partition(":")[0])[::-1]))
    return found


def killed(pid):
    """Kill a process and all below it."""
    with contextlib.suppress(FileNotFoundError):
        for each in descendants(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def nodes_of(folder):
    """Give an empty cluster; what was started of it is killed in the end."""
    nodes = Nodes(Path(folder))
    try:
        yield nodes
    finally:
        nodes.end()
