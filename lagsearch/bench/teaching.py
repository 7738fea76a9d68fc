"""What a benchmark teaches: which search is best at a budget, and how kinds of growths fare."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagsearch.bench.figures import RunFigures, figures_of, why_left_out
from lagsearch.bench.strategies import TIE, interval_over_runs, max_t
from lagsearch.records.benchmark import Benchmark
from lagsearch.replay.budgets import BUDGETS, budgeted_searches, replay_within
from lagsearch.replay.replay import Recording, lag_outcome, recordings_of
from lagsearch.selection import BudgetedSearch
from lagsearch.selection.strategies.prior import UNKNOWN
from lagsearch.selection.taught import STANDARD, AtBudget, Fares, Taught, search_within

Prior = dict[str, float]
"""Where candidates ended in other runs, by name."""
DIGITS = 4
"""Of figures."""
QUARTER, HALF = 0.25, 0.5
"""Places: those up to the first lead, those above the second are behind."""


@dataclass(frozen=True)
class RuleFigures:
    """What a rule comes to over runs, beside LAG.

    Attributes:
        cost: Mean cost, as a share of training all.
        regret: Mean relative regret.
        low: Of its interval over runs, 95 %.
        high: The same.
        in_noise: Regret over the noise floor, over the runs of several seeds; NaN without any.
        standard: LAG's mean relative regret.
        gain_low: Of the interval of what LAG gives away more, 95 %.
        gain_high: The same.
        wins: Runs in which the rule gives away less.
        losses: Runs in which it gives away more.
        p_value: Of the difference, two-sided, by flips of signs.
        chosen: How often each search was chosen, where the rule chooses among them.
    """

    cost: float
    regret: float
    low: float
    high: float
    in_noise: float
    standard: float
    gain_low: float
    gain_high: float
    wins: int
    losses: int
    p_value: float
    chosen: Mapping[str, int]


def taught_by(choosing: Benchmark, judging: Benchmark) -> Taught:
    """Return what the runs of a benchmark teach, and what that comes to in others."""
    every, runs = _compared(choosing)
    others, judges = _compared(judging)
    growths = fares_of(runs)
    return Taught(
        len(runs),
        budgets_of(every),
        budgets_of(every, priors_of(runs)),
        growths,
        budgets_of(others),
        budgets_of(others, priors_of(judges, growths)),
    )


def _compared(benchmark: Benchmark) -> tuple[list[list[Recording]], list[RunFigures]]:
    """Return the recordings, one for each seed, and figures of all runs that can be compared."""
    names = [each for each in benchmark.runs if why_left_out(benchmark.searched(each)) is None]
    every = [recordings_of(benchmark.searched(name), benchmark.path / name) for name in names]
    return every, [figures_of(benchmark, name) for name in names]


def priors_of(
    runs: Sequence[RunFigures], growths: Mapping[str, Fares] | None = None
) -> list[Prior]:
    """Return a prior for each run: where candidates are expected to end, by name.

    Args:
        runs: What they show.
        growths: How kinds of growths fare; as in all other runs here when left out.
    """
    found = []
    for run in runs:
        known = growths or fares_of([each for each in runs if each is not run])
        found.append(
            {name: known[label].expected for name, label in run.labels.items() if label in known}
        )
    return found


def budgets_of(
    every: Sequence[Sequence[Recording]], priors: Sequence[Prior] | None = None
) -> dict[str, dict[float, AtBudget]]:
    """Return what each search comes to at each budget, beside LAG without a prior.

    Args:
        every: The recordings of each run, one for each seed.
        priors: One for each run, if any.
    """
    plain = [Prior()] * len(every)
    found: dict[str, dict[float, AtBudget]] = {}
    for budget in BUDGETS:
        rows = {
            search.title: [
                _mean_of_seeds(run, strategy, search, budget, prior)
                for run, prior in zip(every, priors or plain, strict=True)
            ]
            for strategy, search in budgeted_searches()
        }
        name, lag = _searches()[STANDARD]
        standard = [_mean_of_seeds(run, name, lag, budget, Prior()) for run in every]
        for title, row in rows.items():
            both = [
                (own, other)
                for own, other in zip(row, standard, strict=True)
                if own is not None and other is not None
            ]
            if both:
                found.setdefault(title, {})[budget] = _at_budget(both)
    return found


def _searches() -> dict[str, tuple[str, BudgetedSearch]]:
    return {search.title: (name, search) for name, search in budgeted_searches()}


def _mean_of_seeds(
    run: Sequence[Recording], strategy: str, search: BudgetedSearch, budget: float, prior: Prior
) -> tuple[float, float] | None:
    outcomes = [replay_within(each, strategy, search, budget, prior) for each in run]
    if any(each is None for each in outcomes):
        return None
    rows = [(each.cost, each.relative_regret) for each in outcomes if each is not None]
    cost, regret = np.mean(rows, axis=0).tolist()
    return cost, regret


def _at_budget(both: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> AtBudget:
    own_R2, other_R2 = np.array(both).swapaxes(0, 1)
    regrets_R = own_R2[:, 1]
    gains_R = other_R2[:, 1] - regrets_R
    low, high = interval_over_runs(regrets_R.tolist())
    p_value = float(max_t(-gains_R[None])[0])
    numbers = (own_R2[:, 0].mean(), regrets_R.mean(), low, high, gains_R.mean(), p_value)
    return AtBudget(len(both), *(round(float(each), DIGITS) for each in numbers))


def asked_for(
    every: Sequence[Sequence[Recording]],
    runs: Sequence[RunFigures],
    share: float,
    priors: Sequence[Prior] | None = None,
) -> RuleFigures | None:
    """Return what `--budget` comes to, beside LAG within that budget; None where no run can.

    Args:
        every: The recordings of each run.
        runs: What each shows.
        share: The budget.
        priors: One for each run, where `search.prior` is given, too.
    """
    searches = _searches()
    rows, able, chosen = [], [], Counter[str]()
    for run, figures, prior in zip(every, runs, priors or [Prior()] * len(every), strict=True):
        found = search_within(
            share, len(run[0].names), run[0].completion, has_prior=priors is not None
        )
        if found is None:
            continue
        own = _mean_of_seeds(run, *searches[found.title], share, prior)
        other = _mean_of_seeds(run, *searches[STANDARD], share, Prior())
        if own is not None and other is not None:
            rows.append((*own, other[1]))
            able.append(figures)
            chosen[found.title] += 1
    return _beside(rows, able, chosen) if rows else None


def ties_by_prior(
    every: Sequence[Sequence[Recording]], runs: Sequence[RunFigures], priors: Sequence[Prior]
) -> RuleFigures:
    """Return what LAG at each run's K comes to where a prior breaks ties.

    Args:
        every: The recordings of each run.
        runs: What each shows.
        priors: One for each run.
    """
    rows = []
    for recordings, prior in zip(every, priors, strict=True):
        end, lag = recordings[0].completion, recordings[0].settings.rungs[-1]
        count = len(recordings[0].names)
        regrets = [
            [
                lag_outcome(each, lag, "K", prior=given).given_away.relative_regret
                for each in recordings
            ]
            for given in (prior, {})
        ]
        own, other = np.mean(regrets, axis=1).tolist()
        rows.append(((count * lag + end - lag) / (count * end), own, other))
    return _beside(rows, runs, {})


def prior_alone(every: Sequence[Sequence[Recording]], priors: Sequence[Prior]) -> float:
    """Return the relative regret of the candidate that a prior expects most of, nothing trained.

    Args:
        every: The recordings of each run.
        priors: One for each run.
    """
    regrets = []
    for recordings, prior in zip(every, priors, strict=True):
        places = {name: prior.get(name, UNKNOWN) for name in recordings[0].names}
        best = [name for name, place in places.items() if place == min(places.values())]
        regrets.append(recordings[0].given_away(best).relative_regret)
    return float(np.mean(regrets))


def _beside(
    rows: Sequence[tuple[float, float, float]],
    runs: Sequence[RunFigures],
    chosen: Mapping[str, int],
) -> RuleFigures:
    cost_R, regret_R, standard_R = np.array(rows).T
    gain_R = standard_R - regret_R
    floors = [(each.floor, regret) for each, regret in zip(runs, regret_R, strict=True)]
    known = np.array([pair for pair in floors if pair[0] is not None]).reshape(-1, 2)
    floor, of_known = known.mean(axis=0) if len(known) else (0.0, 0.0)
    low, high = interval_over_runs(regret_R.tolist())
    least, most = interval_over_runs(((gain_R + 1) / 2).tolist())  # gains are from -1 to 1
    return RuleFigures(
        cost=float(cost_R.mean()),
        regret=float(regret_R.mean()),
        low=low,
        high=high,
        in_noise=float(of_known / floor) if floor > 0 else np.nan,
        standard=float(standard_R.mean()),
        gain_low=2 * least - 1,
        gain_high=2 * most - 1,
        wins=int((gain_R > TIE).sum()),
        losses=int((gain_R < -TIE).sum()),
        p_value=float(max_t(-gain_R[None])[0]),
        chosen=dict(chosen),
    )


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
