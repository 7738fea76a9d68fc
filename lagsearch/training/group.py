"""Several processes that train one model, each on some rows of a batch.

What they find of the gradient is brought together; with `fsdp` each also holds but a part of the
model: torch's own `DistributedDataParallel` and `fully_shard`. This module is imported in such
processes alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from errno import ESTALE
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from lagsearch.models.layers import find_layers
from lagsearch.training.ranks import Found, Item, Ranks
from lagsearch.training.saving import Interval, Saver
from lagsearch.training.sharded_file import write_together

_SEEN_WITHIN_S = 90.0
"""A client of NFS may hold what it has seen of a folder for a minute."""
_LOOK_EVERY_S = 0.5
_ASK_EVERY = 10  # steps between looks at the first process's clock: each look waits for it


class RankGroup(Ranks):
    """One of several processes, after `torch.distributed.init_process_group`."""

    def __init__(self, *, shards_model: bool) -> None:
        """Look who the others are.

        Args:
            shards_model: Whether each holds a part of the model alone.
        """
        self.number, self.count = distributed.get_rank(), distributed.get_world_size()
        self.shards_model = shards_model
        self._wrapped: Any = None

    def place(self, model: Any, device: torch.device) -> Any:
        """Bring a model, or this process's part of it, to its device.

        Each layer, and what is around the layers, is gathered while it computes.
        """
        if not self.shards_model:
            return model.to(device)
        mesh = init_device_mesh(device.type, (self.count,))
        stack = find_layers(model, model.config)
        for layer in model.get_submodule(stack.prefix).children():
            fully_shard(layer, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def wrapped(self, model: nn.Module) -> Callable[..., Any]:
        """Return what is called to train a model that is ready; gradients are then the mean."""
        if self.shards_model:
            return model
        self._wrapped = DistributedDataParallel(model, broadcast_buffers=False)
        return self._wrapped  # type: ignore[no-any-return]

    def adding(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Add up gradients inside: those of the last pass of a step bring all together.

        A model that is divided is brought together in each pass: no process has room for more.
        """
        if is_last or self._wrapped is None:
            return nullcontext()
        return self._wrapped.no_sync()  # type: ignore[no-any-return]

    def inference(self) -> AbstractContextManager[Any]:
        """Compute inside without gradients; what is gathered of a model must outlast it."""
        return torch.no_grad() if self.shards_model else super().inference()

    def at_rest(self, model: Any) -> None:
        """Let go of what a forward pass without gradients has gathered."""
        if self.shards_model:
            model.reshard()

    def found(self, find: Callable[[], Found]) -> Found:
        """Return what the first process finds."""
        box = [find() if self.is_first else None]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    def wait_to_see(self, path: Path, look: Callable[[], object]) -> None:
        """Wait until this process sees what the first one does of a file: it may be elsewhere."""
        wanted, until = self.found(look), time.monotonic() + _SEEN_WITHIN_S
        while look() != wanted:
            if time.monotonic() > until:
                raise OSError(ESTALE, "another node sees another file of this name", str(path))
            time.sleep(_LOOK_EVERY_S)

    def agreed(self, step: int, wish: Callable[[], bool]) -> bool:
        """Return whether the first process wishes something, by its clock; not asked every step."""
        return step % _ASK_EVERY == 0 and self.found(wish)

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        summed = tensor.detach().clone()
        distributed.all_reduce(summed)
        return summed

    def norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm of the whole gradient, of what this process holds of it."""
        norm = super().norm(gradients)
        return self.total(norm.square()).sqrt() if self.shards_model else norm

    def each(
        self, items: Sequence[Item], measure: Callable[[Item], torch.Tensor]
    ) -> list[torch.Tensor]:
        """Measure each of some items, which the processes divide among them.

        All measure equally many, as the parts of a model are brought together for each; where the
        items do not come out even, the last one is measured several times, and counted once.
        """
        turns = range(-(-len(items) // self.count))
        own = [min(turn * self.count + self.number, len(items) - 1) for turn in turns]
        measured = torch.stack([measure(items[at]) for at in own])
        gathered = [torch.empty_like(measured) for _ in range(self.count)]
        distributed.all_gather(gathered, measured)
        return [gathered[at % self.count][at // self.count] for at in range(len(items))]

    def saver(self, path: Path, interval: Interval, device: torch.device) -> Saver:
        """Return what saves the state: the first process, or all of them their parts.

        The file is the same whoever writes it.
        """
        if self.shards_model:
            return Saver(path, interval, in_background=False, write=write_together)
        if self.is_first:
            return super().saver(path, interval, device)
        return Saver(path, interval, in_background=False, write=_write_nothing)


def _write_nothing(
    path: Path, tensors: Mapping[str, torch.Tensor], words: Mapping[str, str]
) -> None:
    """Leave it to the first process."""
