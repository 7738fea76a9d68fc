"""Where a model keeps its layers: found without a table of families, told more by one."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lagsearch.errors import ModelError
from lagsearch.models.configs import n_layers
from lagsearch.models.families import Family, Role, Weight, find_family

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LayerStack:
    """The stack of equal layers in a model.

    Attributes:
        prefix: Name of the list of layers, e.g. `model.layers`.
        top: Names of the tensors above the last layer: final norm and head.
        family: The table of its weights, where there is one.
        body: What names of a model without a head lack at their beginning: `model.`.
    """

    prefix: str
    top: frozenset[str] = frozenset()
    family: Family | None = None
    body: str = ""

    def role(self, rest: str) -> Role | None:
        """Return what a layer's tensor does, where a table says it."""
        weight = _named(self.family.layer if self.family else (), rest)
        return weight.role if weight else None

    def is_closing(self, rest: str) -> bool:
        """Return whether a layer's tensor is one of those that let it add nothing."""
        return self.family is not None and rest in self.family.closing

    def weight(self, name: str) -> Weight | None:
        """Return what a table says of a tensor, by its whole name."""
        if self.family is None:
            return None
        if (place := self.split(name)) is not None:
            return _named(self.family.layer, place[1])
        return _named((*self.family.bottom, *self.family.top), self.body + name)

    def split(self, name: str) -> tuple[int, str] | None:
        """Return (layer, rest of the name) of a layer's tensor, or None outside of the stack."""
        match = re.match(re.escape(self.prefix) + r"\.(\d+)\.(.+)", name)
        return (int(match[1]), match[2]) if match else None

    def join(self, layer: int, rest: str) -> str:
        """Return the name of a layer's tensor."""
        return f"{self.prefix}.{layer}.{rest}"


def find_layers(model: "nn.Module", config: Any) -> LayerStack:
    """Find the one list of equal-class blocks whose length is the configuration's depth.

    Raises:
        ModelError: There is none (layers are shared, say), or more than one.
    """
    from torch import nn

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
    family = find_family(config.model_type, config.to_dict())
    prefix = getattr(model, "base_model_prefix", "")
    body = f"{prefix}." if prefix and getattr(model, "base_model", None) is model else ""
    return LayerStack(found[0], _above(model, found[0], family, body), family, body)


def recomputed_layers(model: "nn.Module", stack: LayerStack) -> "tuple[nn.Module, ...]":
    """Return the layers that gradient checkpointing computes again.

    Raises:
        ModelError: transformers has none for this model type.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        name = getattr(model.config, "model_type", type(model).__name__)
        raise ModelError(f"model_type {name} has no gradient checkpointing in transformers")
    return tuple(model.get_submodule(stack.prefix).children())


def _named(weights: tuple[Weight, ...], name: str) -> Weight | None:
    return next((each for each in weights if each.name == name), None)


def _above(model: "nn.Module", prefix: str, family: Family | None, body: str) -> frozenset[str]:
    """Return the names of the tensors above the last layer.

    They are those that the model lists behind its layers, and what a table says of the others.
    """
    names = list(dict(model.named_parameters()))
    last = max(place for place, name in enumerate(names) if name.startswith(prefix + "."))
    if family is None:
        return frozenset(names[last + 1 :])
    below = {weight.name.removeprefix(body) for weight in family.bottom}
    top = {weight.name.removeprefix(body) for weight in family.top}
    return frozenset(top | {name for name in names[last + 1 :] if name not in below})
