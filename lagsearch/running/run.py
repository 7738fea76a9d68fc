"""The whole run, readable from top to bottom: space, sources, candidates, search, winner, report.

`run` may be interrupted anywhere and called again: each phase first looks at what the run folder
and the cache already hold.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lagsearch.data.objectives.base import Predicts
from lagsearch.data.objectives.registry import make_objective
from lagsearch.data.text.corpora import Opener
from lagsearch.data.tokens.boundaries import boundaries_of
from lagsearch.data.tokens.store import (
    Stores,
    check_text,
    open_stores,
)
from lagsearch.data.tokens.tokenizers import vocabulary_size
from lagsearch.display.watch import Watch
from lagsearch.errors import (
    DataError,
    LagsearchError,
    ModelError,
    ResourceError,
    RunFolderError,
)
from lagsearch.planning.brought import fetch_brought
from lagsearch.planning.run import Plan, check_baselines, plan_stages
from lagsearch.planning.run import plan as plan_space
from lagsearch.planning.stage import StagePlan
from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of
from lagsearch.records.folder import RunFolder, now
from lagsearch.records.stage_result import ADAPTIVE
from lagsearch.running.baselines import BASELINES, stage_place
from lagsearch.running.courses import Run
from lagsearch.running.evaluation.downstream import open_downstream
from lagsearch.running.jobs import (
    sizes_wanted,
    tell_size,
)
from lagsearch.running.stage import Shared
from lagsearch.running.trainers.checks import check_trainer
from lagsearch.running.workers.nodes import Node, this_machine
from lagsearch.running.workers.serial import (
    OpenRunner,
    Runner,
    open_serial,
)
from lagsearch.running.workers.slots import (
    Slots,
    as_far_as_here,
    assign_slots,
    check_memory,
    compute_here,
    describe,
    memory_of,
    nodes_for,
    slots_alone,
    slots_of_sources,
)
from lagsearch.running.workers.team import dismiss
from lagsearch.space import Space, SpaceFile, StageFile
from lagsearch.storage.cache import holding
from lagsearch.storage.files import cache_root
from lagsearch.training.compiling import check_compiler
from lagsearch.training.job import Compute
from lagsearch.training.sources import CachedSource, from_checkpoint

WRITING = "writing the report"


WriteReport = Callable[[Path], dict[str, Any]]
"""Writes the report of a run folder and returns its numbers."""

Follow = Callable[[Path], AbstractContextManager[None]]
"""Follows a run by its folder for as long as a block lasts."""


Join = Callable[[Plan], tuple[Node, ...] | None]
"""Joins the cluster that a plan is to be run on, and returns its nodes; None on this machine."""


def _stay(plan: Plan) -> None:
    """Join no cluster."""


def _nobody(folder: Path) -> AbstractContextManager[None]:
    return nullcontext()


@holding()
def run_space(
    file: SpaceFile,
    out: str | Path | None,
    watch: Watch,
    write_report: WriteReport,
    *,
    serial: bool,
    baselines: bool,
    follow: Follow = _nobody,
) -> tuple[Path, dict[str, Any]]:
    """Run a space; see `lagsearch.run`.

    Args:
        file: The space, with all that a command says beside it.
        out: The run folder.
        watch: Follows the run.
        write_report: Called when all is trained, also before downstream tasks.
        serial: Whether Ray is left out.
        baselines: With stages: whether to train what the adaptive course is compared with.
        follow: Is given the run folder once it is this run's alone.

    Returns:
        The run folder, and what `report.json` holds.
    """
    called = time.monotonic()
    if baselines:
        check_baselines(file)
        BASELINES.all()  # a package that adds none says so before anything is written
    folder = RunFolder(Path(out) if out else Path("reports") / file.name)
    file = _agreed(file, folder, watch)
    with ExitStack() as stack:
        join = partial(_join, stack, folder, watch, serial=serial)
        plan, shared = prepared(file, folder, watch, write_report, serial=serial, join=join)
        lock = folder.lock()
        stack.callback(lock.release)
        stack.callback(dismiss)
        with follow(folder.path):
            with _spends_other(folder, called):
                Run(plan, folder, shared).run(baselines=baselines)
            began = time.monotonic()
            with watch.doing(WRITING):
                report = write_report(folder.path)
            folder.spend("report", time.monotonic() - began)
            folder.note(end=now())
    return folder.path, report


@contextmanager
def _spends_other(folder: RunFolder, called: float) -> Iterator[None]:
    """Note the seconds since a call that are in no phase, when a block ends in whatever way."""
    before = folder.spent()
    try:
        yield
    finally:
        with suppress(OSError, LagsearchError):  # what a run ends with must not be lost for this
            spent = folder.spent() - before
            folder.spend("other", max(0.0, time.monotonic() - called - spent))


def _agreed(file: SpaceFile, folder: RunFolder, watch: Watch) -> SpaceFile:
    """Return the space to run in a folder; a mistake in it is said before that it is another one.

    Raises:
        LagsearchError: The space cannot be planned, or the folder belongs to another one.
    """
    try:
        return folder.agree(file)
    except RunFolderError:
        with watch.doing("checking the space", is_brief=True):
            plan_space(file)
        raise


def _join(
    stack: ExitStack, folder: RunFolder, watch: Watch, plan: Plan, *, serial: bool
) -> tuple[Node, ...] | None:
    """Join the cluster that RAY_ADDRESS names until the end of a run; None without one.

    Raises:
        LagsearchError: A node of it does not see what is read and written there, say.
    """
    if serial or not os.environ.get("RAY_ADDRESS"):
        return None
    from lagsearch.running.workers.cluster import joined

    cluster = stack.enter_context(joined(watch))
    shared = "must be on storage that all nodes share"
    written = {
        f"the run folder (--out) {shared}": folder.path,
        f"the cache (LAGSEARCH_CACHE) {shared}": cache_root(),
    }
    read: dict[str, Path] = {}
    if plan.file.stages[0].space.trainer is not None:
        read[f"where a trainer's commands run {shared}"] = Path.cwd()
        for each in plan.stages[0].sources:
            if each.checkpoint is not None:
                read[f"the checkpoint of {each.source.name} {shared}"] = each.checkpoint.absolute()
    with watch.doing("looking for the run folder on the nodes", is_brief=True):
        cluster.check_storage(written, read)
    return cluster.nodes


def prepared(
    file: SpaceFile,
    folder: RunFolder,
    watch: Watch,
    write_report: WriteReport,
    *,
    serial: bool,
    only_grows: bool = False,
    join: Join = _stay,
) -> tuple[Plan, Shared]:
    """Plan a run and read its text and its checkpoints; nothing is written to its folder.

    Args:
        file: The space.
        folder: The run folder.
        watch: Follows.
        write_report: Called when all is trained.
        serial: Whether Ray is left out.
        only_grows: Whether candidates are grown and not trained: this machine need not be able to.
        join: Joins a cluster, where there is one.
    """
    first = file.stages[0]
    if first.number is None and any(each.before is not None for each in first.space.sources):
        message = "is what a stage begins with: run the space that has the stages"
        raise file.error(("sources", 0), message)
    opener = Opener(watch.say)
    with watch.doing("planning", is_brief=True):
        tokenizer = find_tokenizer(first, opener=opener)
        vocabulary = vocabulary_of(tokenizer, first.space)
        plan = plan_stages(file, vocabulary)
    for line in file.notes:
        watch.say(line)
    if not only_grows:
        _check_downstream(plan, folder, watch)
        check_trainer(first, plan.stages[0], watch.say)
    nodes = join(plan)
    compute, slots = _placed(plan, nodes, only_grows=only_grows)
    for_sources = slots_of_sources(first.space.resources, slots, nodes)
    store, objective = _open_data(file.stages, tokenizer, watch, opener)
    return plan, Shared(
        tokenizer=tokenizer,
        vocabulary=vocabulary,
        store=store,
        objective=objective,
        compute=compute,
        source_threads=for_sources.all_cpus,
        open_runner=open_serial if serial else _open_ray(slots, watch, nodes, first.space),
        open_alone=_open_alone(slots_alone(first.space.resources, slots, nodes), nodes, watch),
        open_source=_open_alone(for_sources, nodes, watch),
        open_sources=None if serial or for_sources.number == 1 else _open_ray(for_sources, watch),
        compute_here=(
            replace(compute, threads=for_sources.all_cpus)
            if nodes is None
            else compute_here(compute)
        ),
        slots=replace(slots, number=1) if serial else slots,
        devices=describe(compute, nodes),
        brought=_checkpoints(first, plan.stages[0], objective.kind, watch),
        watch=watch,
        write_report=write_report,
    )


def _placed(
    plan: Plan, nodes: tuple[Node, ...] | None, *, only_grows: bool
) -> tuple[Compute, Slots]:
    """Return what candidates are computed with and how many at a time, where that can be compiled.

    Raises:
        LagsearchError: There is no room for one, or no compiler for what is to be compiled here.
    """
    first = plan.file.stages[0]
    memory = [each.cost.memory_bytes for each in plan.candidates]
    compute, slots = _resources(first, memory, nodes, only_grows=only_grows)
    trains = first.space.trainer is None and not only_grows
    is_training = trains or any(each.checkpoint is None for each in plan.stages[0].sources)
    if is_training and nodes is None:  # on a cluster that shows only later
        for each in plan.file.stages:
            _check_compiling(each, compute.device)
    return compute, slots


def _check_downstream(plan: Plan, folder: RunFolder, watch: Watch) -> None:
    """Check the downstream tasks, which the last stage evaluates, before the first one trains."""
    last = plan.stages[-1]
    place = stage_place(plan.file, ADAPTIVE, len(plan.stages))
    open_downstream(plan.file.stages[-1], last.names, RunFolder(folder.path / place), watch.say)


def _open_data(
    files: Sequence[StageFile], tokenizer: Any, watch: Watch, opener: Opener | None = None
) -> tuple[Stores, Predicts]:
    """Find the tokens and the objective, and check that there is text enough.

    Args:
        files: The spaces of all stages.
        tokenizer: Its.
        watch: Is told what is made, and where there is less than asked for.
        opener: Has perhaps opened some of the texts.
    """
    file = files[0]
    space = file.space
    try:
        length = space.data.sequence_length
        size = vocabulary_size(tokenizer)
        objective = make_objective(space.objective, tokenizer, size, length)
        say = (watch.say, watch.passing)
        with watch.doing("reading the text", is_brief=True):
            store = open_stores(space.data, tokenizer, *say, sources=space.sources, opener=opener)
        for each in files:
            wanted = sizes_wanted(each.space)
            check_text(store, objective, length, wanted, each.space.sources)
    except DataError as error:
        raise file.error(error.at, str(error)) from None
    watch.say(boundaries_of(tokenizer, space.data.separators).words)
    for line in dict.fromkeys(tell_size(each.space, store, objective) for each in files):
        if line:
            watch.say(line)
    return store, objective


def _checkpoints(
    file: StageFile, plan: StagePlan, kind: str, watch: Watch
) -> dict[str, CachedSource]:
    """Read the sources that are checkpoints into the cache, by their names."""
    brought = {}
    for note in plan.read_notes:
        watch.say(note)
    fetch_brought(file, plan.sources, watch)
    for index, planned in enumerate(plan.sources):
        if planned.checkpoint is not None:
            name = planned.source.name
            try:
                with watch.doing(f"reading the checkpoint of {name}", is_brief=True):
                    brought[name] = from_checkpoint(
                        name, planned.checkpoint, kind, planned.n_tokens, watch.say
                    )
            except ModelError as error:
                raise file.error(("sources", index, "checkpoint"), str(error)) from None
    return brought


def _resources(
    file: StageFile,
    memory: Sequence[int | None],
    cluster: Sequence[Node] | None = None,
    *,
    only_grows: bool = False,
) -> tuple[Compute, Slots]:
    space = file.space
    asked = as_far_as_here(space.resources) if only_grows else space.resources
    trains = space.trainer is None and not only_grows
    try:
        compute, slots = assign_slots(asked, space.training.precision, memory, cluster)
        if trains and cluster is None:
            there = memory_of(compute.device)
            check_memory(memory, compute.device, there, devices=compute.devices)
        for node in nodes_for(cluster or (), slots) if trains else ():
            there = node.gpu_bytes if slots.gpus else node.memory_bytes
            here = min(compute.devices, slots.devices_on(node))
            check_memory(memory, compute.device, there, node.name, devices=here)
        return compute, slots
    except ResourceError as error:
        raise file.error(error.at, str(error)) from None


def _check_compiling(file: StageFile, device: str) -> None:
    """Check that what a space has compiled can be."""
    if not file.space.training.compile:
        return
    try:
        check_compiler(device)
    except ResourceError as error:
        raise file.error(error.at, str(error)) from None


def _open_alone(slots: Slots, nodes: Sequence[Node] | None, watch: Watch) -> OpenRunner:
    """Return what gives the runner of one model: on this machine it needs no worker."""
    return open_serial if nodes is None else _open_ray(slots, watch)


def _open_ray(
    slots: Slots,
    watch: Watch,
    nodes: Sequence[Node] | None = None,
    space: Space | None = None,
) -> OpenRunner:
    """Return what gives the runner that trains candidates in Ray.

    Args:
        slots: Where they run.
        watch: Follows.
        nodes: The nodes that candidates run on; None is this machine.
        space: Of candidates, which may share GPUs.
    """
    is_free = space is not None and space.resources.gpus_per_candidate == "auto"
    shared = () if not (is_free and slots.gpus) else nodes or (this_machine(),)
    measures_use = is_free and space is not None and space.trainer is None

    def opened() -> AbstractContextManager[Runner]:
        with watch.doing("loading Ray", is_brief=True):  # seconds, the first time
            from lagsearch.running.workers.ray_tune import open_ray

        return open_ray(slots, shared, measures_use=measures_use)

    return opened
