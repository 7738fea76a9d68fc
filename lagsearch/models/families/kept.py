"""What a training step keeps of the forward pass for the backward pass, in bytes, in fp32.

Counted in the models that transformers builds, with attention that keeps queries, keys, values,
what comes of them and a number for each head and token (SDPA on a CPU, flash attention). It is
linear in every axis; a test compares with what autograd keeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lagsearch.models.families import Family

Bytes = Mapping[str, int]
"""Bytes for each unit of an axis; of `one` they are counted once."""

_SOFTMAX, _DROPPED = 4, 8
"""Bytes of a score where attention drops some on a CPU: its softmax; noise, and both multiplied."""


@dataclass(frozen=True)
class Kept:
    """What models of one type keep.

    Attributes:
        layer: For each token and layer.
        outer: For each token, outside of the layers.
        position: For each position of a sequence, whatever the batch.
        activation: Key of the activation, and the only value that this holds for.
        attention_dropout: Key of the dropout of scores.
        dropped: Keys of other dropouts, and what is kept more for each token where one is on: in a
            layer, and outside of it.
        numbers_positions: Whether all positions that there may be are numbered, in 8 bytes each.
        gains: For each layer, whatever the batch: gains that count from one are made of weights.
        once: The same outside of the layers.
        scores: Of each score, where attention forms the matrix of all: its tanh, if they are
            capped, and its softmax.
        repeated: For each token and layer, of keys and values that are repeated for heads that
            share them.
        has_turns_by_type: Whether each type of layer (`layer_types`) has its own rotation.
    """

    layer: Bytes
    outer: Bytes
    position: Bytes
    activation: tuple[str, str] = ("hidden_act", "silu")
    attention_dropout: str = "attention_dropout"
    dropped: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    numbers_positions: bool = False
    gains: Bytes = field(default_factory=dict)
    once: Bytes = field(default_factory=dict)
    scores: int = 0
    repeated: int = 0
    has_turns_by_type: bool = False


_LLAMA = Kept(
    layer={"residual": 24, "query": 8, "key_value": 8, "ffn": 16, "heads": 4, "one": 8},
    outer={"residual": 12, "one": 12},
    position={"head_dim": 8},
)
_GEMMA = Kept(
    layer={"residual": 40, "ffn": 16, "one": 16},
    outer={"residual": 12, "one": 12},
    position={"head_dim": 8},
    activation=("hidden_activation", "gelu_pytorch_tanh"),
    gains={"residual": 16},
    once={"residual": 4, "one": 4},
)
_NEOX = Kept(
    layer={"residual": 28, "ffn": 8, "heads": 4, "one": 16},
    outer={"residual": 8, "one": 16},
    position={"head_dim": 2},
    activation=("hidden_act", "gelu"),
    dropped={"hidden_dropout": (8, 4)},
)
_BERT = Kept(
    layer={"residual": 32, "ffn": 8, "heads": 4, "one": 16},
    outer={"residual": 20, "one": 24},
    position={"one": 8},
    activation=("hidden_act", "gelu"),
    attention_dropout="attention_probs_dropout_prob",
    dropped={"hidden_dropout_prob": (8, 4)},
    numbers_positions=True,
)

KEPT: Mapping[str, Kept] = {
    **dict.fromkeys(("llama", "granite", "mistral", "qwen2", "smollm3"), _LLAMA),
    "qwen3": replace(
        _LLAMA, layer={**_LLAMA.layer, "query": 16, "key_value": 16, "heads": 8, "groups": 4}
    ),
    "gemma2": replace(
        _GEMMA,
        layer={**_GEMMA.layer, "query": 8},
        outer={**_GEMMA.outer, "vocabulary": 4},
        scores=8,
        repeated=8,
    ),
    "gemma3_text": replace(
        _GEMMA,
        layer={**_GEMMA.layer, "query": 16, "key_value": 16, "heads": 8, "groups": 4},
        gains={**_GEMMA.gains, "head_dim": 8},
        has_turns_by_type=True,
    ),
    "olmo2": replace(_LLAMA, layer={**_LLAMA.layer, "query": 16, "key_value": 16, "one": 16}),
    "phi3": replace(_LLAMA, dropped={"resid_pdrop": (8, 0)}),
    "phi": replace(
        _NEOX,
        layer={"residual": 8, "query": 8, "key_value": 8, "ffn": 20, "heads": 4, "one": 8},
        position={"head_dim": 4},
        activation=("hidden_act", "gelu_new"),
        dropped={"resid_pdrop": (8, 0), "embd_pdrop": (0, 4)},
    ),
    "starcoder2": replace(
        _NEOX,
        layer={"residual": 16, "query": 8, "key_value": 8, "ffn": 8, "heads": 4, "one": 16},
        position={"head_dim": 8},
        activation=("hidden_act", "gelu_pytorch_tanh"),
        dropped={"residual_dropout": (8, 0), "embedding_dropout": (0, 4)},
    ),
    "gpt_neox": _NEOX,
    "gpt2": Kept(
        layer={"residual": 40, "ffn": 20, "heads": 4, "one": 16},
        outer={"residual": 8, "one": 16},
        position={"one": 8},
        activation=("activation_function", "gelu_new"),
        attention_dropout="attn_pdrop",
        dropped={"resid_pdrop": (8, 0), "embd_pdrop": (0, 4)},
    ),
    "bert": _BERT,
    "roberta": replace(
        _BERT, outer={"residual": 20, "one": 40}, position={}, numbers_positions=False
    ),
    "distilbert": replace(
        _BERT,
        position={},
        activation=("activation", "gelu"),
        attention_dropout="attention_dropout",
        dropped={"dropout": (4, 4)},
    ),
}


def kept_bytes(
    family: Family,
    keys: Mapping[str, Any],
    sizes: Mapping[str, int],
    batch: tuple[int, int],
    *,
    is_recomputed: bool = False,
) -> int | None:
    """Return the bytes that are kept, logits apart, or None where no table says it.

    Args:
        family: The table of the model's weights.
        keys: The configuration's keys, completed.
        sizes: How long each axis is.
        batch: Sequences, and tokens in each.
        is_recomputed: Layers keep their input alone; what else they need for the backward pass is
            there for one of them at a time.
    """
    kept = KEPT.get(str(keys["model_type"]))
    if kept is None or keys.get(kept.activation[0]) != kept.activation[1]:
        return None
    rows, length = batch
    layers, tokens = sizes["layers"], rows * length
    heads, groups = int(keys[family.size_keys.heads]), int(family.size_keys.groups(keys))
    known = {**sizes, "heads": heads, "groups": groups, "one": 1}

    def total(each: Bytes) -> int:
        return sum(count * known[axis] for axis, count in each.items())

    dropped = [each for key, each in kept.dropped.items() if keys.get(key)]
    inside, outside = (known["residual"] * sum(each[n] for each in dropped) for n in (0, 1))
    is_alone = rows == groups == 1  # what is repeated is then seen, not copied
    scores = kept.scores
    if keys.get(kept.attention_dropout):
        scores += _DROPPED + (0 if kept.scores else _SOFTMAX)
    layer = tokens * (total(kept.layer) + inside + heads * length * scores) + total(kept.gains)
    layer += tokens * kept.repeated * known["key_value" if is_alone else "query"]
    outer = tokens * (total(kept.outer) + outside) + total(kept.once)
    outer += 8 * known["position"] if kept.numbers_positions else 0
    turned = length * total(kept.position)
    if is_recomputed:
        given = 4 * tokens * known["residual"]
        return outer + layers * given + layer - given + turned
    turns = len(set(keys["layer_types"])) if kept.has_turns_by_type else 1
    return outer + layers * layer + turns * turned
