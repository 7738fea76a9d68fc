"""The target that a checkpoint is grown to, and the growths that it can have."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

from lagsearch.errors import ModelError, OperatorError
from lagsearch.init.checkpoint import SourceCheckpoint
from lagsearch.models.configs import shape_of, stored_name
from lagsearch.models.families import family_of
from lagsearch.operators import find_operator
from lagsearch.planning.first_looks import LARGEST_FACTOR, check_layers
from lagsearch.planning.planned import PlannedCandidate
from lagsearch.planning.planner import Planner, make_planner
from lagsearch.planning.vocabulary import vocabulary_without_data
from lagsearch.space import Entry, Space, check_file, expand

Plain = dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """A growth as a space lists it.

    Attributes:
        entry: Operator and settings.
        summary: What it does, in a sentence.
        reason: Why it cannot be here; None where it can.
    """

    entry: Plain
    summary: str
    reason: str | None = None


@dataclass(frozen=True)
class Growths:
    """What a checkpoint can be grown by.

    Attributes:
        planner: Plans them.
        planned: Those that can be.
        listed: All, those that cannot be with the reason.
    """

    planner: Planner
    planned: tuple[PlannedCandidate, ...]
    listed: tuple[Listed, ...]


def deeper(checkpoint: SourceCheckpoint, layers: int | None) -> Plain:
    """Return the target's depth; half as many layers more where none is given.

    Raises:
        ModelError: It is not above the source's, or too far.
    """
    own = checkpoint.n_layers
    wanted = layers or (3 * own + 1) // 2
    check_layers(checkpoint.written, own, wanted)
    return {stored_name(checkpoint.config, "num_hidden_layers"): wanted}


def wider(checkpoint: SourceCheckpoint, hidden: int) -> Plain:
    """Return the target's widths: heads and feed-forward units grow in proportion.

    The size of a head stays.

    Raises:
        ModelError: There is no table of the weights, or heads would not come out whole.
    """
    shape = shape_of(checkpoint.config)
    keys = family_of(shape.model_type, shape.keys).size_keys
    own, heads = shape.keys[keys.residual[0]], shape.keys[keys.heads]
    groups = heads if keys.key_value is None else keys.groups(shape.keys)
    step = own // gcd(own, groups)
    if hidden <= own:
        raise ModelError(
            f"--hidden {hidden}: {checkpoint.written} is {own} wide already; give more, e.g. "
            f"{2 * own}"
        )
    if hidden > (most := LARGEST_FACTOR * own):
        raise ModelError(
            f"--hidden {hidden}: {checkpoint.written} is {own} wide; give {most} at most, e.g. "
            f"{2 * own}"
        )
    if hidden % step:
        near = [hidden // step * step, (hidden // step + 1) * step]
        allowed = " or ".join(str(each) for each in near if each > own)
        raise ModelError(
            f"--hidden {hidden}: heads keep their size, so the width grows by {step} at a time; "
            f"give {allowed}"
        )
    target: Plain = {keys.residual[0]: hidden, keys.heads: heads * hidden // own}
    if keys.key_value is not None and shape.keys.get(keys.key_value):
        target[keys.key_value] = groups * hidden // own
    if shape.keys.get(keys.ffn):
        target[keys.ffn] = shape.keys[keys.ffn] * hidden // own
    return target


_WIDTH: tuple[Plain, ...] = (
    {"operator": "zero"},
    {"operator": "net2net"},
    {"operator": "net2net", "noise": 0.1},
    {"operator": "lemon"},
    {"operator": "duplicate-halves", "noise": 0.1},
    {"operator": "aki"},
    {"operator": "random-width"},
)

_BOTH: tuple[Plain, ...] = tuple(
    {"width": width, "depth": depth}
    for width in ("zero", "net2net")
    for depth in ("stack", "interleave", "identity", "random")
)


def _depth(n_source: int, n_target: int) -> tuple[Plain, ...]:
    n_new = n_target - n_source
    spread = sorted({0, (n_source - n_new) // 2, n_source - n_new}) if n_new <= n_source else [0]
    return (
        {"operator": "stack"},
        {"operator": "interleave"},
        {"operator": "identity"},
        {"operator": "identity", "placement": "stacked"},
        {"operator": "identity", "placement": "pro"},
        {"operator": "random"},
        {"operator": "last"},
        {"operator": "middle"},
        {"operator": "solar"},
        {"operator": "lag", "index": spread, "block_size": 1, "init": "random"},
    )


def find_growths(plain: Plain) -> Growths:
    """Find out which of the usual growths a space's source and target can have.

    Args:
        plain: The space as plain values, without candidates.

    Raises:
        LagsearchError: The space cannot be, or none of them fits.
    """
    name = str(plain["sources"][0]["checkpoint"])
    whole = {**plain, "candidates": [{"operator": "scratch"}]}
    file = check_file(Path(name), whole, {(): name}).stage
    vocabulary, _ = vocabulary_without_data(file)
    planner = make_planner(file, vocabulary)
    (source,) = planner.shapes.values()
    is_deeper = planner.target.n_layers > source.n_layers
    is_wider = bool(source.differences(planner.target))
    proposed = _WIDTH
    if is_deeper:
        proposed = _BOTH if is_wider else _depth(source.n_layers, planner.target.n_layers)
    planned: dict[str, PlannedCandidate] = {}
    listed = [_looked_at(each, planner, planned) for each in proposed]
    if not planned:
        reasons = "; ".join(dict.fromkeys(each.reason for each in listed if each.reason))
        raise OperatorError(f"none of the usual growths fits: {reasons}")
    return Growths(planner, tuple(planned.values()), tuple(listed))


def _looked_at(entry: Plain, planner: Planner, planned: dict[str, PlannedCandidate]) -> Listed:
    """Return a growth with the reason why it cannot be, or enter it into what is planned."""
    summary = find_operator(entry.get("operator", "combined")).summary
    space: Space = planner.file.space.model_copy(update={"candidates": (entry,)})
    try:
        found = [planner.candidate(each) for each in _entries(space)]
    except (OperatorError, ModelError) as error:
        return Listed(entry, summary, str(error))
    new = {each.growth: each for each in found if each.growth not in planned}
    if not new:
        return Listed(entry, summary, f"the same growth as {planned[found[0].growth].name}")
    planned.update(new)
    return Listed(entry, summary)


def _entries(space: Space) -> Sequence[Entry]:
    return tuple(expand(space))
