"""From what a user asks for to a growth: an operator, a space's candidate, a mergekit file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lagsearch.errors import (
    LagsearchError,
    ModelError,
    OperatorError,
    and_then,
    did_you_mean,
)
from lagsearch.grow.growth import Growth
from lagsearch.grow.mergekit import Passthrough, check_zeroed, from_mergekit
from lagsearch.models.checkpoints import load_config, locate_checkpoint, open_checkpoint
from lagsearch.models.configs import ModelShape, grown_config, n_layers, shape_of, target_shape
from lagsearch.models.families import family_of
from lagsearch.operators import GrowthPlan, find_operator, make_candidate
from lagsearch.planning.stage import make_plan
from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of
from lagsearch.space import load_space, read_yaml


@dataclass(frozen=True)
class GrowRequest:
    """What a user asks for: an operator on sources, a space's candidate, or a mergekit file.

    Attributes:
        sources: Checkpoint folders or hub names; named a, b, c for operators of several.
        operator: An operator's name.
        settings: Its settings; `factor` multiplies the depth, in place of a target.
        target: Configuration keys of the target that differ.
        space: A space file...
        candidate: ...and the name of a candidate in it.
        mergekit: A passthrough YAML file.
        allow_pickle: Take checkpoints without safetensors.
    """

    sources: tuple[str, ...] = ()
    operator: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    space: Path | None = None
    candidate: str | None = None
    mergekit: Path | None = None
    allow_pickle: bool = False


def find_growth(request: GrowRequest) -> Growth:
    """Work out the growth that is asked for.

    Raises:
        LagsearchError: It is asked for in two ways or in none, or it cannot be.
    """
    ways = {"--operator": request.operator, "--space": request.space}
    ways["--from-mergekit"] = request.mergekit
    given = [flag for flag, value in ways.items() if value is not None]
    if len(given) != 1:
        raise OperatorError(f"give one of {', '.join(ways)}; given: {', '.join(given) or 'none'}")
    _check_used(request, given[0])
    if request.mergekit is not None:
        return _from_mergekit(request, request.mergekit)
    if request.space is not None:
        return _from_space(request, request.space)
    operator = request.operator or ""
    found = find_operator(operator)
    if found.reaches == "source":
        raise OperatorError(f"{operator} grows nothing: `lagsearch run` trains the checkpoint on")
    configs = _configs(request.sources, request.allow_pickle)
    shapes = tuple(shape_of(config) for _, config in configs)
    settings = dict(request.settings)
    if found.takes != "several" and len(shapes) > 1:
        raise OperatorError(f"{operator} takes one source; {len(shapes)} are given")
    changes = dict(request.target) or _depth(shapes, operator, settings)
    letters = tuple(chr(ord("a") + place) for place in range(len(shapes)))
    shape = target_shape(configs[0][1], changes)
    plan = make_candidate(operator, settings, shapes, shape, letters).plan
    return _growth(request.sources, configs, plan, changes)


def _check_used(request: GrowRequest, way: str) -> None:
    """Check that nothing is asked for that would be ignored."""
    parts = {
        "SOURCE": request.sources,
        "--set": request.settings,
        "--target": request.target,
        "--candidate": request.candidate,
    }
    used = {"--operator": {"SOURCE", "--set", "--target"}, "--space": {"--candidate"}}
    for name, value in parts.items():
        if value and name not in used.get(way, set()):
            raise OperatorError(f"{name} has no effect beside {way}")
    if way == "--operator" and not request.sources:
        raise OperatorError("name at least one checkpoint to grow")


def _from_mergekit(request: GrowRequest, path: Path) -> Growth:
    try:
        asked = from_mergekit(read_yaml(path.read_text(encoding="utf-8"))[0])
        plan, names = asked.plan, asked.models
    except LagsearchError as error:
        raise OperatorError(f"{path}: {error}") from None
    configs = _configs(names, request.allow_pickle)
    for (_, config), name, place in zip(configs, names, range(len(names)), strict=True):
        used = [layer.layer or 0 for layer in plan.layers if layer.source == place]
        if max(used) >= (depth := n_layers(config)):
            raise OperatorError(f"{path}: {name} has {depth} layers, not {max(used) + 1}")
    _check_asked(path, asked, configs, request.allow_pickle)
    first, *others = (shape_of(config) for _, config in configs)
    for shape, name in zip(others, names[1:], strict=True):
        differences = first.differences(shape)
        if shape.model_type != first.model_type:
            differences = {"model_type": (first.model_type, shape.model_type)}
        for key, (one, other) in differences.items():
            raise OperatorError(
                f"{path}: models must be equal but for their depths; {key} is {one!r} in "
                f"{names[0]} and {other!r} in {name}"
            )
    return _growth(names, configs, plan, {"num_hidden_layers": len(plan.layers)})


def _check_asked(
    path: Path, asked: Passthrough, configs: Sequence[tuple[Path, Any]], allow_pickle: bool
) -> None:
    """Check what a mergekit file asks for beside its slices.

    Raises:
        OperatorError: A growth does something else.
    """
    folder, config = configs[0]
    try:
        if asked.zeroed:
            family = family_of(config.model_type, config.to_dict())
            names = {True: [], False: []}  # type: dict[bool, list[str]]
            for weight in family.layer:
                names[weight.name in family.closing].append(weight.name)
                if weight.is_last and weight.counts_from:
                    raise OperatorError(
                        f"scale 0 is not honoured in {config.model_type}: the norms behind its "
                        "output projections count their gains from one"
                    )
            check_zeroed(asked.zeroed, names[True], names[False])
        if asked.dtype is not None:
            opened = open_checkpoint(folder, config=config, allow_pickle=allow_pickle)
            stored = str(opened.tensors.usual_type).removeprefix("torch.")
            if asked.dtype != stored:
                raise OperatorError(
                    f"dtype {asked.dtype} is not honoured: {asked.models[0]} is stored in "
                    f"{stored}, and a growth keeps that; delete the line"
                )
    except LagsearchError as error:
        raise OperatorError(f"{path}: {error}") from None


def _from_space(request: GrowRequest, path: Path) -> Growth:
    file = load_space(path).stage
    vocabulary = vocabulary_of(find_tokenizer(file), file.space)
    # tokens that the objective adds are for training, and not in the source's tokenizer
    own = replace(vocabulary, size=vocabulary.size - vocabulary.added, added=0)
    plan = make_plan(file, own)
    asked = request.candidate
    name = plan.names.get(asked or "")
    if name is None:
        hint = did_you_mean(asked or "", list(plan.names))
        message = f"no candidate {asked!r}{hint}" if asked else "name a candidate with --candidate"
        raise OperatorError(and_then(f"{path}: {message}", f"it has {', '.join(plan.names)}"))
    for each in plan.sources:
        if each.checkpoint is None:
            raise OperatorError(
                f"{path}: source {each.source.name} is still to be trained; grow takes checkpoints"
            )
    chosen = next(each.candidate for each in plan.candidates if each.name == name)
    sources = [each.source.checkpoint or "" for each in plan.sources]
    configs = [(each.checkpoint or Path(), each.config) for each in plan.sources]
    return _growth(sources, configs, chosen.plan, file.space.target)


def _configs(names: Sequence[str], allow_pickle: bool) -> list[tuple[Path, Any]]:
    """Find checkpoints and read their configurations."""
    found = []
    for name in names:
        try:
            folder = locate_checkpoint(name, allow_pickle=allow_pickle)
            found.append((folder, load_config(folder, allow_pickle=allow_pickle)))
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
    return found


def _growth(
    names: Sequence[str],
    configs: Sequence[tuple[Path, Any]],
    plan: GrowthPlan,
    changes: Mapping[str, Any],
) -> Growth:
    """Put a growth together for these checkpoints."""
    if plan.learned is not None:
        raise OperatorError("an operator that is learned needs training: use `lagsearch run`")
    if plan.ramp_end:
        raise OperatorError("what is faded in needs training: use `lagsearch run`")
    first = configs[0][1]
    changes = {**changes, **plan.config_changes()}
    config = grown_config(first, changes, [layer.layer for layer in plan.layers])
    config.architectures = getattr(first, "architectures", None)
    return Growth(tuple(names), tuple(folder for folder, _ in configs), plan, config)


def _depth(shapes: Sequence[ModelShape], operator: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the target's depth where settings or sources tell it; takes `factor` out."""
    depth = sum(shape.n_layers for shape in shapes)
    known = find_operator(operator).settings.model_fields
    for key in settings:
        if key != "factor" and key not in known:
            names = ", ".join(["factor", *known])
            raise OperatorError(f"{operator} has no setting {key!r}; known: {names}", key)
    if (factor := settings.pop("factor", None)) is not None:
        is_number = isinstance(factor, int | float) and math.isfinite(factor)
        wanted = depth * factor if is_number else 0
        if isinstance(factor, bool) or wanted != int(wanted) or wanted <= depth:
            raise OperatorError(
                f"factor {factor!r} times {depth} layers is no whole number above {depth}", "factor"
            )
        return {"num_hidden_layers": int(wanted)}
    if isinstance(listed := settings.get("layers"), list):
        return {"num_hidden_layers": len(listed)}
    if len(shapes) > 1:
        return {"num_hidden_layers": depth}
    raise OperatorError(f"{operator} to what? give --set factor=2, or --target num_hidden_layers=N")
