"""New layers of random weights on top, faded in or not."""

from typing import Annotated

from pydantic import Field

from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.depth import depth_growth
from lagsearch.operators.depths import as_it_is
from lagsearch.operators.plan.growth import GrowthPlan, LayerOrigin
from lagsearch.operators.registry import Short, operator


@operator(
    "random",
    paper="arXiv:2405.15319",
    grows="depth",
    preserves="exactly with a ramp",
    scale=as_it_is,
)
def random(
    source: ModelShape,
    target: ModelShape,
    *,
    ramp_steps: Annotated[int, Field(ge=0), Short("ramp")] = 0,
) -> GrowthPlan:
    """Put layers of random weights on top, faded in over the first steps or as they are.

    With a ramp, the output of a new layer at step s is m layer(x) + (1 - m) x with
    m = min(1, s / ramp_steps): the function is preserved at step 0, and nothing of the mask is
    left at the end.

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; more layers, otherwise equal.
        ramp_steps: Steps until the new layers count in full; 0 lets them count at once.

    Raises:
        OperatorError: The target is not deeper, or differs in another key.

    Source:
        G_random in depth: Du et al. 2024, arXiv:2405.15319, A.5, as its code has it (5000 steps
        there); masked structural growth: Yao et al. 2023. Without a ramp: the LAG paper's `random`.
    """
    n_new = depth_growth("random", source, target)
    new = LayerOrigin(treatment="masked" if ramp_steps else "random", is_new=True)
    kept = tuple(LayerOrigin(layer=layer) for layer in range(source.n_layers))
    return GrowthPlan((*kept, *(new,) * n_new), ramp_steps=ramp_steps)
