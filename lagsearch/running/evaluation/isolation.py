"""lm-evaluation-harness kept to itself: no output, no processes, no random numbers of ours."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from lagsearch.models.configs import quiet


@contextmanager
def sealed() -> Iterator[None]:
    """Let lm-evaluation-harness run inside, and have all as before afterwards.

    Its prints and progress bars go nowhere, it starts no processes, and metrics that are code on
    the hub are not fetched. Global generators are seeded as it seeds them: tasks may use them.
    """
    import numpy as np
    import torch
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002 (to put it back)
    try:
        with torch.random.fork_rng(), _silence(), _no_processes(), _no_code_from_the_hub():
            random.seed(DEFAULT_RANDOM_SEED)
            np.random.seed(DEFAULT_OTHER_SEED)  # noqa: NPY002 (what tasks may use)
            torch.manual_seed(DEFAULT_OTHER_SEED)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002 (it is put back)


@contextmanager
def _silence() -> Iterator[None]:
    import datasets

    quiet()
    datasets.disable_progress_bars()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def _no_processes() -> Iterator[None]:
    """Have standard errors bootstrapped here: to fork beside torch's threads may hang."""
    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before


@contextmanager
def _no_code_from_the_hub() -> Iterator[None]:
    import evaluate

    before = evaluate.config.HF_EVALUATE_OFFLINE
    evaluate.config.HF_EVALUATE_OFFLINE = True
    try:
        yield
    finally:
        evaluate.config.HF_EVALUATE_OFFLINE = before
