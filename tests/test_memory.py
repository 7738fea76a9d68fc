"""The memory estimate, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import ResourceError, SpaceError
from lagsearch.running.workers import nodes
from lagsearch.running.workers.slots import check_memory, memory_of

BENCHMARK = Path(__file__).parent / "benchmarks" / "memory.py"
GIB = 2**30


@pytest.mark.parametrize(
    ("device", "estimate", "there", "is_refused"),
    [
        ("cpu", 8, 6, False),  # three quarters of 8 are 6
        ("cpu", 9, 6, True),
        ("cuda", 12, 6, False),  # bf16 halves
        ("cuda", 13, 6, True),
        ("cpu", 1000, None, False),
    ],
)
def test_only_what_surely_cannot_fit_is_refused(device, estimate, there, is_refused):
    limit = None if there is None else there * GIB
    known = [GIB, None, estimate * GIB]
    if not is_refused:
        check_memory(known, device, limit)
        return
    words = rf"needs about {estimate}\.0 GiB, and this \w+ has 6\.0 GiB: take fewer sequences"
    with pytest.raises(ResourceError, match=words) as caught:
        check_memory(known, device, limit)
    assert caught.value.at == ("training", "batch_size")


def test_nothing_is_known_of_models_without_an_estimate():
    check_memory([None, None], "cpu", 1)
    check_memory([], "cpu", 1)


def test_a_control_groups_limit_counts(tmp_path, monkeypatch):
    whole = memory_of("cpu")
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "low").write_text("123456\n")
    monkeypatch.setattr(nodes, "_CGROUP_LIMITS", (tmp_path / "max", tmp_path / "none"))
    assert memory_of("cpu") >= whole
    monkeypatch.setattr(nodes, "_CGROUP_LIMITS", (tmp_path / "max", tmp_path / "low"))
    assert memory_of("cpu") == 123456


def test_a_run_that_cannot_fit_writes_nothing(write_space, tmp_path, monkeypatch):
    monkeypatch.setattr("lagsearch.running.run.memory_of", lambda device: 1000)
    with pytest.raises(SpaceError, match=r"training\.batch_size.*one candidate needs about"):
        lagsearch.run(write_space(), out=tmp_path / "run", serial=True, watch=Watch())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "bert", "gpt2"])
def test_the_estimate_is_near_what_a_process_takes(name):
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--only", name, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["model"] == name
    assert 0.85 < found["estimate"] / found["at_once"] < 1.15
