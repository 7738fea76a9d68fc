"""Growth in width, measured in float64 on models whose every tensor is random."""

import json
import types
from dataclasses import replace

import pytest
import torch

from lagsearch.errors import ModelError, OperatorError
from lagsearch.models.build import auto_class, fresh_model, tensors_of
from lagsearch.models.configs import (
    ModelShape,
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.families import family_of
from lagsearch.models.layers import LayerStack, find_layers
from lagsearch.operators import GrowthPlan, find_operator, make_candidate
from lagsearch.operators.execute import widen as widen_module
from lagsearch.operators.execute.fill import fill
from lagsearch.operators.execute.mix import check_fit
from lagsearch.operators.execute.shapes import widened_shape

EXACT = 1e-10
COMMON = {"num_hidden_layers": 2, "vocab_size": 32, "max_position_embeddings": 16}
LLAMA = {  # heads of 4; 2 query heads share a key and value
    **COMMON,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MODELS = {
    "llama": {**LLAMA, "model_type": "llama", "tie_word_embeddings": False},
    "llama-tied": {**LLAMA, "model_type": "llama", "tie_word_embeddings": True},
    "llama-biases": {**LLAMA, "model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": {**LLAMA, "model_type": "mistral", "tie_word_embeddings": False},
    "qwen2": {**LLAMA, "model_type": "qwen2"},
    "qwen3": {**LLAMA, "model_type": "qwen3", "head_dim": 4, "rms_norm_eps": 1e-3},
    "gpt2": {
        **{k: v for k, v in COMMON.items() if k != "max_position_embeddings"},
        "model_type": "gpt2",
        "n_embd": 16,
        "n_head": 4,
        "n_inner": 24,
        "n_positions": 16,
    },
    "gpt_neox": {
        **COMMON,
        "model_type": "gpt_neox",
        "hidden_size": 16,
        "num_attention_heads": 4,
        "intermediate_size": 24,
    },
    "opt": {
        **COMMON,
        "model_type": "opt",
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "num_attention_heads": 4,
        "ffn_dim": 24,
    },
    "bert": {
        **COMMON,
        "model_type": "bert",
        "hidden_size": 16,
        "num_attention_heads": 4,
        "intermediate_size": 24,
    },
}
FFN_KEY = {"gpt2": "n_inner", "opt": "ffn_dim"}
RMS = ["llama", "llama-tied", "llama-biases", "mistral", "qwen2", "qwen3"]

every_model = pytest.mark.parametrize("name", MODELS)


def kind_of(name):
    return "masked" if name == "bert" else "causal"


def changes_of(name, hidden=16, heads=4, groups=None, ffn=24):
    keys = {"hidden_size": hidden, "num_attention_heads": heads}
    keys[FFN_KEY.get(name, "intermediate_size")] = ffn
    if name in RMS:
        keys["num_key_value_heads"] = groups or heads // 2
    return keys


def in_float64(model):
    """Let norms, too, compute in the type of their input; transformers' RMSNorms do it in fp32."""

    def forward(self, x):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * x * scale

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(forward, module)
    return model.double().eval()


def make_source(name, **changes):
    model = fresh_model(build_config({**MODELS[name], **changes}), kind_of(name), 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
    return in_float64(model)


def make_plan(source, operator, changes, **settings):
    shape = target_shape(source.config, changes)
    return make_candidate(operator, settings, (shape_of(source.config),), shape).plan


def grow(name, operator, changes, source=None, **settings):
    """Grow a source; the plan goes through JSON on the way."""
    source = source or make_source(name)
    plan = make_plan(source, operator, changes, **settings)
    again = GrowthPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert (again, hash(again)) == (plan, hash(plan))
    origins = [layer.layer for layer in plan.layers]
    config = rebuild_config(
        grown_keys(source.config, {**changes, **plan.config_changes()}, origins)
    )
    target = in_float64(fresh_model(config, kind_of(name), 7))
    stack = find_layers(target, config)
    check_fit(again, stack, [tensors_of(source)], tensors_of(target))
    fill(again, stack, [tensors_of(source)], tensors_of(target))
    return source, target, plan


def logits_of(model):
    tokens = torch.arange(2 * 9).reshape(2, 9) * 5 % 32  # (B, T)
    return model(input_ids=tokens).logits


def difference(source, target):
    with torch.no_grad():
        return float((logits_of(source) - logits_of(target)).abs().max())


def measure(name, operator, changes, **settings):
    source, target, _ = grow(name, operator, changes, **settings)
    return difference(source, target)


# The function


WHOLE = {"hidden": 32, "heads": 8}, {"ffn": 40}, {"hidden": 32, "heads": 8, "ffn": 37}


@every_model
@pytest.mark.parametrize("split", ["even", "uneven"])
@pytest.mark.parametrize("sizes", WHOLE, ids=["hidden", "ffn", "all"])
def test_net2net_is_exact(name, split, sizes):
    assert measure(name, "net2net", changes_of(name, **sizes), split=split) <= EXACT


HEADS = [(6, 3), (6, 2), (8, 4), (8, 2), (12, 4), (10, 2)]


@pytest.mark.parametrize(  # transformers has Llama's heads divide its hidden size
    ("name", "heads", "groups"),
    [(name, *pair) for name in ("mistral", "qwen3") for pair in HEADS]
    + [("llama-tied", 8, groups) for groups in (2, 4)],
)
@pytest.mark.parametrize("operator", ["net2net", "lemon", "zero"])
def test_heads_alone_with_their_groups_or_inside_of_them(name, heads, groups, operator):
    changes = changes_of(name, heads=heads, groups=groups)
    assert measure(name, operator, changes) <= EXACT


@every_model
@pytest.mark.parametrize("split", ["even", "uneven"])
@pytest.mark.parametrize(
    "sizes", [{"hidden": 24, "heads": 6, "ffn": 40}, {"hidden": 40, "heads": 10}]
)
def test_lemon_is_exact(name, split, sizes):
    if name == "bert":
        return
    found = measure(name, "lemon", changes_of(name, **sizes), split=split)
    assert found <= (EXACT if name != "opt" else 1e-3)  # OPT's eps cannot be set


def test_lemon_warns_where_no_key_sets_the_eps():
    plan = make_plan(make_source("opt"), "lemon", changes_of("opt", hidden=24, heads=6))
    assert "eps" in plan.warning


def test_lemon_refuses_what_it_cannot_do():
    with pytest.raises(OperatorError, match=r"post-norm.*hidden_size to a multiple of 16"):
        make_plan(make_source("bert"), "lemon", changes_of("bert", hidden=24, heads=6))


@pytest.mark.parametrize("name", RMS)
@pytest.mark.parametrize("form", ["hybrid", "gstack"])
@pytest.mark.parametrize("sizes", [{"hidden": 24, "heads": 6, "ffn": 40}, *WHOLE])
def test_zero_is_exact_with_rms_norms(name, form, sizes):
    assert measure(name, "zero", changes_of(name, **sizes), form=form) <= EXACT


@every_model
@pytest.mark.parametrize("form", ["hybrid", "gstack"])
def test_zero_is_exact_where_the_stream_stays(name, form):
    assert measure(name, "zero", changes_of(name, ffn=31), form=form) <= EXACT


@every_model
@pytest.mark.parametrize(
    "sizes", [{"hidden": 32, "heads": 8, "ffn": 48}, {"hidden": 32, "heads": 8}, {"ffn": 48}]
)
def test_two_halves_are_exact(name, sizes):
    assert measure(name, "duplicate-halves", changes_of(name, **sizes)) <= EXACT


INEXACT = [
    ("net2net", {}, {"hidden": 24, "heads": 6}),
    ("aki", {}, {"hidden": 32, "heads": 8, "ffn": 48}),
    ("random-width", {}, {"hidden": 32, "heads": 8, "ffn": 48}),
    ("random-width", {"form": "v2"}, {"hidden": 32, "heads": 8, "ffn": 48}),
    ("zero", {"form": "v1"}, {"hidden": 32, "heads": 8, "ffn": 48}),
    ("zero", {"form": "v2"}, {"hidden": 32, "heads": 8, "ffn": 48}),
]


@every_model
@pytest.mark.parametrize(("operator", "settings", "sizes"), INEXACT)
def test_others_change_the_function(name, operator, settings, sizes):
    assert measure(name, operator, changes_of(name, **sizes), **settings) > 1e-6


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "opt", "bert"])
def test_zeros_in_the_stream_are_not_exact_with_layer_norms(name):
    assert measure(name, "zero", changes_of(name, hidden=24, heads=6)) > 1e-6


@pytest.mark.parametrize("name", ["llama-tied", "qwen3", "gpt2", "bert"])
def test_saved_and_loaded_it_computes_the_same(name, tmp_path):
    sizes = {"hidden": 32, "heads": 8} if name == "bert" else {"hidden": 24, "heads": 6}
    _, target, _ = grow(name, "lemon", changes_of(name, **sizes))
    target.save_pretrained(tmp_path)
    loaded = auto_class(kind_of(name)).from_pretrained(tmp_path, dtype=torch.float64)
    assert difference(target, in_float64(loaded)) <= 1e-13


def test_the_scaled_eps_counts():
    """Without it the function would not be exact: the test above would not see a lost key."""
    source, target, plan = grow("qwen3", "lemon", changes_of("qwen3", hidden=24, heads=6))
    assert plan.config_changes() == {"rms_norm_eps": pytest.approx(1e-3 * 16 / 24)}
    assert target.config.rms_norm_eps == pytest.approx(1e-3 * 16 / 24)
    for module in target.modules():
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = 1e-3
    assert difference(source, target) > 1e-5


@pytest.mark.parametrize("name", ["gpt2", "opt", "bert"])
def test_an_untied_head_holds_the_shares_itself(name):
    source = make_source(name, tie_word_embeddings=False)
    for operator in ("net2net", "duplicate-halves"):
        changes = changes_of(name, hidden=32, heads=8, ffn=48)
        assert difference(*grow(name, operator, changes, source)[:2]) <= EXACT


@pytest.mark.parametrize("name", ["llama-tied", "qwen3", "gpt2"])
def test_a_width_and_a_depth_compose(name):
    """The widths of one plan and the layers of another are one growth."""
    source = make_source(name)
    wider = changes_of(name, hidden=24, heads=6, ffn=40)
    width = make_plan(source, "lemon", wider)
    plan = replace(make_plan(source, "identity", {"num_hidden_layers": 4}), width=width.width)
    changes = {**wider, "num_hidden_layers": 4, **plan.config_changes()}
    config = rebuild_config(
        grown_keys(source.config, changes, [layer.layer for layer in plan.layers])
    )
    target = in_float64(fresh_model(config, kind_of(name), 7))
    fill(plan, find_layers(target, config), [tensors_of(source)], tensors_of(target))
    assert difference(source, target) <= EXACT


# Learning


def new_regions(name, source, target):
    """Mark the new entries of every target tensor that is wider, beyond the source's own."""
    before, stack = tensors_of(source), find_layers(target, target.config)
    fused = {"qkv_blocks", "qkv_per_head"}
    regions = {}
    for path, tensor in tensors_of(target).items():
        weight = stack.weight(path)
        if tensor.shape == before[path].shape or set(weight.axes) & fused:
            continue
        region = torch.ones_like(tensor, dtype=torch.bool)
        region[tuple(slice(size) for size in before[path].shape)] = False
        regions[path] = region
    return regions


def gradients(target, n_steps, optimizer):
    """Return every tensor's gradient after some steps."""
    tokens = torch.arange(2 * 9).reshape(2, 9) * 5 % 32
    for step in range(n_steps + 1):
        target.zero_grad()
        target(input_ids=tokens, labels=tokens * 7 % 32).loss.backward()
        found = {name: tensor.grad.clone() for name, tensor in target.named_parameters()}
        if step < n_steps:
            optimizer.step()
    return found


ALL = {"hidden": 32, "heads": 8, "ffn": 48}
ALIVE = [
    ("net2net", {}, ALL),
    ("net2net", {"split": "uneven"}, ALL),
    ("lemon", {}, {"hidden": 24, "heads": 6, "ffn": 40}),
    ("zero", {}, {"hidden": 24, "heads": 6, "ffn": 40}),
    ("zero", {"form": "gstack"}, {"hidden": 24, "heads": 6, "ffn": 40}),
    ("duplicate-halves", {}, ALL),
]


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
@pytest.mark.parametrize(("operator", "settings", "sizes"), ALIVE)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_everything_new_learns(name, operator, settings, sizes, optimizer):
    source, target, _ = grow(name, operator, changes_of(name, **sizes), **settings)
    found = gradients(target, 3, optimizer(target.parameters(), lr=1e-2))
    dead = [
        path
        for path, region in new_regions(name, source, target).items()
        if not found[path][region].any()
    ]
    assert dead == []


FIRST_ALIVE = {
    "hybrid": {"embed_tokens", "o_proj", "down_proj"},
    "gstack": {"embed_tokens", "v_proj", "o_proj", "down_proj"},
}


@pytest.mark.parametrize("form", FIRST_ALIVE)
def test_what_of_zero_learns_from_the_first_step(form):
    sizes = {"hidden": 24, "heads": 6, "ffn": 40}
    source, target, _ = grow("llama", "zero", changes_of("llama", **sizes), form=form)
    found = gradients(target, 0, None)
    alive = {
        path.split(".")[-2]
        for path, region in new_regions("llama", source, target).items()
        if found[path][region].any()
    }
    assert alive >= FIRST_ALIVE[form]


@pytest.mark.parametrize("form", ["v1", "v2"])
@pytest.mark.parametrize("n_steps", [0, 3])
def test_literal_zero_is_dead(form, n_steps):
    source, target, plan = grow("llama", "zero", changes_of("llama", **ALL), form=form)
    found = gradients(target, n_steps, torch.optim.SGD(target.parameters(), lr=1e-2))
    regions = new_regions("llama", source, target)
    assert len(regions) == 2 * 9 + 3
    assert not any(found[path][region].any() for path, region in regions.items())
    assert "no new parameter ever gets a gradient" in plan.warning
    assert "never" in find_operator("zero").summary


@pytest.mark.parametrize(("split", "is_equal"), [("even", True), ("uneven", False)])
def test_uneven_shares_part_the_copies(split, is_equal):
    _, target, _ = grow("llama", "net2net", changes_of("llama", ffn=48), split=split)
    found = gradients(target, 2, torch.optim.Adam(target.parameters(), lr=1e-2))
    first, second = found["model.layers.0.mlp.up_proj.weight"].split(24)
    cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    assert (float(cosine) > 1 - 1e-9) is is_equal


# One matrix, by hand


TINY = {
    "hidden_size": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 2,
    "intermediate_size": 2,
    "rms_norm_eps": 0.5,
}
W = [[1.0, 2.0], [3.0, 4.0]]
UP, DOWN = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"
NORM, EMBEDDING = "model.layers.0.input_layernorm.weight", "model.embed_tokens.weight"
HEAD, Q = "lm_head.weight", "model.layers.0.self_attn.q_proj.weight"
R = 9.0  # what the fresh target holds


def widened(operator, sizes, name, source, n_layers=1, **settings):
    """Widen one tensor of a Llama of two units and one head of two."""
    before = ModelShape(n_layers, TINY, "llama")
    after = ModelShape(n_layers, {**TINY, **sizes}, "llama")
    plan = make_candidate(operator, settings, (before,), after).plan
    stack = LayerStack("model.layers", family=family_of("llama", {}))
    sources = {name.replace("0", "1"): torch.tensor(source) * 10, name: torch.tensor(source)}
    shape = widened_shape(plan.width, stack.weight(name), torch.tensor(source).shape)
    target = {name: torch.full(shape, R)}
    fill(plan, stack, [sources], target)
    return target[name].tolist()


THREE = {"hidden_size": 3, "intermediate_size": 3}
FOUR = {"hidden_size": 4, "intermediate_size": 4}
DIAGONAL = [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 1, 2], [0, 0, 3, 4]]
BY_HAND = [
    ("net2net", {}, FOUR, UP, [[0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2]] * 2),
    ("net2net", {}, THREE, DOWN, [[0.5, 2, 0.5], [1.5, 4, 1.5], [0.5, 2, 0.5]]),
    ("net2net", {}, FOUR, EMBEDDING, [[1, 2, 1, 2], [3, 4, 3, 4]]),
    ("net2net", {}, FOUR, HEAD, [[0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2]]),
    ("net2net", {"split": "uneven"}, {"intermediate_size": 4}, DOWN,
     [[1 / 3, 2 / 3, 2 / 3, 4 / 3], [2, 8 / 3, 1, 4 / 3]]),
    ("lemon", {}, {"hidden_size": 3}, UP, [[1, 2, R], [3, 4, R]]),
    ("lemon", {"split": "even"}, {"hidden_size": 5}, UP,
     [[0.5, 1, 0.5, 1, R], [1.5, 2, 1.5, 2, R]]),
    ("lemon", {}, {"hidden_size": 3}, DOWN, [[1, 2], [3, 4], [0, 0]]),
    ("zero", {}, THREE, UP, [[1, 2, R], [3, 4, R], [R, R, R]]),
    ("zero", {}, THREE, DOWN, [[1, 2, 0], [3, 4, 0], [0, 0, 0]]),
    ("zero", {}, THREE, EMBEDDING, [[1, 2, 0], [3, 4, 0]]),
    ("zero", {}, THREE, HEAD, [[1, 2, R], [3, 4, R]]),
    ("zero", {"form": "gstack"}, THREE, UP, [[1, 2, R], [3, 4, R], [0, 0, R]]),
    ("zero", {"form": "gstack"}, THREE, DOWN, [[1, 2, R], [3, 4, R], [0, 0, R]]),
    ("zero", {"form": "v1"}, THREE, UP, [[1, 2, 0], [3, 4, 0], [0, 0, 0]]),
    ("zero", {"form": "v2"}, FOUR, UP, DIAGONAL),
    ("zero", {"form": "v2"}, FOUR, HEAD, [[1, 2, 0, 0], [3, 4, 0, 0]]),
    ("duplicate-halves", {}, FOUR, UP, DIAGONAL),
    ("duplicate-halves", {}, FOUR, HEAD, [[0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2]]),
    ("duplicate-halves", {}, FOUR, EMBEDDING, [[1, 2, 1, 2], [3, 4, 3, 4]]),
    ("random-width", {"scale": 2.0}, THREE, UP, [[1, 2, 18], [3, 4, 18], [18, 18, 18]]),
    ("random-width", {"form": "v2"}, FOUR, DOWN,
     [[1, 2, R, R], [3, 4, R, R], [R, R, 1, 2], [R, R, 3, 4]]),
    ("random-width", {}, THREE, EMBEDDING, [[1, 2, R], [3, 4, R]]),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "settings", "sizes", "name", "expected"), BY_HAND)
def test_one_matrix_by_hand(operator, settings, sizes, name, expected):
    found = widened(operator, sizes, name, W, **settings)
    assert found == [pytest.approx(row, rel=1e-6) for row in expected]


def test_aki_takes_rows_from_the_layer_above():
    found = widened("aki", FOUR, UP, W, n_layers=2)
    assert found == [[0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2], [5, 10, 5, 10], [15, 20, 15, 20]]
    last = widened("aki", FOUR, UP.replace("0", "1"), W, n_layers=2)
    assert last == [[0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2]] * 2
    assert widened("aki", FOUR, DOWN, W, n_layers=2) == [[0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2]] * 2


GAINS = [
    ("net2net", {}, FOUR, [5, 6, 5, 6]),
    ("zero", {}, THREE, [5 * (2 / 3) ** 0.5, 6 * (2 / 3) ** 0.5, R]),
    ("zero", {"form": "v1"}, THREE, [5, 6, 0]),
    ("random-width", {}, THREE, [5, 6, R]),
    ("lemon", {}, {"hidden_size": 5}, [*[5 * 0.8**0.5, 6 * 0.8**0.5] * 2, R]),
]


@pytest.mark.parametrize(("operator", "settings", "sizes", "expected"), GAINS)
def test_gains_by_hand(operator, settings, sizes, expected):
    assert widened(operator, sizes, NORM, [5.0, 6.0], **settings) == pytest.approx(expected)


def test_a_new_group_brings_copies_of_its_own_heads():
    """4 heads in 2 groups become 9 in 3; the third of each group is its first, group 2 is 0."""
    growth = ModelShape(1, {**TINY, "num_attention_heads": 4, "num_key_value_heads": 2}, "llama")
    target = ModelShape(1, {**growth.keys, "num_attention_heads": 9, "num_key_value_heads": 3})
    target = replace(target, model_type="llama")
    plan = make_candidate("net2net", {}, (growth,), target).plan
    stack = LayerStack("model.layers", family=family_of("llama", {}))
    rows = torch.arange(4).repeat_interleave(2)[:, None].expand(8, 2).float()  # head numbers
    into = {Q: torch.zeros(18, 2)}
    fill(plan, stack, [{Q: rows}], into)
    assert into[Q][::2, 0].tolist() == [0, 1, 0, 2, 3, 2, 0, 1, 0]


# Layouts


def tiled(tensor):
    """Copy rows and columns in turn, columns shared."""
    return torch.cat([torch.cat([tensor, tensor], 1)] * 2) / 2


def test_fused_projection_of_gpt2():
    source, target, _ = grow("gpt2", "net2net", changes_of("gpt2", hidden=32, heads=8))
    before = source.transformer.h[0].attn.c_attn.weight.T.split(16)
    after = target.transformer.h[0].attn.c_attn.weight.T.split(32)
    for part, whole in zip(before, after, strict=True):
        assert torch.equal(whole, tiled(part))


def test_fused_projection_of_gpt_neox():
    source, target, _ = grow("gpt_neox", "net2net", changes_of("gpt_neox", hidden=32, heads=8))
    before, after = (
        model.gpt_neox.layers[0].attention.query_key_value.weight.unflatten(0, (-1, 3, 4))
        for model in (source, target)
    )
    for part in range(3):
        assert torch.equal(after[:, part].flatten(0, 1), tiled(before[:, part].flatten(0, 1)))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_fused_projections_that_do_not_grow_keep_their_bits(name):
    source, target, _ = grow(name, "net2net", changes_of(name, ffn=30))
    before = {path: each for path, each in tensors_of(source).items() if "mlp" not in path}
    assert all(torch.equal(tensors_of(target)[path], each) for path, each in before.items())


def test_heads_stay_heads_in_mean_padding():
    """New units of the stream are means of the old: of embeddings, of outputs, of biases."""
    source, target, _ = grow("gpt2", "lemon", changes_of("gpt2", hidden=24, heads=6))
    table, bias = target.transformer.wte.weight, target.transformer.h[1].mlp.c_proj.bias
    torch.testing.assert_close(table[:, 16], source.transformer.wte.weight.mean(1))
    torch.testing.assert_close(bias[16:], source.transformer.h[1].mlp.c_proj.bias.mean().expand(8))


# Moments, checks, refusals


def test_moments_are_lifted():
    source, target, plan = grow("llama-tied", "lemon", changes_of("llama-tied", 24, 6, 3, 40))
    stack = find_layers(target, target.config)
    kept = {name: torch.rand_like(each) for name, each in tensors_of(source).items()}
    into = {name: torch.zeros_like(each) for name, each in tensors_of(target).items()}
    fill(plan, stack, [kept], into, 1)
    assert all((each >= 0).all() for each in into.values())
    before, after = kept["model.embed_tokens.weight"], into["model.embed_tokens.weight"]
    assert torch.equal(after[:, :16], before)
    assert not after[:, 16:].any()
    assert not into["model.layers.0.mlp.up_proj.weight"][:, 16:].any()
    steps = {name: torch.tensor(5.0) for name in kept}
    counts = {name: torch.tensor(0.0) for name in kept}
    fill(plan, stack, [steps], counts)
    assert {float(each) for each in counts.values()} == {5.0}


def test_half_precision_is_computed_in_fp32():
    source = {"model.norm.weight": torch.tensor([3.0, 5.0]).bfloat16()}
    shapes = (ModelShape(1, TINY, "llama"), ModelShape(1, {**TINY, "hidden_size": 3}, "llama"))
    plan = make_candidate("zero", {}, shapes[:1], shapes[1]).plan
    into = {"model.norm.weight": torch.ones(3)}
    stack = LayerStack("model.layers", family=family_of("llama", {}))
    fill(plan, stack, [source], into)
    assert into["model.norm.weight"].tolist() == pytest.approx(
        [3 * (2 / 3) ** 0.5, 5 * (2 / 3) ** 0.5, 1]
    )


def test_shapes_that_do_not_fit_are_named():
    source = make_source("llama")
    plan = make_plan(source, "net2net", changes_of("llama", ffn=48))
    stack = find_layers(source, source.config)
    with pytest.raises(ModelError, match=r"gate_proj.*\(24, 16\).*\(48, 16\) when it is widened"):
        check_fit(plan, stack, [tensors_of(source)], tensors_of(source))


REFUSED = [
    ("net2net", "gpt2", {"n_embd": 32}, {}, r"size of a head from 4: set n_head to 8"),
    ("net2net", "gpt2", {"n_embd": 30, "n_head": 8}, {}, r"set n_embd to 32"),
    ("lemon", "qwen2", {"num_attention_heads": 8}, {}, r"set num_attention_heads to 4"),
    ("net2net", "llama", {"num_hidden_layers": 4, "hidden_size": 32}, {}, r"depth 2 to 4"),
    ("zero", "llama", {"num_hidden_layers": 4}, {}, r"depth 2 to 4"),
    ("net2net", "llama", {}, {}, r"as wide as the source: change one of"),
    ("net2net", "llama", {"hidden_size": 8}, {}, r"cannot shrink hidden_size from 16 to 8"),
    ("net2net", "mistral", {"num_key_value_heads": 4}, {}, r"cannot shrink the number of num_att"),
    ("net2net", "llama", {"num_attention_heads": 5}, {}, r"5 must be a multiple of num_key_value"),
    ("net2net", "llama", {"hidden_size": 32, "vocab_size": 40}, {}, r"changes vocab_size 32 to 40"),
    ("net2net", "llama", {"hidden_size": "wide"}, {}, r"hidden_size 'wide' must be a whole number"),
    ("aki", "llama", {"hidden_size": 32}, {}, r"otherwise it is net2net"),
    ("duplicate-halves", "llama", {"hidden_size": 24}, {}, r"set hidden_size to 32, not 24"),
    ("zero", "llama", {"intermediate_size": 30}, {"form": "v2"}, r"set intermediate_size to 48"),
    ("random-width", "llama", {"intermediate_size": 30}, {"form": "v2"}, r"_size to 48, not 30"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "name", "changes", "settings", "words"), REFUSED)
def test_refusals(operator, name, changes, settings, words):
    with pytest.raises(OperatorError, match=words) as failure:
        make_plan(make_source(name), operator, changes, **settings)
    assert "\n" not in str(failure.value)


def test_the_projection_of_opts_embedding_follows():
    """Left alone it would stay at 16, and the model would get two more matrices."""
    changes = {"hidden_size": 32, "num_attention_heads": 8}
    _, target, plan = grow("opt", "net2net", changes)
    assert plan.config_changes() == {"word_embed_proj_dim": 32}
    assert target.config.word_embed_proj_dim == 32


def test_gpt2s_feed_forward_follows_where_no_key_says_it():
    source = make_source("gpt2", n_inner=None)
    changes = {"n_embd": 32, "n_head": 8}
    found = difference(*grow("gpt2", "net2net", changes, source)[:2])
    assert found <= EXACT


def test_drawn():
    plan = make_plan(make_source("llama"), "net2net", changes_of("llama", hidden=32, heads=8))
    assert plan.layer_map() == "0 1 [residual 16-32, key_value 2-4, heads 4-8]"


@pytest.mark.parametrize("operator", ["net2net", "aki", "lemon", "zero", "random-width"])
@pytest.mark.parametrize("name", ["llama-tied", "gpt2", "gpt_neox"])
def test_widening_in_blocks_is_widening_at_once(name, operator, monkeypatch):
    """Large tensors are widened some rows at a time: the same, to the last bit."""
    changes = changes_of(name, hidden=24, heads=6, groups=3, ffn=40)
    source = make_source(name)
    settings = {"split": "uneven"} if operator in ("net2net", "lemon") else {}
    _, target, plan = grow(name, operator, changes, source, **settings)

    def second_moments():
        into = {key: torch.zeros_like(each) for key, each in tensors_of(target).items()}
        kept = {key: each**2 for key, each in tensors_of(source).items()}
        fill(plan, find_layers(target, target.config), [kept], into, 2)
        return into

    whole, moments = target.state_dict(), second_moments()
    monkeypatch.setattr(widen_module, "_BLOCK", 50)
    parts, again = (
        grow(name, operator, changes, source, **settings)[1].state_dict(),
        second_moments(),
    )
    assert all(torch.equal(whole[each], parts[each]) for each in whole)
    assert all(torch.equal(moments[each], again[each]) for each in moments)


def test_gstack_warns_of_heads_within_groups():
    source = make_source("qwen3")
    changes = changes_of("qwen3", heads=8, groups=2)
    plan = make_plan(source, "zero", changes, form="gstack")
    assert "query heads that are added to a group" in plan.warning
    assert make_plan(source, "zero", changes).warning is None
    with_groups = changes_of("qwen3", heads=8, groups=4)
    assert make_plan(source, "zero", with_groups, form="gstack").warning is None
