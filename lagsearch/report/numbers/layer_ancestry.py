"""Which layer of a final model came from where, through all stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lagsearch.operators.plan.growth import LayerOrigin, layers_of


@dataclass(frozen=True)
class Ancestry:
    """A layer after a stage.

    Attributes:
        root: The layer that it goes back to: of the first stage (0-based) where that begins with
            random weights, else of the source; None where it began at random later.
        source: Index of the source it goes back to.
        parent: The layer of the stage before whose place or weights it took, if any.
        born: The stage, counted from 1, in which it was added; 0 for a source's own layer.
        is_new: Whether this stage added it.
        treatment: What was done with its tensors in this stage.
    """

    root: int | None
    source: int
    parent: int | None
    born: int
    is_new: bool
    treatment: str


def genealogy(plans: Sequence[dict[str, Any]]) -> list[list[Ancestry]]:
    """Trace every layer of every stage.

    Args:
        plans: The growth plan of each stage's winner, as plain values.
    """
    stages: list[list[Ancestry]] = []
    for number, plan in enumerate(plans, 1):
        layers = layers_of(plan)
        if stages:
            stages.append([_grown(layer, stages[-1], number) for layer in layers])
        else:
            begins = not any(map(_carries, layers))
            stages.append([_first(layer, place, begins) for place, layer in enumerate(layers)])
    return stages


def _carries(layer: LayerOrigin) -> bool:
    """Return whether a layer takes the weights of one before."""
    return layer.layer is not None and layer.treatment not in ("random", "masked")


def _first(layer: LayerOrigin, place: int, begins: bool) -> Ancestry:
    root = place if begins else layer.layer if _carries(layer) else None
    is_new = layer.is_new and not begins
    return Ancestry(root, layer.source, layer.layer, int(layer.is_new), is_new, layer.treatment)


def _grown(layer: LayerOrigin, before: list[Ancestry], number: int) -> Ancestry:
    if layer.layer is None or not _carries(layer):
        return Ancestry(None, 0, layer.layer, number, layer.is_new, layer.treatment)
    parent = before[layer.layer]
    born = number if layer.is_new else parent.born
    return Ancestry(parent.root, parent.source, layer.layer, born, layer.is_new, layer.treatment)


def drawn(layers: Sequence[Ancestry]) -> str:
    """Draw the layers of a stage by what they go back to, 0-based: `0 1 0* 1*`, `R` for random."""
    several = len({each.source for each in layers}) > 1
    return " ".join(
        ("R" if each.root is None else f"{_letter(each, several)}{each.root}")
        + ("*" if each.is_new else "")
        for each in layers
    )


def _letter(each: Ancestry, several: bool) -> str:
    return chr(ord("a") + each.source) if several else ""
