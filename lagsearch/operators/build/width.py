"""What every operator of the width shares: sizes, what may grow, and the plan around the lifts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.models.families import Family, SizeKeys, Units, family_of
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.operators.plan.width import (
    Fill,
    Lift,
    Split,
    Width,
)

MakeLift = Callable[[int, int], Lift]


@dataclass(frozen=True)
class WidthGrowth:
    """A growth in width that was found possible.

    Attributes:
        source: Shape of the source.
        family: The table of its weights.
        sizes: Number of units in source and target, by what grows.
        followers: Keys of the target that must follow others.
    """

    source: ModelShape
    family: Family
    sizes: Mapping[Units, tuple[int, int]]
    followers: tuple[tuple[str, Any], ...]

    @property
    def grown(self) -> dict[Units, tuple[int, int]]:
        """The sizes that differ."""
        return {name: pair for name, pair in self.sizes.items() if pair[0] != pair[1]}

    def check_doubled(self, name: str) -> None:
        """Check that all that grows is doubled.

        Raises:
            OperatorError: It is not.
        """
        sizes = dict(self.sizes)
        (groups, n_groups), (heads, n_heads) = sizes["key_value"], sizes.pop("heads")
        pairs = {_words(unit, self.family.size_keys): pair for unit, pair in sizes.items()}
        pairs[self.family.size_keys.heads] = (groups * heads, n_groups * n_heads)
        for key, (old, new) in pairs.items():
            if new not in (old, 2 * old):
                raise OperatorError(f"{name} doubles what grows: set {key} to {2 * old}, not {new}")

    def lifts(self, make: MakeLift, **other: MakeLift) -> Width:
        """Lift everything alike, but for the `other` that are named."""
        lifts = {name: other.get(name, make)(*pair) for name, pair in self.sizes.items()}
        width = Width(lifts["residual"], lifts["key_value"], lifts["heads"], lifts["ffn"])
        before, after = self.sizes["residual"]
        return replace(
            width,
            is_tied=bool(self.source.keys.get("tie_word_embeddings", False)),
            embedding_scale=math.sqrt(before / after) if self.family.scales_embedding else 1.0,
        )

    def plan(self, width: Width, *, noise: float = 0.0, warning: str | None = None) -> GrowthPlan:
        """Put the plan around the lifts."""
        layers = copies(range(self.source.n_layers))
        width = replace(width, config=(*self.followers, *width.config))
        return GrowthPlan(layers, noise=noise, width=width, warning=warning)

    def with_norms(self, width: Width) -> Width:
        """Scale gains and eps of the norms for what the new units take from their mean square.

        With x' of n units of which m hold copies and the others add nothing to the variance, the
        mean square is m / n of what it was: gains get the root of it, eps the ratio itself.
        Other norms have the same eps: what they take is scaled instead.
        """
        width = replace(width, scales_norms=True)
        ratio = width.residual.copied / width.residual.target
        key = self.family.size_keys.eps
        if ratio == 1 or key is None:
            return replace(width, gain_scale=math.sqrt(ratio))
        config = ((key, self.source.keys[key] * ratio),)
        root = math.sqrt(ratio)
        return replace(width, gain_scale=root, head_norm_scale=root, config=config)

    def eps_warning(self, width: Width) -> str | None:
        """Say where no key can scale the norms' eps."""
        if width.gain_scale == 1 or self.family.size_keys.eps is not None:
            return None
        return (
            f"{self.source.model_type} has no key for the eps of its norms, which should be scaled "
            f"by {width.gain_scale**2:.3g}: the function changes by as little as eps counts"
        )

    def check_new_heads(self, name: str, width: Width) -> None:
        """Check that new heads can learn where a norm spans all heads.

        There they must add nothing to its mean square, so all they begin with is what they read
        from new units of the residual stream.

        Raises:
            OperatorError: There are new heads, and no such units.
        """
        has_new = any(lift.copied < lift.target for lift in (width.key_value, width.heads))
        if not self.family.norms_span_heads or not has_new:
            return
        if width.residual.copied == width.residual.target:
            keys = self.family.size_keys
            raise OperatorError(
                f"{name} cannot add heads to {self.source.model_type} that are no whole copies of "
                "all: its norms of queries and keys span the heads, so new ones would have to be "
                f"zero for ever; set {keys.heads} and {keys.key_value} to whole multiples, or let "
                f"{keys.ffn} alone grow"
            )

    def spread_warning(self) -> str | None:
        """Say where copies of some heads only change what norms over all heads give."""
        pairs = [self.sizes["key_value"], self.sizes["heads"]]
        if not self.family.norms_span_heads or not any(new % old for old, new in pairs):
            return None
        return (
            f"norms of {self.source.model_type}'s queries and keys span all heads: where not every "
            "head gets as many copies the function is not preserved (lemon and zero preserve it)"
        )


def width_growth(name: str, source: ModelShape, target: ModelShape) -> WidthGrowth:
    """Find out how the widths grow, where nothing but widths grows.

    Raises:
        OperatorError: Nothing grows or something shrinks; the depth or another key differs; the
            size of a head would change; heads do not come in equal groups.
        ModelError: There is no table of the model's weights.
    """
    family = family_of(source.model_type, source.keys)
    keys = family.size_keys
    if source.n_layers != target.n_layers:
        raise OperatorError(
            f"{name} grows in width only; the target changes the depth {source.n_layers} to "
            f"{target.n_layers}"
        )
    for key, (old, new) in source.differences(target).items():
        if key not in keys.names:
            raise OperatorError(
                f"{name} grows in width only; the target changes {key} {old} to {new}"
            )
    before, after = _sizes(source, keys), _sizes(target, keys)
    _check_heads(source, target, keys)
    sizes = {unit: (before[unit], after[unit]) for unit in before}
    for unit, (old, new) in sizes.items():
        if new < old:
            raise OperatorError(f"{name} cannot shrink {_words(unit, keys)} from {old} to {new}")
    if before == after:
        raise OperatorError(
            f"{name} grows in width, but the target is as wide as the source: change one of "
            f"{', '.join(sorted(keys.names))}"
        )
    width, heads = target.keys[keys.residual[0]], target.keys[keys.heads]
    follow = {**dict.fromkeys(keys.residual[1:], width), **dict.fromkeys(keys.as_heads, heads)}
    followers = tuple((key, value) for key, value in follow.items() if source.keys[key] != value)
    _check_numbered(name, source, family, sizes)
    for one, other in family.unequal:
        if target.keys[one] == target.keys[other]:
            raise OperatorError(
                f"{name} cannot grow {source.model_type} to {other} {target.keys[other]}, its "
                f"{one}: it would lose the projection between them"
            )
    return WidthGrowth(source, family, sizes, followers)


def _check_numbered(
    name: str, source: ModelShape, family: Family, sizes: Mapping[Units, tuple[int, int]]
) -> None:
    """Check that no head is added where heads compute by their number.

    Raises:
        OperatorError: One is; the message says why it cannot be.
    """
    pairs = (sizes["key_value"], sizes["heads"])
    if all(old == new for old, new in pairs):
        return
    for key, reason in family.no_heads:
        if source.keys.get(key):
            raise OperatorError(
                f"{name} cannot add heads to {source.model_type} with {key}: {reason}; let "
                f"{family.size_keys.ffn} alone grow"
            )


def _sizes(shape: ModelShape, keys: SizeKeys) -> dict[Units, int]:
    """Count the units of a shape.

    Raises:
        OperatorError: A size is no whole number, or the heads do not come in equal groups.
    """
    residual, heads = shape.keys[keys.residual[0]], shape.keys[keys.heads]
    groups = keys.groups(shape.keys)
    ffn = shape.keys.get(keys.ffn)
    ffn = 4 * residual if ffn is None else ffn
    named = {keys.residual[0]: residual, keys.heads: heads, keys.ffn: ffn}
    named |= {} if keys.key_value is None else {keys.key_value: groups}
    for key, value in named.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise OperatorError(f"{key} {value!r} must be a whole number of at least 1")
    if heads % groups:
        raise OperatorError(f"{keys.heads} {heads} must be a multiple of {keys.key_value} {groups}")
    return {"residual": residual, "key_value": groups, "heads": heads // groups, "ffn": ffn}


def _check_heads(source: ModelShape, target: ModelShape, keys: SizeKeys) -> None:
    """Check that the size of a head stays.

    Raises:
        OperatorError: It does not; the message says what to set.
    """
    if source.keys.get(keys.head_dim) is not None:
        return
    residual, heads = keys.residual[0], keys.heads
    size = source.keys[residual] // source.keys[heads]
    width, number = target.keys[residual], target.keys[heads]
    if width == size * number:
        return
    mend = f"set {residual} to {size * number}"
    if width % size == 0:
        mend = f"set {heads} to {width // size}"
    raise OperatorError(
        f"{residual} {width} with {heads} {number} would change the size of a head from {size}: "
        f"{mend}"
    )


def _words(unit: Units, keys: SizeKeys) -> str:
    groups = keys.key_value
    return {
        "residual": keys.residual[0],
        "key_value": groups or "the number of keys",
        "heads": f"the number of {keys.heads} for each of {groups}" if groups else keys.heads,
        "ffn": keys.ffn,
    }[unit]


def copied(split: Split) -> MakeLift:
    """Return lifts whose units are copies all, in turn."""
    return lambda source, target: Lift(source, target, target, split)


def padded(below: Fill, right: Fill, corner: Fill) -> MakeLift:
    """Return lifts whose units beyond the source's are new."""
    return lambda source, target: Lift(source, target, source, "even", below, right, corner)
