"""A job's model and optimizer at step 0: built, grown by the plan, and checked."""

import time
from collections.abc import Generator
from typing import Any

from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.build import bare_model, empty_model, fresh_model, tensors_of
from lagsearch.models.checks import check_growth, check_running
from lagsearch.models.configs import rebuild_config
from lagsearch.models.layers import find_layers
from lagsearch.models.tensors import TensorFile
from lagsearch.operators.execute.fill import (
    add_noise,
    fill,
    new_parameters,
)
from lagsearch.training.job import Job
from lagsearch.training.learning import learn
from lagsearch.training.optimizer import (
    AnyOptimizer,
    begin_anew,
    grow_state,
    make_optimizer,
    shares_of_rate,
)
from lagsearch.training.ranks import ALONE, Ranks
from lagsearch.training.state import WEIGHT, load_weights


def build(job: Job) -> nn.Module:
    """Build the job's model in fp32 on the CPU, with random weights where any stay random."""
    config, kind = rebuild_config(job.config), job.text.objective.kind
    if job.plan.fills_all:
        return bare_model(config, kind)
    return fresh_model(config, kind, job.init_seed)


def optimizer_of(job: Job, model: nn.Module) -> AnyOptimizer:
    """Make the optimizer of a built model, its matrices at the share of the rate that is theirs."""
    shares = None
    if job.tuned_for is not None:
        narrow = empty_model(rebuild_config(job.tuned_for), job.text.objective.kind)
        shares = shares_of_rate(model, narrow)
    return make_optimizer(model, job.training.optimizer, shares)


def trained(job: Job) -> nn.Module:
    """Return the job's model as its state was saved, in fp32 on the CPU.

    Raises:
        ModelError: The state is not readable.
    """
    model = bare_model(rebuild_config(job.config), job.text.objective.kind)
    load_weights(job.state, model)
    return model


def grow_job(
    job: Job, model: nn.Module, optimizer: AnyOptimizer, ranks: Ranks = ALONE
) -> Generator[int, None, float]:
    """Fill a built model, and by the same plan its optimizer, from the sources; check the model.

    What the plan learns is learned first; its moments begin at zero.

    Args:
        job: Whose.
        model: The model, placed by the processes that train it.
        optimizer: Of its parameters.
        ranks: The processes.

    Yields:
        Steps of learning so far.

    Returns:
        Seconds of learning.

    Raises:
        CandidateFailed: The loss of learning is NaN or infinite.
        ModelError: The grown model is not sound.
    """
    config: Any = model.config
    if job.plan.learned is not None and ranks.shards_model:
        raise ModelError("an operator that is learned forms whole weights: parallel must be ddp")
    stack = find_layers(model, config)
    tensors = tensors_of(model)
    sources = [TensorFile(path, WEIGHT) for path in job.sources]
    fill(job.plan, stack, sources, tensors)
    add_noise(job.plan, stack, tensors, config.hidden_size, job.init_seed)
    began = time.perf_counter()
    yield from learn(job, model, sources, ranks)
    learned_s = time.perf_counter() - began
    if job.sources and job.training.optimizer_state != "reset":
        state = grow_state(
            optimizer,
            model,
            lambda kept: [TensorFile(path, kept + ".") for path in job.sources],
            lambda kept, into, power: fill(job.plan, stack, kept, into, power),
        )
        if job.training.optimizer_state == "reset_new":
            begin_anew(state, new_parameters(job.plan, stack, tensors))
    check_growth(model, config, job.n_parameters)
    if job.is_first_of_its_shape:
        saves = ranks.is_first and not ranks.shards_model
        check_running(model, job.text.objective.kind, saves=saves)
        ranks.at_rest(model)
    return learned_s
