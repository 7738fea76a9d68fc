"""The interval of a mean: against Clopper and Pearson, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from lagsearch.selection import mean_interval

POPULATIONS = {
    "even": (lambda draw, size: draw.normal(0.4, 0.1, size).clip(0, 1), 0.4),
    "skewed": (lambda draw, size: draw.beta(0.5, 3, size), 1 / 7),
    "many zeros": (lambda draw, size: (draw.random(size) < 0.5) * draw.beta(1, 3, size), 1 / 8),
    "ones and zeros": (lambda draw, size: (draw.random(size) < 0.1) * 1.0, 0.1),
}


@pytest.mark.parametrize(("ones", "size"), [(0, 4), (1, 5), (3, 10), (10, 10)])
def test_of_ones_and_zeros_it_is_the_exact_binomial_interval(ones, size):
    found = mean_interval([1.0] * ones + [0.0] * (size - ones), np.random.default_rng(0))
    exact = binomtest(ones, size).proportion_ci(0.95, "exact")
    assert found == pytest.approx([exact.low, exact.high], abs=0.01)


@pytest.mark.parametrize("runs", [3, 5, 10])
@pytest.mark.parametrize("kind", POPULATIONS)
def test_it_holds_the_mean_as_often_as_it_says(kind, runs):
    population, mean = POPULATIONS[kind]
    draw = np.random.default_rng([runs, *kind.encode()])
    held = []
    for _ in range(250):
        low, high = mean_interval(population(draw, runs).tolist(), draw)
        held.append(low <= mean <= high)
    assert np.mean(held) >= 0.95


def test_more_values_make_it_narrower_and_the_value_lies_in_it():
    few, many = (
        mean_interval([0.1, 0.2, 0.3] * times, np.random.default_rng(1)) for times in (1, 10)
    )
    assert few[0] < many[0] < 0.2 < many[1] < few[1]


def test_one_value_has_none_and_others_are_refused():
    assert mean_interval([0.3], np.random.default_rng(0)) is None
    with pytest.raises(ValueError, match="values must be from 0 to 1"):
        mean_interval([0.3, 1.2], np.random.default_rng(0))
