"""A growth in width as data: what each axis' units beyond the source's own are.

A unit is a place of the residual stream, a key/value group with its heads, a query head of a
group, or a feed-forward unit. Target unit i stands for source unit i mod n where it is a copy;
the others are new. Between copies all blocks of a matrix follow from the shares; a matrix' other
three blocks, named as in W' = [[W, right], [below, corner]], are what the lifts say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lagsearch.models.families import Axis, Units, units_of

Fill = Literal["zero", "random", "copy", "mean"]
"""What stands in a block of new units: `zero`; the `random` values of a fresh model; a `copy` of
what units i mod n have; or, in rows only, the `mean` of all of the source's rows."""

Split = Literal["even", "uneven", "own"]
"""How readers share a unit that has c copies: each is read with 1/c (`even`); with shares that
change from row to row and sum to one (`uneven`); or the r-th copy of a reader reads the r-th copy
alone (`own`; where readers have no copies, evenly)."""


@dataclass(frozen=True)
class Lift:
    """How one axis grows.

    Attributes:
        source: Number of the source's units, n.
        target: Number of the target's.
        copied: Target units below this one are copies, of unit i mod n; the others are new.
        split: How copies are shared among those that read them.
        below: Rows of new units, for what they read from copies.
        right: Columns of new units, for those of their readers that are copies.
        corner: Rows of new units, for what they read from new units.
    """

    source: int
    target: int
    copied: int
    split: Split = "even"
    below: Fill = "zero"
    right: Fill = "zero"
    corner: Fill = "zero"

    def kept(self) -> "Lift":
        """Return a lift under which all of the target's units were there before."""
        return Lift(self.target, self.target, self.target)


@dataclass(frozen=True)
class Width:
    """How a whole model grows in width.

    Attributes:
        residual: Lift of the residual stream.
        key_value: Lift of the key/value groups; a group brings its query heads along.
        heads: Lift of the query heads of a group.
        ffn: Lift of the feed-forward units.
        gain_scale: Factor of the gains of norms on the residual stream.
        scales_norms: Norms over all heads, too, make up for what new ones take from their mean
            square.
        new_gain: Gains of new units.
        head_norm_scale: Factor of what goes through a norm of its own in each head; with the
            norms' eps scaled by its square, those norms give what they gave.
        embedding_scale: Factor of embeddings, where the model scales them by its width.
        is_tied: The head is the embedding, so that the norm before it holds the copies' shares.
        takes_from_next_layer: Rows beyond the source's own, of what reads the residual stream,
            come from the layer above.
        random_scale: Factor of random blocks.
        ramp_steps: Steps over which new units are faded in, one stage of `fading` after the other;
            0 lets them count at once.
        config: Configuration keys that change with it, and their values.
    """

    residual: Lift
    key_value: Lift
    heads: Lift
    ffn: Lift
    gain_scale: float = 1.0
    scales_norms: bool = False
    new_gain: Fill = "random"
    head_norm_scale: float = 1.0
    embedding_scale: float = 1.0
    is_tied: bool = False
    takes_from_next_layer: bool = False
    random_scale: float = 1.0
    ramp_steps: int = 0
    config: tuple[tuple[str, Any], ...] = ()

    @property
    def lifts(self) -> Mapping[Units, Lift]:
        """The lifts by what they grow."""
        return {
            "residual": self.residual,
            "key_value": self.key_value,
            "heads": self.heads,
            "ffn": self.ffn,
        }

    @property
    def before(self) -> Mapping[Units, int]:
        """The source's number of each unit."""
        return {unit: lift.source for unit, lift in self.lifts.items()}

    @property
    def after(self) -> Mapping[Units, int]:
        """The target's number of each unit."""
        return {unit: lift.target for unit, lift in self.lifts.items()}

    def copied_share(self, axis: Axis) -> float:
        """Return the share of copies among an axis' places: what is left of their mean square."""
        lifts = [self.lifts[unit] for unit in units_of(axis)]
        return math.prod(lift.copied / lift.target for lift in lifts)

    @property
    def keeps_copies_equal(self) -> bool:
        """Whether copies of a unit get equal gradients: what reads them does so evenly."""
        return any(
            lift.copied > lift.source and lift.split == "even" for lift in self.lifts.values()
        )

    @property
    def fading(self) -> tuple[frozenset[str], ...]:
        """Units that grow, in the order in which a ramp fades them in: its stages."""
        grown = {name for name, lift in self.lifts.items() if lift.source != lift.target}
        stages = ({"ffn"}, {"residual"}, {"key_value", "heads"})
        return tuple(frozenset(stage) for stage in stages if stage & grown)

    def text(self) -> str:
        """Say what grows: `residual 64-128, ffn 256-512`."""
        sizes = {name: (lift.source, lift.target) for name, lift in self.lifts.items()}
        (groups, n_groups), (heads, n_heads) = sizes["key_value"], sizes["heads"]
        sizes["heads"] = (groups * heads, n_groups * n_heads)
        if sizes["key_value"] == sizes["heads"]:
            del sizes["key_value"]
        grown = {name: pair for name, pair in sizes.items() if pair[0] != pair[1]}
        return ", ".join(f"{name} {source}-{target}" for name, (source, target) in grown.items())

    @property
    def has_random(self) -> bool:
        """Whether values of a fresh model stay in it."""
        lifts = [each for each in self.lifts.values() if each.copied < each.target]
        fills = {fill for each in lifts for fill in (each.below, each.right, each.corner)}
        return "random" in fills or (self.residual in lifts and self.new_gain == "random")

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "Width":
        """Read it from plain values."""
        lifts = {name: Lift(**plain[name]) for name in ("residual", "key_value", "heads", "ffn")}
        config = tuple((key, value) for key, value in plain["config"])
        return Width(**{**plain, **lifts, "config": config})
