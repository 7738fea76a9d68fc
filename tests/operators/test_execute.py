import copy
import random
import re

import numpy as np
import pytest
import torch
from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.build import fresh_model, n_parameters, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import LayerStack, find_layers
from lagsearch.operators import GrowthPlan, LayerOrigin, make_candidate
from lagsearch.operators.execute.fill import fill, new_parameters
from lagsearch.operators.plan.growth import Origin

GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_head": 2, "n_positions": 16, "vocab_size": 32}
LLAMA = {  # 4 query heads share 2 key/value heads
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "vocab_size": 32,
}
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "vocab_size": 32,
}
FAMILIES = {"gpt2": (GPT2, "causal"), "llama": (LLAMA, "causal"), "bert": (BERT, "masked")}
STACKS = {"gpt2": "transformer.h", "llama": "model.layers", "bert": "bert.encoder.layer"}
LAYER_NAME = re.compile(r"^(transformer\.h|model\.layers|bert\.encoder\.layer)\.(\d+)\.(.+)$")
SETTINGS = [
    {"index": 0, "block_size": 1, "init": "duplicate"},
    {"index": 1, "block_size": 2, "init": "duplicate"},
    {"index": 1, "block_size": 1, "init": "random"},
    {"index": 0, "block_size": 2, "init": "random"},
]

every_family = pytest.mark.parametrize("family", FAMILIES)
every_tying = pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])


def stir(model, seed):
    """Give every tensor, norms and biases too, values of its own; tied tensors stay tied."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)


def small_config(family, n_layers, is_tied=True):
    keys, _ = FAMILIES[family]
    return build_config({**keys, "num_hidden_layers": n_layers, "tie_word_embeddings": is_tied})


def make_source(family, is_tied=True, n_layers=3, seed=1):
    model = fresh_model(small_config(family, n_layers, is_tied), FAMILIES[family][1], seed)
    stir(model, seed)
    return model.eval()


def make_plan(source, settings, n_target=5):
    shape = target_shape(source.config, {"num_hidden_layers": n_target})
    return make_candidate("lag", settings, (shape_of(source.config),), shape).plan


def make_target(source, plan, kind, seed=7):
    changes = {"num_hidden_layers": len(plan.layers)}
    config = rebuild_config(
        grown_keys(source.config, changes, [origin.layer for origin in plan.layers])
    )
    return fresh_model(config, kind, seed).eval()


def apply_plan(plan, sources, target):
    stack = find_layers(target, target.config)
    fill(plan, stack, [tensors_of(source) for source in sources], tensors_of(target))


def saved(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def expected_tensors(plan, sources, fresh):
    """Read the plan anew: what each tensor of the target's state must be."""
    expected = {}
    for name, tensor in fresh.items():
        parts = LAYER_NAME.match(name)
        origin = plan.layers[int(parts[2])] if parts else plan.bottom
        if origin.treatment == "random":
            expected[name] = tensor
        elif parts:
            expected[name] = sources[origin.source][f"{parts[1]}.{origin.layer}.{parts[3]}"]
        else:
            expected[name] = sources[origin.sources[0]][name]
    return expected


def assert_same_bits(got, expected):
    assert set(got) == set(expected)
    differing = [name for name in got if not torch.equal(got[name], expected[name])]
    assert differing == []


@every_family
@every_tying
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_every_tensor_is_what_the_plan_says(family, is_tied, settings):
    source = make_source(family, is_tied)
    plan = make_plan(source, settings)
    target = make_target(source, plan, FAMILIES[family][1])
    source_before, fresh = saved(source), saved(target)

    apply_plan(plan, [source], target)

    assert_same_bits(saved(target), expected_tensors(plan, [source_before], fresh))
    assert_same_bits(saved(source), source_before)


@every_family
def test_stirred_source_shares_no_tensor_with_a_fresh_target(family):
    """The tests above would say nothing if fresh and source tensors were equal to begin with."""
    source = make_source(family, is_tied=False)
    target = make_target(source, make_plan(source, SETTINGS[0]), FAMILIES[family][1])
    fresh = saved(target)
    for name, tensor in source.named_parameters():
        assert not torch.equal(tensor, fresh[name]), name


@every_family
@every_tying
def test_tying_and_parameter_count(family, is_tied):
    source = make_source(family, is_tied)
    plan = make_plan(source, SETTINGS[0])
    target = make_target(source, plan, FAMILIES[family][1])
    apply_plan(plan, [source], target)
    embedding = target.get_input_embeddings().weight
    head = target.get_output_embeddings().weight
    assert (head is embedding) is is_tied
    layer = dict(source.named_parameters())
    one = sum(t.numel() for n, t in layer.items() if n.startswith(f"{STACKS[family]}.0."))
    assert n_parameters(target) == n_parameters(source) + 2 * one


@every_family
def test_scratch_leaves_the_fresh_model(family):
    source = make_source(family)
    shape = target_shape(source.config, {"num_hidden_layers": 5})
    plan = make_candidate("scratch", {}, (shape_of(source.config),), shape).plan
    target = make_target(source, plan, FAMILIES[family][1])
    fresh = saved(target)
    apply_plan(plan, [source], target)
    assert_same_bits(saved(target), fresh)


@every_family
def test_nothing_shares_storage(family):
    source = make_source(family)
    plan = make_plan(source, {"index": 0, "block_size": 2, "init": "duplicate"})
    target = make_target(source, plan, FAMILIES[family][1])
    apply_plan(plan, [source], target)
    of_source = {t.untyped_storage().data_ptr() for t in source.parameters()}
    of_target = [t.untyped_storage().data_ptr() for t in target.parameters()]
    assert len(set(of_target)) == len(of_target)
    assert of_source.isdisjoint(of_target)
    before = saved(source)
    with torch.no_grad():
        for tensor in target.parameters():
            tensor.add_(1.0)
    assert_same_bits(saved(source), before)


@every_family
def test_filling_keeps_the_targets_own_tensors(family):
    source = make_source(family)
    plan = make_plan(source, SETTINGS[1])
    target = make_target(source, plan, FAMILIES[family][1])
    before = {n: (id(t), t.shape, t.dtype, t.requires_grad) for n, t in target.named_parameters()}
    apply_plan(plan, [source], target)
    after = {n: (id(t), t.shape, t.dtype, t.requires_grad) for n, t in target.named_parameters()}
    assert after == before


@every_family
def test_same_seed_same_bits(family):
    source = make_source(family)
    plan = make_plan(source, {"index": 1, "block_size": 1, "init": "random"})
    grown = []
    for seed in (7, 7, 8):
        torch.manual_seed(len(grown))  # the global state must not matter
        target = make_target(source, plan, FAMILIES[family][1], seed)
        apply_plan(plan, [source], target)
        grown.append(saved(target))
    assert_same_bits(grown[1], grown[0])
    matrices = [
        name
        for name in grown[0]
        if (parts := LAYER_NAME.match(name))
        and plan.layers[int(parts[2])].treatment == "random"
        and grown[0][name].dim() == 2
    ]
    assert matrices
    for name in matrices:
        assert not torch.equal(grown[0][name], grown[2][name]), name


@every_family
def test_random_layers_differ_from_each_other(family):
    source = make_source(family)
    plan = make_plan(source, {"index": 0, "block_size": 2, "init": "random"})
    target = make_target(source, plan, FAMILIES[family][1])
    apply_plan(plan, [source], target)
    state, stack = saved(target), STACKS[family]
    first, second = (i for i, origin in enumerate(plan.layers) if origin.is_new)
    for name in [n for n in state if n.startswith(f"{stack}.{first}.") and state[n].dim() == 2]:
        other = name.replace(f"{stack}.{first}.", f"{stack}.{second}.")
        assert not torch.equal(state[name], state[other]), name


@every_family
def test_global_random_state_is_untouched(family):
    def states():
        _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
        return torch.get_rng_state().tolist(), random.getstate(), keys.tolist(), rest

    before = states()
    source = fresh_model(small_config(family, 3), FAMILIES[family][1], 1)
    plan = make_plan(source, {"index": 0, "block_size": 1, "init": "random"})
    target = make_target(source, plan, FAMILIES[family][1])
    apply_plan(plan, [source], target)
    assert states() == before


def regrown(source, sequence):
    """Grow a model by editing its list of layers: another route to the same function."""
    model = copy.deepcopy(source)
    path, _, name = find_path(model).rpartition(".")
    parent = model.get_submodule(path)
    layers = getattr(parent, name)
    setattr(parent, name, nn.ModuleList(copy.deepcopy(layers[layer]) for layer in sequence))
    model.config.num_hidden_layers = len(sequence)
    return model.eval()


def find_path(model):
    return next(n for n, m in model.named_modules() if isinstance(m, nn.ModuleList))


def logits_of(model, kind):
    tokens = torch.arange(2 * 9).reshape(2, 9) * 5 % 32  # (B, T)
    options = {"use_cache": False} if kind == "causal" else {}
    with torch.no_grad():
        return model(input_ids=tokens, **options).logits


@every_family
@every_tying
@pytest.mark.parametrize(
    ("index", "block_size", "sequence"),
    [(0, 1, [0, 0, 1, 1, 2]), (0, 2, [0, 1, 0, 1, 2]), (1, 2, [0, 1, 2, 1, 2])],
)
def test_logits_equal_those_of_a_model_grown_by_hand(family, is_tied, index, block_size, sequence):
    kind = FAMILIES[family][1]
    source = make_source(family, is_tied)
    plan = make_plan(source, {"index": index, "block_size": block_size, "init": "duplicate"})
    target = make_target(source, plan, kind)
    apply_plan(plan, [source], target)
    by_hand = logits_of(regrown(source, sequence), kind)
    torch.testing.assert_close(logits_of(target, kind), by_hand, rtol=0, atol=1e-6)
    assert (logits_of(source, kind) - by_hand).abs().max() > 1e-2  # depth does matter here


@every_family
def test_two_sources(family):
    kind = FAMILIES[family][1]
    sources = [make_source(family, seed=1), make_source(family, n_layers=2, seed=2)]
    plan = GrowthPlan(
        layers=(
            LayerOrigin(source=1, layer=1),
            LayerOrigin(source=0, layer=2),
            LayerOrigin(treatment="random", is_new=True),
            LayerOrigin(source=1, layer=0, is_new=True),
        ),
        bottom=Origin(sources=(1,)),
        top=Origin(sources=(1,)),
    )
    target = fresh_model(small_config(family, 4), kind, 7)
    fresh = saved(target)
    apply_plan(plan, sources, target)
    states = [saved(source) for source in sources]
    assert_same_bits(saved(target), expected_tensors(plan, states, fresh))


def test_random_outer_with_copied_layers():
    source = make_source("gpt2")
    plan = GrowthPlan(
        layers=tuple(LayerOrigin(layer=layer) for layer in range(3)),
        bottom=Origin(treatment="random"),
        top=Origin(treatment="random"),
    )
    target = fresh_model(small_config("gpt2", 3), "causal", 7)
    fresh = saved(target)
    apply_plan(plan, [source], target)
    got = saved(target)
    assert_same_bits(got, expected_tensors(plan, [saved(source)], fresh))
    assert torch.equal(got["transformer.wte.weight"], fresh["transformer.wte.weight"])


def test_any_named_tensors_are_grown():
    """Moments and step counts go the same way: what is not copied keeps its value."""
    stack = LayerStack("h")
    plan = GrowthPlan(
        layers=(
            LayerOrigin(layer=0),
            LayerOrigin(layer=0, is_new=True),
            LayerOrigin(layer=1, treatment="random", is_new=True),
            LayerOrigin(layer=1),
        )
    )
    source = {
        "wte": torch.tensor([5.0, 6.0]),
        "h.0.step": torch.tensor(11.0),
        "h.1.step": torch.tensor(12.0),
    }
    target = {"wte": torch.zeros(2), **{f"h.{i}.step": torch.tensor(0.0) for i in range(4)}}
    fill(plan, stack, [source], target)
    assert target["wte"].tolist() == [5.0, 6.0]
    assert [target[f"h.{i}.step"].item() for i in range(4)] == [11.0, 11.0, 0.0, 12.0]


def test_more_than_nine_layers_are_told_apart():
    stack = LayerStack("h")
    plan = GrowthPlan(layers=tuple(LayerOrigin(layer=10 - i) for i in range(11)))
    source = {f"h.{i}.w": torch.tensor([float(i)]) for i in range(11)}
    target = {f"h.{i}.w": torch.tensor([-1.0]) for i in range(11)}
    fill(plan, stack, [source], target)
    assert [target[f"h.{i}.w"].item() for i in range(11)] == [float(10 - i) for i in range(11)]


def test_missing_source_tensor():
    plan = GrowthPlan(layers=(LayerOrigin(layer=0), LayerOrigin(layer=1)))
    source = {"h.0.w": torch.zeros(1)}
    target = {"h.0.w": torch.ones(1), "h.1.w": torch.ones(1)}
    with pytest.raises(ModelError, match=r"h\.1\.w"):
        fill(plan, LayerStack("h"), [source], target)


def test_tensors_of_another_shape_are_refused_and_not_broadcast():
    stack = LayerStack("h")
    plan = GrowthPlan((LayerOrigin(layer=0),))
    target = {"h.0.w": torch.zeros(3, 2)}
    for wrong in (torch.ones(2), torch.ones(1, 2), torch.ones(2, 3)):
        with pytest.raises(ModelError, match=r"target's h\.0\.w is \(3, 2\), but the source's"):
            fill(plan, stack, [{"h.0.w": wrong}], target)
    assert not target["h.0.w"].any()


def test_a_tensor_that_the_source_lacks_is_named():
    plan = GrowthPlan((LayerOrigin(layer=0), LayerOrigin(layer=0, is_new=True)))
    target = {"h.0.w": torch.zeros(2), "h.1.w": torch.zeros(2), "h.1.norm": torch.zeros(2)}
    with pytest.raises(ModelError, match=r"h\.1\.norm has no h\.0\.norm in the source"):
        fill(plan, LayerStack("h"), [{"h.0.w": torch.ones(2)}], target)


# What is new


def marks(plan, target):
    stack, tensors = find_layers(target, target.config), tensors_of(target)
    return new_parameters(plan, stack, tensors)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((LayerOrigin(layer=0), LayerOrigin(layer=0, is_new=True)), (False, True)),
        ((LayerOrigin(layer=0), LayerOrigin(treatment="random", is_new=True)), (False, True)),
        ((LayerOrigin(layer=0, treatment="masked"), LayerOrigin(layer=1)), (True, False)),
        (
            (LayerOrigin(layer=0), LayerOrigin(layer=0, treatment="zero_output", is_new=True)),
            (False, True),
        ),
        ((LayerOrigin(layer=0), LayerOrigin(layer=1)), (False, False)),
    ],
)
def test_layers_beside_the_sources_own_are_new(layers, expected):
    target = fresh_model(small_config("llama", 2), "causal", 0)
    for bottom in (Origin(), Origin((0, 1)), Origin(treatment="random")):
        plan = GrowthPlan(layers, bottom=bottom)
        found = marks(plan, target)
        for name, is_new in found.items():
            place = LAYER_NAME.match(name)
            if place is not None:
                assert bool(is_new) == expected[int(place[2])], name
        assert bool(found["model.embed_tokens.weight"]) == (bottom.treatment == "random")
        assert not found["model.norm.weight"]
        assert plan.has_new_and_own == (any(expected) or bottom.treatment == "random")


def test_learned_tensors_are_new():
    source = small_config("llama", 2)
    changes = {"num_hidden_layers": 4}
    shape = target_shape(source, changes)
    plan = make_candidate("ligo", {}, (shape_of(source),), shape).plan
    target = fresh_model(small_config("llama", 4), "causal", 0)
    found = marks(plan, target)
    assert all(bool(each) for name, each in found.items() if LAYER_NAME.match(name))
    assert plan.has_new_and_own == (len({bool(each) for each in found.values()}) > 1)


@pytest.mark.parametrize("operator", ["net2net", "zero"])
def test_rows_and_columns_behind_the_sources_are_new(operator):
    """Of 2 heads of 8 in groups of 2, and of 24 feed-forward units; copies or not."""
    source = build_config({**LLAMA, "num_hidden_layers": 2})
    changes = {"hidden_size": 32, "num_attention_heads": 8, "num_key_value_heads": 4,
               "intermediate_size": 30}  # fmt: skip
    plan = make_candidate(operator, {}, (shape_of(source),), target_shape(source, changes)).plan
    assert plan.has_new_and_own
    target = fresh_model(rebuild_config(grown_keys(source, changes, [0, 1])), "causal", 0)
    own = {
        "model.embed_tokens.weight": (32, 16),
        "model.norm.weight": (16,),
        "model.layers.1.self_attn.q_proj.weight": (16, 16),
        "model.layers.1.self_attn.v_proj.weight": (8, 16),
        "model.layers.0.mlp.down_proj.weight": (16, 24),
    }
    found = marks(plan, target)
    for name, sizes in own.items():
        expected = torch.ones_like(tensors_of(target)[name], dtype=torch.bool)
        expected[tuple(slice(size) for size in sizes)] = False
        assert torch.equal(found[name], expected), name
