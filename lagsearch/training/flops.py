"""FLOPs in closed form: two for each weight of a matrix product and token, and attention.

A multiply and an add are two FLOPs. Attention counts in full, causal or not. Training is three
times the forward pass. Norms, activations, softmax and embedding look-ups are not counted.
"""

from typing import Any

from torch import nn

from lagsearch.models.configs import n_layers


def forward_flops_per_token(model: nn.Module, config: Any, sequence_length: int) -> int:
    """Return the FLOPs of the forward pass for each token of a sequence.

    Args:
        model: The model; on `meta` it costs nothing.
        config: Its configuration.
        sequence_length: Tokens in the sequence, all of which attend to all.
    """
    from transformers.pytorch_utils import Conv1D

    matrices = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Linear | Conv1D)
    )
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = 2 * sequence_length * heads * head_size  # scores, and the mix of the values
    return int(2 * (matrices + n_layers(config) * attention))


def training_flops(forward: int, tokens: int) -> int:
    """Return the FLOPs of training on a number of tokens."""
    return 3 * forward * tokens
