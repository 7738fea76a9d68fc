"""A space for each run of the benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

from lagsearch.bench.design import STORIES, Design

_HEAD = 16
"""Size of an attention head."""
_SHARES = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
"""Where candidates are evaluated, as shares of completion."""
_FIRST = (0, 2, 5, 10)
"""Where else: steps."""
VALIDATION_TOKENS = 8192
"""Tokens that losses are measured on."""
LEARNED = 40
"""Steps of operators that are learned."""


def designed_space(design: Design, places: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the space of a run, as a space file has it.

    Args:
        design: The run.
        places: The files of texts and the checkpoint's folder, by name.
    """
    length = design.length
    return {
        "name": design.name,
        "seed": 0,
        "data": {
            "train": _train(design, places),
            "validation": {"fraction": 0.05},
            **_tokenizer(design),
            "sequence_length": length,
        },
        "objective": {"name": design.objective},
        "sources": _sources(design, places),
        "target": _target(design),
        "candidates": growths_of(design),
        "training": {
            "steps": design.steps,
            "batch_size": design.batch,
            "optimizer": {"name": "adamw", "lr": design.lr, "weight_decay": 0.1},
            "schedule": _schedule(design),
            "optimizer_state": design.state,
        },
        "evaluation": {
            "batches": VALIDATION_TOKENS // (design.batch * length),
            "steps": evaluated_at(design.steps),
            "thin": False,
        },
        "search": {
            "lag": design.steps // 4,
            "oracle": True,
            "seeds": list(range(design.n_seeds)),
            "vary_sources": design.varies_sources,
            "skip_unfit": True,
            "baselines": ["continue", "scratch"],
        },
        "resources": {"cpus_per_candidate": 1},
    }


def evaluated_at(steps: int) -> list[int]:
    """Return the steps at which candidates are evaluated."""
    found = {*_FIRST, *(round(share * steps) for share in _SHARES)}
    return sorted(step for step in found if step <= steps)


def _train(design: Design, places: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    if design.text == "python-stdlib":
        return {"corpus": "python-stdlib"}
    return {"files": list(places[design.text])}


def _tokenizer(design: Design) -> dict[str, Any]:
    if design.tokens == "own":
        return {}
    return {"tokenizer": {"train_bpe": 512} if design.tokens == "512" else design.tokens}


def _schedule(design: Design) -> dict[str, Any]:
    cosine: dict[str, Any] = {"name": "cosine", "final_fraction": 0.1}
    schedules: dict[str, dict[str, Any]] = {
        "constant": {"name": "constant"},
        "decaying": cosine,
        "continued": {**cosine, "continue": True},
        "rewarmed": {**cosine, "warmup_steps": design.steps // 10},
    }
    return schedules[design.rate]


def _sources(design: Design, places: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    if design.trained is None:
        return [{"name": STORIES, "checkpoint": places[STORIES][0]}]
    pretrain: dict[str, Any] = {"config": _config(design), "steps": design.trained}
    if design.rate == "rewarmed":
        pretrain["schedule"] = {"name": "cosine", "warmup_steps": 20, "final_fraction": 0.1}
    number = design.n_sources
    if number == 1:
        return [{"name": "source", "pretrain": pretrain}]
    return [
        {"name": name, "pretrain": {**pretrain, "part": f"{place}/{number}"}}
        for place, name in enumerate("abc"[:number], start=1)
    ]


def _config(design: Design) -> dict[str, Any]:
    config = {
        **_sizes(design.family, *design.source),
        _NAMES[design.family]["positions"]: design.length,
    }
    kinds: dict[str, dict[str, Any]] = {
        "llama": {"tie_word_embeddings": False},
        "qwen3": {"tie_word_embeddings": False, "head_dim": _HEAD},
        "neox": {"tie_word_embeddings": False},
        "gpt2": dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        "bert": {
            **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
            "initializer_range": 0.1,
        },
    }
    model_type = {"neox": "gpt_neox"}.get(design.family, design.family)
    return {"model_type": model_type, **config, **kinds[design.family]}


_LONG = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "intermediate_size",
    "positions": "max_position_embeddings",
}
_NAMES: dict[str, dict[str, str]] = {
    "llama": {**_LONG, "groups": "num_key_value_heads"},
    "qwen3": {**_LONG, "groups": "num_key_value_heads"},
    "neox": _LONG,
    "bert": _LONG,
    "gpt2": {"layers": "n_layer", "width": "n_embd", "heads": "n_head", "positions": "n_positions"},
}
"""What a family calls its sizes."""


def _sizes(family: str, layers: int, width: int) -> dict[str, int]:
    gated = family in ("llama", "qwen3")
    heads = width // _HEAD
    sizes = {
        "layers": layers,
        "width": width,
        "heads": heads,
        "groups": heads,
        "ffn": width * 11 // 4 if gated else width * 4,
    }
    names = _NAMES[family]
    return {names[size]: number for size, number in sizes.items() if size in names}


def _target(design: Design) -> dict[str, int]:
    if design.source[1] == design.target[1]:  # of a checkpoint nothing else is known here
        return {_NAMES[design.family]["layers"]: design.target[0]}
    return _sizes(design.family, *design.target)


def growths_of(design: Design) -> list[dict[str, Any]]:
    """Return the growths that a run compares; what does not fit is left out when it is made."""
    makers = {
        "depth": depth_growths,
        "width": width_growths,
        "both": both_growths,
        "learned": learned_growths,
        "several": several_growths,
    }
    return makers[design.growths](design)


def depth_growths(design: Design) -> list[dict[str, Any]]:
    """Return LAG's blocks where they fit, stacking, zeroed, random and repeated layers."""
    before, after = design.source[0], design.target[0]
    new = after - before
    top = before - 1
    repeated = [
        [0] * (new + 1) + list(range(1, before)),
        list(range(before)) + [top] * new,
        [0, *[layer for layer in range(1, before) for _ in range(after)][: after - 2], top],
    ]
    there_and_back = [*range(before), *reversed(range(before))] * after
    ramps = [design.steps // 8, design.steps // 3]
    lag = {"operator": "lag", "index": sorted({0, before - new}), "block_size": _blocks(new)}
    return [
        *([{**lag, "init": ["duplicate", "random"]}] if new <= before else []),
        {"operator": "stack", "noise": [0.0, 0.1, 0.3]},
        {"operator": "interleave"},
        {"operator": "identity", "placement": ["stacked", "interleaved"]},
        {"operator": "random", "ramp_steps": ramps if new <= before else [0, *ramps]},
        {"operator": "layers", "layers": [*repeated, there_and_back[:after]]},
    ]


def _blocks(new: int) -> list[int]:
    """Return sizes of blocks into which new layers can be divided; at most three."""
    return [size for size in range(1, new + 1) if new % size == 0][:3]


def width_growths(design: Design) -> list[dict[str, Any]]:
    """Return the operators of width with their forms."""
    return [
        {"operator": "net2net", "split": ["even", "uneven"]},
        {"operator": "net2net", "noise": 0.2},
        {"operator": "aki"},
        {"operator": "lemon", "split": ["even", "uneven"]},
        {"operator": "zero", "form": ["hybrid", "gstack", "v1", "v2"]},
        {"operator": "duplicate-halves", "noise": [0.0, 0.2]},
        {"operator": "random-width", "form": ["v1", "v2"]},
        {"operator": "random-width", "scale": 0.3},
        {"operator": "random-width", "ramp_steps": [design.steps // 16, design.steps // 8]},
    ]


def both_growths(design: Design) -> list[dict[str, Any]]:
    """Return operators of width, each with one or more of depth."""
    return [
        {"width": "net2net", "depth": ["stack", "interleave", "identity", "random"]},
        {"width": {"operator": "net2net", "split": "uneven"}, "depth": ["stack", "identity"]},
        {"width": "zero", "depth": ["stack", "identity"]},
        {"width": {"operator": "zero", "form": "gstack"}, "depth": "stack"},
        {"width": "aki", "depth": "stack"},
        {"width": "lemon", "depth": ["stack", "interleave"]},
        {"width": "duplicate-halves", "depth": "stack"},
        {"width": "random-width", "depth": ["stack", "identity"]},
        {"width": {"operator": "random-width", "ramp_steps": 30}, "depth": "stack"},
    ]


def learned_growths(design: Design) -> list[dict[str, Any]]:
    """Return operators that are learned, and some that are not, of depth or of width."""
    briefly = {"steps": LEARNED}
    shared = [
        {"operator": "ligo", "init": ["stack", "interleave"], **briefly},
        {"operator": "ligo", "noise": [0.0, 0.1], **briefly},
        {"operator": "ligo", "steps": LEARNED // 4},
        {"operator": "stack-ligo", **briefly},
        {"operator": "cross-ligo", **briefly},
        {"operator": "mango", "rank": [1, 2], **briefly},
    ]
    if design.source[1] == design.target[1]:
        return [
            *shared,
            {"operator": "stack", "noise": [0.0, 0.2]},
            {"operator": "interleave"},
            {"operator": "identity", "placement": ["stacked", "interleaved"]},
            {"operator": "random", "ramp_steps": [0, design.steps // 8]},
        ]
    return [
        *shared,
        {"operator": "ligo", "width_init": ["average", "zero"], **briefly},
        {"operator": "net2net", "split": ["even", "uneven"]},
        {"operator": "zero", "form": ["hybrid", "gstack"]},
        {"operator": "random-width"},
        {"operator": "lemon"},
    ]


def several_growths(design: Design) -> list[dict[str, Any]]:
    """Return orders of the sources and what becomes of their ends, stacked and in turn."""
    is_pair = design.n_sources == 2
    ends = {
        "order": "all" if is_pair else "sample 2",
        "boundary": "all" if is_pair else ["attached", "average", "same-a"],
    }
    names = " ".join("abc"[: design.n_sources])
    learned = {"init": ["stack", "interleave"], "steps": LEARNED}
    return [
        {"operator": "multi-stack", **ends},
        {"operator": "multi-interleave", **ends},
        {"operator": "multi-ligo", "order": names, **learned},
    ]
