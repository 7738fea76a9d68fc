"""Copies of a part of the stack: of its top, its middle, or all but the outer layers."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.depth import depth_growth
from lagsearch.operators.catalog.lag import lag
from lagsearch.operators.depths import as_it_is
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.operators.registry import Drawn, Draws, Short, operator


@operator("last", paper="Reddi et al. 2023", grows="depth", preserves="no", scale=as_it_is)
def last(source: ModelShape, target: ModelShape) -> GrowthPlan:
    """Put a copy of the last n layers on top (gradual stacking's post-stacking).

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; L + n layers, n at most L, otherwise equal.

    Raises:
        OperatorError: The target is not deeper, more than twice as deep, or differs otherwise.

    Source:
        Reddi et al. 2023; equal to `lag` with index L - n and block size n.
    """
    n_new = depth_growth("last", source, target)
    if n_new > source.n_layers:
        raise OperatorError(
            f"last adds at most as many layers as the source has: {source.n_layers} to "
            f"{target.n_layers} adds {n_new}"
        )
    return lag(
        source,
        target,
        index=source.n_layers - n_new,
        block_size=n_new,
        init="duplicate",
    )


@operator("middle", paper="arXiv:2409.19044", grows="depth", preserves="no", scale=as_it_is)
def middle(source: ModelShape, target: ModelShape) -> GrowthPlan:
    """Copy the middle block of n layers behind itself (MIDAS).

    The source is cut into k = L / n blocks; the new block stands behind block ceil(k / 2).

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; L + n layers, n divides L, otherwise equal.

    Raises:
        OperatorError: n does not divide L, or the target does not fit.

    Source:
        Saunshi et al. 2024, MIDAS; equal to `lag` with index (ceil(k / 2) - 1) n and block size n.
    """
    n_new = depth_growth("middle", source, target)
    if source.n_layers % n_new:
        raise OperatorError(
            f"middle adds a number of layers that divides the source's {source.n_layers}; "
            f"{n_new} does not"
        )
    n_blocks = source.n_layers // n_new
    index = ((n_blocks + 1) // 2 - 1) * n_new
    return lag(source, target, index=index, block_size=n_new, init="duplicate")


@operator("solar", paper="arXiv:2312.15166", grows="depth", preserves="no", scale=as_it_is)
def solar(source: ModelShape, target: ModelShape) -> GrowthPlan:
    """Put two copies one on the other, m layers taken off where they meet on each (up-scaling).

    The lower copy lacks its last m layers, the upper its first m, with T = 2 (L - m).

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; T layers: even, more than L and at most 2 L, otherwise equal.

    Raises:
        OperatorError: The target's depth is odd or out of range, or it differs otherwise.

    Source:
        Kim et al. 2023, SOLAR 10.7B (32 to 48 layers, m = 8).
    """
    depth_growth("solar", source, target)
    n_source, n_target = source.n_layers, target.n_layers
    if n_target % 2 or n_target > 2 * n_source:
        raise OperatorError(
            f"solar grows {n_source} layers to an even number of at most {2 * n_source}; "
            f"{n_target} is not"
        )
    overlap = n_source - n_target // 2
    return GrowthPlan(copies([*range(n_source - overlap), *range(overlap, n_source)]))


def _ranges(layers: tuple[int, ...]) -> str:
    """Write layer numbers short: `0to5.2to5`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ".".join(f"{run[0]}to{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _any_layers(sources: Mapping[str, ModelShape], target: ModelShape) -> Drawn:
    """Draw any layer of the one source for each of the target's."""
    (source,) = sources.values()
    steps = {str(place): tuple(range(source.n_layers)) for place in range(target.n_layers)}
    return Drawn(steps, tuple)


@operator(
    "layers",
    paper="none",
    grows="depth",
    preserves="no",
    example={"layers": [0, 1, 1, 2, 2, 3]},
)
def layers(
    source: ModelShape,
    target: ModelShape,
    *,
    layers: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(strict=False, min_length=1),
        Short("", _ranges),
        Draws(_any_layers),
    ],
) -> GrowthPlan:
    """Take the source's layers in any order, as listed.

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; as many layers as are listed, otherwise equal.
        layers: The source layer (0-based) of each target layer; or `any`, drawn by
            `search: {strategy: optuna}`.

    Raises:
        OperatorError: The list has another length than the target has layers, names a layer that
            is not there, or the target differs otherwise.
    """
    depth_growth("layers", source, target)
    if len(layers) != target.n_layers:
        raise OperatorError(
            f"{len(layers)} layers are listed, but the target has {target.n_layers}", "layers"
        )
    if max(layers) >= source.n_layers:
        raise OperatorError(f"layer {max(layers)} is outside of 0..{source.n_layers - 1}", "layers")
    return GrowthPlan(copies(layers))
