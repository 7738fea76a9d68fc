"""A baseline: it grows nothing, and is compared with what does."""

from lagsearch.models.configs import ModelShape
from lagsearch.operators import GrowthPlan, LayerOrigin, operator


@operator("seedling", paper="none", grows="nothing", preserves="no")
def seedling(source: ModelShape, target: ModelShape) -> GrowthPlan:
    """Keep the source's embeddings and head, and begin all layers anew.

    Args:
        source: Shape of the one source.
        target: Shape to reach; more layers, otherwise equal.
    """
    layer = LayerOrigin(treatment="random", is_new=True)
    return GrowthPlan((layer,) * target.n_layers)
