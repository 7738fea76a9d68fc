"""What the learned operators share: what may grow, where the width begins, and the plan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.depth import (
    depth_growth,
    interleaved,
    stacked,
)
from lagsearch.operators.plan.learned import Learned
from lagsearch.operators.plan.growth import (
    GrowthPlan,
    LayerOrigin,
    Origin,
)
from lagsearch.operators.registry import Short
from lagsearch.operators.build.width import (
    WidthGrowth,
    copied,
    padded,
    width_growth,
)
from lagsearch.operators.plan.width import Width

Init = Annotated[Literal["stack", "interleave"], Short("")]
WidthInit = Annotated[Literal["sel", "average", "zero"], Short("")]
Steps = Annotated[int, Field(ge=0), Short("steps")]
Rate = Annotated[float, Field(gt=0, le=1), Short("lr")]

WARMUP_STEPS = 5
"""A hundred steps have no time for more; LiGO's code has 10,000, so that it hardly moves."""


@dataclass(frozen=True)
class LearnSettings:
    """How an operator is trained; see `Learned`."""

    steps: int
    lr: float
    noise: float

    def learned(self, pool: Sequence[tuple[int, int]]) -> Learned:
        """Return what a plan says of it."""
        return Learned(tuple(pool), self.steps, self.lr, WARMUP_STEPS, self.noise)


def learned_growth(name: str, source: ModelShape, target: ModelShape) -> WidthGrowth | None:
    """Find out how the widths grow, if they do; the depth may grow, too.

    Raises:
        OperatorError: Nothing grows or something shrinks, or another key differs.
        ModelError: Widths grow, and there is no table of the model's weights.
    """
    if source.model_type != target.model_type or not source.differences(target):
        depth_growth(name, source, target)
        return None
    if target.n_layers < source.n_layers:
        raise OperatorError(f"{name} cannot shrink {source.n_layers} layers to {target.n_layers}")
    return width_growth(name, replace(source, n_layers=target.n_layers), target)


_NO_GRADIENT = (
    "new units begin as zero without noise: where neither what writes them nor what reads them "
    "says anything, nothing is ever learned; give it noise"
)

ORDERS: Mapping[str, Callable[[int, int], list[int]]] = {
    "stack": stacked,
    "interleave": interleaved,
}
"""The source layers that target layers begin as, by `init`."""


def first_width(growth: WidthGrowth, init: str) -> Width:
    """Return the lifts at which the width's matrices begin."""
    if init == "sel":
        return growth.lifts(copied("even"))
    fill: Literal["mean", "zero"] = "mean" if init == "average" else "zero"
    width = replace(growth.lifts(padded(fill, "zero", "zero")), new_gain="zero")
    return growth.with_norms(width) if init == "zero" else width


def learned_plan(
    growth: WidthGrowth | None,
    layers: Sequence[LayerOrigin],
    learned: Learned,
    width: Width | None = None,
) -> GrowthPlan:
    """Put a plan around a mix: where the width grows, all ends are learned.

    Args:
        growth: How the widths grow, if they do.
        layers: Where each layer comes from.
        learned: The mix.
        width: Where the width's matrices begin.
    """
    plan = GrowthPlan(tuple(layers), learned=learned)
    if growth is None or width is None:
        return plan
    end = Origin(treatment="learned")
    begins_at_zero = any(
        lift.copied < lift.target and lift.below == "zero" for lift in width.lifts.values()
    )
    warning = _NO_GRADIENT if begins_at_zero and not learned.noise else None
    widened = growth.plan(width, warning=warning)
    return replace(widened, layers=plan.layers, learned=learned, bottom=end, top=end)


def all_learned(layers: Sequence[LayerOrigin]) -> list[LayerOrigin]:
    """Let layers begin as they are, and learn."""
    return [replace(layer, treatment="learned") for layer in layers]
