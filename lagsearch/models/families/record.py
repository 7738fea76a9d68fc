"""What a family's table says of each weight: its name, the axes it lies on, and what it does.

An axis is one of the families of units that grow together. A matrix's axes are written in the
order in which they are stored, so a table shows at a glance which layout a family has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Axis = Literal[
    "residual",
    "query",
    "key_value",
    "ffn",
    "vocabulary",
    "position",
    "head_dim",
    "qkv_blocks",
    "qkv_per_head",
    "gate_up",
]
"""`query` and `key_value` are the units of all heads; `head_dim` those of one head, which stay.

Fused projections: `qkv_blocks` holds all queries, all keys, all values (GPT-2); `qkv_per_head`
holds query, key and value of each head in turn (GPT-NeoX). `gate_up` holds the gate's rows of all
feed-forward units, and then the others (Phi-3).
"""

Role = Literal["reader", "writer", "norm", "shift", "embedding", "head", "inner"]
"""`reader` takes from the residual stream, `writer` adds to it, `inner` stays on it (BERT's MLM
transform); `norm` is a norm's gain and `shift` its bias; `embedding` and `head` are the ends."""

Units = Literal["residual", "key_value", "heads", "ffn"]
"""What a width grows in: `key_value` counts the groups of heads that share one key and value (all
heads, where none share), `heads` the query heads of one group."""

UNITS: Mapping[Axis, tuple[Units | int, ...]] = {
    "residual": ("residual",),
    "query": ("key_value", "heads"),
    "key_value": ("key_value",),
    "ffn": ("ffn",),
    "qkv_blocks": (3, "key_value", "heads"),
    "qkv_per_head": ("key_value", "heads"),
    "gate_up": (2, "ffn"),
}
"""How the places of an axis are counted, outermost first; a number never grows, and within the
innermost lies what each unit holds (a head's dimensions). Axes that are not here never grow."""


@dataclass(frozen=True)
class Weight:
    """One tensor.

    Attributes:
        name: Inside of its layer, or whole outside of the layers.
        axes: The axis of each dimension, as stored.
        role: What it does.
        is_normed: A norm over each head follows what it makes (Qwen3's queries and keys).
    """

    name: str
    axes: tuple[Axis, ...]
    role: Role
    is_normed: bool = False

    @property
    def input_place(self) -> int | None:
        """The dimension of what it reads (an embedding: tokens); None for a vector."""
        if len(self.axes) < 2:
            return None
        residual = self.axes.index("residual")
        return {"writer": 1 - residual, "embedding": 1 - residual, "inner": 1}.get(
            self.role, residual
        )


@dataclass(frozen=True)
class SizeKeys:
    """Configuration keys that say how wide a model is, by the names it stores.

    Attributes:
        residual: Size of the residual stream; the keys behind the first must equal it.
        heads: Number of query heads.
        key_value: Number of key/value heads; a model without it has as many as query heads.
        ffn: Feed-forward units; a model that leaves it empty has four times the residual stream's.
        head_dim: Size of one head; a model without it divides the residual stream by the heads.
        eps: What norms add to the variance; None where no key says it.
    """

    residual: tuple[str, ...] = ("hidden_size",)
    heads: str = "num_attention_heads"
    key_value: str = "num_key_value_heads"
    ffn: str = "intermediate_size"
    head_dim: str = "head_dim"
    eps: str | None = "layer_norm_eps"

    @property
    def names(self) -> frozenset[str]:
        """All keys that may differ where a model grows in width."""
        return frozenset((*self.residual, self.heads, self.key_value, self.ffn))


@dataclass(frozen=True)
class Family:
    """Models that name and arrange their weights alike.

    Attributes:
        name: Of the family.
        model_types: As transformers' configurations say it.
        layer: Weights of each layer; some models lack some (biases, say).
        bottom: Weights before the first layer: embeddings and their norm.
        top: Weights after the last layer: final norm, head.
        norm: `rms` or `layer`.
        size_keys: What the configuration calls the widths.
        is_post_norm: Whether a norm follows each addition to the residual stream; then no growth
            of the depth can preserve the function.
        requires: Configuration keys that must have these values for the table to hold.
        equal: Pairs of configuration keys that must have the same value.
        equal_in_width: Pairs that must have it where the width grows.
        no_width: Why no width can grow, if none can.
    """

    name: str
    model_types: tuple[str, ...]
    layer: tuple[Weight, ...]
    bottom: tuple[Weight, ...]
    top: tuple[Weight, ...]
    norm: Literal["rms", "layer"]
    size_keys: SizeKeys = SizeKeys()
    is_post_norm: bool = False
    requires: Mapping[str, Any] = field(default_factory=dict)
    equal: tuple[tuple[str, str], ...] = ()
    equal_in_width: tuple[tuple[str, str], ...] = ()
    no_width: str = ""


def linear(
    name: str,
    axes: tuple[Axis, Axis],
    role: Role,
    *,
    is_transposed: bool = False,
    is_normed: bool = False,
) -> tuple[Weight, Weight]:
    """Return a linear map's weight and bias.

    Args:
        name: Of its module.
        axes: Output and input.
        role: What it does.
        is_transposed: It is stored input first (transformers' `Conv1D`).
        is_normed: A norm over each head follows.
    """
    stored = axes[::-1] if is_transposed else axes
    return (
        Weight(f"{name}.weight", stored, role, is_normed),
        Weight(f"{name}.bias", axes[:1], role, is_normed),
    )


def layer_norm(name: str, axis: Axis = "residual") -> tuple[Weight, Weight]:
    """Return a norm's gain and shift."""
    return Weight(f"{name}.weight", (axis,), "norm"), Weight(f"{name}.bias", (axis,), "shift")
