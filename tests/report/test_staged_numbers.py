"""The comparison of courses, against values worked out by hand."""

from dataclasses import replace

import pytest

from lagsearch.records.curve import Evaluation
from lagsearch.records.stage_result import StageResult
from lagsearch.report.numbers.course import (
    _WORDS_OF_OLD_RUNS,
    Point,
    Told,
    _behind,
    _row,
)
from lagsearch.report.pictures.course import MeanLoss, mean_losses
from lagsearch.report.words.verdict import claim, side
from lagsearch.running import baselines


def course(name, seed, points, batches=(1.0, 1.0)):
    last = Evaluation(10, sum(batches) / len(batches), tuple(batches), 0.0, 0)
    end = points[-1]
    handed = StageResult("f", "w", {}, "i", {}, end.step, end.flops, end.val_loss, 0.0, 1)
    return Told(name, "", seed, name, (handed,), ({},), tuple(points), (0,), (None,), last)


ADAPTIVE = [
    Point(0, 0, 0, 6.0),
    Point(10, 100, 100, 4.0),
    Point(10, 100, 150, 4.5),  # grown: 50 FLOPs of search are charged
    Point(20, 300, 350, 3.0),
]
LAST = [Point(0, 0, 0, 6.0), Point(10, 100, 100, 4.0), Point(20, 300, 300, 3.1)]
DEEP = [Point(0, 0, 0, 6.0), Point(20, 500, 500, 2.0)]


def test_runs_that_do_not_say_what_a_course_does_are_read_with_the_same_words():
    own = [each for each in vars(baselines).values() if isinstance(each, baselines.BaselineCourse)]
    words = {each.name: each.words for each in own}
    assert {"adaptive": baselines._SEARCH, **words} == _WORDS_OF_OLD_RUNS


def test_losses_lie_on_a_line_between_evaluations():
    adaptive = course("adaptive", 0, ADAPTIVE)
    assert adaptive.search_flops == 50
    assert adaptive.at(250) == pytest.approx(3.75)
    assert adaptive.at(50) == pytest.approx(5.0)


def test_at_equal_flops_both_are_read_at_the_smaller_cost():
    adaptive = course("adaptive", 0, ADAPTIVE, (3.0, 3.0))
    # last ends at 300, where adaptive is three quarters of the way from 4.5 to 3.0
    row = _row("last", [adaptive, course("last", 0, LAST, (3.1, 3.1))], {0: adaptive})
    assert row["behind_at_equal_flops"]["value"] == pytest.approx(3.1 - 3.375)
    # scratch has spent as much as adaptive in all after 350 of 500
    row = _row("scratch", [adaptive, course("scratch", 0, DEEP, (2.0, 2.0))], {0: adaptive})
    assert row["behind_at_equal_flops"]["value"] == pytest.approx(6 - 4 * 0.7 - 3.0)


def test_differences_are_paired_by_seed_or_with_one_by_batch():
    ends = {0: (3.0, 3.2), 1: (4.0, 4.2), 2: (5.0, 5.1)}
    pairs = [
        (course("last", seed, LAST, (b, b)), course("adaptive", seed, ADAPTIVE, (a, a)))
        for seed, (a, b) in ends.items()
    ]
    found = _behind(pairs)
    assert (found["over"], found["n"]) == ("seeds", 3)
    assert found["value"] == pytest.approx(0.5 / 3)
    # 4.3027: Student's 97.5 % quantile with two degrees of freedom; s = 0.0577
    assert found["high"] - found["value"] == pytest.approx(4.3027 * 0.057735 / 3**0.5, rel=1e-4)
    one = (course("last", 0, LAST, (3.0, 5.0)), course("adaptive", 0, ADAPTIVE, (2.9, 4.7)))
    found = _behind([one])
    assert (found["over"], found["n"]) == ("batches", 2)
    assert found["value"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("low", "high", "expected", "word"),
    [
        (0.01, 0.02, "below", "is confirmed here"),
        (-0.02, -0.01, "above", "is contradicted here"),
        (-0.01, 0.02, "open", "is neither confirmed nor contradicted here"),
    ],
)
def test_the_claim_is_said_in_plain_words(low, high, expected, word):
    behind = {"value": (low + high) / 2, "low": low, "high": high, "n": 3, "over": "seeds"}
    assert side(behind) == expected
    row = {"behind": behind, "val_loss": {"value": 1.5}}
    assert word in claim(row)
    alone = {**row, "behind": {**behind, "over": "batches"}}
    assert "not put to the test by one seed" in claim(alone)


def test_curves_are_means_over_what_all_seeds_measured():
    # step 10 twice: before growth and behind it; step 15 was measured under one seed alone
    curves = {
        0: [[0, 0, 0, 6.0], [10, 100, 100, 4.0], [10, 100, 160, 4.4], [20, 300, 360, 3.0]],
        1: [
            *([0, 0, 0, 6.2], [10, 100, 100, 4.2], [10, 100, 140, 5.0]),
            *([15, 200, 240, 3.5], [20, 300, 340, 3.4]),
        ],
    }
    courses = [{"name": "adaptive", "seed": seed, "curve": each} for seed, each in curves.items()]
    found = mean_losses({"courses": courses})["adaptive"]
    assert [each.step for each in found] == [0, 10, 10, 20]
    assert found[2] == MeanLoss(10, 150.0, pytest.approx(4.7), 4.4, 5.0)
    assert found[3] == MeanLoss(20, 350.0, pytest.approx(3.2), 3.0, 3.4)


def test_the_sources_are_charged_beside_the_search():
    begun = [Point(each.step, each.flops, each.spent + 1000, each.val_loss) for each in ADAPTIVE]
    told = replace(course("adaptive", 0, begun), source_flops=1000)
    assert told.search_flops == 50
    row = _row("adaptive", [told], {0: told})
    assert row["spent"] == 1350
