"""The target from random weights: nothing is grown, everything else is compared with it."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from lagsearch.models.configs import ModelShape
from lagsearch.operators.depths import as_it_is
from lagsearch.operators.plan.growth import (
    GrowthPlan,
    LayerOrigin,
    Origin,
)
from lagsearch.operators.registry import Short, operator

Steps = Literal["matched"] | Annotated[int, Field(ge=1)]


@operator(
    "scratch", paper="baseline", grows="nothing", preserves="no", takes="none", scale=as_it_is
)
def scratch(
    source: ModelShape,
    target: ModelShape,
    *,
    steps: Annotated[Steps | None, Short("")] = None,
) -> GrowthPlan:
    """Train the target from random weights: the baseline that ignores the source.

    Args:
        source: Not used.
        target: Shape to reach; any.
        steps: Its training steps, at least those of all others; `matched` gives it the compute of
            the sources and of the training after growth together. Its schedule then spans them.
    """
    return replace(fresh_plan(target.n_layers), steps=steps)


def fresh_plan(n_layers: int) -> GrowthPlan:
    """Return the plan of a model of random weights alone."""
    layer = LayerOrigin(treatment="random", is_new=True)
    end = Origin(treatment="random")
    return GrowthPlan((layer,) * n_layers, bottom=end, top=end)
