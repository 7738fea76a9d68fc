"""The memory that training one candidate takes, from a forward pass on `meta`."""

from collections.abc import Sequence

import torch
from torch import nn


def training_bytes(
    model: nn.Module,
    batch_size: int,
    sequence_length: int,
    kind: str,
    kept: int,
    recomputed: Sequence[nn.Module] = (),
) -> int | None:
    """Estimate the bytes of training in fp32: weights, gradients, moments, activations.

    Activations are all tensors that autograd keeps for the backward pass, counted on `meta`, and
    the logits with their gradient. The allocator's own losses are not in it.

    Args:
        model: On the `meta` device.
        batch_size: Sequences in a step.
        sequence_length: Tokens in a sequence.
        kind: `causal` or `masked`.
        kept: Numbers that the optimizer keeps of a weight: 2 for Adam's moments.
        recomputed: Layers that keep their input alone: what else they need for the backward pass
            is there for one of them at a time.

    Returns:
        The estimate, or None for a model whose forward pass does not work on `meta`.
    """
    weights = {each.untyped_storage()._cdata: each.numel() * 4 for each in model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}
    within: list[dict[int, torch.UntypedStorage]] = [held]  # or those of the layer that runs

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            within[-1][storage._cdata] = storage
        return tensor

    layers: list[dict[int, torch.UntypedStorage]] = []

    def enter(layer: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        held.update((each.untyped_storage()._cdata, each.untyped_storage()) for each in given)
        layers.append({})
        within.append(layers[-1])

    def leave(layer: nn.Module, given: tuple[torch.Tensor, ...], output: object) -> None:
        within.pop()

    hooks = [each.register_forward_pre_hook(enter) for each in recomputed]
    hooks += [each.register_forward_hook(leave) for each in recomputed]

    tokens = torch.zeros(batch_size, sequence_length, dtype=torch.long, device="meta")
    extra = {"use_cache": True} if kind == "causal" else {}  # its branch runs on `meta`
    padding, model.config.pad_token_id = model.config.pad_token_id, None  # type: ignore[union-attr]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = model(tokens, **extra).logits
    except (RuntimeError, NotImplementedError):  # it looks at values, which `meta` does not have
        return None
    finally:
        for hook in hooks:
            hook.remove()
        model.config.pad_token_id = padding  # type: ignore[union-attr]
    activations = sum(storage.nbytes() for storage in held.values())
    activations += max(
        (sum(each.nbytes() for key, each in own.items() if key not in held) for own in layers),
        default=0,
    )
    return (2 + kept) * sum(weights.values()) + activations + 2 * int(logits.numel()) * 4


def learning_bytes(training: int, target: int, sources: int, operator: int, kept: int) -> int:
    """Estimate the bytes of learning an operator, before the target has moments of its own.

    In fp32 there are the target's weights, those that the operator makes and their gradients; the
    sources' weights; the operator's own, their gradients and moments; and the target's
    activations.

    Args:
        training: Bytes of training the target.
        target: Parameters of the target.
        sources: Of all sources.
        operator: Of the operator.
        kept: Numbers that the target's optimizer keeps of a weight.
    """
    activations = training - 4 * (2 + kept) * target
    return activations + 4 * (3 * target + sources + 4 * operator)
