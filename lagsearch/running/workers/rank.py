"""One of several processes that train a model together.

Whoever starts it holds the other end of its connection, and sends it one job after the other. The
system closes that end however that process ends, and then this one ends at once: also in the
middle of a step, waiting for others.
"""

import gc
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from lagsearch.errors import CandidateFailed, LagsearchError, reason_of
from lagsearch.running.interrupts import SIGNALS

ENDED = "ended"
"""What a process sends when its job has come to its step."""


@dataclass(frozen=True)
class Mishap:
    """What a process sends when its job cannot go on.

    Attributes:
        reason: Why, in one line.
        is_foreseen: Whether it is no consequence of what happened to another process.
    """

    reason: str
    is_foreseen: bool


def serve(connection: Any, number: int, count: int, store: str) -> None:
    """Train what comes, until nobody sends anything any more.

    Args:
        connection: To the process that started this one.
        number: Of this process, from 0.
        count: Of all.
        store: Where they find each other, as `torch.distributed` names it.
    """
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    job, until = jobs.get()
    with in_group(job, number, count, store):
        while True:
            for said in spoken(number, job, until):
                connection.send(said)
            job, until = jobs.get()


def _listen(connection: Any, jobs: Any) -> None:
    """Take jobs while the main thread trains; end this process when nobody is there any more."""
    try:
        while True:
            jobs.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)
    except Exception:  # a job that this process cannot read: what it is of cannot be imported, say
        traceback.print_exc()
        os._exit(1)


@contextmanager
def in_group(job: Any, number: int, count: int, store: str) -> Iterator[None]:
    """Be one of a group of processes inside.

    Args:
        job: One of those that they are for.
        number: Of this process, from 0.
        count: Of all.
        store: Where they find each other, as `torch.distributed` names it.
    """
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if job.compute.device == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=store, rank=number, world_size=count)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def spoken(number: int, job: Any, until: int) -> Iterator[Any]:
    """Train a job; yield how far it is, if this is the first process, and how it ended."""
    import torch

    from lagsearch.running.workers.nodes import near
    from lagsearch.training.group import RankGroup
    from lagsearch.training.loop import train

    gc.freeze()  # what was imported is no garbage, and takes long to look through
    own = near(job if number == 0 else replace(job, profile=None))
    try:
        for sign in train(own, until, RankGroup(shards_model=job.compute.parallel == "fsdp")):
            if number == 0:
                yield sign
    except (CandidateFailed, OSError) as error:
        yield error
    except Exception as error:
        yield Mishap(reason_of(error), is_foreseen=isinstance(error, LagsearchError))
    else:
        yield ENDED
    free_model()
    if job.compute.device == "cuda":
        torch.cuda.empty_cache()


def free_model() -> None:
    """Free the memory of a model that was trained: it is full of cycles, and the next one needs it.

    What is still there is no garbage: what a first model imports takes a third of a second to look
    through.
    """
    gc.collect()
    gc.freeze()


def begin() -> None:
    """Serve whoever started this process: CONNECTION NUMBER COUNT STORE."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # who waits for it decides
    handle, number, count, store = sys.argv[1:]
    serve(Connection(int(handle)), int(number), int(count), store)
