"""Models run module by module give the logits of whole ones."""

import pytest
import torch

from lagsearch.errors import ModelError
from lagsearch.models import streaming
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config
from lagsearch.models.families import family_of
from lagsearch.models.shards import CheckpointTensors
from lagsearch.models.streaming import StreamedModel

SMALL = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4,
         "intermediate_size": 24, "vocab_size": 40, "max_position_embeddings": 32}  # fmt: skip
MODELS = {
    "llama": {"model_type": "llama", **SMALL},
    "llama-tied": {"model_type": "llama", **SMALL, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **SMALL, "head_dim": 4, "num_key_value_heads": 2},
    "gpt2": {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 40},
    "gpt2-untied": {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2,
                    "vocab_size": 40, "tie_word_embeddings": False},
    "neox": {"model_type": "gpt_neox", **SMALL},
    "opt": {"model_type": "opt", "num_hidden_layers": 2, "hidden_size": 16, "ffn_dim": 24,
            "num_attention_heads": 4, "vocab_size": 40, "max_position_embeddings": 32,
            "word_embed_proj_dim": 16},
    "bert": {"model_type": "bert", **SMALL},
    "roberta": {"model_type": "roberta", **SMALL},
}  # fmt: skip
TOKENS = torch.arange(18).reshape(2, 9) * 7 % 37 + 3


def aliases(name):
    return family_of(MODELS[name]["model_type"], {}).aliases


def saved(name, folder):
    kind = "masked" if name in ("bert", "roberta") else "causal"
    model = fresh_model(build_config(MODELS[name]), kind, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    model.save_pretrained(folder)
    with torch.no_grad():
        return model.eval()(TOKENS).logits, model.config, kind, model.base_model_prefix


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_whole_model(name, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SHARD_BYTES", 1000)  # files are closed on the way
    monkeypatch.setattr(streaming, "_BLOCK", 200)  # matrices are taken some rows at a time
    expected, config, kind, prefix = saved(name, tmp_path)
    streamed = StreamedModel(config, kind, CheckpointTensors(tmp_path, f"{prefix}.", aliases(name)))
    assert all(each.is_meta for each in streamed.model.parameters())
    for _ in range(2):
        assert (streamed.logits(TOKENS) - expected).abs().max() < 1e-5
        assert all(each.is_meta for each in streamed.model.parameters())


def test_a_missing_weight_is_named(tmp_path):
    _, config, kind, prefix = saved("llama", tmp_path)
    config.num_hidden_layers = 3
    with pytest.raises(ModelError, match=r"lacks model\.layers\.2\."):
        StreamedModel(config, kind, CheckpointTensors(tmp_path, f"{prefix}."))
