"""Runs that are killed with SIGKILL at any moment, again and again, end as if they had not been."""

import json
import multiprocessing
import os
import signal
import time
from random import Random

import pytest
from mishaps import SMALL
from reported import without_times

import lagsearch
from lagsearch.display.watch import Watch

pytestmark = pytest.mark.timeout(1800)
"""Seconds for many small runs on a busy machine."""

KILLS = 3
"""Of each run."""


def run(space, folder, cache):
    os.environ["LAGSEARCH_CACHE"] = str(cache)
    lagsearch.run(space, out=folder, serial=True, watch=Watch())


@pytest.fixture(scope="module")
def start():
    """Start a run in a process of its own, in which all modules are there already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lagsearch.running.run", "transformers.models.llama"])

    def started(*arguments):
        process = context.Process(target=run, args=arguments)
        process.start()
        return process

    return started


def lasting(process):
    """Wait for a run's end, and return the seconds that it took."""
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def numbers(folder):
    return without_times(json.loads((folder / "report.json").read_text()))


def left_over(*folders):
    """Return the files that no process would write to the end any more."""
    return [path for folder in folders for path in folder.rglob("*.tmp")]


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(1), id="3 kills"),
        pytest.param(range(1, 21), id="60 kills", marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_and_continued_equals_uninterrupted(write_space, tmp_path, start, seeds):
    space = write_space(*SMALL)
    duration = lasting(start(space, tmp_path / "whole", tmp_path / "whole-cache"))
    right, n_killed = numbers(tmp_path / "whole"), 0
    for seed in seeds:
        random, places = Random(seed), (tmp_path / f"run-{seed}", tmp_path / f"cache-{seed}")
        for number in range(KILLS):
            process = start(space, *places)
            process.join(random.uniform(0, duration if number else duration / 3))
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
            n_killed += process.exitcode != 0
        lasting(start(space, *places))
        assert numbers(places[0]) == right, seed
        assert left_over(*places) == [], seed
    assert n_killed >= len(seeds)
