import copy
import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AlbertConfig, T5Config, T5ForConditionalGeneration

from lagsearch.errors import ModelError
from lagsearch.models.build import empty_model, fresh_model, n_parameters, tensors_of
from lagsearch.models.checks import check_growth, check_running
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    plain_config,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import LayerStack, find_layers

GPT2 = {
    "model_type": "gpt2",
    "n_layer": 3,
    "n_embd": 16,
    "n_head": 2,
    "n_positions": 16,
    "vocab_size": 32,
}
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "vocab_size": 32,
}
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "vocab_size": 32,
}
FULL, SLIDING = "full_attention", "sliding_attention"
QWEN = {
    **LLAMA,
    "model_type": "qwen2",
    "num_hidden_layers": 4,
    "use_sliding_window": True,
    "sliding_window": 4,
    "layer_types": [SLIDING, FULL, SLIDING, FULL],
}
ALBERT = AlbertConfig(
    vocab_size=32,
    embedding_size=8,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=2,
)
T5 = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=24, num_layers=3, num_heads=2)


# Layers


@pytest.mark.parametrize(
    ("keys", "kind", "prefix"),
    [
        (GPT2, "causal", "transformer.h"),
        (LLAMA, "causal", "model.layers"),
        (QWEN, "causal", "model.layers"),
        (BERT, "masked", "bert.encoder.layer"),
    ],
)
@pytest.mark.parametrize("n_layers", [1, 2, 11])
def test_stack_is_found(keys, kind, prefix, n_layers):
    keys = {k: v for k, v in keys.items() if k not in ("n_layer", "layer_types")}
    config = build_config({**keys, "num_hidden_layers": n_layers})
    model = empty_model(config, kind)
    stack = find_layers(model, config)
    assert stack.prefix == prefix
    layers = {parts[0] for name in tensors_of(model) if (parts := stack.split(name))}
    assert layers == set(range(n_layers))


def test_shared_layers_are_refused():
    model = empty_model(ALBERT, "masked")
    with pytest.raises(ModelError, match=r"albert|Albert"):
        find_layers(model, ALBERT)


def test_two_stacks_are_refused():
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5)
    with pytest.raises(ModelError, match=r"t5|T5"):
        find_layers(model, T5)


@pytest.mark.parametrize(("config", "kind"), [(T5, "causal"), (T5, "masked"), (ALBERT, "causal")])
def test_no_class_for_the_kind(config, kind):
    with pytest.raises(ModelError, match=rf"{config.model_type}.*{kind}"):
        empty_model(config, kind)


def test_depth_that_the_model_does_not_have_is_refused():
    config = build_config(LLAMA)
    model = empty_model(config, "causal")
    other = build_config({**LLAMA, "num_hidden_layers": 5})
    with pytest.raises(ModelError, match="5"):
        find_layers(model, other)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("model.layers.0.mlp.up_proj.weight", (0, "mlp.up_proj.weight")),
        ("model.layers.12.input_layernorm.weight", (12, "input_layernorm.weight")),
        ("model.layers.3.layers.4.weight", (3, "layers.4.weight")),
        ("model.norm.weight", None),
        ("lm_head.weight", None),
        ("model.layersnorm.1.weight", None),
        ("other.model.layers.1.weight", None),
    ],
)
def test_split(name, parts):
    assert LayerStack("model.layers").split(name) == parts


@given(st.integers(0, 999), st.from_regex(r"[a-z_]{1,8}(\.[a-z0-9_]{1,8}){0,3}", fullmatch=True))
def test_split_undoes_join(layer, rest):
    stack = LayerStack("transformer.h")
    name = stack.join(layer, rest)
    assert name == f"transformer.h.{layer}.{rest}"
    assert stack.split(name) == (layer, rest)


# Configurations


def test_unknown_model_type():
    with pytest.raises(ModelError, match=r"'lama'.*did you mean 'llama'") as failure:
        build_config({**LLAMA, "model_type": "lama"})
    assert "\n" not in str(failure.value)


def test_unknown_key():
    with pytest.raises(ModelError, match=r"hiden_size.*did you mean 'hidden_size'") as failure:
        build_config({**LLAMA, "hiden_size": 32})
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("model_type", "key", "meant"),
    [
        ("llama", "ffn", "intermediate_size"),
        ("llama", "FFN", "intermediate_size"),
        ("llama", "layers", "num_hidden_layers"),
        ("llama", "width", "hidden_size"),
        ("llama", "heads", "num_attention_heads"),
        ("llama", "kv_heads", "num_key_value_heads"),
        ("llama", "vocab", "vocab_size"),
        ("llama", "context_length", "max_position_embeddings"),
        ("llama", "n_layer", "num_hidden_layers"),
        ("gpt2", "layers", "n_layer"),
        ("gpt2", "ffn", "n_inner"),
        ("gpt2", "width", "n_embd"),
        ("opt", "mlp", "ffn_dim"),
    ],
)
def test_a_size_is_known_by_other_names(model_type, key, meant):
    config = build_config({"model_type": model_type})
    message = f"key '{key}' is unknown to model_type {model_type}; did you mean '{meant}'?"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        target_shape(config, {key: 5})


def test_what_is_like_no_key_gets_all_that_may_be_meant():
    known = r"; known: attention_bias, .*hidden_size, .*vocab_size$"
    with pytest.raises(ModelError, match=f"^key 'wombat' is unknown to model_type llama{known}"):
        target_shape(build_config(LLAMA), {"wombat": 5})


@pytest.mark.parametrize("key", ["num_hiden_layers", "n_layer", "torch_dtypes", "architecture"])
def test_unknown_key_of_the_target(key):
    with pytest.raises(ModelError, match=key):
        target_shape(build_config(LLAMA), {"num_hidden_layers": 5, key: 5})


@pytest.mark.parametrize("key", ["hiden_size", "n_layer"])
def test_unknown_key_of_a_grown_configuration(key):
    changes = {"num_hidden_layers": 5, key: 5}
    with pytest.raises(ModelError, match=key):
        rebuild_config(grown_keys(build_config(LLAMA), changes, [0, 0, 1, 1, 2]))


@pytest.mark.parametrize("value", ["many", "3", 2.5, None])
def test_depth_that_is_no_whole_number(value):
    with pytest.raises(ModelError, match="num_hidden_layers"):
        build_config({**LLAMA, "num_hidden_layers": value})


@pytest.mark.parametrize("value", [0, -1])
def test_depth_below_one(value):
    config = build_config({**LLAMA, "num_hidden_layers": value})
    with pytest.raises(ModelError, match=rf"list of {value} layers"):
        find_layers(empty_model(config, "causal"), config)


@pytest.mark.parametrize("value", ["many", "5", 0, -1, 2.5, None])
def test_impossible_depth_of_the_target(value):
    with pytest.raises(ModelError, match="num_hidden_layers"):
        target_shape(build_config(LLAMA), {"num_hidden_layers": value})


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ModelError, match="llama"):
        empty_model(build_config({**LLAMA, "hidden_size": 18}), "causal")


@pytest.mark.parametrize("key", ["n_layer", "num_hidden_layers"])
def test_depth_of_gpt2_by_either_name(key):
    keys = {k: v for k, v in GPT2.items() if k != "n_layer"}
    assert shape_of(build_config({**keys, key: 5})).n_layers == 5
    assert target_shape(build_config(GPT2), {key: 5}).n_layers == 5
    grown = rebuild_config(grown_keys(build_config(GPT2), {key: 5}, [0, 0, 1, 1, 2]))
    assert (grown.n_layer, grown.num_hidden_layers) == (5, 5)


def test_two_names_for_one_key_must_not_disagree():
    with pytest.raises(ModelError, match=r"n_layer|num_hidden_layers"):
        build_config({**GPT2, "n_layer": 3, "num_hidden_layers": 5})


def test_two_names_for_one_key_of_the_target_must_not_disagree():
    with pytest.raises(ModelError, match=r"n_layer|num_hidden_layers"):
        target_shape(build_config(GPT2), {"n_layer": 5, "num_hidden_layers": 6})


def test_shape_keeps_stored_names():
    shape = shape_of(build_config({"model_type": "gpt2", "hidden_size": 16, "n_layer": 2}))
    assert shape.keys["n_embd"] == 16
    assert "hidden_size" not in shape.keys
    assert shape.n_layers == 2


@pytest.mark.parametrize("key", ["n_embd", "hidden_size"])
def test_a_change_of_width_shows_by_its_stored_name(key):
    config = build_config(GPT2)
    shape = target_shape(config, {"n_layer": 5, key: 32})
    assert shape_of(config).differences(shape) == {"n_embd": (16, 32)}


@pytest.mark.parametrize("keys", [GPT2, LLAMA, BERT], ids=lambda k: k["model_type"])
def test_depth_alone_is_no_difference(keys):
    config = build_config(keys)
    assert shape_of(config).differences(target_shape(config, {"num_hidden_layers": 6})) == {}


def test_depth_alone_is_no_difference_with_layer_types():
    config = build_config(QWEN)
    assert shape_of(config).differences(target_shape(config, {"num_hidden_layers": 6})) == {}


def test_key_given_with_the_sources_value_is_no_difference():
    config = build_config(LLAMA)
    target = target_shape(config, {"num_hidden_layers": 6, "hidden_size": 16})
    assert shape_of(config).differences(target) == {}


def test_source_configuration_is_left_alone():
    config = build_config(QWEN)
    before = copy.deepcopy(config.to_dict())
    target_shape(config, {"num_hidden_layers": 6, "hidden_size": 32})
    rebuild_config(grown_keys(config, {"num_hidden_layers": 6}, [0, 1, 0, 1, 2, 3]))
    assert config.to_dict() == before


@pytest.mark.parametrize("keys", [GPT2, LLAMA, BERT, QWEN], ids=lambda k: k["model_type"])
def test_plain_config_builds_the_same_again(keys):
    config = build_config(keys)
    plain = json.loads(json.dumps(plain_config(config)))
    assert plain["model_type"] == keys["model_type"]
    again = build_config(plain)
    assert type(again) is type(config)
    assert again.to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ([0, 1, 0, 1, 2, 3], [SLIDING, FULL, SLIDING, FULL, SLIDING, FULL]),
        ([0, 0, 1, 1, 2, 3], [SLIDING, SLIDING, FULL, FULL, SLIDING, FULL]),
        ([0, 1, 2, 3, 2, 3], [SLIDING, FULL, SLIDING, FULL, SLIDING, FULL]),
        ([0, 1, 1, 2, 2, 3], [SLIDING, FULL, FULL, SLIDING, SLIDING, FULL]),
    ],
)
def test_layer_types_are_carried_along(origins, expected, tmp_path):
    grown = rebuild_config(grown_keys(build_config(QWEN), {"num_hidden_layers": 6}, origins))
    assert grown.layer_types == expected
    assert grown.num_hidden_layers == 6
    grown.save_pretrained(tmp_path)
    assert type(grown).from_pretrained(tmp_path).layer_types == expected


def test_layer_types_that_the_config_made_itself_are_carried_along():
    keys = {k: v for k, v in QWEN.items() if k != "layer_types"}
    config = build_config({**keys, "max_window_layers": 2})
    assert config.layer_types == [FULL, FULL, SLIDING, SLIDING]
    grown = rebuild_config(grown_keys(config, {"num_hidden_layers": 6}, [0, 1, 2, 3, 2, 3]))
    assert grown.layer_types == [FULL, FULL, SLIDING, SLIDING, SLIDING, SLIDING]


def test_grown_sliding_window_model_runs():
    grown = rebuild_config(
        grown_keys(build_config(QWEN), {"num_hidden_layers": 6}, [0, 0, 1, 1, 2, 3])
    )
    model = fresh_model(grown, "causal", 0)
    tokens = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        assert model(input_ids=tokens).logits.shape == (1, 12, 32)


# Checks


@pytest.mark.parametrize(
    ("keys", "kind"),
    [(GPT2, "causal"), (LLAMA, "causal"), (QWEN, "causal"), (BERT, "masked")],
    ids=lambda each: each if isinstance(each, str) else each["model_type"],
)
def test_sound_model_passes(keys, kind):
    config = build_config(keys)
    model = fresh_model(config, kind, 0)
    check_growth(model, config, n_parameters(empty_model(config, kind)))
    check_running(model, kind)


def test_wrong_parameter_count():
    config = build_config(LLAMA)
    model = fresh_model(config, "causal", 0)
    right = n_parameters(model)
    with pytest.raises(ModelError, match=rf"{right}.*{right + 1}|{right + 1}.*{right}"):
        check_growth(model, config, right + 1)


def test_layers_that_the_configuration_does_not_know():
    """Layers added without the configuration are silently never run."""
    config = build_config(LLAMA)
    model = fresh_model(config, "causal", 0)
    model.model.layers.append(copy.deepcopy(model.model.layers[0]))
    with pytest.raises(ModelError, match=r"layer|depth"):
        check_growth(model, config, n_parameters(model))


def test_stale_layer_index_breaks_cached_generation():
    config = build_config(LLAMA)
    model = fresh_model(config, "causal", 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    check_running(model, "causal")
    model.model.layers[2].self_attn.layer_idx = 1
    with pytest.raises(ModelError, match="cache"):
        check_running(model, "causal")


def test_lost_tie():
    config = build_config({**LLAMA, "tie_word_embeddings": True})
    model = fresh_model(config, "causal", 0)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with pytest.raises(ModelError, match=r"\bti"):
        check_growth(model, config, n_parameters(model))


@pytest.mark.parametrize("is_tied", [True, False])
def test_parameters_of_a_llama_by_hand(is_tied):
    config = build_config({**LLAMA, "tie_word_embeddings": is_tied})
    attention = 16 * 16 + 2 * 16 * 8 + 16 * 16  # q; k and v for 2 heads of 4; o
    layer = attention + 3 * 16 * 24 + 2 * 16
    expected = 3 * layer + 16 + 32 * 16 * (1 if is_tied else 2)
    model = empty_model(config, "causal")
    assert n_parameters(model) == expected
    assert sum(tensor.numel() for tensor in tensors_of(model).values()) == expected
    assert all(tensor.is_meta for tensor in model.parameters())
