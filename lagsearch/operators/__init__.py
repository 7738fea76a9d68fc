"""Operator settings to growth plans. A new operator is a module imported here."""

from lagsearch.operators import lag, scratch  # noqa: F401  (importing enters them into the table)
from lagsearch.operators.plan import GrowthPlan, LayerOrigin, Origin
from lagsearch.operators.registry import (
    Candidate,
    Operator,
    all_operators,
    find_operator,
    make_candidate,
    operator,
)

__all__ = [
    "Candidate",
    "GrowthPlan",
    "LayerOrigin",
    "Operator",
    "Origin",
    "all_operators",
    "find_operator",
    "make_candidate",
    "operator",
]
