"""A source and a candidate before they are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.models.configs import (
    shape_of,
)
from lagsearch.operators import (
    Candidate,
    GrowthPlan,
)
from lagsearch.operators.catalog.scratch import fresh_plan
from lagsearch.planning.cost import ModelCost
from lagsearch.space import (
    Source,
)
from lagsearch.storage.files import digest


@dataclass(frozen=True)
class PlannedSource:
    """A source before it is trained or read.

    Attributes:
        source: What the space says.
        config: Its transformers configuration.
        cost: What one step of its own training takes.
        checkpoint: Local folder of its checkpoint, if it is one.
        n_tokens: Rows that a checkpoint's embedding is given, where it has too few for the tokens
            that the objective adds.
        notes: What a user should know of how a checkpoint is read.
    """

    source: Source
    config: Any
    cost: ModelCost
    checkpoint: Path | None
    n_tokens: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> GrowthPlan:
        """How it is made when it is pretrained: from random weights."""
        return fresh_plan(shape_of(self.config).n_layers)


@dataclass(frozen=True)
class PlannedCandidate:
    """A candidate before it is grown.

    Attributes:
        candidate: Its name, operator, settings and growth plan.
        config: The target's configuration as plain values.
        cost: What one step takes.
        steps: Its completion: training steps after growth.
        also: Further names, of candidates that are the same growth.
    """

    candidate: Candidate
    config: dict[str, Any]
    cost: ModelCost
    steps: int
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def layer_map(self) -> str:
        """The layers drawn, e.g. `0 1 0* 1* 2`."""
        return self.candidate.plan.layer_map()

    @property
    def title(self) -> str:
        """All its names, e.g. `stack = lag-i0-b4-duplicate`."""
        return " = ".join((self.name, *self.also))

    @property
    def is_baseline(self) -> bool:
        """Whether it serves for comparison."""
        return self.candidate.is_baseline

    @property
    def growth(self) -> str:
        """What is the same for candidates that come to the same growth."""
        return digest(self.candidate.plan.to_dict())


def training_flops_of(sources: Sequence[PlannedSource]) -> int | None:
    """Return what the sources' own training takes; None where a checkpoint's is not known."""
    total = 0
    for each in sources:
        if each.source.pretrain is None:
            return None
        total += each.source.pretrain.steps * each.cost.flops_per_step
    return total
