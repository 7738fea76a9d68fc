"""Pure functions on a table of losses: ranking, correlation, regret, recall, doubt."""

from lagsearch.selection.doubt import indistinguishable, p_values, stability, standard_error
from lagsearch.selection.ranking import rank_candidates
from lagsearch.selection.savings import Spending, saving, speed_up
from lagsearch.selection.scores import METRICS, Score, rank_correlation, score_step
from lagsearch.selection.signals import SIGNALS, Measured
from lagsearch.selection.strategies import Choice, Order, Stop, Strategy, decide
from lagsearch.selection.table import LossTable

__all__ = [
    "METRICS",
    "SIGNALS",
    "Choice",
    "LossTable",
    "Measured",
    "Order",
    "Score",
    "Spending",
    "Stop",
    "Strategy",
    "decide",
    "indistinguishable",
    "p_values",
    "rank_candidates",
    "rank_correlation",
    "saving",
    "score_step",
    "speed_up",
    "stability",
    "standard_error",
]
