"""The worked examples of other trainers: their own space files, on smaller models."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lagsearch.records.curve import read_curve

ROOT = Path(__file__).parents[1]
SMALLER = (
    "training.steps=8",
    "search.lag=4",
    "search.baselines=[]",
    "candidates=[{operator: stack}, {operator: interleave}]",
    "evaluation.batches=4",
    "data.sequence_length=64",
    "sources.0.pretrain.steps=10",
    "sources.0.pretrain.config.hidden_size=16",
    "sources.0.pretrain.config.intermediate_size=32",
)


@pytest.fixture
def ran(call, tmp_path, corpus, monkeypatch, request):
    """Run the space of an example in a folder with its text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "path" / "to").mkdir(parents=True)
    text = corpus.read_text()
    (tmp_path / "path" / "to" / "text.txt").write_text(text[:40_000])
    (tmp_path / "path" / "to" / "validation.txt").write_text(text[40_000:])
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    sets = [word for each in SMALLER for word in ("--set", each)]
    space = f"examples/{request.param}/space.yaml"
    code, out, error = call("run", space, "--serial", "--out", "run", *sets)
    assert code == 0, error
    return tmp_path / "run", out


@pytest.mark.timeout(600)
@pytest.mark.parametrize("ran", ["hugging_face", "nanogpt", "torchtitan"], indirect=True)
def test_an_example_searches(ran):
    folder, out = ran
    report = json.loads((folder / "report.json").read_text())
    winner, loser = (each["name"] for each in report["candidates"])
    found = read_curve(folder / "curves" / f"{winner}.jsonl")
    assert [each.step for each in found.evaluations] == [0, 4, 8]
    assert found.at(8).val_loss < found.at(4).val_loss < found.at(0).val_loss
    assert read_curve(folder / "curves" / f"{loser}.jsonl").at(4)
    log = (folder / "curves" / f"{winner}.log").read_text()
    assert "--resume" in log, "the winner goes on from the trainer's own checkpoint"
    assert "model.layers.5.mlp.up_proj.weight" in load_file(folder / "winner/model.safetensors")
    assert "paired t-test" in out
