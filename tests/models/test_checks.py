"""Checks after growth, positions, and checkpoints as people really have them."""

import json

import pytest
import torch

from lagsearch.errors import ModelError
from lagsearch.models.build import empty_model, fresh_model, usable_positions
from lagsearch.models.checkpoints import load_config
from lagsearch.models.checks import check_running, probe_tokens
from lagsearch.models.configs import build_config, grown_keys, plain_config, rebuild_config

GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 32}
ROBERTA = {
    "model_type": "roberta",
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "max_position_embeddings": 10,
    "vocab_size": 32,
    "pad_token_id": 1,
}


def test_roberta_leaves_the_positions_up_to_padding_unused():
    config = build_config(ROBERTA)
    assert usable_positions(empty_model(config, "masked"), config) == 8
    model = fresh_model(config, "masked", 0)
    model(torch.full((1, 8), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 9), 5))


@pytest.mark.parametrize(("positions", "usable"), [(64, 64), (-1, None)])
def test_positions_of_others(positions, usable):
    config = build_config({**GPT2, "n_positions": 64})
    model = empty_model(config, "causal")
    config.n_positions = positions
    assert usable_positions(model, config) == usable


@pytest.mark.parametrize(
    ("keys", "kind"), [({**GPT2, "n_positions": 5}, "causal"), (ROBERTA, "masked")]
)
def test_a_model_of_few_positions_is_checked_within_them(keys, kind):
    model = fresh_model(build_config(keys), kind, 0)
    assert probe_tokens(model).shape[1] == (5 if kind == "causal" else 8)
    check_running(model, kind)


def test_a_model_that_cannot_run_is_a_model_error(monkeypatch):
    model = fresh_model(build_config(GPT2), "causal", 0)

    def broken(*args, **kwargs):
        raise RuntimeError("shapes\ndo not fit")

    monkeypatch.setattr(model, "forward", broken)
    with pytest.raises(ModelError, match="does not run: RuntimeError: shapes do not fit"):
        check_running(model, "causal")


def test_keys_that_a_class_does_not_know_are_carried_along(tmp_path):
    model = fresh_model(build_config(GPT2), "causal", 0)
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    keys = json.loads(path.read_text())
    extra = {"n_ctx": 1024, "task_specific_params": {"a": {"b": 1}}, "gradient_checkpointing": True}
    path.write_text(json.dumps({**keys, **extra}))
    config = load_config(tmp_path)
    grown = rebuild_config(grown_keys(config, {"n_layer": 3}, [0, 1, 1]))
    assert (grown.n_layer, grown.n_ctx, grown.task_specific_params) == (3, 1024, {"a": {"b": 1}})
    again = rebuild_config(json.loads(json.dumps(plain_config(grown))))
    assert again.to_dict() == grown.to_dict()
    with pytest.raises(ModelError, match="n_lair"):
        rebuild_config(grown_keys(config, {"n_lair": 3}, [0, 1, 1]))


def test_a_quantized_checkpoint_is_refused(tmp_path):
    fresh_model(build_config(GPT2), "causal", 0).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    keys = json.loads(path.read_text())
    path.write_text(json.dumps({**keys, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ModelError, match="is quantized"):
        load_config(tmp_path)
