"""From a space to all that can be known before training: configurations, plans, sizes, costs."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lagsearch.data.objectives.registry import objective_kind
from lagsearch.errors import (
    LagsearchError,
    MistakeError,
    ModelError,
    OperatorError,
    did_you_mean,
)
from lagsearch.models.checkpoints import open_checkpoint
from lagsearch.models.configs import (
    ModelShape,
    grown_config,
    plain_config,
    rebuild_config,
    shape_of,
    stored_name,
    target_shape,
)
from lagsearch.models.files import locate_checkpoint
from lagsearch.operators import (
    ANY,
    SOURCE,
    Candidate,
    Drawn,
    GrowthPlan,
    all_operators,
    alternatives,
    find_operator,
    make_candidate,
    sampled_settings,
)
from lagsearch.operators.catalog.scratch import fresh_plan
from lagsearch.operators.execute.fill import check_fit
from lagsearch.planning.cost import ModelCost, Models
from lagsearch.planning.guideline import advise_growth
from lagsearch.planning.listing import (
    LeftOut,
    Listing,
    names_in,
    tell_left_out,
)
from lagsearch.planning.names import check_names, lacking, tell_signal
from lagsearch.planning.sampling_domain import Domain, make_domain
from lagsearch.planning.vocabulary import (
    Vocabulary,
    check_vocabulary,
    complete_config,
    make_room,
)
from lagsearch.selection import find_strategy
from lagsearch.space import (
    Before,
    Entry,
    Source,
    Space,
    StageFile,
    annealed_steps,
    evaluated_rows,
    evaluation_steps,
    expand,
    expand_baselines,
    first_batches,
    matching,
    thinned_steps,
)
from lagsearch.storage.files import digest

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class PlannedSource:
    """A source before it is trained or read.

    Attributes:
        source: What the space says.
        config: Its transformers configuration.
        cost: What one step of its own training takes.
        checkpoint: Local folder of its checkpoint, if it is one.
        n_tokens: Rows that a checkpoint's embedding is given, where it has too few for the tokens
            that the objective adds.
        notes: What a user should know of how a checkpoint is read.
    """

    source: Source
    config: Any
    cost: ModelCost
    checkpoint: Path | None
    n_tokens: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> GrowthPlan:
        """How it is made when it is pretrained: from random weights."""
        return fresh_plan(shape_of(self.config).n_layers)


@dataclass(frozen=True)
class PlannedCandidate:
    """A candidate before it is grown.

    Attributes:
        candidate: Its name, operator, settings and growth plan.
        config: The target's configuration as plain values.
        cost: What one step takes.
        steps: Its completion: training steps after growth.
        also: Further names, of candidates that are the same growth.
    """

    candidate: Candidate
    config: dict[str, Any]
    cost: ModelCost
    steps: int
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def layer_map(self) -> str:
        """The layers drawn, e.g. `0 1 0* 1* 2`."""
        return self.candidate.plan.layer_map()

    @property
    def title(self) -> str:
        """All its names, e.g. `stack = lag-i0-b4-duplicate`."""
        return " = ".join((self.name, *self.also))

    @property
    def is_baseline(self) -> bool:
        """Whether it serves for comparison."""
        return self.candidate.is_baseline

    @property
    def growth(self) -> str:
        """What is the same for candidates that come to the same growth."""
        return digest(self.candidate.plan.to_dict())


@dataclass(frozen=True, repr=False)
class StagePlan:
    """A stage before it begins: one growth.

    Attributes:
        space: What was asked for.
        sources: In the order of the space.
        candidates: In the order of the space. Where they are sampled: what is known of them so
            far, after the baselines that are listed.
        steps: Evaluated steps.
        planner: Plans further candidates.
        domain: What candidates are sampled from; None where they are listed.
        left_out: Candidates that do not fit, where the space says that they are left out.
        validation: Validation batches and the sequences in each; those that are asked for until the
            text is seen.
        baselines: What the candidates are compared with, and what is not ranked among them.
    """

    space: Space
    sources: tuple[PlannedSource, ...]
    candidates: tuple[PlannedCandidate, ...]
    steps: tuple[int, ...]
    planner: "Planner"
    domain: Domain | None = None
    left_out: tuple[LeftOut, ...] = ()
    validation: tuple[int, int] | None = None
    baselines: tuple[PlannedCandidate, ...] = ()

    @property
    def read_notes(self) -> tuple[str, ...]:
        """What a user should know of how the sources' checkpoints are read."""
        return tuple(f"{each.source.name}: {note}." for each in self.sources for note in each.notes)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is left out of the space's candidates and why, and what ranks them, in lines."""
        return (*tell_left_out(self.left_out), *tell_signal(self.space))

    @property
    def names(self) -> dict[str, str]:
        """Each candidate's name by every name that it has."""
        return names_in((each.name, each.also) for each in self.candidates)

    @property
    def summary(self) -> str:
        """Candidates, K and steps in a few words."""
        steps = self.space.training.steps
        return f"{len(self.candidates)} candidates, K = {self.lag} of {steps} steps"

    def __repr__(self) -> str:
        return f"StagePlan({self.space.name!r}: {self.summary})"

    def as_html(self) -> str:
        """Return its candidates as a table for a notebook."""
        from lagsearch.display.notebook import Row, table_html

        rows = [
            Row(
                each.name,
                each.layer_map,
                (f"{each.cost.parameters:,}", f"{each.cost.flops_per_step:.2e}"),
            )
            for each in self.candidates
        ]
        heads = ("candidate", "parameters", "FLOPs/step")
        search, every = self.search_flops(), self.flops(self.space.training.steps)
        share = (search + self.winner_flops()) / every
        title = f"{self.space.name}: {len(rows)} candidates, ranked after {self.lag:,} steps of "
        title += f"{self.space.training.steps:,}"
        more = f"Search and winner take {share:.0%} of the FLOPs of training all, {every:.2e}."
        return table_html(title, heads, rows, more)

    @property
    def ranked_baselines(self) -> tuple[PlannedCandidate, ...]:
        """The candidates that serve for comparison, and are ranked among the others."""
        return tuple(each for each in self.candidates if each.candidate.is_baseline)

    @property
    def lag(self) -> int:
        """The step by which the winner is chosen: K, or what is later."""
        return self.space.latest_lag

    @property
    def search_steps(self) -> int:
        """Training steps of all candidates in the search, at most, under one seed."""
        space, count = self.space, self.n_searched
        beyond = (self.lag - space.first_lag) * space.n_finalists(count)
        return count * space.first_lag + beyond

    @property
    def n_searched(self) -> int:
        """How many candidates there are or, where they are sampled, may be."""
        listed = len(self.candidates)
        return listed if self.domain is None else len(self.ranked_baselines) + (self.n_sampled or 0)

    def search_flops(self) -> int:
        """Return the training FLOPs of the search, at most."""
        space, count = self.space, self.n_searched
        to_first, to_latest = self.flops(space.first_lag), self.flops(self.lag)
        return to_first + (to_latest - to_first) * space.n_finalists(count) // count

    @property
    def validation_size(self) -> tuple[int, int]:
        """Validation batches and the sequences in each."""
        return self.validation or self._asked

    @property
    def _asked(self) -> tuple[int, int]:
        space = self.space
        return space.evaluation.batches, evaluated_rows(space, space.training.batch_size)

    def evaluated(self, cost: ModelCost) -> int:
        """Return the FLOPs of one evaluation of a candidate, of all validation batches."""
        return cost.evaluation_flops * math.prod(self.validation_size) // math.prod(self._asked)

    @property
    def evaluations(self) -> dict[int, int]:
        """How many validation batches are measured at each step up to K."""
        batches, thinned = self.validation_size[0], thinned_steps(self.space)
        few = first_batches(batches)
        steps = [step for step in self.steps if step <= self.lag]
        return {step: few if step in thinned else batches for step in steps}

    def evaluation_flops(self) -> int:
        """Return the FLOPs of the evaluations of the search, at most."""
        space, count, batches = self.space, self.n_searched, self.validation_size[0]
        each = [
            (self.evaluated(one.cost), self.evaluated(one.cost) // (1 + self._is_averaged))
            for one in self.candidates
        ]
        whole, annealed = (sum(column) * count / len(each) for column in zip(*each, strict=True))
        total = 0.0
        for step, measured in self.evaluations.items():
            share = 1.0 if step <= space.first_lag else space.n_finalists(count) / count
            total += share * whole * measured / batches
            total += share * annealed * (step in annealed_steps(space))
        return round(total) * len(space.seeds)

    @property
    def _is_averaged(self) -> bool:
        return self.space.evaluation.ema is not None

    def source_flops(self) -> int | None:
        """Return the training FLOPs of all sources; None where a checkpoint's are not known."""
        once = _source_flops(self.sources)
        often = len(self.space.seeds) if self.space.search.vary_sources else 1
        return None if once is None else once * often

    def baseline_flops(self) -> int:
        """Return the FLOPs of baselines: those of candidates are what goes beyond completion.

        Under the first seed they are trained to their ends, under others as the candidates are.
        """
        space = self.space
        others = (len(space.seeds) - 1) * (
            space.training.steps if space.search.oracle else self.lag
        )
        steps = [(each.steps - space.training.steps, each.cost) for each in self.candidates]
        steps += [(each.steps + others, each.cost) for each in self.baselines]
        return sum(count * cost.flops_per_step for count, cost in steps)

    def flops(self, steps: int) -> int:
        """Return the training FLOPs of all candidates for a number of steps, growth included.

        Each is trained once under each seed; decays that branch off on the way are in. Those that
        are still to be sampled are taken to cost what the candidates do on average.
        """
        steps += sum(count for at, count in annealed_steps(self.space).items() if at <= steps)
        costs = {
            each.name: steps * each.cost.flops_per_step + each.cost.operator_flops
            for each in self.candidates
        }
        once = sum(costs.values())
        if self.domain is not None:
            fixed = sum(costs[each.name] for each in self.ranked_baselines)
            n_examples = len(costs) - len(self.ranked_baselines)
            once = fixed + (once - fixed) * (self.n_sampled or 0) // n_examples
        return once * len(self.space.seeds)

    @property
    def n_sampled(self) -> int | None:
        """How many growths are sampled, at most; None where candidates are listed."""
        wanted = self.space.search.candidates
        return None if self.domain is None or wanted is None else min(wanted, self.domain.size)

    def advice(self) -> str:
        """Say what G_stack's guideline on when to grow means here."""
        space, first = self.space, self.sources[0]
        length, rows = space.data.sequence_length, space.training.batch_size
        source_tokens = None
        if (pretrain := first.source.pretrain) is not None:
            source_tokens = pretrain.steps * (pretrain.batch_size or rows) * length
        grown = self.candidates[0].cost.layer_parameters
        tokens = space.training.steps * rows * length
        return advise_growth(grown, tokens, source_tokens, grown / first.cost.layer_parameters)

    def winner_flops(self) -> int:
        """Return the FLOPs of training one candidate from K to completion, the dearest if any."""
        dearest = max(each.cost.flops_per_step for each in self.candidates)
        return (self.space.training.steps - self.lag) * dearest


@dataclass(frozen=True)
class Planner:
    """Plans one candidate after the other.

    Attributes:
        file: The space.
        sources: In the order of the space.
        target: Shape to reach.
        models: What configurations lead to.
    """

    file: StageFile
    sources: tuple[PlannedSource, ...]
    target: ModelShape
    models: Models

    @property
    def shapes(self) -> dict[str, ModelShape]:
        """Shapes of the sources by their names."""
        return {each.source.name: shape_of(each.config) for each in self.sources}

    def candidate(self, entry: Entry) -> PlannedCandidate:
        """Plan a candidate, each setting of which has one value.

        Raises:
            OperatorError: Its settings do not fit.
            ModelError: Its model cannot be.
        """
        space, models = self.file.space, self.models
        names, shapes = tuple(self.shapes), tuple(self.shapes.values())
        candidate = make_candidate(entry.operator, entry.settings, shapes, self.target, names)
        _check_ramp(candidate.plan, space)
        config = self._config(candidate)
        model = models.of(config)
        model.check_positions(config, space.data.sequence_length)
        stacks = [models.of(each.config, _batch_size(each.source)) for each in self.sources]
        tensors = [each.tensors for each in stacks]
        check_fit(candidate.plan, model.stack, tensors, model.tensors)
        cost = model.cost_of(candidate.plan, tensors)
        steps = self._completion(candidate.plan, cost)
        return PlannedCandidate(candidate, plain_config(config), cost, steps)

    def _config(self, candidate: Candidate) -> Any:
        """Return the configuration of a candidate's model."""
        plan = candidate.plan
        if find_operator(candidate.operator).reaches == "source":
            return self.sources[min(plan.sources)].config
        changes = {**self.file.space.target, **plan.config_changes()}
        origins = [layer.layer for layer in plan.layers]
        return grown_config(self.sources[0].config, changes, origins)

    def _completion(self, plan: GrowthPlan, cost: ModelCost) -> int:
        """Return the training steps of a candidate.

        Raises:
            OperatorError: It has too few of its own, or they cannot be known.
        """
        steps = self.file.space.training.steps
        if plan.steps is None:
            return steps
        if plan.steps == "matched":
            return max(steps, math.ceil(self._matched_flops(plan) / cost.flops_per_step))
        if plan.steps < steps:
            raise OperatorError(f"is less than training.steps {steps}", "steps")
        return plan.steps

    def _matched_flops(self, plan: GrowthPlan) -> int:
        """Return what a growth's training takes and, where none is taken from, the sources' too."""
        space = self.file.space
        target = grown_config(self.sources[0].config, space.target, [None] * self.target.n_layers)
        growing = space.training.steps * self.models.of(target).cost.flops_per_step
        if plan.sources:
            return growing
        if (spent := _source_flops(self.sources)) is None:
            message = "matched needs the compute of sources, and a checkpoint's is not known"
            raise OperatorError(f"{message}: a number", "steps")
        return growing + spent

    def baselines(self, names: Collection[str]) -> tuple[PlannedCandidate, ...]:
        """Plan what candidates are compared with.

        Args:
            names: Those of the candidates.

        Raises:
            SpaceError: One cannot be.
        """
        planned: dict[str, PlannedCandidate] = {}
        places: dict[str, str] = {}
        for entry in _compared(self):
            try:
                if not find_operator(entry.operator).is_baseline:
                    raise OperatorError(f"{entry.operator} is a growth: list it in candidates")
                each = self.candidate(entry)
                if each.name in names or places.get(each.name) == entry.at[0]:
                    raise OperatorError(f"{each.name} is there twice: list it once")
            except (OperatorError, ModelError) as error:
                setting = getattr(error, "setting", None)
                at = (*entry.at, setting) if setting else entry.at
                raise self.file.error(at, str(error)) from None
            planned[each.name] = each
            places[each.name] = str(entry.at[0])
        return tuple(planned.values())

    def control(self, entry: Entry) -> Entry | None:
        """Return what a growth of several sources is compared with, where that is asked for.

        It is the same growth with copies of the first source alone; it learns, where it does, as
        they do.
        """
        control = find_operator(entry.operator).control
        if control is None or not self.file.space.search.single_model_control:
            return None
        kept = {key: entry.settings[key] for key in control.takes if key in entry.settings}
        return Entry(control.operator, kept, entry.at)


def make_planner(file: StageFile, vocabulary: Vocabulary | None) -> Planner:
    """Read what candidates are grown from and to.

    Args:
        file: The space.
        vocabulary: The tokenizer's; None where configurations say all that is needed of it.

    Raises:
        LagsearchError: Something cannot be; the message has the line of the space file.
    """
    from lagsearch.models.build import quiet

    quiet()
    space = file.space
    _check_optimizers(file)
    models = Models(space)
    sources = tuple(_source(file, index, vocabulary, models) for index in range(len(space.sources)))
    return Planner(file, sources, _target(file, sources[0].config), models)


def make_plan(file: StageFile, vocabulary: Vocabulary | None) -> StagePlan:
    """Work out a run without training anything.

    Args:
        file: The space.
        vocabulary: The tokenizer's; None where configurations say all that is needed of it.

    Raises:
        LagsearchError: Something cannot be; the message has the line of the space file.
    """
    check_names(file)
    planner = make_planner(file, vocabulary)
    listing = Listing[PlannedCandidate](file, tuple(planner.shapes))
    domain = None
    if find_strategy(file.space.search.strategy).samples:
        domain = _take_examples(planner, listing)
    else:
        _take_all(planner, listing)
    listing.check()
    if not listing.candidates:
        raise file.error(("candidates",), "lists nothing to rank: continue grows nothing")
    _check_new_parameters(file, listing.candidates)
    planned = tuple(
        replace(each, also=tuple(listing.also[each.name])) for each in listing.candidates
    )
    plan = StagePlan(
        *(file.space, planner.sources, planned, evaluation_steps(file.space), planner, domain),
        left_out=tuple(listing.left_out),
        baselines=planner.baselines({name for each in planned for name in (each.name, *each.also)}),
    )
    if domain is None:
        _check_chosen(file, tuple(plan.names))
    return plan


def _take_all(planner: Planner, listing: Listing[PlannedCandidate]) -> None:
    """Plan the listed candidates, words that mean several spelt out, and controls beside them."""
    controls: dict[str, Entry] = {}
    space, names = planner.file.space, tuple(planner.shapes)
    for entry in _ranked(space):
        try:
            _check_listed(
                sampled_settings(entry.operator, entry.settings, planner.shapes, planner.target)
            )
            found = alternatives(entry.operator, entry.settings, names, space.seed)
        except OperatorError as error:
            listing.refuse(entry.at, error, entry.operator)
            continue
        for settings in found:
            spelt = replace(entry, settings=settings)
            listing.take(spelt, partial(planner.candidate, spelt))
            if (control := planner.control(spelt)) is not None:
                controls[digest([control.operator, control.settings])] = control
    for control in controls.values():
        listing.take(control, partial(planner.candidate, control), is_listed=False)


def _take_examples(planner: Planner, listing: Listing[PlannedCandidate]) -> Domain:
    """Plan baselines, and one example of every value that may be sampled.

    So what cannot be at all is found before anything is trained.
    """
    space = planner.file.space

    def example(entry: Entry) -> PlannedCandidate:
        planned = planner.candidate(entry)
        if (control := planner.control(entry)) is not None:
            planner.candidate(control)
        return planned

    domain = make_domain(space, planner.shapes, planner.target, listing.refuse)
    listed = [each for each in _ranked(space) if each.operator in _baselines()]
    for entry in (*listed, *domain.examples()):
        listing.take(entry, partial(example, entry))
    return domain


def _baselines() -> set[str]:
    return {each.name for each in all_operators() if each.is_baseline}


def _check_optimizers(file: StageFile) -> None:
    """Check that torch has the optimizers that are asked for.

    Raises:
        SpaceError: It lacks one.
    """
    own = [each.pretrain.optimizer if each.pretrain else None for each in file.space.sources]
    places: list[tuple[str | int, ...]] = [("training",)]
    places += [("sources", index, "pretrain") for index in range(len(own))]
    for at, optimizer in zip(places, [file.space.training.optimizer, *own], strict=True):
        if optimizer is not None and (reason := lacking(optimizer.name)) is not None:
            raise file.error((*at, "optimizer", "name"), reason)


def _check_new_parameters(file: StageFile, planned: "Sequence[PlannedCandidate]") -> None:
    """Check that what is said of new parameters alone is said of any.

    Raises:
        SpaceError: No growth has both new parameters and the source's own.
    """
    grown = [each.candidate.plan for each in planned if each.candidate.plan.sources]
    if file.space.training.new_parameters is None or not grown:
        return
    if not any(plan.has_new_and_own for plan in grown):
        at = ("training", "new_parameters")
        message = "changes nothing: no candidate has new parameters beside its source's own"
        raise file.error(at, message)


def _check_chosen(file: StageFile, names: "Sequence[str]") -> None:
    """Check that there are candidates of the names that are to be evaluated on downstream tasks.

    Raises:
        SpaceError: A name or pattern is none of theirs.
    """
    harness = file.space.evaluation.harness
    for index, pattern in enumerate(harness.candidates if harness else ()):
        if not matching(pattern, names):
            at = ("evaluation", "harness", "candidates", index)
            hint = did_you_mean(pattern, list(names)) or "; `lagsearch plan` lists them"
            raise file.error(at, f"is the name or pattern of no candidate{hint}")


def _target(file: StageFile, source: Any) -> ModelShape:
    """Find the shape to grow to, and check that it is above the source where that is to grow."""
    changes, own = file.space.target, shape_of(source)
    try:
        target = target_shape(source, changes)
    except ModelError as error:
        raise file.error(("target",), str(error)) from None
    if target.n_layers < (depth := own.n_layers):
        key = next(key for key in changes if stored_name(source, key) not in target.keys)
        raise file.error(("target", key), f"is shallower than the source's {depth} layers")
    is_same = target.n_layers == depth and not own.differences(target)
    grows = any(each.get("operator") not in _baselines() for each in file.space.candidates)
    if is_same and grows and len(file.space.sources) == 1:
        ways = f"give more layers than {depth}, or a larger width"
        raise file.error(("target",), f"is the source's own shape, so that nothing grows: {ways}")
    return target


def _ranked(space: Space) -> Iterator[Entry]:
    """Yield the listed candidates but those that do not reach the target."""
    yield from (entry for entry in expand(space) if not _is_ungrown(entry))


def _compared(planner: Planner) -> Iterator[Entry]:
    """Yield what candidates are compared with; one for each source where none is named."""
    space, names = planner.file.space, tuple(planner.shapes)
    listed = [entry for entry in expand(space) if _is_ungrown(entry)]
    for entry in (*listed, *expand_baselines(space)):
        if len(names) > 1 and _is_ungrown(entry) and SOURCE not in entry.settings:
            for name in names:
                yield replace(entry, settings={**entry.settings, SOURCE: name})
        else:
            yield entry


def _is_ungrown(entry: Entry) -> bool:
    """Return whether an entry's model has a source's shape, not the target's."""
    named = [each for each in all_operators() if each.name == entry.operator]
    return any(each.reaches == "source" for each in named)


def _check_listed(words: Mapping[str, Drawn]) -> None:
    for setting, each in words.items():
        message = f"{ANY} stands for {each.size:,} candidates, which are not listed: "
        ask = "search: {strategy: optuna, candidates: 40} tries some of them"
        raise MistakeError(message + ask, setting)


def _source_flops(sources: "Sequence[PlannedSource]") -> int | None:
    total = 0
    for each in sources:
        if each.source.pretrain is None:
            return None
        total += each.source.pretrain.steps * each.cost.flops_per_step
    return total


def _check_ramp(plan: GrowthPlan, space: Space) -> None:
    if plan.ramp_end > space.training.steps:
        raise OperatorError(
            f"a ramp that ends at step {plan.ramp_end} is not over at completion, training.steps "
            f"{space.training.steps}: the checkpoint would not compute what was measured",
            "ramp_steps",
        )


def _source(
    file: StageFile, index: int, vocabulary: Vocabulary | None, models: Models
) -> PlannedSource:
    """Find a source's configuration and cost."""
    source = file.space.sources[index]
    at: tuple[str | int, ...] = ("sources", index)
    checkpoint = n_tokens = None
    notes: tuple[str, ...] = ()
    try:
        if source.pretrain is not None:
            at = (*at, "pretrain", "config")
            config = complete_config(source.pretrain.config, vocabulary)
        elif source.before is not None:
            at = ("sources",)
            config = _before(source.before, vocabulary)
        else:
            at = (*at, "checkpoint")
            checkpoint = locate_checkpoint(source.checkpoint or "")
            config, notes = _brought(checkpoint, file.space)
            n_tokens = make_room(config, vocabulary)
        if vocabulary is not None:
            check_vocabulary(config, vocabulary)
        model = models.of(config, _batch_size(source))
        model.check_positions(config, file.space.data.sequence_length)
        return PlannedSource(source, config, model.cost, checkpoint, n_tokens, notes)
    except LagsearchError as error:
        raise file.error(at, str(error)) from None


def _brought(checkpoint: Path, space: Space) -> tuple[Any, tuple[str, ...]]:
    """Return a checkpoint's configuration, and what a user should know of how it is read.

    Raises:
        ModelError: It cannot be read as what the objective trains.
    """
    opened = open_checkpoint(checkpoint, objective_kind(space.objective))
    opened.check_whole()
    stored = str(opened.tensors.usual_type).removeprefix("torch.")
    notes = opened.notes
    if stored != "float32":
        kept = {"fp32": "saved in fp32", "source": f"saved in {stored}, too"}
        winner = kept[space.resources.save_dtype]
        notes += (
            f"{checkpoint} is in {stored}: it is trained in fp32, and the winner is {winner} "
            "(resources.save_dtype)",
        )
    return opened.config, notes


def _before(before: Before, vocabulary: Vocabulary | None) -> Any:
    """Return the configuration that a stage begins with."""
    if before.steps == 0:
        return complete_config(before.config, vocabulary)
    return rebuild_config(before.config)


def _batch_size(source: Source) -> int | None:
    return source.pretrain.batch_size if source.pretrain else None


def recorded(plan: StagePlan) -> dict[str, Any]:
    """Return what `plans.json` holds: the growth and cost of every candidate and baseline."""

    def record(planned: PlannedCandidate) -> dict[str, Any]:
        return {
            "name": planned.name,
            "also": list(planned.also),
            "operator": planned.candidate.operator,
            "settings": dict(planned.candidate.settings),
            "is_baseline": planned.candidate.is_baseline,
            "layer_map": planned.layer_map,
            "plan": planned.candidate.plan.to_dict(),
            "steps": planned.steps,
            **asdict(planned.cost),
            "evaluation_flops": plan.evaluated(planned.cost),
        }

    return {
        "format": 1,
        "validation_batches": plan.validation_size[0],
        "candidates": [record(each) for each in plan.candidates],
        "baselines": [record(each) for each in plan.baselines],
        "left_out": [asdict(each) for each in plan.left_out],
    }
