"""The table of operators: one decorator, one lookup; a function's signature is its schema."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from lagsearch.errors import OperatorError, did_you_mean
from lagsearch.models.configs import ModelShape
from lagsearch.operators.plan import GrowthPlan


@dataclass(frozen=True)
class Short:
    """How a setting shows in a candidate's name: these letters before its value."""

    letters: str


@dataclass(frozen=True)
class Operator:
    """One row of the table.

    Attributes:
        name: Its name in a space file.
        paper: Where it was published.
        grows: The axes it grows, e.g. `depth`.
        preserves: Whether the grown model computes what the source did.
        is_baseline: It grows nothing and serves for comparison: ranked, but left out of the
            scores of a ranking, which are over growing strategies.
        build: From the shapes and its settings to a plan.
        settings: The schema of its settings.
        summary: First line of its description.
    """

    name: str
    paper: str
    grows: str
    preserves: str
    is_baseline: bool
    build: Callable[..., GrowthPlan]
    settings: type[BaseModel]
    summary: str

    def letters(self, setting: str) -> str:
        """Return what stands before a setting's value in a candidate's name."""
        metadata = self.settings.model_fields[setting].metadata
        return next((item.letters for item in metadata if isinstance(item, Short)), setting)


@dataclass(frozen=True)
class Candidate:
    """One operator with its settings, and the plan it makes.

    Attributes:
        name: Unique and readable, e.g. `lag-i2-b3-duplicate`.
        operator: The operator's name.
        settings: All its settings, defaults included.
        plan: The growth.
        is_baseline: It serves for comparison; see `Operator`.
    """

    name: str
    operator: str
    settings: Mapping[str, Any]
    plan: GrowthPlan
    is_baseline: bool = False


_TABLE: dict[str, Operator] = {}


def operator(
    name: str, *, paper: str, grows: str, preserves: str, is_baseline: bool = False
) -> Callable[[Callable[..., GrowthPlan]], Callable[..., GrowthPlan]]:
    """Enter a function `(source, target, *, settings...) -> GrowthPlan` into the table.

    Raises:
        ValueError: The name is taken.
    """

    def enter(build: Callable[..., GrowthPlan]) -> Callable[..., GrowthPlan]:
        if name in _TABLE:
            raise ValueError(f"operator {name!r} is defined twice")
        summary = (inspect.getdoc(build) or "").partition("\n")[0]
        _TABLE[name] = Operator(
            name, paper, grows, preserves, is_baseline, build, _schema(name, build), summary
        )
        return build

    return enter


def _schema(name: str, build: Callable[..., GrowthPlan]) -> type[BaseModel]:
    """Make the schema of an operator's settings from its keyword-only parameters."""
    hints = get_type_hints(build, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(build).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            is_required = parameter.default is inspect.Parameter.empty
            fields[parameter.name] = (
                hints[parameter.name],
                ... if is_required else parameter.default,
            )
    config = ConfigDict(extra="forbid", frozen=True, strict=True)
    return create_model(f"{name}_settings", __config__=config, **fields)


def all_operators() -> tuple[Operator, ...]:
    """Return the table's rows by name."""
    return tuple(_TABLE[name] for name in sorted(_TABLE))


def find_operator(name: str) -> Operator:
    """Look an operator up.

    Raises:
        OperatorError: There is none of that name; the message lists all and the nearest.
    """
    if name not in _TABLE:
        known = sorted(_TABLE)
        hint = did_you_mean(name, known)
        message = f"operator {name!r} is unknown{hint}; known: {', '.join(known)}"
        raise OperatorError(message, "operator")
    return _TABLE[name]


def make_candidate(
    name: str, settings: Mapping[str, Any], sources: tuple[ModelShape, ...], target: ModelShape
) -> Candidate:
    """Check an operator's settings and make its candidate.

    Raises:
        OperatorError: The operator is unknown, or its settings do not fit.
    """
    found = find_operator(name)
    try:
        checked = found.settings.model_validate(dict(settings))
    except ValidationError as error:
        raise _explained(error, found) from None
    if len(sources) != 1:
        raise OperatorError(f"{name} grows one source; the space has {len(sources)}")
    values = checked.model_dump()
    plan = found.build(sources[0], target, **values)
    parts = [name, *(f"{found.letters(key)}{value}" for key, value in values.items())]
    return Candidate("-".join(parts), name, values, plan, found.is_baseline)


def _explained(error: ValidationError, found: Operator) -> OperatorError:
    """Say in one line what is wrong with an operator's settings."""
    first = error.errors(include_url=False)[0]
    setting = str(first["loc"][0])
    known = list(found.settings.model_fields)
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(setting, known)
        names = ", ".join(known) or "none"
        message = f"{found.name} has no setting {setting!r}{hint}; known: {names}"
        return OperatorError(message, setting)
    if first["type"] == "missing":
        return OperatorError(f"{found.name} needs the setting {setting!r}")
    message = first["msg"].removeprefix("Input should be ")
    return OperatorError(f"{found.name}: {setting} must be {message}", setting)
