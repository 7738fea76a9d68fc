"""Operators that learn how to mix the source's layers, before training begins."""

from dataclasses import replace

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.learned import (
    ORDERS,
    Init,
    LearnSettings,
    Rate,
    Steps,
    WidthInit,
    all_learned,
    first_width,
    learned_growth,
    learned_plan,
)
from lagsearch.operators.build.width import WidthGrowth
from lagsearch.operators.catalog.net2net import halves
from lagsearch.operators.plan.growth import (
    GrowthPlan,
    Origin,
    copies,
)
from lagsearch.operators.registry import Noise, operator


@operator("ligo", paper="arXiv:2303.00980", grows="width, depth", preserves="no")
def ligo(
    source: ModelShape,
    target: ModelShape,
    *,
    init: Init = "stack",
    width_init: WidthInit = "sel",
    noise: Noise = 0.03,
    steps: Steps = 100,
    lr: Rate = 1e-2,
) -> GrowthPlan:
    """Learn every layer as a mix of all source layers, widened by learned matrices (LiGO).

    W' = B (sum_j w_j W_j) A^T. Each weight of a layer, biases apart, has mixing coefficients w of
    its own for each target layer. B = [I; C] is learned for each kind of unit and shared by the
    whole network: residual stream, key/value groups, query heads of a group, feed-forward units;
    whole heads are mixed. What reads a unit does so with A = B diag(s), s one over B's column sums
    at the start, which makes B = [I; 0] padding with zeros and one-hot rows Net2Net's copies.
    Embeddings and head go by the residual stream's matrix; in depth alone they are copied.

    Args:
        source: Shape of the one source; L layers.
        target: Shape to reach; wider or deeper, or both.
        init: The layers that target layers begin as.
        width_init: What new units begin as: copies in turn (`sel`), the mean of all units
            (`average`), or nothing (`zero`).
        noise: On coefficients, from 0 up to it before they are made to sum to one, and on C,
            normal with rows of this length. Vectors' coefficients have none. 0 begins exactly at
            `stack` or `interleave` and, in width with `sel`, at `net2net`.
        steps: Training steps of the operator, on the candidate's objective with the source frozen
            and batches of their own; they are charged to it.
        lr: Rate of AdamW for the operator; where widths grow a lower one (3e-3) may learn more.

    Raises:
        OperatorError: Nothing grows, something shrinks, or another key differs.
        ModelError: Widths grow, and there is no table of the model's weights.

    Source:
        Wang et al. 2023, LiGO; 100 steps there. Its code has A = B without shares, matrices for
        each target layer, single units mixed inside of heads, and a warm-up of 10,000 steps that
        keeps it from learning. Du et al. 2024 (G_learn) share the matrices as here, but let the
        source's own units be mixed, too.
    """
    growth = learned_growth("ligo", source, target)
    layers = all_learned(copies(ORDERS[init](source.n_layers, target.n_layers)))
    width = first_width(growth, width_init) if growth else None
    return learned_plan(
        growth, layers, LearnSettings(steps, lr, noise).learned(_pool(source)), width
    )


@operator("stack-ligo", paper="survey, Dynamic", grows="width, depth", preserves="no")
def stack_ligo(
    source: ModelShape,
    target: ModelShape,
    *,
    noise: Noise = 0.03,
    steps: Steps = 100,
    lr: Rate = 1e-2,
) -> GrowthPlan:
    """Copy the source's layers, and learn those stacked on them as `ligo` does.

    Where widths grow they are doubled: copied layers are two halves side by side, as in
    `duplicate-halves`, and learned ones begin as copies in the same halves.

    Args:
        source: Shape of the one source.
        target: Shape to reach; deeper, and what grows in width is doubled.
        noise: As for `ligo`.
        steps: As for `ligo`.
        lr: As for `ligo`.

    Raises:
        OperatorError: The target does not fit, or a width that grows is not doubled.
        ModelError: Widths grow, and there is no table of the model's weights.

    Source:
        The survey's StackLiGO. Its code scrambles the copied half where the width grows, and
        leaves the two halves in unrelated coordinates.
    """
    return _half_copied("stack-ligo", source, target, "stack", LearnSettings(steps, lr, noise))


@operator("cross-ligo", paper="survey, Dynamic", grows="width, depth", preserves="no")
def cross_ligo(
    source: ModelShape,
    target: ModelShape,
    *,
    noise: Noise = 0.03,
    steps: Steps = 100,
    lr: Rate = 1e-2,
) -> GrowthPlan:
    """Copy the source's layers, and learn as `ligo` does those that stand behind each.

    Args:
        source: Shape of the one source.
        target: Shape to reach; deeper, and what grows in width is doubled.
        noise: As for `ligo`.
        steps: As for `ligo`.
        lr: As for `ligo`.

    Raises:
        OperatorError: The target does not fit, or a width that grows is not doubled.
        ModelError: Widths grow, and there is no table of the model's weights.

    Source:
        The survey's CrossLiGO; see `stack-ligo`.
    """
    return _half_copied("cross-ligo", source, target, "interleave", LearnSettings(steps, lr, noise))


@operator("stack-ligo-v2", paper="survey, Dynamic", grows="width, depth", preserves="no")
def stack_ligo_v2(
    source: ModelShape,
    target: ModelShape,
    *,
    width_init: WidthInit = "sel",
    noise: Noise = 0.03,
    steps: Steps = 100,
    lr: Rate = 1e-2,
) -> GrowthPlan:
    """Grow as `stack-ligo`, but let the learned matrices widen the copied layers, too.

    Args:
        source: Shape of the one source.
        target: Shape to reach; deeper and wider.
        width_init: As for `ligo`.
        noise: As for `ligo`.
        steps: As for `ligo`.
        lr: As for `ligo`.

    Raises:
        OperatorError: The target does not fit, or no width grows: that is `stack-ligo`.
        ModelError: There is no table of the model's weights.

    Source:
        The survey's StackLiGOv2. Its code learns matrices for each weight; here they are the
        network's, as in `ligo`.
    """
    how = LearnSettings(steps, lr, noise)
    return _half_widened("stack-ligo-v2", source, target, "stack", width_init, how)


@operator("cross-ligo-v2", paper="survey, Dynamic", grows="width, depth", preserves="no")
def cross_ligo_v2(
    source: ModelShape,
    target: ModelShape,
    *,
    width_init: WidthInit = "sel",
    noise: Noise = 0.03,
    steps: Steps = 100,
    lr: Rate = 1e-2,
) -> GrowthPlan:
    """Grow as `cross-ligo`, but let the learned matrices widen the copied layers, too.

    Args:
        source: Shape of the one source.
        target: Shape to reach; deeper and wider.
        width_init: As for `ligo`.
        noise: As for `ligo`.
        steps: As for `ligo`.
        lr: As for `ligo`.

    Raises:
        OperatorError: The target does not fit, or no width grows: that is `cross-ligo`.
        ModelError: There is no table of the model's weights.

    Source:
        The survey's CrossLiGOv2; see `stack-ligo-v2`.
    """
    how = LearnSettings(steps, lr, noise)
    return _half_widened("cross-ligo-v2", source, target, "interleave", width_init, how)


def _pool(source: ModelShape) -> list[tuple[int, int]]:
    return [(0, layer) for layer in range(source.n_layers)]


def _half_copied(
    name: str, source: ModelShape, target: ModelShape, init: str, how: LearnSettings
) -> GrowthPlan:
    """Copy each layer's first coming and learn the others; widen copies by fixed halves."""
    growth = _deeper(name, source, target)
    width = halves(name, growth) if growth else None
    layers = copies(ORDERS[init](source.n_layers, target.n_layers), "learned")
    plan = learned_plan(growth, layers, how.learned(_pool(source)), width)
    return replace(plan, bottom=Origin())


def _half_widened(
    name: str,
    source: ModelShape,
    target: ModelShape,
    init: str,
    width_init: str,
    how: LearnSettings,
) -> GrowthPlan:
    """Copy each layer's first coming and learn the others; widen all by the learned matrices."""
    growth = _deeper(name, source, target)
    if growth is None:
        twin = name.removesuffix("-v2")
        raise OperatorError(f"{name} without growth in width is {twin}: use that")
    layers = copies(ORDERS[init](source.n_layers, target.n_layers), "learned")
    learned = replace(how.learned(_pool(source)), widens_copies=True)
    return learned_plan(growth, layers, learned, first_width(growth, width_init))


def _deeper(name: str, source: ModelShape, target: ModelShape) -> WidthGrowth | None:
    """Find out how the widths grow, if they do, where the depth grows.

    Raises:
        OperatorError: The depth does not grow: no layer would be learned.
    """
    growth = learned_growth(name, source, target)
    if target.n_layers == source.n_layers:
        raise OperatorError(f"{name} learns new layers: the target must be deeper than the source")
    return growth
