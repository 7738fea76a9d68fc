"""Whether a ranking has settled: what candidates' distance and movement come to, by hand."""

import numpy as np
import pytest

from lagsearch.selection import LossTable, outlook
from lagsearch.selection.outlook import FEWEST

STEPS = (0, 25, 50, 75, 100)


def table(losses_by_step, names=None):
    """A table of mean losses, measured once."""
    steps = tuple(losses_by_step)
    losses = np.array(list(losses_by_step.values()), float).T
    names = names or tuple(f"c{number}" for number in range(len(losses)))
    return LossTable.of_batches(names, steps, losses[:, :, None, None])


def without_each(values):
    """Standard deviations, one value left out in turn."""
    return [np.std(np.delete(values, place), ddof=1) for place in range(len(values))]


def coming_to_rest(ends, heights, steps=STEPS):
    return table({step: np.array(ends) + np.array(heights) / (1 + step) for step in steps})


def test_distance_and_movement_are_those_of_the_definition():
    generator = np.random.default_rng(3)
    losses = {step: generator.normal(2, 0.1, 7) for step in STEPS}
    found = outlook(table(losses), 100, 800, "c0")
    apart = without_each(losses[100])
    to_come = without_each((losses[100] - losses[50]) * 3)  # 100 to 800: three doublings
    least = np.argmin(np.array(apart) / to_come)
    assert found.since == 50
    assert found.apart == pytest.approx(apart[least])
    assert found.to_come == pytest.approx(to_come[least])


def test_movement_is_counted_in_doublings_whatever_the_step_before_was():
    losses = {20: [1, 2, 3, 4, 6], 40: [1, 2, 3, 4, 5], 160: [1, 2, 3, 4, 4]}
    found = outlook(table(losses), 160, 640, "c0")  # since step 40, a fourth: a factor of 4 is left
    assert found.since == 40
    moved = (np.array(losses[160]) - losses[40]).astype(float)
    assert any(found.to_come == pytest.approx(each) for each in without_each(moved))


def test_a_ranking_that_is_right_from_the_start_is_clear():
    found = outlook(coming_to_rest([1.0, 1.1, 1.2, 1.3, 1.4], [0.5] * 5), 100, 400, "c0")
    assert found.is_apart
    assert found.is_clear
    assert found.forecast == "c0"


def test_a_ranking_that_is_only_the_first_one_is_not():
    # rankings up to 100 all agree, and the end turns them round
    ends, heights = [1.4, 1.3, 1.2, 1.1, 1.0], [10, 40, 70, 100, 130]
    curves = coming_to_rest(ends, heights)
    assert (curves.at(50).argsort() == curves.at(25).argsort()).all()
    assert not outlook(curves, 100, 10_000, "c0").is_clear


@pytest.mark.parametrize(("moved", "is_apart"), [(0.49, True), (0.51, False)])
def test_far_enough_apart_is_twice_the_movement_that_is_still_to_come(moved, is_apart):
    # one doubling of the steps is left: losses move once more as they did from step 50 to 100
    losses = np.linspace(1.0, 2.0, 9)
    before = losses + moved * (losses - losses.mean())
    found = outlook(table({0: before, 50: before, 75: before, 100: losses}), 100, 200, "c0")
    assert found.to_come == pytest.approx(moved * found.apart)
    assert found.is_apart is is_apart


def test_who_is_forecast_to_be_overtaken_is_no_clear_leader():
    curves = coming_to_rest([1.00, 1.01, 1.5, 1.8, 2.0], [5.0, 6.2, 5.0, 5.0, 5.0])
    found = outlook(curves, 100, 200, "c1")
    assert found.is_apart
    assert found.forecast == "c0"
    assert not found.is_clear


def test_one_that_is_far_worse_makes_no_ranking_clear():
    close = [1.0, 1.001, 1.002, 1.003, 1.004]
    heights = [0.3, 0.1, 0.2, 0.5, 0.0]
    alone = outlook(coming_to_rest(close, heights), 100, 400, "c0")
    beside = outlook(coming_to_rest([*close, 9.0], [*heights, 0.2]), 100, 400, "c0")
    assert not alone.is_apart
    assert not beside.is_apart
    assert beside.apart < 0.01


def test_at_completion_nothing_is_to_come():
    curves = coming_to_rest([1.0, 1.1, 1.2, 1.3, 1.4], [5, 40, 3, 70, 1])
    found = outlook(curves, 100, 100, "c0")
    assert found.to_come == 0
    assert found.is_clear


def test_equal_candidates_are_never_apart():
    found = outlook(table(dict.fromkeys(STEPS, [2.0] * 6)), 100, 400, "c0")
    assert found.apart == found.to_come == 0
    assert not found.is_apart


def test_too_little_to_tell():
    few = {step: np.arange(FEWEST - 1) for step in STEPS}
    assert outlook(table(few), 100, 400, "c0") is None
    late = {step: np.arange(6.0) for step in (0, 60, 80, 100)}
    assert outlook(table(late), 100, 400, "c0") is None  # nothing up to half but growth itself
    sparse = {step: np.arange(6.0) for step in (0, 50, 100)}
    found = outlook(table(sparse), 100, 400, "c0")
    assert found.forecast is None  # two evaluations are a line, not a forecast
    assert not found.is_clear


def test_later_steps_are_not_looked_at():
    losses = {step: np.arange(6.0) / 10 for step in STEPS}
    known = outlook(table(losses), 100, 400, "c0")
    assert outlook(table({**losses, 200: np.arange(6.0)[::-1]}), 100, 400, "c0") == known


def test_a_shift_that_all_share_changes_nothing():
    generator = np.random.default_rng(5)
    losses = {step: generator.normal(2, 0.1, 7) for step in STEPS}
    shifted = {step: each + generator.normal() for step, each in losses.items()}
    one, other = (outlook(table(each), 100, 800, "c0") for each in (losses, shifted))
    assert other.apart == pytest.approx(one.apart)
    assert other.to_come == pytest.approx(one.to_come)
