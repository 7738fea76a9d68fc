"""One growth of a checkpoint on disk, without training: tensor by tensor, file to file."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lagsearch.errors import (
    LagsearchError,
    ModelError,
    OperatorError,
    RunFolderError,
    did_you_mean,
)
from lagsearch.models.build import empty_model, n_parameters, tensors_of, usable_positions
from lagsearch.models.checkpoints import load_config, locate_checkpoint
from lagsearch.models.configs import ModelShape, grown_config, n_layers, shape_of, target_shape
from lagsearch.models.families import find_family
from lagsearch.models.layers import LayerStack, find_layers
from lagsearch.models.shards import CheckpointTensors, write_shards
from lagsearch.models.streaming import StreamedModel
from lagsearch.operators import GrowthPlan, find_operator, make_candidate
from lagsearch.operators.execute import add_noise, check_fit, fill, recipe
from lagsearch.operators.mergekit import from_mergekit
from lagsearch.planning import make_plan
from lagsearch.progress import Watch
from lagsearch.space import load_space, read_yaml
from lagsearch.storage import derive_seed
from lagsearch.vocabulary import find_tokenizer, vocabulary_of

_ALONG = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "chat_template*",
    "generation_config.json",
)
"""What is taken along from the first source."""

_PROBE = (2, 32)
"""Rows and tokens on which logits before and after are compared."""


@dataclass(frozen=True)
class Growth:
    """What is to be grown into what.

    Attributes:
        names: The checkpoints, as they were asked for.
        sources: Their folders.
        plan: Where each tensor comes from.
        config: The target's configuration, with the source's `architectures`.
    """

    names: tuple[str, ...]
    sources: tuple[Path, ...]
    plan: GrowthPlan
    config: Any

    @property
    def kind(self) -> str:
        """What the checkpoint is for: `causal` or `masked`."""
        names = " ".join(self.config.architectures or [])
        if any(word in names for word in ("MaskedLM", "PreTraining")):
            return "masked"
        if any(word in names for word in ("CausalLM", "LMHead")):
            return "causal"
        family = find_family(self.config.model_type, self.config.to_dict())
        return "masked" if family and family.is_post_norm else "causal"


@dataclass(frozen=True)
class Grown:
    """What came of a growth.

    Attributes:
        folder: The grown checkpoint.
        layer_map: Its layers drawn.
        parameters: Tied ones once.
        difference: Largest absolute difference of logits before and after, or None.
        scale: Largest absolute logit before.
        words: What the difference means, or why it was not measured.
        warning: What the plan warns of, if anything.
    """

    folder: Path
    layer_map: str
    parameters: int
    difference: float | None
    scale: float | None
    words: str
    warning: str | None = None

    def text(self) -> str:
        """Say it in lines."""
        measured = self.words
        if self.difference is not None and self.scale is not None:
            rows, length = _PROBE
            measured = (
                f"max |difference of logits| {self.difference:.3g} on {rows} x {length} seeded "
                f"tokens (logits up to {self.scale:.3g}): {self.words}"
            )
        return (
            f"Layers: {self.layer_map}\nParameters: {self.parameters:,}\n"
            f"Function: {measured}.\nCheckpoint: {self.folder}"
            + (f"\nWarning: {self.warning}" if self.warning else "")
        )


@dataclass(frozen=True)
class Request:
    """What a user asks for: an operator on sources, a space's candidate, or a mergekit file.

    Attributes:
        sources: Checkpoint folders or hub names; named a, b, c for operators of several.
        operator: An operator's name.
        settings: Its settings; `factor` multiplies the depth, in place of a target.
        target: Configuration keys of the target that differ.
        space: A space file...
        candidate: ...and the name of a candidate in it.
        mergekit: A passthrough YAML file.
        allow_pickle: Take checkpoints without safetensors.
    """

    sources: tuple[str, ...] = ()
    operator: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    space: Path | None = None
    candidate: str | None = None
    mergekit: Path | None = None
    allow_pickle: bool = False


def find_growth(request: Request) -> Growth:
    """Work out the growth that is asked for.

    Raises:
        LagsearchError: It is asked for in two ways or in none, or it cannot be.
    """
    ways = {"--operator": request.operator, "--space": request.space}
    ways["--from-mergekit"] = request.mergekit
    given = [flag for flag, value in ways.items() if value is not None]
    if len(given) != 1:
        raise OperatorError(f"give one of {', '.join(ways)}; given: {', '.join(given) or 'none'}")
    _check_used(request, given[0])
    if request.mergekit is not None:
        return _from_mergekit(request, request.mergekit)
    if request.space is not None:
        return _from_space(request, request.space)
    operator = request.operator or ""
    found = find_operator(operator)
    if found.reaches == "source":
        raise OperatorError(f"{operator} grows nothing: `lagsearch run` trains the checkpoint on")
    configs = _configs(request.sources, request.allow_pickle)
    shapes = tuple(shape_of(config) for _, config in configs)
    settings = dict(request.settings)
    if found.takes != "several" and len(shapes) > 1:
        raise OperatorError(f"{operator} takes one source; {len(shapes)} are given")
    changes = dict(request.target) or _depth(shapes, operator, settings)
    letters = tuple(chr(ord("a") + place) for place in range(len(shapes)))
    shape = target_shape(configs[0][1], changes)
    plan = make_candidate(operator, settings, shapes, shape, letters).plan
    return _growth(request.sources, configs, plan, changes)


def _check_used(request: Request, way: str) -> None:
    """Check that nothing is asked for that would be ignored."""
    parts = {
        "SOURCE": request.sources,
        "--set": request.settings,
        "--target": request.target,
        "--candidate": request.candidate,
    }
    used = {"--operator": {"SOURCE", "--set", "--target"}, "--space": {"--candidate"}}
    for name, value in parts.items():
        if value and name not in used.get(way, set()):
            raise OperatorError(f"{name} has no effect beside {way}")
    if way == "--operator" and not request.sources:
        raise OperatorError("name at least one checkpoint to grow")


def _from_mergekit(request: Request, path: Path) -> Growth:
    try:
        plan, names = from_mergekit(read_yaml(path.read_text(encoding="utf-8"))[0])
    except LagsearchError as error:
        raise OperatorError(f"{path}: {error}") from None
    configs = _configs(names, request.allow_pickle)
    for (_, config), name, place in zip(configs, names, range(len(names)), strict=True):
        used = [layer.layer or 0 for layer in plan.layers if layer.source == place]
        if max(used) >= (depth := n_layers(config)):
            raise OperatorError(f"{path}: {name} has {depth} layers, not {max(used) + 1}")
    first, *others = (shape_of(config) for _, config in configs)
    for shape, name in zip(others, names[1:], strict=True):
        differences = first.differences(shape)
        if shape.model_type != first.model_type:
            differences = {"model_type": (first.model_type, shape.model_type)}
        for key, (one, other) in differences.items():
            raise OperatorError(
                f"{path}: models must be equal but for their depths; {key} is {one!r} in "
                f"{names[0]} and {other!r} in {name}"
            )
    return _growth(names, configs, plan, {"num_hidden_layers": len(plan.layers)})


def _from_space(request: Request, path: Path) -> Growth:
    file = load_space(path)
    vocabulary = vocabulary_of(find_tokenizer(file), file.space)
    # tokens that the objective adds are for training, and not in the source's tokenizer
    own = replace(vocabulary, size=vocabulary.size - vocabulary.added, added=0)
    plan = make_plan(file, own)
    asked = request.candidate
    name = plan.names.get(asked or "")
    if name is None:
        hint = did_you_mean(asked or "", list(plan.names))
        message = f"no candidate {asked!r}{hint}" if asked else "name a candidate with --candidate"
        raise OperatorError(f"{path}: {message}; it has {', '.join(plan.names)}")
    for each in plan.sources:
        if each.checkpoint is None:
            raise OperatorError(
                f"{path}: source {each.source.name} is still to be trained; grow takes checkpoints"
            )
    chosen = next(each.candidate for each in plan.candidates if each.name == name)
    sources = [each.source.checkpoint or "" for each in plan.sources]
    configs = [(each.checkpoint or Path(), each.config) for each in plan.sources]
    return _growth(sources, configs, chosen.plan, file.space.target)


def _configs(names: Sequence[str], allow_pickle: bool) -> list[tuple[Path, Any]]:
    """Find checkpoints and read their configurations."""
    found = []
    for name in names:
        try:
            folder = locate_checkpoint(name, allow_pickle=allow_pickle)
            found.append((folder, load_config(folder, allow_pickle=allow_pickle)))
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
    return found


def _growth(
    names: Sequence[str],
    configs: Sequence[tuple[Path, Any]],
    plan: GrowthPlan,
    changes: Mapping[str, Any],
) -> Growth:
    """Put a growth together for these checkpoints."""
    if plan.learned is not None:
        raise OperatorError("an operator that is learned needs training: use `lagsearch run`")
    if plan.ramp_end:
        raise OperatorError("what is faded in needs training: use `lagsearch run`")
    first = configs[0][1]
    changes = {**changes, **plan.config_changes()}
    config = grown_config(first, changes, [layer.layer for layer in plan.layers])
    config.architectures = getattr(first, "architectures", None)
    return Growth(tuple(names), tuple(folder for folder, _ in configs), plan, config)


def _depth(shapes: Sequence[ModelShape], operator: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the target's depth where settings or sources tell it; takes `factor` out."""
    depth = sum(shape.n_layers for shape in shapes)
    known = find_operator(operator).settings.model_fields
    for key in settings:
        if key != "factor" and key not in known:
            names = ", ".join(["factor", *known])
            raise OperatorError(f"{operator} has no setting {key!r}; known: {names}", key)
    if (factor := settings.pop("factor", None)) is not None:
        is_number = isinstance(factor, int | float) and math.isfinite(factor)
        wanted = depth * factor if is_number else 0
        if isinstance(factor, bool) or wanted != int(wanted) or wanted <= depth:
            raise OperatorError(
                f"factor {factor!r} times {depth} layers is no whole number above {depth}", "factor"
            )
        return {"num_hidden_layers": int(wanted)}
    if isinstance(listed := settings.get("layers"), list):
        return {"num_hidden_layers": len(listed)}
    if len(shapes) > 1:
        return {"num_hidden_layers": depth}
    raise OperatorError(f"{operator} to what? give --set factor=2, or --target num_hidden_layers=N")


def check_free(out: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        RunFolderError: The folder is there already.
    """
    if out.exists():
        raise RunFolderError(f"{out}: is there already; choose another folder with --out")


def grow(
    growth: Growth,
    out: Path,
    *,
    seed: int = 0,
    allow_pickle: bool = False,
    watch: Watch | None = None,
) -> Grown:
    """Write the grown checkpoint, with tokenizer and generation settings of the first source.

    Only one shard is in memory at a time. Weights keep the type in which the source stores them.

    Args:
        growth: What is grown into what.
        out: The new folder; it appears when it is complete.
        seed: Of random weights and noise.
        allow_pickle: Read `*.bin` where there is no safetensors, with `weights_only`.
        watch: Is told how far it is.

    Raises:
        RunFolderError: `out` is there already.
        ModelError: A source lacks what is copied.
    """
    watch = watch or Watch()
    check_free(out)
    model = empty_model(growth.config, growth.kind)
    stack = find_layers(model, growth.config)
    targets, parameters = tensors_of(model), n_parameters(model)
    names = (
        f"{getattr(model, 'base_model_prefix', '')}.",
        stack.family.aliases if stack.family else (),
    )
    tensors = [
        CheckpointTensors(each, *names, allow_pickle=allow_pickle) for each in growth.sources
    ]
    metas = [_Metas(each) for each in tensors]
    check_fit(growth.plan, stack, metas, targets)
    types = _types(growth.plan, stack, tensors[0], targets)
    sizes = {name: each.numel() * types[name].itemsize for name, each in targets.items()}

    def make(chosen: Sequence[str]) -> dict[str, torch.Tensor]:
        made = {name: torch.empty(targets[name].shape, dtype=types[name]) for name in chosen}
        _fresh(model, growth.plan, stack, made, seed)
        fill(growth.plan, stack, tensors, made)
        add_noise(growth.plan, stack, made, growth.config.hidden_size, seed)
        for each in tensors:
            each.release()
        return {tensors[0].written(name): tensor for name, tensor in made.items()}

    making = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        total = sum(sizes.values())
        for written in write_shards(making, sizes, make):
            watch.say(f"written {written / 2**20:,.0f} of {total / 2**20:,.0f} MiB")
        growth.config.dtype = _most(types)
        growth.config.architectures = [type(model).__name__]
        growth.config.save_pretrained(making)
        for pattern in _ALONG:
            for path in growth.sources[0].glob(pattern):
                shutil.copy(path, making / path.name)
        making.replace(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    try:
        difference, scale, words = _measure(growth, tensors, CheckpointTensors(out, *names))
    except ModelError as error:  # the source lacks what the growth does not copy
        difference, scale, words = None, None, f"not measured: {error}"
    return Grown(
        out,
        growth.plan.layer_map(),
        parameters,
        difference,
        scale,
        words,
        growth.plan.warning,
    )


class _Metas(Mapping[str, torch.Tensor]):
    """A checkpoint's tensors without their values."""

    def __init__(self, tensors: CheckpointTensors) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.empty(self._tensors.shape(name), device="meta")

    def __iter__(self) -> Any:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _types(
    plan: GrowthPlan,
    stack: LayerStack,
    source: CheckpointTensors,
    targets: Mapping[str, torch.Tensor],
) -> dict[str, torch.dtype]:
    """Return the type of each target tensor: that of what it copies, else the usual one."""
    types: dict[str, torch.dtype] = {}
    for name in targets:
        made = recipe(plan, stack, name)
        if made is not None and made.copied[0][1] in source:
            types[name] = source.dtype(made.copied[0][1])
    usual = _most(types)
    return {name: types.get(name, usual) for name in targets}


def _most(types: Mapping[str, torch.dtype]) -> torch.dtype:
    found = list(types.values())
    return max(set(found), key=found.count) if found else torch.float32


def _fresh(
    model: nn.Module,
    plan: GrowthPlan,
    stack: LayerStack,
    made: Mapping[str, torch.Tensor],
    seed: int,
) -> None:
    """Give tensors that keep random values, or blocks of them, those of a fresh model.

    Layer by layer, and all outside of the layers at once.
    """
    is_wider = plan.width is not None and plan.width.has_random
    layers = sorted({place[0] for name in made if (place := stack.split(name))})
    for number in layers:
        if is_wider or plan.layers[number].treatment == "random":
            prefix = f"{stack.prefix}.{number}"
            found = [
                (f"{prefix}.{name}".rstrip("."), module)
                for name, module in model.get_submodule(prefix).named_modules()
            ]
            _draw(model, found, made, derive_seed(seed, "init", number))
    has_ends = is_wider or "random" in (plan.bottom.treatment, plan.top.treatment)
    if has_ends and any(stack.split(name) is None for name in made):
        found = [
            (name, module)
            for name, module in model.named_modules()
            if not f"{name}.".startswith(f"{stack.prefix}.")
            and any(True for _ in module.parameters(recurse=False))
        ]
        _draw(model, found, made, derive_seed(seed, "init", "ends"))


def _draw(
    model: nn.Module,
    modules: Sequence[tuple[str, nn.Module]],
    made: Mapping[str, torch.Tensor],
    seed: int,
) -> None:
    """Initialize modules, outer ones last, take their values, and free them again."""
    for _, module in modules:
        module.to_empty(device="cpu", recurse=False)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for _, module in reversed(modules):
            model._init_weights(module)  # type: ignore[operator]
        for name, module in modules:
            for rest, tensor in module.named_parameters(recurse=False):
                if (full := f"{name}.{rest}") in made:
                    made[full].copy_(tensor)
    for _, module in modules:
        module.to_empty(device="meta", recurse=False)


def _measure(
    growth: Growth, sources: Sequence[CheckpointTensors], out: CheckpointTensors
) -> tuple[float | None, float | None, str]:
    """Compare logits before and after on seeded tokens, with one module in memory at a time."""
    if len(sources) > 1:
        return None, None, "several sources have no one function to preserve"
    before = load_config(growth.sources[0], allow_pickle=True)
    rows, length = _PROBE
    generator = torch.Generator().manual_seed(derive_seed(0, "probe"))
    logits: list[torch.Tensor] = []
    for config, tensors in ((before, sources[0]), (growth.config, out)):
        streamed = StreamedModel(config, growth.kind, tensors)
        if not logits:
            length = min(length, usable_positions(streamed.model, config) or length)
            tokens_BT = torch.randint(config.vocab_size, (rows, length), generator=generator)
        logits.append(streamed.logits(tokens_BT))
    difference = float((logits[0] - logits[1]).abs().max())
    scale = float(logits[0].abs().max())
    is_kept = difference <= 1e-4 * max(1.0, scale)
    words = "the function is preserved" if is_kept else "the function is NOT preserved"
    return difference, scale, words
