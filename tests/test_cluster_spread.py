"""Models whose devices lie on several nodes: for how many there is room, and equal losses."""

import contextlib
import os
import re
import signal
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from clusters import can_hide, listens_on, nodes_of, two_networks
from finished import finished
from hypothesis import given
from hypothesis import strategies as st
from terminals import descendants
from test_cluster import (
    GIB,
    LONGER,
    begin,
    ended,
    losses,
    on_nodes,
    report_of,
    wait_until_reached,
)

from lagsearch.errors import ResourceError, SpaceError
from lagsearch.records.devices import note_devices, read_devices, trained_on
from lagsearch.running.run import _resources
from lagsearch.running.workers import spread
from lagsearch.running.workers.nodes import Node
from lagsearch.running.workers.slots import (
    Slots,
    assign_slots,
    nodes_for,
    slots_alone,
    slots_of_sources,
    slots_on,
)
from lagsearch.running.workers.team import LOOPBACK, talking_by
from lagsearch.space import Placement, Resources, load_space
from lagsearch.training import group

CPU = Node("a", 4, 0, memory_bytes=8 * GIB, processor="Xeon")
EIGHT = Node("g", 64, 8, ("H100",) * 8, 80 * GIB, has_bf16=True, processor="Xeon")


@cache
def packings(free, takes, devices, spans):
    """Return the least and the most candidates that nodes can hold when no more have room.

    All ways are tried to place one after the other.

    Args:
        free: CPUs and GPUs of each node.
        takes: The same of one device.
        devices: Of one candidate.
        spans: Whether they may lie on several nodes.
    """
    found = set()
    for shares in product(range(devices + 1), repeat=len(free)):
        if sum(shares) != devices or (not spans and devices not in shares):
            continue
        left = tuple(
            tuple(has - share * each for has, each in zip(node, takes, strict=True))
            for node, share in zip(free, shares, strict=True)
        )
        if min(map(min, left)) >= 0:
            least, most = packings(tuple(sorted(left)), takes, devices, spans)
            found |= {least + 1, most + 1}
    return (min(found), max(found)) if found else (0, 0)


@given(
    free=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=3),
    takes=st.tuples(st.integers(1, 2), st.integers(0, 1)),
    devices=st.integers(1, 4),
)
def test_as_many_candidates_run_at_a_time_as_there_is_room_for(free, takes, devices):
    """In whatever order they are placed: where they span nodes, none is ever left too little."""
    nodes = [Node("n", cpus, gpus) for cpus, gpus in free]
    slots = slots_on(nodes, *takes, devices)
    free = tuple(sorted(free))
    on_one = packings(free, takes, devices, False)
    across = packings(free, takes, devices, True)
    assert slots.spans == (on_one[1] == 0 and devices > 1)
    assert (slots.number, slots.number) == (across if slots.spans else on_one)
    used = nodes_for(nodes, slots)
    assert slots.held_by(used) == slots.number
    assert sum(place["CPU"] for place in slots.places) == takes[0] * devices
    assert sum(place["GPU"] for place in slots.places) == takes[1] * devices


def assigned(nodes, estimate=GIB, **wanted):
    return assign_slots(Resources(**wanted), "auto", [estimate], nodes)


def refused(message, nodes, **wanted):
    with pytest.raises(ResourceError, match=message) as raised:
        assigned(nodes, **wanted)
    return raised.value.at


def test_devices_lie_on_several_nodes_only_where_none_has_room_for_all():
    compute, slots = assigned([EIGHT, EIGHT], devices_per_candidate=16, parallel="fsdp")
    assert slots == Slots(1, 1, 1, devices=16, spans=True)
    assert (compute.devices, compute.device, compute.precision) == (16, "cuda", "bf16")
    assert slots.places == [{"CPU": 1, "GPU": 1}] * 16
    _, slots = assigned(
        [EIGHT, replace(EIGHT, gpus=4, cards=("H100",) * 4)], devices_per_candidate=8
    )
    assert slots == Slots(1, 1, 1, devices=8)  # the other node has no room for another one
    assert slots.places == [{"CPU": 8, "GPU": 8}]
    _, slots = assigned([CPU, replace(CPU, cpus=3)], cpus_per_candidate=2, devices_per_candidate=3)
    assert slots == Slots(2, 0, 1, devices=3, spans=True)  # two there, and one here; a CPU is left


def test_winner_and_sources_span_nodes_by_themselves():
    wanted = Resources(winner=Placement(devices=16), sources=Placement(devices=12))
    slots = assign_slots(wanted, "auto", [60 * GIB], [EIGHT, EIGHT])[1]
    assert slots == Slots(1, 1, 16)
    assert slots_alone(wanted, slots, [EIGHT, EIGHT]) == Slots(1, 1, 1, 16, spans=True)
    assert slots_of_sources(wanted, slots, [EIGHT, EIGHT]) == Slots(1, 1, 1, 12, spans=True)
    assert slots_alone(wanted, slots, [EIGHT, replace(EIGHT, cpus=16, gpus=16)]).spans is False


def test_what_all_nodes_together_have_no_room_for_is_refused():
    at = refused(
        r"all nodes of the cluster have room for 12 of the 13 devices of one candidate \(each "
        r"1 CPU, 0 GPUs\): a \(4 CPUs\), a \(4 CPUs\), a \(4 CPUs\)",
        [CPU] * 3,
        devices_per_candidate=13,
    )
    assert at == ("resources",)
    refused(
        "room for 2 of the 3 devices",
        [replace(CPU, cpus=3)] * 2,
        devices_per_candidate=3,
        cpus_per_candidate=2,
    )
    for key in ("winner", "sources"):
        at = refused(
            r"are more than the 8 devices for which the cluster has room: a \(4 CPUs\), a",
            [CPU, CPU],
            **{key: Placement(devices=9)},
        )
        assert at == ("resources", key, "devices")


def test_nodes_that_one_model_spans_have_one_kind_of_device():
    other = replace(EIGHT, name="v", cards=("V100",) * 8, has_bf16=False)
    alike = r"different devices: H100 \(g\); V100 \(v\)"
    refused(alike, [EIGHT, other], devices_per_candidate=16)
    tiny = replace(CPU, name="b", cpus=2, processor="EPYC")
    assert assigned([CPU, tiny], devices_per_candidate=4)  # the other one holds none
    refused(
        r"different devices: Xeon \(a\); EPYC \(b\)",
        [CPU, tiny],
        devices_per_candidate=4,
        winner=Placement(devices=6),
    )
    mixed, _ = assigned([EIGHT, other], devices_per_candidate=16, mix_devices=True)
    assert mixed.precision == "fp32"


def test_a_node_needs_memory_for_the_devices_that_it_may_hold(write_space):
    six = ("search: {", "resources: {devices_per_candidate: 6}\nsearch: {")
    path = write_space(six, ("batch_size: 4", "batch_size: 8"))
    file = load_space(path).stages[0]
    assert _resources(file, [int(2.6 * GIB)], [CPU, CPU])[1].spans
    with pytest.raises(SpaceError, match=r"needs about 12.0 GiB, and the machine of a has 8.0 GiB"):
        _resources(file, [3 * GIB], [CPU, CPU])


def test_all_nodes_of_a_model_are_written_down_together(tmp_path):
    curve = tmp_path / "curve.jsonl"
    both = trained_on([("a", "H100"), ("b", "H100")])
    note_devices(curve, both)
    note_devices(curve, both)  # of the next worker, on the same nodes
    note_devices(curve, trained_on([("b", "H100")]))
    assert read_devices(curve) == [
        {"node": "a", "device": "H100"},
        {"node": "b", "device": "H100", "beside": "a"},
        {"node": "b", "device": "H100"},
    ]


def test_the_interface_of_an_address_is_found():
    assert spread._interface("127.0.0.1") == LOOPBACK
    assert spread._interface("192.0.2.1") is None  # of no machine


def test_the_store_listens_on_one_address_alone(monkeypatch):
    monkeypatch.setattr(spread, "_address", lambda: "127.0.0.2")
    with ExitStack() as lasting:
        host, port = spread._open_store(lasting).removeprefix("tcp://").split(":")
        socket.create_connection((host, int(port)), 10).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), 10)
        ways = spread._ways_to(f"tcp://{host}:{port}")
    assert ways["TORCHELASTIC_USE_AGENT_STORE"] == "True"
    assert spread._ways_to("file:///x") == talking_by(LOOPBACK)


@pytest.mark.parametrize("sees", [True, False])
def test_a_node_waits_until_it_sees_a_state_as_the_first_process_does(tmp_path, monkeypatch, sees):
    monkeypatch.setattr(group, "_LOOK_EVERY_S", 0)
    monkeypatch.setattr(group, "_SEEN_WITHIN_S", 60 if sees else 0)
    ranks = group.RankGroup.__new__(group.RankGroup)
    monkeypatch.setattr(ranks, "found", lambda look: "new")
    seen = iter([None, "old", "new"] if sees else ["old"] * 99)
    if sees:
        ranks.wait_to_see(tmp_path / "x", lambda: next(seen))
        assert next(seen, "all looked at") == "all looked at"
    else:
        with pytest.raises(OSError, match=r"another node sees another file of this name: '.*/x'"):
            ranks.wait_to_see(tmp_path / "x", lambda: next(seen))


TOGETHER = "resources: {{devices_per_candidate: 2, parallel: {}, sources: {{devices: 1}}}}"


def together(parallel, *more):
    return [*more, ("search: {", TOGETHER.format(parallel) + "\nsearch: {")]


RANK_HERE = b"workers.rank import begin"
"""What the process of a rank runs that is no actor."""


@pytest.fixture
def cluster(tmp_path_factory, request):
    """A head node without CPUs, and nodes with one CPU each: two, or as many as are asked for."""
    with nodes_of(tmp_path_factory.mktemp("ray")) as nodes:
        for each in (0, *[1] * getattr(request, "param", 2)):
            nodes.start(each)
        yield nodes


def running(nodes, kind):
    """Return a node on which an actor of a kind runs, and its process."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for number, node in enumerate(nodes.processes):
            for pid in descendants(node.pid) if node.poll() is None else ():
                with contextlib.suppress(FileNotFoundError):
                    if kind in Path(f"/proc/{pid}/cmdline").read_bytes():
                        return number, pid
        time.sleep(0.05)
    found = [
        Path(f"/proc/{pid}/cmdline").read_bytes()
        for node in nodes.processes
        for pid in descendants(node.pid)
    ]
    raise AssertionError(found)


def sources_near(pid, folder):
    """Return the copies of sources in a folder, as a process sees it."""
    return [*Path(f"/proc/{pid}/root{folder}/lagsearch").glob("*.safetensors")]


@on_nodes
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_candidate_on_two_nodes_has_the_losses_of_two_processes(
    cluster, write_space, tmp_path, cache, parallel
):
    path = write_space(*together(parallel))
    said = ended(begin(cluster, path, tmp_path / "joined"))
    assert "Traceback" not in said
    joined = report_of(tmp_path / "joined")
    assert joined["cost"]["slots"] == 1
    for each in joined["candidates"]:
        for first, second in zip(each["devices"][::2], each["devices"][1::2], strict=True):
            assert second["beside"] == first["node"] != second["node"]
            assert "beside" not in first
    whole = finished(path, tmp_path / "whole")
    assert losses(joined) == losses(whole.report)
    assert joined["winner"]["val_loss"] == whole.report["winner"]["val_loss"]


@on_nodes
@pytest.mark.parametrize(
    ("cluster", "kind"), [(3, b"ray::_Worker"), (2, b"ray::_RankActor")], indirect=["cluster"]
)
def test_a_node_of_two_that_is_killed_is_replaced_by_a_third(
    cluster, write_space, tmp_path, cache, kind
):
    """The third one is there, or is waited for, and then has room for all by itself."""
    path, folder = write_space(*together("fsdp", *LONGER)), tmp_path / "killed"
    process = begin(cluster, path, folder)
    wait_until_reached(process, folder)
    number, _ = running(cluster, kind)
    cluster.kill(number)
    said = ""
    if len(cluster.processes) == 3:  # the head, and two
        said = read_until(process, "; waiting")
        assert "the nodes together do not hold one candidate any more (2 CPUs, 0 GPUs); " in said
        cluster.start(2)
    said += ended(process)
    [line] = [line for line in said.splitlines() if "lost its worker" in line]
    assert "it is trained on from its last state, try 1 of 3" in line
    assert "Traceback" not in said
    whole = finished(path, tmp_path / "whole")
    killed = report_of(folder)
    assert losses(killed) == losses(whole.report)
    assert killed["winner"]["val_loss"] == whole.report["winner"]["val_loss"]
    lie_on_two = {"beside" in each["devices"][-1] for each in killed["candidates"]}
    assert lie_on_two == {kind == b"ray::_Worker"}


def read_until(process, words):
    """Return the lines that a process writes, up to one with some words."""
    said = ""
    while words not in said:
        said += (line := process.stdout.readline())
        assert line, said
    return said


@on_nodes
def test_nothing_is_left_of_a_candidate_on_two_nodes_that_is_interrupted(
    cluster, write_space, tmp_path, cache
):
    path, folder = write_space(*together("ddp", *LONGER)), tmp_path / "run"
    process = begin(cluster, path, folder)
    wait_until_reached(process, folder)
    started = [running(cluster, kind)[1] for kind in (b"ray::_RankActor", RANK_HERE)]
    process.send_signal(signal.SIGINT)
    ended(process, 130)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@on_nodes
def test_a_process_of_two_nodes_that_is_killed_changes_no_loss(
    cluster, write_space, tmp_path, cache
):
    path, folder = write_space(*together("ddp", *LONGER)), tmp_path / "killed"
    process = begin(cluster, path, folder)
    wait_until_reached(process, folder)
    here, elsewhere = (running(cluster, kind)[1] for kind in (RANK_HERE, b"ray::_RankActor"))
    os.kill(elsewhere, signal.SIGKILL)
    line = read_until(process, "lost its worker").splitlines()[-1]
    words = r"\(process 2 of 2 on \S+ is gone: it crashed or was killed, [a-z ]+\); it is trained"
    assert re.search(words, line), line
    before = here
    while (here := running(cluster, RANK_HERE)[1]) == before:
        time.sleep(0.05)
    os.kill(here, signal.SIGKILL)
    said = ended(process)
    assert "lost its worker" not in said
    assert "Traceback" not in said
    whole = finished(path, tmp_path / "whole")
    assert losses(report_of(folder)) == losses(whole.report)


@on_nodes
def test_the_winner_alone_lies_on_two_nodes(cluster, write_space, tmp_path, cache):
    path = write_space(("search: {", "resources: {winner: {devices: 2}}\nsearch: {"))
    asked = "--set", "resources.winner.devices=3"
    said = ended(begin(cluster, path, tmp_path / "joined", *asked), 2).splitlines()[-1]
    assert "winner.devices 3: are more than the 2 devices for which the cluster has room: " in said
    asked = "--set", "resources.devices_per_candidate=3"
    said = ended(begin(cluster, path, tmp_path / "joined", *asked), 2).splitlines()[-1]
    assert "all nodes of the cluster have room for 2 of the 3 devices of one candidate" in said
    ended(begin(cluster, path, tmp_path / "joined"))
    joined = report_of(tmp_path / "joined")
    assert joined["cost"]["slots"] == 2
    for each in joined["candidates"]:
        alone, *others = each["devices"]
        assert "beside" not in alone
        if others:  # from K on
            chosen, (first, second) = each["name"], others
            assert second["beside"] == first["node"] != second["node"]
    assert chosen == joined["winner"]["name"]
    whole = finished(path, tmp_path / "whole")
    assert losses(joined) == losses(whole.report)
    assert joined["winner"]["val_loss"] == whole.report["winner"]["val_loss"]


@on_nodes
def test_nodes_with_networks_of_their_own_meet_on_their_addresses(
    write_space, tmp_path, cache, monkeypatch
):
    """Neither reaches the loopback interface of the other, nor its disk, as of another machine."""
    path, folder = write_space(*together("fsdp", *LONGER)), tmp_path / "joined"
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("LAGSEARCH_LOCAL", str(own))
    with two_networks() as found, nodes_of(tmp_path) as nodes:
        if found is None or not can_hide():
            pytest.skip("only root on Linux may give a node a network and folders of its own")
        for each in found:
            nodes.start(1, network=each, without=own)
        process = begin(nodes, path, folder, inside=found[0].inside)
        wait_until_reached(process, folder)
        number, here = running(nodes, RANK_HERE)
        other, elsewhere = running(nodes, b"ray::_RankActor")
        assert listens_on(here) == {found[number].address}
        assert {number, other} == {0, 1}
        [first], [second] = (sources_near(pid, own) for pid in (here, elsewhere))
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_dev != second.stat().st_dev
        ended(process)
    whole = finished(path, tmp_path / "whole")
    assert losses(report_of(folder)) == losses(whole.report)
