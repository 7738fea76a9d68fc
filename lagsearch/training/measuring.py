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
from lagsearch.training.ranks import ALONE, Ranks

BatchLosses = tuple[tuple[float, ...], dict[str, tuple[float, ...]]]
"""The loss of each validation batch: of the whole, and of each of its parts."""


def measure(
    job: Job,
    model: nn.Module,
    validation: Sequence[ValidationBatch],
    loss_of: LossOf,
    ranks: Ranks = ALONE,
) -> BatchLosses:
    """Measure a model, and leave it in training.

    Args:
        job: Whose it is.
        model: Where its device is.
        validation: The batches.
        loss_of: The model's loss of some sequences.
        ranks: The processes that divide the batches among them.
    """
    model.eval()
    with ranks.inference(), evaluating(job):
        passes = evaluation_passes(job)
        every = ranks.shards_model
        measured = ranks.each(
            validation, lambda each: each.losses(loss_of, passes, takes_all=every)
        )
        by_part: list[list[float]] = torch.stack(measured, dim=1).tolist()
    ranks.at_rest(model)
    model.train()
    names, weights = zip(*job.text.objective.parts, strict=True)
    losses = tuple(weighted(weights, each) for each in zip(*by_part, strict=True))
    return losses, dict(zip(names, map(tuple, by_part), strict=True))
