"""New layers that compute nothing at first: the function is preserved."""

from typing import Annotated, Literal

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.models.families import family_of
from lagsearch.operators.build.depth import (
    depth_growth,
    interleaved,
    stacked,
)
from lagsearch.operators.depths import as_it_is
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.operators.registry import Short, operator


@operator(
    "identity",
    paper="arXiv:2405.15319",
    grows="depth",
    preserves="exactly (pre-norm)",
    scale=as_it_is,
)
def identity(
    source: ModelShape,
    target: ModelShape,
    *,
    placement: Annotated[Literal["interleaved", "stacked", "pro"], Short("")] = "interleaved",
) -> GrowthPlan:
    """Add copies of layers whose output projections are zero, so that they add nothing at first.

    In each new layer what attention and feed-forward write to the residual stream is set to zero,
    weights and biases; all else is copied. Where norms follow the output projections (Gemma 2 and
    3, OLMo 2) their gains are zero instead: such a norm would blow up a projection's first step to
    the size of a whole layer. What is zero has a gradient from the first step on, the rest of the
    layer from the second.

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; more layers, otherwise equal.
        placement: `interleaved`: behind the layer they copy; `stacked`: whole stacks of them on
            top; `pro`: the source is cut into as many equal groups as there are new layers, and
            behind each group stands a copy of its last layer.

    Raises:
        OperatorError: The target is not deeper, or differs in another key; the number of new
            layers does not divide L (`pro`); the model is post-norm.
        ModelError: There is no table of the model's weights.

    Source:
        G_zero in depth: Du et al. 2024, arXiv:2405.15319, A.1.3. `pro`: Wu et al. 2024,
        LLaMA-Pro, arXiv:2401.02415. Zeroing the norms before attention and feed-forward
        instead (Shen et al. 2022) leaves a gated one without any gradient and is not offered.
    """
    n_new = depth_growth("identity", source, target)
    if family_of(source.model_type, source.keys).is_post_norm:
        raise OperatorError(
            f"identity cannot be exact in {source.model_type}: a norm follows each addition "
            "(post-norm), so a layer that adds nothing still changes its input"
        )
    layers = {
        "interleaved": lambda: interleaved(source.n_layers, target.n_layers),
        "stacked": lambda: stacked(source.n_layers, target.n_layers),
        "pro": lambda: _behind_groups(source.n_layers, n_new),
    }[placement]()
    return GrowthPlan(copies(layers, "zero_output"))


def _behind_groups(n_source: int, n_new: int) -> list[int]:
    if n_source % n_new:
        divisors = [number for number in range(1, n_source + 1) if n_source % number == 0]
        raise OperatorError(
            f"placement pro needs a number of new layers that divides the source's {n_source}; "
            f"{n_new} does not; allowed: {', '.join(map(str, divisors))}",
            "placement",
        )
    size = n_source // n_new
    return [
        layer
        for end in range(size, n_source + 1, size)
        for layer in [*range(end - size, end), end - 1]
    ]
