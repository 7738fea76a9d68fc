"""All tensors of a model, with their shapes, from its configuration's keys and its family's table.

A table lists what models of a family may have; `MODEL_TYPES` adds what those of one type do have.
Neither torch nor transformers is needed; a test compares with the models that transformers builds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lagsearch.errors import ModelError
from lagsearch.models.families import Axis, Family, Weight, family_of


class Key(NamedTuple):
    """A configuration key, and the value that it has where it is not written."""

    name: str
    default: bool

    def of(self, keys: Mapping[str, Any]) -> bool:
        """Return what a configuration says."""
        return bool(keys.get(self.name, self.default))


@dataclass(frozen=True)
class ModelType:
    """What models of one type have of their family's table.

    Attributes:
        classes: The classes of transformers that have these tensors and no others.
        biases: Which linear maps of a layer have a bias, by what their names begin with; those that
            are not named have one.
        ties: Whether head and embedding are one tensor; a type with `None` is known tied only.
        per_layer: Keys that hold one value for each layer.
        depth: What it calls `num_hidden_layers`.
        spelt: Names that files have in place of the table's.
        body: What names may lack at their beginning in files of all but the head.
        ignored: Patterns of what else files may have: tables that are worked out again.
        layers: Name of the list of layers.
    """

    classes: tuple[str, ...]
    biases: tuple[tuple[str, Key | None], ...] = ()
    ties: bool | None = False
    per_layer: tuple[str, ...] = ()
    depth: str = "num_hidden_layers"
    spelt: tuple[tuple[str, str], ...] = ()
    body: str = ""
    ignored: tuple[str, ...] = (r"\.rotary_emb\.inv_freq$",)
    layers: str = "model.layers"


_NONE: tuple[tuple[str, None], ...] = (("", None),)
_ATTENTION = Key("attention_bias", default=False)
_BOTH = (("self_attn.", _ATTENTION), ("mlp.", Key("mlp_bias", default=False)))
_LAYERS = ("layer_types",)
_QWEN2 = (("self_attn.o_proj", None), ("mlp.", None))
_NEOX = (("attention.", Key("attention_bias", default=True)),)

MODEL_TYPES: Mapping[str, ModelType] = {
    "llama": ModelType(("LlamaForCausalLM",), _BOTH),
    "granite": ModelType(("GraniteForCausalLM",), _BOTH),
    "mistral": ModelType(("MistralForCausalLM",), _NONE),
    "qwen2": ModelType(("Qwen2ForCausalLM",), _QWEN2, per_layer=_LAYERS),
    "qwen3": ModelType(("Qwen3ForCausalLM",), (("", _ATTENTION),), per_layer=_LAYERS),
    "smollm3": ModelType(("SmolLM3ForCausalLM",), _BOTH, True, (*_LAYERS, "no_rope_layers")),
    "gemma2": ModelType(("Gemma2ForCausalLM",), (("", _ATTENTION),), True, _LAYERS),
    "gemma3_text": ModelType(("Gemma3ForCausalLM",), (("", _ATTENTION),), True, _LAYERS),
    "olmo2": ModelType(("Olmo2ForCausalLM",), (("", _ATTENTION),)),
    "phi3": ModelType(("Phi3ForCausalLM",)),
    "phi": ModelType(("PhiForCausalLM",)),
    "starcoder2": ModelType(
        ("Starcoder2ForCausalLM",), (("", Key("use_bias", default=True)),), True
    ),
    "gpt_neox": ModelType(
        ("GPTNeoXForCausalLM",),
        _NEOX,
        spelt=(("lm_head.weight", "embed_out.weight"),),
        ignored=(r"\.rotary_emb\.inv_freq$", r"\.attention\.(masked_)?bias$"),
        layers="gpt_neox.layers",
    ),
    "gpt2": ModelType(
        ("GPT2LMHeadModel",),
        ties=True,
        depth="n_layer",
        body="transformer.",
        ignored=(r"\.attn\.(masked_)?bias$",),
        layers="transformer.h",
    ),
    "bert": ModelType(
        ("BertForMaskedLM", "BertLMHeadModel"), ties=None, layers="bert.encoder.layer"
    ),
    "roberta": ModelType(
        ("RobertaForMaskedLM", "RobertaForCausalLM"), ties=None, layers="roberta.encoder.layer"
    ),
    "distilbert": ModelType(
        ("DistilBertForMaskedLM",),
        ties=None,
        depth="n_layers",
        layers="distilbert.transformer.layer",
    ),
}


@dataclass(frozen=True)
class Anatomy:
    """The tensors of a model, tied ones once.

    Attributes:
        family: The table that they stand in.
        bottom: Shapes of those below the first layer, by their names.
        layer: Of those of each layer, by their names inside of it.
        top: Of those above the last layer.
        sizes: How long each axis is.
    """

    family: Family
    bottom: Mapping[str, tuple[int, ...]]
    layer: Mapping[str, tuple[int, ...]]
    top: Mapping[str, tuple[int, ...]]
    sizes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[Mapping[str, tuple[int, ...]], ...]:
        """All three."""
        return self.bottom, self.layer, self.top


def anatomy_of(model_type: str, keys: Mapping[str, Any]) -> Anatomy | None:
    """Return a model's tensors, or None where tables do not say all of them.

    Args:
        model_type: As the configuration says it.
        keys: The configuration's keys.
    """
    known = MODEL_TYPES.get(model_type)
    if known is None:
        return None
    is_tied = keys.get("tie_word_embeddings", known.ties is not False)
    if known.ties is None and not is_tied:
        return None
    try:
        family = family_of(model_type, keys)
        sizes = _sizes(family, keys)
        bottom, layer, top = parts = [
            {each.name: tuple(sizes[_axis(each, axis)] for axis in each.axes) for each in part}
            for part in (
                family.bottom,
                tuple(_present(family.layer, known, keys)),
                tuple(_untied(family, is_tied=is_tied)),
            )
        ]
    except (ModelError, KeyError, TypeError, ZeroDivisionError):
        return None
    if not all(type(size) is int for part in parts for shape in part.values() for size in shape):
        return None
    return Anatomy(family, bottom, layer, top, sizes)


def _present(
    weights: tuple[Weight, ...], known: ModelType, keys: Mapping[str, Any]
) -> Iterator[Weight]:
    """Yield a layer's weights without the biases that its linear maps lack."""
    for weight in weights:
        if weight.name.endswith(".bias") and weight.role != "shift":
            found = next((key for part, key in known.biases if weight.name.startswith(part)), True)
            if found is None or (isinstance(found, Key) and not found.of(keys)):
                continue
        yield weight


def _untied(family: Family, *, is_tied: bool) -> Iterator[Weight]:
    """Yield the weights above the last layer without a head that is the embedding.

    A tied head's bias, where the table has another beside it, is tied as well.
    """
    tied = {each.name for each in family.top if each.axes == ("vocabulary", "residual")}
    biases = [each.name for each in family.top if each.axes == ("vocabulary",)]
    if len(biases) > 1:
        tied |= {f"{name.removesuffix('weight')}bias" for name in tied}
    yield from (each for each in family.top if not is_tied or each.name not in tied)


def _axis(weight: Weight, axis: Axis) -> str:
    return "type" if axis == "position" and "token_type" in weight.name else axis


def _sizes(family: Family, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return how long each axis is."""
    named = family.size_keys
    residual, heads = keys[named.residual[0]], keys[named.heads]
    groups = named.groups(keys)
    head_dim = keys.get(named.head_dim) or residual // heads
    if not isinstance(keys.get(named.eps or "", 0.0), int | float):
        raise TypeError(f"{named.eps} is no number")
    query, key_value = heads * head_dim, groups * head_dim
    ffn = keys.get(named.ffn) or 4 * residual
    positions = keys.get("n_positions") or keys.get("max_position_embeddings")
    return {
        **{"residual": residual, "query": query, "key_value": key_value, "ffn": ffn},
        **{"head_dim": head_dim, "gate_up": 2 * ffn, "vocabulary": keys["vocab_size"]},
        **{"qkv_blocks": query + 2 * key_value, "qkv_per_head": 3 * query},
        **{"position": positions, "type": keys.get("type_vocab_size")},
    }
