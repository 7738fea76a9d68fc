"""Searches within a budget: what they cost by hand, and which one the benchmark speaks for."""

from math import ceil

import numpy as np
import pytest

from lagsearch.replay.budgets import budgeted_searches, replay_within
from lagsearch.replay.replay import Recording
from lagsearch.selection import LossTable, Measured, SearchSettings
from lagsearch.selection.taught import AtBudget, Taught, search_within, taught

SIZES = [(n, end) for n in (2, 3, 7, 14, 40) for end in (12, 240, 1000)]
SHARES = (0.12, 0.2, 0.3, 0.41, 0.75, 1.0)


def cost(keys, n, end):
    """Return what is trained, step by step, as a share of training all."""
    lag, cut = keys["lag"], keys.get("cut", keys["lag"])
    kept = {"half": ceil(n / 2), "third": ceil(n / 3), "quarter": ceil(n / 4)}.get(
        keys.get("keep"), n
    )
    return (n * cut + kept * (lag - cut) + (end - lag)) / (n * end)


@pytest.mark.parametrize(("n", "end"), SIZES)
@pytest.mark.parametrize("share", SHARES)
def test_a_search_costs_what_the_budget_pays_for_and_not_a_step_less(n, end, share):
    for strategy, search in budgeted_searches():
        keys = search.keys(share, n, end)
        if keys is None:
            continue
        assert 1 <= keys["lag"] <= end
        if strategy == "expected_regret":
            assert keys["settings"] == {"budget": share}
            continue
        assert cost(keys, n, end) <= share + 1e-9
        later = {**keys, "cut" if "cut" in keys else "lag": keys.get("cut", keys["lag"]) + 1}
        if keys["lag"] < end and later.get("cut", 0) < keys["lag"]:
            assert cost(later, n, end) > share


def test_a_budget_that_does_not_pay_for_a_step_of_search_has_none():
    for _, search in budgeted_searches():
        assert search.keys(0.2, 5, 1000) is None  # the winner's own training
        assert search.keys(0.9, 1, 1000) is None


def recorded(seed=0, n=12, end=240):
    draw = np.random.default_rng(seed)
    steps = (0, 6, 12, 18, 24, 36, 48, 60, 72, 80, 96, 120, 144, 180, 240)
    losses = 3 - 0.1 * np.log1p(steps) + np.cumsum(draw.normal(0, 0.01, (n, len(steps))), axis=1)
    table = LossTable.of_batches(
        tuple(f"c{row}" for row in range(n)), steps, losses[:, :, None, None]
    )
    final = dict(zip(table.candidates, losses[:, -1].tolist(), strict=True))
    return Recording("run", 0, Measured(table), final, SearchSettings((60,), end), {})


def test_replays_stay_within_the_budget_and_choose_as_it_says():
    run = recorded()
    for budget in (0.2, 0.3, 0.5):
        for strategy, search in budgeted_searches():
            found = replay_within(run, strategy, search, budget)
            assert found is None or found.cost <= budget + 1e-9
    searches = {search.title: (name, search) for name, search in budgeted_searches()}
    # by hand: (0.3 x 12 - 1) x 240 / 11 = 56.7, evaluated last at 48
    found = replay_within(run, *searches["LAG"], 0.3)
    losses = run.measured.loss.at(48)
    final = np.array(list(run.final.values()))
    assert found.cost == pytest.approx((12 * 48 + 240 - 48) / (12 * 240))
    regret = (final[losses.argmin()] - final.min()) / np.ptp(final)
    assert found.relative_regret == pytest.approx(regret)
    # half until 120, from (0.45 x 12 x 240 - 120 - 6 x 120) / 6 = 76: evaluated last at 72
    found = replay_within(run, *searches["finalists: half, to half"], 0.45)
    kept = np.argsort(run.measured.loss.at(72))[:6]
    chosen = kept[run.measured.loss.at(120)[kept].argmin()]
    assert found.cost == pytest.approx((6 * 72 + 6 * 120 + 120) / (12 * 240))
    assert found.relative_regret == pytest.approx((final[chosen] - final.min()) / np.ptp(final))


@pytest.fixture
def known(monkeypatch):
    """Let the benchmark have taught something else."""

    def know(gains, runs=10):
        rows = {
            title: {
                budget: AtBudget(count, budget, 0.1, 0.0, 0.2, gain, 0.5)
                for budget, (gain, count) in row.items()
            }
            for title, row in gains.items()
        }
        monkeypatch.setattr(
            "lagsearch.selection.taught.taught", lambda: Taught(runs, rows, rows, {}, rows, rows)
        )

    return know


def test_the_search_that_gained_most_about_a_budget_is_chosen(known):
    flat = {0.2: (0.0, 10), 0.3: (0.0, 10), 0.4: (0.0, 10)}
    half = {0.2: (-0.3, 10), 0.3: (0.2, 10), 0.4: (0.0, 10)}
    quarter = {0.2: (0.1, 10), 0.3: (0.1, 10), 0.4: (0.1, 10)}
    rows = {"LAG": flat, "finalists: half, to half": half, "finalists: quarter, to half": quarter}
    known(rows)
    found = search_within(0.3, 20, 1000)
    assert (found.title, found.strategy) == ("finalists: quarter, to half", "finalists")
    assert found.keys == {"lag": 500, "cut": 200, "keep": "quarter"}
    assert search_within(0.3, 20, 1000, among=["LAG"]).keys["lag"] == 263
    assert search_within(0.04, 20, 1000) is None


def test_what_few_runs_could_do_at_a_budget_is_not_chosen_there(known):
    flat = {0.2: (0.0, 10), 0.3: (0.0, 10)}
    known({"LAG": flat, "finalists: quarter, to half": {0.2: (0.5, 4), 0.3: (0.5, 5)}})
    assert search_within(0.3, 20, 1000).title == "finalists: quarter, to half"
    assert search_within(0.21, 20, 1000).title == "LAG"


def test_another_signal_is_not_changed(known):
    flat = {0.3: (0.0, 10)}
    known({"LAG": flat, "LAG by trend": {0.3: (1.0, 10)}, "expected regret": {0.3: (1.0, 10)}})
    assert search_within(0.3, 20, 1000).title in ("LAG by trend", "expected regret")
    assert search_within(0.3, 20, 1000, signal="ema").title == "LAG"


def test_what_is_packaged_is_read():
    found = taught()
    assert found.runs > 0
    assert set(found.budgets) <= {search.title for _, search in budgeted_searches()}
    assert all(at.gain == 0 for at in found.budgets["LAG"].values())
    assert all(0 <= each.final <= 1 for each in found.growths.values())


def test_what_is_told_of_a_search_is_of_runs_that_it_was_not_chosen_by():
    found = taught()
    for has_prior, judged in ((False, found.judged), (True, found.judged_with_prior)):
        known = found.known(has_prior=has_prior)
        assert {title: {*row} for title, row in judged.items()} == {
            title: {*row} for title, row in known.items()
        }
        chosen = search_within(0.3, 16, 1000, has_prior=has_prior)
        assert chosen.at == judged[chosen.title][0.3] != known[chosen.title][0.3]
