"""What a model is trained and measured on, as tensors.

Shape letters: B sequences in a batch, T tokens in a sequence.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import fsum
from operator import mul
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lagsearch.data.objectives.base import IGNORED
from lagsearch.data.objectives.masking import example_seed
from lagsearch.data.tokens.batches import (
    part_of,
    training_rows,
    validation_rows,
)
from lagsearch.storage.files import derive_seed
from lagsearch.training.job import Job
from lagsearch.training.ranks import ALONE, Ranks

Made = TypeVar("Made")

LossOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From inputs and labels, both (B, T), to the mean loss over the predicted tokens."""


@dataclass(frozen=True)
class Batch:
    """A batch of training.

    Attributes:
        inputs: Tokens: (B, T).
        labels: What is predicted: (B, T).
        predicted: Predicted tokens of each sequence, (B,): counted before the batch is copied to
            its device, as a GPU would have to be waited for.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    predicted: NDArray[np.int64]

    def passes(self, number: int, ranks: Ranks = ALONE) -> Iterator["Pass"]:
        """Divide the sequences; yield those of this process.

        Several processes divide them as one would that had the passes of all, and fill all up to
        the same number of sequences, with such as count nothing: each makes as many passes.

        Args:
            number: Passes of each process.
            ranks: The processes.
        """
        pieces = number * ranks.count
        shares = prediction_shares(np.array_split(self.predicted, pieces))
        inputs, labels = self.inputs.tensor_split(pieces), self.labels.tensor_split(pieces)
        size = -(-len(self.inputs) // pieces)
        for at in range(ranks.number * number, (ranks.number + 1) * number):
            found = Pass(at, inputs[at], labels[at], shares[at])
            if ranks.count > 1:
                yield found.filled_up(self.inputs[:size])
            elif found.share > 0:
                yield found


@dataclass(frozen=True)
class Pass:
    """Sequences of a batch that go through a model together.

    Attributes:
        number: Of all that the batch is divided among, from 0.
        inputs: Tokens: (B, T).
        labels: What is predicted: (B, T).
        share: What they have of all the batch's predicted tokens.
    """

    number: int
    inputs: torch.Tensor
    labels: torch.Tensor
    share: float

    def filled_up(self, like: torch.Tensor) -> "Pass":
        """Return as many sequences as there are in other ones: those that it lacks count nothing.

        One token at least is predicted, so that the mean loss is a number: times a share of zero.
        """
        lacking = len(like) - len(self.inputs)
        labels = torch.cat([self.labels, torch.full_like(like[:lacking], IGNORED)])
        if self.share == 0:
            labels[0, 0] = 0
        return Pass(self.number, torch.cat([self.inputs, like[:lacking]]), labels, self.share)


@dataclass(frozen=True)
class ValidationBatch:
    """A validation batch.

    Attributes:
        inputs: Tokens: (B, T).
        labels: What is predicted: (B, T).
        parts: Rows of each part of the objective.
        predicted: Predicted tokens of each row of each part.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    parts: tuple[torch.Tensor, ...]
    predicted: tuple[NDArray[np.int64], ...]

    def losses(self, loss_of: LossOf, passes: int = 1, *, takes_all: bool = False) -> torch.Tensor:
        """Return the mean loss of each part, in nats per predicted token: (parts,).

        Args:
            loss_of: The loss of some sequences.
            passes: Pieces that the batch is divided among, so that all need not fit at once.
            takes_all: Whether pieces without any predicted token go through the model, too.
        """
        if len(self.parts) == 1 and passes == 1:
            return loss_of(self.inputs, self.labels)[None]
        losses = []
        for rows, predicted in zip(self.parts, self.predicted, strict=True):
            shares = prediction_shares(np.array_split(predicted, passes))
            pieces = [
                Pass(0, self.inputs[some], self.labels[some], share)
                for share, some in zip(shares, rows.tensor_split(passes), strict=True)
                if share > 0 or (takes_all and len(some))
            ]
            pieces = [each if each.share > 0 else each.filled_up(each.inputs) for each in pieces]
            terms = [each.share * loss_of(each.inputs, each.labels) for each in pieces]
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
        self._ahead = Ahead(self._made)

    def __call__(self, step: int, *, is_last: bool = False) -> Batch:
        """Return the training batch of a step, and have the next one made, but behind the last."""
        return self._sent(self._ahead(step, is_last=is_last))

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
        places = [np.flatnonzero(parts_B == part) for part in range(len(objective.parts))]
        batch = self._sent(self._example(rows, "validation", number, exact=True))
        return ValidationBatch(
            batch.inputs,
            batch.labels,
            tuple(torch.from_numpy(each).to(self._device) for each in places),
            tuple(batch.predicted[each] for each in places),
        )

    def _made(self, step: int) -> "_Held":
        return self._example(self.rows(step), self._stream, self._text.behind + step)

    def _example(
        self, rows: NDArray[np.int64], stream: str, number: int, *, exact: bool = False
    ) -> "_Held":
        seed = example_seed(self._text.seed, stream, number)
        inputs, labels = self._text.objective.example(rows, seed, exact=exact)
        is_on_gpu = self._device.type == "cuda"
        held = torch.empty((2, *inputs.shape), dtype=torch.int64, pin_memory=is_on_gpu)
        np.stack((inputs, labels), out=held.numpy())
        return held, np.count_nonzero(labels != IGNORED, axis=1)

    def _sent(self, made: "_Held") -> Batch:
        """Copy a batch to its device, without waiting for it."""
        held, predicted = made
        inputs, labels = held.to(self._device, non_blocking=True)
        return Batch(inputs, labels, predicted)


_Held = tuple[torch.Tensor, NDArray[np.int64]]
"""Inputs and labels in host memory, (2, B, T), page-locked for a GPU; and the predicted tokens of
each sequence, (B,)."""


class Ahead(Generic[Made]):
    """Makes what a step needs while the step before it is under way, in a thread of its own.

    All is made there, one after the other, so that what makes it need not be safe for threads. The
    thread ends with this object.
    """

    def __init__(self, make: Callable[[int], Made]) -> None:
        """Begin with nothing.

        Args:
            make: From a step to what it needs, and that alone decides it.
        """
        self._make = make
        self._thread = ThreadPoolExecutor(1, "batches")
        self._step: int | None = None
        self._next: Future[Made]

    def __call__(self, step: int, *, is_last: bool = False) -> Made:
        """Return what a step needs, and have the next one's made, but behind the last one.

        Raises:
            Exception: Whatever making it raised.
        """
        if step != self._step:
            self._next = self._thread.submit(self._make, step)
        made = self._next.result()
        self._step = None
        if not is_last:
            self._step, self._next = step + 1, self._thread.submit(self._make, step + 1)
        return made


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


def prediction_shares(predicted: Sequence[NDArray[np.int64]]) -> list[float]:
    """Return the share of all predicted tokens that each of some pieces has."""
    counts = [int(each.sum()) for each in predicted]
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
