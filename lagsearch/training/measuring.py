"""The validation losses of a model, whoever trained it."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lagsearch.training.examples import (
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
    logits_of: Callable[[torch.Tensor], torch.Tensor],
) -> BatchLosses:
    """Measure a model, and leave it in training.

    Args:
        job: Whose it is.
        model: Where its device is.
        validation: The batches.
        logits_of: From tokens to the model's logits: (B, T) to (B, T, V).
    """
    model.eval()
    with torch.inference_mode(), evaluating(job):
        passes = evaluation_passes(job)
        measured = [each.losses(logits_of, passes) for each in validation]
        by_part: list[list[float]] = torch.stack(measured, dim=1).tolist()
    model.train()
    names, weights = zip(*job.text.objective.parts, strict=True)
    losses = tuple(weighted(weights, each) for each in zip(*by_part, strict=True))
    return losses, dict(zip(names, map(tuple, by_part), strict=True))
