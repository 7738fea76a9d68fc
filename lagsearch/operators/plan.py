"""A growth as data: where every tensor of the target comes from."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Treatment = Literal["copy", "random"]
"""`copy` the origin's tensors, or keep the `random` ones of a fresh model."""


@dataclass(frozen=True)
class Origin:
    """Where the tensors outside of the layers come from: embedding, final norm and head.

    Attributes:
        source: Index of the source model.
        treatment: What is done with its tensors.
    """

    source: int = 0
    treatment: Treatment = "copy"


@dataclass(frozen=True)
class LayerOrigin:
    """Where one target layer comes from.

    Attributes:
        source: Index of the source model.
        layer: The source layer (0-based) that it copies or, if random, stands in for; None where
            there is no such layer.
        treatment: What is done with that layer's tensors.
        is_new: Whether the target has this layer in addition to the source's own.
    """

    source: int = 0
    layer: int | None = None
    treatment: Treatment = "copy"
    is_new: bool = False


@dataclass(frozen=True)
class GrowthPlan:
    """A whole growth.

    Attributes:
        layers: One origin for each target layer, from the embedding up.
        outer: The origin of all tensors outside of the layers.
    """

    layers: tuple[LayerOrigin, ...]
    outer: Origin = Origin()

    def layer_map(self) -> str:
        """Draw the plan, 1-based, from the embedding up: `1 2 3 1* 2* 3* 4`.

        A star marks a new copy, `R` a random layer.
        """
        return " ".join(_draw(layer) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> "GrowthPlan":
        """Read a plan from plain values."""
        layers = tuple(LayerOrigin(**layer) for layer in plain["layers"])
        return GrowthPlan(layers, Origin(**plain["outer"]))


def _draw(layer: LayerOrigin) -> str:
    if layer.treatment == "random" or layer.layer is None:
        return "R"
    return f"{layer.layer + 1}{'*' if layer.is_new else ''}"
