"""The target from random weights: nothing is grown, everything else is compared with it."""

from lagsearch.models.configs import ModelShape
from lagsearch.operators.plan import GrowthPlan, LayerOrigin, Origin
from lagsearch.operators.registry import operator


@operator("scratch", paper="baseline", grows="nothing", preserves="no", is_baseline=True)
def scratch(source: ModelShape, target: ModelShape) -> GrowthPlan:
    """Train the target from random weights: the baseline that ignores the source.

    Args:
        source: Not used.
        target: Shape to reach; any.
    """
    return fresh_plan(target.n_layers)


def fresh_plan(n_layers: int) -> GrowthPlan:
    """Return the plan of a model of random weights alone."""
    layer = LayerOrigin(treatment="random", is_new=True)
    end = Origin(treatment="random")
    return GrowthPlan((layer,) * n_layers, bottom=end, top=end)
