"""What a family's table says of each weight: its name, the axes it lies on, and what it does.

An axis is one of the families of units that grow together. A matrix's axes are written in the
order in which they are stored, so a table shows at a glance which layout a family has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lagsearch.errors import PluginError

Axis = Literal[
    "residual",
    "query",
    "key_value",
    "ffn",
    "embedding",
    "vocabulary",
    "position",
    "head_dim",
    "qkv_blocks",
    "qkv_per_head",
    "qkv_per_group",
    "gate_up",
]
"""`query` and `key_value` are the units of all heads; `head_dim` those of one head, which stay, as
do those of an `embedding` that is projected to the residual stream.

Fused projections: `qkv_blocks` holds all queries, all keys, all values (GPT-2, Phi-3);
`qkv_per_head` holds query, key and value of each head in turn (GPT-NeoX), and `qkv_per_group` those
of each group: all its queries, its key, its value (Falcon). `gate_up` holds the gate's rows of all
feed-forward units, and then the others (Phi-3).
"""

Role = Literal["reader", "writer", "norm", "shift", "embedding", "head", "inner"]
"""`reader` takes from the residual stream, `writer` adds to it, `inner` stays on it (BERT's MLM
transform); `norm` is a norm's gain and `shift` its bias; `embedding` and `head` are the ends."""

Units = Literal["residual", "key_value", "heads", "ffn"]
"""What a width grows in: `key_value` counts the groups of heads that share one key and value (all
heads, where none share), `heads` the query heads of one group."""

Counted = tuple["Units | tuple[Counted, ...]", ...]
"""How places are counted, outermost first: by units, or by parts that stand one after the other,
each counted in its own way; an empty one is a single unit that never grows. Within the innermost
lies what each unit holds: a head's dimensions."""

UNITS: Mapping[Axis, Counted] = {
    "residual": ("residual",),
    "query": ("key_value", "heads"),
    "key_value": ("key_value",),
    "ffn": ("ffn",),
    "qkv_blocks": ((("key_value", "heads"), ("key_value",), ("key_value",)),),
    "qkv_per_head": ("key_value", "heads"),
    "qkv_per_group": ("key_value", (("heads",), (), ())),
    "gate_up": ((("ffn",), ("ffn",)),),
}
"""How the places of an axis are counted. Axes that are not here never grow."""


def units_of(axis: Axis | None) -> frozenset[Units]:
    """Return the units that an axis grows with."""
    return _units(UNITS.get(axis, ()) if axis is not None else ())


def _units(counted: Counted) -> frozenset[Units]:
    found: set[Units] = set()
    for part in counted:
        found |= {part} if isinstance(part, str) else {u for each in part for u in _units(each)}
    return frozenset(found)


@dataclass(frozen=True)
class Weight:
    """One tensor.

    Attributes:
        name: Inside of its layer, or whole outside of the layers.
        axes: The axis of each dimension, as stored.
        role: What it does.
        normed_over: A norm follows what it makes: over each head (`head_dim`, Qwen3's queries and
            keys) or over all of them (OLMo 2's).
        counts_from: What is added to the stored values where they are used: 1 in Gemma's norms.
        is_last: A norm behind what writes, whose output is added to the residual stream.
    """

    name: str
    axes: tuple[Axis, ...]
    role: Role
    normed_over: Axis | None = None
    counts_from: float = 0.0
    is_last: bool = False

    @property
    def input_place(self) -> int | None:
        """The dimension of what it reads (an embedding: tokens); None for a vector."""
        if len(self.axes) < 2:
            return None
        if "residual" not in self.axes:
            return 1
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
        as_heads: Keys that must equal the number of query heads.
        key_value: Number of key/value heads; a model without it has as many as query heads. None
            where all query heads share one.
        ffn: Feed-forward units; a model that leaves it empty has four times the residual stream's.
        head_dim: Size of one head; a model without it divides the residual stream by the heads.
        eps: What norms add to the variance; None where no key says it.
    """

    residual: tuple[str, ...] = ("hidden_size",)
    heads: str = "num_attention_heads"
    as_heads: tuple[str, ...] = ()
    key_value: str | None = "num_key_value_heads"
    ffn: str = "intermediate_size"
    head_dim: str = "head_dim"
    eps: str | None = "layer_norm_eps"

    @property
    def names(self) -> frozenset[str]:
        """All keys that may differ where a model grows in width."""
        groups = () if self.key_value is None else (self.key_value,)
        return frozenset((*self.residual, self.heads, *self.as_heads, *groups, self.ffn))

    def groups(self, keys: Mapping[str, Any]) -> Any:
        """Return the number of key/value heads that a configuration's keys say."""
        return 1 if self.key_value is None else keys.get(self.key_value) or keys[self.heads]


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
        scales_embedding: Whether embeddings are multiplied by the root of the width.
        requires: Configuration keys that must have these values for the table to hold. Where a
            model type has several tables, they tell which of them does.
        equal: Pairs of configuration keys that must have the same value.
        unequal: Pairs that must not, or the model would lack some of the weights.
        no_heads: Pairs of a key and the reason why no head can be added where it is set.
    """

    name: str
    model_types: tuple[str, ...]
    layer: tuple[Weight, ...]
    bottom: tuple[Weight, ...]
    top: tuple[Weight, ...]
    norm: Literal["rms", "layer"]
    size_keys: SizeKeys = SizeKeys()
    is_post_norm: bool = False
    scales_embedding: bool = False
    requires: Mapping[str, Any] = field(default_factory=dict)
    equal: tuple[tuple[str, str], ...] = ()
    unequal: tuple[tuple[str, str], ...] = ()
    no_heads: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.model_types, str):
            hint = f"write ({self.model_types!r},)"
            raise PluginError(f"family {self.name!r}: model_types is a tuple; {hint}")

    @property
    def closing(self) -> frozenset[str]:
        """Names of a layer's tensors that let it add nothing where they count nothing.

        They are what writes to the residual stream or, where norms follow that, these norms: they
        would blow up whatever a projection that begins at zero learns first to its full size.
        """
        last = {weight.name for weight in self.layer if weight.is_last}
        return frozenset(last or {weight.name for weight in self.layer if weight.role == "writer"})

    @property
    def norms_span_heads(self) -> bool:
        """Whether a norm takes its mean square over the queries of all heads."""
        return any(weight.normed_over == "query" for weight in self.layer)


def linear(
    name: str,
    axes: tuple[Axis, Axis],
    role: Role,
    *,
    is_transposed: bool = False,
    normed_over: Axis | None = None,
) -> tuple[Weight, Weight]:
    """Return a linear map's weight and bias.

    Args:
        name: Of its module.
        axes: Output and input.
        role: What it does.
        is_transposed: It is stored input first (transformers' `Conv1D`).
        normed_over: A norm over this axis follows.
    """
    stored = axes[::-1] if is_transposed else axes
    return (
        Weight(f"{name}.weight", stored, role, normed_over),
        Weight(f"{name}.bias", axes[:1], role, normed_over),
    )


def layer_norm(name: str, axis: Axis = "residual") -> tuple[Weight, Weight]:
    """Return a norm's gain and shift."""
    return Weight(f"{name}.weight", (axis,), "norm"), Weight(f"{name}.bias", (axis,), "shift")
