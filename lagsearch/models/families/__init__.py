"""Families as data. A new family is a module with its table, entered here."""

from collections.abc import Mapping
from typing import Any

from lagsearch.errors import ModelError
from lagsearch.models.families.bert import BERT, ROBERTA
from lagsearch.models.families.gpt2 import GPT2
from lagsearch.models.families.llama import LLAMA, QWEN3
from lagsearch.models.families.neox import NEOX
from lagsearch.models.families.opt import OPT
from lagsearch.models.families.others import OTHERS
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

FAMILIES = (BERT, GPT2, LLAMA, NEOX, OPT, QWEN3, ROBERTA, *OTHERS)

_TYPES = sorted({model_type for family in FAMILIES for model_type in family.model_types})
_BY_TYPE = {
    model_type: tuple(family for family in FAMILIES if model_type in family.model_types)
    for model_type in _TYPES
}

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
    if model_type not in _BY_TYPE:
        raise ModelError(
            f"model_type {model_type} has no table of its weights; known: "
            f"{', '.join(_TYPES)}. To add one, write its weights down in a module of "
            "lagsearch/models/families/ and enter it there"
        )
    tables = _BY_TYPE[model_type]
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
