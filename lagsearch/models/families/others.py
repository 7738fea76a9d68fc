"""Families that name their weights as Llama or BERT do, but for a few."""

from dataclasses import replace

from lagsearch.models.families.bert import BERT
from lagsearch.models.families.llama import LLAMA
from lagsearch.models.families.record import (
    Axis,
    Family,
    SizeKeys,
    Weight,
    layer_norm,
    linear,
)


def _of(*parts: str) -> tuple[Weight, ...]:
    """Return Llama's weights whose names begin so."""
    return tuple(weight for weight in LLAMA.layer if weight.name.startswith(parts))


def _unbiased(*parts: str) -> tuple[Weight, ...]:
    """Return the same without biases."""
    return tuple(weight for weight in _of(*parts) if not weight.name.endswith(".bias"))


def _norms(*names: str, counts_from: float = 0.0, is_last: bool = False) -> tuple[Weight, ...]:
    """Return the gains of norms on the residual stream."""
    return tuple(
        Weight(f"{name}.weight", ("residual",), "norm", None, counts_from, is_last)
        for name in names
    )


def _normed(query: Axis, key: Axis, counts_from: float = 0.0) -> tuple[Weight, ...]:
    """Return an attention whose queries and keys are normed over these axes."""
    return (
        *linear("self_attn.q_proj", ("query", "residual"), "reader", normed_over=query),
        *linear("self_attn.k_proj", ("key_value", "residual"), "reader", normed_over=key),
        *_of("self_attn.v_proj", "self_attn.o_proj"),
        Weight("self_attn.q_norm.weight", (query,), "norm", counts_from=counts_from),
        Weight("self_attn.k_norm.weight", (key,), "norm", counts_from=counts_from),
    )


_BEFORE = ("input_layernorm", "pre_feedforward_layernorm")
_BEHIND = ("post_attention_layernorm", "post_feedforward_layernorm")
_AROUND = (
    *_norms(*_BEFORE, counts_from=1.0),
    *_norms(*_BEHIND, counts_from=1.0, is_last=True),
)

GEMMA2 = replace(
    LLAMA,
    name="gemma2",
    model_types=("gemma2",),
    layer=(*_of("self_attn."), *_unbiased("mlp."), *_AROUND),
    top=(*_norms("model.norm", counts_from=1.0), *LLAMA.top[1:]),
    scales_embedding=True,
)

GEMMA3 = replace(
    GEMMA2,
    name="gemma3",
    model_types=("gemma3_text",),
    layer=(
        *_normed("head_dim", "head_dim", counts_from=1.0),
        *_unbiased("mlp."),
        *_AROUND,
    ),
)

OLMO2 = replace(
    LLAMA,
    name="olmo2",
    model_types=("olmo2",),
    layer=(*_normed("query", "key_value"), *_unbiased("mlp."), *_norms(*_BEHIND, is_last=True)),
)

PHI3 = replace(
    LLAMA,
    name="phi3",
    model_types=("phi3",),
    layer=(
        *_norms("input_layernorm", "post_attention_layernorm"),
        Weight("self_attn.qkv_proj.weight", ("qkv_blocks", "residual"), "reader"),
        *_unbiased("self_attn.o_proj"),
        Weight("mlp.gate_up_proj.weight", ("gate_up", "residual"), "reader"),
        *_unbiased("mlp.down_proj"),
    ),
)

STARCODER2 = replace(
    LLAMA,
    name="starcoder2",
    model_types=("starcoder2",),
    layer=(
        *layer_norm("input_layernorm"),
        *_of("self_attn."),
        *layer_norm("post_attention_layernorm"),
        *linear("mlp.c_fc", ("ffn", "residual"), "reader"),
        *linear("mlp.c_proj", ("residual", "ffn"), "writer"),
    ),
    top=(*layer_norm("model.norm"), *LLAMA.top[1:]),
    norm="layer",
    size_keys=SizeKeys(eps="norm_epsilon"),
)

STABLELM = replace(
    LLAMA,
    name="stablelm",
    model_types=("stablelm",),
    layer=(
        *layer_norm("input_layernorm"),
        *_of("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        *_unbiased("self_attn.o_proj", "mlp."),
        *layer_norm("post_attention_layernorm"),
    ),
    top=(*layer_norm("model.norm"), *LLAMA.top[1:]),
    norm="layer",
    size_keys=SizeKeys(),
    requires={"qk_layernorm": False},
)

PHI = replace(
    LLAMA,
    name="phi",
    model_types=("phi",),
    layer=(
        *layer_norm("input_layernorm"),
        *_of("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        *linear("self_attn.dense", ("residual", "query"), "writer"),
        *linear("mlp.fc1", ("ffn", "residual"), "reader"),
        *linear("mlp.fc2", ("residual", "ffn"), "writer"),
    ),
    top=(
        *layer_norm("model.final_layernorm"),
        *LLAMA.top[1:],
        Weight("lm_head.bias", ("vocabulary",), "head"),
    ),
    norm="layer",
    size_keys=SizeKeys(),
    requires={"qk_layernorm": False},
)

_FALCON_KEYS = SizeKeys(key_value="num_kv_heads", ffn="ffn_hidden_size", eps="layer_norm_epsilon")
_ALIBI = (("alibi", "the slope of a head follows from the number of all heads"),)

FALCON = Family(
    name="falcon",
    model_types=("falcon",),
    layer=(
        *(each for name in ("input_layernorm", "ln_attn", "ln_mlp") for each in layer_norm(name)),
        *layer_norm("post_attention_layernorm"),
        *linear("self_attention.query_key_value", ("qkv_per_group", "residual"), "reader"),
        *linear("self_attention.dense", ("residual", "query"), "writer"),
        *linear("mlp.dense_h_to_4h", ("ffn", "residual"), "reader"),
        *linear("mlp.dense_4h_to_h", ("residual", "ffn"), "writer"),
    ),
    bottom=(Weight("transformer.word_embeddings.weight", ("vocabulary", "residual"), "embedding"),),
    top=(
        *layer_norm("transformer.ln_f"),
        Weight("lm_head.weight", ("vocabulary", "residual"), "head"),
    ),
    norm="layer",
    size_keys=_FALCON_KEYS,
    requires={"new_decoder_architecture": True},
    no_heads=_ALIBI,
)

FALCON_ONE_KEY = replace(
    FALCON,
    name="falcon-one-key",
    size_keys=replace(_FALCON_KEYS, key_value=None, as_heads=("num_kv_heads",)),
    requires={"new_decoder_architecture": False, "multi_query": True},
)

FALCON_PER_HEAD = replace(
    FALCON,
    name="falcon-per-head",
    size_keys=replace(_FALCON_KEYS, key_value="num_attention_heads", as_heads=("num_kv_heads",)),
    requires={"new_decoder_architecture": False, "multi_query": False},
)

DISTILBERT = Family(
    name="distilbert",
    model_types=("distilbert",),
    layer=(
        *linear("attention.q_lin", ("query", "residual"), "reader"),
        *linear("attention.k_lin", ("key_value", "residual"), "reader"),
        *linear("attention.v_lin", ("key_value", "residual"), "reader"),
        *linear("attention.out_lin", ("residual", "query"), "writer"),
        *layer_norm("sa_layer_norm"),
        *linear("ffn.lin1", ("ffn", "residual"), "reader"),
        *linear("ffn.lin2", ("residual", "ffn"), "writer"),
        *layer_norm("output_layer_norm"),
    ),
    bottom=tuple(
        replace(weight, name=weight.name.replace("bert.", "distilbert.", 1))
        for weight in BERT.bottom
        if "token_type" not in weight.name
    ),
    top=(
        *linear("vocab_transform", ("residual", "residual"), "inner"),
        *layer_norm("vocab_layer_norm"),
        Weight("vocab_projector.weight", ("vocabulary", "residual"), "head"),
        Weight("vocab_projector.bias", ("vocabulary",), "head"),
    ),
    norm="layer",
    size_keys=SizeKeys(residual=("dim",), heads="n_heads", ffn="hidden_dim", eps=None),
    is_post_norm=True,
)

ELECTRA = Family(
    name="electra",
    model_types=("electra",),
    layer=BERT.layer,
    bottom=tuple(
        replace(weight, name=weight.name.replace("bert.", "electra.", 1)) for weight in BERT.bottom
    ),
    top=(
        *linear("generator_predictions.dense", ("residual", "residual"), "inner"),
        *layer_norm("generator_predictions.LayerNorm"),
        Weight("generator_lm_head.weight", ("vocabulary", "residual"), "head"),
        Weight("generator_lm_head.bias", ("vocabulary",), "head"),
    ),
    norm="layer",
    size_keys=SizeKeys(residual=("hidden_size", "embedding_size")),
    is_post_norm=True,
    requires={"add_cross_attention": False},
    equal=(("embedding_size", "hidden_size"),),
)

ELECTRA_PROJECTED = replace(
    ELECTRA,
    name="electra-projected",
    bottom=(
        *(replace(each, axes=(*each.axes[:-1], "embedding")) for each in ELECTRA.bottom),
        *linear("electra.embeddings_project", ("residual", "embedding"), "embedding"),
    ),
    top=(
        *linear("generator_predictions.dense", ("embedding", "residual"), "head"),
        *layer_norm("generator_predictions.LayerNorm", "embedding"),
        Weight("generator_lm_head.weight", ("vocabulary", "embedding"), "head"),
        Weight("generator_lm_head.bias", ("vocabulary",), "head"),
    ),
    size_keys=SizeKeys(),
    equal=(),
    unequal=(("embedding_size", "hidden_size"),),
)
