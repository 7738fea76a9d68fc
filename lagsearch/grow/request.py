"""From what a user asks for to a growth: an operator, a space's candidate, a mergekit file."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lagsearch.errors import (
    LagsearchError,
    MistakeError,
    ModelError,
    OperatorError,
    and_then,
    did_you_mean,
)
from lagsearch.grow.entries import tabled_entries
from lagsearch.grow.growth import Growth
from lagsearch.grow.mergekit import Passthrough, check_zeroed, from_mergekit
from lagsearch.models.configs import (
    ModelShape,
    grown_keys,
    n_layers,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.families import family_of, find_family
from lagsearch.models.files import check_config, locate_checkpoint
from lagsearch.models.headers import TYPES
from lagsearch.models.tabled import TabledCheckpoint, open_tabled
from lagsearch.models.tabled_configs import stored_config
from lagsearch.operators import GrowthPlan, Operator, find_operator, make_candidate
from lagsearch.space import load_space, read_yaml
from lagsearch.storage.files import path_of


@dataclass(frozen=True)
class _Source:
    """A checkpoint that is grown.

    Attributes:
        name: As it was asked for.
        folder: Where it is.
        config: Its configuration.
        tabled: All that tables say of it, where it is read by them.
    """

    name: str
    folder: Path
    config: Any
    tabled: TabledCheckpoint | None = None


_Read = Callable[[Sequence[str]], list[_Source]]


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

    def text(self) -> str:
        """Say it, in Markdown."""
        if self.mergekit is not None:
            return "what a mergekit file asks for"
        if self.candidate is not None:
            return f"candidate `{self.candidate}` of a search space"
        given = {**self.settings, **self.target}
        values = ", ".join(f"{key}={json.dumps(value)}" for key, value in given.items())
        return f"operator `{self.operator}`" + (f", `{values}`" if given else "")


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
    if request.space is not None:
        return _from_space(request, request.space)
    find = _from_operator if request.mergekit is None else _from_mergekit
    for name in request.sources:
        if path_of(name).is_file():
            raise ModelError(f"{name}: is a file: give the folder of a checkpoint")
        if path_of(name).is_dir():
            check_config(path_of(name))
    try:
        growth = find(request, _read_tabled)
    except MistakeError:
        raise
    except LagsearchError:  # said again below, with all that transformers knows of it
        growth = None
    if growth is None or growth.entries is None:
        growth = find(request, partial(_read, allow_pickle=request.allow_pickle))
    return replace(growth, asked=request.text())


def _from_operator(request: GrowRequest, read: _Read) -> Growth:
    operator = request.operator or ""
    found = find_operator(operator)
    if found.reaches == "source":
        raise OperatorError(f"{operator} grows nothing: `lagsearch run` trains the checkpoint on")
    if found.takes != "several" and len(request.sources) > 1:
        raise OperatorError(f"{operator} takes one source; {len(request.sources)} are given")
    _check_settings(request, found)
    sources = read(request.sources)
    shapes = tuple(shape_of(each.config) for each in sources)
    settings = dict(request.settings)
    if "depth" not in found.grows and not request.target:
        raise OperatorError(_width_to_give(operator, sources[0].config))
    changes = dict(request.target) or _depth(shapes, operator, settings)
    letters = tuple(chr(ord("a") + place) for place in range(len(shapes)))
    shape = target_shape(sources[0].config, changes)
    plan = make_candidate(operator, settings, shapes, shape, letters).plan
    return _growth(sources, plan, changes, preserves=found.preserves)


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


def _from_mergekit(request: GrowRequest, read: _Read) -> Growth:
    path = request.mergekit or Path()
    try:
        asked = from_mergekit(read_yaml(path.read_text(encoding="utf-8"))[0])
        plan, names = asked.plan, asked.models
    except LagsearchError as error:
        raise OperatorError(f"{path}: {error}") from None
    sources = read(names)
    for place, each in enumerate(sources):
        used = [layer.layer or 0 for layer in plan.layers if layer.source == place]
        if max(used) >= (depth := n_layers(each.config)):
            raise OperatorError(f"{path}: {each.name} has {depth} layers, not {max(used) + 1}")
    _check_asked(path, asked, sources[0], request.allow_pickle)
    first, *others = (shape_of(each.config) for each in sources)
    for shape, name in zip(others, names[1:], strict=True):
        differences = first.differences(shape)
        if shape.model_type != first.model_type:
            differences = {"model_type": (first.model_type, shape.model_type)}
        for key, (one, other) in differences.items():
            raise OperatorError(
                f"{path}: models must be equal but for their depths; {key} is {one!r} in "
                f"{names[0]} and {other!r} in {name}"
            )
    changes = {"num_hidden_layers": len(plan.layers)}
    return _growth(sources, plan, changes, preserves="exactly" if asked.zeroed else "no")


def _check_asked(path: Path, asked: Passthrough, first: _Source, allow_pickle: bool) -> None:
    """Check what a mergekit file asks for beside its slices.

    Raises:
        OperatorError: A growth does something else.
    """
    config = first.config
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
        if asked.dtype is not None and asked.dtype != (stored := _usual_type(first, allow_pickle)):
            raise OperatorError(
                f"dtype {asked.dtype} is not honoured: {asked.models[0]} is stored in "
                f"{stored}, and a growth keeps that; delete the line"
            )
    except LagsearchError as error:
        raise OperatorError(f"{path}: {error}") from None


def _usual_type(source: _Source, allow_pickle: bool) -> str:
    """Return the type of most of a checkpoint's tensors."""
    if source.tabled is not None:
        return TYPES[source.tabled.usual_type]
    from lagsearch.models.checkpoints import open_checkpoint

    opened = open_checkpoint(source.folder, config=source.config, allow_pickle=allow_pickle)
    return str(opened.tensors.usual_type).removeprefix("torch.")


def _from_space(request: GrowRequest, path: Path) -> Growth:
    from lagsearch.planning.brought import fetch_brought
    from lagsearch.planning.stage import make_plan
    from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of

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
    sources = [
        _Source(each.source.checkpoint or "", each.checkpoint or Path(), each.config)
        for each in plan.sources
    ]
    preserves = find_operator(chosen.operator).preserves
    growth = _growth(sources, chosen.plan, file.space.target, preserves=preserves)
    fetch_brought(file, plan.sources)
    return growth


def _read(names: Sequence[str], *, allow_pickle: bool) -> list[_Source]:
    """Find checkpoints and read their configurations."""
    from lagsearch.models.checkpoints import load_config

    found = []
    for name in names:
        try:
            folder = locate_checkpoint(name, allow_pickle=allow_pickle)
            found.append(_Source(name, folder, load_config(folder, allow_pickle=allow_pickle)))
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
    return found


def _read_tabled(names: Sequence[str]) -> list[_Source]:
    """Find checkpoints that are all that tables say.

    Raises:
        ModelError: One is not here, or more or less than that.
    """
    found = []
    for name in names:
        if (tabled := open_tabled(locate_checkpoint(name))) is None:
            raise ModelError(f"{name}: tables do not say all of it")
        found.append(_Source(name, tabled.folder, tabled.config, tabled))
    return found


def _growth(
    sources: Sequence[_Source], plan: GrowthPlan, changes: Mapping[str, Any], *, preserves: str
) -> Growth:
    """Put a growth together for these checkpoints."""
    if plan.learned is not None:
        raise OperatorError("an operator that is learned needs training: use `lagsearch run`")
    if plan.ramp_end:
        raise OperatorError("what is faded in needs training: use `lagsearch run`")
    first = sources[0].config
    keys = grown_keys(
        first, {**changes, **plan.config_changes()}, [layer.layer for layer in plan.layers]
    )
    names, folders = tuple(each.name for each in sources), tuple(each.folder for each in sources)
    tabled = tuple(each.tabled for each in sources if each.tabled is not None)
    if tabled:
        config = tabled[0].config.grown(keys)
        if stored_config(config) is None and stored_config(tabled[0].config) is not None:
            raise ModelError("transformers makes no such model, and says why")
        entries = tabled_entries(plan, tabled, config)
        return Growth(names, folders, plan, config, entries, tabled, preserves=preserves)
    config = rebuild_config(keys)
    config.architectures = getattr(first, "architectures", None)
    return Growth(names, folders, plan, config, preserves=preserves)


def _check_settings(request: GrowRequest, operator: Operator) -> None:
    """Check the names of settings before anything is read.

    Raises:
        MistakeError: The operator has no such setting.
    """
    has_factor = "depth" in operator.grows and not request.target
    known = [*(["factor"] if has_factor else []), *operator.settings.model_fields]
    for key in request.settings:
        if key not in known:
            names, hint = ", ".join(known) or "none", did_you_mean(key, known)
            message = f"{request.operator} has no setting {key!r}{hint}"
            more = f"known: {names}; how large the target is, --target says"
            raise MistakeError(and_then(message, more), key)


def _width_to_give(operator: str, config: Any) -> str:
    """Say how a width is asked for, by a key that the source has."""
    family = find_family(config.model_type, config.to_dict())
    keys = (family.size_keys.ffn, *family.size_keys.residual) if family else ("hidden_size",)
    found = [(key, now) for key in keys if isinstance(now := getattr(config, key, None), int)]
    key, now = found[0] if found else (keys[0], None)
    example = f"{key}={2 * now} (now {now})" if now else f"{key}=N"
    return f"{operator} grows in width: say how wide, e.g. --target {example}"


def _depth(shapes: Sequence[ModelShape], operator: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the target's depth where settings or sources tell it; takes `factor` out."""
    depth = sum(shape.n_layers for shape in shapes)
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
