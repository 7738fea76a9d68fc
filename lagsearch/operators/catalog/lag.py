"""The design space of the LAG paper: growing in depth by index, block size and initialization."""

from typing import Annotated, Literal

from pydantic import Field

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.depth import depth_growth
from lagsearch.operators.depths import (
    Depths,
    Indices,
    Settings,
    nearest_divisor,
    same_share,
)
from lagsearch.operators.plan.growth import GrowthPlan, LayerOrigin
from lagsearch.operators.registry import Short, operator


def last_index(source: int, target: int) -> int:
    """Return the largest index, L - n."""
    return 2 * source - target


def scale_lag(settings: Settings, depths: Depths) -> tuple[Settings, str]:
    """Keep the index's share of those there are, and the block size's share of the new layers.

    Raises:
        OperatorError: More layers are new than the source has.
    """
    n_new, scaled_new = depths.target - depths.source, depths.new_target - depths.new_source
    if scaled_new > depths.new_source:
        grows = f"{depths.new_source} to {depths.new_target} layers"
        raise OperatorError(f"{grows} is more than lag can add")
    last = last_index(depths.source, depths.target)
    new_last = last_index(depths.new_source, depths.new_target)
    index = same_share(settings["index"], last, new_last)
    block = nearest_divisor(settings["block_size"] * scaled_new / n_new, scaled_new)
    told = (
        f", index {settings['index']} of 0..{last} to {index} of 0..{new_last}, "
        f"block {settings['block_size']} of {n_new} to {block} of {scaled_new}"
    )
    return {**settings, "index": index, "block_size": block}, told


@operator(
    "lag",
    paper="arXiv:2406.02469",
    grows="depth",
    preserves="no",
    example={"index": 1, "block_size": 2, "init": "duplicate"},
    scale=scale_lag,
)
def lag(
    source: ModelShape,
    target: ModelShape,
    *,
    index: Annotated[int, Field(ge=0), Short("i"), Indices(last_index)],
    block_size: Annotated[int, Field(ge=1), Short("b")],
    init: Annotated[Literal["duplicate", "random"], Short("")],
) -> GrowthPlan:
    """Grow n consecutive layers from `index` in blocks: each block is followed by its new block.

    With L source and L + n target layers, source layers index .. index+n-1 are cut into
    n / block_size blocks; behind each block stands a new one of the same size, a copy of it
    (`duplicate`) or freshly initialized (`random`). All other layers stay as they are.

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; L + n layers, n at most L, otherwise equal.
        index: First grown layer, 0-based; at most L - n.
        block_size: Layers in a block; divides n.
        init: What the new layers hold.

    Raises:
        OperatorError: A setting does not fit the two depths.

    Source:
        Karp et al. 2024, section 2.1. The paper counts from 1 in its text and from 0 in its
        experiments; this counts from 0.
    """
    n_new = depth_growth("lag", source, target)
    if n_new > source.n_layers:
        raise OperatorError(
            f"lag adds at most as many layers as the source has: {source.n_layers} to "
            f"{target.n_layers} adds {n_new}"
        )
    last = last_index(source.n_layers, target.n_layers)
    if index > last:
        raise OperatorError(f"index {index} is outside of 0..{last} (L - n)", "index")
    if n_new % block_size:
        divisors = [size for size in range(1, n_new + 1) if n_new % size == 0]
        allowed = ", ".join(map(str, divisors))
        raise OperatorError(
            f"block_size {block_size} does not divide the {n_new} new layers; allowed: {allowed}",
            "block_size",
        )
    treatment: Literal["copy", "random"] = "copy" if init == "duplicate" else "random"
    layers = [LayerOrigin(layer=layer) for layer in range(index)]
    for start in range(index, index + n_new, block_size):
        block = range(start, start + block_size)
        layers += [LayerOrigin(layer=layer) for layer in block]
        layers += [LayerOrigin(layer=layer, treatment=treatment, is_new=True) for layer in block]
    layers += [LayerOrigin(layer=layer) for layer in range(index + n_new, source.n_layers)]
    return GrowthPlan(tuple(layers))
