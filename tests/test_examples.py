"""The worked examples of other trainers: their own space files, on smaller models."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy.stats import spearmanr

from lagsearch.data.tokens.batches import training_rows
from lagsearch.data.tokens.store import open_stores
from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.records.curve import read_curve
from lagsearch.space import load_space

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


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "ran",
    ["hugging_face", "nanogpt", "torchtitan"],
    indirect=True,
)
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


SAME = """\
trainer:
  command: >-
    {{python}} {script} --init {{checkpoint}} --out {{out}} --text space.yaml
    --stop-at {{steps}} --max-steps {{total_steps}} --batch-size 4 --lr 1e-3
  losses: {{format: jsonl}}
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_trainer_on_the_same_batches_comes_to_the_same_losses(
    call, write_space, tmp_path, monkeypatch
):
    """Growth, moments, rate, decay and clipping: the Trainer's own loop checks lagsearch's."""
    monkeypatch.chdir(tmp_path)
    changes = [
        ("lr: 3e-3", "lr: 1e-3"),
        ("{name: cosine, warmup_steps: 2}", "{name: cosine, final_fraction: 0.0}"),
        ("init: [duplicate, random]", "init: duplicate"),
    ]
    own = write_space(*changes, ("search: {lag: 10}", "search: {lag: 10, baselines: []}"))
    assert call("run", own, "--serial", "--out", "own")[0] == 0
    np.save("rows.npy", training_batches(own))
    script = Path(__file__).with_name("same_batches.py")
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(own.read_text() + SAME.format(script=script))
    code, _, error = call("run", elsewhere, "--serial", "--out", "elsewhere")
    assert code == 0, error
    for name in ("lag-i0-b1-duplicate", "lag-i2-b1-duplicate"):
        one, other = (
            read_curve(tmp_path / run / "curves" / f"{name}.jsonl") for run in ("own", "elsewhere")
        )
        for step in (0, 10):
            losses = other.at(step).val_loss_batches
            np.testing.assert_allclose(losses, one.at(step).val_loss_batches, atol=2e-5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_trainer_ranks_as_lagsearchs_own_loop_does(tmp_path, monkeypatch):
    """Eight growths that lie farther apart than seeds move them, in an order of batches each."""
    monkeypatch.syspath_prepend(Path(__file__).with_name("benchmarks"))
    from trainer_ranking import at_lag, both, measure

    losses = measure(tmp_path)
    assert len(losses) == 8
    trainer, own, other = (at_lag(losses, way) for way in ("trainer", "own", "other seed"))
    assert spearmanr(trainer, own).statistic >= 0.9
    assert spearmanr(other, own).statistic >= 0.9, "seeds move them farther than they lie apart"
    for each in losses.values():
        np.testing.assert_allclose(*both(each), atol=1e-6)
    assert not np.array_equal(trainer, own), "the Trainer has an order of batches of its own"


def training_batches(path):
    """Return the sequences that a space's candidates are trained on, in order."""
    space = load_space(path).space
    silent = (lambda line: None, lambda line: None)
    stores = open_stores(space.data, byte_tokenizer(), *silent, sources=space.sources)
    texts = [(each.store.tokens("train"), each.weight) for each in stores.train]
    size = (space.data.sequence_length, space.training.batch_size)
    rows = training_rows(texts, *size, space.seed, "growth")
    return np.concatenate([rows(step) for step in range(space.training.steps)]).astype(np.int64)
