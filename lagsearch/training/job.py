"""All that one process needs to train one model: plain values and paths, no tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lagsearch.data.objectives.base import Predicts
from lagsearch.data.tokens.store import Stores
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.records.curve import operator_record
from lagsearch.space import Training
from lagsearch.training.saving import Interval


@dataclass(frozen=True)
class Text:
    """What a model is trained and measured on.

    Attributes:
        stores: The token stores.
        sequence_length: Tokens in a sequence.
        stream: Names the order of the training batches: equal for all that must see the same.
        validation_batches: Fixed batches of every evaluation.
        objective: What is predicted.
        seed: Decides the order of the training batches, their masks and dropout.
        validation_seed: Decides the masks of the validation batches.
        validation_rows: Sequences in each of them; those of a training step when left out.
        part: (number, parts): each training text is cut into equal parts, this one is used.
        behind: Training steps of the stages before: batches, masks and dropout go on behind them.
        rows_behind: Their sequences.
    """

    stores: Stores
    sequence_length: int
    stream: str
    validation_batches: int
    objective: Predicts
    seed: int
    validation_seed: int
    validation_rows: int | None = None
    part: tuple[int, int] = (1, 1)
    behind: int = 0
    rows_behind: int = 0


@dataclass(frozen=True)
class Compute:
    """What a model may use.

    Attributes:
        threads: Threads on the CPU.
        device: `cpu` or `cuda`.
        precision: `fp32` or `bf16` (autocast).
        evaluation: What losses are measured in, the same.
        saving: When the state is saved on the way.
        devices: Processes that train it together, each with threads, or a GPU, of its own.
        parallel: `ddp`: each of them holds the whole model; `fsdp`: a part of it.
    """

    threads: int = 1
    device: str = "cpu"
    precision: str = "fp32"
    saving: Interval = field(default_factory=Interval)
    evaluation: str = "fp32"
    devices: int = 1
    parallel: str = "ddp"


@dataclass(frozen=True)
class Job:
    """One model to be trained: a candidate, or a source (which grows from nothing).

    Attributes:
        name: The candidate's or the source's name.
        config: The model's configuration as plain values, `model_type` included.
        plan: How its weights at step 0 are made.
        sources: State files of the source models that the plan refers to.
        n_parameters: What the plan expects; checked after growth.
        init_seed: Seed of random weights.
        training: Batch size, optimizer, schedule, completion.
        text: What it is trained and measured on.
        compute: What it may use.
        evaluate_at: Steps of evaluation.
        thinned: How many of the validation batches, the first ones, are measured at steps that do
            not need all.
        curve: File its evaluations are appended to.
        state: File its weights and optimizer are kept in.
        flops_per_step: FLOPs of one training step.
        operator_flops: FLOPs of learning the operator, before the first step.
        annealed: Steps of the decay of the rate to zero that is measured, by the step at which it
            branches off.
        ema: Decay of the moving average of the weights that is measured too, if it is.
        is_first_of_its_shape: Whether the grown model is run, saved and loaded, to check that this
            can be done: once for all that have one configuration.
        profile: File of where its time goes; None does not look.
        tuned_for: The configuration that the rate is for, where wider models learn at less.
    """

    name: str
    config: dict[str, Any]
    plan: GrowthPlan
    sources: tuple[Path, ...]
    n_parameters: int
    init_seed: int
    training: Training
    text: Text
    compute: Compute
    evaluate_at: tuple[int, ...]
    curve: Path
    state: Path
    flops_per_step: int
    operator_flops: int = 0
    thinned: Mapping[int, int] = field(default_factory=dict)
    annealed: Mapping[int, int] = field(default_factory=dict)
    ema: float | None = None
    is_first_of_its_shape: bool = True
    profile: Path | None = None
    tuned_for: dict[str, Any] | None = None

    @property
    def can_go_on(self) -> bool:
        """Whether it goes on from a saved state; else it begins anew with every step to reach."""
        return True

    def goes_on_from(self, until: int) -> int:
        """Return the step from which it goes on, were it trained now: that of its saved state.

        Args:
            until: The step that it is to reach.
        """
        from lagsearch.training.state import step_of

        return step_of(self.state)

    @property
    def operator_record(self) -> Path:
        """File of what came of learning the operator, beside the curve."""
        return operator_record(self.curve)
