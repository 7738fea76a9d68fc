"""Two trainings at one point, against numbers worked out by hand and by scipy."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from lagsearch.selection import compare_losses, losses_when_spent, on_first

SPENT = [0, 10, 40, 160]
LOSSES = np.array([[5.0, 6.0], [4.0, 4.0], [3.0, 2.0], [2.0, 1.0]])


def test_where_an_evaluation_is_it_is_taken_as_it_is():
    for spent, losses in zip(SPENT, LOSSES, strict=True):
        assert losses_when_spent(SPENT, LOSSES, spent).tolist() == losses.tolist()


def test_between_them_it_lies_on_a_line_over_the_logarithm():
    """20 is half way from 10 to 40 on the logarithm, 80 half way from 40 to 160."""
    assert losses_when_spent(SPENT, LOSSES, 20) == pytest.approx([3.5, 3.0])
    assert losses_when_spent(SPENT, LOSSES, 80) == pytest.approx([2.5, 1.5])


def test_of_evaluations_with_fewer_batches_the_first_ones_keep_the_mean_of_all():
    """Of 3 and 1 the first is moved to their mean, 2; half way from 40 to 160 there is 4 to it."""
    assert on_first([3.0, 1.0], 1).tolist() == [2.0]
    assert on_first([3.0, 1.0], 2).tolist() == [3.0, 1.0]
    few = [*LOSSES[:2], np.array([4.0]), np.array([3.0, 1.0])]
    assert losses_when_spent(SPENT, few, 40).tolist() == [4.0]
    assert losses_when_spent(SPENT, few, 80) == pytest.approx([3.0])


def test_from_nothing_on_it_lies_on_a_line():
    assert losses_when_spent(SPENT, LOSSES, 2.5) == pytest.approx([4.75, 5.5])


@pytest.mark.parametrize("at", [161, -1])
def test_outside_of_what_is_known_there_is_nothing(at):
    assert losses_when_spent(SPENT, LOSSES, at) is None


def test_a_growth_that_begins_above_the_budget_has_nothing_there():
    assert losses_when_spent([50, 60], LOSSES[:2], 40) is None


def test_of_one_seed_the_batches_are_the_pairs():
    generator = np.random.default_rng(4)
    first = 2 + generator.normal(0, 0.3, 12)
    second = first + 0.02 + generator.normal(0, 0.04, 12)
    found = compare_losses(first[None], second[None])
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))
    assert found.p_value == pytest.approx(ttest_rel(first, second).pvalue)
    back = compare_losses(second[None], first[None])
    assert (back.first, back.second, back.p_value) == (found.second, found.first, found.p_value)


def test_seeds_that_agree_change_nothing_and_such_that_do_not_leave_it_open():
    generator = np.random.default_rng(5)
    first = 2 + generator.normal(0, 0.3, 12)
    second = first + 0.02 + generator.normal(0, 0.02, 12)
    pair = np.repeat(first[None], 3, axis=0), np.repeat(second[None], 3, axis=0)
    sure = compare_losses(*pair).p_value
    assert sure == pytest.approx(ttest_rel(first, second).pvalue)
    apart = compare_losses(pair[0], pair[1] + np.array([[0.3], [-0.3], [0.0]])).p_value
    assert sure < 0.05 < 0.5 < apart


def test_of_one_measurement_each_nothing_is_told():
    assert compare_losses(np.array([[2.0]]), np.array([[1.0]])).p_value is None
