"""Profiling: figures by hand on a clock that is turned by hand, files of real runs, no new bits."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from finished import finished
from reported import without_times
from safetensors.torch import load_file

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.report.write import write_report
from lagsearch.storage.files import cache_root
from lagsearch.training import loop
from lagsearch.training.job import Compute
from lagsearch.training.profiling import machine, profile
from lagsearch.training.profiling.machine import PeakMemory, peak_flops_per_s
from lagsearch.training.profiling.profile import (
    OFF,
    PARTS,
    Profile,
    profiling,
)

NAMES = [f"lag-i{index}-b1-{init}" for index in (0, 2) for init in ("duplicate", "random")]
GPT2 = (
    "{model_type: llama, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32,\n"
    "                num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}",
    "{model_type: gpt2, n_layer: 3, n_embd: 16, n_head: 2, n_positions: 32}",
)
LONGER = [("steps: 24", "steps: 40"), ("lag: 10", "lag: 20")]


class Hand:
    """A clock that only moves when it is turned."""

    def __init__(self):
        self.now = 0.0

    def mark(self):
        return self.now

    def between(self, begin, end):
        return end - begin

    def wait(self):
        pass


class Told(Watch):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def job(path, **compute):
    return SimpleNamespace(
        name="one",
        profile=path,
        compute=Compute(**compute),
        training=SimpleNamespace(batch_size=4),
        text=SimpleNamespace(sequence_length=16),
        flops_per_step=3_000,
    )


def run(path, folder, **options):
    options = {"watch": Watch(), "overrides": ["search.baselines=[]"], **options}
    return lagsearch.run(path, out=folder, serial=True, **options)


def read(path):
    return json.loads(path.read_text())


def events(path):
    with gzip.open(path, "rt") as text:
        return json.load(text)["traceEvents"]


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture
def profiled(write_space, tmp_path):
    """One profiled run for all that look at its files."""
    how = {"profile": True, "overrides": ("search.baselines=[]",)}
    return finished(write_space(*LONGER), tmp_path / "profiled", **how)


def test_figures_on_a_clock_turned_by_hand(tmp_path, monkeypatch):
    clock = Hand()
    monkeypatch.setattr(profile, "clock_of", lambda device: clock)
    monkeypatch.setattr(profile, "peak_flops_per_s", lambda compute: 500.0)
    path = tmp_path / "profile" / "one.json"
    seconds = {"data": 1.0, "forward": 2.0, "backward": 4.0, "optimizer": 1.0}
    with profiling(job(path)) as measured:
        with measured.evaluation():
            clock.now += 7
        for number in range(100, 100 + 5 + 3 + 100):
            slow = 1000.0 if number < 108 else 1.0 + (number % 2)  # warm-up and traced ones
            with measured.step(number):
                for part in (*PARTS, "forward"):  # twice forward, as in accumulation
                    with measured.range(part):
                        clock.now += slow * seconds[part] / (2 if part == "forward" else 1)
                clock.now += 2 * slow
            clock.now += 50  # between steps: nobody's
    figures = read(path)
    assert figures["steps"] == {"from": 100, "to": 208, "traced": 3, "counted": 100}
    # half of the steps take 10 s, half 20 s
    assert figures["step_s"] == {"median": 15.0, "quartiles": [10.0, 20.0]}
    assert figures["shares"] == pytest.approx(
        {"data": 0.1, "forward": 0.2, "backward": 0.4, "optimizer": 0.1, "other": 0.2}
    )
    assert figures["evaluation_s"] == {"sum": 7.0, "number": 1}
    assert figures["tokens_per_s"] == pytest.approx(4 * 16 / 15)
    assert figures["model_flop_utilization"] == pytest.approx(3_000 / 15 / 500)
    assert figures["gpu_utilization"] is None


@pytest.mark.slow
def test_a_step_that_fails_counts_for_nothing(tmp_path, monkeypatch):
    clock = Hand()
    monkeypatch.setattr(profile, "clock_of", lambda device: clock)
    monkeypatch.setattr(profile, "peak_flops_per_s", lambda compute: 1.0)
    path = tmp_path / "one.json"

    def train(steps):
        with profiling(job(path)) as measured:
            for number in range(steps):
                with measured.step(number), measured.range("forward"):
                    clock.now += 1
            with measured.step(steps):
                with measured.range("forward"):
                    clock.now += 1000
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(8)  # nothing but warm-up and traced steps
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt):
        train(10)
    figures = read(path)
    assert figures["steps"] == {"from": 0, "to": 10, "traced": 3, "counted": 2}
    assert figures["shares"]["forward"] == 1.0
    assert figures["step_s"]["median"] == 1.0
    with pytest.raises(KeyboardInterrupt):
        train(7)  # a resumed process with too little left to measure
    assert read(path) == figures


@pytest.mark.slow
def test_losses_are_bit_equal_with_and_without(write_space, tmp_path, monkeypatch):
    path = write_space(GPT2)  # it drops 0.1 everywhere
    plain = run(path, tmp_path / "plain")
    [first] = (cache_root() / "sources").glob("*/state.safetensors")
    monkeypatch.setenv("LAGSEARCH_CACHE", str(tmp_path / "other"))
    profiled = run(path, tmp_path / "profiled", profile=True)
    [second] = (cache_root() / "sources").glob("*/state.safetensors")
    assert first.parent.name == second.parent.name  # the same hash of what made it
    assert first.parent != second.parent
    assert same(load_file(first), load_file(second))
    assert without_times(profiled.report) == without_times(plain.report)
    assert "profile" not in plain.report
    assert "Where the time goes" not in (plain.folder / "report.md").read_text()
    assert not (plain.folder / "profile").exists()
    weights = [each.checkpoint / "model.safetensors" for each in (plain, profiled)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_what_a_profiled_run_leaves(profiled):
    result = profiled
    folder = result.folder / "profile"
    assert {str(each.relative_to(folder)) for each in folder.rglob("*.*")} == {
        f"{stem}{end}"
        for stem in (*NAMES, f"winner/{result.winner}", "sources/small")
        for end in (".json", ".trace.json.gz")
    }
    report = read(result.folder / "report.json")
    assert set(report["profile"]) == set(NAMES)
    plans = {each["name"]: each for each in read(result.folder / "plans.json")["candidates"]}
    for name in NAMES:
        figures = report["profile"][name]
        assert figures == read(folder / f"{name}.json")
        assert figures["steps"] == {"from": 0, "to": 20, "traced": 3, "counted": 12}
        median = figures["step_s"]["median"]
        low, high = figures["step_s"]["quartiles"]
        assert 0 < low <= median <= high
        assert figures["tokens_per_s"] == pytest.approx(4 * 16 / median)
        assert figures["flops_per_step"] == plans[name]["flops_per_step"]
        rate = plans[name]["flops_per_step"] / median
        assert figures["model_flop_utilization"] == pytest.approx(
            rate / figures["peak_flops_per_s"]
        )
        assert set(figures["shares"]) == {*PARTS, "other"}
        assert sum(figures["shares"].values()) == pytest.approx(1)
        assert all(share > 0 for share in figures["shares"].values())
        assert figures["evaluation_s"]["number"] == 6  # 0, 1, 2, 5, 10, 20
        assert figures["memory"]["peak_bytes"] > 4 * plans[name]["parameters"]
    winner = read(folder / "winner" / f"{result.winner}.json")
    assert winner["steps"] == {"from": 20, "to": 40, "traced": 3, "counted": 12}
    assert read(folder / "sources" / "small.json")["steps"]["to"] == 20


def test_the_trace_names_the_parts_of_three_steps(profiled):
    for name in NAMES:
        found = events(profiled.folder / "profile" / f"{name}.trace.json.gz")
        spans = [each for each in found if each.get("cat") == "user_annotation"]
        steps = {each["name"]: each for each in spans if each["name"].startswith("step ")}
        assert set(steps) == {"step 5", "step 6", "step 7"}
        for step in steps.values():
            inside = [each["name"] for each in spans if within(each, step) and each is not step]
            assert [each for each in inside if each in PARTS] == list(PARTS)
        [backward] = [each for each in spans if each["name"] == "backward"][:1]
        operators = {each["name"] for each in found if within(each, backward)}
        assert "autograd::engine::evaluate_function: MmBackward0" in operators


def within(event, span):
    if event.get("ph") != "X":
        return False
    begin, end = span["ts"], span["ts"] + span["dur"]
    return begin <= event["ts"] and event["ts"] + event["dur"] <= end


def test_the_report_is_built_again_from_the_files(profiled):
    result = profiled
    page = (result.folder / "report.md").read_text()
    for name in ("report.json", "report.md"):
        (result.folder / name).unlink()
    again = write_report(result.folder)
    assert again["profile"] == result.report["profile"]
    assert (result.folder / "report.md").read_text() == page
    section = page.split("## Where the time goes\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    ranked = [each.name for each in result.candidates]
    assert [row.split(" | ")[1].strip("`") for row in rows] == ranked
    best = again["profile"][ranked[0]]
    assert f"{best['tokens_per_s']:,.0f}" in rows[0]
    assert f"{best['shares']['backward']:.0%}" in rows[0]
    assert "GPU" not in section


@pytest.mark.slow
def test_profiling_is_no_other_space(write_space, tmp_path):
    path, folder = write_space(), tmp_path / "run"
    plain = run(path, folder)
    told = Told()
    late = run(path, folder, profile=True, watch=told)
    assert "profile" not in late.report
    assert without_times(late.report) == without_times(plain.report)
    assert [line for line in told.lines if ", 4 candidates, e.g. lag-" in line]
    # more training of the same run is profiled, and a plain command after it keeps what is there
    oracle = run(path, folder, oracle=True, profile=True)
    assert set(oracle.report["profile"]) == {*NAMES} - {plain.winner}  # which is complete
    after = run(path, folder)
    assert after.report["profile"] == oracle.report["profile"]
    schedule = lagsearch.load_space(folder / "schedule.yaml").space
    assert not schedule.resources.profile


@pytest.mark.slow
def test_interrupted_in_the_traced_steps_and_resumed(write_space, tmp_path, monkeypatch):
    path = write_space(*LONGER)
    whole = run(path, tmp_path / "whole")
    update = loop._Run._update

    def interrupted(self):
        update(self)
        if self.job.name in NAMES and self.step == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "_update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "cut", profile=True)
    monkeypatch.setattr(loop._Run, "_update", update)
    left = tmp_path / "cut" / "profile" / ".x.json.abcdefg_.tmp"  # of a process that was killed
    left.write_text("{")
    resumed = run(path, tmp_path / "cut", profile=True)
    assert not left.exists()
    assert without_times(resumed.report) == without_times(whole.report)
    assert set(resumed.report["profile"]) == set(NAMES)


@pytest.mark.ray
@pytest.mark.slow
def test_workers_of_ray_leave_the_same_files(write_space, tmp_path):
    path = write_space(*LONGER)
    command = [sys.executable, "-m", "lagsearch.cli", "run", str(path), "--profile", "--out"]
    folder = tmp_path / "ray"
    done = subprocess.run(
        [*command, str(folder)], check=True, capture_output=True, text=True, timeout=250
    )
    assert "USDT" not in done.stderr  # the tracer's own lines
    report = read(folder / "report.json")
    assert set(report["profile"]) == set(NAMES)
    assert all(each["steps"]["counted"] == 12 for each in report["profile"].values())
    traces = [folder / "profile" / f"{name}.trace.json.gz" for name in NAMES]
    assert all("forward" in {each["name"] for each in events(trace)} for trace in traces)
    serial = run(path, tmp_path / "serial").report
    assert report["cost"].pop("slots") >= serial["cost"].pop("slots")
    assert without_times(report) == without_times(serial)


def test_off_costs_the_loop_nothing_to_speak_of(tmp_path):
    with profiling(job(None)) as measured:
        assert measured is OFF
    # one object for all: no range, step or evaluation makes another
    contexts = [OFF.range("forward"), OFF.range("data"), OFF.step(3), OFF.evaluation()]
    assert len({id(each) for each in contexts}) == 1


class Event:
    """An event of a GPU whose queue is the hand-turned clock."""

    clock = Hand()

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = self.clock.now

    def elapsed_time(self, end):
        return 1e3 * (end.at - self.at)


def test_a_gpu_shows_ranges_events_memory_and_load(tmp_path, monkeypatch):
    ranges, clock = [], Event.clock
    monkeypatch.setattr(profile, "peak_flops_per_s", lambda compute: 1.0)
    monkeypatch.setattr(machine, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setenv("NSYS_PROFILING_SESSION_ID", "1")  # then the trace leaves the GPU alone
    cuda = {
        "Event": Event,
        "synchronize": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 100,
        "max_memory_allocated": lambda: 300,
        "utilization": iter([50, 70, 90] * 4).__next__,
    }
    for name, stand_in in cuda.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", ranges.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: ranges.append("end"))
    path = tmp_path / "one.json"
    with profiling(job(path, device="cuda", precision="bf16")) as measured:
        for number in range(12):
            with measured.step(number):
                for part in PARTS:
                    with measured.range(part):
                        clock.now += 0.5
        with measured.evaluation():
            clock.now += 3
    figures = read(path)
    assert figures["step_s"]["median"] == 2.0
    assert figures["shares"] == {**dict.fromkeys(PARTS, 0.25), "other": 0.0}
    assert figures["evaluation_s"] == {"sum": 3.0, "number": 1}
    assert figures["gpu_utilization"] == {"mean": pytest.approx(0.7), "samples": 12}
    assert figures["memory"] == {
        "kind": "allocated on the GPU",
        "peak_bytes": 300,
        "before_bytes": 100,
    }
    step = [each for part in PARTS for each in (part, "end")]
    assert ranges[:10] == ["step 0", *step, "end"]
    assert ranges[-2:] == ["evaluation", "end"]
    assert ranges.count("end") == len(ranges) / 2


def test_a_gpu_whose_load_cannot_be_read(monkeypatch):
    def missing():
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    load = machine.GpuLoad("cuda")
    load.look()
    assert load.figures() is None


def test_the_peak_is_the_best_product_measured_once(monkeypatch):
    time = SimpleNamespace(now=0.0)
    took, shapes = iter([0.5, 0.2, 0.25, *[0.3] * 9]), []

    def product(left, right, out):
        shapes.append((left.shape, right.dtype))
        time.now += next(took)

    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: time.now))
    monkeypatch.setattr(torch, "mm", product)
    before = torch.random.get_rng_state()
    compute = Compute(threads=99, precision="bf16")  # a key of its own in the cache
    assert peak_flops_per_s(compute) == pytest.approx(2 * 1024**3 / 0.2)
    assert shapes == [((1024, 1024), torch.bfloat16)] * 3
    assert peak_flops_per_s(compute) == pytest.approx(2 * 1024**3 / 0.2)
    assert len(shapes) == 3
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
def test_the_peak_of_memory_is_that_of_this_model():
    first = PeakMemory("cpu")
    if "this model" not in first.figures()["kind"]:
        pytest.skip("this kernel does not let a process forget its peak")
    size = 256 * 2**20
    held = np.ones(size, np.uint8)
    with_it = first.figures()
    del held
    second = PeakMemory("cpu").figures()
    assert with_it["peak_bytes"] - with_it["before_bytes"] >= 0.9 * size
    assert second["peak_bytes"] <= with_it["peak_bytes"] - 0.9 * size


def test_profile_is_a_class_of_its_own_state(tmp_path, monkeypatch):
    """Two models of one process, as in reused workers: nothing of the first is in the second's."""
    monkeypatch.setattr(profile, "peak_flops_per_s", lambda compute: 1.0)
    clock = Hand()
    monkeypatch.setattr(profile, "clock_of", lambda device: clock)
    for turn, name in ((1.0, "first"), (3.0, "second")):
        measured = Profile(job(None), tmp_path / f"{name}.json")
        for number in range(10):
            with measured.step(number):
                clock.now += turn
        measured.close()
    assert read(tmp_path / "first.json")["step_s"]["median"] == 1.0
    assert read(tmp_path / "second.json")["step_s"]["quartiles"] == [3.0, 3.0]
    assert (tmp_path / "second.trace.json.gz").is_file()
