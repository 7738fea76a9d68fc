"""What each operator preserves, measured: a table over operators and families.

    python tests/benchmarks/function_preservation.py [--out reports/function-preservation.md]

Models are tiny, in float64, with every weight random (norms' gains are not 1, biases not 0). A
difference of at most 1e-10 counts as exact. `dead` counts the entries of new or widened tensors
whose gradient is exactly zero at step 0, and whose every gradient in steps 0 to 3 of Adam is. A
second table shows how alike the gradients of a doubled width's feed-forward units and of their
copies are: where the cosine is 1 the copies stay copies for ever.
"""

import argparse
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from lagsearch.errors import LagsearchError
from lagsearch.models.build import fresh_model, tensors_of
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import find_layers
from lagsearch.operators import make_candidate
from lagsearch.operators.execute.fill import add_noise, fill
from lagsearch.operators.execute.mix import make_mix
from lagsearch.storage.files import write_text
from lagsearch.training.ramp import Ramp

EXACT = 1e-10
COMMON = {"vocab_size": 40, "tie_word_embeddings": False}
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 32,
    **COMMON,
}
NEOX = {
    "model_type": "gpt_neox",
    "num_hidden_layers": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    **COMMON,
}
GPT2 = {
    "model_type": "gpt2",
    "n_layer": 4,
    "n_embd": 16,
    "n_head": 4,
    "n_inner": 24,
    "n_positions": 32,
    **COMMON,
    "tie_word_embeddings": True,
}
OPT = {
    "model_type": "opt",
    "num_hidden_layers": 4,
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "ffn_dim": 24,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    **COMMON,
    "tie_word_embeddings": True,
}
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    **COMMON,
    "tie_word_embeddings": True,
}
SMALL = {key: value for key, value in LLAMA.items() if key != "head_dim"}
GEMMA = {**LLAMA, "tie_word_embeddings": True, "query_pre_attn_scalar": 6, "sliding_window": 8}
OTHERS = {
    "gemma2": {**GEMMA, "model_type": "gemma2"},
    "gemma3_text": {**GEMMA, "model_type": "gemma3_text"},
    "phi3": {**SMALL, "model_type": "phi3", "pad_token_id": 0},
    "smollm3": {**SMALL, "model_type": "smollm3", "pad_token_id": 0},
    "olmo2": {**SMALL, "model_type": "olmo2", "pad_token_id": 0},
    "starcoder2": {**SMALL, "model_type": "starcoder2"},
    "falcon": {
        **{"model_type": "falcon", "num_hidden_layers": 4, "hidden_size": 16},
        **{"num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True},
        **{"ffn_hidden_size": 24, "bias": True, **COMMON},
    },
    "granite": {
        **{**SMALL, "model_type": "granite", "embedding_multiplier": 3.0},
        **{"attention_multiplier": 0.4, "residual_multiplier": 0.7, "logits_scaling": 2.0},
    },
    "stablelm": {**SMALL, "model_type": "stablelm"},
    "phi": {**SMALL, "model_type": "phi"},
    "distilbert": {
        **{"model_type": "distilbert", "n_layers": 4, "dim": 16, "hidden_dim": 24, "n_heads": 4},
        **{"max_position_embeddings": 32, **COMMON, "tie_word_embeddings": True},
    },
    "electra": {**BERT, "model_type": "electra", "embedding_size": 16},
    "electra-projected": {**BERT, "model_type": "electra", "embedding_size": 8},
}
FAMILIES = {"llama": LLAMA, "gpt2": GPT2, "neox": NEOX, "opt": OPT, "bert": BERT, **OTHERS}
KINDS = dict.fromkeys(("bert", "distilbert", "electra", "electra-projected"), "masked")

DEEPER = {"num_hidden_layers": 8}
WIDTHS = {  # hidden size, heads, feed-forward
    "llama": ("hidden_size", "num_attention_heads", "intermediate_size"),
    "gpt2": ("n_embd", "n_head", "n_inner"),
    "neox": ("hidden_size", "num_attention_heads", "intermediate_size"),
    "opt": ("hidden_size", "num_attention_heads", "ffn_dim"),
    "bert": ("hidden_size", "num_attention_heads", "intermediate_size"),
    **{name: ("hidden_size", "num_attention_heads", "intermediate_size") for name in OTHERS},
    "falcon": ("hidden_size", "num_attention_heads", "ffn_hidden_size"),
    "distilbert": ("dim", "n_heads", "hidden_dim"),
}
GROUPED = (
    *("llama", "smollm3", "starcoder2", "granite", "stablelm"),
    *("gemma2", "gemma3_text", "olmo2", "phi", "phi3"),
)
HALF = {"x2": {"num_key_value_heads": 4}, "x1.5": {"num_key_value_heads": 3}}
EXTRA = {
    **{name: HALF for name in GROUPED},
    "falcon": {"x2": {"num_kv_heads": 4}, "x1.5": {"num_kv_heads": 3}},
}
SIZES = {"x2": (32, 8, 48), "x1.5": (24, 6, 40)}

CASES = [
    ("stack", {}, "depth"),
    ("stack", {"noise": 0.2}, "depth"),
    ("interleave", {}, "depth"),
    ("identity", {"placement": "interleaved"}, "depth"),
    ("identity", {"placement": "stacked"}, "depth"),
    ("identity", {"placement": "pro"}, "depth"),
    ("random", {}, "depth"),
    ("random", {"ramp_steps": 4}, "depth"),
    ("lag", {"index": 0, "block_size": 2, "init": "duplicate"}, "depth"),
    ("last", {}, "depth"),
    ("middle", {}, "depth"),
    ("solar", {}, "depth"),
    *[
        (name, settings, size)
        for name, settings in (
            ("net2net", {}),
            ("net2net", {"split": "uneven"}),
            ("lemon", {}),
            ("zero", {}),
            ("zero", {"form": "gstack"}),
            ("zero", {"form": "v1"}),
            ("zero", {"form": "v2"}),
            ("duplicate-halves", {}),
            ("aki", {}),
            ("random-width", {}),
            ("random-width", {"ramp_steps": 1}),
        )
        for size in ("x2", "x1.5")
    ],
    ("net2net", {}, "heads"),
    ("zero", {}, "heads"),
    ("zero", {"form": "gstack"}, "heads"),
    ("random-width", {"ramp_steps": 1}, "heads"),
    ("ligo", {}, "depth"),
    *[(name, {}, "depth, x2") for name in ("ligo", "mango", "stack-ligo", "cross-ligo-v2")],
    ("combined", {"width": "zero", "depth": "identity"}, "depth, x2"),
    ("combined", {"width": "zero", "depth": "stack"}, "depth, x2"),
]
DOUBLING = [
    ("net2net", {}),
    ("net2net", {"noise": 0.01}),
    ("net2net", {"split": "uneven"}),
    ("lemon", {"split": "uneven"}),
    ("aki", {}),
    ("duplicate-halves", {}),
    ("duplicate-halves", {"noise": 0.01}),
]


def changes_of(family, grows):
    """Return the target's keys."""
    keys = {}
    for part in grows.split(", "):
        if part == "depth":
            keys |= DEEPER
        elif part == "heads":  # within groups that are there
            keys |= {"num_attention_heads": 8} if family == "llama" else {}
        else:
            keys |= dict(zip(WIDTHS[family], SIZES[part], strict=True))
            keys |= EXTRA.get(family, {}).get(part, {})
            if family == "opt":
                keys["word_embed_proj_dim"] = SIZES[part][0]
            if family == "electra":
                keys["embedding_size"] = SIZES[part][0]
    return keys


def stirred(config, kind):
    """Return a source with every weight random."""
    model = fresh_model(config, kind, 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, each in model.named_parameters():
            noise = torch.randn(each.shape, generator=generator) * 0.3
            is_gain = each.dim() == 1 and name.endswith("weight")
            each.copy_(1 + noise if is_gain else noise)
    return in_float64(model).eval()


def softcapped(module, q_BHTD, k_BGTD, v_BGTD, mask, scaling, softcap=None, **_):
    """Attend as Gemma 2 does, in the type of the input: transformers' softmax is in fp32."""
    n_shared = module.num_key_value_groups
    k_BHTD, v_BHTD = (each.repeat_interleave(n_shared, dim=1) for each in (k_BGTD, v_BGTD))
    scores_BHTT = q_BHTD @ k_BHTD.mT * scaling
    if softcap is not None:
        scores_BHTT = torch.tanh(scores_BHTT / softcap) * softcap
    found_BHTD = (scores_BHTT + mask).softmax(-1) @ v_BHTD
    return found_BHTD.transpose(1, 2).contiguous(), None


AttentionInterface.register("softcapped", softcapped)
AttentionMaskInterface.register("softcapped", eager_mask)


def in_float64(model):
    """Compute all in float64: transformers takes fp32 for RMSNorms and Gemma's factors."""
    if model.config.model_type == "gemma2":
        model.config._attn_implementation = "softcapped"
    for module in model.modules():
        if hasattr(module, "scalar_embed_scale"):
            module.embed_scale = torch.tensor(module.scalar_embed_scale, dtype=torch.float64)
        if type(module).__name__.endswith("RMSNorm"):
            is_offset = type(module).__name__.startswith("Gemma")  # gains count from one
            eps = module.eps if is_offset else module.variance_epsilon
            module.forward = lambda x_BTD, norm=module, eps=eps, offset=float(is_offset): (
                (offset + norm.weight)
                * (x_BTD * torch.rsqrt(x_BTD.pow(2).mean(-1, keepdim=True) + eps))
            )
    return model.double()


def grow(family, name, settings, grows):
    """Return source, target and ramp."""
    kind = KINDS.get(family, "causal")
    config = build_config(FAMILIES[family])
    changes = changes_of(family, grows)
    shape = target_shape(config, changes)
    plan = make_candidate(name, settings, (shape_of(config),), shape).plan
    source = stirred(config, kind)
    grown = rebuild_config(
        grown_keys(
            config, {**changes, **plan.config_changes()}, [each.layer for each in plan.layers]
        )
    )
    target = in_float64(fresh_model(grown, kind, 2))
    stack = find_layers(target, grown)
    fill(plan, stack, [tensors_of(source)], tensors_of(target))
    add_noise(plan, stack, tensors_of(target), grown.hidden_size, 3)
    if plan.learned is not None:  # as it begins, before anything is learned
        mix = make_mix(plan, stack, [tensors_of(source)], tensors_of(target))
        with torch.no_grad():
            for each, value in mix(mix.start(5)).items():
                tensors_of(target)[each].copy_(value)
    ramp = Ramp(plan, target, stack)
    ramp.at(0)
    return source, target.eval(), ramp


def measure(family, name, settings, grows):
    """Return max |difference of logits|, and dead entries at step 0 and after steps 0 to 3."""
    source, target, ramp = grow(family, name, settings, grows)
    tokens = torch.randint(40, (4, 16), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        difference = float((source(tokens).logits - target(tokens).logits).abs().max())
    return difference, *dead_entries(target, ramp, tokens)


def dead_entries(target, ramp, tokens):
    """Train four steps of Adam; count entries that never had a gradient."""
    used = {}
    optimizer = torch.optim.Adam(target.parameters(), lr=1e-3)
    counts = []
    for step in range(4):
        ramp.at(step)
        logits = target(tokens).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        for name, each in target.named_parameters():
            moved = each.grad != 0 if each.grad is not None else torch.zeros_like(each).bool()
            used[name] = used.get(name, torch.zeros_like(moved)) | moved
        counts.append(sum(int((~each).sum()) for name, each in used.items() if is_counted(name)))
        optimizer.step()
    return counts[0], counts[-1]


def symmetry(family, name, settings):
    """Compare the gradients of feed-forward units with those of their copies.

    Returns their largest cosine, and the mean of |g - g'| / (|g| + |g'|).
    """
    _, target, ramp = grow(family, name, settings, "x2")
    ramp.at(0)
    tokens = torch.randint(40, (4, 16), generator=torch.Generator().manual_seed(4))
    logits = target(tokens).logits
    cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    stack = find_layers(target, target.config)
    cosines, gaps = [], []
    for each, tensor in target.named_parameters():
        weight = stack.weight(each)
        if weight is None or tensor.dim() != 2 or "ffn" not in weight.axes:
            continue
        grad = tensor.grad if weight.axes[0] == "ffn" else tensor.grad.T
        first, second = grad.chunk(2)
        moved = (first != 0).any(1) & (second != 0).any(1)
        first, second = first[moved], second[moved]
        cosines.append(torch.nn.functional.cosine_similarity(first, second, dim=1))
        gaps.append((first - second).norm(dim=1) / (first.norm(dim=1) + second.norm(dim=1)))
    return float(torch.cat(cosines).max()), float(torch.cat(gaps).mean())


def is_counted(name):
    """Leave out what has no gradient by nature: rows of tokens and positions that do not occur."""
    ends = ("embed", "wte", "wpe", "lm_head", "decoder", "cls.predictions.bias", "k_proj.bias")
    return not any(part in name for part in ends) or ".layers." in name


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# What each operator preserves, measured",
        "",
        "Made by `python tests/benchmarks/function_preservation.py`. Largest absolute difference "
        "of logits right after growth, in float64, on tiny models with every weight random "
        "(4 layers, 16 wide, 4 heads; `x2` and `x1.5` are the hidden size, heads and feed-forward "
        "units; `heads` are 2 more query heads for each key/value head; `depth` is 4 to 8 layers). "
        "**exact**: at most 1e-10. In brackets: entries of "
        "weights without a gradient at step 0, and those still without one after steps 0 to 3. "
        "OPT's are those of ReLU units that no token reaches, and of key biases. RMSNorm and "
        "Gemma 2's softmax are computed in float64 here (transformers takes fp32: about 2e-6). "
        "`-`: refused. Operators that are learned are shown as they begin.",
        "",
        f"| operator | grows | {' | '.join(FAMILIES)} |",
        f"|---|---|{'---|' * len(FAMILIES)}",
    ]
    for name, settings, grows in CASES:
        written = ", ".join(f"{key}: {value}" for key, value in settings.items())
        cells = []
        for family in FAMILIES:
            try:
                difference, first, last = measure(family, name, settings, grows)
            except LagsearchError:
                cells.append("-")
                continue
            words = "**exact**" if difference <= EXACT else f"{difference:.2g}"
            cells.append(f"{words} [{first}, {last}]")
        title = f"`{name}`" + (f" ({written})" if written else "")
        lines.append(f"| {title} | {grows} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Whether copies stay copies",
        "",
        "Gradients of a feed-forward unit's weights, g, beside those of its copy, g', right after "
        "the width was doubled: largest cosine, and in brackets the mean of |g - g'| / (|g| + "
        "|g'|). Where that is 0, unit and copy get the same updates for ever, unless noise or "
        "dropout tell them apart. (`aki` copies the last layer's units from itself: hence 1.)",
        "",
        f"| operator | {' | '.join(FAMILIES)} |",
        f"|---|{'---|' * len(FAMILIES)}",
    ]
    for name, settings in DOUBLING:
        written = ", ".join(f"{key}: {value}" for key, value in settings.items())
        title = f"`{name}`" + (f" ({written})" if written else "")
        cells = []
        for family in FAMILIES:
            try:
                cosine, gap = symmetry(family, name, settings)
            except LagsearchError:
                cells.append("-")
                continue
            cells.append(f"{cosine:.4f} [{gap:.1g}]")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    if options.out:
        write_text(options.out, text)
    print(text)


if __name__ == "__main__":
    main()
