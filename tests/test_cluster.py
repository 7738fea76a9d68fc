"""A Ray cluster that is already there: joined by its address, with the losses of a serial run."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from test_kill import descendants

import lagsearch
from lagsearch.display.watch import Watch

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(280)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path_factory):
    """Start a head node with two CPUs on the loopback address; give its address."""
    address = f"127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    options = [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    quiet = ["--include-dashboard=false", "--disable-usage-stats"]
    log = (tmp_path_factory.mktemp("ray") / "head.txt").open("w")
    head = subprocess.Popen(
        [*command, *options, *quiet], stdout=log, stderr=log, start_new_session=True
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                break
        time.sleep(0.5)
    time.sleep(5)  # the node registers itself a moment after the port is open
    yield address
    for process in descendants(head.pid):  # asked to end, it takes half a minute
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    head.wait(timeout=60)
    log.close()


def run_on(address, space, folder):
    command = [sys.executable, "-m", "lagsearch.cli", "run", str(space), "--out", str(folder)]
    done = subprocess.run(
        command,
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "report.json").read_text())


def losses(report):
    return {each["name"]: each["val_loss"] for each in report["candidates"]}


def test_a_cluster_gives_the_losses_of_a_serial_run(cluster, write_space, tmp_path, monkeypatch):
    space = write_space()
    monkeypatch.chdir(tmp_path)
    serial = lagsearch.run(space, out=tmp_path / "serial", serial=True, watch=Watch()).report
    joined = run_on(cluster, space, tmp_path / "joined")
    assert losses(joined) == losses(serial)
    assert joined["winner"]["val_loss"] == serial["winner"]["val_loss"]
    assert joined["cost"]["slots"] == 2
