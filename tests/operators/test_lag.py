import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators import GrowthPlan, LayerOrigin, make_candidate
from lagsearch.operators.plan.growth import Origin

SIX_TO_NINE = {
    (0, 1): "0 0* 1 1* 2 2* 3 4 5",
    (0, 3): "0 1 2 0* 1* 2* 3 4 5",
    (1, 1): "0 1 1* 2 2* 3 3* 4 5",
    (1, 3): "0 1 2 3 1* 2* 3* 4 5",
    (2, 1): "0 1 2 2* 3 3* 4 4* 5",
    (2, 3): "0 1 2 3 4 2* 3* 4* 5",
    (3, 1): "0 1 2 3 3* 4 4* 5 5*",
    (3, 3): "0 1 2 3 4 5 3* 4* 5*",
}
SIX_TO_NINE_RANDOM = {
    (0, 1): "0 R 1 R 2 R 3 4 5",
    (0, 3): "0 1 2 R R R 3 4 5",
    (1, 1): "0 1 R 2 R 3 R 4 5",
    (1, 3): "0 1 2 3 R R R 4 5",
    (2, 1): "0 1 2 R 3 R 4 R 5",
    (2, 3): "0 1 2 3 4 R R R 5",
    (3, 1): "0 1 2 3 R 4 R 5 R",
    (3, 3): "0 1 2 3 4 5 R R R",
}
TWELVE_TO_SIXTEEN = {
    (0, 1): "0 0* 1 1* 2 2* 3 3* 4 5 6 7 8 9 10 11",
    (0, 2): "0 1 0* 1* 2 3 2* 3* 4 5 6 7 8 9 10 11",
    (0, 4): "0 1 2 3 0* 1* 2* 3* 4 5 6 7 8 9 10 11",
    (4, 2): "0 1 2 3 4 5 4* 5* 6 7 6* 7* 8 9 10 11",
    (8, 1): "0 1 2 3 4 5 6 7 8 8* 9 9* 10 10* 11 11*",
    (8, 4): "0 1 2 3 4 5 6 7 8 9 10 11 8* 9* 10* 11*",
}
# 9 rows: where each of the nine layers of `lag-i1-b3` comes from, 0-based, and whether it is new.
I1_B3 = [
    (0, False),
    (1, False),
    (2, False),
    (3, False),
    (1, True),
    (2, True),
    (3, True),
    (4, False),
    (5, False),
]


def shape(n_layers, **keys):
    return ModelShape(n_layers, {"hidden_size": 16, **keys})


def grow(depths, index, block_size, init="duplicate"):
    settings = {"index": index, "block_size": block_size, "init": init}
    return make_candidate("lag", settings, (shape(depths[0]),), shape(depths[1]))


@pytest.mark.parametrize(("index", "block_size"), SIX_TO_NINE)
def test_six_to_nine_duplicate(index, block_size):
    plan = grow((6, 9), index, block_size).plan
    assert plan.layer_map() == SIX_TO_NINE[index, block_size]


@pytest.mark.parametrize(("index", "block_size"), SIX_TO_NINE_RANDOM)
def test_six_to_nine_random(index, block_size):
    plan = grow((6, 9), index, block_size, "random").plan
    assert plan.layer_map() == SIX_TO_NINE_RANDOM[index, block_size]


@pytest.mark.parametrize(("init", "treatment"), [("duplicate", "copy"), ("random", "random")])
def test_origins_behind_the_map(init, treatment):
    plan = grow((6, 9), 1, 3, init).plan
    assert plan.layers == tuple(
        LayerOrigin(source=0, layer=layer, treatment=treatment if is_new else "copy", is_new=is_new)
        for layer, is_new in I1_B3
    )
    assert plan.bottom == plan.top == Origin((0,), "copy")


@pytest.mark.parametrize(("index", "block_size"), TWELVE_TO_SIXTEEN)
def test_twelve_to_sixteen(index, block_size):
    plan = grow((12, 16), index, block_size).plan
    assert plan.layer_map() == TWELVE_TO_SIXTEEN[index, block_size]


def test_the_papers_space_has_thirty_distinct_operators():
    candidates = [
        grow((12, 16), index, block_size, init)
        for index in (0, 2, 4, 6, 8)
        for block_size in (1, 2, 4)
        for init in ("duplicate", "random")
    ]
    assert len({each.plan.layer_map() for each in candidates}) == 30
    assert len({each.name for each in candidates}) == 30
    assert {len(each.plan.layers) for each in candidates} == {16}


def test_name_and_settings_of_a_candidate():
    candidate = grow((6, 9), 2, 3)
    assert candidate.name == "lag-i2-b3-duplicate"
    assert candidate.operator == "lag"
    assert dict(candidate.settings) == {"index": 2, "block_size": 3, "init": "duplicate"}
    assert candidate.is_baseline is False
    assert grow((6, 9), 0, 1, "random").name == "lag-i0-b1-random"


@pytest.mark.parametrize(
    ("depths", "index", "block_size", "init", "expected"),
    [
        pytest.param((4, 8), 0, 4, "duplicate", "0 1 2 3 0* 1* 2* 3*", id="stack"),
        pytest.param((4, 8), 0, 1, "duplicate", "0 0* 1 1* 2 2* 3 3*", id="interleave"),
        pytest.param((6, 8), 4, 2, "duplicate", "0 1 2 3 4 5 4* 5*", id="last"),
        pytest.param((6, 8), 4, 2, "random", "0 1 2 3 4 5 R R", id="random-on-top"),
        pytest.param((6, 8), 2, 2, "duplicate", "0 1 2 3 2* 3* 4 5", id="midas"),
        pytest.param((1, 2), 0, 1, "duplicate", "0 0*", id="one-layer"),
    ],
)
def test_special_cases(depths, index, block_size, init, expected):
    assert grow(depths, index, block_size, init).plan.layer_map() == expected


@pytest.mark.parametrize(
    ("depths", "settings", "message"),
    [
        pytest.param((6, 9), {"index": 4}, r"index 4 .*0\.\.3\b", id="index-too-high"),
        pytest.param((6, 9), {"block_size": 2}, r"block_size 2 .*: 1, 3$", id="no-divisor"),
        pytest.param((6, 9), {"block_size": 6}, r"block_size 6 .*: 1, 3$", id="above-n"),
        pytest.param((6, 9), {"index": -1}, r"\bindex .*at least 0|\bindex .*equal to 0", id="< 0"),
        pytest.param((6, 9), {"block_size": 0}, r"block_size .*(least|equal to) 1", id="block-0"),
        pytest.param((6, 9), {"init": "copy"}, r"init .*'duplicate' or 'random'", id="init"),
        pytest.param((6, 9), {"index": "2"}, r"index .*\binteger", id="index-a-string"),
        pytest.param((6, 9), {"index": 1.5}, r"index .*\binteger", id="index-a-fraction"),
        pytest.param((6, 9), {"index": True}, r"index .*\binteger", id="index-a-truth-value"),
        pytest.param((6, 9), {"index": None}, r"index .*\binteger", id="index-none"),
        pytest.param((6, 9), {"block_size": 1.0}, r"block_size .*\binteger", id="block-a-float"),
    ],
)
def test_infeasible_settings(depths, settings, message):
    """The message says what is allowed, and the error which setting it is, for the file's line."""
    (setting,) = settings
    settings = {"index": 0, "block_size": 1, "init": "duplicate", **settings}
    with pytest.raises(OperatorError, match=message) as failure:
        make_candidate("lag", settings, (shape(depths[0]),), shape(depths[1]))
    assert failure.value.setting == setting
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        pytest.param((6, 13), r"at most as many layers as the source.*6 to 13 adds 7", id="> 2 L"),
        pytest.param((6, 6), r"6 layers are not more than the source's 6", id="same-depth"),
        pytest.param((6, 5), r"5 layers are not more than the source's 6", id="shallower"),
    ],
)
def test_infeasible_depths(depths, message):
    with pytest.raises(OperatorError, match=message):
        grow(depths, 0, 1)


@pytest.mark.parametrize("missing", ["index", "block_size", "init"])
def test_every_setting_must_be_given(missing):
    settings = {"index": 0, "block_size": 1, "init": "duplicate"}
    del settings[missing]
    with pytest.raises(OperatorError, match=missing):
        make_candidate("lag", settings, (shape(6),), shape(9))


def test_width_must_not_change():
    settings = {"index": 0, "block_size": 1, "init": "duplicate"}
    with pytest.raises(OperatorError, match=r"hidden_size.*16.*32|hidden_size.*32.*16"):
        make_candidate("lag", settings, (shape(6),), ModelShape(9, {"hidden_size": 32}))


def test_one_of_several_sources():
    settings = {"index": 0, "block_size": 1, "init": "duplicate", "source": "b"}
    sources = (shape(7), shape(6))
    plan = make_candidate("lag", settings, sources, shape(9), ("a", "b")).plan
    assert plan.layer_map() == SIX_TO_NINE[0, 1]
    assert {layer.source for layer in plan.layers} == {1}
    with pytest.raises(OperatorError, match="source 'c' is none of a, b"):
        make_candidate("lag", {**settings, "source": "c"}, sources, shape(9), ("a", "b"))


@st.composite
def feasible(draw):
    n_source = draw(st.integers(1, 12))
    n_added = draw(st.integers(1, n_source))
    divisors = [b for b in range(1, n_added + 1) if n_added % b == 0]
    return (
        n_source,
        n_added,
        draw(st.integers(0, n_source - n_added)),
        draw(st.sampled_from(divisors)),
        draw(st.sampled_from(["duplicate", "random"])),
    )


@given(feasible())
def test_every_source_layer_stays_once_and_in_order(settings):
    n_source, n_added, index, block_size, init = settings
    layers = grow((n_source, n_source + n_added), index, block_size, init).plan.layers
    kept = [origin for origin in layers if not origin.is_new]
    assert [origin.layer for origin in kept] == list(range(n_source))
    assert {origin.treatment for origin in kept} == {"copy"}
    assert len(layers) == n_source + n_added


@given(feasible())
def test_each_new_block_follows_its_source_block(settings):
    n_source, n_added, index, block_size, init = settings
    layers = grow((n_source, n_source + n_added), index, block_size, init).plan.layers
    new_at = [position for position, origin in enumerate(layers) if origin.is_new]
    expected_at = []
    for block in range(n_added // block_size):
        first = index + 2 * block * block_size + block_size
        expected_at.extend(range(first, first + block_size))
    assert new_at == expected_at
    for position in new_at:
        before = layers[position - block_size]
        assert before.layer == layers[position].layer
        assert not before.is_new
        treatment = {"duplicate": "copy", "random": "random"}[init]
        assert layers[position].treatment == treatment


@given(feasible())
def test_the_two_inits_grow_at_the_same_places(settings):
    n_source, n_added, index, block_size, _ = settings
    depths = (n_source, n_source + n_added)
    drawn = grow(depths, index, block_size, "duplicate").plan.layer_map().split()
    random = grow(depths, index, block_size, "random").plan.layer_map().split()
    assert random == ["R" if each.endswith("*") else each for each in drawn]


@given(feasible())
def test_a_plan_survives_json(settings):
    n_source, n_added, index, block_size, init = settings
    plan = grow((n_source, n_source + n_added), index, block_size, init).plan
    assert GrowthPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 12), st.integers(1, 12))
def test_feasible_or_refused_and_nothing_between(n_source, n_target, index, block_size):
    n_added = n_target - n_source
    is_feasible = (
        1 <= n_added <= n_source and n_added % block_size == 0 and index <= n_source - n_added
    )
    if is_feasible:
        assert len(grow((n_source, n_target), index, block_size).plan.layers) == n_target
    else:
        with pytest.raises(OperatorError, match=r"layers|index|block_size"):
            grow((n_source, n_target), index, block_size)
