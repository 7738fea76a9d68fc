"""Several sources: layer sequences by hand, boundaries, orders, controls, and parts of a text."""

import itertools

import numpy as np
import pytest
import torch

import lagsearch
from lagsearch.data.tokens.batches import TrainingRows, part_of
from lagsearch.display.watch import Watch
from lagsearch.errors import OperatorError, SpaceError
from lagsearch.models.configs import ModelShape
from lagsearch.models.layers import LayerStack
from lagsearch.operators import GrowthPlan, alternatives, make_candidate
from lagsearch.operators.execute.fill import fill
from lagsearch.operators.plan.growth import Origin

NAMES = ("a", "b", "c")


def shapes(*depths):
    return tuple(ModelShape(depth, {"hidden_size": 16}, "llama") for depth in depths)


def make(name, depths, target=None, **settings):
    sources = shapes(*depths)
    (goal,) = shapes(target or sum(depths))
    return make_candidate(name, settings, sources, goal, NAMES[: len(depths)])


@pytest.mark.parametrize(
    ("name", "depths", "order", "expected"),
    [
        ("multi-stack", (2, 2), "a b", "a0 a1 b0 b1"),
        ("multi-stack", (2, 2), "b a", "b0 b1 a0 a1"),
        ("multi-stack", (2, 3), "b a", "b0 b1 b2 a0 a1"),
        ("multi-stack", (2, 2, 2), "c a b", "c0 c1 a0 a1 b0 b1"),
        ("multi-interleave", (2, 2), "a b", "a0 b0 a1 b1"),
        ("multi-interleave", (2, 2, 2), "b c a", "b0 c0 a0 b1 c1 a1"),
    ],
)
def test_sequences_by_hand(name, depths, order, expected):
    candidate = make(name, depths, order=order)
    assert candidate.plan.layer_map() == expected
    assert candidate.name == f"{name}-{order.replace(' ', '.')}"
    assert GrowthPlan.from_dict(candidate.plan.to_dict()) == candidate.plan


@pytest.mark.parametrize(
    ("boundary", "bottom", "top"),
    [
        ("attached", (1,), (0,)),
        ("average", (0, 1, 2), (0, 1, 2)),
        ("same-a", (0,), (0,)),
        ("same-c", (2,), (2,)),
    ],
)
def test_boundaries(boundary, bottom, top):
    plan = make("multi-stack", (2, 2, 2), order="b c a", boundary=boundary).plan
    assert (plan.bottom, plan.top) == (Origin(bottom), Origin(top))


def test_words_that_stand_for_several():
    found = alternatives("multi-stack", {"order": "all", "boundary": "all"}, NAMES, 0)
    assert len(found) == 6 * 5
    orders = {" ".join(each) for each in itertools.permutations(NAMES)}
    assert {each["order"] for each in found} == orders
    policies = {"attached", "average", "same-a", "same-b", "same-c"}
    assert {each["boundary"] for each in found} == policies
    sampled = alternatives("multi-stack", {"order": "sample 4"}, NAMES, 7)
    assert len({each["order"] for each in sampled}) == 4
    assert sampled == alternatives("multi-stack", {"order": "sample 4"}, NAMES, 7)
    assert alternatives("multi-stack", {"order": "b a c"}, NAMES, 0) == [{"order": "b a c"}]
    assert alternatives("stack", {"noise": 0.2}, NAMES, 0) == [{"noise": 0.2}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "a b"}, r"order 'a b' must name each source once: a, b, c"),
        ({"order": "a b d"}, r"order 'a b d' must name"),
        ({"order": "a b c", "boundary": "same"}, r"boundary 'same' is unknown; known: .*same-a"),
        ({"order": "a b c", "boundary": "same-d"}, r"'same-d' is unknown"),
        ({}, r"needs the setting 'order'"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(OperatorError, match=message):
        make("multi-stack", (2, 2, 2), **settings)


def test_depths_and_shapes_must_fit():
    with pytest.raises(OperatorError, match="4 layers together, but the target 5"):
        make("multi-stack", (2, 2), target=5, order="a b")
    with pytest.raises(OperatorError, match="sources of one depth"):
        make("multi-interleave", (2, 3), order="a b")
    wider = ModelShape(2, {"hidden_size": 32}, "llama")
    with pytest.raises(OperatorError, match="hidden_size is 16 and 32"):
        make_candidate(
            "multi-stack", {"order": "a b"}, (*shapes(2), wider), shapes(4)[0], ("a", "b")
        )
    with pytest.raises(OperatorError, match="grows several sources; the space has one"):
        make("multi-stack", (2,), order="a")
    with pytest.raises(OperatorError, match="write `sample N`, N from 1 to 6"):
        alternatives("multi-stack", {"order": "sample 7"}, NAMES, 0)


def test_one_of_several_sources_is_grown_alone():
    first = make("stack", (2, 2), target=4)
    second = make("stack", (2, 2), target=4, source="b")
    assert (first.name, second.name) == ("stack-a", "stack-b")
    assert {layer.source for layer in second.plan.layers} == {1}
    assert second.plan.bottom == second.plan.top == Origin((1,))
    with pytest.raises(OperatorError, match="source 'd' is none of a, b"):
        make("stack", (2, 2), target=4, source="d")


def test_tensors_of_the_mean_and_of_each_end():
    plan = make("multi-stack", (1, 1), order="b a", boundary="average").plan
    stack = LayerStack("h", frozenset({"head"}))
    sources = [
        {
            "emb": torch.tensor([value]),
            "h.0.w": torch.tensor([10 + value]),
            "head": torch.tensor([value]),
        }
        for value in (1.0, 4.0)
    ]
    target = {"emb": torch.zeros(1), "h.0.w": torch.zeros(1), "h.1.w": torch.zeros(1)}
    target["head"] = torch.zeros(1)
    fill(plan, stack, sources, target)
    assert {name: float(value) for name, value in target.items()} == {
        "emb": 2.5,
        "h.0.w": 14.0,
        "h.1.w": 11.0,
        "head": 2.5,
    }
    attached = make("multi-stack", (1, 1), order="b a").plan
    fill(attached, stack, sources, target)
    assert (float(target["emb"]), float(target["head"])) == (4.0, 1.0)


def test_parts_are_disjoint_and_make_up_the_whole():
    tokens = np.arange(101)
    parts = [part_of(tokens, number, 3) for number in (1, 2, 3)]
    assert np.array_equal(np.concatenate(parts), tokens)
    rows = TrainingRows(parts[1], 4, 2, 0, "x")
    seen = np.unique(np.concatenate([rows(step).ravel() for step in range(50)]))
    assert parts[1].min() <= seen.min()
    assert seen.max() <= parts[1].max()


TWO = """\
sources=[
  {name: a, pretrain: {config: &c {model_type: llama, num_hidden_layers: 2, hidden_size: 16,
    intermediate_size: 32, num_attention_heads: 2, max_position_embeddings: 32}, steps: 12,
    part: 1/2}},
  {name: b, pretrain: {config: *c, steps: 12, part: 2/2}}]
"""


def test_a_run_over_two_sources_adds_its_control(write_space, tmp_path):
    overrides = [
        TWO,
        "candidates=[{operator: multi-stack, order: all, boundary: all},"
        "{operator: multi-interleave, order: [a b]}, {operator: scratch}]",
    ]
    space = lagsearch.load_space(write_space(), overrides)
    names = [each.name for each in lagsearch.plan(space).candidates]
    assert len(names) == 2 * 4 + 1 + 1 + 2
    assert names[-2:] == ["stack-a", "interleave-a"]
    result = lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Watch())
    assert {each.status for each in result.candidates} == {"ok"}
    digests = [each["digest"] for each in result.report["sources"]]
    assert digests[0] != digests[1]
    without = lagsearch.load_space(write_space(), [*overrides, "search.single_model_control=false"])
    assert len(lagsearch.plan(without).candidates) == 10


def planned(write_space, candidates):
    space = lagsearch.load_space(write_space(), [TWO, f"candidates=[{candidates}]"])
    return {each.name: each.candidate for each in lagsearch.plan(space).candidates}


def test_a_control_learns_as_what_it_is_compared_with(write_space):
    found = planned(
        write_space,
        "{operator: multi-ligo, order: all, steps: [5, 7], lr: 0.5, init: [stack, interleave]}",
    )
    controls = {name: each for name, each in found.items() if each.operator == "ligo"}
    assert sorted(each.settings["steps"] for each in controls.values()) == [5, 7]
    assert {each.settings["lr"] for each in controls.values()} == {0.5}


def test_a_control_is_there_whatever_else_is_listed(write_space):
    entries = "{operator: multi-stack, order: a b}, {operator: stack, source: b}"
    assert list(planned(write_space, entries)) == ["multi-stack-a.b", "stack-b", "stack-a"]
    entries = "{operator: multi-stack, order: a b}, {operator: stack, source: a}"
    assert list(planned(write_space, entries)) == ["multi-stack-a.b", "stack-a"]


def test_parts_that_are_not_there_are_refused(write_space):
    with pytest.raises(SpaceError, match=r"sources\[0\]\.pretrain\.part.*only 2 parts"):
        lagsearch.load_space(write_space(), ["sources.0.pretrain.part=3/2"])
