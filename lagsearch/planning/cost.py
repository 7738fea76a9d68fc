"""What a model of a configuration takes: parameters, FLOPs, memory, worked out without weights."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lagsearch.data.objectives.registry import objective_kind
from lagsearch.errors import ModelError
from lagsearch.models.configs import plain_config, stored_name
from lagsearch.operators import GrowthPlan
from lagsearch.operators.execute.mix_sizes import check_mix, mix_sizes
from lagsearch.operators.execute.shapes import check_copies
from lagsearch.planning.flops import Counting, flops_per_token, operator_flops, training_flops
from lagsearch.planning.memory import (
    learning_bytes,
    measuring_bytes,
    sharded_bytes,
    training_bytes,
)
from lagsearch.planning.sizes import Sizes, sizes_by_tables
from lagsearch.space import OPTIMIZERS, Placement, Space, evaluated_rows
from lagsearch.storage.files import digest


@dataclass(frozen=True)
class ModelCost:
    """What one model takes.

    Attributes:
        parameters: Tied ones once.
        layer_parameters: Weights of matrix products without embeddings and head.
        flops_per_step: Training FLOPs of one step.
        evaluation_flops: FLOPs of one evaluation of all validation batches.
        memory_bytes: Estimate of training, for each device; None where there is none.
        operator_flops: FLOPs of learning the operator, before the first step.
    """

    parameters: int
    layer_parameters: int
    flops_per_step: int
    evaluation_flops: int
    memory_bytes: int | None
    operator_flops: int = 0

    def measured(self, ema: bool, decayed: int, shards: int) -> "ModelCost":
        """Return the cost of a candidate: with a moving average it is evaluated twice.

        Args:
            ema: See `measuring_bytes`.
            decayed: The same.
            shards: Devices that hold a part of the model each.
        """
        aside = measuring_bytes(-(-self.parameters // shards), decayed, ema=ema)
        memory = None if self.memory_bytes is None else self.memory_bytes + aside
        return replace(
            self, evaluation_flops=(1 + ema) * self.evaluation_flops, memory_bytes=memory
        )


@dataclass(frozen=True)
class EmptyModel:
    """A model without memory, and what is known of it.

    Attributes:
        cost: What it takes.
        sizes: Its tensors, and where it keeps its layers.
        kept: Numbers that the optimizer keeps of a weight.
        ema: Whether candidates have a moving average of their weights, which is measured too.
        decayed: Numbers that a decay of their rate, which is thrown away, changes of a weight; 0
            where there is none.
        shards: Devices that hold a part of the model each.
    """

    cost: ModelCost
    sizes: Sizes
    kept: int
    ema: bool
    decayed: int
    shards: int

    def grown(self, plan: GrowthPlan, sources: "Sequence[EmptyModel]") -> ModelCost:
        """Check that a plan makes this model of its sources, and return what it then takes.

        Raises:
            ModelError: What is copied or mixed is not there, or does not fit.
        """
        tensors = [each.sizes.tensors for each in sources]
        check_copies(plan, self.sizes.stack, tensors, self.sizes.tensors)
        measured = self.cost.measured(self.ema, self.decayed, self.shards)
        if plan.learned is None:
            return measured
        mix = mix_sizes(plan, self.sizes.stack, tensors, self.sizes.tensors)
        check_mix(mix, self.sizes.tensors)
        forming, operator = mix.forming_flops(), mix.n_parameters
        flops = operator_flops(plan.learned.steps, forming, self.cost.flops_per_step)
        memory = measured.memory_bytes
        if memory is not None and self.cost.memory_bytes is not None:
            sizes = [each.numel() for source in tensors for each in source.values()]
            learning = learning_bytes(
                self.cost.memory_bytes, self.cost.parameters, sum(sizes), operator, self.kept
            )
            memory = max(memory, learning)
        return replace(measured, operator_flops=flops, memory_bytes=memory)

    def check_positions(self, config: Any, length: int) -> None:
        """Check that a sequence has room.

        Raises:
            ModelError: It has not.
        """
        positions = self.sizes.positions
        if positions is not None and positions < length:
            key = stored_name(config, "max_position_embeddings")
            raise ModelError(
                f"{key} {config.max_position_embeddings} has room for {positions} tokens, "
                f"less than data.sequence_length {length}"
            )


@dataclass(frozen=True)
class _Terms:
    """What a model's cost depends on beside its configuration.

    Attributes:
        kind: `causal` or `masked`.
        rows: Sequences in a step.
        at_once: Sequences in a forward pass.
        length: Tokens in a sequence.
        kept: See `EmptyModel`, as `ema` and `decayed`.
        has_copies: See `training_bytes`.
        counting: How FLOPs are counted.
        evaluated: Tokens of one evaluation.
        ema: Whether there is a moving average.
        checkpointing: Whether layers keep their input alone for the backward pass.
        shards: Devices that hold a part of the model each.
    """

    kind: str
    rows: int
    at_once: int
    length: int
    kept: int
    counting: Counting
    evaluated: int
    ema: bool
    decayed: int
    has_copies: bool
    checkpointing: bool
    shards: int


_MOST_KEPT = 256
_known: dict[str, EmptyModel] = {}
"""Models that this process worked out, the oldest first: stages, courses and reports plan anew."""


class Models:
    """What configurations lead to in a space, each worked out once."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def of(
        self, config: Any, batch_size: int | None = None, place: Placement | None = None
    ) -> EmptyModel:
        """Return what a configuration leads to.

        Args:
            config: Of transformers, or of tables.
            batch_size: Sequences in a step, where they are not those of `training`.
            place: Devices that train it, where they are not those of a candidate.
        """
        space = self._space
        place = place or space.resources.of_candidates
        moments = OPTIMIZERS[space.training.optimizer.name].size
        kept = moments + (space.training.new_parameters is not None)  # their weights before a step
        rows, length = batch_size or space.training.batch_size, space.data.sequence_length
        terms = _Terms(
            kind=objective_kind(space.objective),
            rows=rows,
            at_once=-(-rows // (space.training.gradient_accumulation * place.devices)),
            length=length,
            kept=kept,
            counting=space.evaluation.flops,
            evaluated=space.evaluation.batches * evaluated_rows(space, rows) * length,
            ema=space.evaluation.ema is not None,
            decayed=0 if space.evaluation.annealed is None else 1 + moments,
            has_copies=space.training.precision == "bf16",
            checkpointing=bool(space.training.gradient_checkpointing),
            shards=place.devices if place.parallel == "fsdp" else 1,
        )
        key = digest([plain_config(config), asdict(terms)])
        if key not in _known:
            made = _work_out(config, terms)
            if len(_known) == _MOST_KEPT:
                _known.pop(next(iter(_known)))
            _known[key] = made
        return _known[key]


def _work_out(config: Any, terms: _Terms) -> EmptyModel:
    sizes = _sizes(config, terms)
    forward = flops_per_token(config, sizes.matrices, terms.length, terms.counting)
    cost = ModelCost(
        parameters=sizes.parameters,
        layer_parameters=sizes.matrices["layers"],
        flops_per_step=training_flops(forward, terms.rows * terms.length),
        evaluation_flops=forward * terms.evaluated,
        memory_bytes=_memory(sizes, terms),
    )
    return EmptyModel(cost, sizes, terms.kept, terms.ema, terms.decayed, terms.shards)


def _memory(sizes: Sizes, terms: _Terms) -> int | None:
    """Estimate the bytes of training a model on each of its devices."""
    kept, has_copies = terms.kept, terms.has_copies
    if terms.shards == 1:
        return training_bytes(sizes.parameters, sizes.activation_bytes, kept, has_copies=has_copies)
    layers: dict[int, int] = {}
    for name, each in sizes.tensors.items():
        if (place := sizes.stack.split(name)) is not None:
            layers[place[0]] = layers.get(place[0], 0) + each.numel()
    gathered = (max(layers.values()), sizes.parameters - sum(layers.values()))
    activations = sizes.activation_bytes
    return sharded_bytes(
        sizes.parameters, gathered, activations, kept, terms.shards, has_copies=has_copies
    )


def _sizes(config: Any, terms: _Terms) -> Sizes:
    """Return a model's sizes by tables, or else by transformers."""
    batch = (terms.at_once, terms.length)
    by_tables = sizes_by_tables(config, terms.kind, batch, checkpointing=terms.checkpointing)
    if by_tables is not None:
        return by_tables
    from lagsearch.planning.sizes_of_model import sizes_of_model

    return sizes_of_model(config, terms.kind, batch, checkpointing=terms.checkpointing)
