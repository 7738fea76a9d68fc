"""Candidates in parallel in reused Ray actors. The only module that imports ray.

Ray Tune places, starts and reuses workers; nothing is ever restored from its state. What a
candidate did is in its own files.
"""

import gc
import logging
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
if not os.environ.get("RAY_ADDRESS"):
    # despite its name it holds on Linux too: without clusters Ray listens on the loopback address
    # alone, and otherwise on all
    _QUIET["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
elif os.environ.get("RAY_AUTH_TOKEN") or (Path.home() / ".ray" / "auth_token").is_file():
    _QUIET["RAY_AUTH_MODE"] = "token"  # a cluster by its address is not asked for it otherwise
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  (ray reads these variables when it is imported)
from ray import tune  # noqa: E402
from ray._private import worker as ray_worker  # noqa: E402

from lagsearch.display.watch import Progress, Watch  # noqa: E402
from lagsearch.errors import ResourceError, brief, reason_of  # noqa: E402
from lagsearch.running.interrupts import SIGNALS, kept  # noqa: E402
from lagsearch.running.trainers.advance import advance  # noqa: E402
from lagsearch.running.workers.serial import Finished, Outcome, Runner  # noqa: E402
from lagsearch.running.workers.slots import Slots  # noqa: E402
from lagsearch.training.job import Job  # noqa: E402

logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # failures are told by the watch

_FOR_WORKERS = ("GOMP_SPINCOUNT", "CUBLAS_WORKSPACE_CONFIG")
"""What the workers of a cluster must have as this process has it; local ones inherit it."""


_TRIES = 3
"""How often a candidate is tried again at once when its worker dies; it goes on from its state."""


class _Worker(tune.Trainable):  # type: ignore[misc]
    """One slot: trains candidate after candidate; each `step` is one sign of life."""

    def setup(self, config: dict[str, Any], jobs: Mapping[str, Job], until: int) -> None:
        self._jobs, self._until = jobs, until
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._signs.close()
        gc.collect()  # a model is full of cycles; the next one needs its memory
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._signs = advance(self._jobs[config["candidate"]], self._until)

    def step(self) -> dict[str, Any]:
        try:
            sign = next(self._signs, None)
        except OSError as error:  # a full disk, say, is no fault of a candidate's
            return {"stopped": (error.errno, error.strerror, error.filename), "done": True}
        except Exception as error:  # one candidate's mishap must not end its worker
            return {"failed": reason_of(error), "done": True}
        return {"done": True} if sign is None else {"sign": sign}

    def cleanup(self) -> None:
        self._signs.close()


class _Cause(logging.Filter):
    """Takes the error of a dead worker out of the twenty lines that Tune logs of it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = "not known why"

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear what Tune logs in a block, and keep it from being shown."""
        logger = logging.getLogger("ray.tune.execution.tune_controller")
        logger.addFilter(self)
        try:
            yield
        finally:
            logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ray.exceptions.OutOfMemoryError):
            self.text = "the machine ran out of memory"
        elif isinstance(error, ray.exceptions.RayActorError):
            self.text = "it crashed or was killed, as a system does where memory runs out"
        elif error is not None:
            self.text = brief(Exception((str(error).strip().splitlines() or [repr(error)])[-1]))
        return error is None


class _Follow(tune.Callback):  # type: ignore[misc]
    """Hands what Tune hears from the workers to the watch."""

    def __init__(
        self, jobs: Mapping[str, Job], watch: Watch, finished: Finished, noted: list[int]
    ) -> None:
        self.jobs, self.watch, self.finished = jobs, watch, finished
        self.noted = noted
        self.waiting = ExitStack()
        self.cause = _Cause()
        self.failures: dict[str, str] = {}
        self.stopped: OSError | None = None
        self.began: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks and calls this very one: a live table cannot be pickled."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._heed()
        if self.began is None:
            self.began = time.monotonic()
            self.waiting.close()
        name = trial.config["candidate"]
        sign: Progress | None = result.get("sign")
        if sign is not None:
            self.watch.progress(sign)
        elif "stopped" in result:
            self.stopped = OSError(*result["stopped"])
        elif "failed" in result:
            self._fail(name, result["failed"])
        else:
            self.finished(self.jobs[name])
            self.watch.finished(name)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._heed()
        self._fail(trial.config["candidate"], f"its worker died: {self.cause.text}")

    def _heed(self) -> None:
        if self.noted:
            raise KeyboardInterrupt

    def _fail(self, name: str, reason: str) -> None:
        self.failures[name] = reason
        self.watch.failed(name, reason)


@contextmanager
def open_ray(slots: Slots) -> Iterator[Runner]:
    """Give a runner that trains as many jobs at a time as there are slots.

    Ray starts with its first call and stays until the end of the block, however often it is called.

    Args:
        slots: Where candidates run.
    """
    with ExitStack() as stack:
        number: list[int] = []

        def runner(jobs: Sequence[Job], until: int, watch: Watch, finished: Finished) -> Outcome:
            if not number:
                number.append(stack.enter_context(_ray(slots, watch)))
            return _run(jobs, until, slots, watch, finished, number[0])

        yield runner


def _run(
    jobs: Sequence[Job], until: int, slots: Slots, watch: Watch, finished: Finished, number: int
) -> Outcome:
    """Train jobs to a step.

    Args:
        jobs: What to train.
        until: The step to reach.
        slots: Where they run.
        watch: Follows.
        finished: Is called in this process with each job that reached the step.
        number: Jobs at a time.

    Raises:
        OSError: A worker could not read or write a file.
    """
    by_name = {job.name: job for job in jobs}
    worker = tune.with_parameters(_Worker, jobs=by_name, until=until)
    with (
        _noted_interrupts() as noted,
        tempfile.TemporaryDirectory(prefix="lagsearch-") as scratch,
    ):
        follow = _Follow(by_name, watch, finished, noted)
        tuner = tune.Tuner(
            tune.with_resources(worker, {"cpu": slots.all_cpus, "gpu": slots.all_gpus}),
            param_space={"candidate": tune.grid_search(list(by_name))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                callbacks=[follow],
                failure_config=tune.FailureConfig(max_failures=_TRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        with follow.waiting, follow.cause.heard():
            follow.waiting.enter_context(watch.doing("starting the workers", is_brief=True))
            tuner.fit()
        if noted:
            raise KeyboardInterrupt
        if follow.stopped is not None:
            raise follow.stopped
    return Outcome(follow.failures, follow.began or time.monotonic(), number)


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Note every Ctrl-C: an exception out of a signal is lost where Python cannot raise one.

    That is so in a callback from C, of which Ray has many.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # signals are not ours to handle
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ray(slots: Slots, watch: Watch) -> Iterator[int]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; give the slots."""
    address = os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {
        "address": "local",
        "num_cpus": slots.all_cpus * slots.number,
        "num_gpus": math.ceil(slots.all_gpus * slots.number),
    }
    given = {name: os.environ[name] for name in _FOR_WORKERS if name in os.environ}
    joined = {"address": address, "runtime_env": {"env_vars": given}}
    try:
        with kept(), watch.doing("starting Ray"):
            ray.init(
                **(joined if address else own),
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="ERROR",
            )
    except SystemExit:  # how Ray itself takes a SIGTERM while it starts
        raise KeyboardInterrupt from None
    except (RuntimeError, OSError, ValueError) as error:  # a busy machine, a cluster that is gone
        ray.shutdown()
        reason = " ".join(str(error).split())[:200]
        where = f"the cluster at {address}" if address else "this machine"
        message = f"Ray cannot start on {where}: {reason}; try again, or use --serial"
        raise ResourceError(message, ("resources",)) from error
    # Ray prints of a dead worker what is no use to a person, to the standard output
    printed, ray_worker.print_to_stdstream = ray_worker.print_to_stdstream, _unheard
    try:
        yield _slots_in([node["Resources"] for node in ray.nodes() if node["Alive"]], slots)
    finally:
        with watch.doing("stopping Ray", is_brief=True):
            ray.shutdown()
        ray_worker.print_to_stdstream = printed


def _unheard(data: Any, ignore_prefix: bool) -> None:
    pass


def _slots_in(nodes: Sequence[Mapping[str, float]], slots: Slots) -> int:
    """Return how many candidates fit at a time on nodes with these resources.

    Raises:
        ResourceError: Not one does: Ray would wait for ever.
    """
    number = 0
    for resources in nodes:
        here = resources.get("CPU", 0) // slots.all_cpus
        if slots.gpus:
            here = min(here, resources.get("GPU", 0) // slots.all_gpus)
        number += int(here)
    if number < 1:
        message = (
            f"no node of the cluster holds one candidate ({slots.all_cpus} CPUs, "
            f"{slots.all_gpus} GPUs)"
        )
        raise ResourceError(message, ("resources",))
    return number
