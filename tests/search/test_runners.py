"""How many candidates fit, and what becomes of a candidate that breaks."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from finished import finished

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import ResourceError
from lagsearch.running.workers import serial
from lagsearch.running.workers.nodes import Node
from lagsearch.running.workers.slots import Slots
from lagsearch.space import Placement, Resources

pytestmark = pytest.mark.usefixtures("trained")


def test_a_candidate_of_several_devices_takes_them_on_one_node():
    two = Slots(1, 1, 1, devices=2)
    nodes = [Node("a", 8, 5), Node("b", 3, 8), Node("c", 8, 1)]
    assert [two.devices_on(each) for each in nodes] == [4, 2, 0]
    assert str(two) == "2 CPUs, 2 GPUs"


def test_devices_that_this_machine_lacks_are_refused_at_their_key(monkeypatch):
    from lagsearch.running.workers import slots

    monkeypatch.setattr(slots, "this_machine", lambda: Node("", 4, 0))
    found, places = slots.assign_slots(Resources(devices_per_candidate=2), "fp32", [None])
    assert (found.devices, found.parallel) == (2, "ddp")
    assert places == Slots(1, 0.0, 2, 2)
    for wanted in (
        Resources(devices_per_candidate=5),
        Resources(winner=Placement(devices=5)),
        Resources(sources=Placement(devices=5)),
    ):
        with pytest.raises(
            ResourceError, match="more than this machine has \\(4 CPUs\\)"
        ) as raised:
            slots.assign_slots(wanted, "fp32", [None])
        assert raised.value.at[0] == "resources"
    needed = [3 << 30]
    slots.check_memory(needed, "cpu", 6 << 30, devices=2)
    with pytest.raises(ResourceError):
        slots.check_memory(needed, "cpu", 4 << 30, devices=2)


def test_a_broken_candidate_does_not_end_the_others_and_is_tried_again(
    write_space, tmp_path, monkeypatch
):
    whole = serial.advance

    def sometimes(job, until):
        if job.name == "lag-i2-b1-random":
            raise MemoryError("no room\nat all")
        yield from whole(job, until)

    monkeypatch.setattr(serial, "advance", sometimes)
    space, folder = write_space(), tmp_path / "run"
    first = lagsearch.run(space, out=folder, serial=True, watch=Watch())
    last = first.report["candidates"][-1]
    assert (last["name"], last["status"]) == ("lag-i2-b1-random", "failed")
    assert last["failure"].startswith("step 0: MemoryError: no room at all (test_runners.py:")
    assert [each.status for each in first.candidates] == ["ok", "ok", "ok", "failed"]
    monkeypatch.setattr(serial, "advance", whole)
    second = lagsearch.run(space, out=folder, serial=True, watch=Watch())
    clean = finished(space, tmp_path / "clean")
    assert losses(second) == losses(clean)
    assert json.loads((folder / "report.json").read_text()) == second.report


@pytest.mark.parametrize("where", ["weights", "curve"])
def test_a_full_disk_ends_the_run_and_no_candidate(write_space, tmp_path, monkeypatch, where):
    """It is no fault of the candidate that was just being trained."""
    from lagsearch.training import loop, saving

    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    space, folder = write_space(), tmp_path / "run"
    finished(space, tmp_path / "first")  # fills the cache
    with monkeypatch.context() as patch:
        patch.setattr(
            *{"weights": (saving, "write_tensors"), "curve": (loop, "append")}[where], full
        )
        with pytest.raises(OSError, match=r"No space left on device: '.*/run/(states|curves)/"):
            lagsearch.run(space, out=folder, serial=True, watch=Watch())
    result = lagsearch.run(space, out=folder, serial=True, watch=Watch())
    assert [each.status for each in result.candidates] == ["ok"] * 4


def workers(title=b"ray::_Worker"):
    """Return the processes of this one's workers, as Linux knows them."""
    found, below = [], [os.getpid()]
    while below:
        pid = below.pop()
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            below += map(int, children)
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title):
                found.append(pid)
    return found


@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads Linux's /proc")
@pytest.mark.slow
def test_a_candidate_whose_worker_dies_goes_on_at_once(write_space, tmp_path):
    class Killer(Watch):
        def __init__(self):
            self.killed, self.failures = [], []

        def progress(self, progress):
            if not self.killed and progress.name.startswith("lag-") and progress.step:
                self.killed = workers()
                for pid in self.killed:
                    os.kill(pid, signal.SIGKILL)

        def failed(self, name, reason):
            self.failures.append((name, reason))

    watch = Killer()
    found = lagsearch.run(write_space(), out=tmp_path / "killed", watch=watch)
    assert watch.killed
    assert watch.failures == []
    whole = finished(write_space(), tmp_path / "whole")
    assert losses(found) == losses(whole)


def losses(result):
    return {each.name: each.val_loss for each in result.candidates}


def test_ray_that_cannot_start_is_one_line(monkeypatch):
    from lagsearch.running.workers import ray_tune as ray_runner

    def late(**options):
        raise TimeoutError("no node came up\nin 60 seconds")

    monkeypatch.setattr(ray_runner.ray, "init", late)
    with (
        pytest.raises(ResourceError, match=r"^Ray cannot start on this machine: no node"),
        ray_runner.open_ray(Slots(1, 0, 1)) as runner,
    ):
        runner([], 1, Watch(), lambda job: None)


@pytest.mark.ray
@pytest.mark.slow
def test_a_watch_that_cannot_be_pickled_follows_a_search(write_space, tmp_path):
    class Locked(Watch):
        def __init__(self):
            self.lock, self.ended = threading.RLock(), []

        def finished(self, name):
            self.ended.append(name)

    watch = Locked()
    lagsearch.run(
        write_space(("[duplicate, random]", "[duplicate]")), out=tmp_path / "run", watch=watch
    )
    assert {"lag-i0-b1-duplicate", "lag-i2-b1-duplicate"} <= {*watch.ended}


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_that_dies_is_told_of_in_one_line(write_space, tmp_path, capfd, monkeypatch):
    from lagsearch.running.workers import ray_tune as ray_runner

    monkeypatch.setattr(ray_runner, "_TRIES", 0)  # as if it had been tried often enough

    class Kills(Watch):
        def __init__(self):
            self.failures = {}

        def progress(self, progress):
            if not self.failures and (found := workers()):
                os.kill(found[0], signal.SIGKILL)
                self.progress = lambda progress: None

        def failed(self, name, reason):
            self.failures[name] = reason

    watch = Kills()
    space = write_space(("[duplicate, random]", "[duplicate]"), ("lag: 10", "lag: 20"))
    lagsearch.run(space, out=tmp_path / "run", watch=watch)
    [reason] = watch.failures.values()
    assert reason == (
        "its worker died: it crashed or was killed, as a system does where memory runs out"
    )
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")


@pytest.mark.ray
@pytest.mark.slow
def test_candidates_are_trained_in_the_workers_that_ray_starts_with(write_space, tmp_path):
    from lagsearch.running.workers.cluster import started

    class Sees(Watch):
        def __init__(self):
            self.workers = set()

        def progress(self, progress):
            self.workers |= {*workers()}

    watch = Sees()
    with started(Slots(1, 0, 2), Watch()):
        end = time.monotonic() + 60
        while len(waiting := {*workers(b"ray::IDLE")}) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        lagsearch.run(
            write_space(("[duplicate, random]", "[duplicate]")), out=tmp_path / "run", watch=watch
        )
    assert watch.workers
    assert watch.workers <= waiting
