"""Names in files and names in a model, put together by transformers' own rules.

transformers renames and joins tensors when it loads (`LayerNorm.gamma`, `embed_out`, one tensor for
each expert), and undoes it when it saves. What it would do is done here tensor by tensor.
"""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

WRAPPERS = ("_orig_mod.", "module.")
"""What `torch.compile` and data parallel training put before a model's names."""


@dataclass(frozen=True)
class Stored:
    """What tensors of a model are made of.

    Attributes:
        pieces: Names in the files, each with the pattern by which the rule knows it.
        rule: transformers' converter, or None where the one piece is the tensor.
        key: The name that the rule is asked by.
    """

    pieces: tuple[tuple[str, str], ...]
    rule: Any = None
    key: str = ""

    def made(self, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Return the tensors of the model by their names, from pieces by theirs."""
        rule = deepcopy(self.rule)
        for name, pattern in self.pieces:
            rule.add_tensor(self.key, name, pattern, tensors[name])
        found = rule.convert(self.key, model=model, config=model.config)
        return {name: each[0] if isinstance(each, list) else each for name, each in found.items()}


class Naming:
    """Which tensors of the files make which of the model's.

    Args:
        model: The model, on `meta`.
        shapes: Shape of each tensor in the files, by its name there.
    """

    def __init__(self, model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self.wrapper = _wrapper(shapes)
        self.of: dict[str, Stored] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._raw = {self.clean(name): name for name in shapes}
        self.left_over: list[str] = []
        self._group(shapes)
        self._twins = _twins(model)

    def clean(self, name: str) -> str:
        """Return a name in the files without what wrapped the model."""
        name = name.removeprefix(self.wrapper)
        return name.replace("_orig_mod.", "")

    def raw(self, name: str) -> str:
        """Return a name as it is in the files."""
        return self._raw[name]

    def stored(self, name: str) -> tuple[str, Stored] | None:
        """Return what a tensor of the model is made of; a tied one may be there by another name."""
        for each in (name, *self._twins.get(name, ())):
            if each in self.of:
                return each, self.of[each]
        return None

    def _group(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            dot_natural_key,
            rename_source_key,
        )

        rules = get_model_conversion_mapping(self.model)
        renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
        converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
        by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
        known = self.model.state_dict()
        prefix = getattr(self.model, "base_model_prefix", "")
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in sorted(self._raw, key=dot_natural_key):
            key, pattern = rename_source_key(name, renamings, converters, prefix, known)
            if pattern is not None:
                groups.setdefault(key, []).append((name, pattern))
            elif key in known:
                self.of[key] = Stored(((name, ""),))
                self.shapes[key] = tuple(shapes[self._raw[name]])
            else:
                self.left_over.append(name)
        for key, pieces in groups.items():
            stored = Stored(tuple(pieces), by_pattern[pieces[0][1]], key)
            empty = {
                name: torch.empty(shapes[self._raw[name]], device="meta") for name, _ in pieces
            }
            made = stored.made(self.model, empty)
            for name, tensor in made.items():
                if name in known:
                    self.of[name], self.shapes[name] = stored, tuple(tensor.shape)
            if not any(name in known for name in made):
                self.left_over += [name for name, _ in pieces]


def _wrapper(names: Iterable[str]) -> str:
    """Return what all names begin with that is a wrapper's and no model's."""
    names, found = list(names), ""
    while names:
        each = next(
            (one for one in WRAPPERS if all(name.startswith(found + one) for name in names)), None
        )
        if each is None:
            return found
        found += each
    return found


def _twins(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return for each name of a parameter the other names of it."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {
        name: tuple(other for other in each if other != name)
        for each in names.values()
        for name in each
        if len(each) > 1
    }


def is_ignored(model: nn.Module, name: str) -> bool:
    """Return whether a tensor that a model does not take is nothing to be missed.

    These are what its class itself leaves out, and tables that are worked out again.
    """
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    tables = {each for each, _ in model.named_buffers()}
    prefix = getattr(model, "base_model_prefix", "")
    is_table = name in tables or f"{prefix}.{name}" in tables
    is_table = is_table or name.endswith(("rotary_emb.inv_freq", "position_ids", "masked_bias"))
    return is_table or any(re.search(pattern, name) for pattern in patterns)
