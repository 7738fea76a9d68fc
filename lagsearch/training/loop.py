"""The training loop of one model. It knows of no other candidate and of no scheduler.

Shape letters: B sequences in a batch, T tokens in a sequence, V vocabulary.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from math import isfinite
from typing import Any

import torch
import torch.utils.deterministic
from torch import nn

from lagsearch.display.watch import Progress
from lagsearch.errors import CandidateFailed
from lagsearch.models.attention import leave_out_masks
from lagsearch.models.build import tensors_of
from lagsearch.models.layers import find_layers
from lagsearch.models.shards import local
from lagsearch.records.curve import (
    Curve,
    Evaluation,
    Failure,
    append,
    last_whole,
    level,
    read_curve,
    rewrite,
)
from lagsearch.training.average import Average
from lagsearch.training.compiling import checkpoint_layers, compile_layers
from lagsearch.training.examples import (
    Dropout,
    Examples,
    forward_options,
)
from lagsearch.training.growth import build, grow_job, optimizer_of
from lagsearch.training.job import Compute, Job
from lagsearch.training.loss import Loss
from lagsearch.training.measuring import measure
from lagsearch.training.optimizer import learning_rate, set_rate, state_tensors
from lagsearch.training.pace import Pace
from lagsearch.training.profiling.profile import (
    OFF,
    Off,
    Profile,
    profiling,
)
from lagsearch.training.ramp import Ramp
from lagsearch.training.ranks import ALONE, Ranks
from lagsearch.training.state import SavedAt, load_state, metadata_of, saved_at, state_of

_CHECK_EVERY = 10  # steps between looks at the training losses: each look waits for the device
_TELL_EVERY_S = 1.0


def train(job: Job, until: int, ranks: Ranks = ALONE) -> Generator[Progress, None, None]:
    """Train a job up to a step, from its saved state or from its growth, and save the state there.

    Every evaluation is appended to the job's curve; the same job, interrupted anywhere and begun
    again, gives the same losses bit for bit.

    Args:
        job: What to train.
        until: The step to reach, or the job's completion where that comes first.
        ranks: The processes that train it together; each of them calls this.

    Yields:
        Progress: at the start, after every evaluation and about once a second.

    Raises:
        CandidateFailed: A loss is NaN or infinite; the curve says so too.
        ModelError: The grown model is not sound.
    """
    yield Progress(job.name, 0, None, 0.0)
    with computing(job.compute), profiling(job) as profile:
        try:
            run = _Run(job, profile, ranks)
            with run.saver:
                yield from run.begin()
                yield from run.train(min(until, job.training.steps))
        except CandidateFailed as failed:
            if ranks.is_first:
                append(job.curve, Failure(failed.step, failed.reason))
            raise


def steps_of(job: Job) -> Generator[None, None, None]:
    """Train a job step by step, without evaluations and states, for who measures its steps."""
    with computing(job.compute):
        run = _Run(job)
        for _ in run.begin():
            pass
        run.model.train()
        while run.step < job.training.steps:
            run.ramp.at(run.step)
            run._update()
            yield


class _Run:
    """A model in training: its state, and what is needed to go on."""

    def __init__(self, job: Job, profile: Profile | Off = OFF, ranks: Ranks = ALONE) -> None:
        self.job, self.profile, self.ranks = job, profile, ranks
        self.device = torch.device(job.compute.device)
        self.examples = Examples(job, job.text.stream)
        self.validation = self.examples.validation()
        model = build(job)
        leave_out_masks(model, job.text.sequence_length)
        self.model = ranks.place(model, self.device)
        self.called: Callable[..., Any] = self.model
        self.optimizer = optimizer_of(job, self.model)
        stack = find_layers(self.model, self.model.config)
        self.ramp = Ramp(job.plan, self.model, stack)
        self.pace = Pace(job.training.new_parameters, job.plan, self.model, stack)
        self.step, self.wall_s = 0, 0.0
        self.until: int | None = None
        self.evaluations: list[Evaluation] = []
        self.dropout = Dropout(self.model, job.text.seed, self.device)
        self.losses: list[torch.Tensor] = []
        self.autocast = job.compute.precision == "bf16"
        self.loss = Loss(self.model)
        self.extra = forward_options(job)
        self.average = None if job.ema is None else Average(self.model, job.ema)
        self.saver = ranks.saver(job.state, job.compute.saving, self.device)

    def begin(self) -> Iterator[Progress]:
        """Take up the saved state, or grow.

        A state that is damaged, or behind which evaluations are missing, is not gone on from: all
        is done again, and comes out the same.
        """
        job = self.job
        curve, saved = self.ranks.found(lambda: (read_curve(job.curve), saved_at(job.state)))
        if saved is None or not self._is_covered(curve, saved.step):
            self.wall_s = yield from self._grow()
            if self.average is not None:
                self.average.begin()
        else:
            self.ranks.wait_to_see(job.state, partial(metadata_of, job.state))
            load_state(job.state, self.model, self.optimizer, self.average)
            self.step, self.wall_s = saved.step, saved.wall_s
        self.evaluations = [each for each in curve.evaluations if each.step <= self.step]
        is_longer = len(self.evaluations) < len(curve.evaluations)
        if self.ranks.is_first and (is_longer or curve.failure):
            rewrite(job.curve, self.evaluations)
        if job.training.gradient_checkpointing:
            checkpoint_layers(self.model)
        if job.training.compile and not self.ramp.is_any:
            compile_layers(self.model)
        self.called = self.ranks.wrapped(self.model)

    def _is_covered(self, curve: Curve, step: int) -> bool:
        """Return whether all evaluations before a step are there; the one at it comes after it."""
        return all(curve.at(each) for each in self.job.evaluate_at if each < step)

    def _grow(self) -> Generator[Progress, None, float]:
        """Grow; say about once a second how far learning is, and return its seconds."""
        told = time.perf_counter()
        growing = grow_job(self.job, self.model, self.optimizer, self.ranks)
        while True:
            try:
                learned = next(growing)
            except StopIteration as end:
                return float(end.value)
            if time.perf_counter() - told > _TELL_EVERY_S:
                yield Progress(self.job.name, 0, None, 0.0, learned)
                told = time.perf_counter()

    def train(self, until: int) -> Iterator[Progress]:
        """Train up to a step; see `train`."""
        evaluate_at = set(self.job.evaluate_at) - {each.step for each in self.evaluations}
        told, self.until = time.perf_counter(), until
        self.model.train()
        while True:
            self.ramp.at(self.step)
            now = time.perf_counter()
            if self.step == until or self.ranks.agreed(self.step, lambda: self.saver.is_due):
                self._save()
            if self.step == until:
                self.saver.wait()  # a curve that is over must not come before its state
            if self.step in evaluate_at:
                annealed = yield from self._annealed()
                with self.profile.evaluation():
                    self._evaluate(annealed)
            if self.step in evaluate_at or now - told > _TELL_EVERY_S:
                yield self._progress()
                told = time.perf_counter()
            if self.step == until:
                return
            with self.profile.step(self.step):
                self._update()

    def _save(self) -> None:
        self._check_losses()
        state = state_of(self.model, self.optimizer, self.average)
        self.saver.save(state, SavedAt(self.step, self.wall_s).metadata)

    def _annealed(self) -> Generator[Progress, None, tuple[float, ...]]:
        """Return the loss of each batch after a decay of the rate to zero, where one is asked for.

        The training goes on as if it had not been.
        """
        steps = self.job.annealed.get(self.step, 0)
        if not steps:
            return ()
        began = told = time.perf_counter()
        changed = {**tensors_of(self.model), **state_tensors(self.optimizer, self.model)}
        kept = [local(each) for each in changed.values()]
        before = [each.detach().clone() for each in kept]
        for number in range(steps):
            self.ramp.at(self.step + number)
            self._step(self.step + number, 1 - number / steps)
            if time.perf_counter() - told > _TELL_EVERY_S:
                yield self._progress()
                told = time.perf_counter()
        self.ramp.at(self.step + steps)
        losses, _ = self._measure()
        with torch.no_grad():
            for tensor, value in zip(kept, before, strict=True):
                tensor.copy_(value)
        self.ramp.at(self.step)
        self.wall_s += time.perf_counter() - began
        return losses if all(map(isfinite, losses)) else ()

    def _step(self, step: int, share: float = 1.0) -> torch.Tensor:
        """Do what training does at a step, with a share of its rate; return the loss."""
        job = self.job
        rate = learning_rate(
            step, job.training.steps, job.training.optimizer.lr, job.training.schedule
        )
        set_rate(self.optimizer, rate * share)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradient(step)
        with self.profile.range("optimizer"):
            if job.training.gradient_clip is not None:
                norm = self.ranks.norm(self.pace.gradients(step))
                nn.utils.clip_grads_with_norm_(
                    self.model.parameters(), job.training.gradient_clip, norm
                )
            with self.pace.at(step):
                self.optimizer.step()
        return loss

    def _update(self) -> None:
        """Do one step of training."""
        began = time.perf_counter()
        loss = self._step(self.step)
        if self.average is not None:
            self.average.update()
        self.losses.append(loss)
        self.step += 1
        if len(self.losses) >= _CHECK_EVERY:
            self._check_losses()
        self.wall_s += time.perf_counter() - began

    def _gradient(self, step: int) -> torch.Tensor:
        """Add up the gradient of a step's mean loss, and return that loss."""
        with self.profile.range("data"):
            batch = self.examples(step, is_last=step + 1 == self.until)
        passes, step = self.job.training.gradient_accumulation, self.job.text.behind + step
        if passes * self.ranks.count == 1:
            return self._pass(batch.inputs, batch.labels, 1.0, step)
        pieces = list(batch.passes(passes, self.ranks))
        losses = []
        for each in pieces:
            with self.ranks.adding(is_last=each is pieces[-1]):
                losses.append(self._pass(each.inputs, each.labels, each.share, step, each.number))
        return torch.stack(losses).sum()

    def _pass(
        self, inputs_BT: torch.Tensor, labels_BT: torch.Tensor, share: float, *purpose: int
    ) -> torch.Tensor:
        """Add the gradient of some sequences' mean loss, times their share of the whole."""
        weight = share * self.ranks.count  # of gradients, the mean over processes is taken
        with (
            self.profile.range("forward"),
            self.dropout.of(*purpose),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast),
        ):
            loss = self.loss(self._logits, inputs_BT, labels_BT)
            weighted = loss if weight == 1 else loss * weight
        with self.profile.range("backward"):
            weighted.backward()  # type: ignore[no-untyped-call]
        return loss.detach() if share == 1 else loss.detach() * share

    def _logits(self, inputs_BT: torch.Tensor) -> torch.Tensor:
        """Return the model's logits: (B, T, V)."""
        logits: torch.Tensor = self.called(inputs_BT, **self.extra).logits
        return logits

    def _evaluate(self, annealed: tuple[float, ...]) -> None:
        """Measure the validation loss and write it down, with that of a decay."""
        self._check_losses()
        began = time.perf_counter()
        batches = self.job.thinned.get(self.step)
        losses, by_part = self._measure(batches)
        averaged: tuple[float, ...] = ()
        if self.average is not None:
            with self.average.in_place():
                averaged, _ = self._measure(batches)
        self.wall_s += time.perf_counter() - began
        mean = level(losses, last_whole(self.evaluations))  # as the ranking takes it
        if not isfinite(mean):
            raise CandidateFailed(self.step, f"the validation loss is {mean}")
        evaluation = Evaluation(
            step=self.step,
            val_loss=mean,
            val_loss_batches=losses,
            wall_s=round(self.wall_s, 3),
            flops=self.job.operator_flops + self.step * self.job.flops_per_step,
            parts=by_part if len(by_part) > 1 else {},
            ema_batches=averaged,
            annealed_batches=annealed,
            annealed_flops=self.job.annealed.get(self.step, 0) * self.job.flops_per_step,
        )
        if self.ranks.is_first:
            append(self.job.curve, evaluation)
        self.evaluations.append(evaluation)

    def _measure(
        self, batches: int | None = None
    ) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
        """Return the loss of each validation batch: of the whole, and of each of its parts.

        Args:
            batches: Measure the first ones alone.
        """
        loss_of = partial(self.loss, self._logits)
        return measure(self.job, self.model, self.validation[:batches], loss_of, self.ranks)

    def _check_losses(self) -> None:
        """Fail at the first step whose training loss was not finite."""
        if not self.losses:
            return
        first = self.step - len(self.losses)
        losses = self.ranks.total(torch.stack(self.losses)).tolist()
        self.losses.clear()
        for number, loss in enumerate(losses):
            if not isfinite(loss):
                raise CandidateFailed(first + number, f"the training loss is {loss}")

    def _progress(self) -> Progress:
        loss, at = None, None
        if self.evaluations:
            loss, at = self.evaluations[-1].val_loss, self.evaluations[-1].step
        until = self.job.training.steps if self.until is None else self.until
        to_evaluate = sum(self.step < each <= until for each in self.job.evaluate_at)
        return Progress(
            self.job.name,
            self.step,
            loss,
            self.wall_s,
            to_evaluate=to_evaluate,
            evaluated_at=at,
        )


@contextmanager
def computing(compute: Compute) -> Iterator[None]:
    """Use a number of threads inside, and algorithms that give the same bits again.

    New tensors are not filled first, which torch does besides: none is read before it is written.
    """
    threads, is_strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # its types do not say that it may be set
    is_filling = memory.fill_uninitialized_memory
    torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(is_strict)
        memory.fill_uninitialized_memory = is_filling
