"""Hugging Face checkpoints that users bring: found, read without pickle, and identified."""

import copy
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.errors import ModelError
from lagsearch.models.build import empty_model, fresh_model, own_kind, tensors_of
from lagsearch.models.configs import read_config
from lagsearch.models.files import weight_files
from lagsearch.models.stored import CheckpointTensors
from lagsearch.storage.files import (
    digest,
    file_digest,
)


def load_config(folder: Path, *, allow_pickle: bool = False) -> Any:
    """Read a checkpoint's configuration, as its weights are: a head of its own is not tied.

    Raises:
        ModelError: There is no readable `config.json` of a known model type, or no safetensors.
    """
    config = read_config(folder)
    weight_files(folder, allow_pickle=allow_pickle)
    if _has_own_head(folder, config, allow_pickle=allow_pickle):
        config.tie_word_embeddings = False
    return config


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is opened as a kind of model.

    Attributes:
        folder: Where it is.
        config: Its configuration, as the weights are: a head of its own is not tied.
        kind: What it is opened as.
        model: That model, on `meta`.
        tensors: Its weights, by the names of that model.
        missing: Tensors of the model that the files lack.
    """

    folder: Path
    config: Any
    kind: str
    model: Any
    tensors: CheckpointTensors
    missing: tuple[str, ...]

    @property
    def has_fresh_head(self) -> bool:
        """Whether all that it lacks is a head of masked language modelling."""
        base = f"{self.model.base_model_prefix}."
        is_head = all(not name.startswith(base) for name in self.missing)
        return self.kind == "masked" and bool(self.missing) and is_head and not self._has_head

    @property
    def _has_head(self) -> bool:
        """Whether the files have a part of what stands on the model's body."""
        base = f"{self.model.base_model_prefix}."
        twins = {id(each) for name, each in self.model.named_parameters() if name.startswith(base)}
        heads = self.model.named_parameters(remove_duplicate=False)
        return any(
            name in self.tensors
            for name, each in heads
            if not name.startswith(base) and id(each) not in twins
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of what is read and what is not."""
        notes = list(self.tensors.notes)
        declared = getattr(read_config(self.folder), "tie_word_embeddings", False)
        if declared and not self.config.tie_word_embeddings:
            notes.append(
                f"{self.folder} has a head of its own although tie_word_embeddings is true: it is "
                "kept, and the flag becomes false"
            )
        if self.has_fresh_head:
            notes.append(
                f"{self.folder} has no head for masked tokens: all candidates begin with the same "
                "new one"
            )
        return tuple(notes)

    def check(self) -> None:
        """Check that what the files have is what the model takes, and that no head is lost.

        Raises:
            ModelError: They do not.
        """
        name = type(self.model).__name__
        parts = self._parts if self.tensors.left_out else frozenset()
        for left in self.tensors.left_out:
            if left.partition(".")[0] not in parts:
                raise ModelError(
                    f"{self.folder} has {left}, a part that a {name} lacks and that would be lost; "
                    "name the class that has it in architectures of config.json, or take it out"
                )
        for each, tensor in tensors_of(self.model).items():
            if each in self.tensors and (found := self.tensors.shape(each)) != tuple(tensor.shape):
                raise ModelError(
                    f"{self.folder}: {each} is {found}, but config.json makes it "
                    f"{tuple(tensor.shape)}"
                )

    def check_whole(self) -> None:
        """Check that the files have all that the model needs, but for a head that is made anew.

        Raises:
            ModelError: They do not.
        """
        self.check()
        if self.missing and not self.has_fresh_head:
            raise ModelError(
                f"{self.folder} lacks {len(self.missing)} tensors of a "
                f"{type(self.model).__name__}, e.g. "
                f"{self.missing[0]}"
            )

    @property
    def _parts(self) -> frozenset[str]:
        """What names begin with in this model, and in one of its type that has no head."""
        names = [each for each, _ in self.model.named_parameters(remove_duplicate=False)]
        with suppress(ModelError):  # a type may have no such class
            names += dict(empty_model(self.config, "headless").named_parameters())
        return frozenset(name.partition(".")[0] for name in names)


def open_checkpoint(
    folder: Path, kind: str | None = None, *, config: Any = None, allow_pickle: bool = False
) -> Checkpoint:
    """Open a checkpoint's weights.

    Args:
        folder: Where it is.
        kind: `causal`, `masked` or a class; that which it says it is of, or `causal`, if left out.
        config: Its configuration, if it has been read.
        allow_pickle: Read `*.bin` where there is no safetensors, with `weights_only`.

    Raises:
        ModelError: It cannot be read.
    """
    config = config or load_config(folder, allow_pickle=allow_pickle)
    kind = kind or own_kind(config) or "causal"
    model = empty_model(config, kind)
    tensors = CheckpointTensors(folder, model, allow_pickle=allow_pickle)
    missing = tuple(name for name in tensors_of(model) if name not in tensors)
    return Checkpoint(folder, config, kind, model, tensors, missing)


def _has_own_head(folder: Path, config: Any, *, allow_pickle: bool) -> bool:
    """Return whether what the configuration ties is there twice, with different values."""
    if not getattr(config, "tie_word_embeddings", False):
        return False
    opened = open_checkpoint(folder, config=config, allow_pickle=allow_pickle)
    pairs = getattr(opened.model, "all_tied_weights_keys", None) or {}
    of = opened.tensors.naming.of
    for one, other in pairs.items():
        if one in of and other in of:
            first, second = opened.tensors[one], opened.tensors[other]
            if first.shape != second.shape or not bool((first == second).all()):
                return True
    return False


def load_checkpoint(folder: Path, kind: str, n_tokens: int | None = None) -> Any:
    """Load a checkpoint's model in fp32, from safetensors only.

    Args:
        folder: Where it is.
        kind: `causal` or `masked`.
        n_tokens: Rows of the embedding, where more are wanted than it has: new ones are the mean
            of its own, and so are those of the head.

    Raises:
        ModelError: The weights are missing, not safetensors, or do not fit the configuration.
    """
    import torch

    opened = open_checkpoint(folder, kind)
    opened.check_whole()
    model = fresh_model(opened.config, kind, 0)
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            if name in opened.tensors:
                tensor.copy_(opened.tensors[name])
    opened.tensors.release()
    return model.eval() if n_tokens is None else _with_rows(model, kind, n_tokens)


def _with_rows(model: Any, kind: str, n_tokens: int) -> Any:
    """Return a model with more tokens."""
    import torch

    config = copy.deepcopy(model.config)
    config.vocab_size = n_tokens
    larger = fresh_model(config, kind, 0)
    own = tensors_of(model)
    with torch.no_grad():
        for name, tensor in tensors_of(larger).items():
            if tensor.shape != own[name].shape:  # embedding and head, with bias
                tensor.copy_(own[name].mean(dim=0).expand_as(tensor))
            tensor[: len(own[name])].copy_(own[name])
    return larger


def checkpoint_digest(folder: Path) -> str:
    """Return a hash of the configuration and the weights of a checkpoint."""
    files = sorted([folder / "config.json", *weight_files(folder)])
    return digest([[path.name, file_digest(path)] for path in files])
