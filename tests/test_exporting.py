"""Candidates that are exported untrained, and the report of what another trainer made of them."""

import json
import math
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from checkpoints import LLAMA, save
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lagsearch.data.tokens.tokenizers import byte_tokenizer

TWO = ("init: [duplicate, random]", "init: duplicate")


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text())


@pytest.fixture
def own(write_space, tmp_path):
    """A space whose source is a checkpoint."""
    folder = save(tmp_path / "checkpoint")
    path = write_space(TWO)
    text = path.read_text()
    begin, end = text.index("sources:"), text.index("target:")
    path.write_text(
        text[:begin] + f"sources: [{{name: mine, checkpoint: {folder}}}]\n" + text[end:]
    )
    return path, folder


def test_a_checkpoint_is_grown_layer_by_layer(own, call, tmp_path):
    space, source = own
    out = tmp_path / "grown"
    code, said, error = call("export", space, "--out", out)
    assert code == 0, error
    assert "Checkpoints: 3 in" in said
    before = load_file(source / "model.safetensors")
    for name, layers in {
        "lag-i0-b1-duplicate": [0, 0, 1, 2],
        "lag-i2-b1-duplicate": [0, 1, 2, 2],
        "continue": [0, 1, 2],
    }.items():
        grown = load_file(out / name / "model.safetensors")
        for place, layer in enumerate(layers):
            own_name = f"model.layers.{place}.mlp.up_proj.weight"
            assert torch.equal(grown[own_name], before[f"model.layers.{layer}.mlp.up_proj.weight"])
        model = AutoModelForCausalLM.from_pretrained(out / name)
        assert model.config.num_hidden_layers == len(layers)
        assert AutoTokenizer.from_pretrained(out / name)("a").input_ids
    assert sorted(path.name for path in out.iterdir()) == [
        "continue", "lag-i0-b1-duplicate", "lag-i2-b1-duplicate", "manifest.json",
    ]  # fmt: skip


def test_the_manifest_knows_what_a_plan_knows(own, call, tmp_path):
    space, _ = own
    assert call("export", space, "--out", tmp_path / "grown")[0] == 0
    found = manifest_of(tmp_path / "grown")
    planned = json.loads(call("plan", space, "--json")[1])
    by_name = {each["name"]: each for each in found["plans"]["candidates"]}
    for each in planned["candidates"]:
        assert by_name[each["name"]]["layer_map"] == each["layer_map"]
        assert by_name[each["name"]]["flops_per_step"] == each["flops_per_step"]
    for name, entry in found["checkpoints"].items():
        for file, digest in entry["files"].items():
            content = (tmp_path / "grown" / entry["folder"] / file).read_bytes()
            assert sha256(content).hexdigest() == digest, (name, file)
    assert found["sources"][0]["kind"] == "checkpoint"


def test_sources_are_trained_first_and_moments_go_along(write_space, call, tmp_path):
    """What is exported is what `lagsearch run` begins with."""
    space, out = write_space(TWO), tmp_path / "grown"
    code, _, error = call("export", space, "--out", out)
    assert code == 0, error
    moments = load_file(out / "lag-i0-b1-duplicate" / "training" / "optimizer.safetensors")
    assert moments["step.model.norm.weight"].item() == 20
    second = moments["exp_avg_sq.model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(second, moments["exp_avg_sq.model.layers.1.mlp.up_proj.weight"])
    assert manifest_of(out)["sources"][0]["steps"] == 20
    assert not (out / ".work").exists()
    call("run", space, "--serial", "--out", tmp_path / "run")
    import lagsearch

    found = lagsearch.run(space, out=tmp_path / "run", serial=True)
    losses = {each.name: each.val_loss[0] for each in found.candidates}
    for name, loss in losses.items():
        assert loss == pytest.approx(validation_loss(out / name, space), abs=2e-5)


def validation_loss(folder, space):
    """Measure a checkpoint on the validation batches with transformers' own loss."""
    from lagsearch.data.objectives.registry import make_objective
    from lagsearch.data.tokens.batches import validation_rows
    from lagsearch.data.tokens.store import open_stores
    from lagsearch.data.tokens.tokenizers import byte_tokenizer
    from lagsearch.space import load_space

    read = load_space(space).space
    silent = (lambda line: None, lambda line: None)
    stores = open_stores(read.data, byte_tokenizer(), *silent, sources=read.sources)
    texts = [(each.store.tokens("validation"), each.weight) for each in stores.validation]
    objective = make_objective(read.objective, byte_tokenizer(), 257, 16)
    rows = list(validation_rows(texts, 16, 4, 4))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    losses = []
    with torch.no_grad():
        for each in rows:
            inputs, labels = objective.example(each, 0, exact=True)
            logits = model(torch.from_numpy(inputs)).logits
            losses.append(
                torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), torch.from_numpy(labels).flatten(), ignore_index=-100
                ).item()
            )
    return math.fsum(losses) / len(losses)


@pytest.fixture
def mixed(write_space, tmp_path):
    """A space of bf16 weights: grown from file to file, and in memory, by an operator to learn."""
    folder = save(tmp_path / "mixed", {**LLAMA, "vocab_size": 300}, dtype=torch.bfloat16)
    path = write_space(TWO, ("{name: causal}", "{name: ul2}"))
    text = path.read_text()
    begin, end = text.index("sources:"), text.index("target:")
    text = text[:begin] + f"sources: [{{name: mine, checkpoint: {folder}}}]\n" + text[end:]
    path.write_text(text.replace("training:\n", "  - {operator: ligo, steps: 2}\ntraining:\n"))
    return path


def test_all_candidates_have_one_type_and_the_spaces_tokenizer(mixed, call, tmp_path):
    out = tmp_path / "grown"
    code, _, error = call("export", mixed, "--out", out)
    assert code == 0, error
    names = list(manifest_of(out)["checkpoints"])
    assert any("ligo" in name for name in names)
    tokens = [AutoTokenizer.from_pretrained(out / name).get_vocab() for name in names]
    assert all(each == tokens[0] for each in tokens)
    assert len(tokens[0]) > len(byte_tokenizer().get_vocab()), "those that UL2 adds"
    for name in names:
        weights = load_file(out / name / "model.safetensors")
        assert {each.dtype for each in weights.values()} == {torch.bfloat16}, name


def test_what_is_learned_is_of_its_data_and_training(mixed, call, tmp_path):
    out = tmp_path / "grown"
    assert call("export", mixed, "--out", out)[0] == 0
    code, _, error = call("export", mixed, "--out", out, "--set", "training.batch_size=8")
    assert code == 2
    assert "ligo-steps2: is there, but is not this growth" in error


def test_a_machine_that_could_not_train_exports(write_space, call, tmp_path, monkeypatch):
    """No memory for the training, no GPU that is asked for, no compiler, no trainer."""
    from lagsearch.running import run

    monkeypatch.setattr(run, "memory_of", lambda device: 1)
    trainer = "search: {lag: 10}\ntrainer: {command: 'no-such-program {checkpoint} {out}'}\n"
    space = write_space(TWO, ("search: {lag: 10}\n", trainer))
    lacking = "resources.gpus_per_candidate=8" if not torch.cuda.is_available() else "seed=3"
    code, _, error = call("export", space, "--out", tmp_path / "grown", "--set", lacking)
    assert code == 0, error


def test_a_space_with_a_trainer_needs_no_memory_for_lagsearchs(write_space, monkeypatch):
    from lagsearch.errors import SpaceError
    from lagsearch.running import run
    from lagsearch.space import load_space

    monkeypatch.setattr(run, "memory_of", lambda device: 1)
    own = load_space(write_space(TWO)).stage
    with pytest.raises(SpaceError, match="one candidate needs about"):
        run._resources(own, [2**30])
    trainer = "search: {lag: 10}\ntrainer: {command: 'x {checkpoint} {out}'}\n"
    elsewhere = load_space(write_space(TWO, ("search: {lag: 10}\n", trainer))).stage
    assert run._resources(elsewhere, [2**30])


def test_a_second_call_grows_nothing(own, call, tmp_path, monkeypatch):
    space, _ = own
    assert call("export", space, "--out", tmp_path / "grown")[0] == 0
    before = (tmp_path / "grown" / "manifest.json").read_bytes()
    monkeypatch.setattr("lagsearch.running.exporting.grow_on_disk", None)
    assert call("export", space, "--out", tmp_path / "grown")[0] == 0
    assert (tmp_path / "grown" / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_a_killed_export_is_gone_on_with(own, call, tmp_path):
    """A folder is there whole or not at all, and the manifest last."""
    space, _ = own
    out = tmp_path / "grown"
    program = (
        "import os, signal, lagsearch.running.exporting as e, lagsearch.cli as c, sys\n"
        "grow, calls = e.grow_on_disk, []\n"
        "def killing(*given):\n"
        "    grow(*given)\n"
        "    calls.append(1)\n"
        f"    len(calls) == 2 and os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "e.grow_on_disk = killing\n"
        f"sys.argv = ['lagsearch', 'export', {str(space)!r}, '--out', {str(out)!r}]\n"
        "c.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "manifest.json").exists()
    assert len([each for each in out.iterdir() if not each.name.startswith(".")]) == 1
    assert call("export", space, "--out", out)[0] == 0
    assert len(manifest_of(out)["checkpoints"]) == 3
    assert not [each for each in out.iterdir() if each.name.startswith(".")]


def test_what_is_of_another_growth_stays(own, call, tmp_path):
    space, _ = own
    (tmp_path / "grown" / "lag-i0-b1-duplicate").mkdir(parents=True)
    code, out, error = call("export", space, "--out", tmp_path / "grown")
    assert (code, out) == (2, "")
    assert "lag-i0-b1-duplicate: is there, but is not this growth" in error
    assert [each.name for each in (tmp_path / "grown").iterdir()] == ["lag-i0-b1-duplicate"]


# ---- the report ----


def write_curves(path, losses, steps=(0, 5, 10, 24)):
    rows = ["candidate,step,batch,val_loss"]
    for name, loss in losses.items():
        for step in steps:
            for batch in range(4):
                rows.append(f"{name},{step},{batch},{loss + 1 / (1 + step) + 0.01 * batch}")
    path.write_text("\n".join(rows) + "\n")


LOSSES = {"lag-i0-b1-duplicate": 2.0, "lag-i2-b1-duplicate": 2.1, "continue": 2.2}


def test_the_report_is_that_of_a_run(own, call, tmp_path):
    space, _ = own
    out = tmp_path / "grown"
    assert call("export", space, "--out", out)[0] == 0
    curves = tmp_path / "curves.csv"
    write_curves(curves, LOSSES)
    code, said, error = call("report", curves, "--manifest", out / "manifest.json", "--lag", "10")
    assert code == 0, error
    report = json.loads((tmp_path / "curves" / "report.json").read_text())
    plans = {each["name"]: each for each in manifest_of(out)["plans"]["candidates"]}
    assert [each["name"] for each in report["candidates"]] == list(plans)
    for each in report["candidates"]:
        plan = plans[each["name"]]
        assert each["layer_map"] == plan["layer_map"]
        assert each["parameters"] == plan["parameters"]
        assert each["flops"] == 10 * plan["flops_per_step"]
    assert report["cost"]["search_flops"] == 2 * 10 * plans["lag-i0-b1-duplicate"]["flops_per_step"]
    [compared] = [each for each in report["growing"]["baselines"]]
    assert (compared["name"], compared["status"]) == ("continue", "ok")
    page = (tmp_path / "curves" / "report.md").read_text()
    assert "0 0* 1 2" in page
    assert "Winner at step 10: lag-i0-b1-duplicate" in said
    assert (tmp_path / "curves" / "report.html").is_file()


def test_a_name_that_was_not_exported_is_an_error(own, call, tmp_path):
    space, _ = own
    assert call("export", space, "--out", tmp_path / "grown")[0] == 0
    curves = tmp_path / "curves.csv"
    write_curves(curves, {"lag-i0-b1-duplicat": 2.0})
    code, _, error = call("report", curves, "--manifest", tmp_path / "grown" / "manifest.json")
    assert code == 2
    assert "candidate 'lag-i0-b1-duplicat' is none of" in error
    assert "did you mean 'lag-i0-b1-duplicate'?" in error


def test_a_manifest_of_another_format_is_refused(own, call, tmp_path):
    space, _ = own
    assert call("export", space, "--out", tmp_path / "grown")[0] == 0
    manifest = tmp_path / "grown" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 2}))
    write_curves(tmp_path / "curves.csv", LOSSES)
    code, _, error = call("report", tmp_path / "curves.csv", "--manifest", manifest)
    assert code == 2
    assert "manifest.json: has format 2, and this lagsearch reads 1; export anew" in error


def test_a_manifest_is_for_curves(write_space, call, tmp_path):
    (tmp_path / "run").mkdir()
    code, _, error = call("report", tmp_path / "run", "--manifest", tmp_path / "manifest.json")
    assert code == 2
    assert "--manifest is for curves from elsewhere" in error


def test_sampled_candidates_cannot_be_exported(write_space, call, tmp_path):
    space = write_space(("search: {lag: 10}", "search: {lag: 10, strategy: optuna, candidates: 2}"))
    code, _, error = call("export", space, "--out", tmp_path / "grown")
    assert code == 2
    assert "search.strategy" in error
    assert not (tmp_path / "grown").exists()
