"""A growth as data: where every tensor of the target comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from lagsearch.operators.plan.learned import Learned
from lagsearch.operators.plan.width import Width

Treatment = Literal["copy", "zero_output", "random", "masked", "learned"]
"""What is done with a layer's tensors: `copy` them; copy them and set what the layer adds to the
residual stream to zero (`zero_output`); leave the `random` ones of a fresh model; leave the
random ones and fade the layer in while training begins (`masked`); or make each a mix of many
layers' that is learned before training begins (`learned`)."""

_NAMED = 10  # growths, in a sentence
_FRESH = ("random", "masked")  # treatments that take nothing from a source


@dataclass(frozen=True)
class Origin:
    """Where the tensors below the first layer, or above the last, come from.

    Attributes:
        sources: Indices of the source models; of several the mean is taken, or a mix is learned.
        treatment: What is done with their tensors: `copy`, `random` or `learned`.
    """

    sources: tuple[int, ...] = (0,)
    treatment: Treatment = "copy"


@dataclass(frozen=True)
class LayerOrigin:
    """Where one target layer comes from.

    Attributes:
        source: Index of the source model.
        layer: The source layer (0-based) that it copies or, if random, stands in for or, if
            learned, begins as; None where there is no such layer.
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
        bottom: The origin of all below the first layer: embeddings.
        top: The origin of all above the last layer: final norm and head. A tied head is the
            bottom's embedding.
        noise: Share of every copied matrix that is replaced by noise, 0 to 1.
        ramp_steps: Steps over which `masked` layers are faded in.
        width: How every tensor that is copied is widened; None where it is not.
        warning: What a user should know before choosing this growth, in one line.
        learned: How `learned` tensors are mixed; None where there are none.
        steps: Training steps of its own: a number, or `matched` for as many as take the compute of
            what it is compared with; None for those of all others.
    """

    layers: tuple[LayerOrigin, ...]
    bottom: Origin = Origin()
    top: Origin = Origin()
    noise: float = 0.0
    ramp_steps: int = 0
    width: Width | None = None
    warning: str | None = None
    learned: Learned | None = None
    steps: int | Literal["matched"] | None = None

    def learns(self, treatment: Treatment) -> bool:
        """Return whether tensors of this treatment are made by the learned mix."""
        is_widened = self.learned is not None and self.learned.widens_copies
        return treatment == "learned" or (treatment == "copy" and is_widened)

    def of_source(self, place: int) -> "GrowthPlan":
        """Return the same growth of another one of the sources."""
        return replace(
            self,
            layers=tuple(replace(layer, source=place) for layer in self.layers),
            bottom=replace(self.bottom, sources=(place,)),
            top=replace(self.top, sources=(place,)),
            learned=self.learned and self.learned.of_source(place),
        )

    @property
    def sources(self) -> frozenset[int]:
        """The sources whose tensors it takes."""
        layers = {layer.source for layer in self.layers if layer.treatment not in _FRESH}
        ends = [end.sources for end in (self.bottom, self.top) if end.treatment != "random"]
        pool = {source for source, _ in self.learned.pool} if self.learned else set()
        return frozenset(layers | pool | {source for end in ends for source in end})

    @property
    def fills_all(self) -> bool:
        """Whether every tensor is made of the sources' alone, none of it random or learned."""
        treatments = {each.treatment for each in self.layers}
        treatments |= {self.bottom.treatment, self.top.treatment}
        return treatments <= {"copy", "zero_output"} and self.width is None and self.learned is None

    @property
    def has_new_and_own(self) -> bool:
        """Whether it has parameters that are the source's own, and others beside them."""
        parts = [layer.is_new or self._begins(layer.treatment) for layer in self.layers]
        parts += [self._begins(end.treatment) for end in (self.bottom, self.top)]
        return not all(parts) and (any(parts) or self.width is not None)

    def _begins(self, treatment: Treatment) -> bool:
        return treatment in _FRESH or self.learns(treatment)

    @property
    def ramp_end(self) -> int:
        """The step from which on all that is faded in counts in full."""
        width = self.width
        return max(self.ramp_steps, width.ramp_steps * len(width.fading) if width else 0)

    def layer_map(self) -> str:
        """Draw the plan, 0-based, from the embedding up: `0 1 2 0* 1* 2* 3`.

        A star marks a new copy, a ring (°) a new one that adds nothing yet, a tilde (~) a learned
        mix that begins as the layer named, `R` a random layer; letters before the numbers tell
        several sources apart: `a0 b0 a1 b1`. Widths that grow stand behind: `0 1 2 [residual
        64-128]`.
        """
        is_mixed = len({layer.source for layer in self.layers}) > 1
        drawn = [_draw(layer, is_mixed) for layer in self.layers]
        return " ".join([*drawn, f"[{self.width.text()}]"] if self.width else drawn)

    def config_changes(self) -> dict[str, Any]:
        """Return the configuration keys that the growth itself changes: a norm's eps, say."""
        return dict(self.width.config) if self.width else {}

    def connection_rate(self) -> float:
        """Return the share of neighbouring layers that were neighbours in one source.

        Layers that add nothing yet count like copies, random and learned ones not.

        Source:
            Du et al. 2024, arXiv:2405.15319, appendix H.
        """
        pairs = list(zip(self.layers, self.layers[1:], strict=False))
        kept = [
            below.source == above.source
            and None not in (below.layer, above.layer)
            and {below.treatment, above.treatment} <= {"copy", "zero_output"}
            and above.layer == (below.layer or 0) + 1
            for below, above in pairs
        ]
        return sum(kept) / len(kept) if kept else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values; what may be absent only where it is there."""
        plain = asdict(self)
        optional = ("width", "warning", "learned", "steps")
        absent = [key for key in optional if plain[key] is None]
        return {key: value for key, value in plain.items() if key not in absent}

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> "GrowthPlan":
        """Read a plan from plain values."""
        bottom, top = (
            Origin(tuple(plain[end]["sources"]), plain[end]["treatment"])
            for end in ("bottom", "top")
        )
        return GrowthPlan(
            layers_of(plain),
            bottom,
            top,
            plain["noise"],
            plain["ramp_steps"],
            Width.from_dict(plain["width"]) if plain.get("width") else None,
            plain.get("warning"),
            Learned.from_dict(plain["learned"]) if plain.get("learned") else None,
            plain.get("steps"),
        )


def tell_fading(ends: Mapping[str, int], step: int) -> str:
    """Say which growths are not yet faded in where they are ranked; empty where all are.

    Args:
        ends: The step from which on all of it counts in full (`GrowthPlan.ramp_end`), by name.
        step: K.
    """
    late = [f"{name} (until step {end:,})" for name, end in ends.items() if end > step]
    if not late:
        return ""
    more = f" and {len(late) - _NAMED:,} more" if len(late) > _NAMED else ""
    said = f"still fading in at K = {step:,}, so that what is new does not count in full there yet"
    return f"{said}: {', '.join(late[:_NAMED])}{more}."


def layers_of(plain: dict[str, Any]) -> tuple[LayerOrigin, ...]:
    """Read the layers of a plan from plain values."""
    return tuple(LayerOrigin(**layer) for layer in plain["layers"])


def copies(layers: Sequence[int], treatment: Treatment = "copy") -> tuple[LayerOrigin, ...]:
    """Return origins in one source's layers (0-based); a layer's second coming is a new one.

    Args:
        layers: The source layer of each target layer.
        treatment: What is done with the new ones.
    """
    seen: set[int] = set()
    origins = []
    for layer in layers:
        is_new = layer in seen
        seen.add(layer)
        origins.append(
            LayerOrigin(layer=layer, treatment=treatment if is_new else "copy", is_new=is_new)
        )
    return tuple(origins)


def _draw(layer: LayerOrigin, is_mixed: bool) -> str:
    if layer.treatment in ("random", "masked") or layer.layer is None:
        return "R"
    letter = chr(ord("a") + layer.source) if is_mixed else ""
    marks = {"zero_output": "°", "learned": "~"}
    mark = marks.get(layer.treatment, "*" if layer.is_new else "")
    return f"{letter}{layer.layer}{mark}"
