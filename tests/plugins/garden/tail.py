"""An operator: one layer is repeated on top."""

from typing import Annotated

from pydantic import Field

from lagsearch.models.configs import ModelShape
from lagsearch.operators import GrowthPlan, operator
from lagsearch.operators.build.depth import depth_growth
from lagsearch.operators.depths import Indices
from lagsearch.operators.plan.growth import copies

Layer = Annotated[int, Field(ge=0), Indices(lambda source, target: source - 1)]


@operator("tail", paper="none", grows="depth", preserves="no", example={"layer": 1})
def tail(source: ModelShape, target: ModelShape, *, layer: Layer) -> GrowthPlan:
    """Repeat one layer on top until the target's depth is reached.

    Args:
        source: Shape of the one source.
        target: Shape to reach; more layers, otherwise equal.
        layer: The layer that is repeated, 0-based.
    """
    n_new = depth_growth("tail", source, target)
    return GrowthPlan(copies([*range(source.n_layers), *[layer] * n_new]))
