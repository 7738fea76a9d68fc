"""Models larger than memory: run module by module, with weights that are read when needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.build import auto_class, quiet
from lagsearch.models.shards import SHARD_BYTES, CheckpointTensors

_BLOCK = 2**24
"""Entries of a matrix that are in memory at a time."""


class StreamedModel:
    """A model whose every module takes its weights from a checkpoint when it is its turn.

    In memory, in fp32, are the weights of one module at a time, and of large matrices a block of
    rows. Only forward passes.

    Args:
        config: The checkpoint's configuration.
        kind: `causal` or `masked`.
        tensors: The checkpoint's weights.

    Raises:
        ModelError: A weight is missing.
    """

    def __init__(self, config: Any, kind: str, tensors: CheckpointTensors) -> None:
        quiet()
        with _weightless():
            self.model: nn.Module = auto_class(kind).from_config(config, dtype=torch.float32).eval()
        self._tensors = tensors
        self._held = 0
        names = _stored_names(self.model, tensors)
        for name, buffer in self.model.named_buffers():
            if name in tensors:
                buffer.copy_(tensors[name])
        for module in self.model.modules():
            own = dict(module.named_parameters(recurse=False))
            stored = {name: names[id(parameter)] for name, parameter in own.items()}
            if type(module) is nn.Linear:
                module.forward = self._linear(stored)  # type: ignore[method-assign]
            elif type(module) is nn.Embedding:
                module.forward = self._embedding(stored["weight"])  # type: ignore[method-assign]
            elif own:
                module.register_forward_pre_hook(self._loader(stored))
                module.register_forward_hook(self._dropper(own))

    def logits(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, T, V) of token ids (B, T)."""
        with torch.inference_mode():
            logits_BTV: torch.Tensor = self.model(tokens_BT, use_cache=False).logits
        self._tensors.release()
        return logits_BTV

    def _linear(self, stored: Mapping[str, str]) -> Any:
        def forward(x_BTI: torch.Tensor) -> torch.Tensor:
            weight_OI = self._tensors[stored["weight"]]
            bias_O = self._tensors[stored["bias"]].float() if "bias" in stored else None
            rows = max(1, _BLOCK // weight_OI.shape[1])
            blocks = [
                nn.functional.linear(x_BTI, weight_OI[first : first + rows].float())
                for first in range(0, weight_OI.shape[0], rows)
            ]
            self._release(weight_OI.nbytes)
            out_BTO = torch.cat(blocks, dim=-1)
            return out_BTO if bias_O is None else out_BTO + bias_O

        return forward

    def _embedding(self, stored: str) -> Any:
        def forward(tokens: torch.Tensor) -> torch.Tensor:
            return nn.functional.embedding(tokens, self._tensors[stored]).float()

        return forward

    def _release(self, read: int) -> None:
        """Let go of files whose pages would otherwise stay in memory."""
        self._held += read
        if self._held > SHARD_BYTES:
            self._tensors.release()
            self._held = 0

    def _loader(self, stored: Mapping[str, str]) -> Any:
        def load(module: nn.Module, _: Any) -> None:
            for name, at in stored.items():
                value = self._tensors[at].to(torch.float32)
                module._parameters[name] = nn.Parameter(value, requires_grad=False)

        return load

    def _dropper(self, empty: Mapping[str, nn.Parameter]) -> Any:
        def drop(module: nn.Module, *_: Any) -> None:
            module._parameters.update(empty)
            self._release(sum(each.numel() * 4 for each in empty.values()))

        return drop


def _stored_names(model: nn.Module, tensors: CheckpointTensors) -> dict[int, str]:
    """Return the name in the checkpoint of each parameter, by its id; tied ones have several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    found: dict[int, str] = {}
    for key, each in names.items():
        stored = [name for name in each if name in tensors]
        if not stored:
            raise ModelError(f"the checkpoint lacks {each[0]}")
        found[key] = stored[0]
    return found


@contextmanager
def _weightless() -> Iterator[None]:
    """Build modules whose parameters take no memory; buffers are as ever."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and parameter.device.type != "meta":
            parameter = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    with patch.object(nn.Module, "register_parameter", on_meta):
        yield
