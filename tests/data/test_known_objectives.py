"""The table of objectives: its rows, and what a space that names one is told."""

import pytest

from lagsearch import plan
from lagsearch.data.objectives.masking import make_causal, make_masked
from lagsearch.data.objectives.registry import (
    OBJECTIVES,
    find_objective,
    objective,
    objective_kind,
    tokens_of,
)
from lagsearch.data.objectives.ul2 import make_ul2, tokens_of_ul2
from lagsearch.errors import DataError, PluginError, SpaceError
from lagsearch.space import Objective


def test_the_rows():
    assert OBJECTIVES.names() == ["causal", "masked", "ul2"]
    assert [each.make for each in OBJECTIVES.all()] == [make_causal, make_masked, make_ul2]
    assert [each.kind for each in OBJECTIVES.all()] == ["causal", "masked", "causal"]
    assert objective_kind(Objective(name="masked")) == "masked"
    assert tokens_of(Objective(name="ul2"), 128) == tokens_of_ul2(Objective(name="ul2"), 128)


def test_an_unknown_one_lists_all_and_names_its_key():
    with pytest.raises(DataError, match=r"^objective 'mask' is unknown.*'masked'\? ") as failure:
        find_objective("mask")
    assert failure.value.at == ("objective", "name")


def test_a_taken_name_names_both():
    both = r"'ul2' is there twice: lagsearch\.data\.objectives\.ul2:make_ul2 and "
    with pytest.raises(PluginError, match=both):
        objective("ul2", kind="causal", words="x")(make_causal)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{name: masekd}", r"space\.yaml:8: objective\.name \"masekd\": .*did you mean 'masked'"),
        ("{name: causal, mask_fraction: 0.3}", r"mask_fraction 0\.3: has no effect with the obj"),
        ("{name: ul2, mask_fraction: 0.3, whole_words: true}", r"whole_words true: has no effect"),
    ],
)
def test_a_plan_refuses_what_does_not_fit(write_space, written, message):
    with pytest.raises(SpaceError, match=message):
        plan(write_space(("{name: causal}", written)))
