"""From a space file to all that can be known before training, stage by stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lagsearch.errors import ModelError, SpaceError, counted
from lagsearch.models.configs import shape_of, target_shape
from lagsearch.models.tabled_configs import config_of
from lagsearch.operators import spell_indices
from lagsearch.planning.brought import brought_config
from lagsearch.planning.budget import within_budget
from lagsearch.planning.names import check_names
from lagsearch.planning.planned import PlannedCandidate, PlannedSource
from lagsearch.planning.stage import StagePlan, make_plan
from lagsearch.planning.texts import check_texts
from lagsearch.planning.vocabulary import Vocabulary, check_files, vocabulary_without_data
from lagsearch.space import (
    STRIDES,
    Source,
    SpaceFile,
    StageFile,
    Written,
    opened,
    said,
)


@dataclass(frozen=True, repr=False)
class Plan:
    """A whole run before it begins.

    Attributes:
        file: What was asked for, under the first seed.
        stages: Each stage, of which most runs have one; one behind the first is planned from the
            first candidate of the stage before, and planned again from the winner.
        notes: What is taken where the space leaves it out, what could not be looked at, and what
            of a checkpoint is not read.
        documents: What stands between documents, where that is known.
    """

    file: SpaceFile
    stages: tuple[StagePlan, ...]
    notes: tuple[str, ...] = ()
    documents: str = ""

    def __repr__(self) -> str:
        count, steps = len(self.stages), self.file.steps
        shown = (
            f"{counted(count, 'stage')}, {counted(steps, 'step')}"
            if self.file.has_stages
            else self.stages[0].summary
        )
        return f"Plan({self.file.name!r}: {shown})"

    def _repr_html_(self) -> str:
        from lagsearch.display.notebook import Row, table_html

        if not self.file.has_stages:
            return self.stages[0].as_html()
        rows = [
            Row(
                f"stage {number}: {each.name}",
                each.layer_map,
                (f"{each.cost.parameters:,}", f"{stage.lag:,}", f"{stage.space.training.steps:,}"),
            )
            for number, stage in enumerate(self.stages, 1)
            for each in stage.candidates
        ]
        title = f"{self.file.name}: {counted(len(self.stages), 'stage')}, {self.file.steps:,} steps"
        more = "In each stage, layers are those of the winner of the stage before."
        return table_html(title, ("candidate", "parameters", "K", "steps"), rows, more)

    @property
    def sources(self) -> tuple[PlannedSource, ...]:
        """What the first stage grows, in the order of the space."""
        return self.stages[0].sources

    @property
    def candidates(self) -> tuple[PlannedCandidate, ...]:
        """The candidates of all stages."""
        return tuple(each for stage in self.stages for each in stage.candidates)

    @property
    def baselines(self) -> tuple[PlannedCandidate, ...]:
        """What the candidates are compared with, and what is not ranked among them."""
        return tuple(each for stage in self.stages for each in stage.baselines)

    @property
    def extra_steps(self) -> int:
        """Steps of candidates that do not win: what section 4.2 of the LAG paper counts."""
        return sum(each.search_steps - each.lag for each in self.stages)

    def search_flops(self) -> int:
        """Return the training FLOPs of candidates that do not win, the dearest of a stage wins."""
        return sum(each.search_flops() - _dearest(each, each.lag) for each in self.stages)

    def training_flops(self) -> int:
        """Return the training FLOPs of the winners of all stages."""
        return sum(_dearest(each, each.space.training.steps) for each in self.stages)


def plan(
    space: Written | SpaceFile,
    *,
    lag: int | Literal["auto"] | None = None,
    budget: float | None = None,
    skip_unfit: bool = False,
    overrides: Sequence[str] = (),
) -> Plan:
    """Work out every candidate and the cost of the search; nothing is trained.

    Args:
        space: A space file, one that is loaded, a dictionary or a `Space`.
        lag: K, in place of the space's `search.lag`.
        budget: What search and winner may cost, as a share of the compute to train every candidate:
            strategy and K follow from it.
        skip_unfit: Leave out candidates that do not fit, and name them.
        overrides: `key.path=value` texts, as `--set` takes them.

    Raises:
        LagsearchError: Something in the space cannot be.
    """
    flags = said(overrides, lag=lag, skip_unfit=skip_unfit)
    file = opened(space, flags, has_budget=budget is not None)
    for each in file.stages:
        check_names(each)
        check_texts(each)
    file = budgeted(file, budget)
    vocabulary, notes = vocabulary_without_data(file.stages[0])
    found = plan_stages(file, vocabulary)
    documents = vocabulary.documents if vocabulary else ""
    notes = (*file.notes, *found.stages[0].read_notes, *notes)
    return replace(found, notes=notes, documents=documents)


def budgeted(file: SpaceFile, budget: float | None) -> SpaceFile:
    """Return a space with strategy and K from a budget; as it is where there is none.

    Args:
        file: The space.
        budget: What search and winner may cost, as a share of the compute to train every candidate.

    Raises:
        LagsearchError: It pays for no search, or something in the space cannot be.
    """
    if budget is None:
        return file
    vocabulary, _ = vocabulary_without_data(file.stages[0])
    return within_budget(file, budget, plan_stages(file, vocabulary).stages)


def check_first(file: SpaceFile) -> None:
    """Check what takes no torch and no hub to be checked, so that mistakes are said at once.

    What is right is not planned where a checkpoint's or a hub's tokenizer would have to be loaded.

    Raises:
        LagsearchError: Something in the space cannot be; planning finds all that is wrong.
    """
    space = file.stages[0].space
    is_built_in = space.tokenizer in ("bytes", "characters") or not isinstance(space.tokenizer, str)
    for each in file.stages:
        check_files(each)
        check_texts(each)
    if is_built_in and all(each.checkpoint is None for each in space.sources):
        plan(file)


def check_baselines(file: SpaceFile) -> None:
    """Refuse the comparison of adaptive stacking for a space that has no stages.

    Raises:
        SpaceError: It has none.
    """
    if not file.has_stages:
        raise SpaceError(
            f"{file.path}: --baselines belongs to a space with stages; --oracle is "
            "what compares the candidates of one growth"
        )


def plan_stages(file: SpaceFile, vocabulary: Vocabulary | None) -> Plan:
    """Work out every stage without training anything.

    Raises:
        LagsearchError: Something cannot be; the message has the stage and the line.
    """
    if file.has_stages and file.stages[0].space.resources.winner is not None:
        message = "has no effect with stages, whose winners are trained as candidates are"
        raise file.stages[0].error(("resources", "winner"), message)
    plans: list[StagePlan] = []
    config: dict[str, Any] | None = None
    for each in file.stages:
        plans.append(make_plan(ready(each, config), vocabulary))
        config = plans[-1].candidates[0].config
    return Plan(file, tuple(plans))


def ready(file: StageFile, config: Mapping[str, Any] | None) -> StageFile:
    """Return a stage's space with the model that it begins with, and its indices spelt out.

    Args:
        file: The stage.
        config: The last stage's winner's configuration; None for the first stage.

    Raises:
        SpaceError: Its target is not above the last stage's.
    """
    space = file.space
    first = space.sources[0]
    if first.before is not None and config is None:
        return file  # it begins with random weights
    if file.number is None:
        return file
    model = config_of(config) if config is not None else _config_of(first)
    if model is None:
        return file
    depths = _depths(file, model)
    changes: dict[str, Any] = {
        "candidates": tuple(spell_indices(each, *depths, STRIDES) for each in space.candidates)
    }
    if first.before is not None:
        before = first.before.model_copy(update={"config": dict(config or {})})
        changes["sources"] = (first.model_copy(update={"before": before}),)
    return replace(file, space=space.model_copy(update=changes))


def _config_of(source: Source) -> Any:
    """Return a source's configuration, or None where planning will say why there is none."""
    try:
        if source.pretrain is not None:
            return config_of(source.pretrain.config, is_written=True)
        return brought_config(source.checkpoint or "")
    except ModelError:
        return None


def _depths(file: StageFile, model: Any) -> tuple[int, int]:
    """Return the depths before and after a stage's growth."""
    source = shape_of(model)
    written = file.tree.get("stages")
    if file.number == 1 and isinstance(written, dict) and written["from"] != source.n_layers:
        raise file.error(("stages", "from"), f"is not the source's depth, {source.n_layers}")
    try:
        target = target_shape(model, file.space.target)
    except ModelError as error:
        raise file.error(("target",), str(error)) from None
    is_wider = bool(source.differences(target))
    if target.n_layers < source.n_layers or (target.n_layers == source.n_layers and not is_wider):
        before = "the source" if file.number == 1 else "the stage before"
        message = f"is not above the {source.n_layers} layers of {before}"
        raise file.error(("target",), message)
    return source.n_layers, target.n_layers


def _dearest(plan: StagePlan, steps: int) -> int:
    costs = [each.cost for each in plan.candidates]
    return max(steps * cost.flops_per_step + cost.operator_flops for cost in costs)
