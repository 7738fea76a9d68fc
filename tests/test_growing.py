"""`lagsearch grow`: checkpoints in, checkpoints out."""

import json

import pytest
import torch
from checkpoints import LLAMA
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertForPreTraining,
)

from lagsearch.grow import shards
from lagsearch.models.configs import build_config

GPT2 = {
    "model_type": "gpt2",
    "n_layer": 3,
    "n_embd": 16,
    "n_head": 2,
    "n_positions": 24,
    "vocab_size": 259,
}
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 64,
}


def logits(folder, model_class=AutoModelForCausalLM):
    tokens = torch.arange(20)[None, :] * 13 % 259
    with torch.no_grad():
        return model_class.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits


def test_a_stack_copies_every_tensor(checkpoint, grow, tmp_path):
    source, out = checkpoint(), tmp_path / "grown"
    options = ("--operator", "stack", "--set", "factor=2", "--measure", "--out", out)
    code, text, _ = grow(source, *options)
    assert code == 0
    assert "Layers: 0 1 2 0* 1* 2*" in text
    assert "the function is NOT preserved" in text
    old, new = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    assert len(new) == len(old) + 3 * sum(name.startswith("model.layers.0.") for name in old)
    for name, tensor in new.items():
        layer = name.split(".")[2] if name.startswith("model.layers.") else None
        copied = name if layer is None else name.replace(f".{layer}.", f".{int(layer) % 3}.", 1)
        assert torch.equal(tensor, old[copied]), name
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.num_hidden_layers == 6
    tokens = torch.tensor([[5, 6, 7]])
    cached, plain = (
        model.generate(tokens, max_new_tokens=8, do_sample=False, use_cache=is_cached)
        for is_cached in (True, False)
    )
    assert torch.equal(cached, plain)
    assert AutoTokenizer.from_pretrained(out).encode("ab") == [97, 98]


@pytest.mark.parametrize("keys", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_identity_says_and_keeps_the_function(checkpoint, grow, tmp_path, keys):
    source, out = checkpoint(keys), tmp_path / "grown"
    code, text, _ = grow(source, "--operator", "identity", "--set", "factor=2", "--out", out)
    assert code == 0
    assert "the function is preserved" in text
    assert torch.allclose(logits(source), logits(out), atol=1e-5)


def test_bert_is_grown_as_a_masked_model(checkpoint, grow, tmp_path):
    source, out = checkpoint(BERT, "masked"), tmp_path / "grown"
    code, _, _ = grow(source, "--operator", "interleave", "--set", "factor=2", "--out", out)
    assert code == 0
    assert json.loads((out / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert logits(out, AutoModelForMaskedLM).shape == (1, 20, 259)
    new = load_file(out / "model.safetensors")
    old = load_file(source / "model.safetensors")
    name = "bert.encoder.layer.{}.output.dense.weight"
    assert torch.equal(new[name.format(5)], old[name.format(2)])


def test_many_shards_and_half_precision(checkpoint, grow, tmp_path, monkeypatch):
    source = checkpoint(dtype=torch.bfloat16)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    grow(source, "--operator", "stack", "--set", "factor=2", "--out", whole)
    monkeypatch.setattr(shards, "SHARD_BYTES", 4000)
    code, _, _ = grow(source, "--operator", "stack", "--set", "factor=2", "--out", cut)
    assert code == 0
    assert len(list(cut.glob("*.safetensors"))) > 3
    assert {each.dtype for each in load_file(whole / "model.safetensors").values()} == {
        torch.bfloat16
    }
    assert json.loads((cut / "config.json").read_text())["dtype"] == "bfloat16"
    assert torch.equal(logits(whole), logits(cut))
    again = tmp_path / "again"  # and a checkpoint of several files is read
    code, text, _ = grow(cut, "--operator", "identity", "--set", "factor=2", "--out", again)
    assert code == 0
    assert "the function is preserved" in text


def test_names_without_the_models_prefix_are_found(checkpoint, grow, tmp_path):
    source, plain = checkpoint(GPT2), tmp_path / "plain"
    grow(source, "--operator", "stack", "--set", "factor=2", "--out", tmp_path / "one")
    weights = load_file(source / "model.safetensors")
    stripped = {name.removeprefix("transformer."): each for name, each in weights.items()}
    source.rename(plain)
    save_file(stripped, plain / "model.safetensors", metadata={"format": "pt"})
    code, _, _ = grow(plain, "--operator", "stack", "--set", "factor=2", "--out", tmp_path / "two")
    assert code == 0
    assert torch.equal(logits(tmp_path / "one"), logits(tmp_path / "two"))


@pytest.mark.parametrize("model_type", ["gpt_neox", "bert"])
def test_names_of_older_files_are_read_and_kept(checkpoint, grow, tmp_path, model_type):
    """Pythia's `embed_out`, BERT's `gamma` and `beta`."""
    kind, model_class = "causal", AutoModelForCausalLM
    if model_type == "bert":
        kind, model_class = "masked", AutoModelForMaskedLM
    source, out = checkpoint({**BERT, "model_type": model_type}, kind), tmp_path / "grown"
    path = source / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {}
    for name, tensor in load_file(path).items():
        for new, older in old.items():
            name = name.replace(new, older)
        tensors[name] = tensor
    save_file(tensors, path, metadata={"format": "pt"})
    code, text, error = grow(source, "--operator", "last", "--target", "num_hidden_layers=4",
                             "--measure", "--out", out)  # fmt: skip
    assert code == 0, error
    written = load_file(out / "model.safetensors")
    mark = {"gpt_neox": "embed_out.weight", "bert": "bert.encoder.layer.3.output.LayerNorm.gamma"}
    assert mark[model_type] in written
    assert set(tensors) <= set(written)
    before, after = logits(source, model_class), logits(out, model_class)
    said = float(text.split("difference of logits| ")[1].split()[0])
    assert said > 0
    assert torch.isfinite(after).all() and not torch.equal(before, after)
    model, report = model_class.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert model.config.num_hidden_layers == 4


def test_random_layers_have_a_fresh_models_spread_and_a_seed(checkpoint, grow, tmp_path):
    source = checkpoint()
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        options = ("--operator", "random", "--set", "factor=2", "--out", folder, "--seed", seed)
        assert grow(source, *options)[0] == 0
    first, second, third = (load_file(folder / "model.safetensors") for folder in folders)
    name = "model.layers.4.mlp.down_proj.weight"
    assert torch.equal(first[name], second[name])
    assert not torch.equal(first[name], third[name])
    assert 0.2 < float(first[name].std()) < 0.4
    assert torch.equal(first["model.layers.4.input_layernorm.weight"], torch.ones(16))
    assert not torch.equal(first[name], first["model.layers.5.mlp.down_proj.weight"])


def test_a_wider_model(checkpoint, grow, tmp_path):
    """Norms' eps and new blocks included: what is written computes what the source did."""
    source, out = checkpoint({**LLAMA, "tie_word_embeddings": True}), tmp_path / "grown"
    sizes = "hidden_size=24,intermediate_size=40,num_attention_heads=6,num_key_value_heads=3"
    targets = [word for size in sizes.split(",") for word in ("--target", size)]
    options = (source, "--operator", "zero", *targets, "--out")
    code, text, error = grow(*options, out)
    assert code == 0, error
    assert "[residual 16-24, key_value 2-3, heads 4-6, ffn 24-40]" in text
    assert "the function is preserved" in text
    assert json.loads((out / "config.json").read_text())["rms_norm_eps"] == 1e-6 * (16 / 24)
    new = load_file(out / "model.safetensors")
    assert f"Parameters: {sum(each.numel() for each in new.values()):,}\n" in text  # tied ones once
    fresh = new["model.layers.1.mlp.up_proj.weight"][:, 16:]
    assert 0.2 < float(fresh.std()) < 0.4
    assert torch.equal(new["model.norm.weight"][16:], torch.ones(8))
    code, text, _ = grow(*options, tmp_path / "dead", "--set", "form=v1")
    assert code == 0
    assert "Warning: zero form v1" in text


GEMMA = {**LLAMA, "model_type": "gemma3_text", "head_dim": 4, "query_pre_attn_scalar": 4}
OLMO2 = {**LLAMA, "model_type": "olmo2"}
FALCON = {
    **{key: LLAMA[key] for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")},
    **{"model_type": "falcon", "ffn_hidden_size": 24, "vocab_size": 259},
    "initializer_range": 0.3,
}


@pytest.mark.parametrize(
    ("keys", "operator"), [(GEMMA, "zero"), (OLMO2, "lemon"), (FALCON, "lemon")]
)
def test_a_wider_model_of_another_family(checkpoint, grow, tmp_path, keys, operator):
    source, out = checkpoint(keys), tmp_path / "grown"
    groups = [] if keys is FALCON else ["--target", "num_key_value_heads=3"]
    sizes = ("--target", "hidden_size=24", "--target", "num_attention_heads=6")
    options = (source, "--operator", operator, *sizes, *groups, "--out", out)
    code, text, error = grow(*options)
    assert code == 0, error
    assert "the function is preserved" in text
    assert torch.allclose(logits(source), logits(out), atol=1e-4)


def test_gains_that_count_from_one_are_not_said_to_mergekit(checkpoint, grow, tmp_path):
    grown = ("--operator", "identity", "--set", "factor=2", "--to-mergekit")
    olmo2, file, out = checkpoint(OLMO2, name="olmo2"), tmp_path / "grow.yaml", tmp_path / "grown"
    code, _, error = grow(olmo2, *grown, file)
    assert code == 0, error
    assert "filter: post_attention_layernorm" in file.read_text()
    code, text, error = grow("--from-mergekit", file, "--out", out)
    assert code == 0, error
    assert "the function is preserved" in text
    gemma = checkpoint(GEMMA, name="gemma")
    assert "does more than that" in refused(grow, gemma, *grown, tmp_path / "gemma.yaml")
    file.write_text(file.read_text().replace(str(olmo2), str(gemma)))
    error = refused(grow, "--from-mergekit", file, "--out", tmp_path / "other")
    assert "count their gains from one" in error


def test_several_sources(checkpoint, grow, tmp_path):
    one, two = checkpoint(name="one"), checkpoint(name="two", seed=1)
    out = tmp_path / "grown"
    options = ("--operator", "multi-stack", "--set", "order=b a", "--set", "boundary=average")
    code, text, _ = grow(one, two, *options, "--measure", "--out", out)
    assert code == 0
    assert "b0 b1 b2 a0 a1 a2" in text
    assert "no one function" in text
    new = load_file(out / "model.safetensors")
    both = [load_file(folder / "model.safetensors") for folder in (one, two)]
    name = "model.embed_tokens.weight"
    assert torch.allclose(new[name], (both[0][name] + both[1][name]) / 2)


def test_mergekit_there_and_back(checkpoint, grow, tmp_path):
    source, file = checkpoint(), tmp_path / "merge.yaml"
    direct, back = tmp_path / "direct", tmp_path / "back"
    options = ("--operator", "stack", "--set", "factor=2", "--to-mergekit", file, "--out", direct)
    assert grow(source, *options)[0] == 0
    assert grow("--from-mergekit", file, "--out", back)[0] == 0
    assert torch.equal(logits(direct), logits(back))
    file.write_text(file.read_text().replace("- 3", "- 4").replace("3]", "4]"))
    code, _, error = grow("--from-mergekit", file, "--out", tmp_path / "third")
    assert code == 2
    assert "has 3 layers, not 4" in error


def test_published_mergekit_files_are_read(checkpoint, grow, tmp_path):
    """With a type, a tokenizer, a base model, anchors, and a block expansion's zeros."""
    source, file, out = checkpoint(), tmp_path / "merge.yaml", tmp_path / "out"
    slices = f"""
const_tag: &none 0.0
parameters_of: none
slices:
- sources: [{{model: {source}, layer_range: [0, 3]}}]
- sources:
  - model: {source}
    layer_range: [2, 3]
    parameters:
      scale:
      - {{filter: o_proj, value: *none}}
      - {{filter: down_proj, value: *none}}
      - value: 1.0
merge_method: passthrough
dtype: float32
tokenizer_source: base
base_model: {source}
"""
    file.write_text(slices)
    options = ("--from-mergekit", file, "--out", out)
    assert "parameters_of cannot be honoured" in refused(grow, *options)
    file.write_text(slices.replace("parameters_of: none\n", ""))
    code, text, error = grow(*options)
    assert code == 0, error
    assert "Layers: 0 1 2 2°" in text and "the function is preserved" in text
    again = tmp_path / "again.yaml"
    grow(source, "--operator", "identity", "--set", "factor=2", "--to-mergekit", again)
    code, text, error = grow("--from-mergekit", again, "--out", tmp_path / "again")
    assert code == 0, error
    assert "Layers: 0 0° 1 1° 2 2°" in text and "the function is preserved" in text
    file.write_text(slices.replace("parameters_of: none\n", "").replace("float32", "bfloat16"))
    error = refused(grow, "--from-mergekit", file, "--out", tmp_path / "other")
    assert "dtype bfloat16 is not honoured" in error and "in float32" in error


def test_a_spaces_candidate(checkpoint, grow, write_space, tmp_path):
    source = checkpoint()
    path = write_space()
    text = path.read_text()
    head, rest = text.split("sources:\n")
    rest = rest[rest.index("target:") :]
    path.write_text(f"{head}sources: [{{name: mine, checkpoint: {source}}}]\n{rest}")
    out = tmp_path / "grown"
    candidate = ("--space", path, "--candidate", "lag-i2-b1-duplicate")
    code, text, _ = grow(*candidate, "--out", out)
    assert code == 0
    assert "0 1 2 2*" in text
    code, _, error = grow("--space", path, "--candidate", "nothing", "--out", tmp_path / "x")
    assert code == 2
    assert "no candidate 'nothing'; it has lag-i0-b1-duplicate" in error


def test_a_candidate_of_ul2_is_grown_without_rows_for_its_tokens(
    checkpoint, grow, write_space, tmp_path
):
    source = checkpoint()
    path = write_space(("{name: causal}", "{name: ul2}"), ("batch_size: 4", "batch_size: 5"))
    head, rest = path.read_text().split("sources:\n")
    rest = rest[rest.index("target:") :]
    path.write_text(f"{head}sources: [{{name: mine, checkpoint: {source}}}]\n{rest}")
    out = tmp_path / "grown"
    code, _, error = grow("--space", path, "--candidate", "lag-i2-b1-duplicate", "--out", out)
    assert code == 0, error
    grown, own = (load_file(each / "model.safetensors") for each in (out, source))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(grown[name], own[name])
    assert AutoModelForCausalLM.from_pretrained(out).config.num_hidden_layers == 4


def test_pickles_are_read_only_when_allowed(checkpoint, grow, tmp_path):
    source = checkpoint()
    weights = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    torch.save(weights, source / "pytorch_model.bin")
    options = ("--operator", "stack", "--set", "factor=2", "--out", tmp_path / "grown")
    code, _, error = grow(source, *options)
    assert code == 2
    assert "pickled weights are not read" in error
    assert grow(source, *options, "--allow-pickle")[0] == 0
    grown = load_file(tmp_path / "grown" / "model.safetensors")
    assert torch.equal(grown["model.norm.weight"], weights["model.norm.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--operator", "stack", "--set", "factor=2"], "give --out DIR"),
        (["--operator", "stack", "--out", "x"], "stack to what"),
        (["--out", "x"], "give one of --operator, --space, --from-mergekit; given: none"),
        (["--operator", "stak", "--set", "factor=2", "--out", "x"], "did you mean 'stack'"),
        (["--operator", "stack", "--set", "factor=1", "--out", "x"], "factor 1 times 3 layers"),
        (["--operator", "stack", "--set", "factor", "--out", "x"], "write KEY=VALUE"),
        (
            ["--operator", "random", "--set", "factor=2", "--set", "ramp_steps=9", "--out", "x"],
            "faded",
        ),
        (["--operator", "stack", "--target", "num_hidden_layers=2", "--out", "x"], "not more than"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    checkpoint, grow, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    code, _, error = grow(checkpoint(), *options)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def refused(grow, *arguments):
    code, out, error = grow(*arguments)
    assert code == 2, out + error
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


def test_nothing_that_is_asked_for_is_ignored(checkpoint, grow, write_space, tmp_path):
    source, yaml, out = checkpoint(), tmp_path / "m.yaml", tmp_path / "out"
    grow(source, "--operator", "stack", "--set", "factor=2", "--to-mergekit", yaml)
    mergekit = ("--from-mergekit", yaml, "--out", out)
    for extra in (("--set", "factor=2"), ("--target", "hidden_size=8"), ("--candidate", "x")):
        assert f"{extra[0]} has no effect beside --from-mergekit" in refused(
            grow, *mergekit, *extra
        )
    space = ("--space", write_space(), "--candidate", "lag-i0-b1-random", "--out", out)
    assert "SOURCE has no effect beside --space" in refused(grow, source, *space)
    assert "--set has no effect" in refused(grow, *space, "--set", "index=1")
    stack = (source, "--operator", "stack", "--set", "factor=2", "--out", out)
    assert "--candidate has no effect" in refused(grow, *stack, "--candidate", "x")
    assert "stack takes one source; 2 are given" in refused(grow, source, *stack)
    assert not out.exists()


def test_models_of_a_mergekit_file_must_be_alike(checkpoint, grow, tmp_path):
    one = checkpoint(name="one")
    other = checkpoint({**LLAMA, "rms_norm_eps": 1e-3}, name="other")
    yaml = tmp_path / "m.yaml"
    yaml.write_text(
        "merge_method: passthrough\nslices:\n"
        f"  - sources: [{{model: {one}, layer_range: [0, 3]}}]\n"
        f"  - sources: [{{model: {other}, layer_range: [0, 3]}}]\n"
    )
    error = refused(grow, "--from-mergekit", yaml, "--out", tmp_path / "out")
    assert "equal but for their depths; rms_norm_eps is" in error


@pytest.mark.parametrize("factor", [".inf", ".nan", "1.5", "true"])
def test_factors_that_are_none(checkpoint, grow, tmp_path, factor):
    setting = f"factor={factor}"
    options = ("--operator", "stack", "--set", setting, "--out", tmp_path / "out")
    message = refused(grow, checkpoint({**LLAMA, "num_hidden_layers": 3}), *options)
    assert "is no whole number above 3" in message


def test_a_width_is_asked_for_by_a_key_of_the_model(checkpoint, grow, tmp_path):
    source, out = checkpoint(), ("--out", tmp_path / "out")
    code, _, err = grow(source, "--operator", "net2net", *out)
    assert code == 2
    assert "say how wide, e.g. --target intermediate_size=48 (now 24)" in err
    code, _, err = grow(source, "--operator", "net2net", "--set", "factor=2", *out)
    assert code == 2
    assert "no setting 'factor'; known: split, noise; how large the target is, --target says" in err
    source = checkpoint(GPT2, name="gpt2")
    code, _, err = grow(source, "--operator", "lemon", *out)
    assert (code, "e.g. --target n_embd=32 (now 16)" in err) == (2, True)


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [((), True), (("--set", "split=uneven"), False), (("--set", "noise=0.1"), False)],
)
def test_copies_that_stay_equal_are_told(checkpoint, grow, tmp_path, settings, is_told):
    wider = ("--operator", "net2net", "--target", "intermediate_size=48", "--no-measure")
    code, text, _ = grow(checkpoint(), *wider, *settings, "--out", tmp_path / "out")
    assert code == 0
    assert ("Warning: copied units get equal gradients" in text) == is_told


def test_a_folder_like_a_name_that_is_not_there_is_named(checkpoint, grow, tmp_path, monkeypatch):
    checkpoint(name="Stories")
    monkeypatch.chdir(tmp_path)
    code, _, err = grow("storys", "--operator", "stack", "--set", "factor=2", "--out", "out")
    assert code == 2
    assert "storys: is no folder here (did you mean 'Stories'?) and cannot be fetched" in err
    assert len(err.strip().splitlines()) == 1


def test_a_setting_that_is_not_there_is_named(checkpoint, grow, tmp_path):
    options = ("--operator", "stack", "--set", "factr=2", "--out", tmp_path / "out")
    message = "stack has no setting 'factr'; did you mean 'factor'? known: factor, "
    assert message in refused(grow, checkpoint(), *options)


def test_unreadable_pickles_are_one_line(checkpoint, grow, tmp_path):
    source = checkpoint()
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(b"not a pickle")
    options = ("--operator", "stack", "--set", "factor=2", "--allow-pickle")
    error = refused(grow, source, *options, "--out", tmp_path / "out")
    assert "pytorch_model.bin: not a readable file of weights" in error


def test_pickles_of_old_torch_versions(checkpoint, grow, tmp_path):
    source = checkpoint()
    tensors = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    torch.save(tensors, source / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    options = ("--operator", "identity", "--set", "factor=2", "--allow-pickle")
    code, text, error = grow(source, *options, "--out", tmp_path / "out")
    assert code == 0, error
    assert "the function is preserved" in text


def test_a_checkpoint_for_pretraining_is_grown_as_what_it_is(checkpoint, grow, tmp_path):
    """With all its heads."""
    source, out = tmp_path / "source", tmp_path / "out"
    BertForPreTraining(build_config(BERT)).save_pretrained(source)
    code, _, error = grow(source, "--operator", "last", "--target", "num_hidden_layers=4",
                          "--out", out)  # fmt: skip
    assert code == 0, error
    _, report = BertForPreTraining.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    own, grown = (load_file(each / "model.safetensors") for each in (source, out))
    for name in ("cls.seq_relationship.weight", "bert.pooler.dense.weight"):
        assert torch.equal(own[name], grown[name])
    assert json.loads((out / "config.json").read_text())["architectures"] == ["BertForPreTraining"]


def test_what_cannot_be_measured_is_written_all_the_same(checkpoint, grow, tmp_path):
    source, out = checkpoint(), tmp_path / "out"
    path = source / "model.safetensors"
    whole = load_file(path)
    save_file({k: v for k, v in whole.items() if ".layers.1." not in k}, path, {"format": "pt"})
    code, text, error = grow(source, "--operator", "layers", "--set", "layers=[0, 2, 2, 0]",
                             "--measure", "--out", out)  # fmt: skip
    assert code == 0, error
    assert "Function: not measured: the checkpoint lacks model.layers.1." in text
    assert AutoModelForCausalLM.from_pretrained(out).config.num_hidden_layers == 4


def test_an_existing_folder_is_not_overwritten(checkpoint, grow, tmp_path):
    source = checkpoint()
    code, _, error = grow(source, "--operator", "stack", "--set", "factor=2", "--out", source)
    assert code == 2
    assert "is there already" in error
