"""Wider models whose new units are zero or random."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.width import padded, width_growth
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.operators.plan.width import Fill
from lagsearch.operators.registry import Short, operator

_DEAD = (
    "zero form {form}: in a pre-norm model of RMSNorms without biases no new parameter ever gets a "
    "gradient, so the added width is never used; it is there to repeat the survey"
)
_SHARED_GROUP = (
    "zero form gstack: query heads that are added to a group read its values at once, so the "
    "function is not preserved; form hybrid preserves it"
)


@operator(
    "zero",
    paper="arXiv:2405.15319",
    grows="width",
    preserves="exactly (RMSNorm, or only heads and FFN grow; gstack: no heads within groups; "
    "v1, v2: no)",
)
def zero(
    source: ModelShape,
    target: ModelShape,
    *,
    form: Annotated[Literal["hybrid", "gstack", "v1", "v2"], Short("")] = "hybrid",
) -> GrowthPlan:
    """Pad with zeros so that new units say nothing at first; forms v1 and v2 never learn to.

    `hybrid`: the residual stream is padded with zeros and what reads it has random columns there;
    new heads and FFN units read at random and write zeros, so they learn from the first step on
    (where norms span all heads, as in OLMo 2, new heads read new units alone at first).
    `gstack`: every matrix is [[W, random], [0, random]], embeddings [E, 0]. Both scale the norms'
    gains by sqrt(source / target) and their eps by its square. `v1`: every matrix is
    [[W, 0], [0, 0]], gains [g, 0]. `v2`: every matrix is [[W, 0], [0, W]], all else as in v1. In
    v1 and v2 new parameters get no gradient (pre-norm RMSNorm, no biases).

    Args:
        source: Shape of the one source.
        target: Shape to reach; wider, and as deep.
        form: Which blocks are zero.

    Raises:
        OperatorError: The target does not fit; something that grows is not doubled (`v2`); norms
            span all heads, and new ones would stay zero.
        ModelError: There is no table of the model's weights.

    Source:
        `gstack`: Du et al. 2024, A.1.3, whose code leaves the norms' gains unscaled. `v1`, `v2`:
        the survey's G-Zero; its code grows the size of heads instead of their number, and leaves
        biases out.
    """
    growth = width_growth("zero", source, target)
    if form == "hybrid":
        residual, inside = padded("zero", "random", "zero"), padded("random", "zero", "random")
        heads = padded("zero", "zero", "random") if growth.family.norms_span_heads else inside
        lifts = growth.lifts(inside, residual=residual, key_value=heads, heads=heads)
        width = growth.with_norms(lifts)
        growth.check_new_heads("zero", width)
        return growth.plan(width)
    if form == "gstack":
        width = growth.with_norms(growth.lifts(padded("zero", "random", "random")))
        growth.check_new_heads("zero form gstack", width)
        return growth.plan(width, warning=_SHARED_GROUP if "heads" in growth.grown else None)
    if form == "v2":
        growth.check_doubled("zero form v2")
    corner: Fill = "copy" if form == "v2" else "zero"
    width = replace(growth.lifts(padded("zero", "zero", corner)), new_gain="zero")
    return growth.plan(width, warning=_DEAD.format(form=form))


@operator(
    "random-width",
    paper="survey, G-Random; arXiv:2405.15319",
    grows="width",
    preserves="exactly with a ramp",
)
def random_width(
    source: ModelShape,
    target: ModelShape,
    *,
    form: Annotated[Literal["v1", "v2"], Short("")] = "v1",
    scale: Annotated[float, Field(gt=0), Short("scale")] = 1.0,
    ramp_steps: Annotated[int, Field(ge=0), Short("ramp")] = 0,
) -> GrowthPlan:
    """Put random blocks around every matrix: [[W, R], [R, R]], or with a second W in the corner.

    Embeddings are [E, R], gains and biases of new units those of a fresh model. With a ramp, a
    mask c keeps what new units give out of every embedding, linear map and norm at first, and lets
    it in over three ramps, one after the other: feed-forward units, residual stream, heads. Norms
    take their mean square over the sum of c. The function is preserved at step 0, and nothing of
    the mask is left at the end.

    Args:
        source: Shape of the one source.
        target: Shape to reach; wider, and as deep.
        form: `v1`, or `v2`: [[W, R], [R, W]].
        scale: Factor of the random blocks, which are drawn as a fresh model's are.
        ramp_steps: Steps of each ramp; what does not grow has none. 0 lets new units count at
            once.

    Raises:
        OperatorError: The target does not fit; something that grows is not doubled (`v2`).
        ModelError: There is no table of the model's weights.

    Source:
        The survey's G-Random; its code draws one block from [0, 1) and uses it everywhere, which
        drowns what was learned. With a ramp G_random in width: Du et al. 2024, arXiv:2405.15319,
        A.5, after masked structural growth, Yao et al. 2023.
    """
    growth = width_growth("random-width", source, target)
    if form == "v2":
        growth.check_doubled("random-width form v2")
    corner: Fill = "copy" if form == "v2" else "random"
    lifts = growth.lifts(padded("random", "random", corner))
    return growth.plan(replace(lifts, random_scale=scale, ramp_steps=ramp_steps))
