"""The whole run, readable from top to bottom: space, sources, candidates, search, winner, report.

`run` may be interrupted anywhere and called again: each phase first looks at what the run folder
and the cache already hold.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

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
    ModelError,
    ResourceError,
    SpaceError,
)
from lagsearch.evaluate.downstream import open_downstream
from lagsearch.planning.run import StagedPlan, plan_stages
from lagsearch.planning.stage import (
    RunPlan,
    make_plan,
    recorded,
)
from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of
from lagsearch.records.folder import RunFolder, now
from lagsearch.records.stage_result import ADAPTIVE
from lagsearch.records.whole import WholeFolder
from lagsearch.running.jobs import (
    JobMaker,
    sizes_wanted,
    tell_size,
    with_validation,
)
from lagsearch.running.phases import Phases
from lagsearch.running.sampling import open_sampling, sample
from lagsearch.running.stage import Engine
from lagsearch.running.stages import StagedRun
from lagsearch.running.states import let_go
from lagsearch.running.workers.serial import (
    OpenRunner,
    Runner,
    open_serial,
)
from lagsearch.running.workers.slots import (
    Slots,
    assign_slots,
    describe,
)
from lagsearch.space import SpaceFile, StagedFile, Written, opened, said
from lagsearch.storage.cache import holding
from lagsearch.training.job import Compute
from lagsearch.training.sources import CachedSource, from_checkpoint

WRITING = "writing the report"


WriteReport = Callable[[Path], dict[str, Any]]
"""Writes the report of a run folder and returns its numbers."""


@holding()
def run_space(  # noqa: PLR0913 (each is an option of the command)
    space: Written | SpaceFile | StagedFile,
    *,
    lag: int | Literal["auto"] | None = None,
    oracle: bool = False,
    out: str | Path | None = None,
    serial: bool = False,
    profile: bool = False,
    seeds: Sequence[int] = (),
    baselines: bool = False,
    skip_unfit: bool = False,
    overrides: Sequence[str] = (),
    watch: Watch,
    write_report: WriteReport,
) -> tuple[Path, dict[str, Any]]:
    """Run a space; see `lagsearch.run`.

    Args:
        space: The space.
        lag: K, in place of the space's.
        oracle: Whether all candidates are trained to completion.
        out: The run folder.
        serial: Whether Ray is left out.
        profile: Whether to say where the time goes.
        seeds: Seeds, in place of the space's.
        baselines: With stages: whether to train what the adaptive course is compared with.
        skip_unfit: Whether candidates that do not fit are left out.
        overrides: `key.path=value` texts.
        watch: Follows the run.
        write_report: Called when all is trained, also before downstream tasks.

    Returns:
        The run folder, and what `report.json` holds.
    """
    flags = said(
        overrides, lag=lag, oracle=oracle, seeds=seeds, profile=profile, skip_unfit=skip_unfit
    )
    file = opened(space, flags)
    if isinstance(file, StagedFile):
        return _run_stages(file, out, watch, write_report, serial=serial, baselines=baselines)
    if baselines:
        raise SpaceError(
            f"{file.path}: --baselines belongs to a space with stages; --oracle is "
            "what compares the candidates of one growth"
        )
    folder = RunFolder(Path(out) if out else Path("reports") / file.space.name)
    file = replace(file, space=folder.check(file.space))
    if any(each.before is not None for each in file.space.sources):
        message = "is what a stage begins with: run the space that has the stages"
        raise file.error(("sources", 0), message)
    opener = Opener(watch.say)
    with watch.doing("planning", is_brief=True):
        tokenizer = find_tokenizer(file, opener=opener)
        plan = make_plan(file, vocabulary_of(tokenizer, file.space))
    for line in (*file.notes, *plan.remarks):
        watch.say(line)
    downstream = open_downstream(file, plan.names, folder, watch.say)
    compute, slots = _resources(file, [each.cost.memory_bytes for each in plan.candidates])
    store, objective = _open_data([file], tokenizer, watch, opener)
    plan = with_validation(plan, store, objective)
    brought = _checkpoints(file, plan, objective.kind, watch)
    threads = 1 if slots.gpus else slots.cpus * slots.number
    make = JobMaker(plan, store, objective, folder, compute, threads)
    lock = folder.lock()
    try:
        sampling = open_sampling(plan, folder)
        plans = recorded(plan) if sampling is None else sampling.record()
        folder.begin(file.space, plans, describe(compute), make.inputs())
        open_runner = open_serial if serial else _open_ray(slots)
        phases = Phases(
            plan, make, open_runner, watch, brought, downstream, tokenizer, write_report
        )
        sources = phases.sources()
        states = {seed: [each.state for each in found] for seed, found in sources.items()}
        if sampling is not None:
            phases = sample(sampling, phases, states)
        jobs = phases.make.candidates(states)
        phases.search(jobs)
        winner = phases.winner(jobs)
        phases.save_winner(winner)
        phases.baselines(jobs)
        phases.evaluate(winner, jobs)
        let_go(folder.states)
        began = time.monotonic()
        with watch.doing(WRITING):
            report = write_report(folder.path)
        folder.spend("report", time.monotonic() - began)
        folder.note(end=now())
    finally:
        lock.release()
    return folder.path, report


def _run_stages(
    file: StagedFile,
    out: str | Path | None,
    watch: Watch,
    write_report: WriteReport,
    *,
    serial: bool,
    baselines: bool,
) -> tuple[Path, dict[str, Any]]:
    """Run a space with stages; see `run`."""
    folder = WholeFolder(Path(out) if out else Path("reports") / file.space.name)
    file = folder.agree(file)
    opener = Opener(watch.say)
    first = file.stages[0]
    with watch.doing("planning", is_brief=True):
        tokenizer = find_tokenizer(first, opener=opener)
        vocabulary = vocabulary_of(tokenizer, first.space)
        plan = plan_stages(file, vocabulary)
    for line in file.notes:
        watch.say(line)
    memory = [each.cost.memory_bytes for stage in plan.stages for each in stage.candidates]
    compute, slots = _resources(first, memory)
    _check_downstream(plan, folder, watch)
    store, objective = _open_data(file.stages, tokenizer, watch, opener)
    brought = _checkpoints(first, plan.stages[0], objective.kind, watch)
    threads = 1 if slots.gpus else slots.cpus * slots.number
    inputs = JobMaker(plan.stages[0], store, objective, folder, compute, threads).inputs()
    lock = folder.lock()
    try:
        folder.start(file, describe(compute), inputs)
        folder.note(slots=1 if serial else slots.number)
        began = time.monotonic()
        try:
            with (open_serial if serial else _open_ray(slots))() as runner:
                engine = Engine(
                    *(tokenizer, vocabulary, store, objective, compute),
                    *(threads, runner, brought, watch, write_report),
                )
                StagedRun(plan, folder, engine).run(baselines=baselines)
        finally:
            folder.spend("search", time.monotonic() - began)
        with watch.doing(WRITING):
            report = write_report(folder.path)
        folder.note(end=now())
    finally:
        lock.release()
    return folder.path, report


def _check_downstream(plan: StagedPlan, folder: WholeFolder, watch: Watch) -> None:
    """Check the downstream tasks, which the last stage evaluates, before the first one trains."""
    last = plan.stages[-1]
    place = RunFolder(folder.path / ADAPTIVE / f"stage-{len(plan.stages)}")
    open_downstream(plan.file.stages[-1], last.names, place, watch.say)


def _open_data(
    files: Sequence[SpaceFile], tokenizer: Any, watch: Watch, opener: Opener | None = None
) -> tuple[Stores, Predicts]:
    """Find the tokens and the objective, and check that there is text enough.

    Args:
        files: The space, or those of all stages.
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
    file: SpaceFile, plan: RunPlan, kind: str, watch: Watch
) -> dict[str, CachedSource]:
    """Read the sources that are checkpoints into the cache, by their names."""
    brought = {}
    for note in plan.read_notes:
        watch.say(note)
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


def _resources(file: SpaceFile, memory: Sequence[int | None]) -> tuple[Compute, Slots]:
    space = file.space
    try:
        return assign_slots(space.resources, space.training.precision, memory)
    except ResourceError as error:
        raise file.error(error.at, str(error)) from None


def _open_ray(slots: Slots) -> OpenRunner:
    """Return what gives the runner that trains candidates in Ray."""

    def opened() -> AbstractContextManager[Runner]:
        from lagsearch.running.workers.ray_tune import open_ray

        return open_ray(slots)

    return opened
