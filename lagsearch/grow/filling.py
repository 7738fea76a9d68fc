"""Tensors that are made of others: filled by the executor, and as bytes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lagsearch.grow.entries import by_layer
from lagsearch.grow.growth import Growth
from lagsearch.models.headers import TYPES, StoredTensor
from lagsearch.models.layers import LayerStack
from lagsearch.models.reading import TensorReader
from lagsearch.operators.execute.fill import add_noise, fill


def fill_growth(
    growth: Growth,
    stack: LayerStack,
    sources: Sequence[Mapping[str, torch.Tensor]],
    made: Mapping[str, torch.Tensor],
    seed: int,
) -> None:
    """Fill tensors of a target in place with what its plan copies, and add the plan's noise."""
    fill(growth.plan, stack, sources, made)
    add_noise(growth.plan, stack, made, growth.residual_width, seed)


def bytes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return tensors as arrays of bytes."""
    return {
        name: tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        for name, tensor in tensors.items()
    }


class TabledMaking:
    """The tensors of a target that tables say all of, made of the sources' values alone.

    Args:
        growth: What is grown into what.
        seed: Of noise.
    """

    def __init__(self, growth: Growth, seed: int) -> None:
        self._growth, self._seed = growth, seed
        self._stack = growth.tabled[0].stack
        self._entries = {each.group: each for each in growth.entries or ()}
        self._sources = [_Values(each.tensors) for each in growth.tabled]

    def make(self, chosen: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the bytes of these tensors, by their names in the file: a layer's."""
        for names in by_layer(self._stack, chosen):
            entries = {name: self._entries[name] for name in names}
            made = {
                name: torch.empty(each.shape, dtype=getattr(torch, TYPES[each.dtype]))
                for name, each in entries.items()
            }
            fill_growth(self._growth, self._stack, self._sources, made, self._seed)
            for source in self._sources:
                source.release()
            yield bytes_of({entries[name].name: tensor for name, tensor in made.items()})


class _Values(Mapping[str, torch.Tensor]):
    """The values of a checkpoint's tensors, read as they are asked for."""

    def __init__(self, stored: Mapping[str, StoredTensor]) -> None:
        self._stored, self._reader = stored, TensorReader()

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._reader.read(self._stored[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def release(self) -> None:
        self._reader.release()
