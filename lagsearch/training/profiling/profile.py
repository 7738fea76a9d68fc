"""Where the time of a model in training goes: figures in a file, a trace, and NVTX ranges.

Profiling changes no loss: it looks at clocks, and touches neither tensors nor random numbers.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import record_function

from lagsearch.storage.files import write_json
from lagsearch.training.job import Job
from lagsearch.training.profiling.machine import (
    GpuLoad,
    PeakMemory,
    clock_of,
    peak_flops_per_s,
)
from lagsearch.training.profiling.trace import Trace

FORMAT = 1
WARM_UP = 5  # first steps of a process: they allocate, and choose kernels
TRACED = 3  # steps after them; tracing slows them, so that they count for no figure
PARTS = ("data", "forward", "backward", "optimizer")

_READ_EVERY = 64  # steps whose moments are kept unread: on a GPU, reading waits
_NOTHING = nullcontext()


class Off:
    """Profiles nothing, in no time."""

    def step(self, number: int) -> AbstractContextManager[None]:
        """Do nothing."""
        return _NOTHING

    def range(self, name: str) -> AbstractContextManager[None]:
        """Do nothing."""
        return _NOTHING

    def evaluation(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return _NOTHING


OFF = Off()


@contextmanager
def profiling(job: Job) -> Iterator["Profile | Off"]:
    """Profile the training inside where the job asks for it; its files are written at the end.

    Args:
        job: Whose; torch is set to its threads.
    """
    if job.profile is None:
        yield OFF
        return
    profile = Profile(job, job.profile)
    try:
        yield profile
    finally:  # of an interrupted model too: its next process writes them anew
        profile.close()


class Profile:
    """Measures one model in training, in this process."""

    def __init__(self, job: Job, path: Path) -> None:
        """Begin, before the model is built: its memory is counted from here.

        Args:
            job: Whose.
            path: File of the figures; the trace lies beside it.
        """
        self._job, self._path = job, path
        device = job.compute.device
        self._peak = peak_flops_per_s(job.compute) * job.compute.devices
        self._clock = clock_of(device)
        self._trace = Trace(path.with_suffix(".trace.json.gz"), device)
        self._is_gpu = device == "cuda"
        self._load = GpuLoad(device)
        self._first, self._seen, self._traced = 0, 0, 0
        self._spans: list[tuple[str, Any, Any]] = []
        self._unread: list[tuple[str, Any, Any]] = []
        self._step_s = array("d")
        self._part_s: defaultdict[str, float] = defaultdict(float)
        self._evaluation_s = array("d")
        self._memory = PeakMemory(device)

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Measure a step, and trace it where it is one of those.

        Args:
            number: Updates before it.
        """
        if not self._seen:
            self._first = number
        if self._seen == WARM_UP:
            self._trace.start()
        self._spans = []
        with self._shown(f"step {number}"):
            begin = self._clock.mark()
            yield
            self._spans.append(("step", begin, self._clock.mark()))
        self._seen += 1
        if self._trace.is_on:
            self._traced += 1
            if self._traced == TRACED:
                self._finish_trace()
        elif self._seen > WARM_UP:
            self._unread += self._spans
        if self._seen % _READ_EVERY == 0:
            self._read()
        self._load.look()

    @contextmanager
    def range(self, name: str) -> Iterator[None]:
        """Measure a part of a step; several ranges of one name add up.

        Args:
            name: One of `PARTS`.
        """
        with self._shown(name):
            begin = self._clock.mark()
            yield
            self._spans.append((name, begin, self._clock.mark()))

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Measure an evaluation."""
        self._clock.wait()
        with self._shown("evaluation"):
            begin = self._clock.mark()
            yield
            end = self._clock.mark()
        self._clock.wait()
        self._evaluation_s.append(self._clock.between(begin, end))

    @contextmanager
    def _shown(self, name: str) -> Iterator[None]:
        """Give what happens inside a name in Nsight and in the trace."""
        with ExitStack() as stack:
            if self._is_gpu:
                torch.cuda.nvtx.range_push(name)  # type: ignore[no-untyped-call]
                stack.callback(torch.cuda.nvtx.range_pop)
            if self._trace.is_on:
                stack.enter_context(record_function(name))
            yield

    def _finish_trace(self) -> None:
        self._clock.wait()  # the GPU's work belongs to it
        self._trace.finish()

    def _read(self) -> None:
        """Turn moments into seconds."""
        self._clock.wait()
        for name, begin, end in self._unread:
            seconds = self._clock.between(begin, end)
            if name == "step":
                self._step_s.append(seconds)
            else:
                self._part_s[name] += seconds
        self._unread.clear()

    def close(self) -> None:
        """Write what was measured; nothing where no step was counted, e.g. of a short rest."""
        self._finish_trace()
        self._read()
        if self._step_s:
            write_json(self._path, self._figures())

    def _figures(self) -> dict[str, Any]:
        job = self._job
        low, median, high = np.quantile(self._step_s, [0.25, 0.5, 0.75]).tolist()
        total = sum(self._step_s)
        shares = {part: self._part_s[part] / total for part in PARTS}
        tokens = job.training.batch_size * job.text.sequence_length
        return {
            "format": FORMAT,
            "name": job.name,
            "device": job.compute.device,
            "threads": job.compute.threads,
            "precision": job.compute.precision,
            "steps": {
                "from": self._first,
                "to": self._first + self._seen,
                "traced": self._traced,
                "counted": len(self._step_s),
            },
            "step_s": {"median": median, "quartiles": [low, high]},
            "shares": {**shares, "other": 1 - sum(shares.values())},
            "evaluation_s": {"sum": sum(self._evaluation_s), "number": len(self._evaluation_s)},
            "tokens_per_step": tokens,
            "tokens_per_s": tokens / median,
            "flops_per_step": job.flops_per_step,
            "peak_flops_per_s": self._peak,
            "model_flop_utilization": job.flops_per_step / median / self._peak,
            "memory": self._memory.figures(),
            "gpu_utilization": self._load.figures(),
        }
