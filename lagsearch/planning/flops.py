"""FLOPs in closed form: two for each weight of a matrix product and token, and attention.

A multiply and an add are two FLOPs. Training is three times the forward pass. Norms, activations,
softmax and embedding look-ups are not counted, nor what attention does beyond scores and the mix
of values (DeBERTa's relative positions).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from lagsearch.errors import ModelError
from lagsearch.models.configs import n_layers

if TYPE_CHECKING:
    from torch import nn

Counting = Literal["full", "causal", "calflops", "6nd"]
"""What counts: all, attention between all tokens (`full`); attention to earlier tokens only, half
of it (`causal`); no attention, as calflops does where it is written with `@` (`calflops`); or
nothing but weights outside of embeddings and head, 6 N D (`6nd`)."""


def matrix_parameters(model: "nn.Module") -> dict[str, int]:
    """Return how many weights take part in a token's matrix products: in `layers`, in the `head`.

    Of experts these are the ones that a token is sent to, and what decides which.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()  # type: ignore[operator]
    sizes = {"layers": 0, "head": 0}
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D):
            sizes["head" if module is head else "layers"] += module.weight.numel()
        elif (active := _active(module, model.config)) is not None:
            sizes["layers"] += active
    return sizes


def _active(module: "nn.Module", config: Any) -> int | None:
    """Return how many weights of a set of experts, or of their router, a token is multiplied by.

    None where it is neither.
    """
    weights = [each for each in module.parameters(recurse=False) if each.dim() >= 2]
    chosen = getattr(config, "num_experts_per_tok", None)
    if not weights or not isinstance(chosen, int):
        return None
    if all(each.dim() == 3 for each in weights):
        return sum(each.numel() // each.shape[0] * chosen for each in weights)
    is_router = type(module).__name__.endswith("Router") and len(weights) == 1
    return weights[0].numel() if is_router else None


def check_countable(model: "nn.Module", config: Any) -> None:
    """Check that all weights of a model are of a kind whose FLOPs are known.

    Raises:
        ModelError: Some are not (convolutions, say): a wrong number would be worse than none.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        has_matrices = any(each.dim() >= 2 for each in module.parameters(recurse=False))
        is_known = isinstance(module, nn.Linear | nn.Embedding | Conv1D)
        is_known = is_known or _active(module, config) is not None
        if has_matrices and not is_known:
            raise ModelError(
                f"model_type {config.model_type}: the FLOPs of {name} "
                f"({type(module).__name__}) are not known; its kind of model is not supported"
            )


def flops_per_token(
    config: Any, matrices: Mapping[str, int], sequence_length: int, counting: Counting = "full"
) -> int:
    """Return the FLOPs of the forward pass for each token of a sequence.

    Args:
        config: The model's configuration.
        matrices: Weights of its matrix products: in `layers`, in the `head`.
        sequence_length: Tokens in the sequence.
        counting: What counts.

    Raises:
        ModelError: The model has no attention heads.
    """
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):
        raise ModelError(f"model_type {config.model_type} has no num_attention_heads")
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = 2 * sequence_length * heads * head_size  # scores, and the mix of the values
    share = {"full": 1.0, "causal": 0.5}.get(counting, 0.0)
    counted = matrices["layers"] + (0 if counting == "6nd" else matrices["head"])
    return int(2 * (counted + share * n_layers(config) * attention))


def operator_flops(steps: int, forming: int, step_flops: int) -> int:
    """Return the FLOPs of learning an operator: in each step the weights are formed anew.

    Args:
        steps: Training steps of the operator.
        forming: FLOPs of forming the target's weights; their gradients cost twice as much.
        step_flops: Training FLOPs of one step of the target.
    """
    return steps * (step_flops + 3 * forming)


def training_flops(forward: int, tokens: int) -> int:
    """Return the FLOPs of training on a number of tokens."""
    return 3 * forward * tokens
