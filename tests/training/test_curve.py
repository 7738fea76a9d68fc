import gzip
import json
from math import fsum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lagsearch.errors import RunFolderError
from lagsearch.records.curve import (
    Curve,
    Evaluation,
    Failure,
    append,
    level,
    levelled,
    pack,
    read_curve,
    rewrite,
)

ONE = Evaluation(step=0, val_loss=2.5, val_loss_batches=(2.0, 3.0), wall_s=0.1, flops=0)
TWO = Evaluation(step=50, val_loss=1.7823, val_loss_batches=(1.7, 1.8646), wall_s=3.5, flops=12**15)
THREE = Evaluation(step=200, val_loss=1.1, val_loss_batches=(1.0, 1.2), wall_s=9.0, flops=12**16)
LOST = Failure(step=60, failed="step 60: the loss is not finite: nan")

finite = st.floats(0, 1e6)
evaluations = st.builds(
    lambda step, losses, wall_s, flops: Evaluation(
        step, fsum(losses) / len(losses), tuple(losses), wall_s, flops
    ),
    st.integers(0, 10**7),
    st.lists(finite, min_size=3, max_size=3),
    finite,
    st.integers(0, 10**24),
)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lag-i0-b1-duplicate.jsonl"


def test_line_as_in_the_design(path):
    append(path, TWO)
    text = path.read_text()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "step": 50,
        "val_loss": 1.7823,
        "val_loss_batches": [1.7, 1.8646],
        "wall_s": 3.5,
        "flops": 12**15,
    }


def test_appended_is_read(path):
    for each in (ONE, TWO, THREE):
        append(path, each)
    curve = read_curve(path)
    assert curve == Curve(evaluations=(ONE, TWO, THREE), failure=None)
    assert curve.at(50) == TWO
    assert curve.at(51) is None


def test_appended_is_there_at_once(path):
    append(path, ONE)
    before = path.stat().st_size
    assert before > 0
    append(path, TWO)
    assert path.stat().st_size > before


def test_failure(path):
    append(path, ONE)
    append(path, LOST)
    curve = read_curve(path)
    assert curve == Curve(evaluations=(ONE,), failure=LOST)
    assert curve.failure.again is False


@pytest.mark.parametrize("again", [True, False])
def test_failure_that_may_be_tried_again(path, again):
    append(path, Failure(step=3, failed="its worker died", again=again))
    assert read_curve(path).failure == Failure(step=3, failed="its worker died", again=again)


def test_failure_of_several_lines_stays_one_line(path):
    append(path, Failure(step=3, failed="first\nsecond \u2028 third"))
    append(path, ONE)
    assert path.read_bytes().count(b"\n") == 2
    assert read_curve(path).evaluations == (ONE,)


def test_no_file_is_an_empty_curve(path):
    assert read_curve(path) == Curve()


def test_empty_file_is_an_empty_curve(path):
    path.touch()
    assert read_curve(path) == Curve()


@given(st.lists(evaluations, min_size=1, max_size=4, unique_by=lambda each: each.step))
@in_one_folder
def test_numbers_survive_to_the_last_bit(tmp_path, entries):
    path = tmp_path / "curve.jsonl"
    path.unlink(missing_ok=True)
    for each in entries:
        append(path, each)
    assert read_curve(path).evaluations == tuple(sorted(entries, key=lambda each: each.step))


def test_the_first_batches_stand_as_far_from_all_as_they_did_before():
    """Of 2, 4, 6, 8 the first two lie 2 below the mean of all, so those of later are moved by 2."""
    whole = (2.0, 4.0, 6.0, 8.0)
    assert level((1.0, 3.0), whole) == 4.0
    assert level((1.0, 3.0), ()) == 2.0  # nothing is known of the others
    assert level(whole, (5.0, 5.0)) == 5.0
    found = levelled([(0, whole), (1, (1.0, 3.0)), (2, ()), (5, (9.0, 9.0, 9.0, 1.0)), (7, (1.0,))])
    assert found == {0: whole, 1: (3.0, 5.0), 5: (9.0, 9.0, 9.0, 1.0), 7: (-1.0,)}
    assert level((1.0,), found[5]) == -1.0  # the first of 9, 9, 9, 1 lies 2 above


@given(st.lists(finite, min_size=4, max_size=9), st.integers(1, 4), st.floats(-9, 9))
def test_where_all_batches_change_alike_the_first_ones_tell_the_mean_of_all(whole, size, change):
    moved = [loss + change for loss in whole]
    assert level(moved[:size], whole) == pytest.approx(fsum(moved) / len(moved), abs=1e-9, rel=1e-9)


def test_an_evaluation_of_the_first_batches_is_checked_against_the_last_whole_one(path):
    few = Evaluation(step=3, val_loss=2.2, val_loss_batches=(1.7,), wall_s=0.2, flops=6)
    for each in (ONE, few, TWO):
        append(path, each)
    assert read_curve(path).evaluations == (ONE, few, TWO)
    append(path, few)  # again, behind a later one
    assert read_curve(path).evaluations == (ONE, few, TWO)
    path.write_text(path.read_text().replace("2.2", "1.7"))
    with pytest.raises(RunFolderError, match=r"\.jsonl:2: .*val_loss is not the mean"):
        read_curve(path)


@pytest.mark.parametrize("last", [THREE, LOST], ids=["evaluation", "failure"])
def test_last_line_cut_off_anywhere(path, last):
    append(path, ONE)
    append(path, TWO)
    n_kept = path.stat().st_size
    append(path, last)
    whole = path.read_bytes()
    for n_bytes in range(n_kept, len(whole) - 1):  # up to, not with, the closing brace
        path.write_bytes(whole[:n_bytes])
        assert read_curve(path) == Curve(evaluations=(ONE, TWO)), whole[n_kept:n_bytes]


def test_only_line_cut_off(path):
    append(path, ONE)
    path.write_bytes(path.read_bytes()[:-9])
    assert read_curve(path) == Curve()


def test_rewritten_after_a_cut_can_be_appended_to(path):
    append(path, ONE)
    append(path, TWO)
    path.write_bytes(path.read_bytes()[:-20])
    rewrite(path, read_curve(path).evaluations)
    append(path, THREE)
    assert read_curve(path) == Curve(evaluations=(ONE, THREE))


@pytest.mark.parametrize("entry", [TWO, Failure(1, "its worker died", again=True)])
def test_entry_appended_behind_a_cut_is_not_lost(path, entry):
    """A worker killed while it wrote: the parent appends its failure to the same file."""
    append(path, ONE)
    append(path, TWO)
    path.write_bytes(path.read_bytes()[:-20])
    append(path, entry)
    curve = read_curve(path)
    assert entry in (*curve.evaluations, curve.failure)
    assert curve.at(0) == ONE


def test_nothing_that_is_not_a_number_is_written(path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(path, Evaluation(1, float("nan"), (1.0,), 0.0, 0))
    assert read_curve(path) == Curve()


def test_rewrite_replaces_the_whole_file(path):
    for each in (ONE, TWO, THREE, LOST):
        append(path, each)
    rewrite(path, [ONE, TWO])
    assert read_curve(path) == Curve(evaluations=(ONE, TWO), failure=None)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_rewrite_makes_a_file(path):
    rewrite(path, iter([ONE]))
    assert read_curve(path) == Curve(evaluations=(ONE,))


def test_rewrite_does_not_write_into_the_old_file(path):
    """Who reads meanwhile, or finds the file after a crash, has the old one or the new one."""
    append(path, ONE)
    append(path, TWO)
    before = path.read_text()
    with path.open() as reader:
        rewrite(path, [THREE])
        assert reader.read() == before
    assert read_curve(path) == Curve(evaluations=(THREE,))


def test_rewrite_that_fails_leaves_the_old_file(path):
    append(path, ONE)

    def broken():
        yield TWO
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        rewrite(path, broken())
    assert read_curve(path) == Curve(evaluations=(ONE,))


def test_a_packed_curve_is_read_and_gone_on_with(tmp_path):
    path = tmp_path / "a.jsonl"
    first = [Evaluation(step, 2.0, (2.0,), 0.5, 10 * step) for step in (0, 1)]
    for each in first:
        append(path, each)
    plain = path.read_bytes()
    pack(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl.gz"]
    packed = (tmp_path / "a.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert read_curve(path).evaluations == tuple(first)
    append(path, Evaluation(2, 1.0, (1.0,), 0.5, 20))
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]
    assert path.read_bytes().startswith(plain)
    assert [each.step for each in read_curve(path).evaluations] == [0, 1, 2]
    pack(path)
    rewrite(path, first)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]
    assert read_curve(path).evaluations == tuple(first)
    pack(path)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == packed


LINE = '{"step": 1, "val_loss": 2.5, "val_loss_batches": [2.0, 3.0], "wall_s": 0.1, "flops": 9}'

WRONG = {
    "a broken line in the middle": (LINE[:40], "no whole line of JSON"),
    "text for a loss": (LINE.replace("2.5", '"2.5"'), "val_loss or wall_s are no numbers"),
    "text for a batch": (LINE.replace("[2.0", '["2.0"'), "val_loss_batches are no numbers"),
    "a digit changed": (LINE.replace("3.0", "3.1"), "val_loss is not the mean of its batches"),
    "a batch lost": (LINE.replace("2.0, ", ""), "val_loss is not the mean"),
    "no batches": (LINE.replace("2.0, 3.0", ""), "val_loss_batches are no numbers"),
    "NaN": (LINE.replace("2.5", "NaN").replace("2.0", "NaN"), "are"),
    "infinity": (LINE.replace("2.5", "Infinity").replace("2.0", "Infinity"), "are too large"),
    "losses whose sum overflows": (
        LINE.replace("2.5", "1e308").replace("2.0, 3.0", "1e308, 1e308"),
        "val_loss_batches are too large",
    ),
    "a step that is none": (LINE.replace('"step": 1', '"step": 1.5'), "step is no whole number"),
    "a step below nothing": (LINE.replace('"step": 1', '"step": -1'), "step is no whole number"),
    "true for a step": (LINE.replace('"step": 1', '"step": true'), "step is no whole number"),
    "5,000 digits": (LINE.replace(": 9", ": " + "9" * 5000), "no whole line of JSON"),
    "a list": ("[1, 2]", "neither an evaluation nor a failure"),
    "nothing": ("null", "neither an evaluation nor a failure"),
    "nested without end": ("[" * 100_000, "no whole line of JSON"),
    "the same step otherwise": (LINE.replace("2.5", "3.0").replace("2.0", "3.0"), "stands there"),
    "batches of another part": (
        LINE.replace("}", ', "parts": {"a": [1.0]}}'),
        "a has 1 of 2 batches",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_line_that_is_wrong_is_named(path, kind):
    line, message = WRONG[kind]
    path.write_text(f"{LINE}\n{line}\n{LINE}\n")
    with pytest.raises(RunFolderError, match=rf"\.jsonl:2: .*{message}.*; delete the file"):
        read_curve(path)


def test_bytes_that_are_no_text_are_named(path):
    path.write_bytes(LINE.encode() + b"\n\xff\n")
    with pytest.raises(RunFolderError, match=rf"byte {len(LINE) + 1} is none of a curve's, 0xff"):
        read_curve(path)


def test_a_folder_in_its_place_is_named(path):
    path.mkdir()
    with pytest.raises(RunFolderError, match=r"\.jsonl: not a file"):
        read_curve(path)


@pytest.mark.parametrize("keep", [0, 5, 30, -4])
def test_a_packed_curve_that_was_cut_off_is_named(path, keep):
    append(path, ONE)
    pack(path)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(packed.read_bytes()[:keep] or b"x")
    with pytest.raises(RunFolderError, match=r"\.jsonl\.gz: not packed whole"):
        read_curve(path)


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_what_was_cut_off_leaves_no_broken_line_behind(path, cut):
    """Only its newline was lost: the entry is whole. More was lost: it is no entry."""
    append(path, ONE)
    append(path, TWO)
    path.write_bytes(path.read_bytes()[:-cut])
    append(path, THREE)
    kept = (ONE, TWO, THREE) if cut == 1 else (ONE, THREE)
    assert read_curve(path).evaluations == kept
    assert all(json.loads(line) for line in path.read_text().splitlines())
