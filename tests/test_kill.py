"""A run is killed with SIGKILL, its whole process group, and continued by the same command."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from reported import without_times

import lagsearch
from lagsearch.display.watch import Watch

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
"""Seconds that a busy machine may take for several runs."""

LONGER = [("steps: 24", "steps: 300"), ("lag: 10", "lag: 150")]
LONG_SOURCE = ("steps: 20\n", "steps: 400\n")
NAMES = [f"lag-i{index}-b1-{init}" for index in (0, 2) for init in ("duplicate", "random")]


def command(path, folder):
    return [sys.executable, "-m", "lagsearch.cli", "run", str(path), "--out", str(folder)]


def finish(path, folder):
    subprocess.run(command(path, folder), check=True, capture_output=True)
    return without_times(json.loads((folder / "report.json").read_text()))


def in_one_process(path, folder):
    """Run without Ray, in this process; return the report without times and slots."""
    report = without_times(lagsearch.run(path, out=folder, serial=True, watch=Watch()).report)
    assert report["cost"].pop("slots") == 1
    return report


def steps(path):
    """Return the evaluated steps in a curve that is being written."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines()
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def is_in_source(cache, folder):
    return any(len(steps(path)) >= 5 for path in cache.glob("sources/*/curve.jsonl"))


def is_in_search(cache, folder):
    reached = [steps(folder / "curves" / f"{name}.jsonl") for name in NAMES]
    return any(150 in each for each in reached) and any(
        each and 150 not in each for each in reached
    )


def is_in_winner(cache, folder):
    return any(200 in steps(folder / "curves" / f"{name}.jsonl") for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "longer"),
    [
        pytest.param(is_in_search, LONGER, id="search"),
        pytest.param(is_in_source, [*LONGER, LONG_SOURCE], id="source"),
        pytest.param(is_in_winner, LONGER, id="winner"),
    ],
)
def test_killed_and_continued_equals_uninterrupted(write_space, tmp_path, cache, moment, longer):
    path = write_space(*longer)
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        command(path, folder),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not moment(cache, folder):
        assert process.poll() is None, "it ended before the moment came"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "report.json").exists()
    killed = finish(path, folder)
    killed["cost"].pop("slots")
    for source in cache.glob("sources/*/*"):
        source.unlink()
    assert killed == in_one_process(path, tmp_path / "whole")


def staged_loss(folder):
    report = json.loads((folder / "report.json").read_text())
    return [course["curve"] for course in report["courses"]]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_in_every_stage_and_continued_equals_uninterrupted(write_stages, tmp_path):
    longer = ("[20, 20, 24]", "[200, 200, 240]"), ("lag: 10", "lag: 80")
    path, folder = write_stages(*longer), tmp_path / "killed"
    names = ("scratch", "lag-i0-b1-duplicate", "lag-i1-b1-random")
    for stage, name in enumerate(names, 1):
        curve = folder / "adaptive" / f"stage-{stage}" / "curves" / f"{name}.jsonl"
        process = subprocess.Popen(
            command(path, folder),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while 50 not in steps(curve):
            assert process.poll() is None, "it ended before the moment came"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (folder / "report.json").exists()
    for each in (folder, tmp_path / "whole"):
        subprocess.run(command(path, each), check=True, capture_output=True)
    assert staged_loss(folder) == staged_loss(tmp_path / "whole")


@pytest.mark.slow
def test_ctrl_c_exits_130_and_can_be_continued(write_space, tmp_path, cache):
    path = write_space(*LONGER)
    folder = tmp_path / "run"
    process = subprocess.Popen(
        command(path, folder),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
    )
    while not is_in_search(cache, folder):
        assert process.poll() is None, "it ended before the moment came"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    said = error.splitlines()[-1]
    assert re.fullmatch(r"lagsearch: interrupted; \d of 5 trainings (is|are) at step .*", said)
    assert said.endswith("; the same command continues")
    assert "Traceback" not in error
    in_one_process(path, folder)
