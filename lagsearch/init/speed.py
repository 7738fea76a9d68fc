"""How fast this machine trains a model: a short measurement on random weights and random tokens.

It is made as a search trains: with as many processes at a time as there are slots, each on its own
threads, so that what they take from one another, and what else the machine is busy with, is in it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any

import torch

from lagsearch.errors import ResourceError
from lagsearch.models.build import auto_class
from lagsearch.models.configs import quiet, rebuild_config
from lagsearch.space import Optimizer
from lagsearch.training.optimizer import make_optimizer

_MEASURE_S = 2.0
_MOST_STEPS = 20
_WORK = "from lagsearch.init.speed import work; work()"


@dataclass(frozen=True)
class Speed:
    """How fast one candidate is trained, while others are trained beside it.

    Attributes:
        flops_per_s: Training FLOPs of a candidate in a second.
        slots: Candidates at a time.
    """

    flops_per_s: float
    slots: int


@dataclass(frozen=True)
class Load:
    """What is trained for a measurement.

    Attributes:
        config: The model's configuration as plain values.
        kind: `causal` or `masked`.
        rows: Sequences in a step.
        length: Tokens in a sequence.
        device: `cpu` or `cuda`.
        threads: Of one training.
        seconds: That are measured; one step is done at least.
    """

    config: Mapping[str, Any]
    kind: str
    rows: int
    length: int
    device: str
    threads: int = 1
    seconds: float = _MEASURE_S


def seconds_per_step(load: Load, at_once: int) -> float:
    """Return the seconds of a training step while as many others are trained at once.

    Args:
        load: What is trained; one step before the measurement is not counted.
        at_once: Trainings at a time: more than one have a process each.

    Raises:
        ResourceError: A process ended before it had measured, e.g. for want of memory.
    """
    if at_once == 1:
        step = _training(load)
        step()
        return _measured(step, load.seconds)
    with _workers(at_once) as workers:
        for worker in workers:
            _tell(worker, json.dumps(asdict(load)))
        for worker in workers:
            _heard(worker)  # it is ready
        for worker in workers:
            _tell(worker, "go")
        return sum(float(_heard(worker)) for worker in workers) / at_once


def work() -> None:
    """Measure as one of several processes: told by its input what to train, and when to begin."""
    load = Load(**json.loads(sys.stdin.readline()))
    step = _training(load)
    step()
    _say(sys.stdout, "ready")
    if sys.stdin.readline():  # nothing where whoever waits for this has ended
        _say(sys.stdout, str(_measured(step, load.seconds)))


@contextmanager
def _workers(number: int) -> Iterator[list["subprocess.Popen[str]"]]:
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    workers: list[subprocess.Popen[str]] = []
    try:
        for _ in range(number):
            command = [sys.executable, "-c", _WORK]
            workers.append(
                subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True)
            )
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _tell(worker: "subprocess.Popen[str]", line: str) -> None:
    assert worker.stdin is not None, "it is a pipe"
    try:
        _say(worker.stdin, line)
    except BrokenPipeError:
        raise _ended() from None


def _heard(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None, "it is a pipe"
    if not (line := worker.stdout.readline()):
        raise _ended()
    return line


def _ended() -> ResourceError:
    message = "a process that measures this machine's speed has ended early"
    return ResourceError(message, ("resources",))


def _say(stream: IO[str], line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def _training(load: Load) -> Any:
    """Return a function that does a training step, and waits for its end."""
    quiet()
    config = rebuild_config(load.config)
    with _threads(load.threads), torch.random.fork_rng(devices=[]):
        model: Any = auto_class(load.kind).from_config(config, dtype=torch.float32)
        model = model.to(load.device)
        tokens = torch.randint(0, config.vocab_size, (load.rows, load.length), device=load.device)
    optimizer = make_optimizer(model, Optimizer())

    def step() -> None:
        with _threads(load.threads):
            with torch.autocast(load.device, torch.bfloat16, enabled=load.device == "cuda"):
                loss = model(tokens, labels=tokens).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()  # waits for the device

    return step


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measured(step: Any, limit_s: float) -> float:
    began, steps = time.perf_counter(), 0
    while steps == 0 or (steps < _MOST_STEPS and time.perf_counter() - began < limit_s):
        step()
        steps += 1
    return (time.perf_counter() - began) / steps
