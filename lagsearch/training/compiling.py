"""Layers that are computed again for their gradients, and layers that are compiled."""

from typing import Any

import torch
from torch import nn

from lagsearch.errors import ResourceError

_MOST_FORMS = 1024
"""Forms of one function that may be compiled, one for each shape of its inputs. Without it, torch
gives up after 8, and computes what comes then in another way."""


def checkpoint_layers(model: nn.Module) -> None:
    """Let each layer keep its input alone, and be computed again for its gradients."""
    found: Any = model
    newer = getattr(found, "activation_checkpointing_enable", None)  # the older name warns
    (newer or found.gradient_checkpointing_enable)({"use_reentrant": False})


def compile_layers(model: nn.Module) -> None:
    """Compile what of a model is before its head.

    Models of one configuration share what is compiled, in a process and, by torch's cache on disk,
    on a machine. Every shape of the inputs is compiled for itself: what is computed for one does
    not depend on which others came before, so that a training that goes on gives the same bits.
    """
    from torch._dynamo import config

    found: Any = model
    limits: Any = config
    limits.recompile_limit = limits.accumulated_recompile_limit = _MOST_FORMS
    layers = found.get_decoder()
    layers.forward = torch.compile(layers.forward, dynamic=False)


def check_compiler(device: str) -> None:
    """Check that this machine has what `torch.compile` needs.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        ResourceError: It has not.
    """
    at = ("training", "compile")
    if device == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ResourceError("torch.compile needs triton on a GPU: pip install triton", at)
        return
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        message = "torch.compile needs a C++ compiler here (g++ or clang++; CXX may name one)"
        raise ResourceError(message, at) from None
