"""From a space with stages to all that can be known before training, stage by stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lagsearch.errors import ModelError
from lagsearch.models.checkpoints import load_config, locate_checkpoint
from lagsearch.models.configs import build_config, rebuild_config, shape_of, target_shape
from lagsearch.planning import RunPlan, make_plan
from lagsearch.planning import plan as plan_growth
from lagsearch.space import (
    Source,
    SpaceFile,
    StagedFile,
    StageFile,
    Whole,
    load_any,
    with_stage_flags,
)
from lagsearch.vocabulary import Vocabulary, vocabulary_without_data


@dataclass(frozen=True)
class StagedPlan:
    """A whole run of several stages before it begins.

    Attributes:
        file: What was asked for, under the first seed.
        stages: Each stage; one behind the first is planned from the first candidate of the stage
            before, and planned again from the winner.
        notes: What could not be looked at, and what of a checkpoint is not read.
        documents: What stands between documents, where that is known.
    """

    file: StagedFile
    stages: tuple[RunPlan, ...]
    notes: tuple[str, ...] = ()
    documents: str = ""

    @property
    def space(self) -> Whole:
        """What is the whole's own."""
        return self.file.space

    @property
    def extra_steps(self) -> int:
        """Steps of candidates that do not win: what section 4.2 of the LAG paper counts."""
        return sum(
            ((each.n_sampled or len(each.candidates)) - 1) * each.lag for each in self.stages
        )

    def search_flops(self) -> int:
        """Return the training FLOPs of candidates that do not win, the dearest of a stage wins."""
        return sum(each.flops(each.lag) - _dearest(each, each.lag) for each in self.stages)

    def training_flops(self) -> int:
        """Return the training FLOPs of the winners of all stages."""
        return sum(_dearest(each, each.space.training.steps) for each in self.stages)


def plan(
    space: str | Path | SpaceFile | StagedFile, *, lag: int | Literal["auto"] | None = None
) -> RunPlan | StagedPlan:
    """Work out every candidate and the cost of the search; nothing is trained.

    Args:
        space: A space file, with stages or without, or one that is loaded.
        lag: K, in place of the space's `search.lag`.

    Raises:
        LagsearchError: Something in the space cannot be.
    """
    if isinstance(space, str | Path):
        space = load_any(space)
    if isinstance(space, SpaceFile):
        return plan_growth(space, lag=lag)
    file = with_options(space, lag)
    vocabulary, notes = vocabulary_without_data(file.stages[0])
    made = plan_stages(file, vocabulary)
    documents = vocabulary.documents if vocabulary else ""
    return replace(made, notes=(*made.stages[0].read_notes, *notes), documents=documents)


def with_options(
    file: StagedFile,
    lag: int | Literal["auto"] | None = None,
    *,
    oracle: bool = False,
    profile: bool = False,
    seeds: Sequence[int] = (),
) -> StagedFile:
    """Put into a space with stages what a command says beside it.

    Raises:
        SpaceError: The space has no K.
    """
    flags = {} if lag is None else {f"--lag {lag}": f"search.lag={lag}"}
    flags |= {"--oracle": "search.oracle=true"} if oracle else {}
    listed = ",".join(map(str, seeds))
    flags |= {f"--seeds {listed}": f"search.seeds=[{listed}]"} if seeds else {}
    flags |= {"--profile": "resources.profile=true"} if profile else {}
    file = with_stage_flags(file, flags) if flags else file
    for each in file.stages:
        if each.space.search.lag is None:
            message = "is required: give it here or as --lag K, a number or auto"
            raise each.error(("search", "lag"), message)
    return file


def plan_stages(file: StagedFile, vocabulary: Vocabulary | None) -> StagedPlan:
    """Work out every stage without training anything.

    Raises:
        LagsearchError: Something cannot be; the message has the stage and the line.
    """
    plans: list[RunPlan] = []
    config: dict[str, Any] | None = None
    for each in file.stages:
        plans.append(make_plan(ready(each, config), vocabulary))
        config = plans[-1].candidates[0].config
    return StagedPlan(file, tuple(plans))


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
    model = rebuild_config(config) if config is not None else _config_of(first)
    if model is None:
        return file
    depths = _depths(file, model)
    changes: dict[str, Any] = {
        "candidates": tuple(_spell(each, *depths) for each in space.candidates)
    }
    if first.before is not None:
        before = first.before.model_copy(update={"config": dict(config or {})})
        changes["sources"] = (first.model_copy(update={"before": before}),)
    return replace(file, space=space.model_copy(update=changes))


def _config_of(source: Source) -> Any:
    """Return a source's configuration, or None where planning will say why there is none."""
    try:
        if source.pretrain is not None:
            return build_config(source.pretrain.config)
        return load_config(locate_checkpoint(source.checkpoint or ""))
    except ModelError:
        return None


def _depths(file: StageFile, model: Any) -> tuple[int, int]:
    """Return the depths before and after a stage's growth."""
    source = shape_of(model)
    written = file.whole.get("stages")
    if file.number == 1 and isinstance(written, dict) and written["from"] != source.n_layers:
        raise file.error(("stages", "from"), f"is not the source's depth, {source.n_layers}")
    try:
        target = target_shape(model, file.space.target)
    except ModelError as error:
        raise file.error(("target",), str(error)) from None
    is_wider = bool(source.differences(target))
    if target.n_layers < source.n_layers or (target.n_layers == source.n_layers and not is_wider):
        before = "the stage before" if file.number > 1 else "the source"
        message = f"is not above the {source.n_layers} layers of {before}"
        raise file.error(("target",), message)
    return source.n_layers, target.n_layers


def _spell(entry: dict[str, Any], source: int, target: int) -> dict[str, Any]:
    """Write out an index that is given as a word: `every` or `even` of those that there are."""
    strides = {"every": 1, "even": 2}
    word = entry.get("index")
    if not isinstance(word, str) or word not in strides:
        return entry
    last = max(0, 2 * source - target)
    return {**entry, "index": list(range(0, last + 1, strides[word]))}


def _dearest(plan: RunPlan, steps: int) -> int:
    costs = [each.cost for each in plan.candidates]
    return max(steps * cost.flops_per_step + cost.operator_flops for cost in costs)
