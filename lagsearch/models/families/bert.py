"""BERT and RoBERTa: post-norm encoders, equal but for the names of the whole and of the head."""

from lagsearch.models.families.record import Family, Weight, layer_norm, linear

_LAYER = (
    *linear("attention.self.query", ("query", "residual"), "reader"),
    *linear("attention.self.key", ("key_value", "residual"), "reader"),
    *linear("attention.self.value", ("key_value", "residual"), "reader"),
    *linear("attention.output.dense", ("residual", "query"), "writer"),
    *layer_norm("attention.output.LayerNorm"),
    *linear("intermediate.dense", ("ffn", "residual"), "reader"),
    *linear("output.dense", ("residual", "ffn"), "writer"),
    *layer_norm("output.LayerNorm"),
)


def _embeddings(prefix: str) -> tuple[Weight, ...]:
    return (
        Weight(f"{prefix}.word_embeddings.weight", ("vocabulary", "residual"), "embedding"),
        Weight(f"{prefix}.position_embeddings.weight", ("position", "residual"), "embedding"),
        Weight(f"{prefix}.token_type_embeddings.weight", ("position", "residual"), "embedding"),
        *layer_norm(f"{prefix}.LayerNorm"),
    )


BERT = Family(
    name="bert",
    model_types=("bert",),
    layer=_LAYER,
    bottom=_embeddings("bert.embeddings"),
    top=(
        *linear("cls.predictions.transform.dense", ("residual", "residual"), "inner"),
        *layer_norm("cls.predictions.transform.LayerNorm"),
        Weight("cls.predictions.decoder.weight", ("vocabulary", "residual"), "head"),
        Weight("cls.predictions.decoder.bias", ("vocabulary",), "head"),  # if untied
        Weight("cls.predictions.bias", ("vocabulary",), "head"),
    ),
    norm="layer",
    is_post_norm=True,
    requires={"add_cross_attention": False},
)

ROBERTA = Family(
    name="roberta",
    model_types=("roberta",),
    layer=_LAYER,
    bottom=_embeddings("roberta.embeddings"),
    top=(
        *linear("lm_head.dense", ("residual", "residual"), "inner"),
        *layer_norm("lm_head.layer_norm"),
        Weight("lm_head.decoder.weight", ("vocabulary", "residual"), "head"),
        Weight("lm_head.decoder.bias", ("vocabulary",), "head"),  # if untied
        Weight("lm_head.bias", ("vocabulary",), "head"),
    ),
    norm="layer",
    is_post_norm=True,
    requires={"add_cross_attention": False},
)
