"""The source itself, trained on: what a growth must beat to be worth its while."""

from typing import Annotated

from lagsearch.models.configs import ModelShape
from lagsearch.operators.catalog.scratch import Steps
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.operators.registry import Short, operator


@operator(
    "continue",
    paper="baseline",
    grows="nothing",
    preserves="exactly",
    reaches="source",
)
def train_on(
    source: ModelShape,
    target: ModelShape,
    *,
    steps: Annotated[Steps | None, Short("")] = None,
) -> GrowthPlan:
    """Train the source on as it is: the baseline that does not grow.

    It has the source's own shape, and its optimizer goes on as `training.optimizer_state` says. As
    no model of the target's shape comes of it, it is compared with the growths, never ranked among
    them and never chosen. With several sources it is trained for each, or for the one that `source`
    names.

    Args:
        source: Shape of the one source; L layers, all kept.
        target: Not used.
        steps: Its training steps, at least those of all others; `matched` gives it the compute of
            a growth's training from growth to completion. Its schedule then spans them. When left
            out it takes as many steps as the growths, and what they come to at equal compute is
            read from their curves.
    """
    return GrowthPlan(copies(range(source.n_layers)), steps=steps)
