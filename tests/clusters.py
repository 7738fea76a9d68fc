"""Clusters of Ray nodes on this machine, each node a process of its own that can be killed."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from terminals import descendants

READY_WITHIN_S = 90


class Nodes:
    """Nodes of one cluster on the loopback address; the first one is its head."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.port = free_port()
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def joining(self):
        """What a process has in its environment that is to join it."""
        return {**self.environment, "RAY_ADDRESS": self.address}

    def start(self, cpus, *more, without=None):
        """Start a node; return its number.

        Args:
            cpus: That it offers.
            more: Options of `ray start`.
            without: A folder that is another one there, as on a machine of its own.
        """
        number = len(self.processes)
        where = [f"--address={self.address}"] if number else ["--head", f"--port={self.port}"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--block"]
        if without is not None:
            hide = f'mount -t tmpfs none "{without}" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", hide, "sh", *command]
        own = ["--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--disable-usage-stats"]
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
