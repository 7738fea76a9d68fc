"""Optimizer states through a growth, against the true gradients of the grown model, in float64."""

import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from lagsearch.models.build import fresh_model, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import find_layers
from lagsearch.operators import make_candidate
from lagsearch.operators.execute.fill import fill, new_parameters
from lagsearch.planning.names import lacking
from lagsearch.space import Optimizer
from lagsearch.training.optimizer import (
    begin_anew,
    grow_state,
    make_optimizer,
    set_rate,
    shares_of_rate,
    state_tensors,
    zero_state,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from function_preservation import in_float64

STEPS = 16
BETAS, MOMENTUM = (0.9, 0.99), 0.8
LLAMA = {  # heads of 4; 2 query heads share a key and value
    "model_type": "llama", "num_hidden_layers": 2, "vocab_size": 32, "max_position_embeddings": 16,
    "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "n_layer": 2, "vocab_size": 32, "n_positions": 16, "n_embd": 16,
    "n_head": 4, "n_inner": 24, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip
MODELS = {
    "llama": LLAMA,
    "llama-tied": {**LLAMA, "tie_word_embeddings": True},
    "qwen3": {**LLAMA, "model_type": "qwen3", "head_dim": 4, "rms_norm_eps": 1e-3},
    "gpt2": GPT2,  # tied, layer norms, biases, a fused projection
    "gpt_neox": {
        "model_type": "gpt_neox", "num_hidden_layers": 2, "vocab_size": 32, "hidden_size": 16,
        "max_position_embeddings": 16, "num_attention_heads": 4, "intermediate_size": 24,
    },
    # tied, gains that count from one, embeddings scaled by the width, norms over each head
    "gemma3": {**LLAMA, "model_type": "gemma3_text", "head_dim": 4, "rms_norm_eps": 1e-3,
               "tie_word_embeddings": True, "query_pre_attn_scalar": 4, "pad_token_id": None},
    "olmo2": {**LLAMA, "model_type": "olmo2", "rms_norm_eps": 1e-3, "pad_token_id": None},
    "falcon": {
        "model_type": "falcon", "num_hidden_layers": 2, "vocab_size": 32, "hidden_size": 16,
        "num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True,
        "ffn_hidden_size": 24, "bias": True,
    },
}  # fmt: skip
RMS = ("llama", "llama-tied", "qwen3", "gemma3", "olmo2")
FFN_KEY = {"gpt2": "n_inner", "falcon": "ffn_hidden_size"}


def changes_of(name, hidden=16, heads=4, groups=None, ffn=24):
    keys = {"hidden_size": hidden, "num_attention_heads": heads}
    keys[FFN_KEY.get(name, "intermediate_size")] = ffn
    if name in RMS:
        keys["num_key_value_heads"] = groups or heads // 2
    if name == "falcon":
        keys["num_kv_heads"] = heads // 2
    return keys


def batch(step):
    return torch.randint(32, (2, 8), generator=torch.Generator().manual_seed(step))


def backward(model, step):
    """Return the true gradients of a step's batch, by name."""
    model.zero_grad()
    model(batch(step), labels=batch(step)).loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters()}


def optimizer_of(model, name, shares=None, **settings):
    settings = {"lr": 1e-3, "weight_decay": 0.0, "betas": BETAS, **settings}
    if name in ("adamw", "muon"):
        settings["eps"] = 1e-20  # small beside every gradient
    if name in ("sgd", "muon"):
        settings["momentum"] = MOMENTUM
    return make_optimizer(model, Optimizer(name=name, **settings), shares)


@cache
def trained(name, optimizer="adamw"):
    """Return a trained source, its state, and the weights before each step."""
    model = fresh_model(build_config(MODELS[name]), "causal", 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
    model = in_float64(model)
    made, weights = optimizer_of(model, optimizer), []
    for step in range(STEPS):
        weights.append({key: each.detach().clone() for key, each in tensors_of(model).items()})
        backward(model, step)
        made.step()
    weights.append({key: each.detach().clone() for key, each in tensors_of(model).items()})
    return model.config, dict(state_tensors(made, model)), weights


def planned(name, operator, sizes, **settings):
    """Return a growth's plan, and a target to fill, with random weights."""
    config = build_config(MODELS[name])
    changes = changes_of(name, **sizes)
    shape = target_shape(config, changes)
    plan = make_candidate(operator, settings, (shape_of(config),), shape).plan
    origins = [layer.layer for layer in plan.layers]
    target = fresh_model(
        rebuild_config(grown_keys(config, {**changes, **plan.config_changes()}, origins)),
        "causal",
        7,
    )
    return plan, in_float64(target)


def lifted(plan, target, state, optimizer="adamw", shares=None):
    """Return the target's optimizer with the source's state, grown."""
    made, stack = optimizer_of(target, optimizer, shares), find_layers(target, target.config)

    def kept(name):
        prefix = f"{name}."
        return [{key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}]

    grow_state(made, target, kept, lambda *given: fill(plan, stack, *given))
    return made


def true_gradients(plan, target, weights):
    """Yield the gradients of the target, grown from the source's weights before each step."""
    stack, fresh = find_layers(target, target.config), tensors_of(target)
    fresh = {key: each.detach().clone() for key, each in fresh.items()}
    for step, before in enumerate(weights[:STEPS]):
        with torch.no_grad():
            for key, each in tensors_of(target).items():
                each.copy_(fresh[key])
        fill(plan, stack, [before], tensors_of(target))
        yield backward(target, step)


def moments_of(gradients):
    """Return Adam's two moments of a run of gradients."""
    first, second = {}, {}
    for found in gradients:
        for key, each in found.items():
            first[key] = BETAS[0] * first.get(key, 0) + (1 - BETAS[0]) * each
            second[key] = BETAS[1] * second.get(key, 0) + (1 - BETAS[1]) * each**2
    return first, second


def own_of(source, target):
    """Mark the source's own entries of a target tensor."""
    mark = torch.zeros_like(target, dtype=torch.bool)
    mark[tuple(slice(size) for size in source.shape)] = True
    return mark


ALL = {"hidden": 32, "heads": 8, "ffn": 48}
PART = {"hidden": 24, "heads": 6, "ffn": 40}
EVEN = {"split": "even"}
HEADS = [(6, 3), (6, 2), (8, 2), (12, 4)]
COPIED = [
    *[("llama", operator, ALL, settings) for operator, settings in
      [("net2net", EVEN), ("lemon", EVEN), ("duplicate-halves", {})]],
    *[(name, "net2net", {**ALL, "ffn": 37}, EVEN) for name in MODELS],
    *[(name, "duplicate-halves", ALL, {}) for name in ("llama-tied", "gpt2", "gpt_neox")],
    *[("qwen3", "net2net", {"heads": n, "groups": groups}, EVEN) for n, groups in HEADS],
]  # fmt: skip
PADDED = [
    *[(name, "lemon", PART, EVEN) for name in RMS],
    ("llama", "zero", PART, {}),
    ("llama-tied", "zero", PART, {"form": "gstack"}),
]


def by_name(state, kept):
    prefix = f"{kept}."
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


def assert_equal_moments(found, expected, marks=None):
    """Compare what is lifted with what is true: the cosine, the ratio, and each entry."""
    assert set(found) == set(expected)
    for key, true in expected.items():
        mark = torch.ones_like(true, dtype=torch.bool) if marks is None else marks[key]
        one, other = found[key].double()[mark], true[mark]
        assert other.norm() > 0, key
        assert float(one @ other / (one.norm() * other.norm())) == pytest.approx(1.0, abs=1e-9), key
        assert float(one.norm() / other.norm()) == pytest.approx(1.0, rel=1e-7), key
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9 * float(other.abs().max()))


@pytest.mark.parametrize(("name", "operator", "sizes", "settings"), COPIED + PADDED)
def test_moments_of_copies_are_those_of_the_true_gradients(name, operator, sizes, settings):
    """Embedding, norms, head and biases included; where there are new units, of the others."""
    _, state, weights = trained(name)
    plan, target = planned(name, operator, sizes, **settings)
    first, second = moments_of(true_gradients(plan, target, weights))
    found = state_tensors(lifted(plan, target, state), target)
    marks = {key: own_of(weights[0][key], each) for key, each in first.items()}
    marks = marks if sizes is PART else None
    assert_equal_moments(by_name(found, "exp_avg"), first, marks)
    assert_equal_moments(by_name(found, "exp_avg_sq"), second, marks)
    assert {float(each) for each in by_name(found, "step").values()} == {STEPS}


@pytest.mark.parametrize("name", ["llama", "llama-tied"])
def test_uneven_copies_have_gradients_that_sum_to_what_is_lifted(name):
    """Each reader shares a unit in a way of its own, so that no moment tells the copies apart."""
    _, state, weights = trained(name)
    plan, target = planned(name, "net2net", ALL, split="uneven")
    first, _ = moments_of(true_gradients(plan, target, weights))
    found = by_name(state_tensors(lifted(plan, target, state), target), "exp_avg")
    stack, n_apart = find_layers(target, target.config), 0
    for key, true in first.items():
        place = stack.weight(key).input_place
        dim = 0 if place is None else 1 - place
        n_copies = true.shape[dim] // weights[0][key].shape[dim]
        sums = [sum(each.chunk(n_copies, dim)) for each in (found[key], true)]
        torch.testing.assert_close(*sums, rtol=1e-6, atol=1e-9 * float(true.abs().max()))
        n_apart += not torch.allclose(found[key], true, rtol=1e-3)
    assert n_apart > 0


def adafactors(gradients):
    """Return Adafactor's second moments: of rows, of columns, of vectors."""
    rows, columns, vectors = {}, {}, {}
    for step, found in enumerate(gradients, 1):
        share = step**-0.8
        for key, each in found.items():
            square = each**2
            if each.dim() < 2:
                vectors[key] = (1 - share) * vectors.get(key, 0) + share * square
                continue
            rows[key] = (1 - share) * rows.get(key, 0) + share * square.mean(1, keepdim=True)
            columns[key] = (1 - share) * columns.get(key, 0) + share * square.mean(0, keepdim=True)
    return {"row_var": rows, "col_var": columns, "variance": vectors}


def momenta(gradients, kept, taken):
    found = {}
    for each in gradients:
        found = {key: kept * found.get(key, 0) + taken * each[key] for key in each}
    return found


def needs(*names):
    return [
        pytest.param(each, marks=pytest.mark.skipif(bool(lacking(each)), reason=str(lacking(each))))
        for each in names
    ]


@pytest.mark.parametrize("optimizer", needs("sgd", "adafactor", "muon", "lion"))
@pytest.mark.parametrize(("operator", "settings"), [("net2net", EVEN), ("zero", {})])
def test_what_other_optimizers_keep(optimizer, operator, settings):
    name, sizes = "llama-tied", ALL
    _, state, weights = trained(name, optimizer)
    plan, target = planned(name, operator, sizes, **settings)
    gradients = list(true_gradients(plan, target, weights))
    found = state_tensors(lifted(plan, target, state, optimizer), target)
    has_new = operator == "zero"
    if optimizer == "adafactor":
        expected = adafactors(gradients)
        if has_new:  # means of whole rows and columns have the new entries' gradients in them
            expected = {"variance": expected["variance"]}
    elif optimizer == "muon":
        hidden = by_name(state, "momentum_buffer")
        buffer, first = momenta(gradients, MOMENTUM, 1 - MOMENTUM), moments_of(gradients)[0]
        expected = {
            "momentum_buffer": {key: buffer[key] for key in hidden},
            "exp_avg": {key: each for key, each in first.items() if key not in hidden},
        }
    elif optimizer == "sgd":
        expected = {"momentum_buffer": momenta(gradients, MOMENTUM, 1)}
    else:
        expected = {"exp_avg": momenta(gradients, BETAS[1], 1 - BETAS[1])}
    for kept, tensors in expected.items():
        marks = {key: own_of(weights[0][key], each) for key, each in tensors.items()}
        assert_equal_moments(by_name(found, kept), tensors, marks if has_new else None)


# The first steps


def begin(name, operator, sizes, optimizer="adamw", tuned=False, **settings):
    """Return source and target after the growth, each with its optimizer, and the plan."""
    config, state, weights = trained(name, optimizer)
    plan, target = planned(name, operator, sizes, **settings)
    fill(plan, find_layers(target, target.config), [weights[-1]], tensors_of(target))
    source = in_float64(fresh_model(config, "causal", 0))
    shares = shares_of_rate(target, source) if tuned else None
    grown = lifted(plan, target, state, optimizer, shares)
    going_on = optimizer_of(source, optimizer)
    with torch.no_grad():
        for key, each in tensors_of(source).items():
            each.copy_(weights[-1][key])
        for kept, tensors in zero_state(going_on, source).items():
            for key, each in tensors.items():
                each.copy_(state[f"{kept}.{key}"])
    return (source, going_on), (target, grown), plan


TRIPLE = {"hidden": 48, "heads": 12, "ffn": 72}


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox", "olmo2"])
@pytest.mark.parametrize("sizes", [ALL, TRIPLE])
def test_copies_learn_as_their_source_where_the_rate_is_for_it(name, sizes, tuned):
    """After ten steps of both, the grown model still computes what its source does."""
    (source, narrow), (target, wide), _ = begin(name, "net2net", sizes, tuned=tuned, **EVEN)
    for step in range(STEPS, STEPS + 10):
        for model, optimizer in ((source, narrow), (target, wide)):
            backward(model, step)
            set_rate(optimizer, 1e-3)
            optimizer.step()
    with torch.no_grad():
        one, other = source(batch(0)).logits, target(batch(0)).logits
    apart = float((one - other).abs().max())
    assert apart < 1e-6 if tuned else apart > 1e-2


def move(model, optimizer, step):
    """Do a step; return what it does to each parameter."""
    before = {key: each.detach().clone() for key, each in model.named_parameters()}
    backward(model, step)
    optimizer.step()
    return {key: each.detach() - before[key] for key, each in model.named_parameters()}


GROWN = [
    ("llama", "zero", ALL, {}),
    ("llama-tied", "zero", PART, {"form": "gstack"}),
    ("qwen3", "lemon", PART, EVEN),
    ("llama-tied", "net2net", ALL, EVEN),
    ("llama", "duplicate-halves", ALL, {}),
]
FAIR = [("adamw", 1e-6), ("adafactor", 0.02), ("muon", 0.15)]


@pytest.mark.parametrize(
    ("optimizer", "turn"), [pytest.param(*each, marks=needs(each[0])[0].marks) for each in FAIR]
)
@pytest.mark.parametrize(("name", "operator", "sizes", "settings"), GROWN)
def test_the_sources_own_step_as_if_they_had_not_grown(
    optimizer, turn, name, operator, sizes, settings
):
    """Adam's steps are equal. Others' are in direction; their size is a function of the shape.

    (Adafactor's of the tensor's root mean square, Muon's of its longer side.)
    """
    source, target, _ = begin(name, operator, sizes, optimizer, **settings)
    alone, grown = move(*source, STEPS), move(*target, STEPS)
    for key, expected in alone.items():
        found = grown[key][own_of(expected, grown[key])].reshape(expected.shape)
        cosine = (found * expected).sum() / (found.norm() * expected.norm())
        assert float(cosine) > 1 - turn, key
        ratio = float(found.norm() / expected.norm())
        if optimizer == "adamw":
            assert ratio == pytest.approx(1.0, rel=1e-6), key
        assert 0.3 < ratio < 4, key


@pytest.mark.parametrize("optimizer", needs("adamw", "adafactor", "sgd", "muon"))
@pytest.mark.parametrize(("name", "operator", "sizes", "settings"), GROWN)
def test_no_new_entry_moves_more_than_the_sources_own(optimizer, name, operator, sizes, settings):
    """In none of the first steps; copies move like what they copy, but for Adafactor's rounding.

    (Muon makes all directions equal, new ones too: there it is the mean that does not.)
    """
    _, target, plan = begin(name, operator, sizes, optimizer, **settings)
    parameters = dict(target[0].named_parameters())
    is_new = new_parameters(plan, find_layers(target[0], target[0].config), parameters)
    for step in range(STEPS, STEPS + 6):
        for key, moved in move(*target, step).items():
            if not is_new[key].any():
                continue
            new, own = moved[is_new[key]].abs(), moved[~is_new[key]].abs()
            if optimizer == "muon":
                new, own = new.square().mean(), own.square().mean()
            assert float(new.max()) <= float(own.max()) * (1 + 1e-3), (key, step)


def test_second_moments_of_new_entries_by_hand():
    """Rows keep their mean and columns theirs; where both are new there is the mean of all."""
    plan, target = planned("llama", "zero", {"ffn": 26})
    stack, name = find_layers(target, target.config), "model.layers.0.mlp.up_proj.weight"
    generator = torch.Generator().manual_seed(3)
    kept = {
        key: torch.rand(each.shape, generator=generator)
        for key, each in fresh_model(build_config(LLAMA), "causal", 0).named_parameters()
    }
    into = {key: torch.zeros_like(each) for key, each in target.named_parameters()}
    for power in (1, 2):
        fill(plan, stack, [kept], into, power)
        second, found = kept[name].double(), into[name]
        assert torch.equal(found[:24], second)
        expected = second.mean(dim=0, keepdim=True).expand(2, 16) if power == 2 else second[:2] * 0
        torch.testing.assert_close(found[24:], expected, rtol=1e-6, atol=0.0)


def test_a_product_of_rows_and_columns_stays_one():
    """What Adafactor says of a matrix it says of the wider one: nothing is new about it."""
    plan, target = planned("llama", "zero", PART)
    stack, name = find_layers(target, target.config), "model.layers.1.self_attn.o_proj.weight"
    source = fresh_model(build_config(LLAMA), "causal", 0)
    rows, columns = torch.linspace(1, 3, 16), torch.linspace(0.5, 4, 16)
    kept = {key: torch.ones_like(each) for key, each in source.named_parameters()}
    kept[name] = rows[:, None] * columns
    into = {key: torch.zeros_like(each) for key, each in target.named_parameters()}
    fill(plan, stack, [kept], into, 2)
    wider = [torch.cat([each, each.mean().expand(8)]) for each in (rows, columns)]
    torch.testing.assert_close(
        into[name], (wider[0][:, None] * wider[1]).double(), rtol=1e-6, atol=0.0
    )


# What begins anew


def anew(name, operator, changes, **settings):
    """Return a state that is kept, one whose new parameters begin anew, and which are new."""
    found = []
    _, state, _ = trained("llama")
    for is_reset in (False, True):
        config = build_config(LLAMA)
        shape = target_shape(config, changes)
        plan = make_candidate(operator, settings, (shape_of(config),), shape).plan
        origins = [layer.layer for layer in plan.layers]
        target = fresh_model(
            rebuild_config(grown_keys(config, {**changes, **plan.config_changes()}, origins)),
            "causal",
            7,
        )
        parameters = dict(target.double().named_parameters())
        is_new = new_parameters(plan, find_layers(target, target.config), parameters)
        optimizer = lifted(plan, target, state)
        kept = dict(state_tensors(optimizer, target))
        if is_reset:
            by_kind = {each: by_name(kept, each) for each in ("exp_avg", "exp_avg_sq", "step")}
            begin_anew(by_kind, is_new)
        found.append(kept)
    return *found, is_new


def test_new_units_begin_anew_and_others_go_on():
    kept, reset, is_new = anew("llama", "net2net", changes_of("llama", **ALL))
    assert kept.keys() == reset.keys()
    for key, each in by_name(reset, "exp_avg").items():
        before, new = by_name(kept, "exp_avg")[key], is_new[key]
        assert new.any() and before[new].any() and not each[new].any()
        assert torch.equal(each[~new], before[~new])
    for key in kept:
        if not key.startswith("exp_avg."):
            assert torch.equal(kept[key], reset[key]) and kept[key].any()


@pytest.mark.parametrize(
    ("operator", "settings"), [("stack", {}), ("identity", {}), ("random", {"ramp_steps": 3})]
)
def test_new_layers_begin_at_step_0(operator, settings):
    kept, reset, is_new = anew("llama", operator, {"num_hidden_layers": 4}, **settings)
    assert 0 < sum(map(bool, is_new.values())) < len(is_new)
    for key, each in reset.items():
        if is_new[key.partition(".")[2]]:
            assert not each.any(), key
        else:
            assert torch.equal(each, kept[key]) and each.any(), key
