"""The operator's own training: how the target's tensors are mixed is learned before step 0."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite

import torch
from torch import nn
from torch.func import functional_call

from lagsearch.errors import CandidateFailed
from lagsearch.models.build import tensors_of
from lagsearch.models.layers import find_layers
from lagsearch.operators.execute.mix import Mix, make_mix
from lagsearch.operators.plan.learned import Learned
from lagsearch.space import Schedule
from lagsearch.storage.files import derive_seed, write_json
from lagsearch.training.examples import (
    Dropout,
    Examples,
    LossOf,
    evaluating,
    evaluation_passes,
    forward_options,
    weighted,
)
from lagsearch.training.job import Job
from lagsearch.training.loss import Loss
from lagsearch.training.optimizer import learning_rate
from lagsearch.training.ranks import ALONE, Ranks

_CLIP = 1.0
"""Largest norm of the gradient."""


@dataclass(frozen=True)
class Learnt:
    """What came of learning an operator.

    Attributes:
        steps: Training steps of the operator.
        loss_before: Validation loss of the target at the operator's start, nats per token.
        loss_after: The same when it was learned: the candidate's loss at step 0.
        parameters: Of the operator.
    """

    steps: int
    loss_before: float
    loss_after: float
    parameters: int


def learn(
    job: Job,
    model: nn.Module,
    sources: Sequence[Mapping[str, torch.Tensor]],
    ranks: Ranks = ALONE,
) -> Iterator[int]:
    """Learn the plan's mix on the job's objective, and make the model's learned tensors of it.

    The sources, and tensors of the target that are not learned, stay as they are. Batches come
    from a stream of their own, so that the candidate sees those that all others see. What came of
    it is written beside the job's curve.

    Args:
        job: What is grown; nothing happens where its plan learns nothing.
        model: The target, with all that is not learned in place.
        sources: Tensors of each source, by name.
        ranks: The processes that learn it together; each holds the whole model.

    Yields:
        Steps so far, before each.

    Raises:
        CandidateFailed: The loss is NaN or infinite.
        ModelError: Layers that are to be mixed do not fit.
    """
    learned = job.plan.learned
    if learned is None:
        return
    target, device = tensors_of(model), job.compute.device
    frozen = [{name: each[name].to(device) for name in each} for each in sources]
    mix = make_mix(job.plan, find_layers(model, model.config), frozen, target)
    learning = _Learning(job, learned, model, mix, ranks)
    before = learning.loss()
    for step in range(learned.steps):
        yield step
        learning.update(step)
    after = learning.loss() if learned.steps else before
    with torch.no_grad():
        for name, value in learning.tensors().items():
            target[name].copy_(value)
    learnt = Learnt(learned.steps, before, after, mix.sizes.n_parameters)
    if ranks.is_first:
        write_json(job.operator_record, asdict(learnt))


class _Learning:
    """An operator in training."""

    def __init__(
        self, job: Job, learned: Learned, model: nn.Module, mix: Mix, ranks: Ranks
    ) -> None:
        self.job, self.model, self.mix, self.learned = job, model, mix, learned
        self.ranks = ranks
        self.stream = f"{job.text.stream} operator"
        self.examples = Examples(job, self.stream)
        self.mean_loss = Loss(model)
        self.device = torch.device(job.compute.device)
        self.dropout = Dropout(model, job.text.seed, self.device)
        started = mix.start(derive_seed(job.init_seed, "learned"))
        self.parameters = {name: value.requires_grad_() for name, value in started.items()}
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()), lr=learned.lr, weight_decay=0.0
        )
        self.schedule = Schedule(warmup_steps=learned.warmup_steps)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the learned tensors as the model has them."""
        return self.mix(self.parameters)

    def update(self, step: int) -> None:
        """Do one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.learned.steps, self.learned.lr, self.schedule)
        self.model.train()
        made = {name: each for name, each in self.tensors().items() if each.requires_grad}
        parameters = list(self.parameters.values())
        gradients = torch.autograd.grad(
            list(made.values()), parameters, self._gradients(step, made), materialize_grads=True
        )
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, _CLIP)
        self.optimizer.step()

    def _gradients(self, step: int, made: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return the gradient of a step's mean loss by each learned tensor.

        The batch goes through in as many passes as in training; tensors are formed once.
        """
        batch = self.examples(step, is_last=step + 1 == self.learned.steps)
        passes = self.job.training.gradient_accumulation
        leaves = {name: each.detach().requires_grad_() for name, each in made.items()}
        loss_of = self._loss_of(leaves)
        total = [torch.zeros_like(each) for each in leaves.values()]
        is_rough = self.job.compute.precision == "bf16"
        at, is_divided = self.job.text.behind + step, passes * self.ranks.count > 1
        for each in batch.passes(passes, self.ranks):
            with (
                self.dropout.of(self.stream, at, *([each.number] if is_divided else [])),
                torch.autocast(self.device.type, torch.bfloat16, enabled=is_rough),
            ):
                loss = loss_of(each.inputs, each.labels) * each.share
            found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
            torch._foreach_add_(total, found)
        return [self.ranks.total(each) for each in total]

    def loss(self) -> float:
        """Return the validation loss.

        Raises:
            CandidateFailed: It is NaN or infinite.
        """
        self.model.eval()
        passes = evaluation_passes(self.job)
        with torch.no_grad(), evaluating(self.job):
            loss_of = self._loss_of(self.tensors())
            validation = self.examples.validation()
            losses = self.ranks.each(validation, lambda each: each.losses(loss_of, passes))
        self.model.train()
        weights = [weight for _, weight in self.job.text.objective.parts]
        mean = weighted(weights, torch.stack(losses).mean(dim=0).tolist())
        if not isfinite(mean):
            raise CandidateFailed(0, f"the loss of learning the operator is {mean}")
        return mean

    def _loss_of(self, made: Mapping[str, torch.Tensor]) -> LossOf:
        """Return the loss of the target with learned tensors in place."""
        return partial(self.mean_loss, partial(self._logits, made))

    def _logits(self, made: Mapping[str, torch.Tensor], inputs_BT: torch.Tensor) -> torch.Tensor:
        """Return the logits of the target with learned tensors in place: (B, T, V)."""
        out = functional_call(self.model, dict(made), (inputs_BT,), forward_options(self.job))
        logits: torch.Tensor = out.logits
        return logits
