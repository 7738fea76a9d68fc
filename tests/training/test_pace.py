"""New parameters at a pace of their own: against training by hand, and without a setting."""

import copy

import pytest
import torch

from lagsearch.models.build import fresh_model
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import find_layers
from lagsearch.operators import make_candidate
from lagsearch.operators.catalog.scratch import fresh_plan
from lagsearch.operators.execute.fill import new_parameters
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.planning.names import lacking
from lagsearch.space import NewParameters, Optimizer
from lagsearch.training.optimizer import make_optimizer
from lagsearch.training.pace import Pace

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "vocab_size": 32, "max_position_embeddings": 16,
    "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2,
    "tie_word_embeddings": True,
}  # fmt: skip
DEEPER = {"num_hidden_layers": 4}
WIDER = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
         "num_key_value_heads": 4}  # fmt: skip
GROWTHS = [("stack", DEEPER), ("random", DEEPER), ("net2net", WIDER), ("zero", WIDER)]


def grown(operator, changes):
    """Return a plan and a model of its shape."""
    config = build_config(LLAMA)
    shape = target_shape(config, changes)
    plan = make_candidate(operator, {}, (shape_of(config),), shape).plan
    target = rebuild_config(grown_keys(config, changes, [layer.layer for layer in plan.layers]))
    return plan, fresh_model(target, "causal", 3)


def truths(plan, model):
    """Return which entries are new, all of them written out."""
    parameters = dict(model.named_parameters())
    found = new_parameters(plan, find_layers(model, model.config), parameters)
    return {key: found[key].expand_as(each) for key, each in parameters.items()}


def backward(model, step):
    ids = torch.randint(32, (4, 8), generator=torch.Generator().manual_seed(step))
    model.zero_grad()
    model(ids, labels=ids).loss.backward()


def trained(settings, plan, model, steps, name="adamw", clip=0.1):
    """Train a copy of a model as the loop does; return the weights before and after each step."""
    model = copy.deepcopy(model)
    optimizer = make_optimizer(model, Optimizer(name=name, lr=0.01))
    pace = Pace(settings, plan, model, find_layers(model, model.config))
    found = [values(model)]
    for step in range(steps):
        backward(model, step)
        norm = torch.nn.utils.get_total_norm(pace.gradients(step))
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
        with pace.at(step):
            optimizer.step()
        found.append(values(model))
    return found


def values(model):
    return {key: each.detach().clone() for key, each in model.named_parameters()}


def by_hand(plan, model, steps, is_trained, clip=0.1):
    """Train the parameters for which something holds, all others without a gradient."""
    model = copy.deepcopy(model)
    is_new = truths(plan, model)
    for key, each in model.named_parameters():
        each.requires_grad_(is_trained(bool(is_new[key].all())))
    optimizer = make_optimizer(model, Optimizer(lr=0.01))
    for step in range(steps):
        backward(model, step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return values(model)


@pytest.mark.parametrize(("operator", "changes"), GROWTHS[:2])
def test_new_layers_alone_are_trained_as_by_a_model_that_has_no_other_gradients(operator, changes):
    """LLaMA-Pro: the gradient of what is frozen is not there, for clipping neither."""
    plan, model = grown(operator, changes)
    found = trained(NewParameters(freeze_source_steps=9), plan, model, 3)[-1]
    expected = by_hand(plan, model, 3, lambda is_new: is_new)
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert any(not torch.equal(found[key], each) for key, each in values(model).items())


@pytest.mark.parametrize("settings", [None, NewParameters(freeze_source_steps=9)])
def test_where_nothing_is_new_or_everything_all_are_trained_as_ever(settings):
    model = fresh_model(build_config(LLAMA), "causal", 3)
    for plan in (fresh_plan(2), GrowthPlan(copies(range(2)))):
        assert not plan.has_new_and_own
        found = trained(settings, plan, model, 3)[-1]
        expected = by_hand(plan, model, 3, lambda _: True)
        assert all(torch.equal(found[key], expected[key]) for key in found)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=pytest.mark.skipif(bool(lacking(each)), reason=str(lacking(each))))
        for each in ("adamw", "adam", "sgd", "adafactor", "muon", "lion")
    ],
)
@pytest.mark.parametrize(("operator", "changes"), GROWTHS)
def test_a_step_of_new_entries_is_scaled_and_that_of_others_is_not(name, operator, changes):
    plan, model = grown(operator, changes)
    is_new = truths(plan, model)
    settings = NewParameters(lr_scale=0.25, rewarm_steps=2)
    before, after = trained(settings, plan, model, 1, name)
    _, whole = trained(None, plan, model, 1, name)
    for key, new in is_new.items():
        assert torch.equal(after[key][~new], whole[key][~new])
        scaled = (after[key] - before[key])[new]
        expected = (whole[key] - before[key])[new] * 0.125
        torch.testing.assert_close(scaled, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("operator", "changes"), GROWTHS)
def test_what_is_frozen_does_not_change_and_then_it_does(operator, changes):
    plan, model = grown(operator, changes)
    is_new = truths(plan, model)
    weights = trained(NewParameters(freeze_source_steps=2), plan, model, 3)
    own = [torch.cat([each[key][~new] for key, new in is_new.items()]) for each in weights]
    assert torch.equal(own[0], own[1]) and torch.equal(own[1], own[2])
    assert not torch.equal(own[2], own[3])
    first, last = weights[0], weights[2]
    moved = {key for key, new in is_new.items() if not torch.equal(first[key][new], last[key][new])}
    assert moved == {key for key, new in is_new.items() if new.any()}


def test_only_new_entries_of_a_wider_tensor_count_where_gradients_are_clipped():
    plan, model = grown("net2net", WIDER)
    pace = Pace(NewParameters(freeze_source_steps=1), plan, model, find_layers(model, model.config))
    backward(model, 0)
    gradients = {key: each.grad for key, each in model.named_parameters()}
    new = torch.cat([gradients[key][each] for key, each in truths(plan, model).items()])
    every = torch.cat([each.flatten() for each in gradients.values()])
    for step, expected in ((0, new), (1, every)):
        found = torch.nn.utils.get_total_norm(pace.gradients(step))
        torch.testing.assert_close(found, expected.norm())


def test_the_rate_of_new_parameters_rises():
    plan, model = grown("stack", DEEPER)
    settings = NewParameters(lr_scale=0.5, rewarm_steps=4, freeze_source_steps=2)
    pace = Pace(settings, plan, model, find_layers(model, model.config))
    assert [pace._shares(step) for step in range(6)] == [
        (0.0, 0.125), (0.0, 0.25), (1.0, 0.375), (1.0, 0.5), (1.0, 0.5), (1.0, 0.5),
    ]  # fmt: skip
