"""The validation losses of a model, whoever trained it."""

from collections.abc import Sequence

import torch
from torch import nn

from lagsearch.training.examples import (
    LossOf,
    ValidationBatch,
    evaluating,
    evaluation_passes,
    weighted,
)
from lagsearch.training.job import Job

BatchLosses = tuple[tuple[float, ...], dict[str, tuple[float, ...]]]
"""The loss of each validation batch: of the whole, and of each of its parts."""


def measure(
    job: Job,
    model: nn.Module,
    validation: Sequence[ValidationBatch],
    loss_of: LossOf,
) -> BatchLosses:
    """Measure a model, and leave it in training.

    Args:
        job: Whose it is.
        model: Where its device is.
        validation: The batches.
        loss_of: The model's loss of some sequences.
    """
    model.eval()
    with torch.inference_mode(), evaluating(job):
        passes = evaluation_passes(job)
        measured = [each.losses(loss_of, passes) for each in validation]
        by_part: list[list[float]] = torch.stack(measured, dim=1).tolist()
    model.train()
    names, weights = zip(*job.text.objective.parts, strict=True)
    losses = tuple(weighted(weights, each) for each in zip(*by_part, strict=True))
    return losses, dict(zip(names, map(tuple, by_part), strict=True))
