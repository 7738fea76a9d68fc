"""The acceptance script of a GPU, dry on a CPU: every stage runs, and finds nothing wrong."""

import json

import acceptance
import pytest


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Return the exit code and the stages of a dry run."""
    monkeypatch.setenv("LAGSEARCH_CACHE", str(tmp_path))  # it sets caches of its own
    code = acceptance.main(["--device", "cpu", "--small", "--out", str(tmp_path / "out")])
    return code, json.loads((tmp_path / "out" / "acceptance.json").read_text())["stages"]


@pytest.mark.slow
def test_every_stage_passes_on_a_cpu(found, capsys):
    code, stages = found
    assert {name: got for name, got in stages.items() if {"FAILED", "skipped"} & set(got)} == {}
    assert code == 0
    assert list(stages) == [name for name, _, _ in acceptance.STAGES]
    assert stages["host synchronizations of a step"]["transformers' masks"] > 0
    assert stages["killed and begun again"]["equal bits"]
    assert len(stages["step of 10M"]) >= len(acceptance.VARIANTS) - 1


def test_what_fails_is_said_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    def broken(bench):
        raise AssertionError("two runs differ")

    stages = (("broken", 0, broken), ("next", 0, lambda bench: {"ran": True}))
    monkeypatch.setattr(acceptance, "STAGES", stages)
    assert acceptance.main(["--device", "cpu", "--small", "--out", str(tmp_path)]) == 1
    found = json.loads((tmp_path / "acceptance.json").read_text())["stages"]
    assert found["broken"]["FAILED"] == "AssertionError: two runs differ"
    assert found["next"]["ran"]
    assert capsys.readouterr().out.endswith("failed: broken\n")


def test_without_time_a_stage_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(acceptance, "STAGES", (("long", 60, lambda bench: 1 / 0),))
    monkeypatch.setattr(acceptance, "SIZES", acceptance.SMALL)
    words = ["--device", "cpu", "--budget", "5", "--out", str(tmp_path)]
    assert acceptance.main(words) == 0
    found = json.loads((tmp_path / "acceptance.json").read_text())["stages"]
    assert found["long"]["skipped"] == "5 s left, needs 60"
