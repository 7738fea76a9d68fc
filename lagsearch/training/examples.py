"""What a model is trained and measured on, as tensors; and the loss.

Shape letters: B sequences in a batch, T tokens in a sequence, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import fsum
from operator import mul

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from lagsearch.data.objectives.base import IGNORED
from lagsearch.data.objectives.masking import example_seed
from lagsearch.data.tokens.batches import (
    part_of,
    training_rows,
    validation_rows,
)
from lagsearch.storage.files import derive_seed
from lagsearch.training.job import Job

Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs and labels, both (B, T)."""


@dataclass(frozen=True)
class ValidationBatch:
    """A validation batch.

    Attributes:
        inputs: Tokens: (B, T).
        labels: What is predicted: (B, T).
        parts: Rows of each part of the objective.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    parts: tuple[torch.Tensor, ...]

    def losses(
        self, logits_of: Callable[[torch.Tensor], torch.Tensor], passes: int = 1
    ) -> torch.Tensor:
        """Return the mean loss of each part, in nats per predicted token: (parts,).

        Args:
            logits_of: From tokens to logits: (B, T) to (B, T, V).
            passes: Pieces that the batch is divided among, so that all need not fit at once.
        """
        if len(self.parts) == 1 and passes == 1:
            return mean_loss(logits_of(self.inputs), self.labels)[None]
        losses = []
        for rows in self.parts:
            pieces = [(self.inputs[some], self.labels[some]) for some in rows.tensor_split(passes)]
            shares = prediction_shares([labels for _, labels in pieces])
            terms = [
                share * mean_loss(logits_of(inputs), labels)
                for share, (inputs, labels) in zip(shares, pieces, strict=True)
                if share > 0
            ]
            losses.append(torch.stack(terms).sum())
        return torch.stack(losses)


class Examples:
    """A job's batches."""

    def __init__(self, job: Job, stream: str) -> None:
        """Open the text.

        Args:
            job: Whose.
            stream: Names the order of the training batches.
        """
        self._text, self._stream = job.text, stream
        self._device = torch.device(job.compute.device)
        self._size = (job.text.sequence_length, job.training.batch_size)
        texts = [
            (part_of(share.store.tokens("train"), *job.text.part), share.weight)
            for share in job.text.stores.train
        ]
        self.rows = training_rows(texts, *self._size, job.text.seed, stream, job.text.rows_behind)

    def __call__(self, step: int) -> Batch:
        """Return the training batch of a step."""
        return self._example(self.rows(step), self._stream, self._text.behind + step)

    def validation(self) -> list[ValidationBatch]:
        """Return the fixed batches of every evaluation."""
        texts = [
            (share.store.tokens("validation"), share.weight)
            for share in self._text.stores.validation
        ]
        length, rows = self._size
        rows = self._text.validation_rows or rows
        found = validation_rows(texts, length, rows, self._text.validation_batches)
        return [self._measured(rows, number) for number, rows in enumerate(found)]

    def _measured(self, rows: NDArray[np.int64], number: int) -> ValidationBatch:
        """Return a validation batch, in which each part of the objective has its exact share."""
        objective = self._text.objective
        seed = example_seed(self._text.validation_seed, "validation", number)
        parts_B = objective.parts_of(len(rows), seed, exact=True)
        places = tuple(
            torch.from_numpy(np.flatnonzero(parts_B == part)).to(self._device)
            for part in range(len(objective.parts))
        )
        return ValidationBatch(*self._example(rows, "validation", number, exact=True), places)

    def _example(
        self, rows: NDArray[np.int64], stream: str, number: int, *, exact: bool = False
    ) -> Batch:
        seed = example_seed(self._text.seed, stream, number)
        inputs, labels = self._text.objective.example(rows, seed, exact=exact)
        return (
            torch.from_numpy(inputs).to(self._device, non_blocking=True),
            torch.from_numpy(labels).to(self._device, non_blocking=True),
        )


class Dropout:
    """The random numbers that a model in training draws."""

    def __init__(self, model: nn.Module, seed: int, device: torch.device) -> None:
        """See whether it draws any.

        Args:
            model: The model.
            seed: The root seed.
            device: Where it is.
        """
        self._draws, self._seed, self._device = _has_dropout(model), seed, device

    def of(self, *purpose: str | int) -> AbstractContextManager[None]:
        """Draw inside from a seed of its own; the global random state is as before afterwards."""
        if not self._draws:
            return nullcontext()
        return _seeded(derive_seed(self._seed, "dropout", *purpose), self._device)


def mean_loss(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy over the predicted tokens, in nats."""
    return cross_entropy(
        logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORED
    )


def prediction_shares(labels: Sequence[torch.Tensor]) -> list[float]:
    """Return the share of all predicted tokens that each of some pieces has."""
    counts = [int((each != IGNORED).sum()) for each in labels]
    return [count / sum(counts) for count in counts]


def weighted(weights: Sequence[float], losses: Sequence[float]) -> float:
    """Return the loss of the whole from those of its parts; of one part its own, to the bit."""
    return losses[0] if len(losses) == 1 else fsum(map(mul, weights, losses))


def evaluating(job: Job) -> AbstractContextManager[None]:
    """Compute inside in the precision that losses are measured in."""
    is_rough = job.compute.evaluation == "bf16"
    return torch.autocast(job.compute.device, torch.bfloat16, enabled=is_rough)


def evaluation_passes(job: Job) -> int:
    """Return the pieces of a validation batch: none has more sequences than one of training."""
    passes, rows = job.training.gradient_accumulation, job.text.validation_rows or 0
    return max(passes, -(-rows * passes // job.training.batch_size))


def forward_options(job: Job) -> dict[str, bool]:
    """Return what the model is called with beside its tokens."""
    return {"use_cache": False} if job.text.objective.kind == "causal" else {}


def _has_dropout(model: nn.Module) -> bool:
    """Return whether training draws random numbers: any module or attention that drops."""
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    config = getattr(model, "config", None)
    rates += [
        value
        for key, value in (config.to_dict() if config else {}).items()
        if ("drop" in key) and isinstance(value, float)
    ]
    return any(rate > 0 for rate in rates)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed inside, and leave the global random state as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
