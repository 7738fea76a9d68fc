"""The posterior of the ends against simulation, and the search that goes by it."""

import numpy as np
import pytest

from lagsearch.selection import Choice, LossTable, Measured, Order, SearchSettings, decide
from lagsearch.selection.posterior import GRID, ends_of
from lagsearch.selection.strategies.expected_regret import check_settings

STEPS = (10, 15, 20, 30, 45, 60, 75)
END = 240


def table_of(losses_CS, steps=STEPS):
    names = tuple(f"c{row}" for row in range(len(losses_CS)))
    return LossTable.of_batches(names, steps, np.asarray(losses_CS)[:, :, None, None])


def simulated(generator, n_candidates=14, scale=0.02):
    """Draw curves of the model, with variances of its grid: losses at STEPS, and true ends."""
    fade, walk, jitter = GRID[generator.integers(len(GRID))]
    steps = np.array([*STEPS, END]) / STEPS[-1]
    fading, since = 1 / steps - 1, np.log(steps / steps[0])
    covariance = 1 + fade**2 * np.outer(fading, fading) + walk**2 * np.minimum.outer(since, since)
    true = scale * generator.multivariate_normal(np.zeros(len(steps)), covariance, n_candidates)
    common = 3 + np.exp(-np.arange(len(STEPS)))
    seen = true[:, :-1] + generator.normal(0, jitter * scale, (n_candidates, len(STEPS))) + common
    return seen, true[:, -1]


def test_intervals_hold_as_often_as_they_say_and_regret_is_as_expected():
    generator, held, expected, actual = np.random.default_rng(0), {0.5: [], 0.9: []}, [], []
    for _ in range(300):
        seen, end = simulated(generator)
        ends = ends_of(table_of(seen), STEPS[-1], END, generator)
        drawn = ends.draws - ends.draws.mean(axis=1, keepdims=True)
        for level in held:
            low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
            held[level].append(np.mean((low <= end - end.mean()) & (end - end.mean() <= high)))
        expected.append(ends.regret)
        actual.append(end[ends.candidates.index(ends.leader)] - end.min())
    assert np.mean(held[0.5]) == pytest.approx(0.5, abs=0.04)
    assert np.mean(held[0.9]) == pytest.approx(0.9, abs=0.025)
    error = np.std(np.subtract(expected, actual)) / np.sqrt(len(actual))
    assert np.mean(expected) == pytest.approx(np.mean(actual), abs=3 * error)


def test_the_mean_is_the_regression_of_the_end_on_what_was_seen(monkeypatch):
    """With one point on the grid it is the conditional mean of a normal vector."""
    point = np.array([[0.3, 0.55, 0.1]])
    monkeypatch.setattr("lagsearch.selection.posterior.GRID", point)
    seen, _ = simulated(np.random.default_rng(3), 6)
    fade, walk, jitter = point[0]
    steps = np.array([*STEPS, END]) / STEPS[-1]
    fading, since = 1 / steps - 1, np.log(steps / steps[0])
    whole = 1 + fade**2 * np.outer(fading, fading) + walk**2 * np.minimum.outer(since, since)
    known = whole[:-1, :-1] + jitter**2 * np.eye(len(STEPS))
    centred = seen - seen.mean(axis=0)
    wanted = centred @ np.linalg.inv(known) @ whole[:-1, -1]
    ends = ends_of(table_of(seen), STEPS[-1], END, np.random.default_rng(0))
    scale = np.sqrt(np.trace(centred @ np.linalg.inv(known) @ centred.T) / (5 * len(STEPS)))
    variance = whole[-1, -1] - whole[:-1, -1] @ np.linalg.inv(known) @ whole[:-1, -1]
    error = scale * np.sqrt(variance)
    assert ends.draws.mean(axis=0) == pytest.approx(wanted, abs=4 * error / np.sqrt(2000))
    assert ends.draws.std(axis=0) == pytest.approx(np.full(6, error), rel=0.07)
    assert ends.jitter == pytest.approx(scale * jitter)


def test_too_little_says_nothing():
    seen, _ = simulated(np.random.default_rng(0))
    generator = np.random.default_rng(0)
    assert ends_of(table_of(seen[:1]), STEPS[-1], END, generator) is None
    assert ends_of(table_of(seen), STEPS[1], END, generator) is None  # two steps
    assert ends_of(table_of(np.ones((4, len(STEPS)))), STEPS[-1], END, generator) is None


def settings(**own):
    return SearchSettings(STEPS, END, strategy="expected_regret", own=own)


def apart(gaps, jitter=1e-4, seed=0):
    """Return curves that keep their distance."""
    draw = np.random.default_rng(seed)
    noise = draw.normal(0, jitter, (len(gaps), len(STEPS)))
    return table_of(np.array(gaps)[:, None] + 3 + np.exp(-np.arange(len(STEPS))) + noise)


def test_what_cannot_gain_is_let_go_and_never_the_leader():
    table = apart([0.0, 0.001, 0.002, 5.0, 6.0])
    found = decide(Measured(table), settings(budget=1.0, tolerance=0.5))
    assert isinstance(found, Choice)
    assert {"c3", "c4"} <= {*found.stopped} and "c0" not in found.stopped
    assert found.stopped["c4"].step <= found.stopped["c3"].step < found.step
    assert found.ranking[-2:] == ("c3", "c4")


def test_the_budget_bounds_what_is_spent():
    table = apart([0.0, 0.001, 0.002, 0.003, 0.004], jitter=3e-3)
    for budget in (0.25, 0.32, 0.4, 0.5, 1.0):
        found = decide(Measured(table), settings(budget=budget, tolerance=1e-6))
        spent = sum(
            found.stopped[name].step if name in found.stopped else found.step
            for name in table.candidates
        )
        assert (spent + END - found.step) / (5 * END) <= budget or found.step == STEPS[0]
    assert found.step == STEPS[-1]


def test_a_wider_tolerance_ends_no_later():
    table = apart([0.0, 0.01, 0.02, 0.03, 0.04], jitter=3e-3)
    ends = [
        decide(Measured(table), settings(budget=1.0, tolerance=tolerance)).step
        for tolerance in (0.01, 1.0, 100.0)
    ]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > ends[-1]


def test_it_looks_at_nothing_that_a_rung_cannot_know():
    whole = apart([0.0, 0.001, 0.002, 0.5, 5.0], jitter=3e-3)
    wanted = decide(Measured(whole), settings(budget=1.0))
    losses = np.full_like(whole.batches, np.nan)
    known, reached = Measured(LossTable.of_batches(whole.candidates, STEPS, losses)), 0
    while isinstance(order := decide(known, settings(budget=1.0)), Order):
        assert order.step > reached or order.candidates
        reached, column = order.step, STEPS.index(order.step)
        for name in order.candidates:
            row = whole.candidates.index(name)
            losses[row, : column + 1] = whole.batches[row, : column + 1]
        known = Measured(LossTable.of_batches(whole.candidates, STEPS, losses))
    assert order == wanted


def test_two_that_are_left_can_settle():
    found = decide(Measured(apart([0.0, 5.0])), settings(budget=1.0, tolerance=20.0))
    assert found.step < STEPS[-1]
    assert found.ranking == ("c0", "c1")


def test_settings_are_checked():
    assert not [*check_settings({"tolerance": 2, "budget": 0.5})]
    for wrong, said in (
        ({"share": 1}, "unknown key; known: tolerance, budget"),
        ({"budget": 1.5}, "1.5: must be above 0 and at most 1"),
        ({"budget": True}, "True: must be a number"),
        ({"tolerance": "small"}, "'small': must be a number"),
    ):
        [(key, message)] = check_settings(wrong)
        assert (key, message) == (next(iter(wrong)), said)
