"""Each family's table against the models that transformers builds."""

from dataclasses import replace

import pytest
import torch

from lagsearch.errors import ModelError, PluginError
from lagsearch.models import families
from lagsearch.models.build import empty_model, fresh_model
from lagsearch.models.configs import build_config, shape_of
from lagsearch.models.families import family_of, find_family
from lagsearch.models.families.llama import LLAMA
from lagsearch.models.layers import find_layers

FAMILIES = families.FAMILIES.all()

# Sizes that differ, so that no two axes can be taken for one another.
SIZES = {"hidden_size": 16, "vocab_size": 50, "num_attention_heads": 4, "num_hidden_layers": 3}
GATED = {
    **SIZES,
    "intermediate_size": 20,
    "num_key_value_heads": 2,
    "max_position_embeddings": 18,
}
FREE_HEADS = {**GATED, "head_dim": 6}  # 24 query and 12 key/value units
ENCODER = {
    **SIZES,
    "intermediate_size": 20,
    "max_position_embeddings": 18,
    "type_vocab_size": 3,
    "pad_token_id": 1,
}
GPT2 = {
    "n_embd": 16,
    "n_inner": 20,
    "n_head": 4,
    "n_layer": 3,
    "n_positions": 18,
    "vocab_size": 50,
}
NEOX = {**SIZES, "intermediate_size": 20, "max_position_embeddings": 18}
OPT = {
    **SIZES,
    "ffn_dim": 20,
    "word_embed_proj_dim": 16,
    "max_position_embeddings": 18,
    "pad_token_id": 1,
}
AXES = {"residual": 16, "ffn": 20, "vocabulary": 50, "position": 18}
EQUAL_HEADS = {**AXES, "query": 16, "key_value": 16}
SHARED_HEADS = {**AXES, "query": 16, "key_value": 8}
FALCON = {**SIZES, "ffn_hidden_size": 20}
DISTILBERT = {
    **{"dim": 16, "hidden_dim": 20, "n_heads": 4, "n_layers": 3, "vocab_size": 50},
    **{"max_position_embeddings": 18, "pad_token_id": 1},
}
ENCODERS = ("bert", "roberta", "distilbert", "electra")
WIDE_HEADS = {**AXES, "query": 24, "key_value": 12, "head_dim": 6}

# name: model type, keys, size of each axis
MODELS = {
    "llama": ("llama", FREE_HEADS, WIDE_HEADS),
    "llama-biases": (
        "llama",
        {**FREE_HEADS, "attention_bias": True, "mlp_bias": True},
        WIDE_HEADS,
    ),
    "mistral": ("mistral", FREE_HEADS, WIDE_HEADS),
    "qwen2": ("qwen2", GATED, {**AXES, "query": 16, "key_value": 8}),
    "qwen3": ("qwen3", FREE_HEADS, WIDE_HEADS),
    "qwen3-biases": ("qwen3", {**FREE_HEADS, "attention_bias": True}, WIDE_HEADS),
    "gpt2": ("gpt2", GPT2, {**AXES, "query": 16, "qkv_blocks": 48}),
    "gpt_neox": ("gpt_neox", NEOX, {**AXES, "query": 16, "qkv_per_head": 48}),
    "gpt_neox-no-biases": (
        "gpt_neox",
        {**NEOX, "attention_bias": False, "use_parallel_residual": False},
        {**AXES, "query": 16, "qkv_per_head": 48},
    ),
    "opt": ("opt", OPT, {**EQUAL_HEADS, "position": 20}),  # OPT keeps two rows for padding
    "opt-no-biases": (
        "opt",
        {**OPT, "enable_bias": False, "layer_norm_elementwise_affine": False},
        {**EQUAL_HEADS, "position": 20},
    ),
    "bert": ("bert", ENCODER, EQUAL_HEADS),
    "roberta": ("roberta", ENCODER, EQUAL_HEADS),
    "granite": ("granite", GATED, SHARED_HEADS),
    "smollm3": ("smollm3", {**GATED, "pad_token_id": 1}, SHARED_HEADS),
    "gemma2": ("gemma2", {**FREE_HEADS, "attention_bias": True}, WIDE_HEADS),
    "gemma3_text": ("gemma3_text", {**FREE_HEADS, "attention_bias": True}, WIDE_HEADS),
    "olmo2": ("olmo2", {**GATED, "attention_bias": True, "pad_token_id": 1}, SHARED_HEADS),
    "phi3": (
        "phi3",
        {**GATED, "pad_token_id": 1},
        {**SHARED_HEADS, "qkv_blocks": 32, "gate_up": 40},
    ),
    "starcoder2": ("starcoder2", GATED, SHARED_HEADS),
    "phi": ("phi", GATED, SHARED_HEADS),
    "stablelm": ("stablelm", {**GATED, "use_qkv_bias": True}, SHARED_HEADS),
    "falcon": (
        "falcon",
        {**FALCON, "multi_query": False, "bias": True, "parallel_attn": False},
        {**EQUAL_HEADS, "qkv_per_group": 48},
    ),
    "falcon-one-key": ("falcon", FALCON, {**EQUAL_HEADS, "qkv_per_group": 24}),
    "falcon-new": (
        "falcon",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
        {**EQUAL_HEADS, "qkv_per_group": 32},
    ),
    "distilbert": ("distilbert", DISTILBERT, EQUAL_HEADS),
    "electra": ("electra", {**ENCODER, "embedding_size": 16}, EQUAL_HEADS),
    "electra-projected": (
        "electra",
        {**ENCODER, "embedding_size": 12},
        {**EQUAL_HEADS, "embedding": 12},
    ),
}
STACKS = {
    "llama": "model.layers",
    "mistral": "model.layers",
    "qwen2": "model.layers",
    "qwen3": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "opt": "model.decoder.layers",
    "bert": "bert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    **dict.fromkeys(("granite", "smollm3", "gemma2", "gemma3_text", "olmo2"), "model.layers"),
    **dict.fromkeys(("phi", "phi3", "starcoder2", "stablelm"), "model.layers"),
    "falcon": "transformer.h",
    "distilbert": "distilbert.transformer.layer",
    "electra": "electra.encoder.layer",
}
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"  # 3 rows, no axis of growth

every_model = pytest.mark.parametrize("model", MODELS)
every_tying = pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])


def kind_of(model):
    return "masked" if MODELS[model][0] in ENCODERS else "causal"


def config_of(model, is_tied=False, **keys):
    model_type, own, _ = MODELS[model]
    return build_config(
        {"model_type": model_type, **own, "tie_word_embeddings": is_tied, **keys},
    )


def table_of(model):
    config = config_of(model)
    return family_of(config.model_type, shape_of(config).keys)


def split(name, prefix):
    """Return (layer, rest of the name), or None: written anew, without the package."""
    if not name.startswith(f"{prefix}."):
        return None
    layer, rest = name.removeprefix(f"{prefix}.").split(".", 1)
    return int(layer), rest


def stirred(model, is_tied=False, seed=1):
    """Build a model in float64 whose every tensor has values of its own."""
    built = fresh_model(config_of(model, is_tied), kind_of(model), seed).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in built.named_parameters():
            is_gain = tensor.dim() == 1 and name.endswith("weight")
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.3
            tensor.copy_(drawn + is_gain)
    return built


def run(built, model):
    """Return what enters the first layer, what leaves the last, and the logits."""
    layers = built.get_submodule(STACKS[MODELS[model][0]])
    caught = {}

    def first(layer, args, named):
        caught["in"] = (args[0] if args else named["hidden_states"]).clone()

    def last(layer, args, output):
        caught["out"] = (output[0] if isinstance(output, tuple) else output).clone()

    handles = [
        layers[0].register_forward_pre_hook(first, with_kwargs=True),
        layers[-1].register_forward_hook(last),
    ]
    # every position is used, so that every row of a table of positions counts
    ids = torch.randint(2, 50, (2, 16), generator=torch.Generator().manual_seed(0))  # (B, T)
    options = {"use_cache": False} if kind_of(model) == "causal" else {}
    with torch.no_grad():
        logits = built(input_ids=ids, **options).logits
    for handle in handles:
        handle.remove()
    return caught["in"], caught["out"], logits


def moved(built, model, name):
    """Change one tensor, and say which of the three places see it: input, output, logits."""
    before = run(built, model)
    tensor = built.get_parameter(name)
    kept = tensor.detach().clone()
    with torch.no_grad():
        tensor.add_(torch.randn(kept.shape, generator=torch.Generator().manual_seed(9)) * 0.3)
    after = run(built, model)
    with torch.no_grad():
        tensor.copy_(kept)
    return tuple(
        (one - other).abs().max().item() > 1e-9 for one, other in zip(before, after, strict=True)
    )


# ---- what the table holds


def test_every_table_of_the_folder_is_found_once():
    names = "bert roberta gpt2 llama qwen3 neox opt gemma2 gemma3 olmo2 phi3 starcoder2 stablelm"
    names += " phi falcon falcon-one-key falcon-per-head distilbert electra electra-projected"
    assert families.FAMILIES.names() == names.split()


def test_every_model_type_is_tried():
    """A new family enters these tests by a row in MODELS."""
    listed = [model_type for family in FAMILIES for model_type in family.model_types]
    several = {each for each in listed if listed.count(each) > 1}
    assert several == {"falcon", "electra"}  # tables that are told apart by what they require
    assert set(listed) == {model_type for model_type, _, _ in MODELS.values()}
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_weight_stands_twice_in_a_table(family):
    names = [weight.name for weight in family.layer + family.bottom + family.top]
    assert len(names) == len(set(names))


@every_model
@every_tying
def test_every_parameter_is_in_the_table(model, is_tied):
    config = config_of(model, is_tied)
    built = empty_model(config, kind_of(model))
    table = table_of(model)
    in_layer = {weight.name for weight in table.layer}
    outside = {weight.name for weight in table.bottom + table.top}
    for name, _ in built.named_parameters():
        parts = split(name, STACKS[config.model_type])
        if parts:
            assert parts[1] in in_layer, name
        else:
            assert name in outside, name


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_row_of_a_table_is_a_weight_of_some_model(family):
    seen = set()
    for model, (model_type, _, _) in MODELS.items():
        if model_type in family.model_types:
            for name, _ in empty_model(config_of(model), kind_of(model)).named_parameters():
                parts = split(name, STACKS[model_type])
                seen.add(parts[1] if parts else name)
    assert {weight.name for weight in family.layer + family.bottom + family.top} <= seen


@every_model
@every_tying
def test_shapes_are_those_of_the_axes_as_stored(model, is_tied):
    config = config_of(model, is_tied)
    parameters = dict(empty_model(config, kind_of(model)).named_parameters())
    table, sizes = table_of(model), MODELS[model][2]
    prefix = STACKS[config.model_type]
    n_seen = 0
    for weight in table.layer + table.bottom + table.top:
        if weight in table.layer:
            names = [f"{prefix}.{layer}.{weight.name}" for layer in range(3)]
        else:
            names = [weight.name]
        for name in names:
            if name not in parameters:
                continue
            n_seen += 1
            shape = tuple(parameters[name].shape)
            if name.endswith(TOKEN_TYPES):
                assert weight.axes[1] == ("embedding" if "embedding" in sizes else "residual")
                assert shape == (3, sizes[weight.axes[1]])
            else:
                assert shape == tuple(sizes[axis] for axis in weight.axes), name
    assert n_seen > 3 * 6


@every_model
def test_find_layers_tells_what_the_table_says(model):
    config = config_of(model)
    built = empty_model(config, kind_of(model))
    stack, table = find_layers(built, config), table_of(model)
    assert stack.prefix == STACKS[config.model_type]
    assert stack.family is table
    present = {name for name, _ in built.named_parameters()}
    assert {name for name in stack.top if name in present} == {
        weight.name for weight in table.top if weight.name in present
    }
    for weight in table.layer:
        assert stack.role(weight.name) == weight.role
    assert stack.role("no.such.weight") is None


# ---- what the weights do


# A key's bias adds the same to all scores of a query where nothing is rotated; and transformers
# does not use an encoder's head bias where the head is untied, but the bias of its linear map.
IDLE = {
    ("opt", "self_attn.k_proj.bias"),
    ("bert", "attention.self.key.bias"),
    ("roberta", "attention.self.key.bias"),
    ("electra", "attention.self.key.bias"),
    ("distilbert", "attention.k_lin.bias"),
}
IDLE_UNTIED = {("bert", "cls.predictions.bias"), ("roberta", "lm_head.bias")}
PRE_NORM = [model for model in MODELS if kind_of(model) == "causal"]


@every_model
def test_bottom_layers_and_top_stand_where_they_are_said_to(model):
    """A change of each tensor is seen above it, and nowhere below."""
    built, table = stirred(model), table_of(model)
    present = dict(built.named_parameters())
    for weight in table.bottom:
        if weight.name in present:
            assert moved(built, model, weight.name) == (True, True, True), weight.name
    for weight in table.top:
        if weight.name in present:
            is_seen = (MODELS[model][0], weight.name) not in IDLE_UNTIED
            assert moved(built, model, weight.name) == (False, False, is_seen), weight.name
    for weight in table.layer:
        for layer in (0, 2):
            name = f"{STACKS[MODELS[model][0]]}.{layer}.{weight.name}"
            if name not in present:
                continue
            is_seen = (MODELS[model][0], weight.name) not in IDLE
            assert moved(built, model, name) == (False, is_seen, is_seen), name


@pytest.mark.parametrize(("model", "name"), sorted(IDLE_UNTIED))
def test_a_tied_encoders_head_bias_is_at_the_top(model, name):
    assert moved(stirred(model, is_tied=True), model, name) == (False, False, True)


@every_model
def test_all_that_a_layer_adds_comes_from_its_writers(model):
    """Without its writers a pre-norm layer hands on what it gets; a post-norm one does not."""
    built, table = stirred(model), table_of(model)
    writers = {weight.name for weight in table.layer if weight.role == "writer"}
    with torch.no_grad():
        for name, tensor in built.named_parameters():
            parts = split(name, STACKS[MODELS[model][0]])
            if parts and parts[1] in writers:
                tensor.zero_()
    before, behind, _ = run(built, model)
    assert table.is_post_norm == (MODELS[model][0] in ENCODERS)
    if table.is_post_norm:
        assert (before - behind).abs().max() > 1e-2
    else:
        assert torch.equal(before, behind)


@pytest.mark.parametrize("model", PRE_NORM)
def test_no_writer_is_idle(model):
    """With all writers but one at zero, the layers still add something."""
    prefix = STACKS[MODELS[model][0]]
    present = {name for name, _ in stirred(model).named_parameters()}
    writers = [weight.name for weight in table_of(model).layer if weight.role == "writer"]
    writers = [rest for rest in writers if f"{prefix}.0.{rest}" in present]
    assert len(writers) >= 2
    for one in writers:
        built = stirred(model)
        with torch.no_grad():
            for name, tensor in built.named_parameters():
                parts = split(name, prefix)
                if parts and parts[1] in writers and parts[1] != one:
                    tensor.zero_()
        before, behind, _ = run(built, model)
        assert (before - behind).abs().max() > 1e-3, one


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_roles_fit_the_axes(family):
    """What reads takes from the residual stream, what writes gives to it."""
    for weight in family.layer:
        if len(weight.axes) == 2:
            others = [axis for axis in weight.axes if axis != "residual"]
            assert len(others) == 1, weight.name
            units = {"reader": {"query", "key_value", "ffn", "qkv_blocks", "qkv_per_head"}}
            units["reader"] |= {"gate_up", "qkv_per_group"}
            units["writer"] = {"query", "ffn"}
            assert others[0] in units[weight.role], weight.name
        elif weight.role == "writer":
            assert weight.axes == ("residual",), weight.name
        elif weight.role == "reader":
            assert weight.axes != ("residual",), weight.name
        else:
            assert weight.role in ("norm", "shift"), weight.name
    for weight in family.bottom + family.top:
        assert "query" not in weight.axes and "ffn" not in weight.axes, weight.name


@every_model
def test_the_norm_is_of_the_said_kind(model):
    """Layer norms see no shift of their input; RMS norms do."""
    built, table = stirred(model), table_of(model)
    first = built.get_submodule(f"{STACKS[MODELS[model][0]]}.0")
    layer = {name for name, _ in first.named_modules()}
    norms = (w.name for w in table.layer if w.role == "norm" and w.axes == ("residual",))
    name = next(name for name in norms if name.rpartition(".")[0] in layer)
    norm = built.get_submodule(f"{STACKS[MODELS[model][0]]}.0.{name.rpartition('.')[0]}")
    x_TD = torch.randn(5, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        is_shift_seen = (norm(x_TD + 1.0) - norm(x_TD)).abs().max().item() > 1e-6
    assert table.norm == ("rms" if is_shift_seen else "layer")


@pytest.mark.parametrize("model", ["gpt2", "gpt_neox"])
def test_layout_of_the_fused_projection(model):
    """With the values at zero, found by the layout's words, attention writes its bias alone."""
    built = stirred(model)
    layer = built.get_submodule(STACKS[model])[1]
    fused, out = {
        "gpt2": ("attn.c_attn", "attn.c_proj"),
        "gpt_neox": ("attention.query_key_value", "attention.dense"),
    }[model]
    units = torch.arange(48)
    is_value = {  # all queries, keys, values; or query, key and value of each of 4 heads in turn
        "gpt2": units >= 32,
        "gpt_neox": units % 12 >= 8,
    }[model]
    named = {weight.name: weight for weight in table_of(model).layer}
    axes = named[f"{fused}.weight"].axes
    assert (
        axes
        == {"gpt2": ("residual", "qkv_blocks"), "gpt_neox": ("qkv_per_head", "residual")}[model]
    )
    caught = []
    handle = layer.get_submodule(out).register_forward_hook(lambda m, a, made: caught.append(made))
    run(built, model)
    with torch.no_grad():
        weight = layer.get_parameter(f"{fused}.weight")
        (weight.T if axes[1] == "qkv_blocks" else weight)[is_value] = 0
        layer.get_parameter(f"{fused}.bias")[is_value] = 0
    run(built, model)
    handle.remove()
    bias = layer.get_parameter(f"{out}.bias").detach()
    full, without_values = (made.reshape(-1, 16) for made in caught)
    assert (full - bias).abs().max() > 1e-2
    assert (without_values - bias).abs().max() == 0


# ---- where a table does not hold


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [("opt", "do_layer_norm_before", False), ("gpt2", "add_cross_attention", True)],
)
def test_a_required_key_is_named(model, key, value):
    config = config_of(model, **{key: value})
    keys = shape_of(config).keys
    with pytest.raises(ModelError, match=rf"{model} .*\b{key}\b.*{value}") as failure:
        family_of(model, keys)
    assert "\n" not in str(failure.value)
    assert find_family(model, keys) is None
    assert find_family(model, {**keys, key: not value}) is table_of(model)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("falcon", "falcon-per-head"),
        ("falcon-one-key", "falcon-one-key"),
        ("falcon-new", "falcon"),
        ("electra", "electra"),
        ("electra-projected", "electra-projected"),
    ],
)
def test_tables_of_one_type_are_told_apart(model, name):
    assert table_of(model).name == name


@pytest.mark.parametrize("model_type", ["cohere", "", "Llama"])
def test_an_unknown_model_type(model_type):
    with pytest.raises(ModelError, match=r"no table.*known: bert, .*roberta.*add one.*families"):
        family_of(model_type, {})
    assert find_family(model_type, {}) is None


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        pytest.param("opt", {"word_embed_proj_dim": 8}, id="opt-projected-embedding"),
        pytest.param(
            "bert", {"is_decoder": True, "add_cross_attention": True}, id="bert-cross-attention"
        ),
        pytest.param(
            "roberta",
            {"is_decoder": True, "add_cross_attention": True},
            id="roberta-cross-attention",
        ),
    ],
)
def test_a_table_that_lacks_weights_is_not_found(model, keys):
    """Models with weights that the table does not know are to be refused, or known."""
    config = config_of(model, **keys)
    family = find_family(config.model_type, shape_of(config).keys)
    if family is None:
        return
    known = {weight.name for weight in family.layer + family.bottom + family.top}
    names = [name for name, _ in empty_model(config, kind_of(model)).named_parameters()]
    rests = [parts[1] if (parts := split(n, STACKS[config.model_type])) else n for n in names]
    assert [rest for rest in rests if rest not in known] == []


def test_gpt2_that_scales_by_layer_has_no_table():
    """A layer's place changes what it computes there, so that nothing added is exact."""
    with pytest.raises(ModelError, match="scale_attn_by_inverse_layer_idx"):
        family_of("gpt2", {"scale_attn_by_inverse_layer_idx": True})


def test_a_model_type_alone_is_no_tuple_of_model_types():
    """It would stand for every type whose name is a part of it."""
    with pytest.raises(PluginError, match=r"model_types is a tuple; write \('llama',\)"):
        replace(LLAMA, name="mine", model_types="llama")
