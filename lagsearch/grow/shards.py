"""Checkpoints of any size written shard by shard: bytes copied file to file, or made in between."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from lagsearch.errors import ModelError
from lagsearch.models.files import INDEX
from lagsearch.models.headers import StoredTensor, make_header, n_bytes
from lagsearch.operators.plan.slices import AS_IT_IS, Slices
from lagsearch.storage.files import naming

SHARD_BYTES = 256 * 2**20
_CHUNK = 2**20  # read, looked through and written while it is in the processor's cache
_MOST_THREADS = 4


@dataclass(frozen=True)
class WrittenTensor:
    """One tensor that is written: whose bytes are copied, repeated, or made.

    Attributes:
        name: Its name in the file.
        dtype: Its type, as the file says it.
        shape: Its shape.
        copied: The tensor whose values it has. It is looked through for what is no number.
        value: The bytes of the one value that it has everywhere instead of those.
        group: Where nothing is copied: what is made together with it.
        slices: Which rows and columns of `copied` it has, and what is multiplied by them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    copied: StoredTensor | None = None
    value: bytes | None = None
    group: str = ""
    slices: Slices = AS_IT_IS

    @property
    def size(self) -> int:
        """Its bytes."""
        return n_bytes(self.dtype, self.shape)


Make = Callable[[Sequence[str]], Iterator[Mapping[str, Any]]]
"""From groups to the values of their tensors, some at a time: arrays of bytes, by their names."""


@dataclass(frozen=True)
class _Shard:
    path: Path
    entries: tuple[WrittenTensor, ...]
    places: Mapping[str, int]


def write_shards(
    folder: Path,
    groups: Sequence[Sequence[WrittenTensor]],
    make: Make | None = None,
    shard_bytes: int | None = None,
) -> Iterator[int]:
    """Write a checkpoint's weights in one or several safetensors files, and their index.

    Args:
        folder: Where to.
        groups: The tensors, in the order in which they are to be written; those of a group stay
            together.
        make: Makes what is not copied.
        shard_bytes: Largest size of a shard of more than one group; `SHARD_BYTES` if left out.

    Yields:
        The bytes written so far, now and then.

    Raises:
        ModelError: What is copied holds what is no number.
    """
    shards = _begin(folder, _cut(groups, shard_bytes or SHARD_BYTES))
    seen: set[StoredTensor] = set()
    written = 0
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as writer:
        try:
            copying: list[Future[int]] = [pool.submit(_copy, each, seen) for each in shards]
            for shard in shards:
                if make is not None and any(each.copied is None for each in shard.entries):
                    for size in _make(shard, make, writer):
                        written += size
                        yield written
                        for done in filter(Future.done, copying):
                            done.result()  # what is wrong there is not waited for
            for done in as_completed(copying):
                written += done.result()
                yield written
        finally:
            pool.shutdown(cancel_futures=True)


def _cut(groups: Sequence[Sequence[WrittenTensor]], most: int) -> list[list[WrittenTensor]]:
    """Share tensors out to shards."""
    shards: list[list[WrittenTensor]] = [[]]
    held = 0
    for group in groups:
        size = sum(each.size for each in group)
        if shards[-1] and held + size > most:
            shards.append([])
            held = 0
        shards[-1] += group
        held += size
    return shards


def _begin(folder: Path, cut: Sequence[Sequence[WrittenTensor]]) -> list[_Shard]:
    """Write the index, and the header of every shard."""
    shards = []
    index: dict[str, str] = {}
    for number, entries in enumerate(cut, 1):
        title = "model" if len(cut) == 1 else f"model-{number:05}-of-{len(cut):05}"
        path = folder / f"{title}.safetensors"
        header, places = make_header({each.name: (each.dtype, each.shape) for each in entries})
        with naming(path), path.open("wb") as file:
            file.write(header)
            file.truncate(len(header) + sum(each.size for each in entries))
        index |= dict.fromkeys(places, path.name)
        ordered = sorted(entries, key=lambda each: places[each.name])
        shards.append(_Shard(path, tuple(ordered), places))
    if len(cut) > 1:
        total = sum(each.size for entries in cut for each in entries)
        text = {"metadata": {"total_size": total}, "weight_map": index}
        (folder / INDEX).write_text(json.dumps(text, indent=2) + "\n")
    return shards


def _make(shard: _Shard, make: Make, writer: Executor) -> Iterator[int]:
    """Write what of a shard is made, each part while the next one is made.

    Yields:
        The bytes of each.
    """
    asked = {each.group: None for each in shard.entries if each.copied is None}
    writing: Future[int] | None = None
    for made in make(list(asked)):
        if writing is not None:
            yield writing.result()
        writing = writer.submit(_write_made, shard, made)
    if writing is not None:
        yield writing.result()


def _write_made(shard: _Shard, made: Mapping[str, Any]) -> int:
    """Write some tensors; return their bytes."""
    with naming(shard.path), shard.path.open("r+b", buffering=0) as file:
        for name, values in made.items():
            file.seek(shard.places[name])
            _write(file, memoryview(values))
    return sum(values.nbytes for values in made.values())


def _copy(shard: _Shard, seen: set[StoredTensor]) -> int:
    """Write what of a shard is copied, and what is one value; look through what was not yet.

    Reading and writing in chunks is as fast here as the kernel's own copying from file to file,
    which could not look at what it copies.
    """
    from lagsearch.grow.values import check_numbers  # numpy

    buffer = memoryview(bytearray(_CHUNK))
    written = 0
    with naming(shard.path), shard.path.open("r+b", buffering=0) as out:
        for entry in shard.entries:
            if (tensor := entry.copied) is None:
                continue
            is_new = tensor not in seen
            seen.add(tensor)
            out.seek(shard.places[entry.name])
            if entry.value is not None:
                _repeat(out, entry.value, entry.size)
            if entry.value is None or is_new:
                for chunk, made in _pieces(entry, tensor, buffer):
                    if is_new:
                        check_numbers(tensor, chunk, partial(_whole, tensor))
                    if entry.value is None:
                        _write(out, made)
            written += entry.size
    return written


def _pieces(
    entry: WrittenTensor, tensor: StoredTensor, buffer: memoryview
) -> Iterator[tuple[memoryview, memoryview]]:
    """Read what a tensor is made of, piece by piece; yield each, and what becomes of it."""
    from lagsearch.grow.values import with_factors

    rows, columns = entry.slices.rows, entry.slices.columns
    if not rows:
        yield from ((chunk, chunk) for chunk in _chunks(tensor, buffer))
        return
    n_rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
    n_columns, row = math.prod(tensor.shape) // n_rows, tensor.size // n_rows
    made_row = entry.size // sum(len(part.source) for part in rows)
    if columns or any(part.factor != 1 for part in rows):  # a row is put together as a whole
        buffer = buffer[: len(buffer) // row * row] or memoryview(bytearray(row))
    for part in rows:
        if part.factor == 0:
            yield from ((memoryview(b""), each) for each in _zeros(len(part.source) * made_row))
            continue
        for chunk in _chunks(tensor, buffer, part.source.start * row, len(part.source) * row):
            if part.factor == 1 and not columns:
                yield chunk, chunk
            else:
                made = with_factors(chunk, tensor.dtype, n_columns, columns, part.factor)
                yield chunk, made


def _zeros(size: int) -> Iterator[memoryview]:
    while size > 0:
        yield memoryview(bytes(min(size, _CHUNK)))
        size -= _CHUNK


def _whole(tensor: StoredTensor) -> Iterator[memoryview]:
    return _chunks(tensor, memoryview(bytearray(_CHUNK)))


def _chunks(
    tensor: StoredTensor, buffer: memoryview, begin: int = 0, size: int | None = None
) -> Iterator[memoryview]:
    """Read the bytes of a tensor, or a part of them, piece by piece, all into the same buffer."""
    left = tensor.size if size is None else size
    with tensor.path.open("rb", buffering=0) as file:
        file.seek(tensor.begin + begin)
        while left:
            chunk, held = buffer[: min(left, len(buffer))], 0
            while held < len(chunk):
                if not (count := file.readinto(chunk[held:])):
                    raise ModelError(f"{tensor.path} ends before {tensor.name} does")
                held += count
            left -= held
            yield chunk


def _write(file: BinaryIO | Any, data: memoryview) -> None:
    data = data.cast("B")
    while data:
        data = data[file.write(data) :]


def _repeat(file: Any, value: bytes, size: int) -> None:
    """Write one value again and again."""
    if not any(value):
        return  # a file that was made this long has zeros there
    block = memoryview(value * (_CHUNK // len(value)))
    while size > 0:
        _write(file, block[: min(size, len(block))])
        size -= len(block)
