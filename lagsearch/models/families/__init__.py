"""Families as data. A new family is a table in a module here, or in a package of its own.

Every `Family` that stands in a module of this folder counts, and what packages name as entry points
of the group `lagsearch.families`: a module with tables, or one table.
"""

from collections.abc import Mapping
from typing import Any

from lagsearch.errors import ModelError
from lagsearch.models.families.record import (
    UNITS,
    Axis,
    Counted,
    Family,
    Role,
    SizeKeys,
    Units,
    Weight,
    units_of,
)
from lagsearch.registry import Registry

FAMILIES = Registry[Family](
    "family of models", "lagsearch.models.families", "lagsearch.families", Family
)

__all__ = [
    "FAMILIES",
    "UNITS",
    "Axis",
    "Counted",
    "Family",
    "Role",
    "SizeKeys",
    "Units",
    "Weight",
    "family_of",
    "find_family",
    "units_of",
]


def find_family(model_type: str, keys: Mapping[str, Any]) -> Family | None:
    """Return the table of a model type, or None where there is none that holds for it."""
    try:
        return family_of(model_type, keys)
    except ModelError:
        return None


def family_of(model_type: str, keys: Mapping[str, Any]) -> Family:
    """Return the table of a model type.

    Args:
        model_type: As the configuration says it.
        keys: The configuration's keys; what the table requires of them is checked.

    Raises:
        ModelError: There is no table, or it does not hold for these keys.
    """
    tables = [family for family in FAMILIES.all() if model_type in family.model_types]
    if not tables:
        known = {each for family in FAMILIES.all() for each in family.model_types}
        raise ModelError(
            f"model_type {model_type} has no table of its weights; known: "
            f"{', '.join(sorted(known))}. To add one, write its weights down in a module of "
            "lagsearch/models/families/, or in a package with an entry point of lagsearch.families"
        )
    reasons = [_reason_against(family, model_type, keys) for family in tables]
    for family, reason in zip(tables, reasons, strict=True):
        if reason is None:
            return family
    raise ModelError(str(reasons[0]))


def _reason_against(family: Family, model_type: str, keys: Mapping[str, Any]) -> str | None:
    """Say why a table does not hold for these keys, if it does not."""
    for key, value in family.requires.items():
        if (found := keys.get(key, value)) != value:
            return f"{model_type} with {key} {found!r} is not known; only with {value!r}"
    for one, other in family.equal:
        if keys.get(one) != keys.get(other):
            return f"{model_type} is not known where {one} is not equal to {other}"
    return None
