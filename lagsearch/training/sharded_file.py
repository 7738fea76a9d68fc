"""One safetensors file that several processes write together: each the rows that it holds.

It has the content of a file that one process writes, so that no reader knows the difference, and
any number of processes can go on from it. No process ever has a whole model, and none copies
another's part: rows of a tensor follow one another in a file. (torch.distributed.checkpoint writes
a folder of parts with an index that is pickled, or in safetensors all of it twice.)

Processes may be on several nodes that share a network file system such as NFS, where what one has
written is seen by who opens the file after it was closed. So nobody reads before all have closed
it, and nobody writes through a handle that reads: a client then writes whole pages back, with what
it believes to be the rows of others in them.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from lagsearch.models.shards import is_divided, local
from lagsearch.models.tensors import DIGEST, TensorFile, content_digest
from lagsearch.storage.files import naming, replacing

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class _Layout:
    """Where in a file each tensor is.

    Attributes:
        header: What the file begins with.
        begin: The first byte of each tensor.
        size: Of the whole file, in bytes.
    """

    header: bytes
    begin: dict[str, int]
    size: int

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], words: Mapping[str, str]) -> "_Layout":
        """Lay out tensors, those with wide entries first, so that all are aligned."""
        order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
        entries: dict[str, Any] = {"__metadata__": dict(words)}
        begin, at = {}, 0
        for name in order:
            tensor = tensors[name]
            begin[name], size = at, prod(tensor.shape) * tensor.element_size()
            entries[name] = {
                "dtype": _TYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [at, at + size],
            }
            at += size
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        header = len(text).to_bytes(8, "little") + text
        return cls(header, {name: len(header) + each for name, each in begin.items()}, at)


def write_together(
    path: Path, tensors: Mapping[str, torch.Tensor], words: Mapping[str, str]
) -> None:
    """Write tensors to one file, whole or not at all, with a hash of its content.

    Args:
        path: The file, on a disk that all processes see.
        tensors: By name, the same names in all processes; divided along their first dimension.
        words: What the file says of itself.

    Raises:
        OSError: It cannot be written: the disk is full, say. The other processes wait then.
    """
    is_first = distributed.get_rank() == 0
    agreed: list[Any] = [None, None]  # words, such as seconds, and so places are the first one's
    with naming(path), ExitStack() as stack:
        if is_first:
            temporary = stack.enter_context(replacing(path))
            layout = _Layout.of(tensors, {**words, DIGEST: "0" * 64})
            os.truncate(temporary, len(layout.header) + layout.size)
            with _opened(temporary) as handle:
                _write_at(handle, memoryview(layout.header), 0)
            agreed = [temporary, layout]
        distributed.broadcast_object_list(agreed, src=0, device=torch.device("cpu"))
        _write_own(agreed[0], agreed[1], tensors)
        _wait_for_all()
        if is_first:
            digest = content_digest(TensorFile(temporary), words)
            with _opened(temporary) as handle:
                header = _Layout.of(tensors, {**words, DIGEST: digest}).header
                _write_at(handle, memoryview(header), 0)
    _wait_for_all()


def _write_own(file: Path, layout: _Layout, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the rows that this process holds; what is not divided is the first one's to write."""
    with _opened(file) as handle:
        for name, tensor in tensors.items():
            if is_divided(tensor):
                place = layout.begin[name] + _rows_before(tensor) * _row_bytes(tensor)
            elif distributed.get_rank() == 0:
                place = layout.begin[name]
            else:
                continue
            values = local(tensor).detach().contiguous().cpu()
            if values.numel():
                _write_at(handle, values.reshape(-1).view(torch.uint8).numpy().data, place)


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    """Give a handle that writes; behind the block all of it is where every node finds it."""
    handle = os.open(file, os.O_WRONLY)
    try:
        yield handle
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_at(handle: int, data: memoryview, place: int) -> None:
    while data:
        written = os.pwrite(handle, data, place)
        data, place = data[written:], place + written


def _rows_before(tensor: torch.Tensor) -> int:
    """Return how many rows of a tensor the processes before this one hold, as `torch.chunk` has."""
    size = -(-tensor.shape[0] // distributed.get_world_size())
    return min(distributed.get_rank() * size, tensor.shape[0])


def _row_bytes(tensor: torch.Tensor) -> int:
    return prod(tensor.shape[1:]) * tensor.element_size()


def _wait_for_all() -> None:
    distributed.all_reduce(torch.zeros(1))
