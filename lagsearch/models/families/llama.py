"""Llama, and Mistral, Qwen2 and Qwen3, Granite and SmolLM3 by the same names."""

from dataclasses import replace

from lagsearch.models.families.record import Axis, Family, SizeKeys, Weight, linear


def _attention(*, has_head_norms: bool) -> tuple[Weight, ...]:
    norms = ("self_attn.q_norm.weight", "self_attn.k_norm.weight") if has_head_norms else ()
    over: Axis | None = "head_dim" if has_head_norms else None
    return (
        Weight("input_layernorm.weight", ("residual",), "norm"),
        *linear("self_attn.q_proj", ("query", "residual"), "reader", normed_over=over),
        *linear("self_attn.k_proj", ("key_value", "residual"), "reader", normed_over=over),
        *linear("self_attn.v_proj", ("key_value", "residual"), "reader"),
        *(Weight(name, ("head_dim",), "norm") for name in norms),
        *linear("self_attn.o_proj", ("residual", "query"), "writer"),
        Weight("post_attention_layernorm.weight", ("residual",), "norm"),
    )


_FEED_FORWARD = (
    linear("mlp.gate_proj", ("ffn", "residual"), "reader"),
    linear("mlp.up_proj", ("ffn", "residual"), "reader"),
    linear("mlp.down_proj", ("residual", "ffn"), "writer"),
)

LLAMA = Family(
    name="llama",
    model_types=("llama", "mistral", "qwen2", "granite", "smollm3"),
    layer=(*_attention(has_head_norms=False), *(each for both in _FEED_FORWARD for each in both)),
    bottom=(Weight("model.embed_tokens.weight", ("vocabulary", "residual"), "embedding"),),
    top=(
        Weight("model.norm.weight", ("residual",), "norm"),
        Weight("lm_head.weight", ("vocabulary", "residual"), "head"),
    ),
    norm="rms",
    size_keys=SizeKeys(eps="rms_norm_eps"),
)

QWEN3 = replace(
    LLAMA,
    name="qwen3",
    model_types=("qwen3",),
    layer=(*_attention(has_head_norms=True), *(weight for weight, _bias in _FEED_FORWARD)),
)
