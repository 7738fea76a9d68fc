"""A moving average of the weights: it is measured beside them, and not trained on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lagsearch.models.shards import local


class Average:
    """The average of a model's weights over its steps, each weighing less than the next.

    Args:
        model: The model, with the weights that the average begins with.
        decay: What is left of a step's weight at the next step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        weights = dict(model.named_parameters())
        self._weights = [local(each) for each in weights.values()]
        self._decay = decay
        self.tensors = {name: each.detach().clone() for name, each in weights.items()}
        self._averages = [local(each) for each in self.tensors.values()]

    def begin(self) -> None:
        """Take the weights as they are."""
        with torch.no_grad():
            torch._foreach_copy_(self._averages, self._weights)

    def update(self) -> None:
        """Take in the weights after a step."""
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._weights, 1 - self._decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average's weights inside, and its own to the bit afterwards."""
        own = [each.detach().clone() for each in self._weights]
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._averages)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, own)
