"""A width and a depth operator in one candidate."""

import pytest
import torch

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import OperatorError, SpaceError
from lagsearch.models.build import fresh_model, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import find_layers
from lagsearch.operators import GrowthPlan, make_candidate
from lagsearch.operators.execute.fill import fill

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 16,
}
BOTH = {
    "num_hidden_layers": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}


def make(width, depth, changes=BOTH):
    config = build_config(LLAMA)
    shape = target_shape(config, changes)
    return make_candidate("combined", {"width": width, "depth": depth}, (shape_of(config),), shape)


def grown(plan, source, changes):
    config = rebuild_config(
        grown_keys(
            source.config,
            {**changes, **plan.config_changes()},
            [each.layer for each in plan.layers],
        )
    )
    target = fresh_model(config, "causal", 2)
    target.to(next(source.parameters()).dtype)
    fill(plan, find_layers(target, config), [tensors_of(source)], tensors_of(target))
    return target


@pytest.mark.parametrize(
    ("width", "depth"),
    [
        ("zero", "stack"),
        ({"operator": "zero", "form": "gstack"}, "interleave"),
        ("net2net", {"operator": "lag", "index": 0, "block_size": 2, "init": "duplicate"}),
    ],
)
def test_both_at_once_are_one_after_the_other(width, depth):
    """Wider first and then deeper gives the same tensors; new random entries are left out."""
    source = fresh_model(build_config(LLAMA), "causal", 1)
    at_once = tensors_of(grown(make(width, depth).plan, source, BOTH))
    name, settings = (width, {}) if isinstance(width, str) else (width["operator"], dict(width))
    settings.pop("operator", None)
    wide = {**BOTH, "num_hidden_layers": 2}
    shape = target_shape(source.config, wide)
    wider = make_candidate(name, settings, (shape_of(source.config),), shape).plan
    middle = grown(wider, source, wide)
    deeper = make(width, depth).plan
    stack = find_layers(middle, middle.config)
    tensors = tensors_of(middle)
    compared = 0
    for full, value in at_once.items():
        place = stack.split(full)
        origin = full
        if place is not None:
            origin = stack.join(deeper.layers[place[0]].layer, place[1])
        was = tensors[origin]
        is_source = torch.isin(value, tensors_of(source)[origin]) | (value == 0)
        compared += int(is_source.sum())
        assert torch.equal(value[is_source], was[is_source]), full
    assert compared > 1000


def test_two_that_preserve_do_so_together():
    source = fresh_model(build_config(LLAMA), "causal", 1).double()
    target = grown(make("net2net", "identity").plan, source, BOTH)
    tokens = torch.arange(12)[None, :] * 7 % 40
    with torch.no_grad():
        difference = (source(tokens).logits - target(tokens).logits).abs().max()
    assert difference < 1e-5  # RMSNorm computes in fp32


def test_names_and_json():
    candidate = make({"operator": "zero", "form": "gstack"}, "stack")
    assert candidate.name == "combined-zero-gstack-stack"
    assert GrowthPlan.from_dict(candidate.plan.to_dict()) == candidate.plan
    assert candidate.plan.layer_map().startswith("0 1 0* 1* [residual 16-32")


@pytest.mark.parametrize(
    ("width", "depth", "message"),
    [
        ("stack", "stack", r"width: stack grows depth, not width"),
        ("zero", "zero", r"depth: zero grows width, not depth"),
        ("zero", "multi-stack", r"depth: multi-stack takes several of the sources"),
        ("zeroo", "stack", r"width: operator 'zeroo' is unknown; did you mean 'zero'"),
        ({"form": "v1"}, "stack", r"width needs an operator"),
        ({"operator": "zero", "form": "v9"}, "stack", r"width: zero: form must be"),
        (
            {"operator": "net2net", "noise": 0.1},
            {"operator": "stack", "noise": 0.1},
            r"noise is added once",
        ),
    ],
)
def test_refusals(width, depth, message):
    with pytest.raises(OperatorError, match=message):
        make(width, depth)


def test_a_space_of_combined_candidates_runs_and_repeats(write_space, tmp_path):
    target = (
        "target={num_hidden_layers: 4, hidden_size: 32, intermediate_size: 64, "
        "num_attention_heads: 4, num_key_value_heads: 2}"
    )
    listed = "candidates=[{width: [zero, net2net], depth: [stack, identity]}]"
    space = lagsearch.load_space(write_space(), [target, listed])
    names = [each.name for each in lagsearch.plan(space).candidates]
    assert names == [
        "combined-zero-stack",
        "combined-zero-identity",
        "combined-net2net-stack",
        "combined-net2net-identity",
    ]
    result = lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Watch())
    assert {each.status for each in result.candidates} == {"ok"}
    schedule = lagsearch.load_space(result.folder / "schedule.yaml")
    assert [each.name for each in lagsearch.plan(schedule).candidates] == [result.winner]


def test_one_of_the_two_alone_is_refused(write_space):
    with pytest.raises(SpaceError, match=r"candidates\[0\].*or both width and depth"):
        lagsearch.load_space(write_space(), ["candidates=[{width: zero}]"])


def test_a_part_is_named_as_it_would_be_alone():
    candidate = make({"operator": "random-width", "ramp_steps": 5}, "stack")
    assert candidate.name == "combined-random-width-ramp5-stack"
    assert candidate.plan.ramp_end == 15


@pytest.mark.parametrize("boundary", ["attached", "same-a", "average"])
@pytest.mark.parametrize("depth", ["multi-stack", "multi-interleave"])
def test_several_sources_are_widened_alike_and_put_together(depth, boundary):
    """Each source wider by itself, then all as one: the same tensors."""
    config = build_config(LLAMA)
    wide = {key: value for key, value in BOTH.items() if key != "num_hidden_layers"}
    sources = [fresh_model(config, "causal", seed) for seed in (1, 5)]
    settings = {"operator": depth, "order": "b a", "boundary": boundary}
    shapes, names = (shape_of(config),) * 2, ("a", "b")
    together = make_candidate(
        "multi-combined",
        {"width": "net2net", "depth": settings},
        shapes,
        target_shape(config, BOTH),
        names,
    )
    model = fresh_model(rebuild_config(grown_keys(config, BOTH, [0, 1, 0, 1])), "causal", 2)
    stack = find_layers(model, model.config)
    fill(together.plan, stack, [tensors_of(each) for each in sources], tensors_of(model))

    wider = make_candidate("net2net", {}, shapes[:1], target_shape(config, wide)).plan
    widened = [grown(wider, each, wide) for each in sources]
    between = shape_of(widened[0].config)
    settings.pop("operator")
    deeper = make_candidate(depth, settings, (between,) * 2, target_shape(config, BOTH), names).plan
    expected = fresh_model(model.config, "causal", 2)
    fill(deeper, stack, [tensors_of(each) for each in widened], tensors_of(expected))
    for name, tensor in tensors_of(expected).items():
        assert torch.allclose(tensors_of(model)[name], tensor, atol=1e-7), name
    assert GrowthPlan.from_dict(together.plan.to_dict()) == together.plan
    assert together.plan.sources == {0, 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": "net2net", "depth": "stack"}, r"depth: stack takes one of the sources"),
        (
            {"width": "multi-stack", "depth": {"operator": "multi-stack", "order": "a b"}},
            r"width: ",
        ),
    ],
)
def test_what_several_sources_cannot_be_grown_by(settings, message):
    config = build_config(LLAMA)
    shapes = (shape_of(config),) * 2
    with pytest.raises(OperatorError, match=message):
        make_candidate("multi-combined", settings, shapes, target_shape(config, BOTH), ("a", "b"))
