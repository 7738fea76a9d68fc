"""Files that matter: JSON comes back as it went, and people can read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lagsearch.storage import write_json

values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(),
    lambda below: some.lists(below) | some.dictionaries(some.text(), below),
)


@given(value=values)
def test_json_comes_back_as_it_went(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text()) == value


def test_each_key_and_each_object_of_a_list_has_a_line(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1, "b": [{"c": [1, 2]}, {"d": {"e": None}}], "f": {}})
    assert path.read_text() == (
        '{\n"a": 1,\n"b": [\n{"c": [1, 2]},\n{"d": {"e": null}}\n],\n"f": {}\n}\n'
    )


@pytest.mark.parametrize("value", [float("nan"), {"a": [{"b": float("inf")}]}])
def test_what_json_has_no_word_for_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "value.json", value)
    assert list(tmp_path.iterdir()) == []
