"""What the benchmark has taught: which search is best at a budget, and how growths like these fare.

What is chosen by comes from the benchmark's half `choice`; what a search that was chosen is said to
come to, from its half `test`. `tests/benchmarks/taught.py` writes both.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lagsearch.selection.strategies.budgets import BudgetedSearch
from lagsearch.selection.strategies.registry import STRATEGIES

STANDARD = "LAG"
"""The search that others are compared with."""
DRAWN = 2
"""Runs in the middle that are added to those of a kind of growth: few runs say little."""
FEWEST = 0.5
"""Share of the runs in which a search must have been possible at a budget to be chosen there."""


@dataclass(frozen=True)
class AtBudget:
    """What a search came to at a budget.

    Attributes:
        runs: In how many runs it can be had.
        cost: What it spent there, as a share of training all.
        regret: Mean relative regret.
        low: Of its interval over runs, 95 %.
        high: The same.
        gain: Relative regret of `STANDARD` at that budget less its own, the mean over these runs.
        p_value: Of that gain, two-sided, by flips of signs over runs, for itself.
    """

    runs: int
    cost: float
    regret: float
    low: float
    high: float
    gain: float
    p_value: float


@dataclass(frozen=True)
class Fares:
    """How a kind of growth fared.

    Attributes:
        runs: Runs in which it was a candidate.
        early: Its mean place at 5 % of the final step, from 0, best, to 1, worst.
        final: The same at the final step.
        leads_early: Runs in which a form of it was among the best quarter there.
        ends_behind: Of those, runs in which that form ended in the worse half.
    """

    runs: int
    early: float
    final: float
    leads_early: int
    ends_behind: int

    @property
    def expected(self) -> float:
        """Its place in another run: the mean, drawn to the middle as by `DRAWN` further runs."""
        return (self.final * self.runs + 0.5 * DRAWN) / (self.runs + DRAWN)


@dataclass(frozen=True)
class Taught:
    """What the benchmark has taught.

    Attributes:
        runs: How many runs.
        budgets: By search and budget.
        with_prior: The same where what growths of a kind came to in the other runs is a prior.
        growths: By label (`label_of`).
        judged: As `budgets`, in runs that nothing is chosen by.
        judged_with_prior: The same where `growths` are a prior.
    """

    runs: int
    budgets: Mapping[str, Mapping[float, AtBudget]]
    with_prior: Mapping[str, Mapping[float, AtBudget]]
    growths: Mapping[str, Fares]
    judged: Mapping[str, Mapping[float, AtBudget]]
    judged_with_prior: Mapping[str, Mapping[float, AtBudget]]

    def known(self, *, has_prior: bool) -> Mapping[str, Mapping[float, AtBudget]]:
        """Return what searches are chosen by, with the prior or without."""
        return self.with_prior if has_prior else self.budgets

    def told(self, title: str, budget: float, *, has_prior: bool) -> AtBudget:
        """Return what a search came to in the runs that it was not chosen by."""
        return (self.judged_with_prior if has_prior else self.judged)[title][budget]


@dataclass(frozen=True)
class Budgeted:
    """The search that a budget pays for.

    Attributes:
        strategy: Its strategy's name.
        title: What tables call it.
        keys: What it puts into a space's `search`.
        at: What it came to at the nearest budget, in runs that it was not chosen by.
        budget: That budget.
    """

    strategy: str
    title: str
    keys: Mapping[str, Any]
    at: AtBudget
    budget: float


@cache
def taught() -> Taught:
    """Return what the benchmark has taught."""
    found = json.loads(files("lagsearch.selection").joinpath("taught.json").read_bytes())
    tables = (
        {
            title: {float(budget): AtBudget(**at) for budget, at in row.items()}
            for title, row in found[key].items()
        }
        for key in ("budgets", "with_prior", "judged", "judged_with_prior")
    )
    budgets, with_prior, *judged = tables
    growths = {label: Fares(**fares) for label, fares in found["growths"].items()}
    return Taught(found["runs"], budgets, with_prior, growths, *judged)


def search_within(
    share: float,
    n_candidates: int,
    completion: int,
    *,
    signal: str = "loss",
    has_prior: bool = False,
    among: Collection[str] | None = None,
) -> Budgeted | None:
    """Return the search within a budget that the benchmark's runs speak for.

    Args:
        share: Of the compute to train every candidate, the winner's own training included.
        n_candidates: How many there are.
        completion: The final step.
        signal: What candidates are judged by; another than `loss` is not changed.
        has_prior: Whether what other runs came to is used as a prior, too.
        among: Titles of the searches that are looked at; all when left out.

    Returns:
        None where a share does not even pay for a step of search.
    """
    found = [
        (gain, Budgeted(strategy, search.title, keys, at, budget))
        for strategy, search in _searches(signal)
        if among is None or search.title in among
        if (keys := search.keys(share, n_candidates, completion)) is not None
        and (signal == "loss" or "signal" not in keys)
        if (known := _near(search.title, share, has_prior=has_prior)) is not None
        for gain, budget, at in [known]
    ]
    return max(found, key=lambda pair: pair[0], default=(0.0, None))[1]


def _searches(signal: str) -> list[tuple[str, BudgetedSearch]]:
    return [
        (strategy.name, search)
        for strategy in STRATEGIES.all()
        if signal == "loss" or not strategy.is_by_loss
        for search in strategy.budgeted()
        if search.title in taught().budgets
    ]


def _near(title: str, share: float, *, has_prior: bool) -> tuple[float, float, AtBudget] | None:
    """Return the gain, the nearest budget, and what is told of it.

    The gain is the mean over that budget and its two neighbours: that of one alone is as much luck
    as knowledge.
    """
    known = taught().known(has_prior=has_prior)
    grid, row = sorted(known[STANDARD]), known[title]
    nearest = min(grid, key=lambda budget: abs(budget - share))
    if nearest not in row or row[nearest].runs < FEWEST * taught().runs:
        return None
    place = grid.index(nearest)
    near = [row[each].gain for each in grid[max(0, place - 1) : place + 2] if each in row]
    told = taught().told(title, nearest, has_prior=has_prior)
    return sum(near) / len(near), nearest, told
