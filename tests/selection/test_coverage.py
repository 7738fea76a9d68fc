"""Intervals, sets and probabilities hold the truth as often as they claim, where it is known.

A small part of the grid of tests/benchmarks/coverage.py, with the numbers of the whole one.
"""

import importlib.util
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from finished import once

FILE = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
RUNS = 80


@pytest.fixture(scope="session")
def benchmark():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", FILE)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="session")
def simulated(home, benchmark):
    """Of each number: whether the interval holds it, its width, the cell's ratio and agreement."""
    folder = once("coverage", lambda folder: np.savez(folder / "rows.npz", **simulate(benchmark)))
    return np.load(folder / "rows.npz")


def simulate(benchmark):
    cells = [
        benchmark.Cell(kind, candidates, seeds, batches, ratio, agreement)
        for kind, candidates, seeds, batches in (
            ("normal", 5, 1, 32),
            ("normal", 16, 3, 8),
            ("even", 16, 1, 8),
            ("even", 5, 5, 8),
        )
        for ratio in (0.7, 2.0, 5.0)
        for agreement in (0.0, 1.0)
    ]
    found = defaultdict(list)
    for cell in cells:
        for name, pairs in benchmark.measure(cell, RUNS, resamples=200).items():
            found[name] += [(*pair, cell.ratio, cell.agreement) for pair in pairs]
    return {name: np.array(rows, float) for name, rows in found.items()}


@pytest.mark.parametrize(
    "name",
    ["spearman", "pearson", "regret", "relative_regret", "rank", "rank of the winner"],
)
def test_intervals_of_95_percent(simulated, name):
    """At least 92 % overall, at each ratio of signal to noise, and whether steps agree or not."""
    rows = simulated[name]
    assert rows[:, 0].mean() >= 0.95
    for column in (2, 3):
        for value in np.unique(rows[:, column]):
            assert rows[rows[:, column] == value, 0].mean() >= 0.92, (column, value)


@pytest.mark.parametrize(
    ("name", "widest"),
    [("spearman", 0.5), ("pearson", 0.35), ("relative_regret", 0.3), ("rank", 0.3)],
)
def test_intervals_say_something_where_losses_do(simulated, name, widest):
    """Mean widths at a signal of five standard errors, where correlations span 2, the others 1."""
    rows = simulated[name]
    assert rows[rows[:, 2] == 5.0, 1].mean() < widest


def test_the_winner_and_its_equals_hold_the_best(simulated):
    rows = simulated["set of the best"]
    for ratio in np.unique(rows[:, 2]):
        assert rows[rows[:, 2] == ratio, 0].mean() >= 0.97
    assert rows[rows[:, 2] == 5.0, 1].mean() < 0.45


def test_the_probability_to_be_best_is_one(simulated):
    rows = simulated["p_best of the winner"]
    for ratio in np.unique(rows[:, 2]):
        happened, said = rows[rows[:, 2] == ratio, :2].mean(axis=0)
        assert said == pytest.approx(happened, abs=0.06)


def test_shares_of_recall_are_no_promise_but_order_the_cases(simulated):
    """Noise hides the best, so that the share is rather too small than too large."""
    rows = simulated["recall@1"]
    sure, unsure = rows[rows[:, 1] > 0.8], rows[rows[:, 1] < 0.2]
    assert sure[:, 0].mean() > 0.85
    assert unsure[:, 0].mean() < 0.45
    assert rows[:, 1].mean() <= rows[:, 0].mean() + 0.02


@pytest.mark.parametrize(("candidates", "seeds"), [(5, 1), (16, 1), (5, 3), (16, 5)])
def test_a_candidate_as_good_as_the_best_is_seldom_left_out(benchmark, candidates, seeds):
    outside, _ = benchmark.equal(candidates, seeds, 8, 300)
    assert outside <= 0.05
