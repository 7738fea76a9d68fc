"""When a state is saved on the way, and what a thread writes while the training goes on."""

import threading
from itertools import pairwise

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file

from lagsearch.space.schema import Duration
from lagsearch.training import saving
from lagsearch.training.saving import Interval, Saver


class Clock:
    """A clock that stands still but for what a step and a save take."""

    def __init__(self, save_s):
        self.now, self.save_s = 0.0, save_s

    def perf_counter(self):
        return self.now


def saved_at(monkeypatch, interval, *, steps, step_s, save_s):
    """Return the seconds of training and saving at which a save begins."""
    clock = Clock(save_s)
    found = []

    def write(path, tensors, metadata):
        found.append(clock.now)
        clock.now += clock.save_s

    monkeypatch.setattr(saving, "time", clock)
    monkeypatch.setattr(saving, "write_tensors", write)
    saver = Saver("nowhere", interval, in_background=False)
    for _ in range(steps):
        if saver.is_due:
            saver.save({}, {})
        clock.now += step_s
    return found


def test_the_time_between_saves_counts_from_the_end_of_one(monkeypatch):
    """A save of 0.31 s at an interval of 0.3 s was followed by one after every single step."""
    asked = Interval(every_s=0.3, after_s=0.0, times_last=1.0)
    found = saved_at(monkeypatch, asked, steps=100, step_s=0.01, save_s=0.31)
    gaps = [after - before for before, after in pairwise(found)]
    assert len(found) == 3
    assert all(0.31 + 0.31 < gap < 0.31 + 0.31 + 0.03 for gap in gaps)


def test_saving_takes_a_twentieth_of_the_time_at_most(monkeypatch):
    asked = Interval(every_s=1.0, after_s=0.0)
    found = saved_at(monkeypatch, asked, steps=10_000, step_s=1.0, save_s=30.0)
    assert found[1] - found[0] == pytest.approx(30 + 20 * 30 + 1)
    assert len(found) * 30 / (10_000 + len(found) * 30) < 1 / 20


def test_nothing_is_saved_in_the_first_two_minutes(monkeypatch):
    asked = Interval(every_s=10.0)
    found = saved_at(monkeypatch, asked, steps=200, step_s=1.0, save_s=0.01)
    assert 120 <= found[0] < 122
    assert found[1] - found[0] == pytest.approx(10, abs=1.1)
    assert saved_at(monkeypatch, Interval(), steps=119, step_s=1.0, save_s=0.01) == []


@pytest.mark.parametrize(
    ("save_s", "gap_s"), [(0.001, 60), (0.2, 60), (1.0, 200), (2.5, 500), (10, 600), (100, 2000)]
)
def test_what_is_quick_is_saved_often(monkeypatch, save_s, gap_s):
    found = saved_at(monkeypatch, Interval(), steps=8000, step_s=1.0, save_s=save_s)
    assert found[0] == pytest.approx(120, abs=1.1)
    assert found[2] - found[1] == pytest.approx(gap_s + save_s, abs=1.1)


def test_a_thread_writes_what_was_there_and_training_goes_on(tmp_path, monkeypatch):
    may_write, real = threading.Event(), saving.write_tensors

    def slow(*given):
        assert may_write.wait(20)
        real(*given)

    monkeypatch.setattr(saving, "write_tensors", slow)
    weight, path = torch.arange(6.0).view(2, 3), tmp_path / "state.safetensors"
    with Saver(path, Interval(0.0, 0.0, 0.0), in_background=True) as saver:
        saver.save({"weight": weight}, {"step": "1"})
        weight += 1  # the training goes on
        assert not saver.is_due  # one write at a time
        assert not path.exists()
        may_write.set()
        saver.wait()
        assert torch.equal(load_file(path)["weight"], torch.arange(6.0).view(2, 3))
        assert saver.is_due
        saver.save({"weight": weight}, {"step": "2"})
    assert torch.equal(load_file(path)["weight"], torch.arange(6.0).view(2, 3) + 1)


def test_a_write_that_fails_in_the_thread_ends_the_training(tmp_path, monkeypatch):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(saving, "write_tensors", full)
    saver = Saver(tmp_path / "state", Interval(), in_background=True)
    saver.save({"weight": torch.zeros(2)}, {})
    with pytest.raises(OSError, match="No space left"):
        saver.wait()
    with (
        pytest.raises(OSError, match="No space left"),
        Saver(tmp_path / "state", Interval(), in_background=True) as other,
    ):
        other.save({"weight": torch.zeros(2)}, {})


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("10m", 600), ("1.5 h", 5400), (30, 30), (0.5, 0.5)]
)
def test_durations(written, seconds):
    assert TypeAdapter(Duration).validate_python(written) == seconds


@pytest.mark.parametrize("written", ["10 minutes", "m", "", "-5s", 0, float("inf")])
def test_what_is_no_duration(written):
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python(written)
