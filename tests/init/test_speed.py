"""The measurement of how fast this machine trains: as many trainings at a time as a search has."""

import pytest
import torch
from test_checkpoint import BERT, LLAMA

import lagsearch
from lagsearch.errors import ResourceError
from lagsearch.init import InitRequest, draft, init_space, speed
from lagsearch.init.sizes import MOST_STEPS, Length
from lagsearch.init.speed import Load, seconds_per_step
from lagsearch.models.configs import build_config, plain_config
from lagsearch.running.workers.slots import Slots
from lagsearch.training.job import Compute

CONFIG = plain_config(build_config(LLAMA))
LOAD = Load(CONFIG, "causal", rows=2, length=16, device="cpu", seconds=0.0)


def test_one_is_measured_in_this_process(monkeypatch):
    monkeypatch.setattr(speed.subprocess, "Popen", None)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert seconds_per_step(LOAD, 1) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    masked = Load(plain_config(build_config(BERT)), "masked", 2, 16, "cpu", seconds=0.0)
    assert seconds_per_step(masked, 1) > 0


@pytest.mark.slow
def test_several_train_in_processes_of_their_own_and_begin_together(monkeypatch):
    told = []
    tell, hear = speed._tell, speed._heard

    def asked(worker, line):
        told.append(line)
        tell(worker, line)

    def heard(worker):
        line = hear(worker)
        told.append(line.strip() if line.startswith("ready") else "measured")
        return line

    monkeypatch.setattr(speed, "_tell", asked)
    monkeypatch.setattr(speed, "_heard", heard)
    assert seconds_per_step(LOAD, 2) > 0
    assert told[2:] == ["ready", "ready", "go", "go", "measured", "measured"]


def test_a_process_that_ends_early_is_an_error(monkeypatch):
    monkeypatch.setattr(speed, "_WORK", "pass")
    with pytest.raises(ResourceError, match=r"a process that measures .* has ended early"):
        seconds_per_step(LOAD, 2)


@pytest.fixture
def checkpoint(checkpoint, tmp_path):
    return str(checkpoint({**LLAMA, "num_hidden_layers": 3, "hidden_size": 32}, name="mine"))


@pytest.mark.parametrize("slots", [1, 2, 400])
def test_as_many_are_measured_as_a_search_trains(monkeypatch, checkpoint, corpus, tmp_path, slots):
    """Each of the slots has a growth or the source, which is trained on beside them."""
    asked = []
    monkeypatch.setattr(
        draft, "assign_slots", lambda *_: (Compute(threads=3, device="cpu"), Slots(3, 0.0, slots))
    )
    monkeypatch.setattr(
        draft, "seconds_per_step", lambda load, n: asked.append((load.threads, n)) or 0.01
    )
    init_space(InitRequest(checkpoint, (str(corpus),)), tmp_path / "space.yaml")
    trained = len(lagsearch.plan(tmp_path / "space.yaml").candidates) + 1
    assert asked == [(3, min(slots, trained))]


def test_a_speed_that_cannot_be_measured_is_a_guess_and_said(
    monkeypatch, checkpoint, corpus, tmp_path
):
    def fails(load, at_once):
        raise ResourceError("ended", ("resources",))

    monkeypatch.setattr(draft, "seconds_per_step", fails)
    written = init_space(InitRequest(checkpoint, (str(corpus),)), tmp_path / "space.yaml")
    assert any("could not be measured here: the time is a guess" in line for line in written.lines)


def test_too_few_steps_come_with_those_that_are_enough_whatever_the_machine_does(
    monkeypatch, checkpoint, corpus, tmp_path
):
    advices = {}
    for seconds in (5.0, 8.0):
        monkeypatch.setattr(draft, "seconds_per_step", lambda load, at_once, s=seconds: s)
        path = tmp_path / f"space-{seconds:g}.yaml"
        written = init_space(InitRequest(checkpoint, (str(corpus),)), path)
        [line] = [each for each in written.lines if each.startswith("K = 15 of 60 steps")]
        advices[seconds], _, took = line.partition(", about ")
        assert took.endswith(" on this machine as it is now.")
    assert len({*advices.values()}) == 1, "only the estimate of the time moves with the machine"
    options = advices[5.0].partition("run it with --set ")[2]
    assert options == "training.steps=200 --lag 50"
    assert written.options == f" --set {options}", "what comes next is what is advised"
    planned = lagsearch.plan(path, lag=50, overrides=[options.split()[0]])
    assert (planned.stages[0].lag, planned.stages[0].space.training.steps) == (50, 200)


@pytest.mark.parametrize("is_most", [True, False])
def test_more_text_is_asked_for_only_where_it_would_help(is_most):
    steps = MOST_STEPS if is_most else 800
    length = Length(steps, steps // 4, 60.0, "why", is_hurried=False)
    [line] = draft._warnings(length, 5.0, is_measured=True)
    assert ("More text" in line) == (not is_most)
    assert line.startswith(f"This takes less than half of --hours 5: {steps:,} steps, why.")
