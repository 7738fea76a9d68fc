"""A growth in width and one in depth as one candidate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from lagsearch.errors import MistakeError, OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators.catalog.multi import Sources
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.operators.registry import (
    Short,
    find_operator,
    make_candidate,
    name_of,
    operator,
)


def _write(part: str | Mapping[str, Any]) -> str:
    if isinstance(part, str):
        return part
    name, settings = _split(part, "it")
    name_of(name, settings, ())  # it may be written wrongly
    return find_operator(name).candidate_name(settings)


Part = Annotated[str | dict[str, Any], Field(union_mode="left_to_right"), Short("", _write)]
"""An operator's name, or a mapping with `operator` and its settings."""


@operator(
    "combined",
    paper="none",
    grows="width, depth",
    preserves="as its two parts do",
    example={"width": "net2net", "depth": "stack"},
)
def combined(source: ModelShape, target: ModelShape, *, width: Part, depth: Part) -> GrowthPlan:
    """Grow the width by one operator and the depth by another, in one step.

    Width operators treat every layer by itself, so the order of the two is the same but for what
    reaches beyond a layer (`aki` takes from the layer above in the source).

    Args:
        source: Shape of the one source.
        target: Shape to reach.
        width: Operator of the width: a name, or `{operator: zero, form: gstack}`.
        depth: Operator of the depth, written alike.

    Raises:
        OperatorError: One of them does not grow what it should, or does not fit.
        ModelError: There is no table of the model's weights.
    """
    between = _between(source, target)
    wider = _part("width", width, (source,), between)
    return _together(wider, _part("depth", depth, (between,), target))


@operator(
    "multi-combined",
    paper="none",
    grows="width, depth",
    preserves="as its two parts do",
    takes="several",
    example={"width": "net2net", "depth": {"operator": "multi-stack", "order": "a b"}},
)
def multi_combined(sources: Sources, target: ModelShape, *, width: Part, depth: Part) -> GrowthPlan:
    """Widen each of several models alike by one operator, and put them together by another.

    Args:
        sources: Shapes of the sources by their names.
        target: Shape to reach.
        width: Operator of the width: a name, or `{operator: zero, form: gstack}`.
        depth: Operator of several sources, written alike: `{operator: multi-stack, order: a b}`.

    Raises:
        OperatorError: One of them does not grow what it should, or does not fit.
        ModelError: There is no table of the model's weights.
    """
    shapes = list(sources.values())
    between = [_between(shape, target) for shape in shapes]
    wider = _part("width", width, (shapes[0],), between[0])
    return _together(wider, _part("depth", depth, between, target, tuple(sources)))


def _between(source: ModelShape, target: ModelShape) -> ModelShape:
    """Return the shape that has the source's depth and the target's width."""
    return ModelShape(source.n_layers, target.keys, target.model_type)


def _together(wider: GrowthPlan, deeper: GrowthPlan) -> GrowthPlan:
    if wider.noise and deeper.noise:
        raise OperatorError("noise is added once: give it to one of the two", "depth")
    warnings = [each.warning for each in (wider, deeper) if each.warning]
    return replace(
        deeper,
        width=wider.width,
        noise=wider.noise or deeper.noise,
        warning="; ".join(warnings) or None,
    )


def _part(
    grows: str,
    part: str | Mapping[str, Any],
    sources: Sequence[ModelShape],
    target: ModelShape,
    names: tuple[str, ...] = (),
) -> GrowthPlan:
    """Build one of the two; names of sources are given where it takes several."""
    name, settings = _split(part, grows)
    try:
        found = find_operator(name)
        if found.takes != ("several" if names else "one"):
            here = "several" if names else "one"
            raise OperatorError(f"{name} takes {found.takes} of the sources; here it is {here}")
        if found.grows != grows:
            raise OperatorError(f"{name} grows {found.grows}, not {grows}")
        return make_candidate(name, settings, tuple(sources), target, names).plan
    except OperatorError as error:
        raise type(error)(f"{grows}: {error}", grows) from None


def _split(part: str | Mapping[str, Any], grows: str) -> tuple[str, dict[str, Any]]:
    if isinstance(part, str):
        return part, {}
    settings = dict(part)
    name = settings.pop("operator", None)
    if not isinstance(name, str):
        raise MistakeError(f"{grows} needs an operator: a name, or {{operator: NAME, ...}}", grows)
    return name, settings
