"""Copy-only growths are what mergekit writes for the exported YAML, tensor for tensor.

Runs where `LAGSEARCH_MERGEKIT` names a mergekit-yaml program (0.1.5, in an environment of its own).
"""

import os
import subprocess
import sys

import pytest
import torch

from lagsearch import cli
from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.models.build import fresh_model
from lagsearch.models.checkpoints import open_checkpoint
from lagsearch.models.configs import build_config

PROGRAM = os.environ.get("LAGSEARCH_MERGEKIT")
pytestmark = [
    pytest.mark.mergekit,
    pytest.mark.skipif(PROGRAM is None, reason="LAGSEARCH_MERGEKIT names no mergekit-yaml"),
]

LLAMA = {"num_hidden_layers": 4, "hidden_size": 16, "intermediate_size": 24, "vocab_size": 259,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
MODELS = {
    "llama": {"model_type": "llama", **LLAMA},
    "mistral": {"model_type": "mistral", **LLAMA},
    "llama-tied": {"model_type": "llama", **LLAMA, "tie_word_embeddings": True},
    "gpt2": {"model_type": "gpt2", "n_layer": 4, "n_embd": 16, "n_head": 2, "vocab_size": 259},
}
GROWTHS = {
    "stack": (8, []),
    "interleave": (8, []),
    "lag": (6, ["index=1", "block_size=2", "init=duplicate"]),
    "last": (6, []),
    "solar": (6, []),
    "layers": (None, ["layers=[0, 3, 1, 2, 2]"]),
}


def saved(model, folder, seed=0):
    fresh_model(build_config(MODELS[model]), "causal", seed).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def grow(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lagsearch", "grow", *map(str, arguments)])
    cli.main()  # exits where something is wrong


def check_equal(ours, theirs):
    one, other = (open_checkpoint(each).tensors for each in (ours, theirs))
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("operator", GROWTHS)
def test_one_source(tmp_path, monkeypatch, model, operator):
    source = saved(model, tmp_path / "source")
    depth, settings = GROWTHS[operator]
    words = [word for setting in settings for word in ("--set", setting)]
    words += ["--target", f"num_hidden_layers={depth}"] if depth else []
    ours, theirs, yaml = tmp_path / "ours", tmp_path / "theirs", tmp_path / "m.yaml"
    grow(monkeypatch, source, "--operator", operator, *words, "--out", ours, "--to-mergekit", yaml)
    subprocess.run([PROGRAM, yaml, theirs], check=True, capture_output=True)
    check_equal(ours, theirs)
    again = tmp_path / "again"
    grow(monkeypatch, "--from-mergekit", yaml, "--out", again)
    check_equal(ours, again)


def test_two_sources(tmp_path, monkeypatch):
    sources = [saved("llama", tmp_path / name, seed) for seed, name in enumerate("ab")]
    ours, theirs, yaml = tmp_path / "ours", tmp_path / "theirs", tmp_path / "m.yaml"
    grow(monkeypatch, *sources, "--operator", "multi-stack", "--set", "order=a b",
         "--out", ours, "--to-mergekit", yaml)  # fmt: skip
    subprocess.run([PROGRAM, yaml, theirs], check=True, capture_output=True)
    check_equal(ours, theirs)
