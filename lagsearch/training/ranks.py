"""One process that trains a model, as a group of one: how a model is placed and rows are shared.

`training.group` has the same for several processes. The loop knows no other difference.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from lagsearch.training.saving import Interval, Saver

Found = TypeVar("Found")
Item = TypeVar("Item")


class Ranks:
    """The processes that train a model together. This one has no others.

    Attributes:
        number: Of this process, from 0.
        count: Of all.
        shards_model: Whether each holds a part of the model alone.
    """

    number = 0
    count = 1
    shards_model = False

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files that all share."""
        return self.number == 0

    def place(self, model: Any, device: torch.device) -> Any:
        """Bring a model to its device."""
        return model.to(device)

    def wrapped(self, model: nn.Module) -> Callable[..., Any]:
        """Return what is called to train a model that is ready; gradients are then the mean."""
        return model

    def adding(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Add up gradients inside: those of the last pass of a step bring all together."""
        return nullcontext()

    def inference(self) -> AbstractContextManager[Any]:
        """Compute inside without gradients."""
        return torch.inference_mode()

    def at_rest(self, model: Any) -> None:
        """Let go of what a forward pass without gradients has gathered."""

    def found(self, find: Callable[[], Found]) -> Found:
        """Return what the first process finds."""
        return find()

    def wait_to_see(self, path: Path, look: Callable[[], object]) -> None:
        """Wait until all see what the first one does of a file.

        Args:
            path: The file.
            look: Returns what tells it from others of its name.

        Raises:
            OSError: One does not come to see it.
        """

    def agreed(self, step: int, wish: Callable[[], bool]) -> bool:
        """Return whether the first process wishes something, by its clock; not asked every step."""
        return wish()

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        return tensor

    def norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm of the whole gradient, of what this process holds of it."""
        return nn.utils.get_total_norm(gradients)

    def each(
        self, items: Sequence[Item], measure: Callable[[Item], torch.Tensor]
    ) -> list[torch.Tensor]:
        """Measure each of some items, which the processes divide among them.

        Args:
            items: In the order of what is returned.
            measure: From an item to numbers, as many for all.
        """
        return [measure(each) for each in items]

    def saver(self, path: Path, interval: Interval, device: torch.device) -> Saver:
        """Return what saves the state.

        Args:
            path: The file.
            interval: When to save.
            device: Where the model is; from a GPU a thread writes.
        """
        return Saver(path, interval, in_background=device.type == "cuda")


ALONE = Ranks()
