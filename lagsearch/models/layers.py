"""Where a model keeps its layers, found without a table of families."""

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.configs import n_layers


@dataclass(frozen=True)
class LayerStack:
    """The stack of equal layers in a model.

    Attributes:
        prefix: Name of the list of layers, e.g. `model.layers`.
    """

    prefix: str

    def split(self, name: str) -> tuple[int, str] | None:
        """Return (layer, rest of the name) of a layer's tensor, or None outside of the stack."""
        match = re.match(re.escape(self.prefix) + r"\.(\d+)\.(.+)", name)
        return (int(match[1]), match[2]) if match else None

    def join(self, layer: int, rest: str) -> str:
        """Return the name of a layer's tensor."""
        return f"{self.prefix}.{layer}.{rest}"


def find_layers(model: nn.Module, config: Any) -> LayerStack:
    """Find the one list of equal-class blocks whose length is the configuration's depth.

    Raises:
        ModelError: There is none (layers are shared, say), or more than one.
    """
    depth = n_layers(config)
    found: list[str] = []
    for name, module in model.named_modules():
        is_stack = (
            isinstance(module, nn.ModuleList)
            and len(module) == depth
            and len({type(block) for block in module}) == 1
            and not any(name.startswith(outer + ".") for outer in found)
        )
        if is_stack and any(True for _ in module.parameters()):
            found.append(name)
    if len(found) != 1:
        what = f"{len(found)} of them ({', '.join(found)})" if found else "none"
        raise ModelError(
            f"model_type {config.model_type}: growing in depth needs exactly one list of "
            f"{depth} layers of one class; found {what}"
        )
    return LayerStack(found[0])
