"""Downstream tasks in a run: which weights are evaluated, what is kept, what is tried again.

Most tests have a measure of their own, so they need no lm-evaluation-harness.
"""

import json
import sys

import pytest
import torch
from finished import finished
from transformers import AutoModelForCausalLM

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import HarnessError, RunFolderError, SpaceError
from lagsearch.records.folder import RunFolder
from lagsearch.report.write import write_report
from lagsearch.running.evaluation import downstream

pytestmark = pytest.mark.usefixtures("trained")

NAMES = [f"lag-i{index}-b1-{init}" for index in (0, 2) for init in ("duplicate", "random")]


def harness(text):
    return ("evaluation: {batches: 4}", f"evaluation: {{batches: 4, harness: {text}}}")


def run(path, folder, **options):
    return lagsearch.run(path, out=folder, serial=True, watch=Watch(), **options)


def of_weights(model):
    """A number that tells models apart."""
    return sum(float(each.detach().double().abs().sum()) for each in model.parameters())


class Measure:
    """Measures the weights; fails where it is told to, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.failing = {}

    def __call__(self, model, tokenizer, tasks, asked, compute):
        self.asked.append(asked.name)
        if asked.name in self.failing:
            raise self.failing[asked.name]
        row = {
            "task": asked.name,
            "metric": "size",
            "filter": "none",
            "value": of_weights(model),
            "standard_error": 0.25,
            "higher_is_better": False,
            "samples": 1234,
            "num_fewshot": asked.num_fewshot or 0,
            "task_version": "1.0",
            "task_hash": "abc",
        }
        about = {"lm_eval": "0", "max_length": 32, "batch_size": 1, "is_truncated": False}
        return {**about, "results": [row]}


@pytest.fixture
def measure(monkeypatch):
    found = Measure()
    monkeypatch.setattr(downstream, "evaluate_tasks", found)
    monkeypatch.setattr(downstream, "open_tasks", lambda harness, tell: None)
    return found


def values(report):
    return {(row["candidate"], row["task"]): row["value"] for row in report["harness"]["results"]}


def test_the_winner_alone_is_evaluated_and_only_once(write_space, tmp_path, measure):
    path = write_space(harness("{tasks: [one, two]}"))
    result = run(path, tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(result.checkpoint, dtype=torch.float32)
    expected = {(result.winner, task): of_weights(model) for task in ("one", "two")}
    assert values(result.report) == expected
    assert not (result.folder / "states").exists()
    again = run(path, tmp_path / "run")
    assert measure.asked == ["one", "two"]
    assert again.report["harness"] == result.report["harness"]
    page = (result.folder / "report.md").read_text()
    shown = f"{expected[result.winner, 'one']:.4f} ± 0.2500"
    assert f"| `one` | size ↓ | `{result.winner}` | {shown} | 1,234 | 0 |" in page
    [first, _] = json.loads((result.folder / "harness.json").read_text())["evaluations"]
    assert (first["candidate"], first["asked"], first["limit"]) == (result.winner, "one", None)


def test_without_downstream_tasks_there_is_no_record(write_space, tmp_path, measure):
    result = finished(write_space(), tmp_path / "run")
    assert result.report["harness"] is None
    assert not (result.folder / "harness.json").exists()
    assert "Downstream" not in (result.folder / "report.md").read_text()


def test_chosen_candidates_are_evaluated_at_completion(write_space, tmp_path, measure):
    path = write_space(harness('{tasks: [one], candidates: ["*-random", lag-i2-b1-duplicate]}'))
    result = run(path, tmp_path / "run", oracle=True)
    chosen = {*NAMES[1:], result.winner}
    found = values(result.report)
    assert {name for name, _ in found} == chosen
    ranked = [each.name for each in result.candidates if each.name in chosen]
    assert [row["candidate"] for row in result.report["harness"]["results"]] == ranked
    assert not (result.folder / "states").exists()
    for name in chosen - {result.winner}:
        index, init = name.split("-")[1][1:], name.split("-")[3]
        alone = write_space(
            ("index: [0, 2]", f"index: [{index}]"),
            ("[duplicate, random]", f"[{init}]"),
            name="alone.yaml",
        )
        model = AutoModelForCausalLM.from_pretrained(run(alone, tmp_path / name).checkpoint)
        assert found[name, "one"] == of_weights(model)


@pytest.mark.slow
def test_what_failed_alone_is_tried_again_and_training_is_kept(write_space, tmp_path, measure):
    path = write_space(harness('{tasks: [one, two, three], candidates: ["*"]}'))
    measure.failing = {
        "two": HarnessError("task two cannot be loaded"),
        "three": ValueError("of\nsome kind"),
    }
    message = (
        r"run: downstream evaluations: 8 of 12 failed, the first on lag-.*: task two cannot be "
        r"loaded; .* the same command tries these again"
    )
    with pytest.raises(HarnessError, match=message):
        run(path, tmp_path / "run", oracle=True)
    assert measure.asked.count("two") == 1  # it would be the same for the others
    assert measure.asked.count("three") == 4
    folder = RunFolder(tmp_path / "run")
    report = json.loads(folder.report_file.read_text())
    assert report["winner"]["val_loss"]["24"] > 0
    assert {task for _, task in values(report)} == {"one"}
    reasons = [each["reason"] for each in report["harness"]["failures"]]
    assert reasons[1].startswith("task three: ValueError: of some kind")
    page = (folder.path / "report.md").read_text()
    assert page.count("- task two cannot be loaded") == 1
    kept = {path.stem for path in folder.states.iterdir()}
    assert kept == {*NAMES, "continue"} - {report["winner"]["name"]}

    measure.failing, measure.asked = {}, []
    curves = {name: folder.curve_file(name).read_text() for name in NAMES}
    result = run(path, tmp_path / "run", oracle=True)
    assert sorted(measure.asked) == ["three"] * 4 + ["two"] * 4
    assert len(values(result.report)) == 12
    assert result.report["harness"]["failures"] == []
    assert {name: folder.curve_file(name).read_text() for name in NAMES} == curves
    assert not folder.states.exists()
    other = run(path, tmp_path / "other", oracle=True)
    assert other.report["harness"] == result.report["harness"]


def test_a_report_is_there_when_the_evaluation_is_interrupted(write_space, tmp_path, measure):
    path = write_space(harness("{tasks: [one, two]}"))
    measure.failing = {"two": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["winner"]["name"] in NAMES
    measure.failing, measure.asked = {}, []
    assert len(values(run(path, tmp_path / "run").report)) == 2
    assert measure.asked == ["two"]


def test_tasks_may_be_added_to_a_finished_run(write_space, tmp_path, measure):
    first = finished(write_space(), tmp_path / "run")
    path = write_space(harness("{tasks: [one]}"))
    second = run(path, tmp_path / "run")
    assert set(values(second.report)) == {(first.winner, "one")}
    path = write_space(harness("{tasks: [one, two], limit: 3}"))
    third = run(path, tmp_path / "run")
    assert measure.asked == ["one", "one", "two"]
    rows = third.report["harness"]["results"]
    assert [(row["task"], row["limit"]) for row in rows] == [("one", None), ("one", 3), ("two", 3)]


def test_own_files_that_change_are_evaluated_anew(write_space, tmp_path, measure):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "one.yaml").write_text("task: one\n")
    finished(write_space(), tmp_path / "run")
    path = write_space(harness(f"{{tasks: [one], include_path: {tasks}}}"))
    run(path, tmp_path / "run")
    run(path, tmp_path / "run")
    assert measure.asked == ["one"]
    (tasks / "one.yaml").write_text("task: one\nnum_fewshot: 2\n")
    result = run(path, tmp_path / "run")
    assert measure.asked == ["one", "one"]
    assert len(values(result.report)) == 1


def test_candidates_whose_weights_are_gone_are_refused(write_space, tmp_path, measure):
    first = finished(write_space(), tmp_path / "run", oracle=True)
    lost = next(name for name in NAMES if name != first.winner)
    path = write_space(harness(f"{{tasks: [one], candidates: [{first.winner}]}}"))
    assert set(values(run(path, tmp_path / "run").report)) == {(first.winner, "one")}
    path = write_space(harness(f"{{tasks: [one], candidates: [{lost}]}}"))
    with pytest.raises(RunFolderError, match=f"{lost} came to the final step before .* --out"):
        run(path, tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{tasks: [one], candidates: ["*"]}', r"candidates \[.*--oracle"),
        (
            "{tasks: [one], candidates: [lag-i0-b1-duplicat]}",
            r"candidates\[0\] .* of no candidate; did you mean 'lag-i0-b1-duplicate'",
        ),
        (
            '{tasks: [one], candidates: ["stack*"]}',
            r"candidates\[0\] .* of no candidate; `lagsearch plan`",
        ),
        ("{tasks: [one], include_path: nowhere}", r"include_path \"nowhere\": there is no such"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    write_space, tmp_path, measure, text, message
):
    with pytest.raises(SpaceError, match=r"space\.yaml:\d+: evaluation\.harness\." + message):
        run(write_space(harness(text)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_told_before_anything_trains(write_space, tmp_path, monkeypatch):
    monkeypatch.setattr("lagsearch.running.evaluation.tasks.find_spec", lambda name: None)
    with pytest.raises(SpaceError, match=r"evaluation\.harness.* pip install -e '\.\[eval\]'"):
        run(write_space(harness("{tasks: [one]}")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_candidate_that_failed_is_left_out(write_space, tmp_path, measure, monkeypatch):
    from lagsearch.training import loop

    grow = loop.grow_job

    def failing(job, model, optimizer, ranks):
        if job.name == NAMES[0]:
            raise loop.CandidateFailed(0, "the loss is nan")
        return grow(job, model, optimizer, ranks)

    monkeypatch.setattr(loop, "grow_job", failing)
    path = write_space(harness('{tasks: [one], candidates: ["*"]}'))
    result = run(path, tmp_path / "run", oracle=True)
    assert {name for name, _ in values(result.report)} == set(NAMES[1:])


def test_the_report_is_built_again_without_lm_eval(write_space, tmp_path, measure, monkeypatch):
    finished(write_space(), tmp_path / "run")
    result = run(write_space(harness("{tasks: [one]}")), tmp_path / "run")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    (result.folder / "report.json").unlink()
    assert write_report(result.folder)["harness"] == result.report["harness"]
