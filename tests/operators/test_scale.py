"""What operators say of their settings for other depths, and of words that stand for indices."""

from typing import Annotated

import pytest

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators import GrowthPlan, all_operators, find_operator, operator, spell_indices
from lagsearch.operators.catalog.lag import scale_lag
from lagsearch.operators.depths import Depths, Indices, as_it_is, nearest_divisor, same_share
from lagsearch.operators.registry import OPERATORS

STRIDES = {"every": 1, "even": 2}


def test_who_can_be_scaled():
    found = {each.name for each in all_operators() if each.scale is not None}
    kept = {"last", "middle", "stack", "interleave", "identity", "scratch", "random", "solar"}
    assert found == {"lag", *kept}
    assert {each.name for each in all_operators() if each.scale is as_it_is} == kept


def test_lag_by_hand():
    # 6 to 9 layers: indices 0..3 and 3 new layers; 12 to 18: 0..6 and 6
    settings = {"index": 1, "block_size": 3, "init": "random"}
    scaled, told = scale_lag(settings, Depths(6, 9, 12, 18))
    assert scaled == {"index": 2, "block_size": 6, "init": "random"}
    assert told == ", index 1 of 0..3 to 2 of 0..6, block 3 of 3 to 6 of 6"
    with pytest.raises(OperatorError, match="4 to 9 layers is more than lag can add"):
        scale_lag(settings, Depths(6, 9, 4, 9))


def test_shares_and_divisors_by_hand():
    assert [same_share(place, 4, 6) for place in range(5)] == [0, 2, 3, 5, 6]
    assert same_share(0, 0, 6) == 0
    assert [nearest_divisor(wanted, 6) for wanted in (0.5, 1.4, 2.4, 4, 4.5, 9)] == [
        *(1, 1, 2, 3, 6, 6)
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"operator": "lag", "index": "every"}, [0, 1, 2, 3]),
        ({"operator": "lag", "index": "even"}, [0, 2]),
        ({"operator": "lag", "index": [1]}, [1]),
        ({"operator": "lag", "index": "odd"}, "odd"),
        ({"operator": "stack", "index": "every"}, "every"),
        ({"operator": "gone", "index": "every"}, "every"),
        ({"width": "zero", "depth": "stack", "index": "every"}, "every"),
    ],
)
def test_words_for_indices(entry, expected):
    assert spell_indices(entry, 6, 9, STRIDES) == {**entry, "index": expected}


def test_all_layers_are_new():
    assert find_operator("lag").indices["index"].at(3, 6, 1) == [0]
    assert find_operator("lag").indices["index"].at(3, 8, 1) == [0]  # refused later, by lag


def test_a_new_operator_has_words_and_a_scale_of_its_own(monkeypatch):
    all_operators()
    monkeypatch.setattr(OPERATORS, "_entries", dict(OPERATORS._entries))

    @operator(
        "twice",
        paper="none",
        grows="depth",
        preserves="no",
        example={"layer": 0},
        scale=as_it_is,
    )
    def twice(
        source: ModelShape,
        target: ModelShape,
        *,
        layer: Annotated[int, Indices(lambda source, target: source - 1)],
    ) -> GrowthPlan:
        """Repeat a layer."""

    entry = {"operator": "twice", "layer": "every"}
    assert spell_indices(entry, 3, 4, STRIDES)["layer"] == [0, 1, 2]
    assert find_operator("twice").scale({"layer": 1}, Depths(3, 4, 6, 8)) == ({"layer": 1}, "")
