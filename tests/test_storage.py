"""Files that matter: JSON comes back as it went, and people can read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lagsearch.storage.files import (
    appearing,
    replacing,
    unfinished,
    unfinished_in,
    write_json,
    write_text,
)

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


def test_what_a_killed_process_left_is_found_by_its_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.jsonl"
    with replacing(path) as temporary:
        other = tmp_path / "b.jsonl"
        with replacing(other) as of_other:
            for name in (".a.jsonl.tmp", "a.jsonl.abcdefgh.tmp", ".winner.tmp", ".mine.tmp"):
                (tmp_path / name).touch()
            assert unfinished(path) == [temporary]
            assert unfinished(other) == [of_other]
            assert unfinished_in(tmp_path) == sorted([temporary, of_other])
    assert unfinished_in(tmp_path) == []
    assert unfinished(tmp_path / "none" / "a") == []


def test_nothing_behind_a_link_is_taken_for_left_over(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".a.csv.abcdefgh.tmp").touch()
    (tmp_path / "tables").symlink_to(tmp_path / "elsewhere")
    assert unfinished_in(tmp_path / "tables") == []


def test_a_file_with_the_longest_name_is_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_text(path, "whole")
    assert path.read_text() == "whole"


def test_an_error_of_the_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*a\.json'"),
        replacing(path) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert json.loads(path.read_text()) == 1


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "new" / "winner"
    with pytest.raises(ZeroDivisionError), appearing(out) as making:
        making.mkdir()
        (making / "half").write_text("x")
        1 / 0  # noqa: B018
    assert list(out.parent.iterdir()) == []
    with appearing(out) as making:
        making.mkdir()
        (making / "whole").write_text("x")
        assert not out.exists()
    assert [each.name for each in out.iterdir()] == ["whole"]
    with pytest.raises(OSError, match="not empty"), appearing(out) as making:
        making.mkdir()
    assert [each.name for each in out.parent.iterdir()] == ["winner"]
