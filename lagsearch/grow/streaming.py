"""Models larger than memory: computed in fp32, one module's weights at a time."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

_BLOCK = 2**24
"""Entries of a matrix that are in memory in fp32 at a time."""


class StreamedModel:
    """A loaded model that computes in fp32, whatever type its weights are stored in.

    The weights stay as they were loaded, mapped from the file where transformers maps them; in fp32
    are those of one module at a time, and of large matrices a block of rows. Only forward passes.

    Args:
        model: As `from_pretrained` gives it, on the CPU.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.model.config.use_cache = False
        for module in self.model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_floating_point():
                    setattr(module, name, buffer.float())
            own = dict(module.named_parameters(recurse=False))
            if all(each.dtype == torch.float32 for each in own.values()):
                continue
            if type(module) is nn.Linear:
                module.forward = _linear(module)  # type: ignore[method-assign]
            elif type(module) is nn.Embedding:
                module.forward = _embedding(module)  # type: ignore[method-assign]
            else:
                module.register_forward_pre_hook(_widen)
                module.register_forward_hook(_restorer(own))

    def output(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Return the first thing that the model puts out for token ids (B, T): logits (B, T, V).

        Rows are taken one by one: a classifier may have no padding token.
        """
        with torch.inference_mode():
            rows = [self.model(row[None])[0] for row in tokens_BT]
        return torch.cat(rows).float()


def _linear(module: nn.Linear) -> Any:
    def forward(x_BTI: torch.Tensor) -> torch.Tensor:
        weight_OI, bias_O = module.weight, module.bias
        rows = max(1, _BLOCK // weight_OI.shape[1])
        blocks = [
            nn.functional.linear(x_BTI, weight_OI[first : first + rows].float())
            for first in range(0, weight_OI.shape[0], rows)
        ]
        out_BTO = torch.cat(blocks, dim=-1)
        return out_BTO if bias_O is None else out_BTO + bias_O.float()

    return forward


def _embedding(module: nn.Embedding) -> Any:
    def forward(tokens: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(tokens, module.weight).float()

    return forward


def _widen(module: nn.Module, _: Any) -> None:
    for name, parameter in list(module.named_parameters(recurse=False)):
        module._parameters[name] = nn.Parameter(parameter.float(), requires_grad=False)


def _restorer(own: Mapping[str, nn.Parameter]) -> Any:
    def restore(module: nn.Module, *_: Any) -> None:
        module._parameters.update(own)

    return restore
