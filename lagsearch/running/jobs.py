"""From a plan to jobs: what the process of each source and each candidate needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lagsearch.data.objectives.base import Predicts
from lagsearch.data.tokens.store import (
    Stores,
    ValidationSize,
    validation_size,
)
from lagsearch.errors import counted
from lagsearch.models.configs import plain_config
from lagsearch.planning.planned import PlannedCandidate, PlannedSource
from lagsearch.planning.stage import StagePlan
from lagsearch.records.folder import RunFolder
from lagsearch.running.growing import Beside, growth_on_disk
from lagsearch.running.trainers.job import TrainerJob
from lagsearch.running.workers.slots import placed
from lagsearch.space import (
    Space,
    Trainer,
    Training,
    annealed_steps,
    evaluated_rows,
    first_batches,
    log_ladder,
    measures_itself,
    thinned_steps,
    written_out,
)
from lagsearch.storage.files import derive_seed, digest
from lagsearch.training.job import Compute, Job, Text

_NOT_GROWN = {"optimizer_state": "keep", "new_parameters": None}  # what a source has no use for


@dataclass(frozen=True)
class JobMaker:
    """Makes the jobs of one run.

    Attributes:
        plan: What is run.
        store: The tokens.
        objective: What is predicted.
        folder: Where candidates leave their files.
        compute: What a candidate may use.
        source_threads: Threads of a source's pretraining, which has the machine for itself.
    """

    plan: StagePlan
    store: Stores
    objective: Predicts
    folder: RunFolder
    compute: Compute
    source_threads: int

    def candidates(self, sources: Mapping[int, Sequence[Path]]) -> dict[str, Job]:
        """Return the jobs of candidates and baselines under all seeds, by name (`Space.trial`).

        The first seed comes last: when a candidate's job under it ends, its loss is known under
        all, and with it whether its state is of use.

        Args:
            sources: State files of the sources, by seed.
        """
        jobs = [
            self._candidate(each, seed, tuple(sources[seed]))
            for seed in reversed(self.plan.space.seeds)
            for each in (*self.plan.candidates, *self.plan.baselines)
        ]
        first = {digest(job.config): job.name for job in reversed(jobs)}
        return {
            job.name: replace(job, is_first_of_its_shape=first[digest(job.config)] == job.name)
            for job in jobs
        }

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer that a trainer of the user's own is given."""
        return (self.folder.path / "tokenizer").absolute()

    def _by(self, trainer: Trainer, job: Job, planned: PlannedCandidate) -> TrainerJob:
        """Return a job that a trainer of the user's own does."""
        growth = growth_on_disk(self.plan, planned)
        more = Beside.of(self.plan, self.tokenizer)
        own = {each.name: getattr(job, each.name) for each in fields(job)}
        return TrainerJob(**own, trainer=trainer, growth=growth, beside=more, where=Path.cwd())

    def inputs(self) -> dict[str, Any]:
        """Return what decides the losses beside the space and the sources, as plain values.

        What evaluation takes other than training is there only where it is so: folders of before
        2026-11-29 evaluated all sequences of a training step, in fp32.
        """
        space, evaluates_in = self.plan.space, self._compute.evaluation
        rows = evaluated_rows(space, space.training.batch_size)
        is_same = rows == space.training.batch_size
        return {
            "tokens": self.store.identity,
            "threads": self.compute.threads,
            "source_threads": self.source_threads,
            "device": self.compute.device,
            "precision": self.compute.precision,
            **({} if evaluates_in == "fp32" else {"evaluation_precision": evaluates_in}),
            **({} if is_same else {"validation_batch_size": rows}),
            **_devices(self.compute),
            "versions": _versions(),
        }

    @property
    def _of_sources(self) -> Compute:
        """What a source may use: one device has all threads, several those of candidates."""
        compute = placed(self._compute, self.plan.space.resources.of_sources)
        several = compute.devices > 1
        return replace(compute, threads=compute.threads if several else self.source_threads)

    def alone(self, job: Job) -> Job:
        """Return a candidate's job when it is trained without others beside it: the winner's."""
        return replace(job, compute=placed(job.compute, self.plan.space.resources.of_winner))

    @property
    def _compute(self) -> Compute:
        """What a candidate may use, and what it is measured in."""
        is_same = self.plan.space.evaluation.precision == "same"
        return replace(self.compute, evaluation=self.compute.precision if is_same else "fp32")

    def source(self, planned: PlannedSource, seed: int) -> Job:
        """Return the job that pretrains a source under a seed: a growth from nothing.

        Its files are left for the cache to place.
        """
        pretrain, space, name = planned.source.pretrain, self.plan.space, planned.source.name
        assert pretrain is not None, name
        given = {key: value for key, value in pretrain.model_dump().items() if value is not None}
        given.pop("config")
        for key in ("part", "corpus"):
            given.pop(key, None)
        schedule: dict[str, Any] = {}
        if space.training.schedule.continued:
            schedule = space.training.schedule.model_dump()
            schedule |= {"continue": False, "rewarm_steps": 0}  # a source was not grown
            if space.training.schedule.falls and schedule["total_steps"] is None:
                schedule["total_steps"] = pretrain.steps + space.training.steps
        steps = tuple(sorted({*log_ladder(pretrain.steps), pretrain.steps}))
        optimizer = space.training.optimizer.model_dump() | {"lr_tuned_for": None}
        inherited = space.training.model_dump() | {**_NOT_GROWN, "optimizer": optimizer}
        training = Training.model_validate({**inherited, "schedule": schedule} | given)
        text = self._text(f"source {name}", seed, training.batch_size)
        return Job(
            name=name,
            config=plain_config(planned.config),
            plan=planned.plan,
            sources=(),
            n_parameters=planned.cost.parameters,
            init_seed=derive_seed(seed, "init", "source", name),
            training=training,
            text=replace(text, stores=self.store.of(name), part=pretrain.place_in_text),
            compute=self._of_sources,
            evaluate_at=steps,
            thinned=self._thinned(steps[1:-1], text),
            curve=Path(),
            state=Path(),
            flops_per_step=planned.cost.flops_per_step,
            profile=self.profile(f"sources/{name}"),
        )

    def profile(self, name: str) -> Path | None:
        """Return the file of where a model's time goes, or None where nobody asks."""
        if not self.plan.space.resources.profile:
            return None
        return self.folder.profile_file(name).absolute()

    @property
    def _tuned_for(self) -> dict[str, Any] | None:
        """The configuration that the rate is for, where a wider one learns at less."""
        if self.plan.space.training.optimizer.lr_tuned_for is None:
            return None
        return plain_config(self.plan.sources[0].config)

    @property
    def _stage(self) -> tuple[int, ...]:
        """What tells the random weights of a later stage from those of the first."""
        return (behind,) if (behind := self.plan.space.before.steps) else ()

    def _candidate(self, planned: PlannedCandidate, seed: int, sources: tuple[Path, ...]) -> Job:
        space = self.plan.space
        name = space.trial(planned.name, seed)
        text = self._text("growth", seed, space.training.batch_size)
        job = Job(
            name=name,
            config=planned.config,
            plan=planned.candidate.plan,
            sources=sources,
            n_parameters=planned.cost.parameters,
            init_seed=derive_seed(seed, "init", "target", *self._stage),
            training=self._training(planned),
            text=replace(text, behind=space.before.steps, rows_behind=space.before.sequences),
            compute=self._compute,
            evaluate_at=self._evaluated(planned.steps),
            thinned=self._thinned(thinned_steps(space), text),
            curve=self.folder.curve_file(name).absolute(),
            state=self.folder.state_file(name).absolute(),
            flops_per_step=planned.cost.flops_per_step,
            operator_flops=planned.cost.operator_flops,
            annealed=annealed_steps(space),
            ema=space.evaluation.ema,
            profile=self.profile(planned.name) if seed == space.seeds[0] else None,
            tuned_for=self._tuned_for,
        )
        return job if space.trainer is None else self._by(space.trainer, job, planned)

    def _training(self, planned: PlannedCandidate) -> Training:
        """Return a candidate's training, with the steps behind it that a schedule counts.

        The schedule of one that has steps of its own spans them; from random weights it goes on
        from nothing.
        """
        training, first = self.plan.space.training, self.plan.space.sources[0]
        plan = planned.candidate.plan
        if plan.steps is not None:
            own = {"total_steps": None} | ({} if plan.sources else {"continued": False})
            schedule = training.schedule.model_copy(update=own)
            training = training.model_copy(update={"schedule": schedule, "steps": planned.steps})
        if training.schedule.continued is not True or first.pretrain is None:
            return training
        schedule = training.schedule.model_copy(update={"continued": first.pretrain.steps})
        return training.model_copy(update={"schedule": schedule})

    def _evaluated(self, until: int) -> tuple[int, ...]:
        """Return all steps of evaluation; beyond those of all others, ten at equal distances.

        A trainer of the user's own has no checkpoints there but the last one.
        """
        steps, last = self.plan.steps, max(self.plan.steps)
        further = {last + (until - last) * tenth // 10 for tenth in range(1, 11)}
        return tuple(sorted({*steps, *({until} if self.plan.space.trainer else further)}))

    def _thinned(self, steps: Collection[int], text: Text) -> dict[int, int]:
        """Return how many validation batches are measured at steps that do not need all."""
        if not self.plan.space.evaluation.thin:
            return {}
        return dict.fromkeys(sorted(steps), first_batches(text.validation_batches))

    def _text(self, stream: str, seed: int, rows: int) -> Text:
        space = self.plan.space
        size = _size(space, self.store, self.objective, rows)
        return Text(
            stores=self.store,
            sequence_length=space.data.sequence_length,
            stream=stream,
            validation_batches=size.batches,
            validation_rows=None if size.rows == rows else size.rows,
            objective=self.objective,
            seed=seed,
            validation_seed=space.seed if (own := space.evaluation.seed) is None else own,
        )


def sizes_wanted(space: Space) -> list[ValidationSize]:
    """Return the validation batches that are asked for: of candidates, then of each source."""
    pretrained = [each.pretrain for each in space.sources if each.pretrain is not None]
    rows = space.training.batch_size
    sizes = [rows, *(each.batch_size or rows for each in pretrained)]
    return [_wanted(space, size) for size in sizes]


def with_validation(plan: StagePlan, store: Stores, objective: Predicts) -> StagePlan:
    """Return a plan that knows how many validation batches there are."""
    size = _size(plan.space, store, objective, plan.space.training.batch_size)
    batches = 1 if measures_itself(plan.space) else size.batches
    return replace(plan, validation=(batches, size.rows))


def tell_size(space: Space, store: Stores, objective: Predicts) -> str | None:
    """Say how many validation batches there are, where they are not those that are asked for."""
    wanted = _wanted(space, space.training.batch_size)
    size = _size(space, store, objective, space.training.batch_size)
    if size == wanted:
        return None
    batches, rows = wanted.batches, wanted.rows
    count = counted(batches, "batch")
    count = f"{size.batches} of {count}" if size.batches < batches else count
    each = f" of {counted(size.rows, 'sequence')} each instead of {rows}"
    smaller = each if size.rows < rows else ""
    return f"validation: {count}{smaller}: the held-out text has no more"


def _size(space: Space, store: Stores, objective: Predicts, rows: int) -> ValidationSize:
    wanted = _wanted(space, rows)
    return validation_size(store, objective, space.data.sequence_length, wanted)


def _wanted(space: Space, rows: int) -> ValidationSize:
    return ValidationSize(space.evaluation.batches, evaluated_rows(space, rows))


def made_of(job: Job) -> dict[str, Any]:
    """Return all that decides a pretrained source's weights, as plain values."""
    return {
        "config": job.config,
        "training": written_out(job.training),
        "text": {
            "store": job.text.stores.identity,
            "sequence_length": job.text.sequence_length,
            "stream": job.text.stream,
            "validation_batches": job.text.validation_batches,
            "objective": repr(job.text.objective),
            "seed": job.text.seed,
            "validation_seed": job.text.validation_seed,
            "part": job.text.part,
            **({"validation_rows": rows} if (rows := job.text.validation_rows) else {}),
            **({"behind": [job.text.behind, job.text.rows_behind]} if job.text.behind else {}),
        },
        "init_seed": job.init_seed,
        "compute": [job.compute.threads, job.compute.device, job.compute.precision],
        **_devices(job.compute),
        "versions": _versions(),
    }


def _devices(compute: Compute) -> dict[str, Any]:
    """Return the devices that train a model together, where there are several."""
    return {"devices": [compute.devices, compute.parallel]} if compute.devices > 1 else {}


def _versions() -> dict[str, str]:
    """Return the versions of the libraries that compute the losses."""
    return {package: version(package) for package in ("torch", "transformers")}
