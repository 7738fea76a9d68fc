"""An operator that learns how to mix all matrices of all layers at once."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.models.families import family_of
from lagsearch.operators.build.learned import (
    ORDERS,
    Init,
    LearnSettings,
    Rate,
    Steps,
    all_learned,
    first_width,
    learned_growth,
    learned_plan,
)
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.operators.registry import Noise, Short, operator


@operator("mango", paper="arXiv:2310.10699", grows="width, depth", preserves="no")
def mango(
    source: ModelShape,
    target: ModelShape,
    *,
    rank: Annotated[int, Field(ge=1, le=8), Short("r")] = 1,
    init: Init = "stack",
    noise: Noise = 0.03,
    steps: Steps = 100,
    lr: Rate = 1e-2,
) -> GrowthPlan:
    """Learn every weight as a mix of all weights of the source (MANGO); provisional.

    The matrices of a layer, cut into squares of the hidden size, are stacked with those of all
    layers into one tensor, which four factors map to the target's: between layers, between the
    matrices of a layer, and along outputs and inputs. With rank 1 that is `ligo` with one set of
    coefficients and one matrix for all, and a mix of the kinds of matrices on top. Vectors,
    embeddings and head go by the factors of outputs, inputs and layers alone.

    Args:
        source: Shape of the one source.
        target: Shape to reach; wider or deeper, or both.
        rank: Size of the bonds between the factors.
        init: As for `ligo`.
        noise: As for `ligo`.
        steps: As for `ligo`.
        lr: As for `ligo`.

    Raises:
        OperatorError: The target does not fit; query, key and value are fused head by head; a
            rank above 1 without noise.
        ModelError: There is no table of the model's weights.

    Source:
        Pan et al. 2023, from summaries and memory: neither its text nor its code was at hand, so
        this is a reading of its formula, with a start of its own (LiGO's). Key and value of
        grouped heads, and what is left of FFN units, are filled up with units from the start.
    """
    family = family_of(source.model_type, source.keys)
    if any({"qkv_per_head", "qkv_per_group"} & {*weight.axes} for weight in family.layer):
        raise OperatorError(
            f"mango cuts matrices into squares, but {source.model_type} has query, key and value "
            "fused head by head"
        )
    if rank > 1 and not noise:
        raise OperatorError("a rank above 1 needs noise: its factors would stay equal", "rank")
    growth = learned_growth("mango", source, target)
    layers = all_learned(copies(ORDERS[init](source.n_layers, target.n_layers)))
    pool = [(0, layer) for layer in range(source.n_layers)]
    learned = replace(LearnSettings(steps, lr, noise).learned(pool), method="mango", rank=rank)
    width = first_width(growth, "sel") if growth else None
    return learned_plan(growth, layers, learned, width)
