"""OPT, but for the 350M model, which is post-norm and has its embedding projected."""

from lagsearch.models.families.record import Family, SizeKeys, Weight, layer_norm, linear

OPT = Family(
    name="opt",
    model_types=("opt",),
    layer=(
        *layer_norm("self_attn_layer_norm"),
        *linear("self_attn.q_proj", ("query", "residual"), "reader"),
        *linear("self_attn.k_proj", ("key_value", "residual"), "reader"),
        *linear("self_attn.v_proj", ("key_value", "residual"), "reader"),
        *linear("self_attn.out_proj", ("residual", "query"), "writer"),
        *layer_norm("final_layer_norm"),
        *linear("fc1", ("ffn", "residual"), "reader"),
        *linear("fc2", ("residual", "ffn"), "writer"),
    ),
    bottom=(
        Weight("model.decoder.embed_tokens.weight", ("vocabulary", "residual"), "embedding"),
        Weight("model.decoder.embed_positions.weight", ("position", "residual"), "embedding"),
    ),
    top=(
        *layer_norm("model.decoder.final_layer_norm"),
        Weight("lm_head.weight", ("vocabulary", "residual"), "head"),
    ),
    norm="layer",
    size_keys=SizeKeys(residual=("hidden_size", "word_embed_proj_dim"), ffn="ffn_dim", eps=None),
    requires={"do_layer_norm_before": True},
    equal=(("word_embed_proj_dim", "hidden_size"),),
)
