"""mergekit's passthrough YAML, there and back."""

import pytest

from lagsearch.errors import OperatorError
from lagsearch.grow.mergekit import (
    check_zeroed,
    from_mergekit,
    to_mergekit,
)
from lagsearch.models.configs import ModelShape
from lagsearch.operators import make_candidate


def plan(name, n_source, n_target, **settings):
    shapes = [ModelShape(depth, {"hidden_size": 16}, "llama") for depth in (n_source, n_target)]
    return make_candidate(name, settings, (shapes[0],), shapes[1]).plan


def slices(*ranges, model="m"):
    return [{"sources": [{"model": model, "layer_range": list(each)}]} for each in ranges]


@pytest.mark.parametrize(
    ("name", "depths", "settings", "ranges"),
    [
        ("stack", (3, 6), {}, [(0, 3), (0, 3)]),
        ("stack", (3, 8), {}, [(0, 3), (0, 3), (1, 3)]),
        ("interleave", (2, 4), {}, [(0, 1), (0, 2), (1, 2)]),
        ("solar", (32, 48), {}, [(0, 24), (8, 32)]),
        ("lag", (6, 9), {"index": 2, "block_size": 3, "init": "duplicate"}, [(0, 5), (2, 6)]),
    ],
)
def test_growths_as_slices_by_hand(name, depths, settings, ranges):
    growth = plan(name, *depths, **settings)
    config = to_mergekit(growth, ["m"])
    assert config == {"slices": slices(*ranges), "merge_method": "passthrough"}
    back, models, *_ = from_mergekit(config)
    assert models == ["m"]
    assert [(each.source, each.layer) for each in back.layers] == [
        (each.source, each.layer) for each in growth.layers
    ]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("identity", {}), ("random", {}), ("stack", {"noise": 0.1}), ("scratch", {})],
)
def test_what_it_cannot_express_is_refused(name, settings):
    with pytest.raises(OperatorError, match="mergekit"):
        to_mergekit(plan(name, 2, 4, **settings), ["m"])


def zeros(*names):
    return [*({"filter": name, "value": 0.0} for name in names), {"value": 1.0}]


def scaled(*scale):
    [made] = slices((1, 2))
    made["sources"][0]["parameters"] = {"scale": list(scale)}
    return [made]


def config(**changes):
    return {"slices": slices((0, 2), (0, 2)), "merge_method": "passthrough", **changes}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (config(merge_method="slerp"), "merge_method 'slerp': only passthrough"),
        (config(tokenizer_source="other"), "tokenizer_source 'other' is not honoured"),
        (config(base_model="x"), "base_model 'x' is not the first slice's 'm'"),
        (config(slices=scaled({"filter": "o_proj", "value": 0.5})), "scale 0.5: a growth takes 0"),
        (config(slices=scaled({"value": 0.0})), "scale 0.0: a growth takes 0"),
        (config(slices=scaled({"filter": "o_proj", "value": False})), "scale False: a growth"),
        (
            config(slices=[*scaled(*zeros("a")), *scaled(*zeros("b"))]),
            "slices set different tensors to zero",
        ),
        (config(parameters={"t": 1}), "the file: parameters cannot be honoured"),
        (config(slices=[]), "at least one slice"),
        (config(slices=slices((2, 2))), r"slices\[0\]: layer_range must be"),
        (config(slices=slices((0, True))), r"slices\[0\]: layer_range must be"),
        (config(slices=[{"sources": []}]), r"slices\[0\].sources must list one model"),
        (config(slices=[{"sources": [{"model": "m"}]}]), "lacks layer_range"),
        (
            config(
                slices=[{"sources": [{"model": "m", "layer_rang": [0, 1], "layer_range": [0, 1]}]}]
            ),
            "layer_rang cannot be honoured",
        ),
        ({"slices": slices((0, 1))}, "lacks merge_method"),
        ([], "the file must be a mapping"),
    ],
)
def test_importing_ignores_nothing(value, message):
    with pytest.raises(OperatorError, match=message):
        from_mergekit(value)


def test_two_models():
    value = config(slices=[*slices((0, 2), model="x"), *slices((1, 3), model="y")])
    growth, models, *_ = from_mergekit(value)
    assert models == ["x", "y"]
    assert growth.layer_map() == "a0 a1 b1 b2"
    assert (growth.bottom.sources, growth.top.sources) == ((0,), (1,))
    assert to_mergekit(growth, models) == value


def test_lines_that_change_nothing_are_read():
    value = config(tokenizer_source="base", base_model="m", const_tag=0.0, dtype="float32")
    read = from_mergekit(value)
    assert (read.plan.layer_map(), read.dtype) == ("0 1 0* 1*", "float32")
    assert from_mergekit(config(tokenizer_source="union")).models == ["m"]


def test_identity_there_and_back():
    """The usual block expansion: a copy whose output projections are scaled by zero."""
    growth = plan("identity", 2, 4)
    writers = ["self_attn.o_proj", "mlp.down_proj"]
    made = to_mergekit(growth, ["m"], writers)
    assert made["slices"][0]["sources"] == [{"model": "m", "layer_range": [0, 1]}]
    assert made["slices"][1]["sources"] == [
        {"model": "m", "layer_range": [0, 1], "parameters": {"scale": zeros(*writers)}}
    ]
    back = from_mergekit(made)
    assert back.plan.layers == growth.layers
    assert back.zeroed == set(writers)


def test_zeros_are_all_that_a_layer_writes_and_nothing_else():
    writers, others = ["a.o_proj.weight", "m.down_proj.weight"], ["a.q_proj.weight"]
    check_zeroed(frozenset(("o_proj", "down_proj")), writers, others)
    for wrong, name in ((("o_proj",), "m.down_proj"), (("proj",), "a.q_proj")):
        with pytest.raises(OperatorError, match=rf"nothing else \({name}"):
            check_zeroed(frozenset(wrong), writers, others)
