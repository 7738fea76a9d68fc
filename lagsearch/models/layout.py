"""The grown checkpoint's names and pieces: those of the source's files, for every layer."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lagsearch.models.layers import LayerStack
from lagsearch.models.naming import Naming


class Layout:
    """How the tensors of a model are written, as the files it was grown from have them.

    Args:
        naming: Of the source.
        stack: Where source and target keep their layers.
        model: The target, on `meta`.
    """

    def __init__(self, naming: Naming, stack: LayerStack, model: Any) -> None:
        self._stack, self._model = stack, model
        self._names: dict[str, tuple[str, str]] = {}
        self._joined: dict[str, str] = {}
        for name, stored in naming.of.items():
            layer, rest = stack.split(name) or (None, name)
            if stored.rule is not None:
                first = stack.split(stored.key)
                self._joined[rest] = first[1] if first else stored.key
            elif layer is None:
                self._names[rest] = (stored.pieces[0][0], "")
            else:
                before, *after = re.split(
                    rf"(?<![^.]){layer}(?=\.)", stored.pieces[0][0], maxsplit=1
                )
                self._names |= {rest: (before, after[0])} if after else {}

    def groups(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return tensors by what they are written with: those of one group need each other."""
        found: dict[str, list[str]] = {}
        for name in names:
            layer, rest = self._stack.split(name) or ("", name)
            group = self._joined.get(rest)
            found.setdefault(name if group is None else f"{layer} {group}", []).append(name)
        return found

    def written(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return tensors of the model as they are written."""
        from transformers.core_model_loading import revert_weight_conversion

        plain: dict[str, torch.Tensor] = {}
        joined: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            layer, rest = self._stack.split(name) or (None, name)
            if rest in self._joined:
                joined[name] = tensor
            elif rest in self._names:
                before, after = self._names[rest]
                plain[before if layer is None else f"{before}{layer}{after}"] = tensor
            else:
                plain[name] = tensor
        pieces = revert_weight_conversion(self._model, joined) if joined else {}
        return plain | {name: piece.contiguous() for name, piece in pieces.items()}
