"""Forecasts against the regression of differences by scipy, and races on them."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from test_strategies import measured

from lagsearch.selection import Choice, LossTable, Order, SearchSettings, decide
from lagsearch.selection.forecast import expected_regret, forecasts, regret_after

STEPS = (0, 5, 10, 20, 30, 40)
END = 200


def predicted(x, y, at):
    """Return the end of a line by scipy, and what a new value there deviates by, per unit noise."""
    line = scipy.stats.linregress(x, y)
    spread = ((x - x.mean()) ** 2).sum()
    return line.intercept + line.slope * at, 1 + 1 / len(x) + (at - x.mean()) ** 2 / spread


def test_of_two_candidates_it_is_the_regression_of_their_difference():
    """The textbook's prediction interval of simple regression, for one difference."""
    losses = np.random.default_rng(1).random((2, len(STEPS), 1, 1))
    found = forecasts(LossTable.of_batches(("a", "b"), STEPS, losses), 40, END)
    x, used = 1 / np.array([10.0, 20.0, 30.0, 40.0]), [2, 3, 4, 5]
    a, b = losses[:, used, 0, 0]
    assert found["a"].loss == pytest.approx(predicted(x, a, 1 / END)[0])
    assert found["b"].loss == pytest.approx(predicted(x, b, 1 / END)[0])
    end, reach = predicted(x, b - a, 1 / END)
    line = scipy.stats.linregress(x, b - a)
    noise = ((b - a - line.intercept - line.slope * x) ** 2).sum() / (len(x) - 2)
    p_value = 2 * scipy.stats.t.sf(abs(end) / np.sqrt(noise * reach), len(x) - 2)
    worse, better = ("b", "a") if end > 0 else ("a", "b")
    assert found[worse].p_value == pytest.approx(p_value)
    assert found[better].p_value == 1.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 6))
def test_what_all_have_in_common_changes_no_difference(seed, size):
    draw = np.random.default_rng(seed)
    losses = draw.random((size, len(STEPS), 2, 3))
    names = tuple(map(str, range(size)))
    common = draw.normal(size=(1, len(STEPS), 1, 1))
    plain = forecasts(LossTable.of_batches(names, STEPS, losses), 40, END)
    moved = forecasts(LossTable.of_batches(names, STEPS, losses + common), 40, END)
    shift = moved["0"].loss - plain["0"].loss
    for name in names:
        assert moved[name].loss - plain[name].loss == pytest.approx(shift)
        assert moved[name].p_value == pytest.approx(plain[name].p_value, abs=1e-9)


def test_what_is_measured_at_completion_lies_where_it_was_forecast():
    """Of 400 pairs of curves, as often within what the tests take for noise as they claim."""
    draw = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        losses = draw.normal(size=(2, len(STEPS), 1, 1))
        found = forecasts(LossTable.of_batches(("a", "b"), STEPS, losses), 40, END)
        gap = abs(found["a"].loss - found["b"].loss)
        p_value = min(found["a"].p_value, found["b"].p_value)
        error = gap / scipy.stats.t.isf(p_value / 2, 2)
        measured_there = draw.normal() - draw.normal()
        hits.append(abs(gap - measured_there) < error * scipy.stats.t.isf(0.1, 2))
    assert np.mean(hits) == pytest.approx(0.8, abs=0.05)


def test_too_few_evaluations_forecast_nothing():
    losses = np.zeros((2, len(STEPS), 1, 1))
    table = LossTable.of_batches(("a", "b"), STEPS, losses)
    assert forecasts(table, 10, END) is None
    assert forecasts(table, 20, END) is not None
    assert forecasts(table.only(["a"]), 40, END) is None


RACE = SearchSettings(rungs=STEPS[1:], completion=END, strategy="race", evidence="forecast")


def curves(**ends):
    """Curves that come to rest as one over the step does: {name: (end, slope)}."""
    return {
        name: {step: end + slope / max(step, 1) for step in STEPS}
        for name, (end, slope) in ends.items()
    }


def test_who_is_behind_and_stays_so_is_stopped_and_who_will_overtake_is_not():
    made = measured(curves(leads=(2.0, 1.0), overtakes=(1.9, 5.0), lags=(2.5, 1.0)))
    choice = decide(made, RACE)
    assert isinstance(choice, Choice)
    assert set(choice.stopped) == {"lags"}  # "leads" is ahead of its better up to step 40
    stop = choice.stopped["lags"]
    assert (stop.step, stop.leader) == (20, "overtakes")
    assert stop.difference == pytest.approx(0.6 - 4 / END, abs=1e-6)
    assert choice.ranking[-1] == "lags"


def test_nobody_is_stopped_before_the_least_step():
    made = measured(curves(a=(2.0, 1.0), b=(2.5, 1.0), c=(2.6, 1.0)))
    until = lambda step: type(made)(made.loss.until(step))  # noqa: E731
    assert decide(until(20), RACE) == Choice(
        20, ("a", "b", "c"), decide(made, RACE).stopped, None, "alone"
    )
    later = SearchSettings(
        rungs=STEPS[1:], completion=END, strategy="race", evidence="forecast", since=30
    )
    assert decide(until(20), later) == Order(30, ("a", "b", "c"))
    assert decide(made, later).step == 30


def straight(ends, slopes, wobble=0.0):
    """Return curves that are lines over one over the step, and jump about them by turns."""
    steps = (10, 20, 30, 40)
    return LossTable.of(
        {
            f"c{row}": {
                step: [end + slope / step + wobble * (-1) ** (row + place)]
                for place, step in enumerate(steps)
            }
            for row, (end, slope) in enumerate(zip(ends, slopes, strict=True))
        }
    )


def test_where_lines_are_exact_the_regret_is_known():
    # at step 40 c0 leads by 0.02; at 400 it is behind c1: 2.0 + 0.4 / 400 against 1.97 + 2.4 / 400
    table = straight([2.0, 1.97], [0.4, 2.4])
    found = expected_regret(table, 40, 400, "c0", np.random.default_rng(0))
    regret = (2.0 + 0.4 / 400) - (1.97 + 2.4 / 400)
    assert (found.value, found.high) == pytest.approx((regret, regret), abs=1e-9)
    best = expected_regret(table, 40, 400, "c1", np.random.default_rng(0))
    assert (best.value, best.high) == pytest.approx((0, 0), abs=1e-9)


def test_more_noise_leaves_more_regret_to_expect():
    quiet, loud = (
        expected_regret(
            straight([2.0, 2.05], [1.0, 1.0], wobble), 40, 400, "c0", np.random.default_rng(0)
        )
        for wobble in (0.001, 0.02)
    )
    assert quiet.value < loud.value < loud.high


def test_at_the_final_step_only_the_noise_of_measuring_is_left():
    rng = np.random.default_rng(5)
    losses = {f"c{row}": 2.0 + 0.01 * row + rng.normal(0, 0.05, 8) for row in range(3)}
    steps = (10, 20, 30, 40)
    table = LossTable.of({name: {step: x.tolist() for step in steps} for name, x in losses.items()})
    leader = min(losses, key=lambda name: losses[name].mean())
    found = expected_regret(table, 40, 40, leader, np.random.default_rng(0))
    # the same by hand: batches drawn with replacement, as far from their mean as n / (n - 1) says
    drawn = np.random.default_rng(1).multinomial(8, [1 / 8] * 8, size=20_000) / 8
    weights = 1 / 8 + (drawn - 1 / 8) * np.sqrt(8 / 7)
    ends = weights @ np.array(list(losses.values())).T
    regret = ends[:, list(losses).index(leader)] - ends.min(axis=1)
    assert found.value == pytest.approx(regret.mean(), rel=0.1)
    assert found.high == pytest.approx(np.quantile(regret, 0.95), rel=0.1)


def test_too_few_evaluations_expect_nothing():
    table = straight([2.0, 2.1], [1.0, 1.0])
    assert expected_regret(table, 10, 400, "c0", np.random.default_rng(0)) is None


def noisy_lines(generator, jitter, steps=(10, 15, 20, 30, 40), end=400, n_candidates=8):
    """Draw lines: losses at steps, and the true ones at the end, jitter of all included."""
    slope = generator.normal(2.0, 0.3, n_candidates)
    start = generator.normal(2.0, 0.02, n_candidates)
    every = np.array([*steps, 100, end])
    true = start[:, None] + slope[:, None] / every
    seen = true + generator.normal(0, jitter, true.shape)
    table = LossTable.of(
        {
            f"c{row}": {step: [float(x)] for step, x in zip(every, seen[row], strict=True)}
            for row in range(n_candidates)
        }
    )
    return table.until(steps[-1]), seen[:, -2], seen[:, -1]


def test_a_later_choice_loses_what_is_expected_of_it():
    """Over drawn lines: choose by lines through all losses up to step 100, and see what is lost.

    What is drawn about the fitted line is what it can be wrong by: with flat beliefs of level and
    slope, which drawn lines have not, the expectation is too high, but by little where lines are
    known well.
    """
    generator = np.random.default_rng(2)
    over = -1 / np.array([10, 15, 20, 30, 40, 100, 400])
    now, then, lost = [], [], []
    for _ in range(400):
        table, at_100, end = noisy_lines(generator, 0.002)
        leader = min(table.candidates, key=lambda name: table.only([name]).at(40)[0])
        now.append(expected_regret(table, 40, 400, leader, generator).value)
        then.append(regret_after(table, 40, 400, 100, generator))
        seen = np.vstack([*(table.at(step) for step in table.steps), at_100])
        slope, level = np.polyfit(over[:-1], seen, 1)
        chosen = (level + slope * over[-1]).argmin()
        lost.append(end[chosen] - end.min())
    error = np.std(np.subtract(then, lost)) / np.sqrt(len(lost))
    assert np.mean(then) == pytest.approx(np.mean(lost), abs=3 * error + 0.1 * np.mean(lost))
    assert np.mean(then) < 0.8 * np.mean(now)


def test_the_later_the_choice_the_less_it_is_expected_to_lose():
    table, _, _ = noisy_lines(np.random.default_rng(7), 0.01)
    found = [
        regret_after(table, 40, 400, later, np.random.default_rng(0))
        for later in (41, 60, 100, 200, 400)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_where_lines_are_exact_a_later_choice_loses_nothing():
    table = straight([2.0, 1.97], [0.4, 2.4])  # at step 40 the first leads, at 400 the second
    draw = np.random.default_rng(0)
    assert regret_after(table, 40, 400, 60, draw) == pytest.approx(0, abs=1e-9)
    assert regret_after(table.until(10), 10, 400, 80, draw) is None
