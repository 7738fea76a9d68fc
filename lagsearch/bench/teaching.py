"""What a benchmark teaches: which search is best at a budget, and how kinds of growths fare."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lagsearch.bench.figures import RunFigures, figures_of, why_left_out
from lagsearch.bench.strategies import max_t
from lagsearch.records.benchmark import Benchmark
from lagsearch.replay.budgets import BUDGETS, budgeted_searches, replay_within
from lagsearch.replay.replay import Recording, recordings_of
from lagsearch.selection import BudgetedSearch, mean_interval
from lagsearch.selection.taught import STANDARD, AtBudget, Fares, Taught
from lagsearch.storage.files import derive_seed

DIGITS = 4
"""Of figures."""
QUARTER, HALF = 0.25, 0.5
"""Places: those up to the first lead, those above the second are behind."""


def taught_by(benchmark: Benchmark) -> Taught:
    """Return what the runs of a benchmark teach."""
    names = [each for each in benchmark.runs if why_left_out(benchmark.searched(each)) is None]
    every = [recordings_of(benchmark.searched(name), benchmark.path / name) for name in names]
    figures = [figures_of(benchmark, name) for name in names]
    return Taught(len(names), budgets_of(every), fares_of(figures))


def budgets_of(every: Sequence[Sequence[Recording]]) -> dict[str, dict[float, AtBudget]]:
    """Return what each search comes to at each budget.

    Args:
        every: The recordings of each run, one for each seed.
    """
    found: dict[str, dict[float, AtBudget]] = {}
    for budget in BUDGETS:
        rows = {
            search.title: [_mean_of_seeds(run, strategy, search, budget) for run in every]
            for strategy, search in budgeted_searches()
        }
        standard = rows[STANDARD]
        for title, row in rows.items():
            both = [
                (own, other)
                for own, other in zip(row, standard, strict=True)
                if own is not None and other is not None
            ]
            if both:
                found.setdefault(title, {})[budget] = _at_budget(both)
    return found


def _mean_of_seeds(
    run: Sequence[Recording], strategy: str, search: BudgetedSearch, budget: float
) -> tuple[float, float] | None:
    outcomes = [replay_within(each, strategy, search, budget) for each in run]
    if any(each is None for each in outcomes):
        return None
    rows = [(each.cost, each.relative_regret) for each in outcomes if each is not None]
    cost, regret = np.mean(rows, axis=0).tolist()
    return cost, regret


def _at_budget(both: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> AtBudget:
    own_R2, other_R2 = np.array(both).swapaxes(0, 1)
    regrets_R = own_R2[:, 1]
    gains_R = other_R2[:, 1] - regrets_R
    generator = np.random.default_rng(derive_seed(0, "bench", "interval"))
    low, high = mean_interval(regrets_R.tolist(), generator) or (np.nan, np.nan)
    p_value = float(max_t(-gains_R[None])[0])
    numbers = (own_R2[:, 0].mean(), regrets_R.mean(), low, high, gains_R.mean(), p_value)
    return AtBudget(len(both), *(round(float(each), DIGITS) for each in numbers))


def fares_of(runs: Sequence[RunFigures]) -> dict[str, Fares]:
    """Return how each kind of growth fares, the one that ends best first."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for each in runs:
        kinds: dict[str, list[tuple[float, float]]] = {}
        for name, places in each.places.items():
            kinds.setdefault(each.labels[name], []).append(places)
        for label, places_F2 in kinds.items():
            found.setdefault(label, []).append(np.array(places_F2))
    rows = {label: _fares(every) for label, every in found.items()}
    return dict(sorted(rows.items(), key=lambda row: row[1].final))


def _fares(every: Sequence[NDArray[np.float64]]) -> Fares:
    early, final = np.mean([places_F2.mean(axis=0) for places_F2 in every], axis=0).tolist()
    leads = [places_F2[:, 0] <= QUARTER for places_F2 in every]
    behind = [
        bool((places_F2[is_ahead, 1] > HALF).any())
        for places_F2, is_ahead in zip(every, leads, strict=True)
    ]
    return Fares(
        runs=len(every),
        early=round(early, DIGITS),
        final=round(final, DIGITS),
        leads_early=sum(bool(each.any()) for each in leads),
        ends_behind=sum(behind),
    )
