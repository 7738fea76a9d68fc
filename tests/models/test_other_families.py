"""Families beside the first seven: what each can grow into, exactly.

In float64 to 1e-10 with norms and softmax in float64 too, and in fp32 to 1e-5 of the largest logit
by transformers' own forward pass. Every weight is random, norms' gains and biases too.
"""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from lagsearch.errors import ModelError, OperatorError
from lagsearch.grow.growth import Growth
from lagsearch.models.build import bare_model, fresh_model, tensors_of
from lagsearch.models.configs import build_config, shape_of, target_shape
from lagsearch.operators import make_candidate

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import function_preservation
from function_preservation import FAMILIES, OTHERS, changes_of, dead_entries, grow

POST_NORM = ("distilbert", "electra", "electra-projected")
LAYER_NORM = ("starcoder2", "stablelm", "phi", "falcon", *POST_NORM)
TOKENS = torch.arange(24).reshape(2, 12) * 7 % 40
EXACT = [
    ("net2net", {}, "x2"),
    ("net2net", {"split": "uneven"}, "x2"),
    ("duplicate-halves", {}, "x2"),
    ("lemon", {}, "x2"),
    ("lemon", {}, "x1.5"),
    ("zero", {}, "x2"),
    ("zero", {}, "x1.5"),
    ("zero", {"form": "gstack"}, "x1.5"),
    ("random-width", {"ramp_steps": 1}, "x1.5"),
]

every_exact = pytest.mark.parametrize(("name", "settings", "grows"), EXACT)
every_family = pytest.mark.parametrize("family", OTHERS)


def logits_of(model):
    with torch.no_grad():
        return model(TOKENS).logits


def difference(family, name, settings, grows):
    source, target, _ = grow(family, name, settings, grows)
    return float((logits_of(source) - logits_of(target)).abs().max())


def skip_what_is_not_exact(family, name, grows):
    if family in LAYER_NORM and name == "zero":
        pytest.skip("zeros in the stream are not exact with LayerNorms")
    if family in POST_NORM and (name, grows) == ("lemon", "x1.5"):
        pytest.skip("refused: post-norm")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bare_model_is_a_fresh_one_but_for_its_weights(family):
    """Filled with a fresh one's weights it computes the same; its ties and buffers are the same."""
    config, kind = build_config(FAMILIES[family]), function_preservation.KINDS.get(family, "causal")
    bare, fresh = bare_model(config, kind), fresh_model(config, kind, 0)
    assert type(bare) is type(fresh)
    assert tensors_of(bare).keys() == tensors_of(fresh).keys()
    with torch.no_grad():
        for name, tensor in tensors_of(bare).items():
            tensor.copy_(tensors_of(fresh)[name])
    for (name, one), (other, two) in zip(bare.named_buffers(), fresh.named_buffers(), strict=True):
        assert name == other and torch.equal(one, two)
    assert torch.equal(logits_of(bare.eval()), logits_of(fresh.eval()))


@every_family
def test_identity_is_exact_where_norms_come_first(family):
    if family in POST_NORM:
        with pytest.raises(OperatorError, match="identity cannot be exact"):
            difference(family, "identity", {}, "depth")
    else:
        for placement in ("interleaved", "stacked", "pro"):
            assert difference(family, "identity", {"placement": placement}, "depth") <= 1e-10
        assert difference(family, "stack", {}, "depth") > 1e-3


def gradient_norm(model):
    logits = model(TOKENS).logits
    cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
    return float(torch.stack([each.grad.norm() for each in model.parameters()]).norm())


@pytest.mark.parametrize(("family", "gain"), [("gemma2", -1.0), ("gemma3_text", -1), ("olmo2", 0)])
def test_identity_zeroes_the_gains_of_norms_behind_output_projections(family, gain):
    """Zero projections in front of them would have gradients of 1 / sqrt(eps) times the size."""
    source, target, _ = grow(family, "identity", {}, "depth")
    behind = ("post_attention_layernorm", "post_feedforward_layernorm")
    for place, layer in enumerate(target.model.layers):
        is_new = place % 2 == 1
        for name in behind:
            assert bool((layer.get_submodule(name).weight == gain).all()) == is_new
        for out in (layer.self_attn.o_proj, layer.mlp.down_proj):
            assert out.weight.count_nonzero() == out.weight.numel()
    assert gradient_norm(target) < 3 * gradient_norm(source)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "olmo2"])
@pytest.mark.parametrize("width", ["net2net", "lemon", "zero"])
def test_identity_in_depth_and_a_width_are_exact_and_all_of_it_learns(family, width):
    settings = {"width": width, "depth": "identity"}
    source, target, ramp = grow(family, "combined", settings, "depth, x2")
    assert float((logits_of(source) - logits_of(target)).abs().max()) <= 1e-10
    assert dead_entries(target, ramp, TOKENS)[-1] == 0


def test_only_a_gain_that_counts_from_zero_can_be_said_to_mergekit():
    """Its scale of 0 leaves a gain of one in Gemma."""
    plan = plan_of(FAMILIES["olmo2"], "identity", {"num_hidden_layers": 8})
    closing = {
        family: Growth((), (), plan, build_config(FAMILIES[family])).closing
        for family in ("llama", "olmo2", "gemma2")
    }
    assert closing == {
        "llama": ["self_attn.o_proj", "mlp.down_proj"],
        "olmo2": ["post_attention_layernorm", "post_feedforward_layernorm"],
        "gemma2": [],
    }


@every_family
@every_exact
def test_widths_are_exact(family, name, settings, grows):
    skip_what_is_not_exact(family, name, grows)
    assert difference(family, name, settings, grows) <= 1e-10


@every_family
@every_exact
def test_widths_are_exact_by_transformers_own_forward(family, name, settings, grows, monkeypatch):
    skip_what_is_not_exact(family, name, grows)
    monkeypatch.setattr(function_preservation, "in_float64", lambda model: model)
    source, target, _ = grow(family, name, settings, grows)
    assert source.dtype == target.dtype == torch.float32
    before, after = logits_of(source), logits_of(target)
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize(
    "family", ["gemma2", "gemma3_text", "olmo2", "falcon", "phi", "phi3", "granite"]
)
def test_every_tensor_counts(family):
    """A tensor that growth forgot would show: with any one of the source changed, so are logits."""
    source, _, _ = grow(family, "net2net", {}, "x2")
    before = logits_of(source)
    for name, tensor in source.named_parameters():
        kept = tensor.detach().clone()
        with torch.no_grad():
            tensor.mul_(1 + 0.5 * torch.rand_like(tensor))
            assert (logits_of(source) - before).abs().max() > 1e-6, name
            tensor.copy_(kept)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "olmo2", "falcon", "phi", "phi3"])
@pytest.mark.parametrize("name", ["net2net", "zero", "lemon"])
@pytest.mark.parametrize("grown", ["ffn", "heads"])
def test_one_size_alone(family, name, grown, monkeypatch):
    """Feed-forward units alone; heads alone, within their groups, where their size is a key."""
    if grown == "heads" and not family.startswith("gemma"):
        pytest.skip("heads divide the hidden size")
    ffn = {"falcon": "ffn_hidden_size"}.get(family, "intermediate_size")
    changes = {ffn: 37} if grown == "ffn" else {"num_attention_heads": 8}
    monkeypatch.setattr(function_preservation, "changes_of", lambda *_: changes)
    assert difference(family, name, {}, "x2") <= 1e-10


# ---- Falcon's other layouts, and what is refused


FALCON = {
    key: FAMILIES["falcon"][key] for key in ("model_type", "num_hidden_layers", "hidden_size")
}
FALCON |= {
    key: FAMILIES["falcon"][key] for key in ("num_attention_heads", "ffn_hidden_size", "bias")
}
FALCON |= {"vocab_size": 40}
LAYOUTS = {
    "one-key": {"multi_query": True},
    "one-key-serial": {"multi_query": True, "parallel_attn": False, "tie_word_embeddings": False},
    "per-head": {"multi_query": False, "parallel_attn": False},
    "one-norm": {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("name", "settings", "size"),
    [
        ("net2net", {}, 2),
        ("duplicate-halves", {}, 2),
        ("lemon", {}, 2),
        ("lemon", {}, 1.5),
        ("random-width", {"ramp_steps": 1}, 1.5),
        ("ligo", {"noise": 0.0}, 2),
        ("identity", {}, 1),
    ],
)
def test_every_layout_of_falcon(layout, name, settings, size, monkeypatch):
    monkeypatch.setitem(FAMILIES, "falcon", {**FALCON, **LAYOUTS[layout]})
    changes = {
        "hidden_size": int(16 * size),
        "num_attention_heads": int(4 * size),
        "ffn_hidden_size": 48,
    }
    if name == "identity":
        changes = {"num_hidden_layers": 8}
    monkeypatch.setattr(function_preservation, "changes_of", lambda *_: changes)
    source, target, _ = grow("falcon", name, settings, "x2")
    assert float((logits_of(source) - logits_of(target)).abs().max()) <= 1e-10
    if "num_kv_heads" not in LAYOUTS[layout]:  # it follows, or the model could not be built
        assert target.config.num_kv_heads == target.config.num_attention_heads


def plan_of(keys, name, changes, **settings):
    config = build_config(keys)
    shape = target_shape(config, changes)
    return make_candidate(name, settings, (shape_of(config),), shape).plan


def test_alibi_fixes_the_heads():
    keys = {**FALCON, "multi_query": False, "alibi": True}
    with pytest.raises(OperatorError, match=r"falcon with alibi: the slope.*ffn_hidden_size alone"):
        plan_of(keys, "net2net", {"hidden_size": 32, "num_attention_heads": 8})
    assert plan_of(keys, "net2net", {"ffn_hidden_size": 48}).width is not None


OLMO2 = FAMILIES["olmo2"]


@pytest.mark.parametrize("family", ["olmo2", "gemma2", "gemma3_text", "phi3"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [("lemon", {}), ("zero", {}), ("random-width", {"ramp_steps": 1})],
)
def test_heads_within_groups(family, name, settings, monkeypatch):
    """3 query heads share a key where 2 did, in a stream that is half as wide again."""
    changes = {"hidden_size": 24, "num_attention_heads": 6}
    monkeypatch.setattr(function_preservation, "changes_of", lambda *_: changes)
    assert difference(family, name, settings, "x1.5") <= 1e-10


@pytest.mark.parametrize("family", ["olmo2", "gemma2", "gemma3_text", "falcon", "phi3"])
def test_ligo_without_noise_begins_as_net2net(family):
    assert difference(family, "ligo", {"noise": 0.0}, "x2") <= 1e-10


@pytest.mark.parametrize("family", ["olmo2", "gemma2", "gemma3_text", "phi3"])
def test_ligo_without_noise_begins_as_zeros(family):
    assert difference(family, "ligo", {"noise": 0.0, "width_init": "zero"}, "x1.5") <= 1e-10


def test_norms_over_all_heads_warn_where_copies_are_not_even():
    changes = changes_of("olmo2", "x1.5")
    assert "span all heads" in plan_of(OLMO2, "net2net", changes).warning
    for name, grows in (("net2net", "x2"), ("lemon", "x1.5"), ("zero", "x1.5")):
        assert plan_of(OLMO2, name, changes_of("olmo2", grows)).warning is None


def test_norms_over_all_heads_refuse_heads_that_would_stay_zero():
    """Twice as wide is whole copies of all units; 3 heads in a group in place of 2 are not."""
    keys = {**OLMO2, "hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 3}
    changes = {"hidden_size": 48, "num_attention_heads": 12, "num_key_value_heads": 4}
    with pytest.raises(OperatorError, match=r"zero for ever; set num_attention_heads and num_key"):
        plan_of(keys, "lemon", changes)
    assert plan_of(keys, "zero", changes).width is not None


def test_a_projected_embedding_stays_and_its_projection_too():
    keys = FAMILIES["electra-projected"]
    _, target, _ = grow("electra-projected", "net2net", {}, "x2")
    assert target.config.embedding_size == 8
    with pytest.raises(OperatorError, match="it would lose the projection between them"):
        plan_of({**keys, "embedding_size": 32}, "net2net", changes_of("electra-projected", "x2"))


@pytest.mark.parametrize("family", ["stablelm", "phi"])
def test_layer_norms_of_heads_have_no_table(family):
    keys = {**FAMILIES[family], "qk_layernorm": True}
    with pytest.raises(ModelError, match="qk_layernorm True is not known"):
        plan_of(keys, "net2net", changes_of(family, "x2"))
