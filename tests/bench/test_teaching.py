"""What a benchmark teaches, against computations by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lagsearch.bench.design import designs
from lagsearch.bench.figures import RunFigures, figures_of
from lagsearch.bench.pictures import bench_sheets
from lagsearch.bench.teaching import (
    asked_for,
    budgets_of,
    fares_of,
    prior_alone,
    priors_of,
    taught_by,
    ties_by_prior,
)
from lagsearch.records.benchmark import load_benchmark
from lagsearch.replay.replay import Recording
from lagsearch.report.pictures.picture import Points
from lagsearch.selection import LossTable, Measured, SearchSettings
from lagsearch.selection.taught import AtBudget, Fares, Taught, taught

STEPS = (0, 6, 12, 24, 36, 60, 80, 120, 180, 240)
END = STEPS[-1]


def figures(places, labels, floor=0.05, name="run"):
    return RunFigures(name, len(places), 2, None, 1.0, 0.1, floor, {}, places, labels, None, {})


def recorded(losses_CS):
    """Return a recording of one seed; two batches that agree, so that nothing is tied."""
    names = tuple(f"c{row}" for row in range(len(losses_CS)))
    table = LossTable.of_batches(names, STEPS, np.repeat(losses_CS[:, :, None, None], 2, axis=3))
    final = dict(zip(names, losses_CS[:, -1].tolist(), strict=True))
    return Recording("run", 0, Measured(table), final, SearchSettings((60,), END), {})


def random_run(seed, n=12):
    draw = np.random.default_rng(seed)
    return recorded(3 + np.cumsum(draw.normal(0, 0.01, (n, len(STEPS))), axis=1))


def test_kinds_fare_as_their_forms_do_run_by_run():
    one = figures(
        {"a": (0.0, 0.6), "b": (0.5, 1.0), "c": (1.0, 0.0)}, {"a": "x", "b": "x", "c": "y"}
    )
    two = figures({"a": (0.2, 0.4), "c": (1.0, 1.0)}, {"a": "x", "c": "y"})
    found = fares_of([one, two])
    assert list(found) == ["y", "x"]  # the one that ends best first: 0.5 against 0.6
    # x: (0.25, 0.8) and (0.2, 0.4); a form led in both runs, and ended behind in the first
    assert found["x"] == Fares(2, 0.225, 0.6, 2, 1)
    assert found["y"] == Fares(2, 1.0, 0.5, 0, 0)


def test_at_each_budget_regret_and_gain_are_means_over_runs():
    runs = [[random_run(seed)] for seed in range(5)]
    at = budgets_of(runs)["LAG"][0.3]
    # 0.3 x 12 - 1 = 2.6; 2.6 x 240 / 11 = 56.7: evaluated last at 36
    regrets = []
    for [run] in runs:
        final = np.array(list(run.final.values()))
        early = run.measured.loss.at(36)
        regrets.append((final[early.argmin()] - final.min()) / np.ptp(final))
    assert at.runs == 5 and at.gain == 0 and at.p_value == 1
    assert at.regret == pytest.approx(np.mean(regrets), abs=1e-4)
    assert at.cost == pytest.approx((12 * 36 + 240 - 36) / (12 * 240), abs=1e-4)
    half = budgets_of(runs)["finalists: half, to half"][0.4]
    lag = budgets_of(runs)["LAG"][0.4]
    assert half.gain == pytest.approx(lag.regret - half.regret, abs=2e-4)


def test_what_a_budget_chooses_is_counted_and_set_beside_lag(monkeypatch):
    grid = {0.3: AtBudget(5, 0.3, 0.1, 0, 1, 0.0, 1.0)}
    better = {0.3: AtBudget(5, 0.3, 0.1, 0, 1, 0.1, 1.0)}
    rows = {"LAG": grid, "finalists: quarter, to half": better}
    known = Taught(5, rows, {}, {}, rows, {})
    monkeypatch.setattr("lagsearch.selection.taught.taught", lambda: known)
    every = [[random_run(seed)] for seed in range(5)]
    shown = [figures({}, {}, floor) for floor in (0.1, None, 0.2, 0.3, None)]
    found = asked_for(every, shown, 0.3)
    table = budgets_of(every)
    at = table["finalists: quarter, to half"][0.3]
    assert found.chosen == {"finalists: quarter, to half": 5}
    assert found.regret == pytest.approx(at.regret, abs=1e-4)
    assert found.standard - found.regret == pytest.approx(at.gain, abs=1e-4)
    known_runs = [budgets_of([every[row]])["finalists: quarter, to half"][0.3] for row in (0, 2, 3)]
    ratio = np.mean([each.regret for each in known_runs]) / 0.2
    assert found.in_noise == pytest.approx(ratio, abs=1e-3)
    assert asked_for(every, shown, 0.05) is None


def test_a_prior_of_the_other_runs_breaks_ties():
    """Losses at K are tied within noise; the kind that ends best elsewhere is the better choice."""
    draw = np.random.default_rng(0)
    runs, shown = [], []
    for _ in range(4):
        losses = np.tile([[3.0], [3.001], [3.1]], (1, len(STEPS)))
        losses[:, -1] = [2.0, 1.0, 1.5]
        one = recorded(losses)
        noise = draw.normal(0, 0.05, (3, len(STEPS), 1, 8))
        noise -= noise.mean(axis=3, keepdims=True)
        table = LossTable.of_batches(("c0", "c1", "c2"), STEPS, losses[:, :, None, None] + noise)
        runs.append([replace(one, measured=Measured(table))])
        places = {"c0": (0.0, 1.0), "c1": (0.5, 0.0), "c2": (1.0, 0.5)}
        shown.append(figures(places, {"c0": "x", "c1": "y", "c2": "z"}))
    found = ties_by_prior(runs, shown, priors_of(shown))
    assert (found.regret, found.standard) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert (found.wins, found.losses) == (4, 0)
    assert prior_alone(runs, priors_of(shown)) == pytest.approx(0.0)
    assert prior_alone(runs, [{"c0": 0.1}] * 4) == pytest.approx(1.0)  # others: in the middle
    assert prior_alone(runs, [{}] * 4) == pytest.approx(0.5)  # any of them
    growths = {"x": Fares(9, 0.5, 0.1, 0, 0), "y": Fares(9, 0.5, 0.9, 0, 0)}
    other = ties_by_prior(runs, shown, priors_of(shown, growths))
    assert (other.regret, other.wins, other.losses) == pytest.approx((1.0, 0, 0), abs=1e-9)


def test_figures_show_every_search_and_the_kinds_that_were_in_most_runs():
    labels = {f"k{row:02}": f"kind {row:02}" for row in range(20)}
    few = dict(list(labels.items())[:16])
    runs = [
        figures({name: (0.5, 0.5) for name in names}, names, name=name)
        for names, name in ((labels, "a"), (few, "b"))
    ]
    at = {share: type("At", (), {"relative_regret": 0.1})() for share in (0, 0.05, 0.1, 0.2, 1 / 3)}
    runs = [replace(each, at=at) for each in runs]
    budgets = budgets_of([[random_run(seed)] for seed in range(3)])
    choice, _, operators = bench_sheets(
        runs, budgets, budgets
    )  # runs of no design: no settings to group by
    names = {shape.name for shape in choice.pictures[0].shapes}
    assert names == {*budgets, "noise floor"}
    [early, final] = operators.pictures[0].shapes
    assert isinstance(early, Points) and set(early.x) == set(few.values()) == set(final.x)
    design = designs()[0]
    named = [replace(runs[0], name=design.name), *runs]
    *_, transitions = bench_sheets(named, budgets, budgets)
    [points] = transitions.pictures[0].shapes
    assert [*points.x] == [f"{design.rate} (0 of 1)"]


COMMITTED = Path(__file__).parents[2] / "reports" / "bench"


@pytest.mark.slow
def test_what_is_packaged_is_what_the_halves_teach():
    halves = (load_benchmark(COMMITTED, half) for half in ("choice", "test"))
    assert taught_by(*halves) == taught()


def test_growths_fare_as_the_half_choice_has_them():
    benchmark = load_benchmark(COMMITTED, "choice")
    assert fares_of([figures_of(benchmark, name) for name in benchmark.runs]) == taught().growths


def test_every_run_of_the_half_choice_is_recorded():
    designed = {each.name for each in designs() if each.half == "choice"}
    assert {*load_benchmark(COMMITTED, "choice").runs} == designed
    assert taught().runs == len(designed)
