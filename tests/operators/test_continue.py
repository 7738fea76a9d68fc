"""`continue`: the plan is the identity on its source, whatever the target."""

import pytest

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators import find_operator, make_candidate

SMALL = ModelShape(3, {"hidden_size": 16})
DEEP = ModelShape(5, {"hidden_size": 16})
TARGET = ModelShape(9, {"hidden_size": 64})


def test_it_is_the_source_itself():
    made = make_candidate("continue", {}, (SMALL,), TARGET)
    assert made.name == "continue"
    assert made.is_baseline
    assert made.plan.layer_map() == "0 1 2"
    assert not any(layer.is_new for layer in made.plan.layers)
    assert made.plan.width is None
    assert made.plan.steps is None
    assert made.plan.connection_rate() == 1.0
    assert find_operator("continue").reaches == "source"


def test_of_several_sources_it_is_the_one_that_is_named():
    made = make_candidate("continue", {"source": "b"}, (SMALL, DEEP), TARGET, ("a", "b"))
    assert made.name == "continue-b"
    assert made.plan.sources == {1}
    assert len(made.plan.layers) == 5


@pytest.mark.parametrize("steps", ["matched", 70])
def test_steps_of_its_own_stand_in_its_name(steps):
    made = make_candidate("continue", {"steps": steps}, (SMALL,), TARGET)
    assert made.name == f"continue-{steps}"
    assert made.plan.steps == steps


def test_it_has_no_other_setting():
    with pytest.raises(OperatorError, match=r"continue has no setting 'index'.*known: steps"):
        make_candidate("continue", {"index": 0}, (SMALL,), TARGET)
