"""Candidates in parallel in reused Ray actors.

Ray Tune places, starts and reuses workers; nothing is ever restored from its state. What a
candidate did is in its own files.
"""

import gc
import logging
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from lagsearch.display.watch import Progress, Watch
from lagsearch.errors import reason_of
from lagsearch.records.devices import TrainedOn, note_devices, trained_on
from lagsearch.running.interrupts import SIGNALS
from lagsearch.running.trainers.advance import advance
from lagsearch.running.workers.cluster import (  # before ray: it sets it up
    can_hold,
    cause_of,
    cause_of_loss,
    is_joined,
    names_of_nodes,
    started,
)
from lagsearch.running.workers.gpu_use import measure_gpu_use
from lagsearch.running.workers.nodes import Node, near
from lagsearch.running.workers.rank import free_model
from lagsearch.running.workers.serial import Finished, Outcome, Runner
from lagsearch.running.workers.slots import Slots, share_by_use, with_fewest_on_a_gpu
from lagsearch.running.workers.spread import Place, WorkerPlaces, place_here
from lagsearch.running.workers.team import RankLost
from lagsearch.training.job import Job

import ray  # isort: skip
from ray import tune  # isort: skip

logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # failures are told by the watch

_TRIES = 3
"""How often a candidate is tried again at once when its worker dies; it goes on from its state."""

_SILENT_S = 30.0
"""Workers tell of themselves every second or so; after this long the nodes are looked at."""


class _Worker(tune.Trainable):  # type: ignore[misc]
    """One slot: trains candidate after candidate; each `step` is one sign of life."""

    def setup(self, config: dict[str, Any], jobs: Mapping[str, Job], until: int) -> None:
        gc.freeze()  # what was imported is no garbage, and takes half a second to look through
        self._jobs, self._until, self._places = jobs, until, WorkerPlaces()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._signs.close()
        free_model()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        job = self._jobs[config["candidate"]]
        alone = job.compute.devices == 1  # several read what is near to each of them
        self._signs = advance(near(job) if alone else job, self._until, self._places.start)
        self._device = job.compute.device
        self._used: list[Place] = []

    def step(self) -> dict[str, Any]:
        try:
            sign = next(self._signs, None)
            self._used = self._used or self._places.used or [place_here(self._device)]
        except RankLost:  # it is given other places
            raise
        except OSError as error:  # a full disk, say, is no fault of a candidate's
            return {"stopped": (error.errno, error.strerror, error.filename), "done": True}
        except Exception as error:  # one candidate's mishap must not end its worker
            return {"failed": reason_of(error), "done": True}
        return {"done": True} if sign is None else {"sign": sign, "places": self._used}

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
        if isinstance(error, RankLost):  # and one of Ray's, whose words are many lines
            self.text = str(getattr(error, "cause", error))
        elif error is not None:
            self.text = cause_of_loss(error)
        return error is None


class _Follow(tune.Callback):  # type: ignore[misc]
    """Hands what Tune hears from the workers to the watch."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        slots: Slots,
        watch: Watch,
        finished: Finished,
        noted: list[int],
    ) -> None:
        self.jobs, self.slots, self.watch, self.finished = jobs, slots, watch, finished
        self.noted = noted
        self.heard, self.is_waiting = time.monotonic(), False
        self.nodes = names_of_nodes() if is_joined() else {}
        self.places: dict[str, list[TrainedOn]] = {}
        self.waiting = ExitStack()
        self.cause = _Cause()
        self.failures: dict[str, str] = {}
        self.stopped: OSError | None = None
        self.began: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks and calls this very one: a live table cannot be pickled."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Say so once where the nodes left hold no candidate: Tune waits without a word."""
        now = time.monotonic()
        if is_joined() and now - self.heard > _SILENT_S:
            self.heard = now
            is_missing = not can_hold(self.slots)
            if is_missing and not self.is_waiting:
                who = "the nodes together do not hold" if self.slots.spans else "no node holds"
                self.watch.say(f"{who} one candidate any more ({self.slots}); waiting")
            self.is_waiting = is_missing

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._heed()
        if self.began is None:
            self.began = time.monotonic()
            self.waiting.close()
        self.heard, self.is_waiting = time.monotonic(), False
        name = trial.config["candidate"]
        sign: Progress | None = result.get("sign")
        if sign is not None:
            self._note_devices(name, result["places"])
            self.watch.progress(sign)
        elif "stopped" in result:
            self.stopped = OSError(*result["stopped"])
        elif "failed" in result:
            self._fail(name, result["failed"])
        else:
            self.finished(self.jobs[name])
            self.watch.finished(name)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a worker that died on a cluster: the machine may be one to look after."""
        self._heed()
        name = trial.config["candidate"]
        if is_joined():
            node = " and ".join(each["node"] for each in self.places.get(name, ())) or "a node"
            again = f"it is trained on from its last state, try {trial.num_failures} of {_TRIES}"
            self.watch.say(f"{name}: lost its worker on {node} ({self.cause.text}); {again}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._heed()
        self._fail(trial.config["candidate"], f"its worker died: {self.cause.text}")

    def _heed(self) -> None:
        if self.noted:
            raise KeyboardInterrupt

    def _note_devices(self, name: str, places: Sequence[Place]) -> None:
        """Record on which nodes of a cluster a model is trained."""
        if not is_joined():
            return
        if not all(node in self.nodes for node, _ in places):  # one came later
            self.nodes = names_of_nodes()
        named = [(self.nodes.get(node, node), device) for node, device in places]
        found = trained_on(named)
        if self.places.get(name) != found:
            self.places[name] = found
            note_devices(self.jobs[name].curve, found)

    def _fail(self, name: str, reason: str) -> None:
        self.failures[name] = reason
        self.watch.failed(name, reason)


@contextmanager
def open_ray(
    slots: Slots, nodes: Sequence[Node] = (), *, measures_use: bool = False
) -> Iterator[Runner]:
    """Give a runner that trains as many jobs at a time as there are slots.

    Ray starts on this machine with its first call, unless a cluster was joined before, and stays
    until the end of the block, however often it is called.

    Args:
        slots: Where candidates run.
        nodes: All, where candidates may get a larger share of a GPU than that of the slots.
        measures_use: Whether candidates share a GPU only as far as one is seen to leave it idle.
    """
    least, most, is_measured = slots, 0, not measures_use

    with ExitStack() as stack:

        def runner(jobs: Sequence[Job], until: int, watch: Watch, finished: Finished) -> Outcome:
            nonlocal least, most, is_measured
            if not ray.is_initialized():
                stack.enter_context(started(slots, watch))
            own = _own_slots(least, jobs, nodes)
            if own.gpus % 1 and not is_measured:
                least, is_measured = _slots_by_use(least, jobs, watch), True
                own = _own_slots(least, jobs, nodes)
            most = max(most, own.number)
            return replace(_run(jobs, until, own, watch, finished), slots=most)

        yield runner


def _own_slots(slots: Slots, jobs: Sequence[Job], nodes: Sequence[Node]) -> Slots:
    """Return the slots of these jobs."""
    return with_fewest_on_a_gpu(slots, len(jobs), nodes) if nodes and slots.gpus % 1 else slots


def _slots_by_use(slots: Slots, jobs: Sequence[Job], watch: Watch) -> Slots:
    """Return slots of the share of a GPU that one job, measured on one, leaves to others.

    A job that first learns how it grows is not measured: that takes long, and other memory.
    """
    job = next((each for each in jobs if each.plan.learned is None), None)
    if job is None:
        return slots
    # in a process of its own, which leaves the GPU again
    measure = ray.remote(num_cpus=slots.cpus, num_gpus=1, max_calls=1)(measure_gpu_use)
    what = "how busy one candidate keeps a GPU"
    try:
        with watch.doing(f"measuring {what}", is_brief=True):
            use = ray.get(measure.remote(job))
    except ray.exceptions.RayError as error:
        up_to = f"up to {1 / slots.gpus:.0f} share one"
        watch.say(f"{what} could not be measured ({cause_of(error)}): {up_to}")
        return slots
    share = share_by_use(slots.gpus, use)
    watch.say(
        f"one candidate keeps a GPU busy {use.busy:.0%} of its time, in "
        f"{use.peak_bytes / 2**30:.1f} GiB: up to {1 / share:.0f} share one"
    )
    return replace(slots, gpus=share)


def _run(
    jobs: Sequence[Job], until: int, slots: Slots, watch: Watch, finished: Finished
) -> Outcome:
    """Train jobs to a step.

    Args:
        jobs: What to train.
        until: The step to reach.
        slots: Where they run.
        watch: Follows.
        finished: Is called in this process with each job that reached the step.

    Raises:
        OSError: A worker could not read or write a file.
    """
    by_name = {job.name: job for job in jobs}
    worker = tune.with_parameters(_Worker, jobs=by_name, until=until)
    with (
        _noted_interrupts() as noted,
        tempfile.TemporaryDirectory(prefix="lagsearch-") as scratch,
    ):
        follow = _Follow(by_name, slots, watch, finished, noted)
        tuner = tune.Tuner(
            tune.with_resources(worker, tune.PlacementGroupFactory(slots.places)),
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
            follow.waiting.enter_context(watch.doing("starting the workers"))
            tuner.fit()
        if noted:
            raise KeyboardInterrupt
        if follow.stopped is not None:
            raise follow.stopped
    return Outcome(follow.failures, follow.began or time.monotonic(), slots.number)


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
