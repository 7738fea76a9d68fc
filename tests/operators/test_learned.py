"""Learned mixes: what they begin as, by hand and against the operators they generalize."""

import json
import random

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lagsearch.errors import ModelError, OperatorError
from lagsearch.models.build import auto_class, empty_model, fresh_model, n_parameters, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.families import Family, Weight
from lagsearch.models.layers import LayerStack, find_layers
from lagsearch.operators import GrowthPlan, find_operator, make_candidate
from lagsearch.operators.execute.fill import fill, recipe
from lagsearch.operators.execute.mix import check_fit, make_mix
from lagsearch.operators.execute.mix_sizes import check_mix, mix_sizes
from lagsearch.operators.plan.growth import LayerOrigin, Origin
from lagsearch.operators.plan.learned import Learned
from lagsearch.operators.plan.width import Lift, Width

COMMON = {"num_hidden_layers": 3, "vocab_size": 32, "max_position_embeddings": 16}
SIZES = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24}
MODELS = {
    "llama": {**COMMON, **SIZES, "model_type": "llama", "num_key_value_heads": 2},
    "llama-tied": {
        **COMMON,
        **SIZES,
        "model_type": "llama",
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "attention_bias": True,
    },
    "qwen3": {
        **COMMON,
        **SIZES,
        "model_type": "qwen3",
        "num_key_value_heads": 2,
        "head_dim": 4,
    },
    "gpt2": {
        "model_type": "gpt2",
        "n_layer": 3,
        "n_embd": 16,
        "n_head": 4,
        "n_inner": 24,
        "n_positions": 16,
        "vocab_size": 32,
    },
    "gpt_neox": {**COMMON, **SIZES, "model_type": "gpt_neox"},
    "bert": {**COMMON, **SIZES, "model_type": "bert"},
}
every_model = pytest.mark.parametrize("name", MODELS)

DEEPER = {"num_hidden_layers": 7}
EXACT = {"steps": 0, "noise": 0.0}


def wider(name, hidden=32, heads=8, ffn=48, layers=3):
    keys = {"hidden_size": hidden, "num_attention_heads": heads, "num_hidden_layers": layers}
    if "num_key_value_heads" in MODELS[name]:
        keys["num_key_value_heads"] = heads // 2
    return {**keys, ("n_inner" if name == "gpt2" else "intermediate_size"): ffn}


def kind_of(name):
    return "masked" if name == "bert" else "causal"


def make_source(name, seed=1, **changes):
    """Make a model whose every tensor, norms and biases too, is random."""
    model = fresh_model(build_config({**MODELS[name], **changes}), kind_of(name), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
    return model.eval()


def make_plan(sources, operator, changes, **settings):
    shapes = tuple(shape_of(each.config) for each in sources)
    names = tuple("abcd"[: len(sources)])
    shape = target_shape(sources[0].config, changes)
    return make_candidate(operator, settings, shapes, shape, names).plan


def grow(name, operator, changes, sources=None, parameters=None, **settings):
    """Grow; the plan goes through JSON on the way. Return the target and what can make it again."""
    sources = sources or [make_source(name)]
    plan = make_plan(sources, operator, changes, **settings)
    again = GrowthPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert (again, hash(again)) == (plan, hash(plan))
    origins = [layer.layer for layer in plan.layers]
    config = rebuild_config(
        grown_keys(sources[0].config, {**changes, **plan.config_changes()}, origins)
    )
    target = fresh_model(config, kind_of(name), 7).eval()
    stack, tensors = find_layers(target, config), [tensors_of(each) for each in sources]
    meta = [{key: value.to("meta") for key, value in each.items()} for each in tensors]
    check_fit(again, stack, meta, tensors_of(target))
    fill(again, stack, tensors, tensors_of(target))
    mix = None
    if again.learned is not None:
        mix = make_mix(again, stack, tensors, tensors_of(target))
        made = mix(parameters or mix.start(5))
        with torch.no_grad():
            for each, value in made.items():
                tensors_of(target)[each].copy_(value)
    return target, mix, plan


def state(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(got, expected):
    assert set(got) == set(expected)
    assert [name for name in got if not torch.equal(got[name], expected[name])] == []


# What it begins as


@every_model
@pytest.mark.parametrize("init", ["stack", "interleave"])
def test_one_hot_depth_is_stack_and_interleave_bit_for_bit(name, init):
    learned, mix, _ = grow(name, "ligo", DEEPER, init=init, **EXACT)
    plain, _, _ = grow(name, init, DEEPER)
    assert_same_bits(state(learned), state(plain))
    coefficients = mix.start(5)
    assert coefficients
    assert all(key.startswith("depth.") for key in coefficients)
    assert all(set(value.unique().tolist()) == {0.0, 1.0} for value in coefficients.values())


@every_model
@pytest.mark.parametrize(
    "sizes",
    [{}, {"hidden": 24, "heads": 6}, {"hidden": 16, "heads": 4, "ffn": 41}],
    ids=["double", "half-more", "ffn"],
)
def test_one_hot_width_is_net2net_bit_for_bit(name, sizes):
    changes = wider(name, **sizes)
    learned, _, _ = grow(name, "ligo", changes, **EXACT)
    plain, _, _ = grow(name, "net2net", changes)
    assert_same_bits(state(learned), state(plain))


@every_model
def test_width_and_depth_together_begin_as_combined(name):
    changes = wider(name, layers=6)
    learned, _, _ = grow(name, "ligo", changes, **EXACT)
    plain, _, _ = grow(name, "combined", changes, width="net2net", depth="stack")
    assert_same_bits(state(learned), state(plain))


def test_zero_rows_are_padding_with_zeros():
    """Llama, 4 heads of 4 in 2 groups to 6 in 3: all old values in the corners, else zero."""
    source = make_source("llama")
    changes = wider("llama", hidden=24, heads=6, ffn=40)
    target, _, plan = grow("llama", "ligo", changes, [source], width_init="zero", **EXACT)
    old, new = state(source), state(target)
    for name, value in new.items():
        expected = torch.zeros_like(value)
        # heads are appended whole, groups of two heads behind groups: rows 0..15 and 0..7 stay
        corner = tuple(slice(0, size) for size in old[name].shape)
        expected[corner] = old[name]
        if "norm" in name:
            expected *= (16 / 24) ** 0.5
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    assert "without noise" in plan.warning
    tokens = torch.arange(18).reshape(2, 9) * 5 % 32
    with torch.no_grad():
        difference = (source(tokens).logits - target(tokens).logits).abs().max()
    assert difference < 1e-4


def test_average_rows_are_the_mean_of_all_units():
    source = make_source("llama")
    changes = wider("llama", hidden=24, heads=6, ffn=40)
    target, _, _ = grow("llama", "ligo", changes, [source], width_init="average", **EXACT)
    old, new = state(source), state(target)
    embedding = new["model.embed_tokens.weight"]
    torch.testing.assert_close(embedding[:, :16], old["model.embed_tokens.weight"])
    mean = old["model.embed_tokens.weight"].mean(dim=1, keepdim=True)
    torch.testing.assert_close(embedding[:, 16:], mean.expand(-1, 8))
    # A = B diag(1 / column sums): each column of B sums to 1 + 8 / 16
    head = old["lm_head.weight"] / 1.5
    torch.testing.assert_close(new["lm_head.weight"][:, :16], head)
    torch.testing.assert_close(
        new["lm_head.weight"][:, 16:], head.mean(dim=1, keepdim=True).expand(-1, 8)
    )


def test_a_mix_of_two_layers_of_two_units_by_hand():
    """B = [I; (1, 2)], which began as [I; (1, 0)]: A = B diag(1/2, 1)."""
    family = Family(
        "toy",
        ("toy",),
        layer=(
            Weight("reads", ("ffn", "residual"), "reader"),
            Weight("writes", ("residual", "ffn"), "writer"),
            Weight("gain", ("residual",), "norm"),
        ),
        bottom=(),
        top=(),
        norm="rms",
    )
    stack = LayerStack("h", family=family)
    layers = tuple(LayerOrigin(layer=each, treatment="learned") for each in (0, 1))
    one = Lift(1, 1, 1)
    width = Width(Lift(2, 3, 3), one, one, Lift(1, 1, 1))
    learned = Learned(((0, 0), (0, 1)), 0, 0.1, 0, 0.0)
    plan = GrowthPlan(layers, width=width, learned=learned)
    source = {
        "h.0.reads": torch.tensor([[1.0, 2.0]]),
        "h.1.reads": torch.tensor([[5.0, 6.0]]),
        "h.0.writes": torch.tensor([[1.0], [3.0]]),
        "h.1.writes": torch.tensor([[2.0], [4.0]]),
        "h.0.gain": torch.tensor([1.0, 1.0]),
        "h.1.gain": torch.tensor([3.0, 5.0]),
    }
    mix = make_mix(plan, stack, [source], source)
    assert mix.sizes.parameters() == {
        "depth.reads": (2, 2),
        "depth.writes": (2, 2),
        "depth.gain": (2, 2),
        "width.residual": (1, 2),
    }
    started = mix.start(0)
    assert started["width.residual"].tolist() == [[1.0, 0.0]]
    made = mix(
        {
            "depth.reads": torch.tensor([[0.5, 0.5], [0.0, 1.0]]),
            "depth.writes": torch.tensor([[1.0, 1.0], [2.0, -1.0]]),
            "depth.gain": torch.tensor([[1.0, 0.0], [0.5, 0.5]]),
            "width.residual": torch.tensor([[1.0, 2.0]]),
        }
    )
    assert {name: value.tolist() for name, value in made.items()} == {
        "h.0.reads": [[1.5, 4.0, 9.5]],  # (3, 4) A^T = (3/2, 4, 3/2 + 2 x 4)
        "h.1.reads": [[2.5, 6.0, 14.5]],
        "h.0.writes": [[3.0], [7.0], [17.0]],  # B (3, 7)
        "h.1.writes": [[0.0], [2.0], [4.0]],
        "h.0.gain": [1.0, 1.0, 3.0],
        "h.1.gain": [2.0, 3.0, 8.0],
    }


def test_noise_is_on_coefficients_of_matrices_and_on_new_rows():
    _, mix, _ = grow("llama", "ligo", wider("llama", layers=6), noise=0.1)
    _, exact, _ = grow("llama", "ligo", wider("llama", layers=6), **EXACT)
    noisy, plain = mix.start(5), exact.start(5)
    for name, value in noisy.items():
        if name.startswith("width."):
            rows = (value - plain[name]).norm(dim=1)
            assert 0.02 < float(rows.mean()) < 0.2
        elif "norm" in name:
            assert torch.equal(value, plain[name])
        else:
            torch.testing.assert_close(value.sum(dim=1), torch.ones(6))
            others = value[plain[name] == 0]
            assert 0 < float(others.min()) < float(others.max()) < 0.1
    again = mix.start(5)
    assert_same_bits(again, noisy)
    assert not torch.equal(mix.start(6)["width.residual"], noisy["width.residual"])


# Heads


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
def test_mixing_heads_whole_commutes_with_rotary_embeddings(name):
    """The score of a mixed head is the bilinear form of mixed queries and keys, at any place."""
    source = make_source(name)
    doubled, _, _ = grow(name, "ligo", wider(name), [source], **EXACT)
    copied, _, _ = grow(name, "net2net", wider(name), [source])
    tokens = torch.arange(18).reshape(2, 9) * 5 % 32
    with torch.no_grad():
        logits = [model(tokens).logits for model in (source, doubled, copied)]
    assert torch.equal(logits[1], logits[2])
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-4)


def test_what_a_new_head_mixes_it_mixes_whole():
    """Group 3 = 0.25 of group 1 + 0.75 of group 2: row by row of a head, never across its rows."""
    source = make_source("llama")
    changes = wider("llama", hidden=16, heads=6, ffn=24)
    plan = make_plan([make_source("llama", head_dim=4)], "ligo", changes, **EXACT)
    source = make_source("llama", head_dim=4)
    tensors = tensors_of(source)
    mix = make_mix(plan, find_layers(source, source.config), [tensors], tensors)
    parameters = mix.start(0)
    parameters["width.key_value"] = torch.tensor([[0.25, 0.75]])
    made = mix(parameters)
    key = tensors["model.layers.1.self_attn.k_proj.weight"]
    got = made["model.layers.1.self_attn.k_proj.weight"]
    torch.testing.assert_close(got[:8], key)
    torch.testing.assert_close(got[8:], 0.25 * key[:4] + 0.75 * key[4:])
    query = tensors["model.layers.1.self_attn.q_proj.weight"]
    got = made["model.layers.1.self_attn.q_proj.weight"]
    torch.testing.assert_close(got[16:], 0.25 * query[:8] + 0.75 * query[8:])
    out = tensors["model.layers.1.self_attn.o_proj.weight"] * torch.tensor(
        [0.5, 1.0]
    ).repeat_interleave(8)
    got = made["model.layers.1.self_attn.o_proj.weight"]
    torch.testing.assert_close(got[:, :16], out)
    torch.testing.assert_close(got[:, 16:], 0.25 * out[:, :8] + 0.75 * out[:, 8:])


def test_fused_projections_are_mixed_as_separate_ones():
    """GPT-2 keeps [Q | K | V]: a new head's query is no mix of keys."""
    source = make_source("gpt2")
    plan = make_plan([source], "ligo", wider("gpt2"), **EXACT)
    tensors = tensors_of(source)
    mix = make_mix(plan, find_layers(source, source.config), [tensors], tensors)
    parameters = mix.start(0)
    parameters["width.key_value"] = torch.zeros(4, 4)
    parameters["width.key_value"][0] = torch.tensor([0.0, 0.5, 0.0, 0.5])
    bias = tensors["transformer.h.0.attn.c_attn.bias"].reshape(3, 4, 4)
    got = mix(parameters)["transformer.h.0.attn.c_attn.bias"].reshape(3, 8, 4)
    torch.testing.assert_close(got[:, :4], bias)
    torch.testing.assert_close(got[:, 4], 0.5 * bias[:, 1] + 0.5 * bias[:, 3])
    assert not got[:, 5:].any()


# The halves


HALVES = ["stack-ligo", "cross-ligo"]


@pytest.mark.parametrize("operator", HALVES)
@every_model
def test_first_version_in_depth_copies_and_learns(name, operator):
    source = make_source(name)
    target, mix, plan = grow(name, operator, {"num_hidden_layers": 6}, [source], noise=0.2)
    copied = [place for place, layer in enumerate(plan.layers) if layer.treatment == "copy"]
    assert copied == {"stack-ligo": [0, 1, 2], "cross-ligo": [0, 2, 4]}[operator]
    assert (
        plan.layer_map()
        == {"stack-ligo": "0 1 2 0~ 1~ 2~", "cross-ligo": "0 0~ 1 1~ 2 2~"}[operator]
    )
    stack = find_layers(target, target.config)
    old, new = tensors_of(source), tensors_of(target)
    for each, value in new.items():
        place = stack.split(each)
        made = recipe(plan, stack, each)
        if place is None or place[0] in copied:
            assert torch.equal(value, old[made.copied[0][1]]), each
        else:
            assert made is None
            assert value.dim() < 2 or not torch.equal(
                value, old[stack.join(plan.layers[place[0]].layer, place[1])]
            )
    plain, _, _ = grow(name, operator, {"num_hidden_layers": 6}, [source], **EXACT)
    depth = {"stack-ligo": "stack", "cross-ligo": "interleave"}[operator]
    expected, _, _ = grow(name, depth, {"num_hidden_layers": 6}, [source])
    assert_same_bits(state(plain), state(expected))
    assert mix.sizes.parameters() == {key: (3, 3) for key in mix.sizes.parameters()}


@pytest.mark.parametrize("operator", HALVES)
def test_first_version_in_width_has_two_halves_side_by_side(operator):
    source = make_source("llama")
    target, _, plan = grow("llama", operator, wider("llama", layers=6), [source], **EXACT)
    depth = {"stack-ligo": "stack", "cross-ligo": "interleave"}[operator]
    halves, _, _ = grow(
        "llama",
        "combined",
        wider("llama", layers=6),
        [source],
        width="duplicate-halves",
        depth=depth,
    )
    old, new, expected = state(source), state(target), state(halves)
    for place, layer in enumerate(plan.layers):
        name = f"model.layers.{place}.mlp.up_proj.weight"
        up = old[f"model.layers.{layer.layer}.mlp.up_proj.weight"]
        if layer.treatment == "copy":
            assert torch.equal(new[name], torch.block_diag(up, up))
            assert torch.equal(new[name], expected[name])
        else:
            assert torch.equal(new[name], torch.cat([up, up]).repeat(1, 2) / 2)
    embedding = old["model.embed_tokens.weight"]
    assert torch.equal(new["model.embed_tokens.weight"], torch.cat([embedding, embedding], 1))


@pytest.mark.parametrize("operator", HALVES)
@every_model
def test_both_halves_of_the_first_version_live_in_one_coordinate_system(name, operator):
    """Copied and learned layers hold x' = [x; x], so they compute what copies alone compute."""
    changes, source = wider(name, layers=6), make_source(name)
    depth = {"stack-ligo": "stack", "cross-ligo": "interleave"}[operator]
    target, _, _ = grow(name, operator, changes, [source], **EXACT)
    halves, _, _ = grow(name, "combined", changes, [source], width="duplicate-halves", depth=depth)
    tokens = torch.arange(18).reshape(2, 9) * 5 % 32
    with torch.no_grad():
        got, expected = target(tokens).logits, halves(tokens).logits
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("operator", ["stack-ligo-v2", "cross-ligo-v2"])
def test_second_version_widens_copies_by_the_learned_matrices(operator):
    changes = wider("llama", hidden=24, heads=6, ffn=40, layers=6)
    _, mix, plan = grow("llama", operator, changes, **EXACT)
    parameters = mix.start(0)
    first = mix(parameters)
    parameters["width.ffn"] = parameters["width.ffn"] + 1.0
    second = mix(parameters)
    name = "model.layers.0.mlp.up_proj.weight"
    assert plan.layers[0].treatment == "copy"
    assert torch.equal(first[name][:24], second[name][:24])
    added = first[name][:24].sum(dim=0).expand(16, -1)
    torch.testing.assert_close(second[name][24:] - first[name][24:], added, atol=1e-5, rtol=1e-4)
    assert mix.sizes.parameters()["depth.mlp.up_proj.weight"] == (3, 3)


# Several sources


def test_multi_ligo_begins_as_multi_stack_and_multi_interleave():
    sources = [make_source("llama", seed) for seed in (1, 2)]
    for init in ("stack", "interleave"):
        for boundary in ("attached", "average", "same-b"):
            settings = {"order": "b a", "boundary": boundary}
            learned, mix, plan = grow(
                "llama",
                "multi-ligo",
                {"num_hidden_layers": 6},
                sources,
                init=init,
                **settings,
                **EXACT,
            )
            plain, _, _ = grow(
                "llama", f"multi-{init}", {"num_hidden_layers": 6}, sources, **settings
            )
            assert_same_bits(state(learned), state(plain))
            assert mix.sizes.parameters()["depth.mlp.up_proj.weight"] == (6, 6)
            assert mix.sizes.parameters()["ends.lm_head.weight"] == (1, 2)
            assert plan.bottom.treatment == plan.top.treatment == "learned"


# Size, cost and gradients


def on_meta(keys, changes, **settings):
    config = build_config(keys)
    shape = target_shape(config, changes)
    plan = make_candidate("ligo", settings, (shape_of(config),), shape).plan
    grown = rebuild_config(grown_keys(config, changes, [layer.layer for layer in plan.layers]))
    source, target = empty_model(config, "causal"), empty_model(grown, "causal")
    stack = find_layers(target, grown)
    return make_mix(plan, stack, [tensors_of(source)], tensors_of(target)), target


def test_the_operator_is_small_against_its_target():
    keys = {
        **MODELS["llama"],
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "vocab_size": 259,
    }
    changes = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "num_hidden_layers": 8,
    }
    mix, target = on_meta(keys, changes)
    # C of the stream, of FFN units and of groups; coefficients of 9 weights
    count = 64 * 64 + 256 * 256 + 2 * 2 + 9 * 8 * 4
    assert mix.sizes.n_parameters == count
    assert count < 0.05 * n_parameters(target)


def test_flops_of_forming_the_weights_by_hand():
    """In depth alone a weight costs 2 x target layers x source layers x its size."""
    keys = {**MODELS["llama"], "num_hidden_layers": 2}
    mix, _ = on_meta(keys, {"num_hidden_layers": 5})
    size = 2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 24 + 2 * 16
    assert mix.sizes.forming_flops() == 2 * 5 * 2 * size


SHAPES = (
    {"num_hidden_layers": 7},
    {"hidden": 24, "heads": 6},
    {"hidden": 16, "heads": 4, "ffn": 41},
    {"hidden": 32, "layers": 5},
    {"hidden": 32, "ffn": 57, "layers": 6},
)
OPERATORS = (
    *(("ligo", {"init": init}) for init in ("stack", "interleave")),
    *((name, {}) for name in ("stack-ligo", "stack-ligo-v2", "cross-ligo", "cross-ligo-v2")),
    *(("mango", {"rank": rank}) for rank in (1, 3)),
)


def counted_by_torch(plan, stack, sources, target):
    """Return what torch counts and makes when it forms a mix without values."""
    sources = [{name: each.to("meta") for name, each in one.items()} for one in sources]
    mix = make_mix(plan, stack, sources, target)
    parameters = mix.sizes.parameters()
    empty = {name: torch.empty(shape, device="meta") for name, shape in parameters.items()}
    with FlopCounterMode(display=False) as counter:
        made = mix(empty)
    return counter.get_total_flops(), {name: tuple(each.shape) for name, each in made.items()}


@pytest.mark.parametrize(
    ("name", "operator", "settings"),
    [
        pytest.param(name, *each, marks=[] if name in ("llama", "bert") else pytest.mark.slow)
        for name in MODELS
        for each in OPERATORS
    ],
)
def test_what_a_mix_takes_and_makes_is_what_torch_counts(name, operator, settings):
    n_planned = 0
    for sizes in SHAPES:
        for depth in (1, 3):
            key = "n_layer" if name == "gpt2" else "num_hidden_layers"
            source = empty_model(build_config({**MODELS[name], key: depth}), kind_of(name))
            changes = sizes if "num_hidden_layers" in sizes else wider(name, **sizes)
            try:
                plan = make_plan([source], operator, changes, **settings)
            except OperatorError:
                continue  # it grows both or one of them alone
            config = grown_keys(source.config, changes, [each.layer for each in plan.layers])
            model = empty_model(rebuild_config(config), kind_of(name))
            stack, target = find_layers(model, model.config), tensors_of(model)
            tensors = [tensors_of(source)]
            found = mix_sizes(plan, stack, tensors, target)
            flops, made = counted_by_torch(plan, stack, tensors, target)
            assert found.forming_flops() == flops, (sizes, depth)
            formed = list(found.formed())
            assert {one: each.shape for each in formed for one in each.group.names} == made
            check_mix(found, target)
            n_planned += 1
    assert bool(n_planned) is not (operator == "mango" and name == "gpt_neox")  # it has no MANGO


@pytest.mark.parametrize("init", ["stack", "interleave"])
def test_what_a_mix_of_several_sources_takes_is_what_torch_counts(init):
    sources = [make_source("llama", seed) for seed in (1, 2, 3)]
    plan = make_plan(sources, "multi-ligo", {"num_hidden_layers": 9}, order="a b c", init=init)
    model = empty_model(build_config({**MODELS["llama"], "num_hidden_layers": 9}), "causal")
    stack, target = find_layers(model, model.config), tensors_of(model)
    tensors = [tensors_of(each) for each in sources]
    found = mix_sizes(plan, stack, tensors, target)
    assert found.forming_flops() == counted_by_torch(plan, stack, tensors, target)[0] > 0


def test_a_mix_of_another_shape_than_its_targets_is_refused():
    source = make_source("llama")
    plan = make_plan([source], "ligo", wider("llama"))
    tensors = tensors_of(source)
    with pytest.raises(ModelError, match=r"embed_tokens.* is \(32, 16\), but \(32, 32\) when it"):
        check_mix(mix_sizes(plan, find_layers(source, source.config), [tensors], tensors), tensors)


@every_model
@pytest.mark.parametrize("init", ["sel", "average", "zero"])
def test_gradients_reach_every_parameter(name, init):
    _, mix, _ = grow(name, "ligo", wider(name, layers=6), width_init=init, noise=0.1)
    parameters = {key: value.requires_grad_() for key, value in mix.start(5).items()}
    made = mix(parameters)
    generator = torch.Generator().manual_seed(0)
    loss = sum(
        (value * torch.randn(value.shape, generator=generator)).sum() for value in made.values()
    )
    loss.backward()
    assert all(parameter.grad.abs().min() > 0 for parameter in parameters.values())


@every_model
def test_sources_and_global_random_state_are_left_alone(name):
    def states():
        _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
        return torch.get_rng_state().tolist(), random.getstate(), keys.tolist(), rest

    source = make_source(name)
    before, random_before = state(source), states()
    target, mix, _ = grow(name, "ligo", wider(name, layers=6), [source])
    assert_same_bits(state(source), before)
    assert states() == random_before
    of_source = {t.untyped_storage().data_ptr() for t in source.parameters()}
    assert of_source.isdisjoint(t.untyped_storage().data_ptr() for t in target.parameters())
    for value in mix(mix.start(0)).values():
        assert not value.requires_grad


@every_model
def test_a_grown_model_saves_and_loads(name, tmp_path):
    target, _, _ = grow(name, "ligo", wider(name, layers=4))
    target.save_pretrained(tmp_path)
    loaded = auto_class(kind_of(name)).from_pretrained(tmp_path)
    assert_same_bits(state(loaded), state(target))


# Refusals


@pytest.mark.parametrize(
    ("operator", "changes", "message"),
    [
        ("ligo", {}, "not more than the source's 3"),
        ("ligo", {"num_hidden_layers": 2}, "not more than the source's 3"),
        ("ligo", wider("llama", layers=2), "cannot shrink 3 layers to 2"),
        ("ligo", wider("llama", ffn=8), "cannot shrink intermediate_size from 24 to 8"),
        ("ligo", {"rope_theta": 5.0, "num_hidden_layers": 6}, "the target changes rope"),
        ("stack-ligo", wider("llama", ffn=40, layers=6), "doubles what grows: set intermediate"),
        ("stack-ligo", wider("llama"), "stack-ligo learns new layers: the target must be deeper"),
        ("cross-ligo", wider("llama"), "cross-ligo learns new layers: the target must be deeper"),
        ("stack-ligo-v2", DEEPER, "stack-ligo-v2 without growth in width is stack-ligo: use that"),
        ("cross-ligo-v2", DEEPER, "cross-ligo-v2 without growth in width is cross-ligo: use that"),
        ("cross-ligo-v2", wider("llama"), "the target must be deeper"),
    ],
)
def test_what_does_not_fit_is_refused(operator, changes, message):
    with pytest.raises(OperatorError, match=message):
        make_plan([make_source("llama")], operator, changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "random"}, "init must be 'stack' or 'interleave'"),
        ({"width_init": "rand"}, "width_init must be 'sel', 'average' or 'zero'"),
        ({"noise": 1.0}, "noise must be less than 1"),
        ({"steps": -1}, "steps must be greater than or equal to 0"),
        ({"lr": 0.0}, "lr must be greater than 0"),
        ({"warmup": 5}, "has no setting 'warmup'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(OperatorError, match=message):
        make_plan([make_source("llama")], "ligo", DEEPER, **settings)


def test_layers_that_differ_cannot_be_mixed():
    layers = (LayerOrigin(layer=0, treatment="learned"),)
    plan = GrowthPlan(layers, learned=Learned(((0, 0), (0, 1)), 0, 0.1, 0, 0.0))
    target = {"h.0.w": torch.zeros(2)}
    with pytest.raises(ModelError, match=r"h\.1\.w, which is to be mixed, is not in the source"):
        make_mix(plan, LayerStack("h"), [{"h.0.w": torch.ones(2)}], target)
    with pytest.raises(ModelError, match=r"h\.1\.w is \(3,\), but .* mixed with \(2,\)"):
        make_mix(plan, LayerStack("h"), [{"h.0.w": torch.ones(2), "h.1.w": torch.ones(3)}], target)


def test_a_plan_in_words():
    plan = make_plan([make_source("llama")], "ligo", wider("llama", layers=4))
    assert plan.layer_map() == "0~ 1~ 2~ 2~ [residual 16-32, key_value 2-4, heads 4-8, ffn 24-48]"
    assert plan.bottom == plan.top == Origin(treatment="learned")
    assert plan.of_source(2).learned.pool == ((2, 0), (2, 1), (2, 2))
    assert plan.connection_rate() == 0.0
    assert find_operator("multi-ligo").control.operator == "ligo"
