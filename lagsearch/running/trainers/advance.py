"""A job's training, by whoever does it: lagsearch's own loop, or a trainer of the user's own.

Both leave the same: evaluations in the curve, and a state at the step that was to be reached.
"""

import gc
import importlib
import shutil
import time
import traceback
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import fsum, isfinite
from pathlib import Path
from typing import Any

import torch

from lagsearch.display.watch import Progress
from lagsearch.errors import (
    CandidateFailed,
    LagsearchError,
    ModelError,
    TrainerError,
    brief,
    reason_of,
)
from lagsearch.models.build import bare_model, tensors_of
from lagsearch.models.checkpoints import open_checkpoint
from lagsearch.models.configs import rebuild_config
from lagsearch.records.curve import Evaluation, Failure, append, read_curve, rewrite
from lagsearch.records.logged_losses import Logged, LoggedLosses
from lagsearch.running.growing import grow_to_folder
from lagsearch.running.trainers.job import Call, TrainerJob, command_words
from lagsearch.running.trainers.process import last_words, running_command
from lagsearch.running.workers.team import StartRanks, start_here, train_together
from lagsearch.storage.files import naming
from lagsearch.training.examples import Examples, forward_options
from lagsearch.training.job import Job
from lagsearch.training.loop import computing, train
from lagsearch.training.loss import Loss
from lagsearch.training.measuring import measure
from lagsearch.training.state import SavedAt, load_weights, save_state, saved_at

_POLL_S = 0.2
_TELL_EVERY_S = 1.0

Signs = Generator[Progress, None, None]


def advance(job: Job, until: int, start: StartRanks = start_here) -> Signs:
    """Train a job up to a step, from where it is; see `lagsearch.training.loop.train`.

    Args:
        job: What to train, and by what.
        until: The step to reach.
        start: Starts the processes of a job of several devices.

    Raises:
        CandidateFailed: A loss is NaN or infinite; the curve says so too.
        LagsearchError: It cannot be trained; another try may end otherwise.
        RankLost: A process in another place of a cluster is gone.
    """
    if not isinstance(job, TrainerJob):
        alone = job.compute.devices == 1
        yield from train(job, until) if alone else train_together(job, until, start)
        return
    yield Progress(job.name, 0, None, 0.0)
    try:
        with computing(job.compute):
            yield from _Elsewhere(job).reach(min(until, job.training.steps))
    except CandidateFailed as failed:
        append(job.curve, Failure(failed.step, failed.reason))
        raise


@dataclass(frozen=True)
class _Begun:
    """From where a trainer goes on.

    Attributes:
        step: Steps behind it; 0 is the grown model.
        wall_s: Seconds behind it.
        path: The trainer's own checkpoint; None for the grown model.
    """

    step: int = 0
    wall_s: float = 0.0
    path: Path | None = None


class _Elsewhere:
    """A job that a trainer of the user's own does."""

    def __init__(self, job: TrainerJob) -> None:
        self.job = job
        self.is_measured_here = job.trainer.evaluate == "lagsearch"
        self.evaluations: list[Evaluation] = []
        self.steps_logged: dict[int, float] = {}
        """Of a function: losses by step."""

    @property
    def checkpoint(self) -> Path:
        """The grown model."""
        return self.job.own / "checkpoint"

    def reach(self, until: int) -> Signs:
        """Bring curve and state to a step.

        Where all steps share one checkpoint, the trainer stops wherever it is to be measured.
        """
        job, saved = self.job, saved_at(self.job.state)
        done = saved.step if saved else 0
        stops = () if job.has_steps or not self.is_measured_here else job.evaluate_at
        for step in (*(each for each in stops if done < each < until), until):
            yield from self._reach(step)

    def _reach(self, until: int) -> Signs:
        job = self.job
        saved = saved_at(job.state)
        begun = self._begun(until, saved)
        curve = read_curve(job.curve)
        known = max(begun.step, saved.step if saved else 0)
        self.evaluations = [each for each in curve.evaluations if each.step <= known]
        if len(self.evaluations) < len(curve.evaluations) or curve.failure:
            rewrite(job.curve, self.evaluations)
        yield from self._grow()
        if saved is not None:
            self._evaluate_saved(saved)
        if saved is None or saved.step < until:
            began = time.monotonic()
            yield from self._train(begun, until)
            saved = SavedAt(until, round(begun.wall_s + time.monotonic() - began, 3))
            yield from self._take_up(begun, saved)
            self._evaluate_saved(saved)
        yield self._progress(until)

    def _begun(self, until: int, saved: SavedAt | None) -> _Begun:
        """Return from where to go on."""
        if not (step := self.job.goes_on_from(until)):
            return _Begun()
        return _Begun(step, saved.wall_s if saved else 0.0, self.job.path_at(step))

    @cached_property
    def _losses(self) -> LoggedLosses | None:
        return self.job.losses()

    def _logged(self) -> Logged:
        """Return what the trainer has logged.

        Raises:
            CurvesError: It needs a library that is not installed.
        """
        return Logged() if self._losses is None else self._losses.read()

    def _grow(self) -> Signs:
        """Have the grown model on the disk, and measured."""
        job = self.job
        for learned in grow_to_folder(job, job.growth, job.beside, self.checkpoint):
            yield Progress(job.name, 0, None, 0.0, learned)
        is_known = any(each.step == 0 for each in self.evaluations)
        if self.is_measured_here and 0 in job.evaluate_at and not is_known:
            self._measure(SavedAt(0, 0.0), self._loaded(self.checkpoint, 0))
            yield self._progress(0)

    def _train(self, begun: _Begun, until: int) -> Signs:
        """Have the trainer train to a step.

        Raises:
            CandidateFailed: It logs a loss that is no number.
            TrainerError: It fails, or comes to no end that can be used.
        """
        job, trainer = self.job, self.job.trainer
        if begun.path is None:
            shutil.rmtree(job.out, ignore_errors=True)
            job.output.unlink(missing_ok=True)
        for step in (each for each in job.written() if each > begun.step):
            _remove(job.path_at(step))  # of a trainer that was killed
        if begun.path is not None and not job.has_steps:
            _copy(job.kept, begun.path)  # a killed trainer may have been writing it
        job.out.mkdir(parents=True, exist_ok=True)
        call = Call(
            name=job.name,
            checkpoint=self.checkpoint,
            out=job.out,
            steps=until,
            total_steps=job.training.steps,
            seed=job.text.seed,
            last=begun.path,
            step=begun.step,
        )
        if trainer.python is not None:
            yield from self._call(trainer.python, call, begun)
        else:
            command = trainer.resume if begun.path is not None else trainer.command
            yield from self._run(command or "", call, begun)
        self._check_end(until)
        if not job.path_at(until).exists():
            raise TrainerError(self._nothing_at(until))

    def _run(self, command: str, call: Call, begun: _Begun) -> Signs:
        """Run a command, and follow its losses."""
        job = self.job
        words = command_words(command, call.values)
        threads = {"OMP_NUM_THREADS": str(job.compute.threads)}
        began = told = time.monotonic()
        with running_command(words, job.output, job.where, threads) as process:
            while process.poll() is None:
                time.sleep(_POLL_S)
                if (now := time.monotonic()) - told > _TELL_EVERY_S:
                    self._check_numbers(self._logged(), begun.step)
                    yield self._sign(self._logged(), begun, now - began)
                    told = now
        self._check_numbers(self._logged(), begun.step)
        if process.returncode:
            said = brief(last_words(job.output))
            raise TrainerError(
                f"the trainer ended with exit code {process.returncode}: {said} ({job.output})"
            )

    def _call(self, name: str, call: Call, begun: _Begun) -> Signs:
        """Call a function, and follow the losses that it yields."""
        began = told = time.monotonic()
        with closing(_steps_of(name, call, self.job.output)) as steps:
            for step, loss in steps:
                self.steps_logged[step] = loss
                logged = Logged({step: loss}, key="loss")
                self._check_numbers(logged, begun.step)
                if (now := time.monotonic()) - told > _TELL_EVERY_S:
                    yield self._sign(logged, begun, now - began)
                    told = now

    def _check_numbers(self, logged: Logged, behind: int) -> None:
        """Check the losses behind a step.

        Raises:
            CandidateFailed: One is no finite number.
        """
        if logged.broken is not None and logged.broken[0] > behind:
            step, loss = logged.broken
            raise CandidateFailed(step, f"the trainer logged a loss of {loss}")

    def _check_end(self, until: int) -> None:
        """Check that it came to the step, where its last checkpoint has no step in its name."""
        logged = self._logged()
        last = max(self.steps_logged, default=logged.last)
        if self.job.has_steps or last >= until:
            return
        lacking = f"its last loss is of step {last}" if last else logged.lacking()
        raise TrainerError(f"the trainer ended before step {until}: {lacking} ({self.job.output})")

    def _nothing_at(self, step: int) -> str:
        """Say what is there in place of a step's checkpoint."""
        job = self.job
        written = job.written()
        if written:
            return (
                f"the trainer ended before step {step}: its last checkpoint is {written[-1]} "
                f"({job.output})"
            )
        return f"the trainer wrote no checkpoint {job.path_at(step)} ({job.output})"

    def _take_up(self, begun: _Begun, end: SavedAt) -> Signs:
        """Measure what the trainer left on its way, and save its end as the job's state.

        Seconds on the way are shared out by steps.
        """
        job = self.job
        known = {0, *(each.step for each in self.evaluations)}
        for step in (each for each in job.evaluate_at if each < end.step and each not in known):
            share = max(0, step - begun.step) / (end.step - begun.step)
            at = SavedAt(step, round(begun.wall_s + share * (end.wall_s - begun.wall_s), 3))
            if self.is_measured_here:
                self._measure(at, self._loaded(self._exported(step, end.step), step))
            else:
                self._note(at, self._loss_at(step))
            yield self._progress(step)
        model = self._loaded(self._exported(end.step, end.step), end.step)
        if not self.is_measured_here:
            self._note(end, self._loss_at(end.step))  # before it counts as trained
        if not job.has_steps:
            _copy(job.path_at(end.step), job.kept)
        save_state(job.state, model, None, end)
        shutil.rmtree(job.own / "exported", ignore_errors=True)

    def _evaluate_saved(self, at: SavedAt) -> None:
        """Evaluate the state, where that is still to be done."""
        if any(each.step == at.step for each in self.evaluations):
            return
        if not self.is_measured_here:
            self._note(at, self._loss_at(at.step))
            return
        model = bare_model(rebuild_config(self.job.config), self.job.text.objective.kind)
        load_weights(self.job.state, model)
        self._measure(at, model)

    def _loss_at(self, step: int) -> tuple[float]:
        """Return what the trainer measured at a step, as the one batch of an evaluation.

        Raises:
            TrainerError: It logged nothing there.
        """
        logged = self._logged()
        own = {**logged.losses, **self.steps_logged}
        if step in own:
            return (own[step],)
        shown = ", ".join(map(str, sorted(own)[:12]))
        lacking = f"it has losses at {shown}" if own else logged.lacking()
        raise TrainerError(f"the trainer logged no loss at step {step}: {lacking}")

    def _exported(self, step: int, last: int) -> Path:
        """Return the Hugging Face folder of a step's checkpoint, made where that is needed.

        Raises:
            TrainerError: There is none, or that of the last step is in its place.
        """
        job, path = self.job, self.job.path_at(step)
        if step != last and not job.has_steps:
            raise TrainerError(f"{path} is of step {last}, and step {step} is to be measured")
        if not path.exists():
            raise TrainerError(
                f"the trainer wrote no checkpoint {path}, and step {step} is to be measured"
            )
        if (export := job.trainer.checkpoints.export) is None:
            return path
        made = job.own / "exported"
        shutil.rmtree(made, ignore_errors=True)
        folders = {"path": str(path), "hf": str(made), "checkpoint": str(self.checkpoint)}
        words = command_words(export, {**folders, "step": step})
        with running_command(words, job.output, job.where) as process:
            code = process.wait()
        if code:
            said = brief(last_words(job.output))
            raise TrainerError(f"checkpoints.export ended with exit code {code}: {said}")
        if not made.is_dir():
            raise TrainerError(f"checkpoints.export made no {{hf}} of {path} ({job.output})")
        return made

    def _loaded(self, folder: Path, step: int) -> Any:
        """Load a Hugging Face folder as the job's model, in fp32.

        Raises:
            CandidateFailed: It holds what is no number.
            TrainerError: It is none, or of another model.
        """
        job = self.job
        model = bare_model(rebuild_config(job.config), job.text.objective.kind)
        try:
            opened = open_checkpoint(folder, job.text.objective.kind)
            opened.check_whole()
            with torch.no_grad():
                for name, tensor in tensors_of(model).items():
                    if opened.tensors.shape(name) != tuple(tensor.shape):
                        raise ModelError(f"{name} has another shape than the grown model's")
                    tensor.copy_(opened.tensors[name])
        except (ModelError, KeyError) as error:
            raise TrainerError(
                f"the checkpoint of step {step} cannot be read: "
                + brief(str(error).replace(f"{folder}/", ""))
            ) from None
        opened.tensors.release()
        return model

    def _measure(self, at: SavedAt, model: Any) -> None:
        job = self.job
        validation = Examples(job, job.text.stream).validation()
        model, options = model.to(job.compute.device), forward_options(job)
        loss_of = partial(Loss(model), lambda inputs_BT: model(inputs_BT, **options).logits)
        losses, by_part = measure(job, model, validation, loss_of)
        model.to("meta")  # what is trained next may need the device for itself
        if job.compute.device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
        self._note(at, losses, by_part if len(by_part) > 1 else {})

    def _note(
        self,
        at: SavedAt,
        losses: tuple[float, ...],
        parts: dict[str, tuple[float, ...]] | None = None,
    ) -> None:
        """Append an evaluation to the curve."""
        job, mean = self.job, fsum(losses) / len(losses)
        if not isfinite(mean):
            raise CandidateFailed(at.step, f"the validation loss is {mean}")
        flops = job.operator_flops + at.step * job.flops_per_step
        evaluation = Evaluation(at.step, mean, losses, at.wall_s, flops, parts or {})
        append(job.curve, evaluation)
        self.evaluations.append(evaluation)

    def _sign(self, logged: Logged, begun: _Begun, wall_s: float) -> Progress:
        """Return how far the trainer says that it is."""
        step = max(begun.step, logged.last)
        sign = replace(self._progress(step), wall_s=begun.wall_s + wall_s)
        if step not in logged.losses:
            return sign
        return replace(sign, val_loss=logged.losses[step], evaluated_at=step)

    def _progress(self, step: int) -> Progress:
        if not self.evaluations:
            return Progress(self.job.name, step, None, 0.0)
        last = self.evaluations[-1]
        return Progress(self.job.name, step, last.val_loss, last.wall_s, evaluated_at=last.step)


def load_function(name: str) -> Any:
    """Return a function by `package.module:function`.

    Raises:
        TrainerError: There is none.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise TrainerError(f"cannot be imported: {brief(error)}") from None
    except (Exception, SystemExit) as error:  # a module of the user's does what it likes
        raise TrainerError(f"cannot be imported: {reason_of(error)}") from None
    if not callable(found):
        raise TrainerError("is no function")
    return found


def _steps_of(name: str, call: Call, output: Path) -> Generator[tuple[int, float], None, None]:
    """Yield what a function yields: steps and losses, the mean of those of several batches.

    Args:
        name: The function's.
        call: What it is called with.
        output: The file that takes the traceback of what it raises.

    Raises:
        TrainerError: It fails, or yields something else.
    """
    function = load_function(name)
    try:
        for each in function(call) or ():
            yield _step_of(each)
    except LagsearchError:
        raise
    except (Exception, SystemExit) as error:  # also an OSError: it is the user's, not lagsearch's
        output.parent.mkdir(parents=True, exist_ok=True)
        with naming(output), output.open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        raise TrainerError(f"{name} failed: {reason_of(error)} ({output})") from None


def _step_of(yielded: Any) -> tuple[int, float]:
    try:
        step, losses = yielded
        several = losses if isinstance(losses, list | tuple) else (losses,)
        return int(step), fsum(map(float, several)) / len(several)
    except (TypeError, ValueError, ZeroDivisionError):
        message = f"the trainer yielded {brief(repr(yielded))}, not a step and its losses"
        raise TrainerError(message) from None


def _copy(path: Path, to: Path) -> None:
    """Copy a checkpoint, a file or a folder, in place of another one."""
    _remove(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, to)
    else:
        shutil.copy(path, to)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
