"""Pure functions on a table of losses: ranking, correlation, regret, recall, doubt."""

from lagsearch.selection.doubt import (
    Place,
    holm,
    indistinguishable,
    noise_floor,
    p_values,
    places,
    stability,
    standard_errors,
)
from lagsearch.selection.forecast import ExpectedRegret, expected_regret, regret_after
from lagsearch.selection.importance import EVALUATOR, Dimension, importance
from lagsearch.selection.intervals import mean_interval
from lagsearch.selection.outlook import Outlook, outlook
from lagsearch.selection.paired import Paired, compare_losses, losses_when_spent, on_first
from lagsearch.selection.ranking import rank_candidates
from lagsearch.selection.savings import Spending, saving, speed_up
from lagsearch.selection.scores import METRICS, Score, rank_correlation, score_step
from lagsearch.selection.signals import SIGNALS, Measured, Signal, find_signal
from lagsearch.selection.strategies.budgets import BudgetedSearch
from lagsearch.selection.strategies.evidence import EVIDENCE, find_evidence
from lagsearch.selection.strategies.finalists import n_finalists
from lagsearch.selection.strategies.registry import (
    STRATEGIES,
    ReplayedSearch,
    Strategy,
    decide,
    find_strategy,
    why_stopped,
)
from lagsearch.selection.strategies.rungs import decide_at_rungs, ranked_by_signal
from lagsearch.selection.strategies.settings import Choice, Order, SearchSettings, Stop
from lagsearch.selection.table import LossTable
from lagsearch.selection.transition import PhaseTransition, phase_transition

__all__ = [
    "EVALUATOR",
    "EVIDENCE",
    "METRICS",
    "SIGNALS",
    "STRATEGIES",
    "BudgetedSearch",
    "Choice",
    "Dimension",
    "ExpectedRegret",
    "LossTable",
    "Measured",
    "Order",
    "Outlook",
    "Paired",
    "PhaseTransition",
    "Place",
    "ReplayedSearch",
    "Score",
    "SearchSettings",
    "Signal",
    "Spending",
    "Stop",
    "Strategy",
    "compare_losses",
    "decide",
    "decide_at_rungs",
    "expected_regret",
    "find_evidence",
    "find_signal",
    "find_strategy",
    "holm",
    "importance",
    "indistinguishable",
    "losses_when_spent",
    "mean_interval",
    "n_finalists",
    "noise_floor",
    "on_first",
    "outlook",
    "p_values",
    "phase_transition",
    "places",
    "rank_candidates",
    "rank_correlation",
    "ranked_by_signal",
    "regret_after",
    "saving",
    "score_step",
    "speed_up",
    "stability",
    "standard_errors",
    "why_stopped",
]
