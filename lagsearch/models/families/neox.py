"""GPT-NeoX and Pythia: query, key and value fused head by head."""

from lagsearch.models.families.record import Family, Weight, layer_norm, linear

NEOX = Family(
    name="neox",
    model_types=("gpt_neox",),
    layer=(
        *layer_norm("input_layernorm"),
        *linear("attention.query_key_value", ("qkv_per_head", "residual"), "reader"),
        *linear("attention.dense", ("residual", "query"), "writer"),
        *layer_norm("post_attention_layernorm"),
        *linear("mlp.dense_h_to_4h", ("ffn", "residual"), "reader"),
        *linear("mlp.dense_4h_to_h", ("residual", "ffn"), "writer"),
    ),
    bottom=(Weight("gpt_neox.embed_in.weight", ("vocabulary", "residual"), "embedding"),),
    top=(
        *layer_norm("gpt_neox.final_layer_norm"),
        Weight("lm_head.weight", ("vocabulary", "residual"), "head"),
    ),
    norm="layer",
)
