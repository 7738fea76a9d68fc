import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config
from lagsearch.space import Optimizer, Schedule
from lagsearch.training.optimizer import (
    learning_rate,
    make_optimizer,
    state_tensors,
    zero_state,
)

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
