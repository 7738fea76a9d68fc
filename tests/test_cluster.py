"""Clusters: what their nodes are asked, and searches that end as on one machine."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from clusters import can_hide, nodes_of
from finished import finished
from hypothesis import given
from hypothesis import strategies as st

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import ResourceError, RunFolderError
from lagsearch.running.workers.gpu_use import GpuUse, covered
from lagsearch.running.workers.nodes import (
    Node,
    copied_here,
    differing,
    n_cpus,
    names_of,
    this_machine,
    unseen,
    versions,
)
from lagsearch.running.workers.serial import Outcome
from lagsearch.running.workers.slots import (
    Slots,
    assign_slots,
    describe,
    share_by_use,
    slots_of_sources,
    with_fewest_on_a_gpu,
)
from lagsearch.space import Placement, Resources

GIB = 1 << 30
CPU = Node("a", 8, 0, memory_bytes=8 * GIB, processor="Xeon")
H100 = Node("g", 16, 4, ("H100",) * 4, 80 * GIB, has_bf16=True, processor="Xeon")
V100 = replace(H100, name="v", cards=("V100",) * 4, gpu_bytes=16 * GIB, has_bf16=False)


def assigned(nodes, estimate=GIB, precision="auto", **wanted):
    return assign_slots(Resources(**wanted), precision, [estimate], nodes)


def refused(message, nodes, **wanted):
    with pytest.raises(ResourceError, match=message):
        assigned(nodes, **wanted)


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "number"),
    [
        ([(8, 0)], 2, 0, 4),
        ([(3, 0), (3, 0)], 2, 0, 2),  # what is left over does not add up across nodes
        ([(8, 1)], 1, 0.25, 4),
        ([(2, 4), (16, 0)], 1, 1, 2),
        ([(1, 0), (4, 0)], 4, 0, 1),
    ],
)
def test_slots_of_a_cluster(nodes, cpus, gpus, number):
    nodes = [Node("n", cpu, gpu, ("card",) * gpu, GIB) for cpu, gpu in nodes]
    found = assigned(nodes, cpus_per_candidate=cpus, gpus_per_candidate=gpus)[1]
    assert found == Slots(cpus, gpus, number)


def test_the_cluster_decides_device_share_and_precision_and_this_machine_does_not():
    """Here is no GPU, and where the command runs there need not be one."""
    compute, slots = assigned([replace(CPU, cpus=1), H100])
    assert (compute.device, compute.precision) == ("cuda", "bf16")
    assert slots == Slots(1, 0.25, 16)  # 2.2 of 72 GiB: an eighth would do; 4 GPUs for 16 CPUs
    assert assigned([H100], estimate=20 * GIB)[1] == Slots(1, 0.5, 8)
    assert assigned([V100], estimate=20 * GIB)[1] == Slots(1, 1.0, 4)
    assert assigned([V100])[0].precision == "fp32"
    assert assigned([H100], gpus_per_candidate=0)[0].device == "cpu"


def test_candidates_share_a_gpu_only_where_they_must():
    def least(**more):
        return assigned([replace(H100, **more)])[1]

    assert least(cpus=4) == Slots(1, 1.0, 4)
    assert least(cpus=64) == Slots(1, 0.125, 32)
    assert assigned([H100], cpus_per_candidate=4)[1] == Slots(4, 1.0, 4)
    for number, found in {
        1: Slots(1, 1.0, 4),
        4: Slots(1, 1.0, 4),
        5: Slots(1, 0.5, 8),
        9: Slots(1, 0.25, 16),
        99: Slots(1, 0.25, 16),
    }.items():
        assert with_fewest_on_a_gpu(Slots(1, 0.25, 16), number, [H100]) == found
    unequal = [replace(H100, cpus=2), replace(H100, cpus=6)]  # as many as there are CPUs for
    assert with_fewest_on_a_gpu(Slots(1, 0.5, 8), 9, unequal) == Slots(1, 0.5, 8)
    assert with_fewest_on_a_gpu(Slots(1, 0.5, 8), 8, unequal) == Slots(1, 1.0, 6)


@pytest.mark.parametrize(
    ("busy", "gib", "share"),
    [
        (0.05, 1, 0.125),  # eight at most
        (0.0, 1, 0.125),
        (0.2, 1, 0.25),  # five would fit by time: four
        (0.5, 1, 0.5),
        (0.51, 1, 1.0),
        (0.97, 1, 1.0),
        (0.05, 20, 0.5),  # 23 of 72 GiB
        (0.05, 40, 1.0),
    ],
)
def test_a_gpu_is_shared_as_far_as_one_candidate_leaves_it_idle(busy, gib, share):
    use = GpuUse(busy, gib * GIB, 80 * GIB)
    assert share_by_use(0.125, use) == share
    assert share_by_use(0.5, use) == max(share, 0.5)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9))))
def test_time_that_spans_cover_is_counted_once(spans):
    spans = [(start, start + length) for start, length in spans]
    assert covered(spans) == len({each for start, end in spans for each in range(start, end)})


@pytest.mark.ray
@pytest.mark.slow
def test_a_candidate_shows_how_many_share_a_gpu(monkeypatch, tmp_path):
    """Ray is told of two GPUs that are not there, and what measures says what it was given."""
    import ray

    from lagsearch.running.workers import cluster, ray_tune

    said, ran = [], []

    class Heard(Watch):
        def say(self, text):
            said.append(text)

    def measured(job):
        assert ray.get_runtime_context().get_assigned_resources() == {"CPU": 1, "GPU": 1}
        if job.name == "broken":
            raise OSError("no driver")
        (tmp_path / "pid").write_text(str(os.getpid()))
        return GpuUse(0.3, GIB, 80 * GIB)

    def train(jobs, until, slots, watch, finished):
        ran.append(slots)
        return Outcome({}, 0.0, slots.number)

    def jobs(*names, learned=None):
        return [SimpleNamespace(name=name, plan=SimpleNamespace(learned=learned)) for name in names]

    machine = Node("", 16, 2, ("card",) * 2, 80 * GIB)
    monkeypatch.setattr(cluster, "this_machine", lambda: machine)
    monkeypatch.setattr(ray_tune, "measure_gpu_use", measured)
    monkeypatch.setattr(ray_tune, "_run", train)
    least, rest = Slots(1, 0.125, 16), (1, Heard(), print)
    with ray_tune.open_ray(least, [machine], measures_use=True) as runner:
        runner(jobs("one", "two"), *rest)
        assert ray.cluster_resources()["GPU"] == 2
        assert said == []  # each has a GPU of its own
        outcome = runner(jobs(*map(str, range(9))), *rest)
        ended = time.monotonic() + 30
        while Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists():
            assert time.monotonic() < ended, "the process that measured holds the GPU"
            time.sleep(0.1)
        assert outcome.slots == runner(jobs("broken"), *rest).slots == 4
        with ray_tune.open_ray(least, [machine], measures_use=True) as again:
            again(jobs("broken", "other", "third"), *rest)
        with ray_tune.open_ray(least, [machine], measures_use=True) as learning:
            learning(jobs("one", "two", "three", learned="steps"), *rest)
        with ray_tune.open_ray(least) as told:
            told(jobs("one"), *rest)
    whole = Slots(1, 1.0, 2)
    assert ran == [whole, Slots(1, 0.5, 4), whole, Slots(1, 0.5, 4), Slots(1, 0.5, 4), least]
    assert said == [
        "one candidate keeps a GPU busy 30% of its time, in 1.0 GiB: up to 2 share one",
        "how busy one candidate keeps a GPU could not be measured (OSError: no driver): up to 8 "
        "share one",
    ]


def test_a_cluster_without_what_is_asked_for_is_refused_with_what_it_has():
    refused(r"no node of the cluster has a usable GPU: a \(8 CPUs\)", [CPU], gpus_per_candidate=1)
    refused(
        r"no node of the cluster holds one candidate \(9 CPUs, 0 GPUs\): a \(8 CPUs\), a \(8 C",
        [CPU, CPU],
        cpus_per_candidate=9,
    )
    broken = replace(H100, cards=("H100",))
    refused(r"g \(16 CPUs, 4 GPUs\): torch can use 1 of its GPUs", [broken])
    assert assigned([broken], gpus_per_candidate=0)[0].device == "cpu"


def test_devices_are_mixed_only_when_asked():
    refused(r"different devices: H100 \(g\); V100 \(v\).*mix_devices: true", [H100, V100])
    compute, slots = assigned([H100, V100], estimate=5 * GIB, mix_devices=True)
    assert (compute.precision, slots.gpus) == ("fp32", 0.5)  # what both can
    other = replace(CPU, name="b", processor="EPYC")
    refused(r"different devices: Xeon \(a\); EPYC \(b\)", [CPU, other])
    assert assigned([CPU, replace(other, cpus=1)], cpus_per_candidate=2)  # it holds none
    assert assigned([other, H100])[0].device == "cuda"  # CPUs do not matter there


def test_sources_have_a_node_for_themselves_or_a_share_of_a_gpu():
    assert slots_of_sources(Resources(), Slots(2, 0.0, 4)) == Slots(8, 0.0, 1)
    assert slots_of_sources(
        Resources(), Slots(2, 0.0, 8), [CPU, CPU, replace(CPU, cpus=3)]
    ) == Slots(8, 0, 2)
    assert slots_of_sources(Resources(), Slots(4, 0.25, 16), [H100]) == Slots(1, 0.25, 16)
    two = Resources(sources=Placement(devices=2))
    assert slots_of_sources(two, Slots(2, 0.0, 8), [CPU, CPU]) == Slots(2, 0, 4, devices=2)
    assert slots_of_sources(two, Slots(1, 0.25, 16), [H100]) == Slots(1, 1, 2, devices=2)


def test_a_run_on_one_machine_asks_it_alone():
    here = this_machine()
    compute, slots = assign_slots(Resources(), "auto", [GIB])
    assert (compute.device, slots.number) == ("cpu", here.cpus)
    assert set(describe(compute)) == {"cpus", "gpus", "used", "precision"}
    assert describe(compute, [H100])["nodes"][0]["cards"] == ("H100",) * 4


def test_nodes_have_the_versions_of_this_process_and_names_of_their_own():
    assert differing(this_machine("n")) is None
    other = [(key, "0.1" if key == "torch" else value) for key, value in versions()]
    assert differing(Node("n", 1, 0, versions=tuple(other))).startswith("n has torch 0.1, and this")
    assert names_of([("a", "12345678"), ("b", "1"), ("a", "87654321")]) == [
        "a-123456",
        "b",
        "a-876543",
    ]


def test_what_a_node_does_not_see_or_cannot_write_to_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("lagsearch.running.workers.nodes._SEEN_WITHIN_S", 0.1)
    there, gone = tmp_path / "mark", tmp_path / "other" / "mark"
    there.touch()
    assert unseen([there], [tmp_path]) == {}
    assert unseen([gone], [tmp_path / "x"]) == {
        gone: "does not see",
        tmp_path / "x": "does not see",
    }

    def readonly(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", readonly)
    assert unseen([there], []) == {there: "cannot write to"}


def test_a_source_is_copied_once_to_a_nodes_own_disk(tmp_path, monkeypatch):
    source = tmp_path / "state.safetensors"
    source.write_bytes(b"weights")
    assert copied_here(source) == source
    monkeypatch.setenv("LAGSEARCH_LOCAL", str(tmp_path / "local"))
    copy = copied_here(source)
    assert copy.parent == tmp_path / "local" / "lagsearch"
    assert copy.read_bytes() == b"weights"
    made = copy.stat().st_mtime_ns
    assert copied_here(source) == copy
    assert copy.stat().st_mtime_ns == made
    source.write_bytes(b"others!!")
    assert copied_here(source).read_bytes() == b"others!!"
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAGSEARCH_LOCAL", str(tmp_path / "file"))  # nothing can be written there
    assert copied_here(source) == source


def test_what_is_not_shared_is_named_with_its_remedy(tmp_path, monkeypatch):
    from lagsearch.running.workers import cluster

    left = []

    def asked(function, arguments):
        [[mark], [other]] = arguments
        left.append(mark)
        assert mark.is_file()
        return {"node-1": {}, "node-2": {mark: "does not see", other: "does not see"}}

    monkeypatch.setattr(cluster, "_ask_all", asked)
    with pytest.raises(RunFolderError, match=rf"^node node-2 does not see {tmp_path}: share it$"):
        cluster.Cluster(()).check_storage({"share it": tmp_path}, {"and it": tmp_path / "x"})
    assert not left[0].exists()


TWO_SOURCES = [
    ("pretrain:\n", "pretrain: &own\n"),
    ("steps: 20\n", "steps: 200\n"),
    (
        "target: {num_hidden_layers: 4}",
        "  - {name: b, pretrain: *own}\ntarget: {num_hidden_layers: 6}",
    ),
    (
        "{operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}",
        "{operator: multi-stack, order: all, boundary: all}",
    ),
]


def on_nodes(test):
    """Mark what starts several nodes."""
    for mark in (pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)):
        test = mark(test)
    return test


LOST = (
    r"(\S+): lost its worker on (\S+) \([a-z ,]+\); it is trained on from its last state, try 1.*"
)
LONGER = [("steps: 24", "steps: 300"), ("lag: 10", "lag: 250")]
LAG = 250
CPUS = n_cpus()


@pytest.fixture
def cluster(tmp_path_factory, request):
    """A head node without CPUs, as is usual, and two nodes: with one CPU, or as it is asked for.

    The source is too small for a second thread to change a bit of it.
    """
    cpus = getattr(request, "param", 1)
    with nodes_of(tmp_path_factory.mktemp("ray")) as nodes:
        for each in (0, cpus, cpus):
            nodes.start(each)
        yield nodes


def begin(nodes, space, folder, *more, inside=()):
    command = [sys.executable, "-m", "lagsearch.cli", "run", str(space), "--out", str(folder)]
    return subprocess.Popen(
        [*inside, *command, *more],
        env={**os.environ, **nodes.joining},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process, code=0):
    said, _ = process.communicate(timeout=900)
    assert process.returncode == code, said
    return said


def losses(report):
    return {each["name"]: each["val_loss"] for each in report["candidates"]}


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


@on_nodes
@pytest.mark.parametrize("cluster", [CPUS], indirect=True)
def test_two_nodes_give_the_losses_of_one_process(cluster, write_space, tmp_path, cache):
    path = write_space(*TWO_SOURCES)
    said = ended(begin(cluster, path, tmp_path / "joined"))
    assert "sources: 2 trainings to step 200" in said
    nodes = [place["node"] for place in places(cache.glob("sources/*/curve.devices.json"))]
    assert len(set(nodes)) == 2
    joined = report_of(tmp_path / "joined")
    assert {each["node"] for each in devices(joined)} <= set(nodes)
    assert joined["cost"]["slots"] == 2 * CPUS
    for each in cache.glob("sources/*/*"):
        each.unlink()  # they are trained again, here
    whole = lagsearch.run(path, out=tmp_path / "whole", serial=True, watch=Watch()).report
    assert losses(joined) == losses(whole)
    assert joined["winner"]["val_loss"] == whole["winner"]["val_loss"]
    assert joined["sources"] == whole["sources"]


def places(paths):
    return [place for path in paths for place in json.loads(path.read_text())["devices"]]


def devices(report):
    return [place for each in report["candidates"] for place in each["devices"]]


def reached(folder):
    """Return a candidate that has begun and is not at K yet, by the node that it is trained on."""
    found = {}
    for path in folder.glob("curves/*.devices.json"):
        curve = path.with_name(path.name.replace(".devices.json", ".jsonl"))
        lines = curve.read_text().splitlines() if curve.exists() else []
        steps = [json.loads(line)["step"] for line in lines if line.endswith("}")]
        if steps and LAG not in steps:
            found[places([path])[-1]["node"]] = curve.stem
    return found


def wait_until_reached(process, folder):
    """Wait until a command has begun to train a candidate on a node."""
    while not reached(folder):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)


@on_nodes
def test_a_node_that_is_killed_is_named_and_changes_no_loss(cluster, write_space, tmp_path, cache):
    path, folder = write_space(*LONGER), tmp_path / "killed"
    process = begin(cluster, path, folder)
    while len(on := reached(folder)) < 2:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    cluster.kill(2)
    said = ended(process)
    lines = [line for line in said.splitlines() if "lost its worker" in line]
    assert lines, said
    for line in lines:
        match = re.fullmatch(LOST, line)
        assert match is not None, line
        name, node = match.groups()
        assert node in on
        assert len(places([folder / "curves" / f"{name}.devices.json"])) == 2
    assert "Traceback" not in said
    whole = finished(path, tmp_path / "whole")
    killed = report_of(folder)
    assert losses(killed) == losses(whole.report)
    assert killed["winner"]["val_loss"] == whole.report["winner"]["val_loss"]


@on_nodes
def test_a_search_waits_for_a_new_node_where_none_is_left(
    write_space, tmp_path, cache, monkeypatch
):
    path, folder = write_space(*LONGER), tmp_path / "killed"
    with nodes_of(tmp_path) as nodes:
        nodes.start(0)
        nodes.start(1)
        monkeypatch.setenv("LAGSEARCH_LOCAL", str(tmp_path / "local"))
        process = begin(nodes, path, folder)
        wait_until_reached(process, folder)
        nodes.kill(1)
        said = ""
        while "; waiting" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        assert "no node holds one candidate any more (1 CPU, 0 GPUs); waiting" in said
        nodes.start(1)
        ended(process)
    assert list((tmp_path / "local" / "lagsearch").glob("*.safetensors"))
    whole = finished(path, tmp_path / "whole")
    assert losses(report_of(folder)) == losses(whole.report)


@on_nodes
@pytest.mark.skipif(not can_hide(), reason="only root on Linux may give a node folders of its own")
def test_nodes_share_the_run_folder_and_the_cache_alone(write_space, tmp_path, monkeypatch):
    path, own = write_space(), tmp_path / "own"
    own.mkdir()
    with nodes_of(tmp_path) as nodes:
        nodes.start(0)
        nodes.start(1, without=own)
        said = ended(begin(nodes, path, own / "run"), 2).splitlines()[-1]
        remedy = "the run folder (--out) must be on storage that all nodes share"
        assert said.endswith(f"does not see {own / 'run'}: {remedy}")
        assert not (own / "run").exists()
        monkeypatch.setenv("TMPDIR", str(own))
        ended(begin(nodes, path, tmp_path / "run"))
    whole = finished(path, tmp_path / "whole")
    assert losses(report_of(tmp_path / "run")) == losses(whole.report)


@on_nodes
def test_what_a_cluster_has_not_is_said_before_anything_is_written(cluster, write_space, tmp_path):
    path = write_space()
    asked = "--set", "resources.gpus_per_candidate=1"
    said = ended(begin(cluster, path, tmp_path / "run", *asked), 2).splitlines()[-1]
    assert "no node of the cluster has a usable GPU: " in said
    cluster.start(1, "--num-gpus=1")  # a GPU that Ray is told of, and torch cannot use
    said = ended(begin(cluster, path, tmp_path / "run"), 2).splitlines()[-1]
    assert "(1 CPU, 1 GPU): torch can use 0 of its GPUs; mend its driver" in said
    assert not (tmp_path / "run").exists()
