"""Plans sources, and one candidate after the other."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lagsearch.data.objectives.registry import objective_kind
from lagsearch.errors import (
    LagsearchError,
    ModelError,
    OperatorError,
)
from lagsearch.models.configs import (
    ModelShape,
    grown_keys,
    plain_config,
    shape_of,
    stored_name,
    target_shape,
)
from lagsearch.models.tabled_configs import config_of
from lagsearch.operators import (
    SOURCE,
    Candidate,
    GrowthPlan,
    all_operators,
    find_operator,
    make_candidate,
)
from lagsearch.planning.brought import Brought, read_brought
from lagsearch.planning.cost import ModelCost, Models
from lagsearch.planning.names import lacking
from lagsearch.planning.planned import PlannedCandidate, PlannedSource, training_flops_of
from lagsearch.planning.vocabulary import (
    Vocabulary,
    check_vocabulary,
    complete_config,
    make_room,
)
from lagsearch.space import (
    Before,
    Entry,
    Source,
    Space,
    StageFile,
    expand,
    expand_baselines,
)


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
        place = self.file.space.resources.of_sources
        sources = [models.of(each.config, _batch_size(each.source), place) for each in self.sources]
        cost = model.grown(candidate.plan, sources)
        steps = self._completion(candidate.plan, cost)
        return PlannedCandidate(candidate, plain_config(config), cost, steps)

    def _config(self, candidate: Candidate) -> Any:
        """Return the configuration of a candidate's model."""
        plan = candidate.plan
        if find_operator(candidate.operator).reaches == "source":
            return self.sources[min(plan.sources)].config
        changes = {**self.file.space.target, **plan.config_changes()}
        origins = [layer.layer for layer in plan.layers]
        return config_of(grown_keys(self.sources[0].config, changes, origins))

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
        fresh = [None] * self.target.n_layers
        target = config_of(grown_keys(self.sources[0].config, space.target, fresh))
        growing = space.training.steps * self.models.of(target).cost.flops_per_step
        if plan.sources:
            return growing
        if (spent := training_flops_of(self.sources)) is None:
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
    space = file.space
    _check_optimizers(file)
    models = Models(space)
    sources = tuple(_source(file, index, vocabulary, models) for index in range(len(space.sources)))
    return Planner(file, sources, _target(file, sources[0].config), models)


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
    grows = any(each.get("operator") not in baseline_names() for each in file.space.candidates)
    if is_same and grows and len(file.space.sources) == 1:
        ways = f"give more layers than {depth}, or a larger width"
        raise file.error(("target",), f"is the source's own shape, so that nothing grows: {ways}")
    return target


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
            brought = read_brought(source.checkpoint or "", objective_kind(file.space.objective))
            checkpoint, notes = brought.folder, _read_notes(brought, file.space)
            config, n_tokens = make_room(brought.config, vocabulary)
        if vocabulary is not None:
            check_vocabulary(config, vocabulary)
        model = models.of(config, _batch_size(source), file.space.resources.of_sources)
        model.check_positions(config, file.space.data.sequence_length)
        return PlannedSource(source, config, model.cost, checkpoint, n_tokens, notes)
    except LagsearchError as error:
        raise file.error(at, str(error)) from None


def _read_notes(brought: Brought, space: Space) -> tuple[str, ...]:
    """Return what a user should know of how a checkpoint is read."""
    if brought.dtype == "float32":
        return brought.notes
    kept = {"fp32": "saved in fp32", "source": f"saved in {brought.dtype}, too"}
    winner = kept[space.resources.save_dtype]
    return (
        *brought.notes,
        f"{brought.folder} is in {brought.dtype}: it is trained in fp32, and the winner is "
        f"{winner} (resources.save_dtype)",
    )


def _before(before: Before, vocabulary: Vocabulary | None) -> Any:
    """Return the configuration that a stage begins with."""
    if before.steps == 0:
        return complete_config(before.config, vocabulary)
    return config_of(before.config)


def _batch_size(source: Source) -> int | None:
    return source.pretrain.batch_size if source.pretrain else None


def _compared(planner: Planner) -> Iterator[Entry]:
    """Yield what candidates are compared with; one for each source where none is named."""
    space, names = planner.file.space, tuple(planner.shapes)
    listed = [entry for entry in expand(space) if is_ungrown(entry)]
    for entry in (*listed, *expand_baselines(space)):
        if len(names) > 1 and is_ungrown(entry) and SOURCE not in entry.settings:
            for name in names:
                yield replace(entry, settings={**entry.settings, SOURCE: name})
        else:
            yield entry


def is_ungrown(entry: Entry) -> bool:
    """Return whether an entry's model has a source's shape, not the target's."""
    named = [each for each in all_operators() if each.name == entry.operator]
    return any(each.reaches == "source" for each in named)


def baseline_names() -> set[str]:
    """Return the names of the operators that grow nothing, or from nothing."""
    return {each.name for each in all_operators() if each.is_baseline}


def _check_ramp(plan: GrowthPlan, space: Space) -> None:
    if plan.ramp_end > space.training.steps:
        raise OperatorError(
            f"a ramp that ends at step {plan.ramp_end} is not over at the final step, "
            f"training.steps {space.training.steps}: the checkpoint would not compute what was "
            "measured",
            "ramp_steps",
        )


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
