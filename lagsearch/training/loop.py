"""The training loop of one model. It knows of no other candidate and of no scheduler.

Shape letters: B sequences in a batch, T tokens in a sequence, V vocabulary.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import fsum, isfinite

import torch
from torch import nn

from lagsearch.errors import CandidateFailed
from lagsearch.models.layers import find_layers
from lagsearch.training.curve import Evaluation, Failure, append, read_curve, rewrite
from lagsearch.training.examples import Dropout, Examples, forward_options, mean_loss
from lagsearch.training.growth import build, grow
from lagsearch.training.job import Compute, Job
from lagsearch.training.optimizer import learning_rate, make_optimizer
from lagsearch.training.profile import OFF, Off, Profile, profiling
from lagsearch.training.ramp import Ramp
from lagsearch.training.state import SavedAt, load_state, save_state, saved_at

_CHECK_EVERY = 10  # steps between looks at the training losses: each look waits for the device
_TELL_EVERY_S = 1.0


@dataclass(frozen=True)
class Progress:
    """A sign of life.

    Attributes:
        name: The job's name.
        step: Updates so far.
        val_loss: The newest validation loss, nats per predicted token, if there is one.
        wall_s: Seconds of training and evaluation so far.
        learned: Steps so far of learning its operator, while that goes on.
    """

    name: str
    step: int
    val_loss: float | None
    wall_s: float
    learned: int | None = None


def train(job: Job, until: int) -> Generator[Progress, None, None]:
    """Train a job up to a step, from its saved state or from its growth, and save the state there.

    Every evaluation is appended to the job's curve; the same job, interrupted anywhere and begun
    again, gives the same losses bit for bit.

    Args:
        job: What to train.
        until: The step to reach, at most `job.training.steps`.

    Yields:
        Progress: at the start, after every evaluation and about once a second.

    Raises:
        CandidateFailed: A loss is NaN or infinite; the curve says so too.
        ModelError: The grown model is not sound.
    """
    yield Progress(job.name, 0, None, 0.0)
    with _compute(job.compute), profiling(job) as profile:
        try:
            run = _Run(job, profile)
            yield from run.begin()
            yield from run.train(until)
        except CandidateFailed as failed:
            append(job.curve, Failure(failed.step, failed.reason))
            raise


class _Run:
    """A model in training: its state, and what is needed to go on."""

    def __init__(self, job: Job, profile: Profile | Off = OFF) -> None:
        self.job, self.profile = job, profile
        self.device = torch.device(job.compute.device)
        self.examples = Examples(job, job.text.stream)
        self.validation = self.examples.validation()
        self.model = build(job).to(self.device)
        self.optimizer = make_optimizer(self.model, job.training.optimizer)
        self.ramp = Ramp(job.plan, self.model, find_layers(self.model, self.model.config))
        self.step, self.wall_s = 0, 0.0
        self.evaluations: list[Evaluation] = []
        self.dropout = Dropout(self.model, job.text.seed, self.device)
        self.losses: list[torch.Tensor] = []
        self.autocast = job.compute.precision == "bf16"
        self.extra = forward_options(job)

    def begin(self) -> Iterator[Progress]:
        """Take up the saved state, or grow."""
        job = self.job
        saved = saved_at(job.state)
        if saved is None:
            self.wall_s = yield from self._grow()
        else:
            load_state(job.state, self.model, self.optimizer)
            self.step, self.wall_s = saved.step, saved.wall_s
        curve = read_curve(job.curve)
        self.evaluations = [each for each in curve.evaluations if each.step <= self.step]
        if len(self.evaluations) < len(curve.evaluations) or curve.failure:
            rewrite(job.curve, self.evaluations)

    def _grow(self) -> Generator[Progress, None, float]:
        """Grow; say about once a second how far learning is, and return its seconds."""
        told = time.perf_counter()
        growing = grow(self.job, self.model, self.optimizer)
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
        told = saved = time.perf_counter()
        self.model.train()
        while True:
            self.ramp.at(self.step)
            now = time.perf_counter()
            if self.step == until or now - saved > self.job.compute.save_every_s:
                self._save()
                saved = now
            if self.step in evaluate_at:
                with self.profile.evaluation():
                    self._evaluate()
            if self.step in evaluate_at or now - told > _TELL_EVERY_S:
                yield self._progress()
                told = time.perf_counter()
            if self.step == until:
                return
            with self.profile.step(self.step):
                self._update()

    def _save(self) -> None:
        self._check_losses()
        at = SavedAt(self.step, self.wall_s)
        save_state(self.job.state, self.model, self.optimizer, at)

    def _update(self) -> None:
        """Do one step of training."""
        began = time.perf_counter()
        job, step = self.job, self.step
        rate = learning_rate(
            step, job.training.steps, job.training.optimizer.lr, job.training.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.profile.range("data"):
            inputs_BT, labels_BT = self.examples(step)
        with (
            self.profile.range("forward"),
            self.dropout.of(step),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast),
        ):
            logits_BTV = self.model(inputs_BT, **self.extra).logits
            loss = mean_loss(logits_BTV, labels_BT)
        self.optimizer.zero_grad(set_to_none=True)
        with self.profile.range("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with self.profile.range("optimizer"):
            if job.training.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), job.training.gradient_clip)
            self.optimizer.step()
        self.losses.append(loss.detach())
        self.step += 1
        if len(self.losses) >= _CHECK_EVERY:
            self._check_losses()
        self.wall_s += time.perf_counter() - began

    def _evaluate(self) -> None:
        """Measure the validation loss in fp32 and write it down."""
        self._check_losses()
        began = time.perf_counter()
        self.model.eval()
        with torch.inference_mode():
            batches = [
                mean_loss(self.model(inputs_BT, **self.extra).logits, labels_BT)
                for inputs_BT, labels_BT in self.validation
            ]
            losses: list[float] = torch.stack(batches).tolist()
        self.model.train()
        self.wall_s += time.perf_counter() - began
        mean = fsum(losses) / len(losses)  # as the ranking takes it
        if not isfinite(mean):
            raise CandidateFailed(self.step, f"the validation loss is {mean}")
        evaluation = Evaluation(
            step=self.step,
            val_loss=mean,
            val_loss_batches=tuple(losses),
            wall_s=round(self.wall_s, 3),
            flops=self.job.operator_flops + self.step * self.job.flops_per_step,
        )
        append(self.job.curve, evaluation)
        self.evaluations.append(evaluation)

    def _check_losses(self) -> None:
        """Fail at the first step whose training loss was not finite."""
        if not self.losses:
            return
        first = self.step - len(self.losses)
        losses = torch.stack(self.losses).tolist()
        self.losses.clear()
        for number, loss in enumerate(losses):
            if not isfinite(loss):
                raise CandidateFailed(first + number, f"the training loss is {loss}")

    def _progress(self) -> Progress:
        val_loss = self.evaluations[-1].val_loss if self.evaluations else None
        return Progress(self.job.name, self.step, val_loss, self.wall_s)


@contextmanager
def _compute(compute: Compute) -> Iterator[None]:
    """Use a number of threads inside, and algorithms that give the same bits again."""
    threads, is_strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(is_strict)
