"""Operator settings to growth plans. A new operator is a module imported here."""

from lagsearch.operators import (  # noqa: F401  (importing enters them into the table)
    combined,
    identity,
    lag,
    ligo,
    mango,
    multi,
    multi_ligo,
    net2net,
    partial,
    random,
    scratch,
    stack,
    ungrown,
    zero,
)
from lagsearch.operators.plan import GrowthPlan, LayerOrigin, Origin
from lagsearch.operators.registry import (
    ANY,
    SOURCE,
    Candidate,
    Drawn,
    Operator,
    all_operators,
    alternatives,
    drawn,
    find_operator,
    make_candidate,
    name_of,
    operator,
)

__all__ = [
    "ANY",
    "SOURCE",
    "Candidate",
    "Drawn",
    "GrowthPlan",
    "LayerOrigin",
    "Operator",
    "Origin",
    "all_operators",
    "alternatives",
    "drawn",
    "find_operator",
    "make_candidate",
    "name_of",
    "operator",
]
