"""What tables say of a model's tensors, compared with the models that transformers builds."""

import subprocess
import sys

import pytest
import transformers

from lagsearch.models.build import empty_model, tensors_of
from lagsearch.models.configs import DERIVED_KEYS, PER_LAYER_KEYS, build_config
from lagsearch.models.families.anatomy import MODEL_TYPES, anatomy_of
from lagsearch.models.layers import find_layers
from lagsearch.models.tabled import shapes_of

SIZES = {
    "num_hidden_layers": 3,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 67,
    "max_position_embeddings": 19,
    "type_vocab_size": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SWITCHES = (
    {},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
    {"attention_bias": True, "mlp_bias": True, "use_bias": True},
    {"attention_bias": False, "mlp_bias": False, "use_bias": False},
    {"head_dim": 8},
    {"n_inner": 31, "tie_word_embeddings": True},
)
CASES = [
    (name, each, switches)
    for name, known in MODEL_TYPES.items()
    for each in known.classes
    for switches in SWITCHES
]


def config_of(model_type, switches):
    known = transformers.AutoConfig.for_model(model_type)
    names = {*known.to_dict(), *known.attribute_map}
    keys = {key: value for key, value in {**SIZES, **switches}.items() if key in names}
    return build_config({"model_type": model_type, **keys})


@pytest.mark.parametrize(("model_type", "kind", "switches"), CASES)
def test_tensors_are_those_of_the_model(model_type, kind, switches):
    config = config_of(model_type, switches)
    anatomy = anatomy_of(model_type, config.to_dict())
    if MODEL_TYPES[model_type].ties is None and not config.tie_word_embeddings:
        assert anatomy is None
        return
    model = empty_model(config, kind)
    wanted = {name: tuple(each.shape) for name, each in tensors_of(model).items()}
    assert shapes_of(anatomy, find_layers(model, config), 3) == wanted


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_a_type_is_said_to_be(model_type):
    known, config = MODEL_TYPES[model_type], transformers.AutoConfig.for_model(model_type)
    keys = config.to_dict()
    assert config.attribute_map.get("num_hidden_layers", "num_hidden_layers") == known.depth
    listed = {key for key in (*PER_LAYER_KEYS, *DERIVED_KEYS) if keys.get(key) is not None}
    assert listed == set(known.per_layer)
    assert keys["tie_word_embeddings"] is (known.ties is not False)
    for _, key in known.biases:
        if key is not None and key.name in keys:
            assert keys[key.name] is key.default
    assert all(hasattr(transformers, each) for each in known.classes)


@pytest.mark.parametrize(
    ("model_type", "keys"),
    [
        ("llama", {}),
        ("llama", {**SIZES, "vocab_size": "many"}),
        ("llama", {**SIZES, "num_attention_heads": 0}),
        ("llama", {**SIZES, "rms_norm_eps": "small"}),
        ("mamba", SIZES),
        ("gpt2", {**SIZES, "add_cross_attention": True}),
    ],
)
def test_what_tables_do_not_say_is_left_to_transformers(model_type, keys):
    assert anatomy_of(model_type, keys) is None


def test_neither_torch_nor_transformers_is_needed():
    code = (
        "import sys, lagsearch.grow, lagsearch.models.tabled\n"
        "print([m for m in ('torch', 'transformers', 'ray', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
