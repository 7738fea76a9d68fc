import itertools
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lagsearch.models.build import fresh_model, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import find_layers
from lagsearch.models.tensors import TensorFile
from lagsearch.operators import make_candidate
from lagsearch.operators.execute.fill import fill
from lagsearch.planning.names import lacking
from lagsearch.space import Optimizer, Schedule
from lagsearch.training.optimizer import (
    grow_state,
    learning_rate,
    make_optimizer,
    state_tensors,
    zero_state,
)
from lagsearch.training.state import WEIGHT, SavedAt, load_state, save_state, saved_at

PEAK = 0.004
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "vocab_size": 32,
    "tie_word_embeddings": True,
}
GPT2 = {
    "model_type": "gpt2",
    "n_layer": 2,
    "n_embd": 16,
    "n_head": 2,
    "n_positions": 16,
    "vocab_size": 32,
}


def rates(schedule, completion):
    return [learning_rate(step, completion, PEAK, schedule) for step in range(completion + 1)]


# The rate


def test_constant():
    assert rates(Schedule(), 20) == [PEAK] * 21


@given(st.integers(1, 30), st.integers(1, 40))
def test_warm_up_is_linear_from_zero_to_the_peak(warmup, more):
    completion = warmup + more
    got = rates(Schedule(warmup_steps=warmup), completion)
    assert got[warmup:] == [pytest.approx(PEAK)] * (more + 1)
    rise = [b - a for a, b in itertools.pairwise(got[:warmup])]
    assert rise == [pytest.approx(PEAK / warmup)] * (warmup - 1)
    # The first update has the rate 0 or one part of the rise: both are lines through zero.
    assert min(abs(got[0]), abs(got[0] - PEAK / warmup)) < 1e-12


def test_warm_up_wastes_no_step():
    """An update with rate 0 trains nothing, yet would count as a step after growth."""
    assert learning_rate(0, 10, PEAK, Schedule(warmup_steps=4)) > 0


def test_cosine_against_torch():
    completion, share = 40, 0.25
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, completion, share * PEAK)
    got = rates(Schedule(name="cosine", final_fraction=share), completion)
    for rate in got:
        assert rate == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


@given(st.integers(0, 20), st.integers(2, 60), st.floats(0, 1))
def test_cosine_after_warm_up(warmup, more, share):
    completion = warmup + more
    schedule = Schedule(name="cosine", warmup_steps=warmup, final_fraction=share)
    got = rates(schedule, completion)
    for step in range(warmup, completion + 1):
        wave = (1 + math.cos(math.pi * (step - warmup) / more)) / 2
        assert got[step] == pytest.approx(PEAK * (share + (1 - share) * wave), abs=1e-12)
    assert got[completion] == pytest.approx(share * PEAK, abs=1e-12)


@given(st.integers(0, 20), st.integers(1, 60), st.floats(0, 1))
def test_cosine_never_leaves_its_range(warmup, completion, share):
    schedule = Schedule(name="cosine", warmup_steps=warmup, final_fraction=share)
    for step, rate in enumerate(rates(schedule, completion)):
        assert 0 <= rate <= PEAK * (1 + 1e-9)
        if step >= warmup:
            assert rate >= share * PEAK * (1 - 1e-9)


def by_torch(scheduler, steps, *arguments, **settings):
    """Return the rates of one of torch's schedulers, one for each update and one more."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = scheduler(optimizer, *arguments, **settings)
    found = []
    for _ in range(steps + 1):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


@given(st.integers(1, 60), st.floats(0, 1))
def test_linear_against_torch(completion, share):
    expected = by_torch(
        torch.optim.lr_scheduler.LinearLR, completion,
        start_factor=1.0, end_factor=share, total_iters=completion,
    )  # fmt: skip
    got = rates(Schedule(name="linear", final_fraction=share), completion)
    assert got == [pytest.approx(rate, abs=1e-12) for rate in expected]


@given(st.integers(0, 10), st.integers(0, 30), st.integers(1, 20), st.floats(0, 1))
def test_wsd_is_warm_up_then_constant_then_linear(warmup, stable, decay, share):
    completion = warmup + stable + decay
    schedule = Schedule(name="wsd", warmup_steps=warmup, decay_steps=decay, final_fraction=share)
    got = rates(schedule, completion)
    assert got[warmup : warmup + stable + 1] == [pytest.approx(PEAK)] * (stable + 1)
    falling = by_torch(
        torch.optim.lr_scheduler.LinearLR, decay,
        start_factor=1.0, end_factor=share, total_iters=decay,
    )  # fmt: skip
    assert got[warmup + stable :] == [pytest.approx(rate, abs=1e-12) for rate in falling]


def test_wsd_decays_over_a_tenth_unless_told():
    got = rates(Schedule(name="wsd", final_fraction=0.0), 100)
    assert next(step for step, rate in enumerate(got) if rate < PEAK) == 91
    assert got[95] == pytest.approx(PEAK / 2)


def test_inverse_square_root():
    got = rates(Schedule(name="inverse_sqrt", warmup_steps=4), 100)
    assert got[4] == pytest.approx(PEAK)
    assert got[16] == pytest.approx(PEAK / 2)
    assert got[100] == pytest.approx(PEAK / 5)
    assert max(got) <= PEAK
    assert rates(Schedule(name="inverse_sqrt"), 4)[4] == pytest.approx(PEAK / 2)


@given(
    st.sampled_from(["constant", "linear", "cosine", "wsd", "inverse_sqrt"]),
    st.integers(0, 30),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 20),
)
def test_continued_is_one_schedule_over_source_and_target(name, warmup, before, after, unused):
    """What a pause in the middle changes: nothing."""
    falls = name in ("linear", "cosine", "wsd")
    whole = before + after + (unused if falls else 0)
    settings = {"name": name, "warmup_steps": warmup, "total_steps": whole if falls else None}
    unbroken = [learning_rate(s, whole, PEAK, Schedule(**settings)) for s in range(before + after)]
    first = [learning_rate(s, before, PEAK, Schedule(**settings)) for s in range(before)]
    later = Schedule(**settings, **{"continue": before})
    second = [learning_rate(s, after, PEAK, later) for s in range(after)]
    assert first + second == unbroken
    if falls and not unused:
        later = Schedule(name=name, warmup_steps=warmup, **{"continue": before})
        assert [learning_rate(s, after, PEAK, later) for s in range(after)] == second


# The optimizer


@pytest.mark.parametrize("keys", [LLAMA, GPT2], ids=lambda k: k["model_type"])
def test_matrices_decay_and_vectors_do_not(keys):
    model = fresh_model(build_config(keys), "causal", 0)
    optimizer = make_optimizer(model, Optimizer(weight_decay=0.3))
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(decay)
    assert set(decay) == {id(p) for p in model.parameters()}
    for name, tensor in model.named_parameters():
        assert decay[id(tensor)] == (0.3 if tensor.dim() >= 2 else 0.0), name


def test_settings_reach_the_optimizer():
    model = fresh_model(build_config(LLAMA), "causal", 0)
    optimizer = make_optimizer(model, Optimizer(lr=0.02, betas=(0.8, 0.7), eps=1e-5))
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert (group["lr"], tuple(group["betas"]), group["eps"]) == (0.02, (0.8, 0.7), 1e-5)


def test_decay_without_gradient():
    """With a gradient of 0 only the decay moves anything: w (1 - rate x decay)."""
    model = fresh_model(build_config(LLAMA), "causal", 0)
    optimizer = make_optimizer(model, Optimizer(lr=0.1, weight_decay=0.5))
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    for tensor in model.parameters():
        tensor.grad = torch.zeros_like(tensor)
    optimizer.step()
    for name, tensor in model.named_parameters():
        share = 1 - 0.1 * 0.5 if tensor.dim() >= 2 else 1.0
        torch.testing.assert_close(tensor.detach(), share * before[name], msg=name)


def test_first_step_by_hand():
    """Adam's first step has the size of the rate, whatever the gradient: m/(sqrt(v)) = sign."""
    model = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(model, Optimizer(lr=0.01, weight_decay=0.0))
    before = model.weight.detach().clone()
    gradient = torch.tensor([[1.0, -2.0, 0.5], [-0.1, 3.0, -4.0]])
    model.weight.grad, model.bias.grad = gradient.clone(), torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before - 0.01 * gradient.sign())


# Its state


def small_optimizer():
    model = fresh_model(build_config(LLAMA), "causal", 0)
    return model, make_optimizer(model, Optimizer())


def test_zero_state():
    model, optimizer = small_optimizer()
    state = zero_state(optimizer, model)
    names = {name for name, _ in model.named_parameters()}
    assert {moment: set(tensors) for moment, tensors in state.items()} == {
        "exp_avg": names,
        "exp_avg_sq": names,
        "step": names,
    }
    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    for moment in ("exp_avg", "exp_avg_sq"):
        assert {name: tensor.shape for name, tensor in state[moment].items()} == shapes
    for tensors in state.values():
        assert all(torch.count_nonzero(tensor) == 0 for tensor in tensors.values())


def test_zero_state_is_the_optimizers_own():
    """What is written into the returned tensors is what the next step uses."""
    model, optimizer = small_optimizer()
    state = zero_state(optimizer, model)
    name, tensor = next(iter(model.named_parameters()))
    state["step"][name].fill_(41.0)
    state["exp_avg"][name].fill_(0.5)
    for each in model.parameters():
        each.grad = torch.zeros_like(each)
    optimizer.step()
    assert optimizer.state[tensor]["step"].item() == 42.0
    torch.testing.assert_close(
        optimizer.state[tensor]["exp_avg"], torch.full(tensor.shape, 0.5 * 0.9)
    )


def test_zero_state_trains_like_a_new_optimizer():
    results = []
    for is_zeroed in (True, False):
        model, optimizer = small_optimizer()
        if is_zeroed:
            zero_state(optimizer, model)
        for scale in (1.0, -0.3):
            for tensor in model.parameters():
                tensor.grad = torch.full_like(tensor, scale)
            optimizer.step()
        results.append({n: t.detach().clone() for n, t in model.named_parameters()})
    for name, tensor in results[0].items():
        assert torch.equal(tensor, results[1][name]), name


def test_state_by_name():
    model, optimizer = small_optimizer()
    for tensor in model.parameters():
        tensor.grad = torch.ones_like(tensor)
    optimizer.step()
    state = state_tensors(optimizer, model)
    assert set(state) == {
        f"{moment}.{name}"
        for moment in ("exp_avg", "exp_avg_sq", "step")
        for name, _ in model.named_parameters()
    }
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(state[f"exp_avg.{name}"], torch.full(tensor.shape, 0.1))
        torch.testing.assert_close(state[f"exp_avg_sq.{name}"], torch.full(tensor.shape, 0.05))
        assert state[f"step.{name}"].item() == 1.0


# All of them

NAMES = ("adamw", "adam", "sgd", "adafactor", "muon", "lion")
every = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(bool(lacking(name)), reason=str(lacking(name))))
        for name in NAMES
    ],
)
MOMENTS = {"exp_avg", "exp_avg_sq", "step"}
RATES = {"sgd": 0.05, "lion": 1e-3}
IN_LAYER = re.compile(r"^(model\.layers|transformer\.h)\.(\d+)\.(.+)$")


def built(name, keys=LLAMA, seed=0, **settings):
    model = fresh_model(build_config(keys), "causal", seed)
    settings = {"lr": RATES.get(name, 0.01), **settings}
    return model, make_optimizer(model, Optimizer(name=name, **settings))


def train(model, optimizer, steps):
    """Do steps of training on tokens that each step has for itself."""
    for step in steps:
        ids = torch.randint(32, (4, 8), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def assert_equal(found, expected):
    assert set(found) == set(expected)
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def kept_of(name, parameter, tensor):
    """What the papers say that each optimizer keeps of a parameter."""
    is_hidden = IN_LAYER.match(parameter) is not None and tensor.dim() == 2
    if name in ("adamw", "adam") or (name == "muon" and not is_hidden):
        return MOMENTS
    if name in ("sgd", "muon"):
        return {"momentum_buffer"}
    if name == "lion":
        return {"exp_avg"}
    return {"step", "row_var", "col_var"} if tensor.dim() == 2 else {"step", "variance"}


@every
@pytest.mark.parametrize("keys", [LLAMA, GPT2], ids=lambda k: k["model_type"])
def test_every_parameter_is_in_one_group(name, keys):
    model, optimizer = built(name, keys, weight_decay=0.25)
    groups = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            groups.setdefault(id(parameter), []).append(group["weight_decay"])
    assert set(groups) == {id(each) for each in model.parameters()}
    for parameter, tensor in model.named_parameters():
        assert groups[id(tensor)] == [0.25 if tensor.dim() >= 2 else 0.0], parameter


@every
@pytest.mark.parametrize("keys", [LLAMA, GPT2], ids=lambda k: k["model_type"])
def test_what_each_keeps(name, keys):
    model, optimizer = built(name, keys)
    expected = {
        f"{kept}.{parameter}"
        for parameter, tensor in model.named_parameters()
        for kept in kept_of(name, parameter, tensor)
    }
    train(model, optimizer, [0])
    assert set(state_tensors(optimizer, model)) == expected
    shapes = {key: tensor.shape for key, tensor in state_tensors(optimizer, model).items()}
    zero_state(optimizer, model)
    zeroed = state_tensors(optimizer, model)
    assert {key: tensor.shape for key, tensor in zeroed.items()} == shapes
    assert not any(tensor.any() for tensor in zeroed.values())


@every
def test_a_zeroed_state_is_that_of_a_new_optimizer(name):
    found = []
    for is_zeroed in (True, False):
        model, optimizer = built(name)
        if is_zeroed:
            zero_state(optimizer, model)
        train(model, optimizer, range(3))
        found.append((weights(model), dict(state_tensors(optimizer, model))))
    assert_equal(found[0][0], found[1][0])
    assert_equal(found[0][1], found[1][1])


@every
def test_a_saved_state_goes_on_bit_for_bit(name, tmp_path):
    path = tmp_path / "state.safetensors"
    model, optimizer = built(name)
    before = weights(model)
    train(model, optimizer, range(3))
    save_state(path, model, optimizer, SavedAt(3, 1.5))
    train(model, optimizer, range(3, 6))
    assert all(not torch.equal(before[key], each) for key, each in weights(model).items())

    again, other = built(name, seed=99)
    load_state(path, again, other)
    assert saved_at(path) == SavedAt(3, 1.5)
    train(again, other, range(3, 6))
    assert_equal(weights(again), weights(model))
    assert_equal(dict(state_tensors(other, again)), dict(state_tensors(optimizer, model)))


@every
def test_every_optimizer_lowers_the_loss(name):
    model, optimizer = built(name)
    ids = torch.randint(32, (4, 8), generator=torch.Generator().manual_seed(0))
    first = model(ids, labels=ids).loss.item()
    train(model, optimizer, [0] * 15)
    assert model(ids, labels=ids).loss.item() < first - 0.1


def test_muon_has_the_matrices_of_the_layers():
    if lacking("muon"):
        pytest.skip(lacking("muon"))
    expected = {
        "llama": {
            f"model.layers.{layer}.{rest}.weight"
            for layer in (0, 1)
            for rest in (
                "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
            )
        },
        "gpt2": {
            f"transformer.h.{layer}.{rest}.weight"
            for layer in (0, 1)
            for rest in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        },
    }  # fmt: skip
    for keys in (LLAMA, {**LLAMA, "tie_word_embeddings": False}, GPT2):
        model, optimizer = built("muon", keys)
        muon, others = optimizer.parts
        assert (type(muon), type(others)) == (torch.optim.Muon, torch.optim.AdamW)
        names = {id(each): name for name, each in model.named_parameters()}
        found = {names[id(each)] for group in muon.param_groups for each in group["params"]}
        assert found == expected[keys["model_type"]]
        rest = {names[id(each)] for group in others.param_groups for each in group["params"]}
        assert rest == set(names.values()) - found


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ({"name": "adam", "betas": (0.8, 0.7), "eps": 1e-5}, "betas", (0.8, 0.7)),
        ({"name": "adam", "eps": 1e-5}, "eps", 1e-5),
        ({"name": "sgd"}, "momentum", 0.9),
        ({"name": "sgd", "momentum": 0.5}, "momentum", 0.5),
    ],
)
def test_settings_reach_the_other_optimizers(settings, key, value):
    model = fresh_model(build_config(LLAMA), "causal", 0)
    optimizer = make_optimizer(model, Optimizer(lr=0.02, **settings))
    assert all(group["lr"] == 0.02 for group in optimizer.param_groups)
    assert all(group[key] == value for group in optimizer.param_groups)


@pytest.mark.skipif(bool(lacking("muon")), reason=str(lacking("muon")))
def test_settings_reach_both_parts_of_muon():
    model = fresh_model(build_config(LLAMA), "causal", 0)
    for momentum, expected in ((None, 0.95), (0.7, 0.7)):
        settings = Optimizer(name="muon", lr=0.02, momentum=momentum, betas=(0.8, 0.7), eps=1e-5)
        muon, others = make_optimizer(model, settings).parts
        assert {(group["lr"], group["momentum"]) for group in muon.param_groups} == {
            (0.02, expected)
        }
        assert {(group["lr"], group["betas"], group["eps"]) for group in others.param_groups} == {
            (0.02, (0.8, 0.7), 1e-5)
        }


def test_sgd_by_hand():
    """The buffer is 0.5 times itself plus the gradient, to which the decay is added."""
    model = torch.nn.Linear(2, 1, bias=False)
    settings = Optimizer(name="sgd", lr=0.1, momentum=0.5, weight_decay=0.2)
    optimizer = make_optimizer(model, settings)
    weight, buffer = model.weight.detach().clone(), torch.zeros(1, 2)
    for gradient in (torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 3.0]])):
        model.weight.grad = gradient.clone()
        optimizer.step()
        buffer = 0.5 * buffer + gradient + 0.2 * weight
        weight = weight - 0.1 * buffer
    torch.testing.assert_close(model.weight.detach(), weight)


@pytest.mark.skipif(bool(lacking("adafactor")), reason=str(lacking("adafactor")))
def test_adafactor_keeps_means_of_rows_and_columns():
    """At the first step they are those of the squared gradient."""
    model = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(model, Optimizer(name="adafactor"))
    model.weight.grad = torch.tensor([[1.0, -2.0, 0.5], [-0.1, 3.0, -4.0]])
    model.bias.grad = torch.tensor([2.0, -3.0])
    optimizer.step()
    state = state_tensors(optimizer, model)
    square = model.weight.grad**2
    torch.testing.assert_close(state["row_var.weight"], square.mean(dim=1, keepdim=True))
    torch.testing.assert_close(state["col_var.weight"], square.mean(dim=0, keepdim=True))
    torch.testing.assert_close(state["variance.bias"], torch.tensor([4.0, 9.0]))
    assert state["step.weight"].item() == 1.0


def test_an_optimizer_that_torch_lacks():
    for name in NAMES:
        words = {"adamw": "AdamW", "sgd": "SGD"}.get(name, name.capitalize())
        reason = lacking(name)
        assert (reason is None) == hasattr(torch.optim, words)
        if reason is not None:
            assert reason.startswith(f"torch {torch.__version__} has no {words}")
            assert "\n" not in reason
    assert lacking("adamw") is None


def test_lion_is_lacking_in_a_torch_without_it(monkeypatch):
    monkeypatch.delattr(torch.optim, "Lion", raising=False)
    assert "has no Lion" in lacking("lion")


# Growing a state


def grown(name, tmp_path, operator, changes, settings=None, *, keys=LLAMA):
    """Train a source, grow it, and return its saved state, the plan and the target's state."""
    source, optimizer = built(name, keys)
    train(source, optimizer, range(3))
    path = tmp_path / "source.safetensors"
    save_state(path, source, optimizer, SavedAt(3, 0.0))
    shape = target_shape(source.config, changes)
    plan = make_candidate(operator, settings or {}, (shape_of(source.config),), shape).plan
    origins = [layer.layer for layer in plan.layers]
    config = rebuild_config(
        grown_keys(source.config, {**changes, **plan.config_changes()}, origins)
    )
    target = fresh_model(config, "causal", 5)
    stack = find_layers(target, config)
    fill(plan, stack, [TensorFile(path, WEIGHT)], tensors_of(target))
    other = make_optimizer(target, Optimizer(name=name, lr=RATES.get(name, 0.01)))
    grow_state(
        other,
        target,
        lambda kept: [TensorFile(path, kept + ".")],
        lambda kept, into, power: fill(plan, stack, kept, into, power),
    )
    return dict(state_tensors(optimizer, source)), plan, (target, other)


def origin_of(plan, key):
    """Return the source's name of a state's tensor, or None where the plan has it random."""
    kept, _, name = key.partition(".")
    if (place := IN_LAYER.match(name)) is None:
        return key
    layer = plan.layers[int(place[2])]
    return None if layer.treatment == "random" else f"{kept}.{place[1]}.{layer.layer}.{place[3]}"


DEEPER = [
    ("lag", {"index": 0, "block_size": 1, "init": "duplicate"}),
    ("lag", {"index": 1, "block_size": 1, "init": "random"}),
    ("stack", {}),
]


@every
@pytest.mark.parametrize(("operator", "settings"), DEEPER, ids=["duplicate", "random", "stack"])
def test_copied_tensors_take_over_their_moments(name, operator, settings, tmp_path):
    changes = {"num_hidden_layers": 4 if operator == "stack" else 3}
    before, plan, (target, optimizer) = grown(name, tmp_path, operator, changes, settings)
    state = dict(state_tensors(optimizer, target))
    assert len(state) > len(before)
    n_new = 0
    for key, tensor in state.items():
        origin = origin_of(plan, key)
        if origin is None:
            n_new += 1
            assert not tensor.any(), key
        elif key.startswith(("row_var", "col_var")):
            torch.testing.assert_close(tensor, before[origin], rtol=1e-6, atol=0.0, msg=key)
        else:
            assert torch.equal(tensor, before[origin]), key
        if origin is not None and key.startswith("step"):
            assert tensor.item() == 3.0
    assert (n_new > 0) == (settings.get("init") == "random")
    train(target, optimizer, range(3, 5))
    assert all(tensor.isfinite().all() for tensor in target.parameters())


@every
def test_without_a_state_to_take_all_begins_at_zero(name):
    for kept in ([{}], [{"exp_avg": torch.ones(2)}, {}]):
        model, optimizer = built(name)
        train(model, optimizer, [0])

        def never(sources, into, power):
            raise AssertionError("there is nothing to fill from")

        grow_state(optimizer, model, lambda _, kept=kept: kept, never)
        assert not any(tensor.any() for tensor in state_tensors(optimizer, model).values())


WIDER = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}


@pytest.mark.skipif(bool(lacking("adafactor")), reason=str(lacking("adafactor")))
@pytest.mark.parametrize(
    ("operator", "settings"),
    [("net2net", {}), ("net2net", {"split": "even"}), ("zero", {}), ("duplicate-halves", {})],
    ids=["net2net", "even", "zero", "halves"],
)
def test_widened_second_moments_are_factored_again(operator, settings, tmp_path):
    """The whole second moments, widened as squared gradients are, have the means that are kept."""
    keys = {**LLAMA, "num_key_value_heads": 2}
    changes = {**WIDER, "num_key_value_heads": 4}
    before, plan, (target, optimizer) = grown(
        "adafactor", tmp_path, operator, changes, settings, keys=keys
    )
    whole = {}
    for key, rows in before.items():
        if key.startswith("row_var."):
            name = key.removeprefix("row_var.")
            columns = before[f"col_var.{name}"]
            whole[name] = rows.double() * columns.double() / rows.double().mean()
    state = state_tensors(optimizer, target)
    widened = {
        name: torch.zeros_like(tensor, dtype=torch.float64)
        for name, tensor in target.named_parameters()
        if tensor.dim() == 2
    }
    fill(plan, find_layers(target, target.config), [whole], widened, 2)
    assert set(widened) == set(whole)
    for name, tensor in widened.items():
        for kept, dim in (("row_var", 1), ("col_var", 0)):
            torch.testing.assert_close(
                state[f"{kept}.{name}"].double(),
                tensor.mean(dim=dim, keepdim=True),
                rtol=1e-5, atol=1e-30, msg=f"{kept} {name}",
            )  # fmt: skip
        assert state[f"step.{name}"].item() == 3.0


@pytest.mark.skipif(bool(lacking("adafactor")), reason=str(lacking("adafactor")))
@pytest.mark.parametrize("operator", ["zero", "duplicate-halves", "net2net"])
def test_widened_rows_and_columns_by_hand(operator, tmp_path):
    """Of up_proj: [[V, means], [means, mean]] or, of copies, [[V, V], [V, V]] / 4."""
    settings = {"zero": {"form": "v1"}, "net2net": {"split": "even"}}.get(operator, {})
    before, _, (target, optimizer) = grown("adafactor", tmp_path, operator, WIDER, settings)
    state = state_tensors(optimizer, target)
    name = "model.layers.1.mlp.up_proj.weight"
    for kept, dim in (("row_var", 0), ("col_var", 1)):
        own = before[f"{kept}.{name}"] / (1 if operator == "zero" else 4)
        other = own.mean().expand_as(own) if operator == "zero" else own
        torch.testing.assert_close(
            state[f"{kept}.{name}"], torch.cat([own, other], dim=dim), rtol=1e-5, atol=0.0
        )


@pytest.mark.skipif(bool(lacking("adafactor")), reason=str(lacking("adafactor")))
def test_a_second_moment_of_zero_stays_zero(tmp_path):
    """A matrix that has had no gradient yet has means of zero: nothing is divided by them."""
    model, optimizer = built("adafactor")
    state = zero_state(optimizer, model)
    sources = {kept: {name: each.clone() for name, each in state[kept].items()} for kept in state}

    def copy(kept, into, power):
        [source] = kept
        for name, tensor in into.items():
            tensor.copy_(source[name])

    grow_state(optimizer, model, lambda kept: [sources[kept]], copy)
    assert not any(tensor.any() for tensor in state_tensors(optimizer, model).values())


def test_after_a_growth_the_rate_rises_again_to_what_the_whole_schedule_says():
    schedule = Schedule(name="linear", final_fraction=0.0, total_steps=100, rewarm_steps=4)
    schedule = schedule.model_copy(update={"continued": 60})
    rates = [learning_rate(step, 40, 1.0, schedule) for step in range(6)]
    # 0.40, 0.39, 0.38, ... times a quarter, a half, three quarters and one
    assert rates == pytest.approx([0.1, 0.195, 0.285, 0.37, 0.36, 0.35])
