"""Tensors read out of safetensors files, each checked to be numbers."""

from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lagsearch.errors import ModelError
from lagsearch.models.headers import StoredTensor


class TensorReader:
    """Reads tensors as they are asked for; each file is opened once."""

    def __init__(self) -> None:
        self._open: dict[Path, Any] = {}

    def read(self, stored: StoredTensor) -> torch.Tensor:
        """Return a tensor's values.

        Raises:
            ModelError: Its file cannot be read, or it holds what is no number.
        """
        path = stored.path
        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="pt")
            except Exception as error:  # safetensors has its own exception; OSError is possible too
                message = f"{path}: not a readable safetensors file: {error}"
                raise ModelError(message) from error
        tensor: torch.Tensor = self._open[path].get_tensor(stored.name)
        check_finite(tensor, stored.place)
        return tensor

    def release(self) -> None:
        """Let go of all files, and so of what of them is in memory."""
        self._open.clear()


def check_finite(tensor: torch.Tensor, place: str) -> None:
    """Check that all values are numbers.

    Args:
        tensor: Which.
        place: How the error names it.

    Raises:
        ModelError: Some are not.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return
    if not all(map(isfinite, map(float, torch.aminmax(tensor)))):  # NaN is both, where it is any
        broken = int((~torch.isfinite(tensor)).sum())
        raise ModelError(
            f"{place}: {broken:,} of its {tensor.numel():,} values are NaN or infinite; the source "
            "computes nothing"
        )
