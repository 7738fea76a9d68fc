"""The table of operators: one decorator, one lookup; a function's signature is its schema."""

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from lagsearch.errors import MistakeError, OperatorError, PluginError, and_then, did_you_mean
from lagsearch.models.configs import ModelShape, numbered
from lagsearch.operators.depths import Indices, Scale
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.registry import Registry, place_of


@dataclass(frozen=True)
class Short:
    """How a setting shows in a candidate's name.

    Attributes:
        letters: What stands before its value.
        write: How its value is written.
    """

    letters: str
    write: Callable[[Any], str] = str


Noise = Annotated[float, Field(ge=0, lt=1), Short("noise")]
"""A share of noise, as operators that add some take it."""


@dataclass(frozen=True)
class Choices:
    """Words of a setting that stand for several values, e.g. `all`.

    Attributes:
        expand: From the value as written, the sources' names and a seed to the values meant.
    """

    expand: Callable[[Any, tuple[str, ...], int], list[Any]]


@dataclass(frozen=True)
class Drawn:
    """A value that is drawn step by step, where there are too many to list.

    Attributes:
        steps: The options of each step, by its name.
        value: From what was drawn, in the order of the steps, to the setting's value; no two give
            the same one.
    """

    steps: Mapping[str, tuple[int, ...]]
    value: Callable[[Sequence[int]], Any]

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(len(options) for options in self.steps.values())


ANY = "any"
"""The word that stands for all values of a setting that has `Draws`."""


@dataclass(frozen=True)
class Draws:
    """A setting whose values are too many to list, and can be drawn.

    Attributes:
        begin: From the shapes of the sources that are grown, by their names, and the target's.
    """

    begin: Callable[[Mapping[str, ModelShape], ModelShape], Drawn]


@dataclass(frozen=True)
class Control:
    """What a growth of several sources is compared with.

    Attributes:
        operator: Does the same with copies of one source.
        takes: The settings that it shares.
    """

    operator: str
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operator:
    """One row of the table.

    Attributes:
        name: Its name in a space file.
        paper: Where it was published.
        grows: The axes it grows, e.g. `depth`; `nothing` makes it a baseline.
        preserves: Whether the grown model computes what the source did.
        takes: `one` source, `several`, or `none`.
        reaches: The shape that its model has: the `target`'s, or the `source`'s own. What does not
            reach the target is compared with the growths, and never ranked among them.
        control: For several sources: what does the same with copies of one.
        build: From the shapes and its settings to a plan.
        settings: The schema of its settings.
        summary: First line of its description.
        example: Values of what its settings require, which fit two sources `a` and `b` of 3 layers
            or one of 4, and a target of 6.
        scale: From its settings to those for other depths; None where it cannot be scaled.
    """

    name: str
    paper: str
    grows: str
    preserves: str
    takes: Literal["one", "several", "none"]
    reaches: Literal["target", "source"]
    control: Control | None
    build: Callable[..., GrowthPlan]
    settings: type[BaseModel]
    summary: str
    example: Mapping[str, Any]
    scale: Scale | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it serves for comparison; a ranking is scored over growths alone."""
        return self.grows == "nothing"

    @property
    def indices(self) -> dict[str, Indices]:
        """Its settings that name a layer."""
        fields = self.settings.model_fields.items()
        found = ((name, each) for name, field in fields for each in field.metadata)
        return {name: each for name, each in found if isinstance(each, Indices)}

    @property
    def description(self) -> str:
        """Its whole docstring."""
        return inspect.getdoc(self.build) or ""

    def candidate_name(self, values: Mapping[str, Any]) -> str:
        """Return the name of a candidate: the operator and all settings but those left alone."""
        parts = [self.name]
        for setting, value in values.items():
            field = self.settings.model_fields[setting]
            if field.is_required() or value != field.default:
                short = next((each for each in field.metadata if isinstance(each, Short)), None)
                short = short or Short(setting)
                parts.append(f"{short.letters}{short.write(value)}")
        return "-".join(parts)


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


GROWS = ("depth", "width", "width, depth", "nothing")
"""What an operator may grow."""

OPERATORS = Registry[Operator]("operator", "lagsearch.operators.catalog", "lagsearch.operators")


def operator(  # noqa: PLR0913 (each is a column of the table)
    name: str,
    *,
    paper: str,
    grows: str,
    preserves: str,
    takes: Literal["one", "several", "none"] = "one",
    reaches: Literal["target", "source"] = "target",
    control: Control | None = None,
    example: Mapping[str, Any] | None = None,
    scale: Scale | None = None,
) -> Callable[[Callable[..., GrowthPlan]], Callable[..., GrowthPlan]]:
    """Enter a function `(source, target, *, settings...) -> GrowthPlan` into the table.

    One that takes several sources gets their shapes by their names. One with settings that are
    required has an `example` of them (`Operator.example`), and `scale` where a schedule with it can
    be scaled: `as_it_is` where no setting has to do with depths.

    Raises:
        PluginError: The name is taken, or something is missing.
    """

    def enter(build: Callable[..., GrowthPlan]) -> Callable[..., GrowthPlan]:
        settings = _schema(name, build)
        _check(name, grows, settings, example or {})
        summary = (inspect.getdoc(build) or "").partition("\n")[0]
        entry = Operator(
            name,
            paper,
            grows,
            preserves,
            takes,
            reaches,
            control,
            build,
            settings,
            summary,
            example or {},
            scale,
        )
        OPERATORS.enter(name, entry, place_of(build))
        return build

    return enter


def _schema(name: str, build: Callable[..., GrowthPlan]) -> type[BaseModel]:
    """Make the schema of an operator's settings from all parameters but the first two.

    Raises:
        PluginError: One may be given by its place, or has no type.
    """
    hints = get_type_hints(build, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(build).parameters.values())[2:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise PluginError(f"operator {name!r}: its setting {parameter.name} must follow a `*`")
        if parameter.name not in hints:
            raise PluginError(f"operator {name!r}: its setting {parameter.name} has no type")
        is_required = parameter.default is inspect.Parameter.empty
        fields[parameter.name] = (
            hints[parameter.name],
            ... if is_required else parameter.default,
        )
    config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )
    return create_model(f"{name}_settings", __config__=config, **fields)


def _check(name: str, grows: str, settings: type[BaseModel], example: Mapping[str, Any]) -> None:
    if grows not in GROWS:
        raise PluginError(f"operator {name!r}: grows must be one of {'; '.join(GROWS)}")
    for setting, field in settings.model_fields.items():
        if field.is_required() and setting not in example:
            raise PluginError(
                f"operator {name!r}: its setting {setting} has no default, and the decorator no "
                "`example` of it"
            )


def all_operators() -> tuple[Operator, ...]:
    """Return the table's rows by name."""
    return tuple(sorted(OPERATORS.all(), key=lambda each: each.name))


def find_operator(name: str) -> Operator:
    """Look an operator up.

    Raises:
        OperatorError: There is none of that name; the message lists all and the nearest.
    """
    if (found := OPERATORS.get(name)) is None:
        raise MistakeError(OPERATORS.unknown(name), "operator")
    return found


def spell_indices(
    entry: dict[str, Any], source: int, target: int, strides: Mapping[str, int]
) -> dict[str, Any]:
    """Write out indices that are given as a word.

    Args:
        entry: An operator with its settings, as written.
        source: Layers before the growth.
        target: Layers after it.
        strides: Each word for indices: 1 stands for all that there are, 2 for every second one.
    """
    found = OPERATORS.get(str(entry.get("operator")))
    spelt = dict(entry)
    for name, each in (found.indices if found else {}).items():
        word = entry.get(name)
        if isinstance(word, str) and word in strides:
            spelt[name] = each.at(source, target, strides[word])
    return spelt


SOURCE = "source"
"""Setting of every operator of one source, where a space has several: the source's name."""


def alternatives(
    name: str, settings: Mapping[str, Any], names: tuple[str, ...], seed: int
) -> list[dict[str, Any]]:
    """Return the settings that are meant where a word stands for several values.

    Args:
        name: The operator's.
        settings: As written, one value each.
        names: The sources' names.
        seed: For words that mean a sample.

    Raises:
        OperatorError: The operator is unknown, or a word does not fit.
    """
    fields = find_operator(name).settings.model_fields
    choices: list[list[Any]] = []
    for setting, value in settings.items():
        metadata = fields[setting].metadata if setting in fields else []
        words = next((each for each in metadata if isinstance(each, Choices)), None)
        is_word = words is not None and isinstance(value, str)
        choices.append(words.expand(value, names, seed) if words and is_word else [value])
    return [dict(zip(settings, each, strict=True)) for each in itertools.product(*choices)]


def sampled_settings(
    name: str, settings: Mapping[str, Any], sources: Mapping[str, ModelShape], target: ModelShape
) -> dict[str, Drawn]:
    """Return the settings that are to be drawn: those of which `any` value is meant.

    Args:
        name: The operator's.
        settings: As written.
        sources: Shapes of the sources by their names.
        target: Shape to reach.

    Raises:
        OperatorError: The operator is unknown, or several sources are listed for it.
    """
    found = find_operator(name)
    words: dict[str, Draws] = {}
    for setting, field in found.settings.model_fields.items():
        for each in field.metadata:
            if isinstance(each, Draws) and settings.get(setting) == ANY:
                words[setting] = each
    if found.takes == "one" and words:
        chosen = settings.get(SOURCE, next(iter(sources)))
        if not isinstance(chosen, str) or chosen not in sources:
            message = f"give one of {', '.join(sources)} where {next(iter(words))} is {ANY}"
            raise MistakeError(message, SOURCE)
        sources = {chosen: sources[chosen]}
    return {setting: each.begin(sources, target) for setting, each in words.items()}


def make_candidate(
    name: str,
    settings: Mapping[str, Any],
    sources: tuple[ModelShape, ...],
    target: ModelShape,
    names: tuple[str, ...] = (),
) -> Candidate:
    """Check an operator's settings and make its candidate.

    Args:
        name: The operator's.
        settings: One value each.
        sources: Shapes of the sources.
        target: Shape to reach.
        names: The sources' names; their numbers when left out.

    Raises:
        OperatorError: The operator is unknown, or its settings do not fit.
        PluginError: It makes no plan.
    """
    names = names or tuple(str(place) for place in range(len(sources)))
    asked = _asked(name, settings, names)
    found, values = asked.operator, dict(asked.values)
    place = 0 if asked.source is None else names.index(asked.source)
    if found.takes == "several":
        if len(sources) < 2:
            raise OperatorError(f"{name} grows several sources; the space has one")
        plan = found.build(dict(zip(names, sources, strict=True)), target, **values)
    else:
        plan = found.build(sources[place], target, **values)
    if not isinstance(plan, GrowthPlan):
        raise PluginError(f"operator {name!r} returns no GrowthPlan but a {type(plan).__name__}")
    if asked.source is not None:
        plan = plan.of_source(place)
        values[SOURCE] = asked.source
    reached = target if found.reaches == "target" else sources[place]
    _check_layers(name, plan, sources, reached.n_layers)
    plan = _warned(plan, sources[0])
    return Candidate(asked.title, name, values, plan, found.is_baseline)


def _check_layers(
    name: str, plan: GrowthPlan, sources: tuple[ModelShape, ...], n_layers: int
) -> None:
    """Refuse a plan of another depth, or of layers that no source has."""
    if len(plan.layers) != n_layers:
        raise OperatorError(f"{name} makes {len(plan.layers)} layers, not {n_layers}")
    for each in plan.layers:
        last = sources[each.source].n_layers - 1
        if each.layer is not None and not 0 <= each.layer <= last:
            raise OperatorError(f"{name} takes layer {each.layer}; the source has 0..{last}")


def _warned(plan: GrowthPlan, source: ModelShape) -> GrowthPlan:
    """Say where a layer is not what it copies, for it computes by its number."""
    reason = numbered(source.model_type, source.keys)
    is_moved = any(each.layer not in (None, place) for place, each in enumerate(plan.layers))
    if reason is None or not is_moved:
        return plan
    warning = (
        f"a layer of {source.model_type} depends on its number ({reason}): a copy at another place "
        "is not what it copies"
    )
    return replace(plan, warning=f"{plan.warning}; {warning}" if plan.warning else warning)


def name_of(name: str, settings: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the name of a candidate, whether it can be or not.

    Args:
        name: The operator's.
        settings: One value each.
        names: The sources' names.

    Raises:
        MistakeError: The operator or a setting is written wrongly.
    """
    return _asked(name, settings, names).title


@dataclass(frozen=True)
class _Asked:
    """An operator with its settings, checked by themselves.

    Attributes:
        operator: Which.
        values: All its settings, defaults included.
        source: The source that is grown, where one is chosen.
    """

    operator: Operator
    values: Mapping[str, Any]
    source: str | None

    @property
    def title(self) -> str:
        """The candidate's name."""
        title = self.operator.candidate_name(self.values)
        return title if self.source is None else f"{title}-{self.source}"


def _asked(name: str, settings: Mapping[str, Any], names: tuple[str, ...]) -> _Asked:
    found = find_operator(name)
    given = dict(settings)
    is_choice = found.takes == "one" and len(names) > 1
    chosen = given.pop(SOURCE, names[0]) if is_choice else None
    if chosen is not None and chosen not in names:
        raise MistakeError(f"source {chosen!r} is none of {', '.join(names)}", SOURCE)
    try:
        values = found.settings.model_validate(given).model_dump()
    except ValidationError as error:
        raise _explained(error, found) from None
    return _Asked(found, values, chosen)


def _explained(error: ValidationError, found: Operator) -> MistakeError:
    """Say in one line what is wrong with an operator's settings."""
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda each: each["type"] == "missing")  # a misspelt one says more
    setting = str(first["loc"][0])
    known = list(found.settings.model_fields)
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(setting, known)
        names = ", ".join(known) or "none"
        message = and_then(f"{found.name} has no setting {setting!r}{hint}", f"known: {names}")
        return MistakeError(message, setting)
    if first["type"] == "missing":
        return MistakeError(f"{found.name} needs the setting {setting!r}")
    message = first["msg"].removeprefix("Input should be ")
    if first["type"] in ("tuple_type", "too_short"):
        message = "a list of at least 1; in a space, a list of such lists"
    return MistakeError(f"{found.name}: {setting} must be {message}", setting)
