"""A schedule found on one model, carried over to a deeper one: layers and steps in proportion."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from lagsearch.errors import LagsearchError, SpaceError, counted
from lagsearch.models.configs import n_layers
from lagsearch.models.tabled_configs import config_of
from lagsearch.operators import all_operators, find_operator
from lagsearch.operators.depths import Depths
from lagsearch.planning.brought import brought_config
from lagsearch.planning.run import plan
from lagsearch.space import (
    STRIDES,
    Space,
    SpaceFile,
    depth_key,
    dump_yaml,
    load_space,
    written_out,
)
from lagsearch.storage.files import write_text

Plain = dict[str, Any]


@dataclass(frozen=True)
class Scaled:
    """A schedule for another depth.

    Attributes:
        plain: The space, as plain values.
        lines: What became of what, one line each.
    """

    plain: Plain
    lines: tuple[str, ...]


def scale_schedule(path: Path, layers: int | None, steps: int | None, out: Path) -> tuple[str, ...]:
    """Write a schedule for another depth and length, and say how it was made.

    Args:
        path: A schedule: one candidate in each stage.
        layers: Layers at the end; as they are when left out.
        steps: Training steps of all stages; as they are when left out.
        out: The new file.

    Raises:
        LagsearchError: It is no schedule, or cannot be scaled so.
    """
    if out.exists():
        raise LagsearchError(f"{out}: is there already; choose another file with --out")
    scaled = scaled_schedule(path, layers, steps)
    write_text(out, dump_yaml(scaled.plain))
    try:
        plan(out)
    except LagsearchError:
        out.unlink()
        raise
    return scaled.lines


def scaled_schedule(path: Path, layers: int | None, steps: int | None) -> Scaled:
    """Return a schedule for another depth and length.

    Depths are multiplied by the quotient of the final depths and rounded, rising by one layer at
    least. In each stage a start index keeps its share of the range of feasible ones, 0 to L - n;
    a block size its share of the n new layers, rounded to the nearest divisor of the new n, in
    proportion. Steps keep their shares of the whole, what rounding leaves over goes to the last
    stage; K, warm-up and the like are left as they are.

    Raises:
        LagsearchError: It is no schedule, or cannot be scaled so.
    """
    file = load_space(path)
    if layers is None and steps is None:
        raise LagsearchError("schedule scale: give --layers, --steps or both")
    if file.has_stages:
        return _staged(file, layers, steps)
    return _single(path, file.space, layers, steps)


def _staged(file: SpaceFile, layers: int | None, steps: int | None) -> Scaled:
    plain = file.written_out()
    stages = [dict(each) for each in plain["stages"]]
    before = None if "model" in stages[0] else _source_depth(file.stages[0].space)
    depths = [_depth(file, number, each) for number, each in enumerate(stages)]
    scaled = _depths(([] if before is None else [before]) + depths, layers, file)
    new_depths = scaled if before is None else scaled[1:]
    first = None if before is None else scaled[0]
    if before is not None and first != before:
        plain["sources"] = _scaled_sources(file.path, plain["sources"], before, scaled[0])
    new_steps = _steps([each["steps"] for each in stages], steps)
    lines, last = [], (before, first)
    for number, entry in enumerate(stages):
        depth, new = depths[number], new_depths[number]
        entry["steps"] = new_steps[number]
        was = file.stages[number].space.training.steps
        said = f"stage {number + 1}: {depth} to {new} layers, {was:,} to {entry['steps']:,} steps"
        if "model" in entry:
            entry["model"] = {**entry["model"], _key(entry["model"]): new}
        else:
            entry["target"] = {**entry["target"], _key(entry["target"]): new}
            grown, told = _candidate(file, number, entry["candidates"], (*last, depth, new))
            entry["candidates"] = [grown]
            said += told
        if "lag" in entry:
            entry["lag"] = min(entry["lag"], entry["steps"])
        lines.append(said)
        last = (depth, new)
    return Scaled({**plain, "stages": stages}, tuple(lines))


def _single(path: Path, space: Space, layers: int | None, steps: int | None) -> Scaled:
    if len(space.candidates) != 1:
        raise SpaceError(
            f"{path}: is no schedule: it has {counted(len(space.candidates), 'candidate')}; give "
            "the schedule.yaml that a run left"
        )
    before, key = _source_depth(space), depth_key(space.target)
    if key is None:
        raise SpaceError(f"{path}: target has no num_hidden_layers to scale")
    depth = space.target[key]
    ratio = (layers or depth) / depth
    new_before, new = round(before * ratio), layers or depth
    if any(_is_choice(each) for each in space.candidates[0].values()):
        raise SpaceError(f"{path}: is no schedule: it leaves something to choose")
    plain = written_out(space)
    if new_before != before:
        plain["sources"] = _scaled_sources(path, plain["sources"], before, new_before)
    plain["target"] = {**plain["target"], key: new}
    grown, told = _scaled_candidate(dict(space.candidates[0]), before, new_before, depth, new)
    plain["candidates"] = [grown]
    plain["training"]["steps"] = steps or space.training.steps
    line = f"{before} to {depth} layers becomes {new_before} to {new}, "
    line += f"{space.training.steps:,} to {plain['training']['steps']:,} steps{told}"
    return Scaled(plain, (line,))


def _scaled_sources(path: Path, sources: Sequence[Plain], before: int, new: int) -> list[Plain]:
    """Return sources that are pretrained with another depth."""
    scaled = deepcopy(list(sources))
    for source in scaled:
        if source.get("pretrain") is None:
            raise SpaceError(
                f"{path}: source {source['name']} is a checkpoint of {before} layers and cannot be "
                f"scaled to {new}"
            )
        config = source["pretrain"]["config"]
        config[_key(config)] = new
    return scaled


def _source_depth(space: Space) -> int:
    source = space.sources[0]
    if source.pretrain is not None:
        return n_layers(config_of(source.pretrain.config, is_written=True))
    return n_layers(brought_config(source.checkpoint or ""))


def _key(config: Plain) -> str:
    return depth_key(config) or "num_hidden_layers"


def _depth(file: SpaceFile, number: int, stage: Plain) -> int:
    part = stage.get("model") or stage["target"]
    key = depth_key(part)
    if key is None or ("target" in stage and len(part) > 1):
        raise file.stages[number].error(("target",), "grows in width, too: it cannot be scaled")
    return int(part[key])


def _depths(depths: Sequence[int], layers: int | None, file: SpaceFile) -> list[int]:
    """Return depths in proportion, each at least one layer above the one before."""
    if layers is None:
        return list(depths)
    scaled: list[int] = []
    for depth in depths:
        least = scaled[-1] + 1 if scaled else 1
        scaled.append(max(least, floor(depth * layers / depths[-1] + 0.5)))
    if scaled[-1] != layers:
        raise SpaceError(f"{file.path}: {layers} layers are too few for {len(depths)} depths")
    return scaled


def _steps(steps: Sequence[int], whole: int | None) -> list[int]:
    """Return steps in proportion; what rounding leaves over goes to the last stage."""
    if whole is None:
        return list(steps)
    if whole < len(steps):
        raise LagsearchError(f"--steps {whole}: are too few for {len(steps)} stages")
    scaled = [max(1, each * whole // sum(steps)) for each in steps]
    return [*scaled[:-1], whole - sum(scaled[:-1])]


def _candidate(
    file: SpaceFile, number: int, listed: Sequence[Plain], depths: tuple[Any, ...]
) -> tuple[Plain, str]:
    stage = file.stages[number]
    if len(listed) != 1 or any(_is_choice(each) for each in listed[0].values()):
        raise stage.error(("candidates",), "is no schedule: it leaves something to choose")
    before, new_before, depth, new = depths
    try:
        return _scaled_candidate(dict(listed[0]), before, new_before, depth, new)
    except LagsearchError as error:
        raise stage.error(("candidates",), str(error)) from None


def _is_choice(value: Any) -> bool:
    return isinstance(value, list) or value in tuple(STRIDES)


def _scaled_candidate(
    entry: Plain, before: int, new_before: int, depth: int, new: int
) -> tuple[Plain, str]:
    """Return a candidate for other depths, and what became of its settings."""
    name = str(entry.get("operator"))
    scale = find_operator(name).scale
    if scale is None:
        known = ", ".join(each.name for each in all_operators() if each.scale is not None)
        raise LagsearchError(f"{name} cannot be scaled; known: {known}")
    settings = {key: value for key, value in entry.items() if key != "operator"}
    scaled, told = scale(settings, Depths(before, depth, new_before, new))
    return {**entry, **scaled}, told or f", {name} as it is"
