"""Checkpoints larger than memory: tensors read one by one, written shard by shard."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lagsearch.errors import ModelError

SHARD_BYTES = 256 * 2**20


class CheckpointTensors(Mapping[str, torch.Tensor]):
    """A checkpoint's tensors by name, whatever the number of its files.

    A name is that of the whole model; files may have it without its first part, as base models are
    stored (`transformer.h.0...` and `h.0...`), or by a family's other name. Only what is asked for
    is read.

    Args:
        folder: The checkpoint.
        prefix: The first part of names, `transformer.` say, that the files may lack.
        aliases: Parts of names as some files have them, and as the model has them.
        allow_pickle: Read `*.bin` where there is no safetensors, with `weights_only`.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str = "",
        aliases: Sequence[tuple[str, str]] = (),
        *,
        allow_pickle: bool = False,
    ) -> None:
        self._prefix = prefix
        self._open: dict[Path, Any] = {}
        self._where: dict[str, Path] = {}
        self._loaded: dict[str, torch.Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            self._where |= dict.fromkeys(self._file(path).keys(), path)
        if not self._where and allow_pickle:
            for path in sorted(folder.glob("pytorch_model*.bin")):
                self._loaded |= _unpickled(path)
        if not self._where and not self._loaded:
            raise ModelError(f"{folder} has no *.safetensors; pickled weights are not read")
        self._aliases = [pair for pair in aliases if any(pair[0] in name for name in self)]

    def _file(self, path: Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="pt")
            except Exception as error:  # safetensors has its own exception; OSError is possible too
                message = f"{path}: not a readable safetensors file: {error}"
                raise ModelError(message) from error
        return self._open[path]

    def _stored(self, name: str) -> str | None:
        for known in (name, self.written(name)):
            for each in (known, known.removeprefix(self._prefix), self._prefix + known):
                if each in self._where or each in self._loaded:
                    return each
        return None

    def written(self, name: str) -> str:
        """Return a tensor's name as these files have it, or would; with its first part."""
        for stored, model in self._aliases:
            name = name.replace(model, stored)
        return name

    def __getitem__(self, name: str) -> torch.Tensor:
        stored = self._stored(name)
        if stored is None:
            raise KeyError(name)
        if stored in self._loaded:
            return self._loaded[stored]
        tensor: torch.Tensor = self._file(self._where[stored]).get_tensor(stored)
        return tensor

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._stored(name) is not None

    def __iter__(self) -> Iterator[str]:
        yield from self._where
        yield from self._loaded

    def __len__(self) -> int:
        return len(self._where) + len(self._loaded)

    def dtype(self, name: str) -> torch.dtype:
        """Return a tensor's type without reading its values."""
        stored = self._stored(name)
        if stored is None:
            raise KeyError(name)
        if stored in self._loaded:
            return self._loaded[stored].dtype
        words = self._file(self._where[stored]).get_slice(stored).get_dtype()
        return _TYPES[words]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading its values.

        Raises:
            KeyError: There is no such tensor.
        """
        stored = self._stored(name)
        if stored is None:
            raise KeyError(name)
        if stored in self._loaded:
            return tuple(self._loaded[stored].shape)
        return tuple(self._file(self._where[stored]).get_slice(stored).get_shape())

    def release(self) -> None:
        """Let go of all files, and so of what of them is in memory."""
        self._open.clear()


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """Read a pickled file's tensors, and nothing else that may be in it.

    Raises:
        ModelError: It is no such file, or holds more than tensors.
    """
    errors: list[str] = []
    for is_mapped in (True, False):  # files of old torch versions cannot be mapped
        try:
            found: dict[str, torch.Tensor] = torch.load(
                path, map_location="cpu", weights_only=True, mmap=is_mapped
            )
        except Exception as error:  # torch raises many types here
            errors.append(" ".join(str(error).split())[:160])
            continue
        if all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
            return found
        errors.append("it holds more than tensors")
    raise ModelError(f"{path}: not a readable file of weights: {errors[-1]}")


_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def write_shards(
    folder: Path,
    sizes: Mapping[str, int],
    make: Callable[[Sequence[str]], dict[str, torch.Tensor]],
    shard_bytes: int | None = None,
) -> Iterator[int]:
    """Write a checkpoint's weights in one or several safetensors files, and their index.

    Args:
        folder: Where to.
        sizes: Bytes of each tensor, by name, in the order in which they are to be written.
        make: Makes the tensors of one shard, by their names in the file.
        shard_bytes: Largest size of a shard of more than one tensor; `SHARD_BYTES` if left out.

    Yields:
        The bytes written so far, after each shard.
    """
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > (shard_bytes or SHARD_BYTES):
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    index: dict[str, str] = {}
    written = 0
    for number, names in enumerate(shards, 1):
        is_alone = len(shards) == 1
        title = "model" if is_alone else f"model-{number:05}-of-{len(shards):05}"
        tensors = make(names)
        save_file(tensors, folder / f"{title}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, f"{title}.safetensors")
        del tensors
        written += sum(sizes[name] for name in names)
        yield written
    if len(shards) > 1:
        text = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(text, indent=2) + "\n")
