"""Safetensors files by their headers: what is where in them, before anything is read or loaded."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lagsearch.errors import ModelError

TYPES: Mapping[str, str] = {
    **{"BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16"},
    **{"F16": "float16", "BF16": "bfloat16", "I32": "int32", "F32": "float32"},
    **{"F64": "float64", "I64": "int64"},
}
"""What torch and configurations call each type that is known."""

ITEM_BYTES: Mapping[str, int] = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2},
    **{"I32": 4, "F32": 4, "F64": 8, "I64": 8},
}
"""Bytes of one value of each type, in the order in which a file has them: the last ones first."""

FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
"""Types of numbers that can be multiplied, as files say them."""

_Type = TypeVar("_Type")
"""A type as files say it, or torch's."""

_LENGTH = 8  # bytes that say how long the header is
_LONGEST = 100_000_000  # of a header, as safetensors itself allows


class StoredTensor(NamedTuple):
    """A tensor in a file.

    Attributes:
        path: The file.
        name: Its name there.
        dtype: Its type, as the file says it: `BF16`.
        shape: Its shape.
        begin: Where its values begin in the file, in bytes.
        size: How many bytes they are.
    """

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    size: int

    @property
    def place(self) -> str:
        """The file and the name, as errors say it."""
        return f"{self.path}: {self.name}"


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by their names.

    Raises:
        ModelError: It is no such file, or not all of it.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if length > _LONGEST:
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        start = _LENGTH + length
        found = [stored_tensor(path, name, each, start) for name, each in header.items()]
        _check_whole(found, start, path.stat().st_size)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: not a readable safetensors file: {error}") from error
    return {each.name: each for each in found}


def tensors_in(
    files: Mapping[Path, frozenset[str] | None],
    read: Callable[[Path], Mapping[str, StoredTensor]] = read_header,
) -> dict[str, StoredTensor]:
    """Return the tensors of several files by their names.

    Args:
        files: The names that an index has in each of them; None for all that there are.
        read: Reads the header of one.

    Raises:
        ModelError: One is no such file, or lacks a tensor.
    """
    tensors: dict[str, StoredTensor] = {}
    for path, names in files.items():
        found = read(path)
        if missing := sorted((names or found.keys()) - found.keys()):
            raise ModelError(f"{path} lacks {missing[0]}, which the index has in it")
        tensors |= {name: found[name] for name in names or found}
    return tensors


def stored_tensor(path: Path, name: str, words: Mapping[str, Any], start: int) -> StoredTensor:
    """Return a tensor of a file from what the header says of it.

    Args:
        path: The file.
        name: Its name there.
        words: The header's entry.
        start: Where the header ends, in bytes.

    Raises:
        ValueError: Its place or its size cannot be.
    """
    begin, end = words["data_offsets"]
    dtype, shape = words["dtype"], tuple(words["shape"])
    if any(type(each) is not int or each < 0 for each in (begin, end, *shape)):
        raise ValueError(f"{name} has a shape or a place that is no whole number from 0")
    wanted = math.prod(shape) * ITEM_BYTES.get(dtype, 0)
    if wanted != end - begin and dtype in ITEM_BYTES:
        raise ValueError(f"{name} has {end - begin} bytes, not {wanted}")
    return StoredTensor(path, name, dtype, shape, start + begin, end - begin)


def _check_whole(tensors: Iterable[StoredTensor], start: int, size: int) -> None:
    """Check that tensors lie one behind the other, and that the file ends with the last of them."""
    for each in sorted(tensors, key=lambda each: (each.begin, each.size)):
        if each.begin != start or each.size < 0:
            raise ValueError(f"{each.name} is not behind the tensor before it")
        start += each.size
    if start != size:
        raise ValueError(f"it has {size:,} bytes, and its header speaks of {start:,}")


def make_header(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
) -> tuple[bytes, dict[str, int]]:
    """Return what a file of these tensors begins with, and where in it each of them begins.

    Args:
        tensors: Type and shape of each, by name.
    """
    order = list(ITEM_BYTES)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(tensors, key=lambda name: (-order.index(tensors[name][0]), name)):
        dtype, shape = tensors[name]
        begin, end = end, end + n_bytes(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    start = _LENGTH + len(text)
    places = {name: start + header[name]["data_offsets"][0] for name in tensors}
    return len(text).to_bytes(_LENGTH, "little") + text, places


def most_common_type(types: Iterable[_Type]) -> _Type:
    """Return the type of most tensors; of several that are equally common the first by name."""
    found = list(types)
    return max(sorted(set(found), key=str), key=found.count)


def n_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor of this type and shape."""
    return math.prod(shape) * ITEM_BYTES[dtype]
