"""GPT-2; also minGPT's gpt-mini, gpt-micro and the like, which are GPT-2 in other sizes."""

from lagsearch.models.families.record import Family, SizeKeys, Weight, layer_norm, linear

GPT2 = Family(
    name="gpt2",
    model_types=("gpt2",),
    layer=(
        *layer_norm("ln_1"),
        *linear("attn.c_attn", ("qkv_blocks", "residual"), "reader", is_transposed=True),
        *linear("attn.c_proj", ("residual", "query"), "writer", is_transposed=True),
        *layer_norm("ln_2"),
        *linear("mlp.c_fc", ("ffn", "residual"), "reader", is_transposed=True),
        *linear("mlp.c_proj", ("residual", "ffn"), "writer", is_transposed=True),
    ),
    bottom=(
        Weight("transformer.wte.weight", ("vocabulary", "residual"), "embedding"),
        Weight("transformer.wpe.weight", ("position", "residual"), "embedding"),
    ),
    top=(
        *layer_norm("transformer.ln_f"),
        Weight("lm_head.weight", ("vocabulary", "residual"), "head"),
    ),
    norm="layer",
    size_keys=SizeKeys(
        residual=("n_embd",), heads="n_head", ffn="n_inner", eps="layer_norm_epsilon"
    ),
    requires={"add_cross_attention": False, "scale_attn_by_inverse_layer_idx": False},
)
