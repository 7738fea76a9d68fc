"""The grown checkpoint, written tensor by tensor, file to file."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lagsearch.display.watch import Watch
from lagsearch.errors import RunFolderError
from lagsearch.grow.card import write_grown_card
from lagsearch.grow.growth import Growth
from lagsearch.grow.measuring import PROBE, compare_function
from lagsearch.grow.shards import write_shards
from lagsearch.models.build import empty_model, n_parameters, tensors_of
from lagsearch.models.checkpoints import Checkpoint, load_config, open_checkpoint
from lagsearch.models.files import copy_along
from lagsearch.models.layers import LayerStack, find_layers
from lagsearch.models.layout import Layout
from lagsearch.models.stored import CheckpointTensors
from lagsearch.operators import GrowthPlan
from lagsearch.operators.execute.fill import (
    add_noise,
    check_fit,
    fill,
    recipe,
)
from lagsearch.storage.files import derive_seed


@dataclass(frozen=True)
class Grown:
    """What came of a growth.

    Attributes:
        folder: The grown checkpoint.
        layer_map: Its layers drawn.
        parameters: Tied ones once.
        difference: Largest absolute difference before and after, or None.
        scale: Largest absolute value before.
        compared: What the difference is of: logits, or a model's last hidden states.
        words: What the difference means, or why it was not measured.
        warnings: What a user should know of what was read and grown.
    """

    folder: Path
    layer_map: str
    parameters: int
    difference: float | None
    scale: float | None
    compared: str
    words: str
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """Say it in lines."""
        measured = self.words
        if self.difference is not None and self.scale is not None:
            rows, length = PROBE
            measured = (
                f"max |difference of {self.compared}| {self.difference:.3g} on {rows} x {length} "
                f"seeded tokens ({self.compared} up to {self.scale:.3g}): {self.words}"
            )
        return (
            f"Layers: {self.layer_map}\nParameters: {self.parameters:,}\n"
            f"Function: {measured}.\nCheckpoint: {self.folder}"
            + "".join(f"\nWarning: {each}" for each in self.warnings)
        )


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
        out: The new folder; it appears when it is complete and measured.
        seed: Of random weights and noise.
        allow_pickle: Read `*.bin` where there is no safetensors, with `weights_only`.
        watch: Is told how far it is.

    Raises:
        RunFolderError: `out` is there already.
        ModelError: A source lacks what is copied, or has what is no number or would be lost.
    """
    watch = watch or Watch()
    check_free(out)
    sources = _opened(growth, allow_pickle)
    model = empty_model(growth.config, growth.kind)
    making = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        _write(growth, sources, model, making, seed, watch)
        copy_along(growth.sources[0], making)
        for each in sources:
            each.tensors.release()
        watch.say("comparing with the source")
        measured = compare_function(growth, sources, making)
        write_grown_card(growth, making, measured[-1])
        making.replace(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    warnings = [note for each in sources for note in each.notes]
    warnings += [growth.plan.warning] if growth.plan.warning else []
    return Grown(out, growth.plan.layer_map(), n_parameters(model), *measured, tuple(warnings))


def _opened(growth: Growth, allow_pickle: bool) -> list[Checkpoint]:
    """Open the sources, each as what the target is."""
    opened = []
    for folder in growth.sources:
        config = load_config(folder, allow_pickle=allow_pickle)
        each = open_checkpoint(folder, growth.kind, config=config, allow_pickle=allow_pickle)
        each.check()
        opened.append(each)
    return opened


def _write(
    growth: Growth,
    sources: Sequence[Checkpoint],
    model: nn.Module,
    making: Path,
    seed: int,
    watch: Watch,
) -> None:
    """Write weights and configuration."""
    stack = find_layers(model, growth.config)
    targets, tensors = tensors_of(model), [each.tensors for each in sources]
    check_fit(growth.plan, stack, [_Metas(each) for each in tensors], targets)
    types = _types(growth.plan, stack, tensors[0], targets)
    layout = Layout(tensors[0].naming, stack, model)
    groups = layout.groups(targets)
    sizes = {
        group: sum(targets[name].numel() * types[name].itemsize for name in names)
        for group, names in groups.items()
    }

    def make(chosen: Sequence[str]) -> dict[str, torch.Tensor]:
        names = [name for group in chosen for name in groups[group]]
        made = {name: torch.empty(targets[name].shape, dtype=types[name]) for name in names}
        _fresh(model, growth.plan, stack, made, seed)
        fill(growth.plan, stack, tensors, made)
        add_noise(growth.plan, stack, made, growth.config.hidden_size, seed)
        for each in tensors:
            each.release()
        return layout.written(made)

    total = sum(sizes.values())
    for written in write_shards(making, sizes, make):
        watch.say(f"written {written / 2**20:,.0f} of {total / 2**20:,.0f} MiB")
    growth.config.dtype = _most(types)
    growth.config.architectures = [type(model).__name__]
    growth.config.save_pretrained(making)


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
