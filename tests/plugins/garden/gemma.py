"""A family of models: the first Gemma, which is Llama but for its norms and its embedding."""

from dataclasses import replace

from lagsearch.models.families.llama import LLAMA


def _counted_from_one(weights):
    return tuple(
        replace(each, counts_from=1.0) if each.role == "norm" else each for each in weights
    )


GEMMA = replace(
    LLAMA,
    name="gemma",
    model_types=("gemma",),
    layer=_counted_from_one(LLAMA.layer),
    top=_counted_from_one(LLAMA.top),
    scales_embedding=True,
)
