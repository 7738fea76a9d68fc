"""When the state of a training is saved on its way, and by whom it is written."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from lagsearch.models.tensors import write_tensors

Write = Callable[[Path, Mapping[str, torch.Tensor], Mapping[str, str]], None]
"""Writes tensors and words to a file, whole or not at all."""


@dataclass(frozen=True)
class Interval:
    """When to save.

    Attributes:
        every_s: Least seconds from the end of one save to the next; if left out, 200 times what the
            last one took, and from one minute to ten.
        after_s: Seconds that a training lasts before its first save: a shorter one is as well done
            again.
        times_last: The least interval as a multiple of what the last save took, so that saving
            never takes more than a small share of the time.
    """

    every_s: float | None = None
    after_s: float = 120.0
    times_last: float = 20.0

    def after(self, took_s: float) -> float:
        """Return the seconds from the end of a save to the next one.

        Args:
            took_s: Seconds that the last save took; 0 before the first.
        """
        every_s = min(600.0, max(60.0, 200 * took_s)) if self.every_s is None else self.every_s
        return max(every_s, self.times_last * took_s)


class Saver:
    """Saves the state of one training.

    In the background, tensors are first copied to host memory (page-locked, from a GPU), which the
    training waits for, and then written by a thread, which it does not wait for. At most one write
    is under way.
    """

    def __init__(
        self, path: Path, interval: Interval, *, in_background: bool, write: Write | None = None
    ) -> None:
        """Begin to count.

        Args:
            path: The file of the state.
            interval: When to save.
            in_background: Whether a thread writes.
            write: Writes a state; `write_tensors` when left out.
        """
        self._path, self._interval, self._write = path, interval, write
        self._began = self._since = time.perf_counter()
        self._took = 0.0
        self._thread = ThreadPoolExecutor(1, "state") if in_background else None
        self._writing: Future[float] | None = None
        self._buffers: dict[str, torch.Tensor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        if kind is None:
            self.wait()

    @property
    def is_due(self) -> bool:
        """Whether a state on the way is to be saved now."""
        if self._writing is not None and not self._writing.done():
            return False
        self.wait()
        now, wanted = time.perf_counter(), self._interval
        if now - self._began < wanted.after_s:
            return False
        return now - self._since > wanted.after(self._took)

    def save(self, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
        """Save tensors and words, whole or not at all.

        Raises:
            OSError: This or the last state cannot be written: the disk is full, say.
        """
        self.wait()
        if self._thread is None:
            self._took = self._written(tensors, metadata)
        else:
            held = self._copied(tensors)
            self._writing = self._thread.submit(self._written, held, dict(metadata))
        self._since = time.perf_counter()

    def wait(self) -> None:
        """Wait until the last state is written.

        Raises:
            OSError: It cannot be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            self._took = writing.result()
            self._since = time.perf_counter()

    def _written(self, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> float:
        """Write a state; return the seconds that it took."""
        began = time.perf_counter()
        (self._write or write_tensors)(self._path, tensors, metadata)
        return time.perf_counter() - began

    def _copied(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copy tensors to host memory that the training does not change."""
        on_gpu = False
        for name, tensor in tensors.items():
            held = self._buffers.get(name)
            if held is None or held.shape != tensor.shape or held.dtype != tensor.dtype:
                held = self._buffers[name] = _host_memory(tensor)
            held.copy_(tensor.detach(), non_blocking=True)
            on_gpu = on_gpu or tensor.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize()
        return {name: self._buffers[name] for name in tensors}


def _host_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Return memory for a tensor's values: page-locked for those of a GPU, where there is any."""
    if tensor.device.type == "cuda":
        with suppress(RuntimeError):  # no more may be locked: copies are slower then
            return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
