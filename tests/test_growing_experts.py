"""Layers that are no plain ones: mixtures of experts, GPT-Neo's windows, layers that count."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from lagsearch.errors import ModelError
from lagsearch.models.build import empty_model, fresh_model
from lagsearch.models.configs import grown_keys, rebuild_config, shape_of, target_shape
from lagsearch.operators import make_candidate
from lagsearch.planning.flops import flops_per_token, matrix_parameters

SMALL = {
    **{"vocab_size": 96, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
}
MIXTURES = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {
        **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
        "shared_expert_intermediate_size": 12,
    },
    "qwen3_moe": {
        **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
        **{"head_dim": 4, "mlp_only_layers": [1]},
    },
    "deepseek_v3": {
        **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
        **{"n_group": 2, "topk_group": 1, "q_lora_rank": 8, "kv_lora_rank": 8},
        **{"qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4},
        **{"first_k_dense_replace": 1, "num_key_value_heads": 4},
    },
}
TOKENS = torch.arange(20)[None, :] * 13 % 90 + 3


def saved(folder, model_type, **keys):
    config = rebuild_config({"model_type": model_type, **SMALL, **MIXTURES.get(model_type, keys)})
    model = fresh_model(config, "causal", 0).eval()
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.1 * torch.randn(each.shape, generator=torch.Generator().manual_seed(1)))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("model_type", MIXTURES)
def test_layers_with_experts_are_copied_piece_by_piece(grow, tmp_path, model_type):
    """By the names and in the pieces that transformers itself writes."""
    source, out = tmp_path / "source", tmp_path / "grown"
    model = saved(source, model_type)
    code, text, error = grow(source, "--operator", "layers", "--set", "layers=[0, 1, 1]",
                             "--measure", "--out", out)  # fmt: skip
    assert code == 0, error
    assert "Function: max |difference of logits|" in text
    grown, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    own, made = dict(model.named_parameters()), dict(grown.named_parameters())
    for name, tensor in made.items():
        copied = name.replace("layers.2.", "layers.1.")
        assert torch.equal(tensor, own[copied]), name
    names = {name for name in load_file(source / "model.safetensors") if ".layers." in name}
    written = {name for name in load_file(out / "model.safetensors") if ".layers." in name}
    assert names | {n.replace(".layers.1.", ".layers.2.") for n in names} == written


def test_only_the_experts_of_a_token_count():
    for model_type, per_layer in {
        "mixtral": 2 * 3 * 16 * 24 + 4 * 16,
        "qwen2_moe": 2 * 3 * 16 * 8 + 4 * 16 + 3 * 16 * 12 + 16,
    }.items():
        keys = {"model_type": model_type, **SMALL, **MIXTURES[model_type]}
        config = rebuild_config(keys)
        model = empty_model(config, "causal")
        attention = 16 * 16 + 2 * 16 * 8 + 16 * 16
        assert matrix_parameters(model) == {
            "layers": 2 * (attention + per_layer),
            "head": 96 * 16,
        }
        forward = flops_per_token(config, matrix_parameters(model), 32)
        assert forward == 2 * (2 * (attention + per_layer) + 96 * 16 + 2 * 2 * 32 * 16)


def test_dense_layers_stay_below_those_with_experts():
    config = rebuild_config({"model_type": "deepseek_v3", **SMALL, **MIXTURES["deepseek_v3"]})
    deeper = {"num_hidden_layers": 4}
    assert rebuild_config(grown_keys(config, deeper, [0, 0, 1, 1])).first_k_dense_replace == 2
    with pytest.raises(ModelError, match=r"first_k_dense_replace 1.*leave the first 1 where"):
        rebuild_config(grown_keys(config, deeper, [0, 1, 0, 1]))


def test_layers_that_are_named_by_number_follow_their_copies():
    config = rebuild_config({"model_type": "qwen3_moe", **SMALL, **MIXTURES["qwen3_moe"]})
    assert rebuild_config(
        grown_keys(config, {"num_hidden_layers": 4}, [0, 1, 0, 1])
    ).mlp_only_layers == [1, 3]


def test_windows_of_gpt_neo_follow_the_copies(grow, tmp_path):
    source, out = tmp_path / "source", tmp_path / "grown"
    keys = {
        **{"vocab_size": 96, "hidden_size": 16, "num_heads": 4, "max_position_embeddings": 64},
        **{"num_layers": 3, "window_size": 8},
        "attention_types": [[["global"], 1], [["local"], 2]],
    }
    fresh_model(rebuild_config({"model_type": "gpt_neo", **keys}), "causal", 0).save_pretrained(
        source
    )
    code, _, error = grow(source, "--operator", "stack", "--set", "factor=2", "--out", out)
    assert code == 0, error
    config = AutoConfig.from_pretrained(out)
    assert config.attention_layers == ["global", "local", "local"] * 2
    assert AutoModelForCausalLM.from_pretrained(out)(TOKENS).logits.shape == (1, 20, 96)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"model_type": "gpt2", "n_layer": 2, "scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx",
        ),
        ({"model_type": "diffllama", **SMALL}, "lambda_init"),
    ],
)
def test_layers_that_compute_by_their_number_are_warned_of(keys, words):
    config = rebuild_config(keys)
    shape, target = shape_of(config), target_shape(config, {"num_hidden_layers": 4})
    plan = make_candidate("stack", {}, (shape,), target).plan
    assert "depends on its number" in plan.warning and words in plan.warning
    plain = rebuild_config({"model_type": "llama", **SMALL})
    plan = make_candidate(
        "stack", {}, (shape_of(plain),), target_shape(plain, {"num_hidden_layers": 4})
    ).plan
    assert plan.warning is None
