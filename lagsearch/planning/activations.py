"""What autograd keeps of a forward pass, counted on `meta`: for models without a table."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lagsearch.planning.sizes import logits_bytes

_ATTENTION = "lagsearch_fused"

_Storages = dict[int, torch.UntypedStorage]
"""By their addresses."""


class _Fused(torch.autograd.Function):
    """Attention as a fused kernel keeps it: no matrix of all scores is ever there."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
        """Return what has the shape of the output: (B, H, T, D)."""
        rows, heads, length, _ = query.shape
        made = query.new_empty((rows, length, heads, value.shape[-1])).transpose(1, 2)
        ctx.save_for_backward(query, key, value, made, query.new_empty((rows, heads, length)))
        return made


def _fused(
    module: nn.Module, query: Any, key: Any, value: Any, attention_mask: Any = None, **_: Any
) -> tuple[Any, None]:
    made = _Fused.apply(query, key, value)  # type: ignore[no-untyped-call]
    return made.transpose(1, 2).contiguous(), None


def activation_bytes(
    model: Any, batch: tuple[int, int], kind: str, recomputed: Sequence[nn.Module] = ()
) -> int | None:
    """Count the bytes that a step keeps in fp32, with the logits and their gradient.

    Attention counts as a fused kernel has it, where the model lets its own be replaced.

    Args:
        model: On the `meta` device.
        batch: Sequences in a step, and tokens in each.
        kind: `causal` or `masked`.
        recomputed: Layers that keep their input alone: what else they need for the backward pass
            is there for one of them at a time.

    Returns:
        The bytes, or None for a model whose forward pass does not work on `meta`.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, _fused)
    weights = {each.untyped_storage()._cdata for each in model.parameters()}
    held: _Storages = {}
    within = [held]  # or what is kept of the layer that runs
    layers: list[_Storages] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            within[-1][storage._cdata] = storage
        return tensor

    def enter(layer: nn.Module, given: tuple[object, ...]) -> None:
        tensors = [each for each in given if isinstance(each, torch.Tensor)]
        held.update((each.untyped_storage()._cdata, each.untyped_storage()) for each in tensors)
        layers.append({})
        within.append(layers[-1])

    def leave(layer: nn.Module, given: tuple[object, ...], output: object) -> None:
        within.pop()

    hooks = [each.register_forward_pre_hook(enter) for each in recomputed]
    hooks += [each.register_forward_hook(leave) for each in recomputed]
    tokens = torch.zeros(batch, dtype=torch.long, device="meta")
    extra = {"use_cache": True} if kind == "causal" else {}  # its branch runs on `meta`
    padding, model.config.pad_token_id = model.config.pad_token_id, None
    before = model.config._attn_implementation
    try:
        if before == "sdpa":
            model.set_attn_implementation(_ATTENTION)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = model(tokens, **extra).logits
    except (RuntimeError, NotImplementedError):  # it looks at values, which `meta` does not have
        return None
    finally:
        for hook in hooks:
            hook.remove()
        model.config.pad_token_id = padding
        if before == "sdpa":
            model.set_attn_implementation(before)
    alone = ({key: each for key, each in own.items() if key not in held} for own in layers)
    largest = max(map(_size, alone), default=0)
    return _size(held) + largest + logits_bytes(batch, logits.shape[-1])


def _size(storages: _Storages) -> int:
    return sum(each.nbytes() for each in storages.values())
