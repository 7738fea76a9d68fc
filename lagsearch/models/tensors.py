"""Named tensors in safetensors files, read lazily: only what is asked for enters memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lagsearch.errors import ModelError
from lagsearch.storage import replacing


class TensorFile(Mapping[str, torch.Tensor]):
    """The tensors of one memory-mapped safetensors file whose names begin with a prefix.

    Processes that open the same file share its pages.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
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


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors to one safetensors file, whole or not at all."""
    contiguous = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, metadata=dict(metadata))
