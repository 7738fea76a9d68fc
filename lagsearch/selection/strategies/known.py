"""The strategies of this package."""

from functools import partial

from lagsearch.selection.signals import Measured
from lagsearch.selection.strategies.budgets import (
    BudgetedSearch,
    budgeted_finalists,
    lag_keys,
)
from lagsearch.selection.strategies.evidence import EVIDENCE, find_evidence
from lagsearch.selection.strategies.expected_regret import (
    budgeted_expected_regret,
    check_settings,
    decide_by_expected_regret,
)
from lagsearch.selection.strategies.finalists import decide_among_finalists
from lagsearch.selection.strategies.registry import ReplayedSearch, Strategy
from lagsearch.selection.strategies.rungs import decide_at_rungs
from lagsearch.selection.strategies.settings import Choice, Order, SearchSettings

LAG = Strategy(
    "lag",
    title="LAG",
    words="trains all candidates to K, and ranks them there",
    decide=decide_at_rungs,
    replays=lambda: [ReplayedSearch("LAG, K auto", is_auto=True)],
    budgeted=lambda: [
        BudgetedSearch("LAG", lag_keys),
        BudgetedSearch("LAG by trend", partial(lag_keys, signal="trend")),
    ],
)


def _on_evidence(measured: Measured, settings: SearchSettings) -> Order | Choice:
    stop = find_evidence(settings.evidence or "batches").stop
    return decide_at_rungs(measured, settings, stop)


def _races() -> list[ReplayedSearch]:
    return [
        *(ReplayedSearch(each.title, {"evidence": each.name}) for each in EVIDENCE.all()),
        ReplayedSearch("race, K auto", {"evidence": "batches"}, is_auto=True),
    ]


RACE = Strategy(
    "race",
    title="race",
    words="stops candidates on the way that are worse than the leader",
    decide=_on_evidence,
    heeds=("evidence",),
    stops=True,
    is_dense=True,
    replays=_races,
)

FINALISTS = Strategy(
    "finalists",
    title="finalists",
    words="ranks all candidates at the step `cut`, and trains the better ones on to K",
    decide=decide_among_finalists,
    verdict="not among the finalists there",
    heeds=("keep", "cut"),
    stops=True,
    needs_lag=True,
    lag_share=0.5,
    replays=lambda: [
        ReplayedSearch(f"finalists: {keep}", {"keep": keep}) for keep in ("half", "quarter")
    ],
    budgeted=budgeted_finalists,
)

EXPECTED_REGRET = Strategy(
    "expected_regret",
    title="expected regret",
    words="trains candidates as long as the expected regret of the leader is worth it, and lets "
    "those go that are not expected to gain on it",
    decide=decide_by_expected_regret,
    verdict="not expected to gain on the leader (posterior of all curves together)",
    heeds=("settings",),
    stops=True,
    is_dense=True,
    lag_share=0.5,
    is_by_loss=True,
    check=check_settings,
    budgeted=lambda: [BudgetedSearch("expected regret", budgeted_expected_regret)],
)

OPTUNA = Strategy(
    "optuna",
    title="LAG, sampled by Optuna",
    words="samples candidates instead of listing them, guided by the losses at K of those before",
    decide=decide_at_rungs,
    verdict="Candidates were sampled by Optuna: others were not tried.",
    heeds=("candidates", "sampler", "at_a_time"),
    needs_lag=True,
    samples=True,
)
