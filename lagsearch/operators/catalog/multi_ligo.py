"""Several trained models of one architecture mixed into one deeper model."""

from dataclasses import replace

from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.learned import (
    Init,
    LearnSettings,
    Rate,
    Steps,
    all_learned,
)
from lagsearch.operators.catalog.multi import (
    Boundary,
    Order,
    Sources,
    multi_interleave,
    multi_stack,
)
from lagsearch.operators.plan.growth import GrowthPlan, Origin
from lagsearch.operators.registry import Control, Noise, operator

_ORDERED = {"stack": multi_stack, "interleave": multi_interleave}


@operator(
    "multi-ligo",
    paper="survey, section on multi-model growth",
    grows="depth",
    preserves="no",
    takes="several",
    control=Control("ligo", ("noise", "steps", "lr")),
    example={"order": "a b"},
)
def multi_ligo(  # noqa: PLR0913 - its settings
    sources: Sources,
    target: ModelShape,
    *,
    order: Order,
    boundary: Boundary = "average",
    init: Init = "stack",
    noise: Noise = 0.03,
    steps: Steps = 100,
    lr: Rate = 1e-2,
) -> GrowthPlan:
    """Learn every layer as a mix of all layers of all sources, and the ends as mixes of theirs.

    Args:
        sources: Shapes of the sources; equal but for their depths.
        target: Shape to reach; as deep as all sources together, otherwise equal.
        order: As for `multi-stack`.
        boundary: What embedding, final norm and head begin as, as for `multi-stack`.
        init: What the layers begin as: `stack` as in `multi-stack`, or `interleave`.
        noise: As for `ligo`.
        steps: As for `ligo`.
        lr: As for `ligo`.

    Raises:
        OperatorError: The sources differ, the depths do not add up, or a name is unknown.

    Source:
        The survey's multi-model LiGO: 100 steps at 1e-2. Its mixes begin at random coefficients
        that are not normalized, and fail for three and four sources.
    """
    plan = _ORDERED[init](sources, target, order=order, boundary=boundary)
    depths = [shape.n_layers for shape in sources.values()]
    pool = [(place, layer) for place, depth in enumerate(depths) for layer in range(depth)]
    learned = LearnSettings(steps, lr, noise).learned(pool)
    return replace(
        plan,
        layers=tuple(all_learned(plan.layers)),
        bottom=_mixed(plan.bottom, len(depths)),
        top=_mixed(plan.top, len(depths)),
        learned=replace(learned, has_even_ends=boundary == "average"),
    )


def _mixed(end: Origin, n_sources: int) -> Origin:
    """Let an end begin as it is, and learn from all sources."""
    others = [place for place in range(n_sources) if place not in end.sources]
    return Origin((*end.sources, *others), "learned")
