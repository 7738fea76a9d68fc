"""Operator settings to growth plans. A new operator is a module in `catalog`."""

from lagsearch.operators.plan.growth import (
    GrowthPlan,
    LayerOrigin,
    Origin,
)
from lagsearch.operators.registry import (
    ANY,
    SOURCE,
    Candidate,
    Drawn,
    Operator,
    all_operators,
    alternatives,
    find_operator,
    make_candidate,
    name_of,
    operator,
    sampled_settings,
    spell_indices,
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
    "find_operator",
    "make_candidate",
    "name_of",
    "operator",
    "sampled_settings",
    "spell_indices",
]
