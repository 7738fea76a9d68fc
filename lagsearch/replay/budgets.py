"""Searches that cost a share of training all, on recorded curves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lagsearch.replay.replay import Recording, outcome_of
from lagsearch.selection import STRATEGIES, BudgetedSearch, find_signal, find_strategy

BUDGETS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Shares of the compute to train every candidate to the final step."""


@dataclass(frozen=True)
class BudgetOutcome:
    """What a search within a budget came to.

    Attributes:
        cost: What it spent, its winner's training included, as a share of training all; less than
            the budget, as it decides at evaluated steps.
        relative_regret: Of its choice.
    """

    cost: float
    relative_regret: float


def budgeted_searches() -> Iterator[tuple[str, BudgetedSearch]]:
    """Yield the searches that make the most of a budget, each after its strategy's name."""
    for strategy in STRATEGIES.all():
        for search in strategy.budgeted():
            yield strategy.name, search


def replay_within(
    recording: Recording,
    strategy: str,
    search: BudgetedSearch,
    budget: float,
    prior: Mapping[str, float] | None = None,
) -> BudgetOutcome | None:
    """Return what a search within a budget comes to; None where there is none within it.

    Its steps are the last evaluated ones up to those that the budget pays for.

    Args:
        recording: The recorded curves.
        strategy: How it decides.
        search: With which settings.
        budget: What it may cost, as a share of training all.
        prior: Where candidates like these ended in other runs, by name.
    """
    n_candidates, completion = len(recording.names), recording.completion
    keys = search.keys(budget, n_candidates, completion)
    signal = "loss" if keys is None else keys.get("signal", "loss")
    steps = [step for step in recording.measured.loss.steps if step > 0]
    if keys is None or steps[0] > keys["lag"]:
        return None
    if not find_signal(signal).is_measured(recording.measured):
        return None
    rungs = tuple(step for step in steps if step <= keys["lag"])
    cut = max((step for step in rungs if step <= keys.get("cut", 0)), default=None)
    if "cut" in keys and cut is None:
        return None
    settings = replace(
        recording.settings,
        strategy=strategy,
        rungs=rungs if find_strategy(strategy).stops else rungs[-1:],
        signal=signal,
        evidence=None,
        first=None,
        cut=cut,
        keep=keys.get("keep", "half"),
        own=keys.get("settings", {}),
        prior=prior or {},
    )
    found = outcome_of(recording, settings, search.title, "budget")
    spent = found.steps + completion - found.lag
    return BudgetOutcome(spent / (n_candidates * completion), found.given_away.relative_regret)
