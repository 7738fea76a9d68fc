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
from lagsearch.selection.forecast import ExpectedRegret, expected_regret
from lagsearch.selection.importance import EVALUATOR, Dimension, importance
from lagsearch.selection.intervals import mean_interval
from lagsearch.selection.outlook import Outlook, outlook
from lagsearch.selection.paired import Paired, compare_losses, losses_when_spent
from lagsearch.selection.phase import PhaseTransition, phase_transition
from lagsearch.selection.ranking import rank_candidates
from lagsearch.selection.savings import Spending, saving, speed_up
from lagsearch.selection.scores import METRICS, Score, rank_correlation, score_step
from lagsearch.selection.signals import SIGNALS, Measured, Signal, find_signal
from lagsearch.selection.strategies import (
    EVIDENCE,
    Choice,
    Order,
    Stop,
    Strategy,
    decide,
    find_evidence,
)
from lagsearch.selection.table import LossTable

__all__ = [
    "EVALUATOR",
    "EVIDENCE",
    "METRICS",
    "SIGNALS",
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
    "Score",
    "Signal",
    "Spending",
    "Stop",
    "Strategy",
    "compare_losses",
    "decide",
    "expected_regret",
    "find_evidence",
    "find_signal",
    "holm",
    "importance",
    "indistinguishable",
    "losses_when_spent",
    "mean_interval",
    "noise_floor",
    "outlook",
    "p_values",
    "phase_transition",
    "places",
    "rank_candidates",
    "rank_correlation",
    "saving",
    "score_step",
    "speed_up",
    "stability",
    "standard_errors",
]
