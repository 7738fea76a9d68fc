"""The whole run, readable from top to bottom: space, sources, candidates, search, winner, report.

`run` may be interrupted anywhere and called again: each phase first looks at what the run folder
and the cache already hold.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lagsearch.data.objectives import make_objective
from lagsearch.data.store import TokenStore, check_length, open_store
from lagsearch.data.tokenizers import vocabulary_size
from lagsearch.errors import DataError, NoSurvivorError, RunFolderError
from lagsearch.planning import PlannedCandidate, RunPlan, find_tokenizer, make_plan, source_steps
from lagsearch.progress import Watch, make_watch
from lagsearch.report.build import build_report, curves_table
from lagsearch.report.folder import RunFolder, now
from lagsearch.report.numbers import read_run
from lagsearch.search.keep import BestStateOnly
from lagsearch.search.serial import Finished, Outcome, run_serial
from lagsearch.search.slots import Slots, count_slots, gpu_share, n_cpus
from lagsearch.space import SpaceFile, Training, load_space, with_flags, written_out
from lagsearch.storage import derive_seed
from lagsearch.training.curve import Failure, append
from lagsearch.training.job import Compute, Job, Text
from lagsearch.training.sources import CachedSource, from_checkpoint, is_cached, pretrained

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        folder: The run folder.
        report: The numbers of `report.json`.
    """

    folder: Path
    report: dict[str, Any]

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """All candidates, best at K first: name, settings, rank, losses, cost."""
        ranked: list[dict[str, Any]] = self.report["candidates"]
        return ranked

    @property
    def winner(self) -> str:
        """The winner's name."""
        return str(self.report["winner"]["name"])

    @property
    def checkpoint(self) -> Path:
        """The winner's Hugging Face checkpoint."""
        return self.folder / "winner"

    @property
    def curves(self) -> "pd.DataFrame":
        """All evaluations as a table: candidate, step, val_loss, wall_s, flops."""
        return curves_table(self.folder)


def plan(space: str | Path | SpaceFile, *, lag: int | None = None) -> RunPlan:
    """Work out every candidate and the cost of the search; nothing is trained.

    Args:
        space: A space file, or one that is loaded.
        lag: K, in place of the space's `search.lag`.

    Raises:
        LagsearchError: Something in the space cannot be.
    """
    file = _with_lag(space, lag, oracle=False)
    return make_plan(file, find_tokenizer(file))


def run(
    space: str | Path | SpaceFile,
    *,
    lag: int | None = None,
    oracle: bool = False,
    out: str | Path | None = None,
    serial: bool = False,
    watch: Watch | None = None,
) -> RunResult:
    """Find the best growth by LAG and train it to completion; go on where a run was interrupted.

    Args:
        space: A space file, or one that is loaded.
        lag: K, in place of the space's `search.lag`.
        oracle: Train all candidates to completion and score the ranking.
        out: The run folder, in place of `reports/<name>`.
        serial: Train one candidate after the other in this process, without Ray.
        watch: Follows the run; a live table or plain lines when left out.

    Raises:
        LagsearchError: The space cannot be run; nothing was written.
        NoSurvivorError: Every candidate failed.
    """
    watch = watch or make_watch()
    file = _with_lag(space, lag, oracle=oracle)
    folder = RunFolder(Path(out) if out else Path("reports") / file.space.name)
    file = replace(file, space=folder.check(file.space))
    tokenizer = find_tokenizer(file)
    plan = make_plan(file, tokenizer)
    compute, slots = _resources(file, plan)
    store = _open_store(file, tokenizer, watch)
    lock = folder.lock()
    try:
        folder.begin(file.space, _plans(plan), _devices(compute))
        prepared = _Run(file, plan, store, folder, compute, slots, watch)
        sources = prepared.sources()
        jobs = prepared.jobs([source.state for source in sources])
        runner = run_serial if serial else _parallel(slots)
        prepared.search(jobs, runner)
        winner = prepared.winner(jobs, runner)
        prepared.save_winner(winner)
        began = time.monotonic()
        report = build_report(folder.path)
        folder.spend("report", time.monotonic() - began)
        folder.note(end=now())
    finally:
        lock.release()
    return RunResult(folder.path, report)


@dataclass(frozen=True)
class _Run:
    """One run's parts, and its phases in order."""

    file: SpaceFile
    plan: RunPlan
    store: TokenStore
    folder: RunFolder
    compute: Compute
    slots: Slots
    watch: Watch

    def sources(self) -> list[CachedSource]:
        """Train or read every source."""
        ready: list[CachedSource] = []
        with self._timed("sources"):
            for index, planned in enumerate(self.plan.sources):
                source = planned.source
                if planned.checkpoint is not None:
                    kind = self.file.space.objective.name
                    ready.append(from_checkpoint(source.name, planned.checkpoint, kind))
                    continue
                job = self._source_job(index)
                made_of = _made_of(job, self.store)
                if is_cached(made_of):
                    self.watch.say(f"source {source.name}: from the cache")
                    ready.append(pretrained(job, made_of, self.watch.progress))
                    continue
                self.watch.begin(f"source {source.name}", [source.name], job.training.steps)
                try:
                    ready.append(pretrained(job, made_of, self.watch.progress))
                    self.watch.finished(source.name)
                finally:
                    self.watch.end()
        self.folder.note(sources=[each.facts for each in ready])
        keeps = self.file.space.training.optimizer_state == "keep"
        for each in ready:
            if keeps and not each.facts["has_optimizer_state"]:
                self.watch.say(
                    f"source {each.facts['name']}: brings no optimizer state; it starts from zero"
                )
        return ready

    def jobs(self, sources: Sequence[Path]) -> dict[str, Job]:
        """Return what each candidate's process needs, by name."""
        return {each.name: self._job(each, tuple(sources)) for each in self.plan.candidates}

    def search(
        self, jobs: dict[str, Job], runner: Callable[[Sequence[Job], int, Watch, Finished], Outcome]
    ) -> None:
        """Train all candidates to K, or to completion with an oracle."""
        space = self.file.space
        until = space.training.steps if space.search.oracle else self.plan.lag
        missing = [job for job in jobs.values() if not self._has(job, until)]
        if not missing:
            return
        keep = BestStateOnly(self.plan.lag)
        for job in jobs.values():
            if self._has(job, until):
                keep.finished(job)
        self.watch.begin("search", [job.name for job in missing], until)
        try:
            outcome = runner(missing, until, self.watch, keep.finished)
        finally:
            self.watch.end()
        for name, reason in outcome.failures.items():
            if self.folder.curve(name).failure is None:
                step = max((e.step for e in self.folder.curve(name).evaluations), default=0)
                append(jobs[name].curve, Failure(step, reason, again=True))
        self.folder.spend("search", time.monotonic() - outcome.began)
        self.folder.note(slots=outcome.slots)

    def winner(
        self, jobs: dict[str, Job], runner: Callable[[Sequence[Job], int, Watch, Finished], Outcome]
    ) -> Job:
        """Rank at K and train the best to completion; if it fails there, the next best."""
        steps = self.file.space.training.steps
        while True:
            job = jobs[self._ranking()[0]]
            if self._has(job, steps) and (self.folder.winner.is_dir() or job.state.is_file()):
                return job
            if os.environ.get("RAY_ADDRESS") is None:
                runner = run_serial  # no worker to start for one model on this machine
            with self._timed("winner"):
                self.watch.begin(f"winner {job.name}", [job.name], steps)
                try:
                    outcome = runner([job], steps, self.watch, lambda job: None)
                finally:
                    self.watch.end()
            for reason in outcome.failures.values():
                if self.folder.curve(job.name).failure is None:
                    append(job.curve, Failure(self.plan.lag, reason))

    def save_winner(self, job: Job) -> None:
        """Write the winner as a Hugging Face checkpoint, and let go of all states."""
        from lagsearch.training.growth import build
        from lagsearch.training.state import load_weights

        if not self.folder.winner.is_dir():
            model, _, _ = build(job)
            load_weights(job.state, model)
            making = self.folder.path / ".winner.tmp"
            shutil.rmtree(making, ignore_errors=True)
            model.cpu().save_pretrained(making)  # type: ignore[operator]
            self.store.tokenizer().save_pretrained(making)
            making.replace(self.folder.winner)
        shutil.rmtree(self.folder.states, ignore_errors=True)

    def _ranking(self) -> list[str]:
        """Return the candidates that did not fail, best at K first.

        Raises:
            NoSurvivorError: All failed.
        """
        try:
            run = read_run(self.folder)
        except RunFolderError:
            reasons = {
                each.name: failure.failed
                for each in self.plan.candidates
                if (failure := self.folder.curve(each.name).failure) is not None
            }
            first = next(iter(reasons.items()), ("?", "?"))
            raise NoSurvivorError(
                f"{self.folder.path}: no candidate survived to step {self.plan.lag}; "
                f"{first[0]}: {first[1]}"
            ) from None
        return [name for name in run.ranking if name in run.table.candidates]

    def _has(self, job: Job, step: int) -> bool:
        """Return whether a candidate has come to a step, or failed for good."""
        curve = self.folder.curve(job.name)
        if curve.failure is not None:
            return not curve.failure.again
        return curve.at(step) is not None

    def _job(self, planned: PlannedCandidate, sources: tuple[Path, ...]) -> Job:
        space = self.file.space
        return Job(
            name=planned.name,
            config=planned.config,
            plan=planned.candidate.plan,
            sources=sources,
            n_parameters=planned.cost.parameters,
            init_seed=derive_seed(space.seed, "init", "target"),
            training=space.training,
            text=self._text("growth"),
            compute=self.compute,
            evaluate_at=self.plan.steps,
            curve=self.folder.curve_file(planned.name),
            state=self.folder.state_file(planned.name),
            flops_per_step=planned.cost.flops_per_step,
        )

    def _source_job(self, index: int) -> Job:
        """Return how a source is pretrained: a growth from nothing, with all of the machine."""
        from lagsearch.models.configs import plain_config

        planned = self.plan.sources[index]
        pretrain, space = planned.source.pretrain, self.file.space
        assert pretrain is not None
        shared = space.training.model_dump()
        changed = {key: value for key, value in pretrain.model_dump().items() if value is not None}
        changed.pop("config")
        training = Training.model_validate({**shared, "schedule": {}, **changed})
        name = planned.source.name
        threads = self.compute.threads * self.slots.number if not self.slots.gpus else 1
        return Job(
            name=name,
            config=plain_config(planned.config),
            plan=planned.plan,
            sources=(),
            n_parameters=planned.cost.parameters,
            init_seed=derive_seed(space.seed, "init", "source", name),
            training=training,
            text=self._text(f"source {name}"),
            compute=replace(self.compute, threads=threads),
            evaluate_at=source_steps(pretrain.steps),
            curve=Path(),
            state=Path(),
            flops_per_step=planned.cost.flops_per_step,
        )

    def _text(self, stream: str) -> Text:
        space = self.file.space
        tokenizer = self.store.tokenizer()
        return Text(
            store=self.store.folder,
            sequence_length=space.data.sequence_length,
            stream=stream,
            validation_batches=space.evaluation.batches,
            objective=make_objective(space.objective, tokenizer, vocabulary_size(tokenizer)),
            seed=space.seed,
        )

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.folder.spend(phase, time.monotonic() - began)


def _with_lag(space: str | Path | SpaceFile, lag: int | None, *, oracle: bool) -> SpaceFile:
    """Load a space if need be, and put K and the oracle into it."""
    file = space if isinstance(space, SpaceFile) else load_space(space)
    flags = {} if lag is None else {f"--lag {lag}": f"search.lag={lag}"}
    flags |= {"--oracle": "search.oracle=true"} if oracle else {}
    file = with_flags(file, flags)
    if file.space.search.lag is None:
        raise file.error(("search", "lag"), "is required: give it here or as --lag K")
    return file


def _open_store(file: SpaceFile, tokenizer: Any, watch: Watch) -> TokenStore:
    space = file.space
    try:
        make_objective(space.objective, tokenizer, vocabulary_size(tokenizer))
        store = open_store(space.data, tokenizer, watch.say)
        check_length(store, space.data, space.evaluation.batches * space.training.batch_size)
    except DataError as error:
        raise file.error(error.at, str(error)) from None
    return store


def _plans(plan: RunPlan) -> dict[str, Any]:
    """Return what `plans.json` holds."""
    return {
        "format": 1,
        "candidates": [
            {
                "name": each.name,
                "operator": each.candidate.operator,
                "settings": dict(each.candidate.settings),
                "is_baseline": each.candidate.is_baseline,
                "layer_map": each.layer_map,
                "plan": each.candidate.plan.to_dict(),
                "parameters": each.cost.parameters,
                "flops_per_step": each.cost.flops_per_step,
                "evaluation_flops": each.cost.evaluation_flops,
                "memory_bytes": each.cost.memory_bytes,
            }
            for each in plan.candidates
        ],
    }


def _made_of(job: Job, store: TokenStore) -> dict[str, Any]:
    """Return all that decides a pretrained source's weights."""
    from importlib.metadata import version

    return {
        "config": job.config,
        "training": written_out(job.training),
        "text": {
            "store": store.folder.name,
            "sequence_length": job.text.sequence_length,
            "stream": job.text.stream,
            "validation_batches": job.text.validation_batches,
            "objective": repr(job.text.objective),
            "seed": job.text.seed,
        },
        "init_seed": job.init_seed,
        "compute": [job.compute.threads, job.compute.device, job.compute.precision],
        "versions": [version("torch"), version("transformers")],
    }


def _resources(file: SpaceFile, plan: RunPlan) -> tuple[Compute, Slots]:
    """Decide device, precision and how many candidates run at a time on this machine."""
    import torch

    wanted = file.space.resources
    memory = max(each.cost.memory_bytes for each in plan.candidates)
    share = wanted.gpus_per_candidate
    gpus = gpu_share(memory) if share == "auto" else float(share)
    if gpus and not torch.cuda.is_available() and not os.environ.get("RAY_ADDRESS"):
        raise file.error(("resources", "gpus_per_candidate"), "this machine has no usable GPU")
    number = count_slots(wanted.cpus_per_candidate, gpus)
    if number < 1 and not os.environ.get("RAY_ADDRESS"):
        raise file.error(("resources",), "one candidate needs more than this machine has")
    device = "cuda" if gpus else "cpu"
    precision = file.space.training.precision
    if precision == "auto":
        has_bf16 = device == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    compute = Compute(threads=wanted.cpus_per_candidate, device=device, precision=precision)
    return compute, Slots(wanted.cpus_per_candidate, gpus, max(1, number))


def _devices(compute: Compute) -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"cpus": n_cpus(), "gpus": gpus, "used": compute.device, "precision": compute.precision}


def _parallel(slots: Slots) -> Callable[[Sequence[Job], int, Watch, Finished], Outcome]:
    """Return the runner that trains candidates in Ray."""

    def runner(jobs: Sequence[Job], until: int, watch: Watch, finished: Finished) -> Outcome:
        from lagsearch.search.ray_runner import run_ray

        return run_ray(jobs, until, slots, watch, finished)

    return runner
