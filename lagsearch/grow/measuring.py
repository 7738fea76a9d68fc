"""What a growth changes of what a model computes, as transformers loads it before and after."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lagsearch.errors import ModelError, brief
from lagsearch.grow.growth import PROBE, Growth, Measurement
from lagsearch.grow.streaming import StreamedModel
from lagsearch.models.build import auto_class, usable_positions
from lagsearch.models.checkpoints import Checkpoint
from lagsearch.storage.files import derive_seed


def compare_function(growth: Growth, sources: Sequence[Checkpoint], out: Path) -> Measurement:
    """Compare outputs before and after on seeded tokens.

    Both are loaded by transformers itself, and not by what the growth was made with: what it reads
    wrongly would be the same on both sides.
    """
    if len(sources) > 1:
        return Measurement(words="several sources have no one function to preserve")
    [source] = sources
    try:
        before, tokens_BT = _output(growth.kind, source.folder, source, None)
        after, _ = _output(growth.kind, out, source, tokens_BT)
    except Exception as error:  # a model that cannot run raises what it likes
        known = str(error) if isinstance(error, ModelError) else brief(error)
        return Measurement(words=f"not measured: {known}")
    difference, scale = float((before - after).abs().max()), float(before.abs().max())
    is_kept = difference <= 1e-4 * max(1.0, scale)
    words = "the function is preserved" if is_kept else "the function is NOT preserved"
    if growth.claims_exact and not is_kept:
        words += f"; how far its operator preserves it: {growth.preserves}"
    has_logits = before.shape[-1] != source.config.hidden_size
    return Measurement(difference, scale, "logits" if has_logits else "hidden states", words)


def _output(
    kind: str, folder: Path, source: Checkpoint, tokens_BT: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load a checkpoint as transformers does; return its output and the tokens it is for."""
    names = {f"^{re.escape(wrapper)}": ""} if (wrapper := source.tensors.wrapper) else None
    model, info = auto_class(kind).from_pretrained(
        folder,
        dtype=source.tensors.usual_type,
        trust_remote_code=False,
        output_loading_info=True,
        **({"key_mapping": names} if names and folder == source.folder else {}),
    )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"the checkpoint lacks {missing[0]}")
    if tokens_BT is None:
        tokens_BT = _tokens(model)
    return StreamedModel(model).output(tokens_BT), tokens_BT


def _tokens(model: Any) -> torch.Tensor:
    rows, length = PROBE
    length = min(length, usable_positions(model, model.config) or length)
    generator = torch.Generator().manual_seed(derive_seed(0, "probe"))
    return torch.randint(model.config.vocab_size, (rows, length), generator=generator)
