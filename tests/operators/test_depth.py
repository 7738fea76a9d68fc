"""Every operator that grows the depth: where each layer comes from, its name, its refusals."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagsearch.errors import ModelError, OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators import GrowthPlan, LayerOrigin, make_candidate
from lagsearch.operators.plan.growth import Origin

MAPS = [
    # operator, settings, L, T, layers from the embedding up
    ("stack", {}, 1, 2, "0 0*"),
    ("stack", {}, 1, 4, "0 0* 0* 0*"),
    ("stack", {}, 3, 6, "0 1 2 0* 1* 2*"),
    ("stack", {}, 2, 6, "0 1 0* 1* 0* 1*"),
    ("stack", {}, 3, 4, "0 1 2 2*"),
    ("stack", {}, 4, 6, "0 1 2 3 2* 3*"),
    ("stack", {}, 3, 8, "0 1 2 0* 1* 2* 1* 2*"),
    ("stack", {"remainder": "top"}, 4, 7, "0 1 2 3 1* 2* 3*"),
    ("stack", {"remainder": "bottom"}, 3, 4, "0 1 2 0*"),
    ("stack", {"remainder": "bottom"}, 4, 6, "0 1 2 3 0* 1*"),
    ("stack", {"remainder": "bottom"}, 3, 8, "0 1 2 0* 1* 2* 0* 1*"),
    ("stack", {"remainder": "bottom"}, 3, 6, "0 1 2 0* 1* 2*"),
    ("stack", {"noise": 0.2}, 2, 4, "0 1 0* 1*"),
    ("interleave", {}, 1, 3, "0 0* 0*"),
    ("interleave", {}, 3, 6, "0 0* 1 1* 2 2*"),
    ("interleave", {}, 2, 6, "0 0* 0* 1 1* 1*"),
    ("interleave", {}, 3, 5, "0 0* 1 1* 2"),
    ("interleave", {}, 4, 6, "0 0* 1 2 2* 3"),
    ("interleave", {}, 2, 7, "0 0* 0* 0* 1 1* 1*"),
    ("interleave", {}, 6, 7, "0 0* 1 2 3 4 5"),
    ("interleave", {}, 12, 16, "0 0* 1 2 3 3* 4 5 6 6* 7 8 9 9* 10 11"),
    ("identity", {}, 3, 6, "0 0° 1 1° 2 2°"),
    ("identity", {}, 2, 6, "0 0° 0° 1 1° 1°"),
    ("identity", {"placement": "interleaved"}, 3, 5, "0 0° 1 1° 2"),
    ("identity", {"placement": "stacked"}, 3, 6, "0 1 2 0° 1° 2°"),
    ("identity", {"placement": "stacked"}, 2, 6, "0 1 0° 1° 0° 1°"),
    ("identity", {"placement": "stacked"}, 4, 6, "0 1 2 3 2° 3°"),
    ("identity", {"placement": "stacked"}, 3, 8, "0 1 2 0° 1° 2° 1° 2°"),
    ("identity", {"placement": "pro"}, 6, 7, "0 1 2 3 4 5 5°"),
    ("identity", {"placement": "pro"}, 6, 8, "0 1 2 2° 3 4 5 5°"),
    ("identity", {"placement": "pro"}, 6, 9, "0 1 1° 2 3 3° 4 5 5°"),
    ("identity", {"placement": "pro"}, 3, 6, "0 0° 1 1° 2 2°"),
    ("random", {}, 3, 5, "0 1 2 R R"),
    ("random", {}, 2, 7, "0 1 R R R R R"),
    ("random", {"ramp_steps": 50}, 3, 4, "0 1 2 R"),
    ("last", {}, 6, 8, "0 1 2 3 4 5 4* 5*"),
    ("last", {}, 3, 6, "0 1 2 0* 1* 2*"),
    ("last", {}, 4, 5, "0 1 2 3 3*"),
    ("middle", {}, 6, 8, "0 1 2 3 2* 3* 4 5"),
    ("middle", {}, 6, 9, "0 1 2 0* 1* 2* 3 4 5"),
    ("middle", {}, 4, 8, "0 1 2 3 0* 1* 2* 3*"),
    ("middle", {}, 5, 6, "0 1 2 2* 3 4"),
    ("middle", {}, 6, 7, "0 1 2 2* 3 4 5"),
    ("middle", {}, 12, 16, "0 1 2 3 4 5 6 7 4* 5* 6* 7* 8 9 10 11"),
    ("solar", {}, 4, 6, "0 1 2 1* 2* 3"),
    ("solar", {}, 6, 8, "0 1 2 3 2* 3* 4 5"),
    ("solar", {}, 4, 8, "0 1 2 3 0* 1* 2* 3*"),
    ("solar", {}, 5, 6, "0 1 2 2* 3 4"),
    ("solar", {}, 3, 4, "0 1 1* 2"),
    ("layers", {"layers": [0, 1, 2, 2]}, 3, 4, "0 1 2 2*"),
    ("layers", {"layers": [2, 1, 0, 2, 1, 0]}, 3, 6, "2 1 0 2* 1* 0*"),
    ("layers", {"layers": [0, 0, 2, 2]}, 3, 4, "0 0* 2 2*"),
]

# One setting of each operator that fits 6 to 8 layers.
OPERATORS = [
    ("stack", {}),
    ("stack", {"remainder": "bottom", "noise": 0.25}),
    ("interleave", {}),
    ("identity", {}),
    ("identity", {"placement": "stacked"}),
    ("identity", {"placement": "pro"}),
    ("random", {}),
    ("random", {"ramp_steps": 30}),
    ("last", {}),
    ("middle", {}),
    ("solar", {}),
    ("layers", {"layers": [0, 1, 2, 3, 4, 5, 0, 3]}),
]
every_operator = pytest.mark.parametrize(
    ("name", "settings"), OPERATORS, ids=lambda v: v if isinstance(v, str) else json.dumps(v)
)


def shape(n_layers, model_type="llama", **keys):
    return ModelShape(n_layers, {"hidden_size": 16, **keys}, model_type)


def candidate(name, settings, n_source, n_target):
    return make_candidate(name, settings, (shape(n_source),), shape(n_target))


def plan_of(name, settings, n_source, n_target):
    return candidate(name, settings, n_source, n_target).plan


def sequence(plan):
    return [(origin.layer, origin.is_new) for origin in plan.layers]


def lag(index, block_size, n_source, n_target, init="duplicate"):
    settings = {"index": index, "block_size": block_size, "init": init}
    return plan_of("lag", settings, n_source, n_target)


@pytest.mark.parametrize(("name", "settings", "n_source", "n_target", "expected"), MAPS)
def test_layer_maps(name, settings, n_source, n_target, expected):
    plan = plan_of(name, settings, n_source, n_target)
    assert plan.layer_map() == expected
    assert len(plan.layers) == n_target
    assert plan.bottom == plan.top == Origin((0,), "copy")


def test_solar_as_published():
    """32 to 48 layers: the lower copy lacks its last 8, the upper its first 8."""
    plan = plan_of("solar", {}, 32, 48)
    assert [origin.layer for origin in plan.layers] == [*range(24), *range(8, 32)]
    assert [origin.is_new for origin in plan.layers] == [False] * 24 + [True] * 16 + [False] * 8


def test_g_stack_as_published():
    """6 to 24 layers: the stacking list of G_stack's code."""
    plan = plan_of("stack", {}, 6, 24)
    assert [origin.layer for origin in plan.layers] == [*range(6)] * 4
    assert [origin.is_new for origin in plan.layers] == [False] * 6 + [True] * 18


@pytest.mark.parametrize(
    ("name", "settings", "new_treatment"),
    [
        ("stack", {}, "copy"),
        ("stack", {"noise": 0.2}, "copy"),
        ("interleave", {}, "copy"),
        ("identity", {}, "zero_output"),
        ("identity", {"placement": "stacked"}, "zero_output"),
        ("identity", {"placement": "pro"}, "zero_output"),
        ("random", {}, "random"),
        ("random", {"ramp_steps": 0}, "random"),
        ("random", {"ramp_steps": 7}, "masked"),
        ("last", {}, "copy"),
        ("middle", {}, "copy"),
        ("solar", {}, "copy"),
        ("layers", {"layers": [0, 0, 1, 1, 2, 3, 4, 5]}, "copy"),
    ],
)
def test_treatments(name, settings, new_treatment):
    """New layers are treated as the operator says, the source's own are copied."""
    plan = plan_of(name, settings, 6, 8)
    treated = [(origin.is_new, origin.treatment) for origin in plan.layers]
    assert treated.count((False, "copy")) == 6
    assert treated.count((True, new_treatment)) == 2
    assert {origin.source for origin in plan.layers} == {0}
    assert plan.noise == settings.get("noise", 0.0)
    assert plan.ramp_steps == settings.get("ramp_steps", 0)


@pytest.mark.parametrize(
    ("name", "settings", "depths", "expected"),
    [
        ("stack", {}, (3, 8), "stack"),
        ("stack", {"remainder": "bottom"}, (3, 8), "stack-bottom"),
        ("stack", {"noise": 0.2}, (3, 8), "stack-noise0.2"),
        ("stack", {"remainder": "bottom", "noise": 0.2}, (3, 8), "stack-bottom-noise0.2"),
        ("interleave", {}, (3, 8), "interleave"),
        ("identity", {}, (3, 6), "identity"),
        ("identity", {"placement": "stacked"}, (3, 6), "identity-stacked"),
        ("identity", {"placement": "pro"}, (3, 6), "identity-pro"),
        ("random", {}, (3, 6), "random"),
        ("random", {"ramp_steps": 100}, (3, 6), "random-ramp100"),
        ("last", {}, (3, 6), "last"),
        ("middle", {}, (3, 6), "middle"),
        ("solar", {}, (3, 6), "solar"),
        ("layers", {"layers": [*range(6), *range(2, 6)]}, (6, 10), "layers-0to5.2to5"),
        ("layers", {"layers": [0, 2, 4, 1, 2, 3, 0]}, (5, 7), "layers-0.2.4.1to3.0"),
        ("layers", {"layers": [2, 1, 0, 0]}, (3, 4), "layers-2.1.0.0"),
    ],
)
def test_names(name, settings, depths, expected):
    made = candidate(name, settings, *depths)
    assert made.name == expected
    assert made.operator == name
    assert made.is_baseline is False


def test_settings_of_a_candidate_hold_the_defaults():
    assert dict(candidate("stack", {}, 3, 6).settings) == {"remainder": "top", "noise": 0.0}
    assert dict(candidate("identity", {}, 3, 6).settings) == {"placement": "interleaved"}
    assert dict(candidate("random", {}, 3, 6).settings) == {"ramp_steps": 0}


def test_lists_of_layers_that_differ_have_names_that_differ():
    lists = [(0, 1, 2, 0), (2, 0, 1, 2), (0, 0, 1, 2), (0, 1, 1, 2), (0, 1, 2, 2), (1, 2, 1, 2)]
    names = {candidate("layers", {"layers": each}, 3, 4).name for each in lists}
    assert len(names) == len(lists)


# ---- equal to points of the LAG space


@pytest.mark.parametrize("n_source", [1, 2, 3, 6, 12])
def test_doubling_is_in_the_lag_space(n_source):
    doubled = 2 * n_source
    whole = sequence(lag(0, n_source, n_source, doubled))
    assert sequence(plan_of("stack", {}, n_source, doubled)) == whole
    assert sequence(plan_of("solar", {}, n_source, doubled)) == whole
    alternating = sequence(lag(0, 1, n_source, doubled))
    assert sequence(plan_of("interleave", {}, n_source, doubled)) == alternating


@pytest.mark.parametrize(("n_source", "n_new"), [(6, 1), (6, 2), (6, 5), (6, 6), (12, 4), (1, 1)])
def test_last_is_in_the_lag_space(n_source, n_new):
    expected = sequence(lag(n_source - n_new, n_new, n_source, n_source + n_new))
    assert sequence(plan_of("last", {}, n_source, n_source + n_new)) == expected
    assert sequence(plan_of("stack", {}, n_source, n_source + n_new)) == expected  # from the top


@pytest.mark.parametrize(
    ("n_source", "n_new", "index"),  # index (ceil(k / 2) - 1) n with k = L / n
    [(12, 1, 5), (12, 2, 4), (12, 3, 3), (12, 4, 4), (12, 6, 0), (12, 12, 0), (9, 3, 3), (5, 1, 2)],
)
def test_middle_is_in_the_lag_space(n_source, n_new, index):
    expected = sequence(lag(index, n_new, n_source, n_source + n_new))
    assert sequence(plan_of("middle", {}, n_source, n_source + n_new)) == expected


def test_random_is_at_the_places_of_lags_random_block_on_top():
    expected = lag(4, 2, 6, 8, "random")
    plan = plan_of("random", {}, 6, 8)
    assert [origin.is_new for origin in plan.layers] == [o.is_new for o in expected.layers]
    assert [origin.treatment for origin in plan.layers] == [o.treatment for o in expected.layers]


def test_solar_is_in_the_lag_space_where_the_new_layers_fit_in_the_middle():
    assert sequence(plan_of("solar", {}, 12, 16)) == sequence(lag(4, 4, 12, 16))


def test_layers_lists_reach_every_point_of_lags_space():
    for index, block_size in [(0, 1), (2, 3), (3, 1)]:
        expected = sequence(lag(index, block_size, 6, 9))
        listed = [layer for layer, _ in expected]
        assert sequence(plan_of("layers", {"layers": listed}, 6, 9)) == expected


def test_the_thirty_operators_of_twelve_to_sixteen():
    plans = {
        (index, block_size, init): lag(index, block_size, 12, 16, init)
        for index in (0, 2, 4, 6, 8)
        for block_size in (1, 2, 4)
        for init in ("duplicate", "random")
    }
    assert len({plan.layers for plan in plans.values()}) == 30
    assert len({plan.layer_map() for plan in plans.values()}) == 30
    of_copies = {p.layer_map(): at for at, p in plans.items() if at[2] == "duplicate"}

    def where(name, settings=None):
        return of_copies.get(plan_of(name, settings or {}, 12, 16).layer_map())

    assert where("last") == (8, 4, "duplicate")
    assert where("stack") == (8, 4, "duplicate")
    assert where("middle") == (4, 4, "duplicate")
    assert where("solar") == (4, 4, "duplicate")
    assert where("interleave") is None
    assert where("stack", {"remainder": "bottom"}) is None


# ---- connection rates


@pytest.mark.parametrize(
    ("name", "depths", "expected"),
    [
        ("stack", (3, 6), Fraction(4, 5)),  # 0.80
        ("interleave", (3, 6), Fraction(2, 5)),  # 0.40
        ("stack", (8, 24), Fraction(21, 23)),  # 0.913
        ("interleave", (8, 24), Fraction(7, 23)),  # 0.304
        ("stack", (6, 24), Fraction(20, 23)),  # 0.870
    ],
)
def test_published_connection_rates(name, depths, expected):
    assert plan_of(name, {}, *depths).connection_rate() == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("below", "repeated", "times", "above", "n_connected"),  # 6 to 24, published: 100 n / 23
    [
        ([], [0, 1, 2, 3, 4, 5], 4, [], 20),  # 87.0
        ([0, 1], [2, 3, 4, 5], 5, [4, 5], 18),  # 78.3
        ([0, 1], [2, 3, 4], 7, [5], 17),  # 74.0
        ([0, 1, 2], [3, 4, 5], 7, [], 17),  # 74.0
        ([0, 1, 2, 3], [4, 5], 10, [], 14),  # 60.7
        ([0, 1], [2, 3], 10, [4, 5], 14),  # 60.7
        ([0], [1, 2, 3], 7, [4, 5], 17),  # 74.0
        ([], [0, 1, 2], 7, [3, 4, 5], 17),  # 74.0
    ],
)
def test_connection_rates_of_partial_stacking(below, repeated, times, above, n_connected):
    listed = below + repeated * times + above
    plan = plan_of("layers", {"layers": listed}, 6, 24)
    assert plan.connection_rate() == pytest.approx(n_connected / 23, abs=1e-12)


def test_a_random_layer_was_nobodys_neighbour():
    assert plan_of("random", {}, 3, 5).connection_rate() == pytest.approx(2 / 4)
    assert plan_of("random", {"ramp_steps": 9}, 3, 5).connection_rate() == pytest.approx(2 / 4)
    assert lag(4, 2, 6, 8, "random").connection_rate() == pytest.approx(5 / 7)
    assert lag(4, 1, 6, 8, "random").connection_rate() == pytest.approx(4 / 7)


def test_neighbours_are_of_one_source_and_in_order():
    apart = (LayerOrigin(0, 0), LayerOrigin(1, 1), LayerOrigin(1, 2))
    assert GrowthPlan(apart).connection_rate() == pytest.approx(1 / 2)
    assert plan_of("layers", {"layers": [2, 1, 0, 1]}, 3, 4).connection_rate() == pytest.approx(
        1 / 3
    )


# ---- refusals


@every_operator
@pytest.mark.parametrize("n_target", [6, 5])
def test_a_target_that_is_not_deeper(name, settings, n_target):
    if name == "layers":
        settings = {"layers": list(range(n_target))}
    with pytest.raises(OperatorError, match=rf"{n_target} layers are not more than .* 6$"):
        candidate(name, settings, 6, n_target)


@every_operator
def test_a_target_that_differs_otherwise(name, settings):
    with pytest.raises(OperatorError, match=rf"{name} .*hidden_size 16 to 32"):
        make_candidate(name, settings, (shape(6),), shape(8, hidden_size=32))


@every_operator
def test_a_setting_that_is_not_there(name, settings):
    with pytest.raises(OperatorError, match=rf"{name} has no setting 'block_syze'") as failure:
        candidate(name, {**settings, "block_syze": 1}, 6, 8)
    assert failure.value.setting == "block_syze"


@pytest.mark.parametrize(
    ("name", "settings", "depths", "message"),
    [
        ("stack", {"remainder": "up"}, (3, 8), r"remainder .*'top' or 'bottom'"),
        ("stack", {"noise": 1.0}, (3, 8), r"noise .*less than 1"),
        ("stack", {"noise": -0.1}, (3, 8), r"noise .*(least|equal to) 0"),
        ("stack", {"noise": float("nan")}, (3, 8), r"noise "),
        ("stack", {"noise": "0.2"}, (3, 8), r"noise .*number"),
        ("identity", {"placement": "top"}, (3, 6), r"placement .*'interleaved'.*'stacked'.*'pro'"),
        ("identity", {"placement": "pro"}, (6, 10), r"placement pro .*6; 4 does not.*1, 2, 3, 6$"),
        ("identity", {"placement": "pro"}, (6, 18), r"placement pro .*12 does not"),
        ("random", {"ramp_steps": -1}, (3, 6), r"ramp_steps .*(least|equal to) 0"),
        ("random", {"ramp_steps": 2.5}, (3, 6), r"ramp_steps .*integer"),
        ("random", {"ramp_steps": True}, (3, 6), r"ramp_steps .*integer"),
        ("layers", {"layers": []}, (3, 6), r"layers .*at least 1"),
        ("layers", {"layers": [0, 1, 2]}, (3, 6), r"3 layers are listed.*has 6"),
        ("layers", {"layers": [0, 1, 2, 3]}, (3, 4), r"layer 3 .*0\.\.2"),
        ("layers", {"layers": [0, 1, 2, -1]}, (3, 4), r"layers .*(least|equal to) 0"),
        ("layers", {"layers": [0, 1, 2, "1"]}, (3, 4), r"layers .*integer"),
        ("layers", {"layers": [0, 1, 2, True]}, (3, 4), r"layers .*integer"),
        ("layers", {"layers": "0122"}, (3, 4), r"layers must be"),
    ],
)
def test_settings_that_do_not_fit(name, settings, depths, message):
    """The message says what is allowed, and the error which setting it is, for the file's line."""
    with pytest.raises(OperatorError, match=message) as failure:
        candidate(name, settings, *depths)
    assert failure.value.setting == next(iter(settings))
    assert "\n" not in str(failure.value)


def test_layers_must_be_listed():
    with pytest.raises(OperatorError, match=r"layers needs the setting 'layers'"):
        candidate("layers", {}, 3, 6)


@pytest.mark.parametrize(
    ("name", "depths", "message"),
    [
        ("last", (4, 9), r"at most as many layers.*4 to 9 adds 5"),
        ("middle", (4, 7), r"middle .*divides .*4; 3 does not"),
        ("middle", (4, 9), r"middle .*divides .*4; 5 does not"),
        ("solar", (4, 7), r"solar .*4 layers .*even .*at most 8; 7 is not"),
        ("solar", (4, 10), r"solar .*4 layers .*even .*at most 8; 10 is not"),
    ],
)
def test_depths_that_do_not_fit(name, depths, message):
    with pytest.raises(OperatorError, match=message):
        candidate(name, {}, *depths)


def test_a_refusal_names_the_operator_that_was_asked_for():
    with pytest.raises(OperatorError, match=r"\blast\b") as failure:
        candidate("last", {}, 4, 9)
    assert "lag " not in str(failure.value)


def test_noise_needs_a_table_of_the_weights():
    unknown = (shape(3, "cohere"),), shape(6, "cohere")
    with pytest.raises(ModelError, match=r"cohere has no table of its weights; known: .*llama"):
        make_candidate("stack", {"noise": 0.2}, *unknown)
    assert make_candidate("stack", {}, *unknown).plan.layer_map() == "0 1 2 0* 1* 2*"


# ---- properties


@every_operator
def test_plans_survive_json(name, settings):
    plan = plan_of(name, settings, 6, 8)
    again = GrowthPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.layer_map() == plan.layer_map()
    assert hash(again) == hash(plan)


@st.composite
def growths(draw):
    """An operator with settings, and two depths that it takes."""
    n_source = draw(st.integers(1, 9))
    name = draw(
        st.sampled_from(["stack", "interleave", "identity", "random", "last", "middle", "solar"])
    )
    settings, n_new = {}, draw(st.integers(1, 3 * n_source))
    divisors = [n for n in range(1, n_source + 1) if n_source % n == 0]
    if name == "stack":
        settings["remainder"] = draw(st.sampled_from(["top", "bottom"]))
        settings["noise"] = draw(st.floats(0, 1, exclude_max=True))
    elif name == "identity":
        settings["placement"] = draw(st.sampled_from(["interleaved", "stacked", "pro"]))
        n_new = draw(st.sampled_from(divisors)) if settings["placement"] == "pro" else n_new
    elif name == "random":
        settings["ramp_steps"] = draw(st.integers(0, 10**6))
    elif name == "last":
        n_new = draw(st.integers(1, n_source))
    elif name == "middle":
        n_new = draw(st.sampled_from(divisors))
    elif name == "solar":
        n_new = draw(st.sampled_from(range(n_source, 0, -2)))
    return name, settings, n_source, n_source + n_new


@given(growths())
def test_depth_is_the_targets_and_each_source_layer_stays_once(growth):
    name, settings, n_source, n_target = growth
    plan = plan_of(name, settings, n_source, n_target)
    assert len(plan.layers) == n_target
    assert len(plan.layer_map().split()) == n_target
    own = [origin for origin in plan.layers if not origin.is_new]
    assert {origin.treatment for origin in own} == {"copy"}
    assert [origin.layer for origin in own] == list(range(n_source))
    assert GrowthPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert 0 <= plan.connection_rate() <= 1


@given(growths())
def test_the_same_twice_is_equal(growth):
    assert plan_of(*growth) == plan_of(*growth)


@given(st.integers(1, 9), st.integers(1, 27), st.sampled_from(["top", "bottom"]))
def test_stack_follows_its_formula(n_source, n_new, remainder):
    n_target = n_source + n_new
    plan = plan_of("stack", {"remainder": remainder}, n_source, n_target)
    n_whole = n_target // n_source * n_source
    left = n_target - n_whole
    expected = [layer % n_source for layer in range(n_whole)]
    expected += list(range(n_source - left, n_source) if remainder == "top" else range(left))
    assert [origin.layer for origin in plan.layers] == expected
    assert [origin.is_new for origin in plan.layers] == [False] * n_source + [True] * n_new


@given(st.integers(1, 9), st.integers(1, 27))
def test_interleave_follows_its_formula(n_source, n_new):
    n_target = n_source + n_new
    plan = plan_of("interleave", {}, n_source, n_target)
    listed = [Fraction(n_source * layer, n_target) // 1 for layer in range(n_target)]
    assert [origin.layer for origin in plan.layers] == listed
    is_first = [layer == 0 or listed[layer] != listed[layer - 1] for layer in range(n_target)]
    assert [not origin.is_new for origin in plan.layers] == is_first


@given(st.integers(1, 9), st.integers(1, 27), st.sampled_from(["interleaved", "stacked"]))
def test_identity_stands_where_the_plain_copies_do(n_source, n_new, placement):
    n_target = n_source + n_new
    plain = {"interleaved": "interleave", "stacked": "stack"}[placement]
    plan = plan_of("identity", {"placement": placement}, n_source, n_target)
    assert sequence(plan) == sequence(plan_of(plain, {}, n_source, n_target))


@given(st.data())
def test_a_layers_second_coming_is_new(data):
    n_source = data.draw(st.integers(1, 6))
    listed = data.draw(
        st.lists(st.integers(0, n_source - 1), min_size=n_source + 1, max_size=n_source + 8)
    )
    plan = plan_of("layers", {"layers": listed}, n_source, len(listed))
    assert sequence(plan) == [(layer, layer in listed[:at]) for at, layer in enumerate(listed)]


@given(st.integers(1, 9), st.integers(0, 30))
def test_feasible_or_refused_and_nothing_between(n_source, n_target):
    n_new = n_target - n_source
    fits = {
        "stack": n_new > 0,
        "interleave": n_new > 0,
        "identity": n_new > 0,
        "random": n_new > 0,
        "last": 0 < n_new <= n_source,
        "middle": n_new > 0 and n_source % n_new == 0,
        "solar": 0 < n_new <= n_source and n_target % 2 == 0,
    }
    for name, is_feasible in fits.items():
        if is_feasible:
            assert len(plan_of(name, {}, n_source, n_target).layers) == n_target
        else:
            with pytest.raises(OperatorError, match="layers"):
                candidate(name, {}, n_source, n_target)
