"""What a model of a configuration takes: parameters, FLOPs, memory, worked out without weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lagsearch.data.objectives.registry import objective_kind
from lagsearch.errors import ModelError
from lagsearch.models.configs import plain_config, stored_name
from lagsearch.operators import GrowthPlan
from lagsearch.space import OPTIMIZERS, Space, evaluated_rows
from lagsearch.storage.files import digest

if TYPE_CHECKING:
    import torch

    from lagsearch.models.layers import LayerStack
    from lagsearch.planning.flops import Counting


@dataclass(frozen=True)
class ModelCost:
    """What one model takes.

    Attributes:
        parameters: Tied ones once.
        layer_parameters: Weights of matrix products without embeddings and head.
        flops_per_step: Training FLOPs of one step.
        evaluation_flops: FLOPs of one evaluation of all validation batches.
        memory_bytes: Estimate of training in fp32; None where there is none.
        operator_flops: FLOPs of learning the operator, before the first step.
    """

    parameters: int
    layer_parameters: int
    flops_per_step: int
    evaluation_flops: int
    memory_bytes: int | None
    operator_flops: int = 0

    def averaged(self, ema: bool) -> "ModelCost":
        """Return the cost with a moving average: every evaluation twice, two more sets of weights.

        They are the average, and the model's own while the average is measured.
        """
        if not ema:
            return self
        memory = None if self.memory_bytes is None else self.memory_bytes + 8 * self.parameters
        return replace(self, evaluation_flops=2 * self.evaluation_flops, memory_bytes=memory)


@dataclass(frozen=True)
class EmptyModel:
    """A model without memory, and what is known of it.

    Attributes:
        cost: What it takes.
        stack: Where it keeps its layers.
        tensors: Its tensors on `meta`, by name.
        positions: How many tokens a sequence may have, if that is limited.
        kept: Numbers that the optimizer keeps of a weight.
        ema: Whether candidates have a moving average of their weights, which is measured too.
    """

    cost: ModelCost
    stack: "LayerStack"
    tensors: "Mapping[str, torch.Tensor]"
    positions: int | None
    kept: int
    ema: bool

    def cost_of(
        self, plan: GrowthPlan, sources: "Sequence[Mapping[str, torch.Tensor]]"
    ) -> ModelCost:
        """Return what it takes when it is grown by a plan.

        Args:
            plan: The growth.
            sources: Tensors of each source on `meta`, by name.
        """
        from lagsearch.operators.execute.mix import (
            forming_flops,
            make_mix,
            n_operator_parameters,
        )
        from lagsearch.planning.flops import operator_flops
        from lagsearch.planning.memory import learning_bytes

        if plan.learned is None:
            return self.cost.averaged(self.ema)
        mix = make_mix(plan, self.stack, sources, self.tensors)
        forming = forming_flops(mix)
        flops = operator_flops(plan.learned.steps, forming, self.cost.flops_per_step)
        averaged = self.cost.averaged(self.ema)
        memory = averaged.memory_bytes
        if memory is not None and self.cost.memory_bytes is not None:
            sizes = [tensor.numel() for source in sources for tensor in source.values()]
            operator = n_operator_parameters(mix)
            learning = learning_bytes(
                self.cost.memory_bytes, self.cost.parameters, sum(sizes), operator, self.kept
            )
            memory = max(memory, learning)
        return replace(averaged, operator_flops=flops, memory_bytes=memory)

    def check_positions(self, config: Any, length: int) -> None:
        """Check that a sequence has room.

        Raises:
            ModelError: It has not.
        """
        if self.positions is not None and self.positions < length:
            key = stored_name(config, "max_position_embeddings")
            raise ModelError(
                f"{key} {config.max_position_embeddings} has room for {self.positions} tokens, "
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
        kept: See `EmptyModel`, as `ema`.
        counting: How FLOPs are counted.
        evaluated: Tokens of one evaluation.
        ema: Whether there is a moving average.
        checkpointing: Whether layers keep their input alone for the backward pass.
    """

    kind: str
    rows: int
    at_once: int
    length: int
    kept: int
    counting: "Counting"
    evaluated: int
    ema: bool
    checkpointing: bool


_MOST_KEPT = 256
_known: dict[str, EmptyModel] = {}
"""Models that this process worked out, the oldest first: stages, courses and reports plan anew."""


class Models:
    """What configurations lead to in a space, each worked out once."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def of(self, config: Any, batch_size: int | None = None) -> EmptyModel:
        """Return what a configuration leads to.

        Args:
            config: A transformers configuration.
            batch_size: Sequences in a step, where they are not those of `training`.
        """
        space = self._space
        kept = OPTIMIZERS[space.training.optimizer.name].size
        kept += space.training.new_parameters is not None  # their weights before a step
        rows, length = batch_size or space.training.batch_size, space.data.sequence_length
        terms = _Terms(
            kind=objective_kind(space.objective),
            rows=rows,
            at_once=-(-rows // space.training.gradient_accumulation),
            length=length,
            kept=kept,
            counting=space.evaluation.flops,
            evaluated=space.evaluation.batches * evaluated_rows(space, rows) * length,
            ema=space.evaluation.ema is not None,
            checkpointing=bool(space.training.gradient_checkpointing),
        )
        key = digest([plain_config(config), asdict(terms)])
        if key not in _known:
            made = _work_out(config, terms)
            if len(_known) == _MOST_KEPT:
                _known.pop(next(iter(_known)))
            _known[key] = made
        return _known[key]


def _work_out(config: Any, terms: _Terms) -> EmptyModel:
    from lagsearch.models.build import (
        empty_model,
        n_parameters,
        tensors_of,
        usable_positions,
    )
    from lagsearch.models.layers import find_layers, recomputed_layers
    from lagsearch.planning.flops import (
        forward_flops_per_token,
        matrix_parameters,
        training_flops,
    )
    from lagsearch.planning.memory import training_bytes

    model = empty_model(config, terms.kind)
    stack = find_layers(model, config)
    recomputed = recomputed_layers(model, stack) if terms.checkpointing else ()
    forward = forward_flops_per_token(model, config, terms.length, terms.counting)
    cost = ModelCost(
        parameters=n_parameters(model),
        layer_parameters=matrix_parameters(model)["layers"],
        flops_per_step=training_flops(forward, terms.rows * terms.length),
        evaluation_flops=forward * terms.evaluated,
        memory_bytes=training_bytes(
            model, terms.at_once, terms.length, terms.kind, terms.kept, recomputed
        ),
    )
    return EmptyModel(
        cost, stack, tensors_of(model), usable_positions(model, config), terms.kept, terms.ema
    )
