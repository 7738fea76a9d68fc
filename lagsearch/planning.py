"""From a space to all that can be known before training: configurations, plans, sizes, costs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lagsearch.data.corpora import check_corpus, open_corpus
from lagsearch.data.tokenizers import make_tokenizer, vocabulary_size
from lagsearch.errors import DataError, LagsearchError, ModelError, OperatorError
from lagsearch.guideline import advise
from lagsearch.models.checkpoints import load_config, locate_checkpoint
from lagsearch.models.configs import (
    ModelShape,
    build_config,
    grown_config,
    plain_config,
    shape_of,
    stored_name,
    target_shape,
)
from lagsearch.operators import (
    Candidate,
    GrowthPlan,
    alternatives,
    find_operator,
    make_candidate,
)
from lagsearch.operators.execute import check_fit
from lagsearch.operators.scratch import fresh_plan
from lagsearch.space import (
    Entry,
    Source,
    Space,
    SpaceFile,
    evaluation_steps,
    expand,
    load_space,
    with_flags,
)
from lagsearch.storage import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from lagsearch.models.layers import LayerStack


@dataclass(frozen=True)
class ModelCost:
    """What one model takes.

    Attributes:
        parameters: Tied ones once.
        layer_parameters: Weights of matrix products without embeddings and head.
        flops_per_step: Training FLOPs of one step.
        evaluation_flops: FLOPs of one evaluation.
        memory_bytes: Estimate of training in fp32; None where there is none.
        operator_flops: FLOPs of learning the operator, before the first step.
    """

    parameters: int
    layer_parameters: int
    flops_per_step: int
    evaluation_flops: int
    memory_bytes: int | None
    operator_flops: int = 0


@dataclass(frozen=True)
class PlannedSource:
    """A source before it is trained or read.

    Attributes:
        source: What the space says.
        config: Its transformers configuration.
        cost: What one step of its own training takes.
        checkpoint: Local folder of its checkpoint, if it is one.
    """

    source: Source
    config: Any
    cost: ModelCost
    checkpoint: Path | None

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
    """

    candidate: Candidate
    config: dict[str, Any]
    cost: ModelCost

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def layer_map(self) -> str:
        """The layers drawn, e.g. `1 2 1* 2* 3`."""
        return self.candidate.plan.layer_map()


@dataclass(frozen=True)
class RunPlan:
    """A whole run before it begins.

    Attributes:
        space: What was asked for.
        sources: In the order of the space.
        candidates: In the order of the space.
        steps: Evaluated steps.
    """

    space: Space
    sources: tuple[PlannedSource, ...]
    candidates: tuple[PlannedCandidate, ...]
    steps: tuple[int, ...]

    @property
    def lag(self) -> int:
        """K."""
        return self.space.search.lag or 0

    def source_flops(self) -> int | None:
        """Return the training FLOPs of all sources; None where a checkpoint's are not known."""
        total = 0
        for each in self.sources:
            if each.source.pretrain is None:
                return None
            total += each.source.pretrain.steps * each.cost.flops_per_step
        return total

    def flops(self, steps: int) -> int:
        """Return the training FLOPs of all candidates for a number of steps, growth included."""
        costs = [each.cost for each in self.candidates]
        return sum(steps * cost.flops_per_step + cost.operator_flops for cost in costs)

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


def plan(space: str | Path | SpaceFile, *, lag: int | None = None) -> RunPlan:
    """Work out every candidate and the cost of the search; nothing is trained.

    Args:
        space: A space file, or one that is loaded.
        lag: K, in place of the space's `search.lag`.

    Raises:
        LagsearchError: Something in the space cannot be.
    """
    file = with_lag(space, lag, oracle=False)
    return make_plan(file, find_tokenizer(file))


def with_lag(
    space: str | Path | SpaceFile, lag: int | None, *, oracle: bool, profile: bool = False
) -> SpaceFile:
    """Load a space if need be, and put into it what a command says beside it.

    Raises:
        SpaceError: The space is wrong, or has no K.
    """
    file = space if isinstance(space, SpaceFile) else load_space(space)
    flags = {} if lag is None else {f"--lag {lag}": f"search.lag={lag}"}
    flags |= {"--oracle": "search.oracle=true"} if oracle else {}
    flags |= {"--profile": "resources.profile=true"} if profile else {}
    file = with_flags(file, flags)
    if file.space.search.lag is None:
        raise file.error(("search", "lag"), "is required: give it here or as --lag K")
    return file


def make_plan(file: SpaceFile, tokenizer: Any) -> RunPlan:
    """Work out a run without training anything.

    Args:
        file: The space.
        tokenizer: The space's tokenizer.

    Raises:
        LagsearchError: Something cannot be; the message has the line of the space file.
    """
    space = file.space
    models = _Models(space)
    sources = tuple(_source(file, index, tokenizer, models) for index in range(len(space.sources)))
    base = sources[0].config
    target = _target(file, base)
    shapes = tuple(shape_of(each.config) for each in sources)
    names = tuple(each.source.name for each in sources)
    planned: list[PlannedCandidate] = []
    known: dict[str, str] = {}
    plans: dict[str, str] = {}
    for entry, settings, is_control in _entries(file, names):
        try:
            candidate = make_candidate(entry.operator, settings, shapes, target, names)
            if is_control and digest(candidate.plan.to_dict()) in plans:
                continue
            _check_ramp(candidate.plan, space)
            _check_new(candidate, known, plans)
            origins = [layer.layer for layer in candidate.plan.layers]
            changes = {**space.target, **candidate.plan.config_changes()}
            config = grown_config(base, changes, origins)
            model = models.of(config)
            model.check_positions(config, space.data.sequence_length)
            stacks = [models.of(each.config, _batch_size(each.source)) for each in sources]
            tensors = [each.tensors for each in stacks]
            check_fit(candidate.plan, model.stack, tensors, model.tensors)
            cost = model.cost_of(candidate.plan, tensors)
            planned.append(PlannedCandidate(candidate, plain_config(config), cost))
        except (OperatorError, ModelError) as error:
            raise _located(file, entry, error) from None
    return RunPlan(space, sources, tuple(planned), evaluation_steps(space))


def find_tokenizer(file: SpaceFile) -> Any:
    """Load the space's tokenizer; the corpus is read only where the vocabulary comes from it.

    Raises:
        SpaceError: It or the corpus it needs is missing.
    """
    space = file.space
    try:
        check_corpus(space.data.train, "train")
        check_corpus(space.data.validation, "validation")
        needs_text = space.tokenizer == "characters"
        texts = open_corpus(space.data.train, "train").read() if needs_text else ()
        return make_tokenizer(space.tokenizer, texts)
    except DataError as error:
        _check_checkpoints(file)  # where the tokenizer should have come from, perhaps
        raise file.error(error.at, str(error)) from None


def _check_checkpoints(file: SpaceFile) -> None:
    """Check that all checkpoints are to be had.

    Raises:
        SpaceError: One is not.
    """
    for index, source in enumerate(file.space.sources):
        try:
            if source.checkpoint is not None:
                locate_checkpoint(source.checkpoint)
        except ModelError as error:
            raise file.error(("sources", index, "checkpoint"), str(error)) from None


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


def _entries(
    file: SpaceFile, names: tuple[str, ...]
) -> Iterator[tuple[Entry, dict[str, Any], bool]]:
    """Yield the listed candidates, words that mean several spelt out, and controls to be added.

    Where several sources are grown into one, the same growth with copies of the first one alone
    shows what the others bring; it learns, where it does, as they do.
    """
    controls: dict[str, Entry] = {}
    for entry in expand(file.space):
        try:
            found = alternatives(entry.operator, entry.settings, names, file.space.seed)
        except OperatorError as error:
            raise _located(file, entry, error) from None
        for settings in found:
            yield entry, settings, False
            if (control := find_operator(entry.operator).control) is not None:
                kept = {key: settings[key] for key in control.takes if key in settings}
                key = digest([control.operator, kept])
                controls[key] = Entry(control.operator, kept, entry.at)
    if file.space.search.single_model_control:
        yield from ((control, dict(control.settings), True) for control in controls.values())


def _located(file: SpaceFile, entry: Entry, error: LagsearchError) -> LagsearchError:
    """Give an operator's error its place in the space file."""
    setting = getattr(error, "setting", None)
    return file.error((*entry.at, setting) if setting else entry.at, str(error))


def _check_ramp(plan: GrowthPlan, space: Space) -> None:
    if plan.ramp_end > space.training.steps:
        raise OperatorError(
            f"a ramp that ends at step {plan.ramp_end} is not over at completion, training.steps "
            f"{space.training.steps}: the checkpoint would not compute what was measured",
            "ramp_steps",
        )


def _check_new(candidate: Candidate, names: dict[str, str], plans: dict[str, str]) -> None:
    key = digest(candidate.plan.to_dict())
    twin = names.get(candidate.name) or plans.get(key)
    if twin is not None:
        raise OperatorError(f"{candidate.name} is the same growth as {twin}: list it once")
    names[candidate.name] = plans[key] = candidate.name


def _source(file: SpaceFile, index: int, tokenizer: Any, models: "_Models") -> PlannedSource:
    """Find a source's configuration and cost."""
    source = file.space.sources[index]
    at: tuple[str | int, ...] = ("sources", index)
    checkpoint = None
    try:
        if source.pretrain is not None:
            at = (*at, "pretrain", "config")
            config = _complete(source.pretrain.config, tokenizer)
        else:
            at = (*at, "checkpoint")
            checkpoint = locate_checkpoint(source.checkpoint or "")
            config = load_config(checkpoint)
        _check_vocabulary(config, tokenizer, file.space)
        model = models.of(config, _batch_size(source))
        model.check_positions(config, file.space.data.sequence_length)
        return PlannedSource(source, config, model.cost, checkpoint)
    except LagsearchError as error:
        raise file.error(at, str(error)) from None


def _complete(keys: dict[str, Any], tokenizer: Any) -> Any:
    """Build a configuration, with vocabulary and special tokens from the tokenizer."""
    known = build_config(keys).to_dict()
    found = {
        "vocab_size": vocabulary_size(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    missing = {key: value for key, value in found.items() if key in known and key not in keys}
    return build_config({**keys, **missing})


def _batch_size(source: Source) -> int | None:
    return source.pretrain.batch_size if source.pretrain else None


def _check_vocabulary(config: Any, tokenizer: Any, space: Space) -> None:
    """Check that the embedding has a row for every token.

    Raises:
        ModelError: The model is too small for the tokenizer.
    """
    needed = vocabulary_size(tokenizer)
    if config.vocab_size < needed:
        raise ModelError(
            f"vocab_size {config.vocab_size} is less than the {needed} tokens of "
            f"tokenizer {space.tokenizer}"
        )


@dataclass(frozen=True)
class _Empty:
    """A model without memory, and what is known of it.

    Attributes:
        cost: What it takes.
        stack: Where it keeps its layers.
        tensors: Its tensors on `meta`, by name.
        positions: How many tokens a sequence may have, if that is limited.
    """

    cost: ModelCost
    stack: "LayerStack"
    tensors: "Mapping[str, torch.Tensor]"
    positions: int | None

    def cost_of(
        self, plan: GrowthPlan, sources: "Sequence[Mapping[str, torch.Tensor]]"
    ) -> ModelCost:
        """Return what it takes when it is grown by a plan.

        Args:
            plan: The growth.
            sources: Tensors of each source on `meta`, by name.
        """
        from lagsearch.operators.mix import forming_flops, make_mix, n_operator_parameters
        from lagsearch.training.flops import operator_flops
        from lagsearch.training.memory import learning_bytes

        if plan.learned is None:
            return self.cost
        mix = make_mix(plan, self.stack, sources, self.tensors)
        forming = forming_flops(mix)
        flops = operator_flops(plan.learned.steps, forming, self.cost.flops_per_step)
        memory = self.cost.memory_bytes
        if memory is not None:
            sizes = [tensor.numel() for source in sources for tensor in source.values()]
            operator = n_operator_parameters(mix)
            memory = max(memory, learning_bytes(memory, self.cost.parameters, sum(sizes), operator))
        return replace(self.cost, operator_flops=flops, memory_bytes=memory)

    def check_positions(self, config: Any, length: int) -> None:
        """Check that a sequence has room.

        Raises:
            ModelError: It has not.
        """
        if self.positions is not None and self.positions < length:
            key = stored_name(config, "max_position_embeddings")
            raise ModelError(
                f"{key} {config.max_position_embeddings} has room for {self.positions} tokens, "
                f"less than data.sequence_length {length}"
            )


class _Models:
    """What configurations lead to, each worked out once."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._known: dict[str, _Empty] = {}

    def of(self, config: Any, batch_size: int | None = None) -> _Empty:
        key = digest([plain_config(config), batch_size])
        if key not in self._known:
            self._known[key] = self._work_out(config, batch_size)
        return self._known[key]

    def _work_out(self, config: Any, batch_size: int | None) -> _Empty:
        from lagsearch.models.build import (
            empty_model,
            n_parameters,
            tensors_of,
            usable_positions,
        )
        from lagsearch.models.layers import find_layers
        from lagsearch.training.flops import (
            forward_flops_per_token,
            matrix_parameters,
            training_flops,
        )
        from lagsearch.training.memory import training_bytes

        space = self._space
        rows, length = batch_size or space.training.batch_size, space.data.sequence_length
        model = empty_model(config, space.objective.name)
        stack = find_layers(model, config)
        forward = forward_flops_per_token(model, config, length, space.evaluation.flops)
        evaluated = space.evaluation.batches * rows * length
        cost = ModelCost(
            parameters=n_parameters(model),
            layer_parameters=matrix_parameters(model)["layers"],
            flops_per_step=training_flops(forward, rows * length),
            evaluation_flops=forward * evaluated,
            memory_bytes=training_bytes(model, rows, length, space.objective.name),
        )
        return _Empty(cost, stack, tensors_of(model), usable_positions(model, config))


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
                **asdict(each.cost),
            }
            for each in plan.candidates
        ],
    }
