"""The mask of a random width, against masks put into the weights by hand."""

import copy
import itertools

import pytest
import torch
from torch import nn

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.models.build import fresh_model, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.families import family_of
from lagsearch.models.layers import find_layers
from lagsearch.operators import GrowthPlan, make_candidate
from lagsearch.operators.execute.fill import fill
from lagsearch.training.ramp import Ramp

COMMON = {"num_hidden_layers": 2, "vocab_size": 32, "max_position_embeddings": 16}
HIDDEN = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12}
LLAMA = {"model_type": "llama", **COMMON, **HIDDEN, "num_key_value_heads": 1, "head_dim": 4}
NEOX = {"model_type": "gpt_neox", **COMMON, **HIDDEN}
BERT = {"model_type": "bert", **COMMON, **HIDDEN}
GPT2 = {"model_type": "gpt2", "n_layer": 2, "vocab_size": 32, "n_positions": 16, "n_embd": 8,
        "n_head": 2, "n_inner": 12}  # fmt: skip
OPT = {"model_type": "opt", **COMMON, "hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 12,
       "num_attention_heads": 2}  # fmt: skip
WIDER = {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20}
GROWTHS = {
    "llama": (LLAMA, {**WIDER, "num_attention_heads": 6, "num_key_value_heads": 3}),
    "llama-tied": (
        {**LLAMA, "tie_word_embeddings": True},
        {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "llama-heads-in-groups": (
        {**LLAMA, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4},
        {**WIDER, "num_attention_heads": 12, "num_key_value_heads": 3},
    ),
    "qwen3-heads-in-groups": (
        {**LLAMA, "model_type": "qwen3"},
        {**WIDER, "num_attention_heads": 6},
    ),
    "gpt2": (GPT2, {"n_embd": 12, "n_head": 3, "n_inner": 20}),
    "gpt2-untied": ({**GPT2, "tie_word_embeddings": False}, {"n_embd": 16, "n_head": 4}),
    "neox": (NEOX, WIDER),
    "opt": (OPT, {"hidden_size": 12, "num_attention_heads": 3, "ffn_dim": 20}),
    "bert": (BERT, WIDER),
}
RAMP = 8
IDS = torch.randint(32, (3, 9), generator=torch.Generator().manual_seed(4))


def in_float64(model):
    """RMSNorms of transformers compute in fp32 whatever comes in."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = lambda x, norm=module: (
                norm.weight * x / (x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
            )
    return model.double().eval()


def stirred(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
    return in_float64(model)


def growth(config, changes, **settings):
    """Return source, target and plan of a random width."""
    kind = "masked" if config["model_type"] == "bert" else "causal"
    source = stirred(fresh_model(build_config(config), kind, 1), 1)
    shape = target_shape(source.config, changes)
    settings = {"ramp_steps": RAMP, **settings}
    plan = make_candidate("random-width", settings, (shape_of(source.config),), shape).plan
    assert GrowthPlan.from_dict(plan.to_dict()) == plan
    changes = {**changes, **plan.config_changes()}
    target = fresh_model(rebuild_config(grown_keys(source.config, changes, [0, 1])), kind, 2)
    stirred(target, 2)
    fill(plan, find_layers(target, target.config), [tensors_of(source)], tensors_of(target))
    return source, target, plan


def logits_of(model):
    with torch.no_grad():
        return model(IDS).logits


def difference(one, other):
    return float((one - other).abs().max())


@pytest.mark.parametrize("name", GROWTHS)
def test_masked_width_is_the_source_at_first_and_the_target_in_the_end(name):
    source, target, plan = growth(*GROWTHS[name])
    in_full, before = logits_of(target), logits_of(source)
    assert difference(in_full, before) > 1e-2
    ramp = Ramp(plan, target, find_layers(target, target.config))
    assert torch.equal(logits_of(target), in_full)  # the model is checked before it is trained
    ramp.at(0)
    assert difference(logits_of(target), before) <= 1e-10
    stages = len(plan.width.fading)
    assert stages == 2 + (name not in ("llama-tied", "gpt2-untied"))
    assert plan.ramp_end == stages * RAMP
    seen = [before]
    for step in range(2, plan.ramp_end, RAMP // 2):
        ramp.at(step)
        seen.append(logits_of(target))
    assert all(difference(one, other) > 1e-6 for one, other in itertools.pairwise(seen))
    ramp.at(plan.ramp_end)
    assert torch.equal(logits_of(target), in_full)
    ramp.at(0)
    assert difference(logits_of(target), before) <= 1e-10


def test_v2_fades_in_its_second_copy():
    changes = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
               "intermediate_size": 24}  # fmt: skip
    source, target, plan = growth(LLAMA, changes, form="v2")
    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)
    assert difference(logits_of(target), logits_of(source)) <= 1e-10
    ramp.at(5)
    assert difference(logits_of(target), logits_of(source)) > 1e-6


def scaled(model, rows):
    """Return a copy of a model whose named weights' (and biases') new rows are scaled."""
    twin = copy.deepcopy(model)
    tensors = dict(twin.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            for part, (first, factor) in rows.items():
                if f"{part}.weight" in name or f"{part}.bias" in name:
                    tensor[first:] *= factor
    return in_float64(twin)


def test_feed_forward_units_come_first_then_heads():
    """Where only they grow, the mask is a factor of their rows."""
    changes = {"intermediate_size": 20, "num_attention_heads": 4, "num_key_value_heads": 2}
    _, target, plan = growth({**LLAMA, "mlp_bias": True, "attention_bias": True}, changes)
    assert plan.width.fading == ({"ffn"}, {"key_value", "heads"})
    attention = {"q_proj": (8, 0.0), "k_proj": (4, 0.0), "v_proj": (4, 0.0)}
    half_units = scaled(target, {"gate_proj": (12, 0.5), "up_proj": (12, 0.5), **attention})
    quarter = {part: (first, 0.25) for part, (first, _) in attention.items()}
    quarter_heads = scaled(target, quarter)
    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)
    ramp.at(RAMP // 2)
    assert difference(logits_of(target), logits_of(half_units)) <= 1e-10
    ramp.at(RAMP + RAMP // 4)
    assert difference(logits_of(target), logits_of(quarter_heads)) <= 1e-10


def test_the_residual_stream_of_rms_norms():
    """RMSNorm(x c) over sum(c), times c: a factor c^2 of all writers, and gains to match.

    (Heads stay in number, of their own size, so that the hidden size grows alone.)
    """
    _, target, plan = growth(LLAMA, {"hidden_size": 12})
    share = 3 / RAMP
    counted = (8 + 4 * share) / 12
    twin = scaled(target, {part: (8, share**2) for part in ("o_proj", "down_proj")})
    with torch.no_grad():
        twin.model.embed_tokens.weight[:, 8:] *= share**2
        for name, module in twin.named_modules():
            if name.endswith("norm"):
                module.variance_epsilon *= counted
                module.weight *= counted**0.5
                module.weight[8:] *= share
    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)
    ramp.at(3)
    assert difference(logits_of(target), logits_of(twin)) <= 1e-10


def test_layer_norm_by_hand():
    _, target, plan = growth(GPT2, {"n_embd": 16, "n_head": 4})
    norm: nn.LayerNorm = target.transformer.ln_f
    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)
    ramp.at(2)
    x_D = torch.randn(16, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    mask = [1.0] * 8 + [0.25] * 8
    mean = sum(m * float(x) for m, x in zip(mask, x_D, strict=True)) / sum(mask)
    kept = [m * (float(x) - mean) for m, x in zip(mask, x_D, strict=True)]
    root = (sum(each**2 for each in kept) / sum(mask) + norm.eps) ** 0.5
    gains, shifts = norm.weight.tolist(), norm.bias.tolist()
    expected = [
        m * (k / root * gain + shift)
        for m, k, gain, shift in zip(mask, kept, gains, shifts, strict=True)
    ]
    made = norm(x_D[None, None, :])[0, 0].detach()
    assert difference(made, torch.tensor(expected, dtype=torch.float64)) <= 1e-12


def test_nothing_new_is_dead_behind_the_ramp():
    """At step 0 no new unit has a gradient; within the last ramp all have."""
    _, target, plan = growth(*GROWTHS["llama"])
    ramp = Ramp(plan, target, find_layers(target, target.config))
    ramp.at(0)

    def gradients(step):
        ramp.at(step)
        target.zero_grad()
        target(IDS, labels=IDS).loss.backward()
        return dict(target.named_parameters())

    down = "model.layers.0.mlp.down_proj.weight"
    assert not gradients(0)[down].grad[8:].any()
    assert not gradients(0)["model.layers.0.mlp.up_proj.weight"].grad[12:].any()
    table = family_of("llama", {}).layer
    for name, tensor in gradients(2 * RAMP + 1).items():
        if ".layers." in name and any(name.endswith(weight.name) for weight in table):
            assert (tensor.grad != 0).all(), name


@pytest.mark.parametrize(
    "ramps",
    [
        "{operator: random-width, ramp_steps: 4}",
        "{width: {operator: random-width, ramp_steps: 4}, "
        "depth: {operator: random, ramp_steps: 6}}",
    ],
)
def test_a_run_fades_in_what_is_masked(write_space, tmp_path, ramps):
    """Whole: the first loss is the source's, and the winner computes what was measured."""
    depth = 4 if "depth" in ramps else 3
    target = f"num_hidden_layers: {depth}, hidden_size: 32, num_attention_heads: 4, "
    space = lagsearch.load_space(
        write_space(),
        [
            f"target={{{target}num_key_value_heads: 2, intermediate_size: 64}}",
            f"candidates=[{ramps}]",
        ],
    )
    result = lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Watch())
    (candidate,) = result.candidates
    assert candidate.status == "ok"
    source = result.report["sources"][0]["val_loss"]
    assert candidate.val_loss[0] == pytest.approx(source, abs=1e-5)
    assert candidate.val_loss[10] < candidate.val_loss[0]
