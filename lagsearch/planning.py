"""From a space to all that can be known before training: configurations, plans, sizes, costs."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lagsearch.costs import ModelCost, Models
from lagsearch.domain import Domain, DomainError, make_domain
from lagsearch.errors import (
    LagsearchError,
    ModelError,
    OperatorError,
    did_you_mean,
)
from lagsearch.guideline import advise
from lagsearch.models.checkpoints import locate_checkpoint, open_checkpoint
from lagsearch.models.configs import (
    ModelShape,
    grown_config,
    plain_config,
    rebuild_config,
    shape_of,
    stored_name,
    target_shape,
)
from lagsearch.operators import (
    ANY,
    Candidate,
    Drawn,
    GrowthPlan,
    alternatives,
    drawn,
    find_operator,
    make_candidate,
)
from lagsearch.operators.execute import check_fit
from lagsearch.operators.scratch import fresh_plan
from lagsearch.space import (
    Before,
    Entry,
    Source,
    Space,
    SpaceFile,
    annealed_steps,
    evaluation_steps,
    expand,
    load_space,
    matching,
    with_flags,
)
from lagsearch.storage import digest
from lagsearch.vocabulary import (
    Vocabulary,
    check_vocabulary,
    complete_config,
    make_room,
    vocabulary_without_data,
)

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
    """

    candidate: Candidate
    config: dict[str, Any]
    cost: ModelCost
    steps: int

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def layer_map(self) -> str:
        """The layers drawn, e.g. `1 2 1* 2* 3`."""
        return self.candidate.plan.layer_map()

    @property
    def growth(self) -> str:
        """What is the same for candidates that come to the same growth."""
        return digest(self.candidate.plan.to_dict())


@dataclass(frozen=True)
class RunPlan:
    """A whole run before it begins.

    Attributes:
        space: What was asked for.
        sources: In the order of the space.
        candidates: In the order of the space. Where they are sampled: what is known of them so
            far, after the baselines.
        steps: Evaluated steps.
        planner: Plans further candidates.
        domain: What candidates are sampled from; None where they are listed.
        notes: What could not be looked at, and what of a checkpoint is not read.
        documents: What stands between documents, where that is known.
    """

    space: Space
    sources: tuple[PlannedSource, ...]
    candidates: tuple[PlannedCandidate, ...]
    steps: tuple[int, ...]
    planner: "Planner"
    domain: Domain | None = None
    notes: tuple[str, ...] = ()
    documents: str = ""

    @property
    def read_notes(self) -> tuple[str, ...]:
        """What a user should know of how the sources' checkpoints are read."""
        return tuple(f"{each.source.name}: {note}." for each in self.sources for note in each.notes)

    @property
    def baselines(self) -> tuple[PlannedCandidate, ...]:
        """The candidates that serve for comparison."""
        return tuple(each for each in self.candidates if each.candidate.is_baseline)

    @property
    def lag(self) -> int:
        """K, or the largest that it may become."""
        return self.space.latest_lag

    def source_flops(self) -> int | None:
        """Return the training FLOPs of all sources; None where a checkpoint's are not known."""
        once = _source_flops(self.sources)
        often = len(self.space.seeds) if self.space.search.vary_sources else 1
        return None if once is None else once * often

    def baseline_flops(self) -> int:
        """Return the FLOPs of training baselines on that have more steps than all others."""
        further = [(each.steps - self.space.training.steps, each.cost) for each in self.candidates]
        return sum(steps * cost.flops_per_step for steps, cost in further)

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
            fixed = sum(costs[each.name] for each in self.baselines)
            n_examples = len(costs) - len(self.baselines)
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
        return advise(grown, tokens, source_tokens, grown / first.cost.layer_parameters)

    def winner_flops(self) -> int:
        """Return the FLOPs of training one candidate from K to completion, the dearest if any."""
        dearest = max(each.cost.flops_per_step for each in self.candidates)
        return (self.space.training.steps - self.lag) * dearest


def plan(space: str | Path | SpaceFile, *, lag: "int | Literal['auto'] | None" = None) -> RunPlan:
    """Work out every candidate and the cost of the search; nothing is trained.

    Args:
        space: A space file, or one that is loaded.
        lag: K, in place of the space's `search.lag`.

    Raises:
        LagsearchError: Something in the space cannot be.
    """
    file = with_lag(space, lag, oracle=False)
    vocabulary, notes = vocabulary_without_data(file)
    made = make_plan(file, vocabulary)
    documents = vocabulary.documents if vocabulary else ""
    return replace(made, notes=(*made.read_notes, *notes), documents=documents)


def with_lag(
    space: str | Path | SpaceFile,
    lag: "int | Literal['auto'] | None",
    *,
    oracle: bool,
    profile: bool = False,
    seeds: "Sequence[int]" = (),
) -> SpaceFile:
    """Load a space if need be, and put into it what a command says beside it.

    Raises:
        SpaceError: The space is wrong, or has no K.
    """
    file = space if isinstance(space, SpaceFile) else load_space(space)
    flags = {} if lag is None else {f"--lag {lag}": f"search.lag={lag}"}
    flags |= {"--oracle": "search.oracle=true"} if oracle else {}
    listed = ",".join(map(str, seeds))
    flags |= {f"--seeds {listed}": f"search.seeds=[{listed}]"} if seeds else {}
    flags |= {"--profile": "resources.profile=true"} if profile else {}
    file = with_flags(file, flags)
    if file.space.search.lag is None:
        raise file.error(
            ("search", "lag"), "is required: give it here or as --lag K, a number or auto"
        )
    return file


@dataclass(frozen=True)
class Planner:
    """Plans one candidate after the other.

    Attributes:
        file: The space.
        sources: In the order of the space.
        target: Shape to reach.
        models: What configurations lead to.
    """

    file: SpaceFile
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
        space, models, base = self.file.space, self.models, self.sources[0].config
        names, shapes = tuple(self.shapes), tuple(self.shapes.values())
        candidate = make_candidate(entry.operator, entry.settings, shapes, self.target, names)
        _check_ramp(candidate.plan, space)
        origins = [layer.layer for layer in candidate.plan.layers]
        changes = {**space.target, **candidate.plan.config_changes()}
        config = grown_config(base, changes, origins)
        model = models.of(config)
        model.check_positions(config, space.data.sequence_length)
        stacks = [models.of(each.config, _batch_size(each.source)) for each in self.sources]
        tensors = [each.tensors for each in stacks]
        check_fit(candidate.plan, model.stack, tensors, model.tensors)
        cost = model.cost_of(candidate.plan, tensors)
        steps = _completion(candidate.plan, space, self.sources, cost)
        return PlannedCandidate(candidate, plain_config(config), cost, steps)

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


def make_planner(file: SpaceFile, vocabulary: Vocabulary | None) -> Planner:
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


def make_plan(file: SpaceFile, vocabulary: Vocabulary | None) -> RunPlan:
    """Work out a run without training anything.

    Args:
        file: The space.
        vocabulary: The tokenizer's; None where configurations say all that is needed of it.

    Raises:
        LagsearchError: Something cannot be; the message has the line of the space file.
    """
    planner = make_planner(file, vocabulary)
    if file.space.search.strategy == "optuna":
        return _sampled_from(planner)
    planned: list[PlannedCandidate] = []
    known: dict[str, str] = {}
    plans: dict[str, str] = {}
    for entry, is_control in _entries(planner):
        try:
            each = planner.candidate(entry)
            if is_control and each.growth in plans:
                continue
            _check_new(each, known, plans)
            planned.append(each)
        except (OperatorError, ModelError) as error:
            raise _located(file, entry.at, error) from None
    _check_chosen(file, names=[each.name for each in planned])
    return RunPlan(
        file.space, planner.sources, tuple(planned), evaluation_steps(file.space), planner
    )


def _sampled_from(planner: Planner) -> RunPlan:
    """Plan baselines, and one example of every value that may be sampled.

    So what cannot be at all is found before anything is trained. Two examples may be one growth.
    """
    file = planner.file
    try:
        domain = make_domain(file.space, planner.shapes, planner.target)
    except DomainError as error:
        raise _located(file, error.at, error) from None
    listed = [each for each in expand(file.space) if find_operator(each.operator).is_baseline]
    planned: dict[str, PlannedCandidate] = {}
    for entry in (*listed, *domain.examples()):
        try:
            each = planner.candidate(entry)
            if (control := planner.control(entry)) is not None:
                planner.candidate(control)
        except (OperatorError, ModelError) as error:
            raise _located(file, entry.at, error) from None
        planned[each.name] = each
    steps = evaluation_steps(file.space)
    return RunPlan(file.space, planner.sources, tuple(planned.values()), steps, planner, domain)


def _check_optimizers(file: SpaceFile) -> None:
    """Check that torch has the optimizers that are asked for.

    Raises:
        SpaceError: It lacks one.
    """
    from lagsearch.training.optimizer import lacking

    own = [each.pretrain.optimizer if each.pretrain else None for each in file.space.sources]
    places: list[tuple[str | int, ...]] = [("training",)]
    places += [("sources", index, "pretrain") for index in range(len(own))]
    for at, optimizer in zip(places, [file.space.training.optimizer, *own], strict=True):
        if optimizer is not None and (reason := lacking(optimizer.name)) is not None:
            raise file.error((*at, "optimizer", "name"), reason)


def _check_chosen(file: SpaceFile, names: "Sequence[str]") -> None:
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


def _target(file: SpaceFile, source: Any) -> ModelShape:
    """Find the shape to grow to, and check that it is not shallower than the source."""
    changes = file.space.target
    try:
        target = target_shape(source, changes)
    except ModelError as error:
        raise file.error(("target",), str(error)) from None
    if target.n_layers < (depth := shape_of(source).n_layers):
        key = next(key for key in changes if stored_name(source, key) not in target.keys)
        raise file.error(("target", key), f"is shallower than the source's {depth} layers")
    return target


def _entries(planner: Planner) -> Iterator[tuple[Entry, bool]]:
    """Yield the listed candidates, words that mean several spelt out, and controls to be added."""
    controls: dict[str, Entry] = {}
    space, names = planner.file.space, tuple(planner.shapes)
    for entry in expand(space):
        try:
            _check_listed(drawn(entry.operator, entry.settings, planner.shapes, planner.target))
            found = alternatives(entry.operator, entry.settings, names, space.seed)
        except OperatorError as error:
            raise _located(planner.file, entry.at, error) from None
        for settings in found:
            spelt = replace(entry, settings=settings)
            yield spelt, False
            if (control := planner.control(spelt)) is not None:
                controls[digest([control.operator, control.settings])] = control
    yield from ((control, True) for control in controls.values())


def _check_listed(words: Mapping[str, Drawn]) -> None:
    for setting, each in words.items():
        message = f"{ANY} stands for {each.size:,} candidates, which are not listed: "
        ask = "search: {strategy: optuna, candidates: 40} tries some of them"
        raise OperatorError(message + ask, setting)


def _located(file: SpaceFile, at: tuple[str | int, ...], error: LagsearchError) -> LagsearchError:
    """Give an operator's error its place in the space file."""
    setting = getattr(error, "setting", None)
    return file.error((*at, setting) if setting else at, str(error))


def _source_flops(sources: "Sequence[PlannedSource]") -> int | None:
    total = 0
    for each in sources:
        if each.source.pretrain is None:
            return None
        total += each.source.pretrain.steps * each.cost.flops_per_step
    return total


def _completion(
    plan: GrowthPlan, space: Space, sources: "Sequence[PlannedSource]", cost: ModelCost
) -> int:
    """Return the training steps of a candidate.

    Raises:
        OperatorError: It has too few of its own, or they cannot be known.
    """
    steps = space.training.steps
    if plan.steps is None:
        return steps
    if plan.steps != "matched":
        if plan.steps < steps:
            raise OperatorError(f"is less than training.steps {steps}", "steps")
        return plan.steps
    if (spent := _source_flops(sources)) is None:
        message = "matched needs the compute of sources, and a checkpoint's is not known: a number"
        raise OperatorError(message, "steps")
    return steps + math.ceil(spent / cost.flops_per_step)


def _check_ramp(plan: GrowthPlan, space: Space) -> None:
    if plan.ramp_end > space.training.steps:
        raise OperatorError(
            f"a ramp that ends at step {plan.ramp_end} is not over at completion, training.steps "
            f"{space.training.steps}: the checkpoint would not compute what was measured",
            "ramp_steps",
        )


def _check_new(each: PlannedCandidate, names: dict[str, str], plans: dict[str, str]) -> None:
    twin = names.get(each.name) or plans.get(each.growth)
    if twin is not None:
        raise OperatorError(f"{each.name} is the same growth as {twin}: list it once")
    names[each.name] = plans[each.growth] = each.name


def _source(
    file: SpaceFile, index: int, vocabulary: Vocabulary | None, models: Models
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
    opened = open_checkpoint(checkpoint, space.objective.kind)
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


def recorded(plan: RunPlan) -> dict[str, Any]:
    """Return what `plans.json` holds: every candidate's growth and cost."""
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
                "steps": each.steps,
                **asdict(each.cost),
            }
            for each in plan.candidates
        ],
    }
