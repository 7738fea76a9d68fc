import dataclasses

import pytest

from lagsearch.errors import LagsearchError, OperatorError, PluginError
from lagsearch.models.configs import ModelShape
from lagsearch.operators import (
    GrowthPlan,
    LayerOrigin,
    all_operators,
    find_operator,
    make_candidate,
    operator,
    registry,
)
from lagsearch.operators.plan.growth import copies

LAG = {"index": 0, "block_size": 1, "init": "duplicate"}


@pytest.fixture
def scratch_table(monkeypatch):
    """Let a test enter operators without leaving them behind."""
    all_operators()
    monkeypatch.setattr(registry.OPERATORS, "_entries", dict(registry.OPERATORS._entries))


def shape(n_layers):
    return ModelShape(n_layers, {"hidden_size": 16})


def test_rows_stand_in_the_order_of_their_names():
    names = [each.name for each in all_operators()]
    assert names == sorted(names)
    assert {"lag", "scratch"} <= set(names)


def test_what_a_row_says():
    lag = find_operator("lag")
    assert (lag.name, lag.paper, lag.grows) == ("lag", "arXiv:2406.02469", "depth")
    assert lag.is_baseline is False
    assert find_operator("scratch").is_baseline is True


@pytest.mark.parametrize("name", ["lagg", "lga", "Lag"])
def test_unknown_operator_lists_known_and_nearest(name):
    with pytest.raises(OperatorError, match=rf"'{name}'.*did you mean 'lag'.*lag, .*scratch"):
        find_operator(name)


def test_unknown_operator_with_nothing_near():
    with pytest.raises(OperatorError, match=r"'zzzzzz'.*lag, .*scratch") as failure:
        make_candidate("zzzzzz", {}, (shape(6),), shape(9))
    assert "did you mean" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_operator_errors_are_input_errors():
    assert issubclass(OperatorError, LagsearchError)
    assert OperatorError.exit_code == 2


def test_unknown_setting_is_refused_and_named():
    message = r"'blok_size'.*did you mean 'block_size'.*known: index, block_size, init"
    with pytest.raises(OperatorError, match=message) as failure:
        make_candidate("lag", {**LAG, "blok_size": 1}, (shape(6),), shape(9))
    assert failure.value.setting == "blok_size"
    assert "\n" not in str(failure.value)


def test_operator_without_settings_takes_none():
    with pytest.raises(OperatorError, match="index"):
        make_candidate("scratch", {"index": 0}, (shape(6),), shape(9))


def test_scratch_is_all_random():
    candidate = make_candidate("scratch", {}, (shape(6),), shape(4))
    assert candidate.name == "scratch"
    assert candidate.is_baseline is True
    assert dict(candidate.settings) == {"steps": None}
    assert candidate.plan.layer_map() == "R R R R"
    assert candidate.plan.bottom.treatment == candidate.plan.top.treatment == "random"
    assert {origin.treatment for origin in candidate.plan.layers} == {"random"}


def test_scratch_takes_any_target():
    wider = ModelShape(9, {"hidden_size": 48})
    assert len(make_candidate("scratch", {}, (shape(6),), wider).plan.layers) == 9


def test_scratch_plan_survives_plain_values():
    plan = make_candidate("scratch", {}, (shape(6),), shape(3)).plan
    assert GrowthPlan.from_dict(plan.to_dict()) == plan


def test_taken_name_raises(scratch_table):
    both = r"operator 'lag' is there twice: lagsearch\.operators\.catalog\.lag:lag and .*lag_again"
    with pytest.raises(PluginError, match=both):

        @operator("lag", paper="none", grows="depth", preserves="no")
        def lag_again(source, target):
            return GrowthPlan(layers=())


def no_type(source, target, *, layer=0):
    """Grow."""


def no_star(source, target, layer: int = 0):
    """Grow."""


def no_default(source, target, *, layer: int):
    """Grow."""


@pytest.mark.parametrize(
    ("build", "grows", "message"),
    [
        (no_type, "depth", r"^operator 'top': its setting layer has no type$"),
        (no_star, "depth", r"^operator 'top': its setting layer must follow a `\*`$"),
        (no_default, "depth", r"'top': its setting layer has no default.*no `example` of it$"),
        (no_type, "deep", r"no type"),
        (lambda source, target: None, "deep", r"'top': grows must be one of depth; width;"),
    ],
)
def test_what_is_written_wrongly_is_one_line(scratch_table, build, grows, message):
    with pytest.raises(PluginError, match=message):
        operator("top", paper="none", grows=grows, preserves="no")(build)
    assert "top" not in registry.OPERATORS.names()


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        ([0, 1, 1, 1], PluginError, r"^operator 'top' returns no GrowthPlan but a list$"),
        (GrowthPlan(copies([0, 1, 1])), OperatorError, r"^top makes 3 layers, not 4$"),
        (GrowthPlan(copies([0, 1, 1, 2])), OperatorError, r"^top takes layer 2; .* has 0\.\.1$"),
        (GrowthPlan(copies([0, 1, 1, -1])), OperatorError, r"^top takes layer -1; "),
    ],
)
def test_what_is_no_growth_to_the_target_is_one_line(scratch_table, made, error, message):
    operator("top", paper="none", grows="depth", preserves="no")(lambda source, target: made)
    with pytest.raises(error, match=message):
        make_candidate("top", {}, (shape(2),), shape(4))


def test_entered_operator_is_found_checked_and_named(scratch_table):
    @operator("top", paper="none", grows="depth", preserves="no")
    def top(source: ModelShape, target: ModelShape, *, copies: int = 2) -> GrowthPlan:
        """Repeat the last layer.

        Args:
            copies: How often.
        """
        kept = tuple(LayerOrigin(layer=layer) for layer in range(source.n_layers))
        new = LayerOrigin(layer=source.n_layers - 1, is_new=True)
        return GrowthPlan(layers=kept + (new,) * copies)

    assert find_operator("top").summary == "Repeat the last layer."
    assert "top" in [each.name for each in all_operators()]
    candidate = make_candidate("top", {}, (shape(2),), shape(4))
    assert dict(candidate.settings) == {"copies": 2}
    assert candidate.plan.layer_map() == "0 1 1* 1*"
    with pytest.raises(OperatorError, match=r"top.*copies.*integer"):
        make_candidate("top", {"copies": "3"}, (shape(2),), shape(5))


def test_a_test_operator_does_not_stay():
    with pytest.raises(OperatorError, match="'top'"):
        find_operator("top")


def test_layer_map_marks_new_copies_and_random_layers():
    plan = GrowthPlan(
        layers=(
            LayerOrigin(layer=0),
            LayerOrigin(layer=0, is_new=True),
            LayerOrigin(treatment="random", is_new=True),
            LayerOrigin(layer=9),
        )
    )
    assert plan.layer_map() == "0 0* R 9"


def test_plans_do_not_change():
    plan = make_candidate("lag", LAG, (shape(6),), shape(9)).plan
    with pytest.raises(dataclasses.FrozenInstanceError, match="layers"):
        plan.layers = ()
    with pytest.raises(dataclasses.FrozenInstanceError, match="layer"):
        plan.layers[0].layer = 3


def test_settings_of_a_candidate_do_not_follow_the_callers():
    settings = dict(LAG)
    candidate = make_candidate("lag", settings, (shape(6),), shape(9))
    settings["index"] = 3
    assert candidate.settings["index"] == 0
