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


class StreamedModel:
    """A model whose every module takes its weights from a checkpoint when it is its turn.

    In memory, in fp32, are the weights of one module at a time. Only forward passes.

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
            if own:
                stored = {name: names[id(parameter)] for name, parameter in own.items()}
                module.register_forward_pre_hook(self._loader(stored))
                module.register_forward_hook(self._dropper(own))

    def logits(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, T, V) of token ids (B, T)."""
        with torch.inference_mode():
            logits_BTV: torch.Tensor = self.model(tokens_BT, use_cache=False).logits
        self._tensors.release()
        return logits_BTV

    def _loader(self, stored: Mapping[str, str]) -> Any:
        def load(module: nn.Module, _: Any) -> None:
            for name, at in stored.items():
                value = self._tensors[at].to(torch.float32)
                module._parameters[name] = nn.Parameter(value, requires_grad=False)
                self._held += value.nbytes

        return load

    def _dropper(self, empty: Mapping[str, nn.Parameter]) -> Any:
        def drop(module: nn.Module, *_: Any) -> None:
            module._parameters.update(empty)
            if self._held > SHARD_BYTES:
                self._tensors.release()
                self._held = 0

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
