"""Whole stacks one on another, and layers repeated in place."""

from typing import Annotated, Literal

from lagsearch.models.configs import ModelShape
from lagsearch.models.families import family_of
from lagsearch.operators.build.depth import (
    depth_growth,
    interleaved,
    stacked,
)
from lagsearch.operators.depths import as_it_is
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.operators.registry import Noise, Short, operator


@operator("stack", paper="arXiv:2405.15319", grows="depth", preserves="no", scale=as_it_is)
def stack(
    source: ModelShape,
    target: ModelShape,
    *,
    remainder: Annotated[Literal["top", "bottom"], Short("")] = "top",
    noise: Noise = 0.0,
) -> GrowthPlan:
    """Repeat the whole trained stack until the target's depth is reached.

    Target layer l copies source layer l mod L (0-based), but for what is left above the last whole
    stack. With twice the depth this is StackBERT's doubling.

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; more layers, otherwise equal.
        remainder: Where L does not divide the depth, the layers above the last whole stack are
            the source's `top` ones (bert2BERT) or those from its `bottom` (G_stack's code).
        noise: Share of each matrix that is replaced by noise of the size of a fresh model's.

    Raises:
        OperatorError: The target is not deeper, or differs in another key.
        ModelError: Noise, for a model without a table of its weights.

    Source:
        Du et al. 2024, arXiv:2405.15319, G_stack, and section I.2 for the noise (0.2 there). The
        optimizer's state is kept here, reset there. Gong et al. 2019, StackBERT.
    """
    depth_growth("stack", source, target)
    if noise:
        family_of(source.model_type, source.keys)
    return GrowthPlan(copies(stacked(source.n_layers, target.n_layers, remainder)), noise=noise)


@operator(
    "interleave", paper="Chang et al. 2018; survey", grows="depth", preserves="no", scale=as_it_is
)
def interleave(source: ModelShape, target: ModelShape) -> GrowthPlan:
    """Repeat each layer in place.

    Target layer l of T copies source layer floor(l L / T) (0-based).

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; more layers, otherwise equal.

    Raises:
        OperatorError: The target is not deeper, or differs in another key.

    Source:
        Interpolation of Chang et al. 2018 and Dong et al. 2020; the survey's "interleaving".
        AQUILA prints the ratio of the depths the other way round.
    """
    depth_growth("interleave", source, target)
    return GrowthPlan(copies(interleaved(source.n_layers, target.n_layers)))
