"""Named tensors in safetensors files, read lazily: only what is asked for enters memory."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lagsearch.errors import ModelError
from lagsearch.storage.files import replacing

DIGEST = "sha256"
"""What a file of ours says its content hashes to."""


class TensorFile(Mapping[str, torch.Tensor]):
    """The tensors of one memory-mapped safetensors file whose names begin with a prefix.

    Processes that open the same file share its pages.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._path = path
        try:
            self._file: Any = safe_open(path, framework="pt")
        except Exception as error:  # safetensors has its own exception; OSError is possible too
            raise ModelError(f"{path}: not a readable safetensors file: {error}") from error
        self._prefix = prefix
        names: list[str] = list(iter(self._file.keys()))  # type: ignore[no-untyped-call]
        self._names = [name for name in names if name.startswith(prefix)]

    def __getitem__(self, name: str) -> torch.Tensor:
        if self._prefix + name not in self._names:
            raise KeyError(name)
        tensor: torch.Tensor = self._file.get_tensor(self._prefix + name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def metadata(self) -> dict[str, str]:
        """The file's own words, as they were written."""
        return dict(self._file.metadata() or {})

    def check(self) -> None:
        """Compare all that is in the file with the hash that was written into it, where it has one.

        Raises:
            ModelError: They do not agree: bytes have changed since.
        """
        words = self.metadata
        recorded = words.pop(DIGEST, None)
        if recorded is not None and recorded != content_digest(TensorFile(self._path), words):
            raise ModelError(f"{self._path}: damaged, its content is not what was written")


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors to one safetensors file, whole or not at all, with a hash of its content.

    Raises:
        OSError: It cannot be written: the disk is full, say.
    """
    contiguous = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    words = {**metadata, DIGEST: content_digest(contiguous, metadata)}
    with replacing(path) as temporary, _as_system_errors(path):
        save_file(contiguous, temporary, metadata=words)


def save_checkpoint(model: Any, folder: Path) -> None:
    """Write a model as a Hugging Face checkpoint, its weights as readable as its configuration.

    Raises:
        OSError: It cannot be written: the disk is full, say.
    """
    with _as_system_errors(folder):
        model.save_pretrained(folder)
    mode = (folder / "config.json").stat().st_mode & 0o777
    for each in folder.glob("*.safetensors"):
        each.chmod(mode)  # safetensors makes them its owner's alone


@contextmanager
def _as_system_errors(path: Path) -> Iterator[None]:
    """Make errors of safetensors, which has words of its own, those of the operating system."""
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        code = int(found[1]) if found else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def content_digest(tensors: Mapping[str, torch.Tensor], words: Mapping[str, str]) -> str:
    """Return the SHA-256 of words and of named tensors: their types, shapes and bytes."""
    found = hashlib.sha256(json.dumps(sorted(words.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        if tensor.numel():
            found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
