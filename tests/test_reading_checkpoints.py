"""What of a checkpoint is read by `grow` and `run`, and what is said of the rest."""

import json

import numpy as np
import pytest
import torch
from checkpoints import LLAMA
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertModel,
    LlamaForSequenceClassification,
    LlamaModel,
)

from lagsearch import load_space, plan
from lagsearch.errors import ModelError, SpaceError
from lagsearch.grow import measuring
from lagsearch.models.build import fresh_model
from lagsearch.models.checkpoints import load_checkpoint, load_config, open_checkpoint
from lagsearch.models.configs import build_config, rebuild_config
from lagsearch.models.files import weight_files

TIED = {**LLAMA, "tie_word_embeddings": True}
IDENTITY = ("--operator", "identity", "--set", "factor=2", "--out")
STACK = ("--operator", "stack", "--set", "factor=2", "--out")
TOKENS = torch.arange(20)[None, :] * 13 % 259
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 64,
}


def change(folder, **tensors):
    """Add tensors to a checkpoint's one file, or take them out; dots are double underscores."""
    path = folder / "model.safetensors"
    found = load_file(path)
    for name, tensor in tensors.items():
        found.pop(name.replace("__", "."), None)
        if tensor is not None:
            found[name.replace("__", ".")] = tensor
    save_file(found, path, {"format": "pt"})


def renamed(folder, rename):
    path = folder / "model.safetensors"
    save_file({rename(name): each for name, each in load_file(path).items()}, path)


def output(folder, model_class=AutoModelForCausalLM):
    """Return what transformers makes of a checkpoint."""
    with torch.no_grad():
        return model_class.from_pretrained(folder, dtype=torch.float32).eval()(TOKENS)[0]


def refused(grow, *arguments, **keys):
    code, out, error = grow(*arguments, **keys)
    assert code == 2, out + error
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


@pytest.mark.parametrize("name", ["model_1.safetensors", "adapter_model.safetensors"])
def test_other_files_of_the_folder_are_not_read(checkpoint, grow, tmp_path, name):
    source, out = checkpoint(), tmp_path / "grown"
    noise = {key: torch.randn_like(each) for key, each in load_file(
        source / "model.safetensors").items()}  # fmt: skip
    save_file(noise, source / name)
    code, text, error = grow(source, *IDENTITY, out)
    assert code == 0, error
    assert "the function is preserved" in text
    assert torch.allclose(output(source), output(out), atol=1e-5)
    model = load_checkpoint(source, "causal")
    with torch.no_grad():
        assert torch.equal(model(TOKENS).logits, output(source))


def test_files_that_nothing_names_are_refused_and_named(checkpoint, grow, tmp_path):
    source = checkpoint()
    (source / "model.safetensors").rename(source / "weights.safetensors")
    error = refused(grow, source, *STACK, tmp_path / "out")
    assert "weights.safetensors is not read" in error and "rename it" in error


def test_an_index_is_taken_at_its_word(checkpoint, tmp_path):
    source = checkpoint()
    whole = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    names = sorted(whole)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: whole[name] for name in some}, source / file)
    index = source / "model.safetensors.index.json"
    where = {name: file for file, some in parts.items() for name in some}
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert sorted(path.name for path in weight_files(source)) == sorted(parts)
    tensors = open_checkpoint(source).tensors
    assert all(torch.equal(tensors[name], whole[name]) for name in names)
    (source / "b.safetensors").unlink()
    with pytest.raises(ModelError, match=r"index\.json lists b\.safetensors, which is not there"):
        weight_files(source)
    index.write_text("{}")
    with pytest.raises(ModelError, match="not a readable index"):
        weight_files(source)


def test_the_check_would_see_a_source_that_was_read_wrongly(
    checkpoint, grow, tmp_path, monkeypatch
):
    """It loads the source's folder by transformers alone."""
    from lagsearch.grow import shards

    source, read = checkpoint(), shards._chunks

    def halved(tensor, buffer, *part):
        for chunk in read(tensor, buffer, *part):
            yield memoryview((np.frombuffer(chunk, np.float32) * 0.5).tobytes())

    monkeypatch.setattr(shards, "_chunks", halved)
    code, text, _ = grow(source, *IDENTITY, tmp_path / "out")
    assert code == 0
    assert "the function is NOT preserved" in text


def test_a_head_of_its_own_is_kept_and_no_longer_tied(checkpoint, grow, tmp_path):
    source, out = checkpoint(TIED), tmp_path / "grown"
    change(source, lm_head__weight=torch.randn(259, 16))
    code, text, error = grow(source, *IDENTITY, out)
    assert code == 0, error
    assert "the function is preserved" in text
    assert "has a head of its own although tie_word_embeddings is true" in text
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    assert torch.allclose(output(source), output(out), atol=1e-5)
    assert load_config(source).tie_word_embeddings is False
    with torch.no_grad():
        assert torch.equal(load_checkpoint(source, "causal")(TOKENS).logits, output(source))


def test_a_copy_of_the_embedding_is_no_head_of_its_own(checkpoint, grow, tmp_path):
    source, out = checkpoint(TIED), tmp_path / "grown"
    change(source, lm_head__weight=load_file(source / "model.safetensors")[
        "model.embed_tokens.weight"].clone())  # fmt: skip
    assert load_config(source).tie_word_embeddings is True
    assert grow(source, *IDENTITY, out)[0] == 0
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_what_is_left_out_is_listed(checkpoint, grow, tmp_path):
    source, out = checkpoint(), tmp_path / "grown"
    layer = {
        f"model__layers__3__{name.split('.', 3)[3].replace('.', '__')}": each.clone()
        for name, each in load_file(source / "model.safetensors").items()
        if name.startswith("model.layers.2.")
    }
    change(source, model__layers__0__self_attn__q_proj__bias=torch.randn(16), **layer)
    code, text, error = grow(source, *IDENTITY, out)
    assert code == 0, error
    assert f"{1 + len(layer)} tensors are left out, which a LlamaForCausalLM of this" in text
    assert "model.layers.0.self_attn.q_proj.bias" in text


@pytest.mark.parametrize("name", ["v_head__summary__weight", "score__weight"])
def test_a_head_that_would_be_lost_is_refused(checkpoint, grow, tmp_path, name):
    source = checkpoint()
    change(source, **{name: torch.randn(1, 16)})
    error = refused(grow, source, *STACK, tmp_path / "out")
    assert f"has {name.replace('__', '.')}, a part that a LlamaForCausalLM lacks" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model_class", [LlamaForSequenceClassification, LlamaModel, BertModel])
def test_a_class_that_is_named_is_kept(grow, tmp_path, model_class):
    keys = BERT if model_class is BertModel else {**LLAMA, "pad_token_id": 0}
    source, out = tmp_path / "source", tmp_path / "grown"
    torch.manual_seed(0)
    model_class(build_config(keys)).save_pretrained(source)
    operator = STACK if model_class is BertModel else IDENTITY
    code, text, error = grow(source, *operator, out)
    assert code == 0, error
    assert json.loads((out / "config.json").read_text())["architectures"] == [model_class.__name__]
    _, report = model_class.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    if model_class is not BertModel:
        assert "the function is preserved" in text
        assert torch.allclose(output(source, model_class), output(out, model_class), atol=1e-5)


def test_a_classifier_of_another_size_is_refused(checkpoint, grow, tmp_path):
    source = checkpoint()
    change(source, score__weight=torch.randn(1, 16), lm_head__weight=None)
    config = json.loads((source / "config.json").read_text())
    config["architectures"] = ["LlamaForSequenceClassification"]
    (source / "config.json").write_text(json.dumps(config))
    error = refused(grow, source, *STACK, tmp_path / "out")
    assert "score.weight is (1, 16), but config.json makes it (2, 16)" in error


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_by_its_name(checkpoint, grow, tmp_path, value):
    source, name = checkpoint(), "model__layers__1__mlp__up_proj__weight"
    tensor = torch.ones(24, 16)
    tensor[3, :2] = value
    change(source, **{name: tensor})
    error = refused(grow, source, *IDENTITY, tmp_path / "out")
    assert "model.layers.1.mlp.up_proj.weight: 2 of its 384 values are NaN or infinite" in error
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source"]
    with pytest.raises(ModelError, match="are NaN or infinite"):
        load_checkpoint(source, "causal")


def test_a_type_without_its_scale_is_refused_by_its_name(checkpoint, grow, tmp_path):
    source = checkpoint()
    path = source / "model.safetensors"
    save_file(
        {k: v.to(torch.float8_e4m3fn) if "proj" in k else v for k, v in load_file(path).items()},
        path,
    )
    error = refused(grow, source, *STACK, tmp_path / "out")
    assert "proj.weight is stored as F8_E4M3, and nothing says by what it is scaled" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_what_wrapped_a_model_is_taken_off_and_said(checkpoint, grow, tmp_path, prefix):
    source, out = checkpoint(), tmp_path / "grown"
    plain = output(source)
    renamed(source, lambda name: prefix + name)
    code, text, error = grow(source, *IDENTITY, out)
    assert code == 0, error
    assert f"begin with {prefix}: taken off" in text
    assert "the function is preserved" in text
    assert torch.allclose(plain, output(out), atol=1e-5)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(source, "causal")(TOKENS).logits, plain)


def test_a_pointer_of_git_lfs_is_told_from_a_file(checkpoint, grow, tmp_path):
    source = checkpoint()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (source / "model.safetensors").write_text(pointer)
    assert "is a Git LFS pointer, not the file: run `git lfs pull`" in refused(
        grow, source, *STACK, tmp_path / "out"
    )


def test_what_belongs_to_a_model_goes_along(checkpoint, grow, tmp_path):
    source, out = checkpoint(), tmp_path / "grown"
    files = ["chat_template.jinja", "preprocessor_config.json", "LICENSE", "NOTICE.txt"]
    for name in files:
        (source / name).write_text("{}")
    (source / "README.md").write_text("of the source alone")
    assert grow(source, *STACK, out)[0] == 0
    assert all((out / name).is_file() for name in files)
    assert "of the source alone" not in (out / "README.md").read_text()


def test_an_error_that_comes_late_leaves_nothing(checkpoint, grow, tmp_path, monkeypatch):

    def fail(*_):
        raise ModelError("too late")

    monkeypatch.setattr(measuring, "compare_function", fail)
    code, _, error = grow(checkpoint(), "--measure", *STACK, tmp_path / "out")
    assert code == 2
    assert error.splitlines()[-1] == "lagsearch: too late"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source"]


def test_what_cannot_run_is_not_measured(checkpoint, grow, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(measuring.StreamedModel, "output", fail)
    code, text, _ = grow(checkpoint(), "--measure", *STACK, tmp_path / "out")
    assert code == 0
    assert "Function: not measured: no such kernel" in text


MAMBA = {
    **{"model_type": "mamba", "num_hidden_layers": 2, "hidden_size": 16, "state_size": 4},
    **{"vocab_size": 259, "expand": 2},
}
DEBERTA = {
    **{key: BERT[key] for key in BERT if key != "model_type"},
    **{"model_type": "deberta-v2", "relative_attention": True, "position_buckets": 8},
    **{"norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"]},
}


@pytest.mark.parametrize("keys", [MAMBA, DEBERTA], ids=["mamba", "deberta"])
def test_models_that_use_weights_from_elsewhere_end_in_no_traceback(grow, tmp_path, keys):
    kind = "causal" if keys is MAMBA else "masked"
    for dtype in (torch.float32, torch.bfloat16):
        source = tmp_path / f"source-{dtype}"
        fresh_model(rebuild_config(keys), kind, 0).to(dtype).save_pretrained(source)
        code, text, error = grow(source, *STACK, tmp_path / f"out-{dtype}")
        assert code == 0, error
        assert "Function: " in text


def space_of(write_space, source, *replacements):
    path = write_space(*replacements)
    head, rest = path.read_text().split("sources:\n")
    rest = rest[rest.index("target:") :]
    path.write_text(f"{head}sources: [{{name: mine, checkpoint: {source}}}]\n{rest}")
    return path


def headless(folder):
    torch.manual_seed(0)
    from lagsearch.data.tokens.tokenizers import byte_tokenizer

    BertModel(build_config({**BERT, "num_hidden_layers": 3})).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_a_masked_space_gives_a_headless_encoder_one_new_head(write_space, tmp_path):
    source = headless(tmp_path / "source")
    space = load_space(space_of(write_space, source, ("{name: causal}", "{name: masked}")))
    planned = plan(space)
    assert any("has no head for masked tokens: all candidates begin" in note
               for note in planned.notes)  # fmt: skip
    assert any("2 tensors are left out" in note and "pooler" in note for note in planned.notes)
    one, two = (load_checkpoint(source, "masked") for _ in range(2))
    own = load_file(source / "model.safetensors")
    for (name, first), second in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(first, second), name
        if name.startswith("bert."):
            assert torch.equal(first, own[name.removeprefix("bert.")]), name


def test_a_causal_space_refuses_what_has_no_head(write_space, tmp_path):
    source = tmp_path / "source"
    from lagsearch.data.tokens.tokenizers import byte_tokenizer

    LlamaModel(build_config(LLAMA)).save_pretrained(source)
    byte_tokenizer().save_pretrained(source)
    with pytest.raises(SpaceError, match=r"lacks 1 tensors of a LlamaForCausalLM, e\.g\. lm_head"):
        plan(load_space(space_of(write_space, source)))


def test_the_plan_says_in_what_type_the_winner_is_saved(write_space, checkpoint):
    source = checkpoint(dtype=torch.bfloat16)
    path = space_of(write_space, source)
    said = " ".join(plan(load_space(path)).notes)
    assert "is in bfloat16: it is trained in fp32, and the winner is saved in fp32" in said
    kept = load_space(path, ["resources.save_dtype=source"])
    assert "the winner is saved in bfloat16, too" in " ".join(plan(kept).notes)


def test_a_run_keeps_the_sources_type_and_papers_where_asked(write_space, checkpoint, tmp_path):
    from lagsearch import run

    source = checkpoint(dtype=torch.bfloat16)
    (source / "LICENSE").write_text("as you like")
    shorter = (
        ("steps: 24", "steps: 4"),
        ("lag: 10", "lag: 2"),
        ("index: [0, 2]", "index: [0]"),
        ("[duplicate, random]", "duplicate"),
        ("warmup_steps: 2", "warmup_steps: 0"),
    )
    path = space_of(write_space, source, *shorter)
    space = load_space(path, ["resources.save_dtype=source"])
    result = run(space, out=tmp_path / "run", serial=True)
    winner = result.folder / "winner"
    assert {each.dtype for each in load_file(winner / "model.safetensors").values()} == {
        torch.bfloat16
    }
    assert AutoConfig.from_pretrained(winner).dtype == torch.bfloat16
    assert (winner / "LICENSE").read_text() == "as you like"


def test_masked_and_causal_models_are_read_alike(checkpoint):
    """By the one reader, and as transformers reads them."""
    for keys, kind, auto in (
        (TIED, "causal", AutoModelForCausalLM),
        (BERT, "masked", AutoModelForMaskedLM),
    ):
        source = checkpoint(keys, kind, name=f"{kind}-source")
        ours, theirs = load_checkpoint(source, kind), auto.from_pretrained(source)
        for (name, one), other in zip(
            ours.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            assert np.array_equal(one.numpy(), other.numpy()), name


def test_a_tokenizer_without_its_library_names_it(checkpoint, write_space, monkeypatch):
    from lagsearch.data.tokens import tokenizers

    source = checkpoint()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).unlink()
    (source / "tokenizer.model").write_bytes(b"no such model")
    (source / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    monkeypatch.setattr(tokenizers, "find_spec", lambda module: None)
    with pytest.raises(SpaceError, match=r"tokenizer\.model and no tokenizer\.json.*pip install "):
        plan(load_space(space_of(write_space, source)))
