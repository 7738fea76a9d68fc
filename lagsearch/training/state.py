"""A model in training as one safetensors file: weights, moments and the step. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.build import tensors_of
from lagsearch.models.shards import put
from lagsearch.models.tensors import TensorFile, write_tensors
from lagsearch.training.average import Average
from lagsearch.training.optimizer import AnyOptimizer, state_tensors, zero_state

WEIGHT = "weight."
AVERAGE = "average."


@dataclass(frozen=True)
class SavedAt:
    """When a state was saved.

    Attributes:
        step: Updates so far.
        wall_s: Seconds of training and evaluation so far.
    """

    step: int
    wall_s: float

    @property
    def metadata(self) -> dict[str, str]:
        """What a state's file says of it."""
        return {"step": json.dumps(self.step), "wall_s": json.dumps(self.wall_s)}


def state_of(
    model: nn.Module, optimizer: AnyOptimizer | None, average: Average | None = None
) -> dict[str, torch.Tensor]:
    """Return weights, moments and the weights' average by the names that a state's file has."""
    tensors = {WEIGHT + name: tensor for name, tensor in tensors_of(model).items()}
    if optimizer is not None:
        tensors |= dict(state_tensors(optimizer, model))
    if average is not None:
        tensors |= {AVERAGE + name: tensor for name, tensor in average.tensors.items()}
    return tensors


def save_state(path: Path, model: nn.Module, optimizer: AnyOptimizer | None, at: SavedAt) -> None:
    """Save weights and moments, whole or not at all."""
    write_tensors(path, state_of(model, optimizer), at.metadata)


def save_moments(state: Path, out: Path) -> None:
    """Write the moments of a saved state alone: `exp_avg.<parameter>` and so on, and its step.

    Nothing is written where the state has none: another trainer's is its own.
    """
    file = TensorFile(state)
    moments = {name: file[name] for name in file if not name.startswith((WEIGHT, AVERAGE))}
    if not moments:
        return
    words = {key: value for key, value in file.metadata.items() if key in ("step", "wall_s")}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(out, moments, words)


def step_of(path: Path) -> int:
    """Return the step that a state's file names, 0 without one; its tensors are not looked at."""
    try:
        return int(json.loads(TensorFile(path).metadata["step"]))
    except (OSError, ModelError, KeyError, ValueError):
        return 0


def saved_at(path: Path) -> SavedAt | None:
    """Return when the state was saved; None where there is none, or one that is damaged."""
    if not path.is_file():
        return None
    try:
        file = TensorFile(path)
        file.check()
        words = file.metadata
        return SavedAt(int(words["step"]), float(words["wall_s"]))
    except (ModelError, KeyError, ValueError):
        return None


def metadata_of(path: Path) -> dict[str, str] | None:
    """Return what a state's file says of itself, its hash included; None where it cannot be read.

    Its tensors are not looked at.
    """
    try:
        return dict(TensorFile(path).metadata)
    except (OSError, ModelError):
        return None


def load_weights(path: Path, model: nn.Module) -> None:
    """Put a state's weights into a model of the same shape."""
    _put(TensorFile(path, WEIGHT), tensors_of(model))


def load_state(
    path: Path, model: nn.Module, optimizer: AnyOptimizer, average: Average | None = None
) -> None:
    """Put a state's weights and moments into a model, its optimizer and its average."""
    load_weights(path, model)
    for moment, tensors in zero_state(optimizer, model).items():
        saved = TensorFile(path, moment + ".")
        _put(saved, {name: tensors[name] for name in saved})
    if average is not None:
        _put(TensorFile(path, AVERAGE), average.tensors)


def _put(saved: Mapping[str, torch.Tensor], into: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in into.items():
            put(saved[name], tensor)
