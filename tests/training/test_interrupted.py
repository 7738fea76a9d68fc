"""From where trainings go on that an interrupt came between, in hand-written sentences."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from interrupting import Interrupt

import lagsearch
from lagsearch.errors import InterruptedRunError
from lagsearch.records.curve import Evaluation, Failure, append
from lagsearch.running.interrupts import continued_by_the_same_command
from lagsearch.training.interrupted import told_where, where_they_go_on


@dataclass(frozen=True)
class Stub:
    """A job whose saved state is of a step; None where nothing of it began."""

    name: str
    curve: Path
    saved: int

    def goes_on_from(self, until):
        return self.saved


@pytest.fixture
def job(tmp_path):
    def make(name, evaluated, saved=0, failed=None):
        path = tmp_path / f"{name}.jsonl"
        for step in evaluated:
            append(path, Evaluation(step, 2.0, (2.0, 2.0), 1.0, 10))
        if failed:
            append(path, Failure(failed, "the loss is nan"))
        return Stub(name, path, saved)

    return make


@pytest.mark.parametrize(
    ("over", "begun", "said"),
    [
        (0, {}, "0 of 7 trainings are at step 300"),
        (1, {}, "1 of 7 trainings is at step 300"),
        (
            3,
            {"stack": 240},
            "3 of 7 trainings are at step 300, stack goes on from step 240",
        ),
        (
            3,
            {"stack": 240, "zero": 0},
            "3 of 7 trainings are at step 300, "
            "will resume: stack from step 240 and zero from step 0",
        ),
        (
            0,
            {"a": 10, "b": 20, "c": 3000, "d": 40, "e": 50},
            "0 of 7 trainings are at step 300, will resume: a from step 10, b from step 20, c from "
            "step 3,000 and 2 more",
        ),
        (7, {}, "7 of 7 trainings are at step 300"),
    ],
)
def test_where_trainings_go_on(job, over, begun, said):
    jobs = [job(f"over{each}", (0, 150, 300)) for each in range(over)]
    jobs += [job(name, (0, 150), step) for name, step in begun.items()]
    jobs += [job(f"left{each}", ()) for each in range(7 - len(jobs))]
    assert where_they_go_on(jobs, 300) == said


def test_one_that_failed_does_not_go_on(job):
    jobs = [job("bad", (0,), failed=5), job("good", (0,), 2)]
    said = "0 of 2 trainings are at step 300, good goes on from step 2"
    assert where_they_go_on(jobs, 300) == said


@pytest.mark.parametrize("evaluated", [(), (0, 10)])
def test_one_alone_is_named(job, evaluated):
    assert where_they_go_on([job("stack", evaluated, 5)], 300) == "stack goes on from step 5"


def test_the_last_word_of_a_command(job):
    with (
        pytest.raises(InterruptedRunError) as told,
        continued_by_the_same_command(),
        told_where([job("stack", (0,), 5)], 300),
    ):
        raise KeyboardInterrupt
    said = "interrupted; stack goes on from step 5; the same command continues"
    assert (str(told.value), told.value.exit_code) == (said, 130)
    with pytest.raises(InterruptedRunError) as told, continued_by_the_same_command():
        raise KeyboardInterrupt
    assert str(told.value) == "interrupted; the same command continues where this stopped"


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("source", "small goes on from step 0"),
        ("search", r"\d of 5 trainings are at step 10, \S+ goes on from step 0"),
        ("winner", r"lag-\S+ goes on from step 10"),
        ("baseline", "continue goes on from step 10"),
    ],
)
def test_each_phase_tells_from_where_it_goes_on(write_space, tmp_path, phase, said):
    with pytest.raises(KeyboardInterrupt) as told:
        lagsearch.run(write_space(), out=tmp_path / "run", serial=True, watch=Interrupt(phase))
    [note] = told.value.__notes__
    assert re.fullmatch(said, note)
