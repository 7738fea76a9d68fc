"""Wider models whose units are copies: Net2Net and bert2BERT, LEMON, and two halves."""

from dataclasses import replace
from typing import Annotated, Literal

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators.build.width import (
    MakeLift,
    WidthGrowth,
    copied,
    width_growth,
)
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.operators.plan.width import (
    Fill,
    Lift,
    Split,
    Width,
)
from lagsearch.operators.registry import Noise, Short, operator


@operator(
    "net2net",
    paper="arXiv:1511.05641, arXiv:2110.07143",
    grows="width",
    preserves="exactly (whole multiples of the hidden size, and of OLMo 2's heads; FFN and other "
    "heads: any)",
)
def net2net(
    source: ModelShape,
    target: ModelShape,
    *,
    split: Annotated[Literal["even", "uneven"], Short("")] = "even",
    noise: Noise = 0.0,
) -> GrowthPlan:
    """Copy units in turn, and let those that read a unit share it among its copies.

    Unit i of the target copies unit i mod n of the source, on every axis; whole heads are copied,
    in their groups. What writes a unit is copied; what reads one with c copies is divided by c. A
    tied head cannot be divided: the final norm is instead.

    Args:
        source: Shape of the one source.
        target: Shape to reach; wider, and as deep.
        split: Copies are shared `even`ly, and then stay equal forever; or `uneven`ly, with shares
            that change from row to row, so that the copies part.
        noise: Share of each matrix that is replaced by noise of the size of a fresh model's.

    Raises:
        OperatorError: The target does not fit.
        ModelError: There is no table of the model's weights.

    Source:
        Chen et al. 2015, Net2Net; Chen et al. 2021, bert2BERT's FPI, which draws the copied units
        at random; G_direct of Du et al. 2024, and 0.2 for the noise. LEMON's uneven split
        (Wang et al. 2023) has random shares; these follow a fixed cycle.
    """
    growth = width_growth("net2net", source, target)
    return growth.plan(growth.lifts(copied(split)), noise=noise, warning=growth.spread_warning())


@operator("aki", paper="arXiv:2110.07143", grows="width", preserves="no")
def aki(source: ModelShape, target: ModelShape) -> GrowthPlan:
    """Copy as `net2net` does, but take new heads and FFN units from the layer above.

    The rows beyond the source's own, of query, key, value and of what feeds the FFN units, come
    from layer l + 1; the last layer uses itself. All else, and all shares, are as in `net2net`.

    Args:
        source: Shape of the one source; two layers or more.
        target: Shape to reach; more heads or FFN units, and as deep.

    Raises:
        OperatorError: The target does not fit, or neither heads nor FFN units grow.
        ModelError: There is no table of the model's weights.

    Source:
        Chen et al. 2021, bert2BERT, section 3.3 (AKI).
    """
    growth = width_growth("aki", source, target)
    if source.n_layers < 2 or set(growth.grown) == {"residual"}:
        raise OperatorError(
            "aki takes new heads and FFN units from the layer above: let one of them grow, in a "
            "model of two layers or more; otherwise it is net2net"
        )
    return growth.plan(replace(growth.lifts(copied("even")), takes_from_next_layer=True))


@operator(
    "lemon",
    paper="arXiv:2310.07999",
    grows="width",
    preserves="exactly (post-norm: whole multiples of the hidden size; OPT: but for its eps)",
)
def lemon(
    source: ModelShape,
    target: ModelShape,
    *,
    split: Annotated[Literal["even", "uneven"], Short("")] = "uneven",
) -> GrowthPlan:
    """Copy the residual stream k whole times, and fill it up with what its norms do not notice.

    With k = floor(target / source), the units left over are new: zero where norms are RMSNorms,
    the mean of all units (average expansion) where they are LayerNorms. Gains are scaled by
    sqrt(k source / target) and the norms' eps by its square. Heads and FFN units are copied as in
    `net2net`, exact for any number; where norms span all heads (OLMo 2), heads are copied whole
    times like the stream, and the others are zero. Columns that read new units are random.

    Args:
        source: Shape of the one source.
        target: Shape to reach; wider, and as deep.
        split: As for `net2net`; `uneven` as LEMON has it.

    Raises:
        OperatorError: The target does not fit; the hidden size of a post-norm model does not grow
            by a whole factor; norms span all heads, and new ones would stay zero.
        ModelError: There is no table of the model's weights.

    Source:
        Wang et al. 2023, LEMON. Its shares are random; these follow a fixed cycle.
    """
    growth = width_growth("lemon", source, target)
    old, new = growth.sizes["residual"]
    if growth.family.is_post_norm and new % old:
        raise OperatorError(
            f"lemon cannot be exact in {source.model_type}, where norms follow additions "
            f"(post-norm): set {growth.family.size_keys.residual[0]} to a multiple of {old}"
        )
    pad: Fill = "zero" if growth.family.norm == "rms" else "mean"
    lifts = {"residual": _whole_copies(split, pad)}
    if growth.family.norms_span_heads:
        lifts |= dict.fromkeys(("key_value", "heads"), _whole_heads(split))
    width = growth.with_norms(growth.lifts(copied(split), **lifts))
    growth.check_new_heads("lemon", width)
    return growth.plan(width, warning=growth.eps_warning(width))


def _whole_copies(split: Split, pad: Fill) -> MakeLift:
    def make(source: int, target: int) -> Lift:
        whole = target // source * source
        return Lift(source, target, whole, split, below=pad, right="random", corner=pad)

    return make


def _whole_heads(split: Split) -> MakeLift:
    """Return lifts whose new heads add nothing to a norm over all of them."""

    def make(source: int, target: int) -> Lift:
        whole = target // source * source
        return Lift(source, target, whole, split, below="zero", right="zero", corner="random")

    return make


@operator(
    "duplicate-halves",
    paper="arXiv:2203.06211",
    grows="width",
    preserves="exactly (doubled sizes only)",
)
def duplicate_halves(source: ModelShape, target: ModelShape, *, noise: Noise = 0.0) -> GrowthPlan:
    """Put two copies of the model side by side: block-diagonal matrices, and a head of the mean.

    Without noise or dropout the two halves stay equal.

    Args:
        source: Shape of the one source.
        target: Shape to reach; what grows is doubled; as deep.
        noise: As for `net2net`; it also fills the blocks between the halves.

    Raises:
        OperatorError: The target does not fit, or something that grows is not doubled.
        ModelError: There is no table of the model's weights.

    Source:
        Shen et al. 2022, Staged Training for Transformer Language Models.
    """
    growth = width_growth("duplicate-halves", source, target)
    return growth.plan(halves("duplicate-halves", growth), noise=noise)


def halves(name: str, growth: WidthGrowth) -> Width:
    """Return the lifts of two copies side by side.

    Raises:
        OperatorError: Something that grows is not doubled.
    """
    growth.check_doubled(name)
    return growth.lifts(copied("own"))
