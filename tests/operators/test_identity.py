"""Growth that preserves the function, measured in float64; and noise, measured as a sample."""

import math
import re

import pytest
import torch

from lagsearch.errors import ModelError, OperatorError
from lagsearch.models.build import fresh_model, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import find_layers
from lagsearch.operators import GrowthPlan, LayerOrigin, make_candidate
from lagsearch.operators.execute.fill import add_noise, fill
from lagsearch.training.optimizer import zero_state
from lagsearch.training.ramp import Ramp

SIZES = {"hidden_size": 16, "num_attention_heads": 4, "vocab_size": 32}
GATED = {  # 4 query heads share 2 key/value heads
    **SIZES,
    "intermediate_size": 24,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
}
LLAMA = {"model_type": "llama", **GATED}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_head": 4, "n_positions": 16, "vocab_size": 32}
NEOX = {
    "model_type": "gpt_neox",
    **SIZES,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
}
OPT = {
    "model_type": "opt",
    **SIZES,
    "ffn_dim": 24,
    "word_embed_proj_dim": 16,
    "max_position_embeddings": 16,
}
LLAMA_OUT = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
LLAMA_OUT_BIASES = ("self_attn.o_proj.bias", "mlp.down_proj.bias")
GPT2_OUT = ("attn.c_proj.weight", "attn.c_proj.bias", "mlp.c_proj.weight", "mlp.c_proj.bias")
NEOX_OUT = (
    "attention.dense.weight",
    "attention.dense.bias",
    "mlp.dense_4h_to_h.weight",
    "mlp.dense_4h_to_h.bias",
)
OPT_OUT = ("self_attn.out_proj.weight", "self_attn.out_proj.bias", "fc2.weight", "fc2.bias")
# name: keys, and what a layer adds to the residual stream, read from transformers' source
MODELS = {
    "llama": ({**LLAMA, "tie_word_embeddings": False}, LLAMA_OUT),
    "llama-tied": ({**LLAMA, "tie_word_embeddings": True}, LLAMA_OUT),
    "llama-biases": (
        {**LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 6},
        LLAMA_OUT + LLAMA_OUT_BIASES,
    ),
    "mistral": ({"model_type": "mistral", **GATED, "sliding_window": 4}, LLAMA_OUT),
    "qwen2": ({"model_type": "qwen2", **GATED}, LLAMA_OUT),
    "qwen3": ({"model_type": "qwen3", **GATED, "head_dim": 6}, LLAMA_OUT),
    "gpt2": (GPT2, GPT2_OUT),
    "gpt2-untied": ({**GPT2, "tie_word_embeddings": False}, GPT2_OUT),
    "neox": (NEOX, NEOX_OUT),
    "neox-serial": ({**NEOX, "use_parallel_residual": False}, NEOX_OUT),
    "opt": (OPT, OPT_OUT),
}
PLACEMENTS = ["interleaved", "stacked", "pro"]
LAYER_NAME = re.compile(r"^(.*\.(?:layers|h))\.(\d+)\.(.+)$")

every_model = pytest.mark.parametrize("model", MODELS)
every_placement = pytest.mark.parametrize("placement", PLACEMENTS)


def stir(model, seed):
    """Give every tensor values as of a trained model: gains about 1, biases not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            is_gain = tensor.dim() == 1 and name.endswith("weight")
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.3
            tensor.copy_(drawn + is_gain)


def make_source(model, n_layers=3, seed=1):
    config = build_config({**MODELS[model][0], "num_hidden_layers": n_layers})
    source = fresh_model(config, "causal", seed).double().eval()
    stir(source, seed)
    return source


def make_target(source, plan, seed=7, kind="causal"):
    changes = {"num_hidden_layers": len(plan.layers)}
    config = rebuild_config(
        grown_keys(source.config, changes, [origin.layer for origin in plan.layers])
    )
    return fresh_model(config, kind, seed).double().eval()


def make_plan(source, name, settings, n_target):
    shape = target_shape(source.config, {"num_hidden_layers": n_target})
    return make_candidate(name, settings, (shape_of(source.config),), shape).plan


def grow(source, name, settings, n_target):
    plan = make_plan(source, name, settings, n_target)
    target = make_target(source, plan)
    fill(plan, find_layers(target, target.config), [tensors_of(source)], tensors_of(target))
    return plan, target


def tokens(seed=0):
    return torch.randint(0, 32, (3, 11), generator=torch.Generator().manual_seed(seed))  # (B, T)


def logits_of(model, seed=0):
    with torch.no_grad():
        return model(input_ids=tokens(seed), use_cache=False).logits


def layers_of(model):
    return model.get_submodule(find_layers(model, model.config).prefix)


def backward(model, seed=0):
    model.zero_grad(set_to_none=True)
    ids = tokens(seed)
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()


def new_tensors(plan, target):
    """Yield (rest of the name, tensor, layer) of the new layers' parameters."""
    for name, tensor in target.named_parameters():
        parts = LAYER_NAME.match(name)
        if parts and plan.layers[int(parts[2])].is_new:
            yield parts[3], tensor, int(parts[2])


# ---- the function


@every_model
def test_a_stirred_source_is_like_a_trained_one(model):
    """The tests below would say little of a model with gains of 1 and biases of 0."""
    for name, tensor in make_source(model).named_parameters():
        assert tensor.dtype == torch.float64
        assert len(tensor.unique()) == tensor.numel(), name
        assert not (tensor == 0).any(), name
        assert not (tensor == 1).any(), name


@every_model
@every_placement
@pytest.mark.parametrize("n_target", [4, 6])
def test_identity_keeps_the_function(model, placement, n_target):
    source = make_source(model)
    _, target = grow(source, "identity", {"placement": placement}, n_target)
    assert len(layers_of(target)) == n_target
    for seed in (0, 1):
        expected = logits_of(source, seed)
        assert expected.std() > 0.05
        assert (logits_of(target, seed) - expected).abs().max() <= 1e-10


@every_model
@pytest.mark.parametrize("placement", ["interleaved", "stacked"])
def test_identity_keeps_the_function_at_odd_depths(model, placement):
    source = make_source(model)
    _, target = grow(source, "identity", {"placement": placement}, 8)
    assert (logits_of(target) - logits_of(source)).abs().max() <= 1e-10


@every_model
@pytest.mark.parametrize("name", ["stack", "interleave"])
def test_plain_copies_do_not_keep_the_function(model, name):
    """What is measured above is not zero for any growth."""
    source = make_source(model)
    _, target = grow(source, name, {}, 6)
    assert (logits_of(target) - logits_of(source)).abs().max() > 1e-2


@every_model
@every_placement
def test_the_zeroed_tensors_are_the_output_projections(model, placement):
    source = make_source(model)
    plan, target = grow(source, "identity", {"placement": placement}, 6)
    state = dict(source.named_parameters())
    zeroed = set()
    for name, tensor in target.named_parameters():
        parts = LAYER_NAME.match(name)
        origin = plan.layers[int(parts[2])] if parts else None
        if origin and origin.is_new and parts[3] in MODELS[model][1]:
            assert not tensor.any(), name
            zeroed.add((int(parts[2]), parts[3]))
        else:
            copied = f"{parts[1]}.{origin.layer}.{parts[3]}" if parts else name
            assert torch.equal(tensor, state[copied]), name
    new = [at for at, origin in enumerate(plan.layers) if origin.is_new]
    assert len(new) == 3
    assert zeroed == {(at, rest) for at in new for rest in MODELS[model][1]}


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@every_placement
def test_post_norm_is_refused(model_type, placement):
    keys = {**SIZES, "model_type": model_type, "intermediate_size": 24, "num_hidden_layers": 3}
    config = build_config(keys)
    target = target_shape(config, {"num_hidden_layers": 6})
    with pytest.raises(OperatorError, match=rf"identity .*{model_type}.*post-norm"):
        make_candidate("identity", {"placement": placement}, (shape_of(config),), target)


@every_placement
def test_a_model_without_a_table_is_refused(placement):
    keys = {**SIZES, "model_type": "cohere", "intermediate_size": 24, "num_hidden_layers": 3}
    config = build_config(keys)
    target = target_shape(config, {"num_hidden_layers": 6})
    words = r"cohere has no table.*known: .*gpt2.*llama.*add one.*lagsearch/models/families"
    with pytest.raises(ModelError, match=words) as failure:
        make_candidate("identity", {"placement": placement}, (shape_of(config),), target)
    assert "\n" not in str(failure.value)


def test_opt_with_norms_behind_the_additions_is_refused():
    keys = {**OPT, "num_hidden_layers": 3, "do_layer_norm_before": False}
    config = build_config(keys)
    target = target_shape(config, {"num_hidden_layers": 6})
    with pytest.raises(ModelError, match=r"opt .*do_layer_norm_before False"):
        make_candidate("identity", {}, (shape_of(config),), target)


def test_norms_of_new_layers_are_kept():
    """Norms of new layers stay what they were: zeroed norms would leave dead parts."""
    source = make_source("llama")
    plan, target = grow(source, "identity", {}, 6)
    norms = [tensor for rest, tensor, _ in new_tensors(plan, target) if "layernorm" in rest]
    assert len(norms) == 6
    assert all((tensor != 0).all() for tensor in norms)


# ---- gradients


@every_model
@every_placement
def test_zeroed_weights_have_a_gradient_at_once_and_the_rest_has_none_yet(model, placement):
    plan, target = grow(make_source(model), "identity", {"placement": placement}, 6)
    backward(target)
    seen = 0
    for rest, tensor, layer in new_tensors(plan, target):
        largest = tensor.grad.abs().max()
        if rest in MODELS[model][1]:
            assert largest > 1e-6, (rest, layer)
            seen += 1
        else:
            assert largest == 0, (rest, layer)
    assert seen == 3 * len(MODELS[model][1])


def is_dead_by_nature(model, rest):
    """Without rotation a key's bias adds the same to all scores of a query: no gradient, ever."""
    return model == "opt" and rest == "self_attn.k_proj.bias"


@every_model
@every_placement
def test_after_three_steps_no_new_tensor_is_dead(model, placement):
    plan, target = grow(make_source(model), "identity", {"placement": placement}, 6)
    before = {(rest, at): tensor.clone() for rest, tensor, at in new_tensors(plan, target)}
    optimizer = torch.optim.SGD(target.parameters(), lr=0.1)
    for step in range(3):
        backward(target, seed=step)
        optimizer.step()
    backward(target, seed=3)
    for rest, tensor, layer in new_tensors(plan, target):
        if not is_dead_by_nature(model, rest):
            assert tensor.grad.abs().max() > 1e-9, (rest, layer)
            assert not torch.equal(tensor, before[rest, layer]), (rest, layer)


def test_the_key_bias_of_opt_is_dead_in_any_layer():
    """The exception above is not the growth's doing: the source's own layers have it too."""
    source = make_source("opt")
    backward(source)
    for name, tensor in source.named_parameters():
        largest = tensor.grad.abs().max()
        assert (largest < 1e-12) == name.endswith("k_proj.bias"), name


# ---- moments


@every_model
@every_placement
def test_moments_are_zero_where_weights_are_and_copied_elsewhere(model, placement):
    """Filled by the same plan over values that are not zero, so that zero is written."""
    source = make_source(model)
    plan, target = grow(source, "identity", {"placement": placement}, 6)
    generator = torch.Generator().manual_seed(3)
    moments = {
        name: torch.rand(tensor.shape, generator=generator) + 0.5
        for name, tensor in source.named_parameters()
    }
    grown = {name: torch.full(tensor.shape, 9.0) for name, tensor in target.named_parameters()}
    fill(plan, find_layers(target, target.config), [moments], grown)
    n_zero = 0
    for name, tensor in grown.items():
        parts = LAYER_NAME.match(name)
        origin = plan.layers[int(parts[2])] if parts else None
        if origin and origin.is_new and parts[3] in MODELS[model][1]:
            assert not tensor.any(), name
            n_zero += 1
        else:
            copied = f"{parts[1]}.{origin.layer}.{parts[3]}" if parts else name
            assert torch.equal(tensor, moments[copied]), name
    assert n_zero == 3 * len(MODELS[model][1])


@pytest.mark.parametrize("model", ["llama-tied", "gpt2"])
def test_a_trained_optimizer_grows_with_the_model(model):
    source = make_source(model)
    optimizer = torch.optim.AdamW(source.parameters(), lr=1e-3)
    for seed in range(2):
        backward(source, seed)
        optimizer.step()
    names = {name: tensor for name, tensor in source.named_parameters()}
    plan, target = grow(source, "identity", {"placement": "stacked"}, 5)
    of_target = torch.optim.AdamW(target.parameters(), lr=1e-3)
    state = zero_state(of_target, target)
    stack = find_layers(target, target.config)
    for moment in state:
        kept = {name: optimizer.state[tensor][moment] for name, tensor in names.items()}
        fill(plan, stack, [kept], state[moment])
    for name, tensor in target.named_parameters():
        parts = LAYER_NAME.match(name)
        origin = plan.layers[int(parts[2])] if parts else None
        got = of_target.state[tensor]
        if origin and origin.is_new and parts[3] in MODELS[model][1]:
            assert not got["exp_avg"].any(), name
            assert not got["exp_avg_sq"].any(), name
            assert got["step"].item() == 0
        else:
            copied = f"{parts[1]}.{origin.layer}.{parts[3]}" if parts else name
            expected = optimizer.state[names[copied]]
            assert torch.equal(got["exp_avg"], expected["exp_avg"]), name
            assert torch.equal(got["exp_avg_sq"], expected["exp_avg_sq"]), name
            assert got["step"].item() == 2
    backward(target, 5)
    of_target.step()
    assert torch.isfinite(logits_of(target)).all()


# ---- random layers, faded in


def run_by_hand(target, plan, share):
    """Compute logits with the masked layers blended by hand: no hook that changes anything."""
    layers = layers_of(target)
    first = next(at for at, origin in enumerate(plan.layers) if origin.treatment == "masked")
    caught = {}

    def keep(layer, args, named):
        caught["x"], caught["rest"], caught["named"] = args[0], args[1:], named

    handle = layers[first].register_forward_pre_hook(keep, with_kwargs=True)
    logits_of(target)
    handle.remove()
    x_BTD = caught["x"]
    with torch.no_grad():
        for layer in list(layers)[first:]:
            made = layer(x_BTD, *caught["rest"], **caught["named"])
            made = made[0] if isinstance(made, tuple) else made
            x_BTD = x_BTD + share * (made - x_BTD)
        stack = find_layers(target, target.config)
        trunk, _, _ = stack.prefix.rpartition(".")
        norm = next(  # the one norm beside the layers
            child
            for name, child in target.get_submodule(trunk).named_children()
            if name in ("norm", "ln_f", "final_layer_norm")
        )
        return target.get_output_embeddings()(norm(x_BTD))


def randomized_growth(model, ramp_steps, n_target=5):
    """Grow by `random`, and give the new layers weights that matter."""
    source = make_source(model)
    plan = make_plan(source, "random", {"ramp_steps": ramp_steps}, n_target)
    target = make_target(source, plan)
    stir(target, seed=11)
    fill(plan, find_layers(target, target.config), [tensors_of(source)], tensors_of(target))
    return source, plan, target


@every_model
def test_ramp_from_the_source_to_the_target(model):
    source, plan, target = randomized_growth(model, ramp_steps=8)
    assert plan.ramp_steps == 8
    in_full = logits_of(target)
    quarter, half = (run_by_hand(target, plan, share) for share in (0.25, 0.5))
    assert (run_by_hand(target, plan, 1.0) - in_full).abs().max() <= 1e-10

    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)
    assert (logits_of(target) - logits_of(source)).abs().max() <= 1e-10
    ramp.at(2)
    assert (logits_of(target) - quarter).abs().max() <= 1e-10
    ramp.at(4)
    assert (logits_of(target) - half).abs().max() <= 1e-10
    ramp.at(8)
    assert torch.equal(logits_of(target), in_full)
    ramp.at(9)
    assert torch.equal(logits_of(target), in_full)
    different = [logits_of(source), quarter, half, in_full]
    for at, one in enumerate(different):
        for other in different[at + 1 :]:
            assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_a_ramp_can_go_back(model):
    """What is measured at an earlier step is not what was left by a later one."""
    source, plan, target = randomized_growth(model, ramp_steps=4)
    ramp = Ramp(plan, target, find_layers(target, target.config))
    for step in (4, 0, 10**9, 0):
        ramp.at(step)
    assert (logits_of(target) - logits_of(source)).abs().max() <= 1e-10


def test_masked_layers_wake_up_with_the_ramp():
    """At step 0 nothing reaches them; behind it every one of their tensors has a gradient."""
    _, plan, target = randomized_growth("llama", ramp_steps=10)
    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)
    backward(target)
    assert all(t.grad is None or not t.grad.any() for _, t, _ in new_tensors(plan, target))
    ramp.at(1)
    backward(target)
    assert all(t.grad.abs().max() > 1e-9 for _, t, _ in new_tensors(plan, target))


def test_without_a_ramp_random_layers_count_at_once():
    source, plan, target = randomized_growth("llama", ramp_steps=0)
    in_full = logits_of(target)
    assert (in_full - logits_of(source)).abs().max() > 1e-3
    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)
    assert torch.equal(logits_of(target), in_full)


def test_random_leaves_new_layers_as_fresh_ones():
    source = make_source("llama")
    for ramp_steps in (0, 5):
        plan = make_plan(source, "random", {"ramp_steps": ramp_steps}, 5)
        fresh = dict(make_target(source, plan).named_parameters())
        target = make_target(source, plan)
        fill(plan, find_layers(target, target.config), [tensors_of(source)], tensors_of(target))
        new = list(new_tensors(plan, target))
        assert {layer for _, _, layer in new} == {3, 4}
        for rest, tensor, layer in new:
            assert torch.equal(tensor, fresh[f"model.layers.{layer}.{rest}"])
        kept = source.get_parameter("model.layers.2.mlp.up_proj.weight")
        assert torch.equal(target.get_parameter("model.layers.2.mlp.up_proj.weight"), kept)


# ---- noise

WRITERS = {
    "llama": LLAMA_OUT,
    "gpt2": ("attn.c_proj.weight", "mlp.c_proj.weight"),
}


def noisy(model, seed, n_source=4, n_target=8, noise=0.2):
    """Return copied and noisy tensors, by name, of a stacked model."""
    source = make_source(model, n_layers=n_source)
    plan, target = grow(source, "stack", {"noise": noise}, n_target)
    assert plan.noise == noise
    copied = {name: tensor.clone() for name, tensor in tensors_of(target).items()}
    stack = find_layers(target, target.config)
    add_noise(plan, stack, tensors_of(target), width=16, seed=seed)
    return copied, tensors_of(target)


def noise_in(copied, got, share=0.2):
    return {
        name: (got[name] - (1 - share) * copied[name]) / share
        for name in got
        if got[name].dim() == 2
    }


@pytest.mark.parametrize("model", ["llama", "llama-biases", "gpt2", "opt"])
def test_noise_is_the_seeds_and_leaves_vectors(model):
    copied, first = noisy(model, seed=5)
    torch.manual_seed(123)  # the global state must not matter
    _, again = noisy(model, seed=5)
    _, other = noisy(model, seed=6)
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name]), name
        if tensor.dim() < 2:
            assert torch.equal(tensor, copied[name]), name
        else:
            assert not torch.equal(tensor, copied[name]), name
            assert not torch.equal(tensor, other[name]), name


def test_noise_does_not_touch_the_global_state():
    source = make_source("gpt2", n_layers=2)
    plan, target = grow(source, "stack", {"noise": 0.2}, 4)
    before = torch.get_rng_state()
    stack = find_layers(target, target.config)
    add_noise(plan, stack, tensors_of(target), width=16, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def assert_variance(samples, expected):
    """Within five standard errors of a normal sample's variance, and of its mean."""
    n = samples.numel()
    assert n > 1500
    assert abs(samples.var().item() / expected - 1) < 5 * math.sqrt(2 / (n - 1))
    assert abs(samples.mean().item()) < 5 * math.sqrt(expected / n)
    kurtosis = (samples / samples.std()).pow(4).mean().item()
    assert abs(kurtosis - 3) < 5 * math.sqrt(24 / n)


@pytest.mark.parametrize("model", WRITERS)
def test_variances_of_the_noise(model):
    """With d = 16 and 8 layers: 1 / (16 * 64) for writers, 2 / (5 * 16) for all else."""
    drawn = noise_in(*noisy(model, seed=5))
    writers = {name for name in drawn if name.endswith(WRITERS[model])}
    assert len(writers) == 16
    for ending in WRITERS[model]:
        of_kind = [drawn[name].flatten() for name in sorted(writers) if name.endswith(ending)]
        assert_variance(torch.cat(of_kind), 1 / (16 * 64))
    readers = [name for name in sorted(drawn) if name not in writers and LAYER_NAME.match(name)]
    assert_variance(torch.cat([drawn[name].flatten() for name in readers]), 2 / (5 * 16))
    for ending in ("up_proj.weight", "q_proj.weight") if model == "llama" else ("c_fc.weight",):
        of_kind = [drawn[name].flatten() for name in readers if name.endswith(ending)]
        assert_variance(torch.cat(of_kind), 2 / (5 * 16))
    outer = [name for name in sorted(drawn) if not LAYER_NAME.match(name)]
    assert any("embed_tokens" in name or "wte" in name for name in outer)
    outer_drawn = [
        noise_in(*noisy(model, seed=seed))[name].flatten() for seed in range(5) for name in outer
    ]
    assert_variance(torch.cat(outer_drawn), 2 / (5 * 16))


def test_noise_of_two_tensors_is_not_the_same():
    drawn = noise_in(*noisy("llama", seed=5))
    for kind in ("self_attn.q_proj.weight", "mlp.down_proj.weight"):
        flat = torch.stack([drawn[f"model.layers.{at}.{kind}"].flatten() for at in range(8)])
        cosines = torch.corrcoef(flat) - torch.eye(8)
        assert cosines.abs().max() < 5 / math.sqrt(flat.shape[1])


def test_no_noise_leaves_every_bit():
    copied, got = noisy("llama", seed=5, noise=0.0)
    assert all(torch.equal(got[name], copied[name]) for name in copied)


def test_noise_is_for_what_is_copied():
    source = make_source("llama")
    plan = GrowthPlan(
        layers=(LayerOrigin(layer=0), LayerOrigin(treatment="random", is_new=True)), noise=0.5
    )
    target = make_target(source, plan)
    fill(plan, find_layers(target, target.config), [tensors_of(source)], tensors_of(target))
    before = {name: tensor.clone() for name, tensor in tensors_of(target).items()}
    add_noise(plan, find_layers(target, target.config), tensors_of(target), width=16, seed=5)
    for name, tensor in tensors_of(target).items():
        is_changed = not torch.equal(tensor, before[name])
        assert is_changed == (tensor.dim() == 2 and not name.startswith("model.layers.1.")), name
