"""Causal attention without masks: transformers makes none, and looks at no value to decide it."""

import re
from typing import Any

from torch import nn

from lagsearch.models.checks import PROBE_TOKENS

_NAME = "lagsearch_causal"
_WINDOW = re.compile(r"(window|chunk)(_size)?$")
"""Configuration keys of how many tokens a position sees."""


def leave_out_masks(model: nn.Module, sequence_length: int) -> bool:
    """Let a causal model attend without masks, where transformers' own would be plain.

    transformers looks at every batch for several texts in a row before it leaves the mask out,
    and a GPU is waited for. Here torch's attention is told `is_causal` without a look: the same
    call, and so the same bits. Models that need a mask (encoders, windows not longer than the
    sequences) and those with an attention of their own (ALiBi, soft caps) keep transformers'.

    Args:
        model: A model whose sequences are of one length, without padding to be left out.
        sequence_length: T, their tokens.

    Returns:
        Whether it attends without masks now.
    """
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: Any = model
    if getattr(found.config, "_attn_implementation", None) != "sdpa":
        return False
    if not getattr(found, "_supports_attention_backend", False):
        return False
    is_causal = [each.is_causal for each in model.modules() if hasattr(each, "is_causal")]
    longest = max(sequence_length, PROBE_TOKENS)  # a grown model is probed, too
    if not is_causal or not all(is_causal) or _has_windows(found.config, longest):
        return False
    AttentionInterface.register(_NAME, sdpa_attention_forward)
    found.set_attn_implementation(_NAME)
    return True


def _has_windows(config: Any, sequence_length: int) -> bool:
    """Return whether any position sees less than all before it, as transformers counts it."""
    sizes = [value for key, value in config.to_dict().items() if _WINDOW.search(key)]
    return any(
        not isinstance(size, int) or size <= sequence_length
        for size in sizes
        if size is not None and not isinstance(size, bool)
    )
