"""Means of a few repeats, against scipy and a simulation of known truth."""

import numpy as np
import pytest
from scipy import stats

from lagsearch.selection.spread import mean_of


def test_the_interval_is_students():
    values = [1.5, 1.7, 1.2]
    found = mean_of(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert found.n == 3


def test_one_value_has_no_interval():
    assert mean_of([2.0]) == type(mean_of([2.0]))(2.0, None, None, 1)


def test_it_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    found = [mean_of(generator.normal(3.0, 0.4, 3)) for _ in range(4000)]
    covered = np.mean([each.low <= 3.0 <= each.high for each in found])
    assert covered == pytest.approx(0.95, abs=0.012)
