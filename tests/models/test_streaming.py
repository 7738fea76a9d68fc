"""Models computed module by module give the outputs of whole ones."""

import pytest
import torch
from transformers import BertModel

from lagsearch.grow import streaming
from lagsearch.grow.streaming import StreamedModel
from lagsearch.models.build import auto_class, fresh_model
from lagsearch.models.configs import build_config

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


def saved(name, folder, dtype):
    """Save a model, and return its logits as fp32 computes them from the stored values."""
    kind = "masked" if name in ("bert", "roberta") else "causal"
    model = fresh_model(build_config(MODELS[name]), kind, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((torch.randn(parameter.shape) * 0.3).to(dtype))
    expected = model.eval()(TOKENS).logits.detach()
    model.to(dtype).save_pretrained(folder)
    return expected, kind


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_those_of_the_whole_model(name, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "_BLOCK", 200)  # matrices are taken some rows at a time
    expected, kind = saved(name, tmp_path, dtype)
    streamed = StreamedModel(auto_class(kind).from_pretrained(tmp_path, dtype=dtype))
    for _ in range(2):
        assert (streamed.output(TOKENS) - expected).abs().max() < 1e-5
        assert all(each.dtype == dtype for each in streamed.model.parameters())


def test_a_model_without_a_head_puts_out_its_last_hidden_states(tmp_path):
    model = BertModel(build_config(MODELS["bert"])).eval()
    assert torch.allclose(StreamedModel(model).output(TOKENS), model(TOKENS)[0], atol=1e-6)
