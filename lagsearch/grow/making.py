"""What any growth writes, worked out of the model that transformers builds: copied or made."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lagsearch.grow.entries import by_layer, only_copies, value_of
from lagsearch.grow.filling import bytes_of, fill_growth
from lagsearch.grow.growth import Growth
from lagsearch.grow.shards import WrittenTensor
from lagsearch.models.build import empty_model, n_parameters, tensors_of
from lagsearch.models.checkpoints import Checkpoint, load_config, open_checkpoint
from lagsearch.models.headers import TYPES, StoredTensor, most_common_type
from lagsearch.models.layers import LayerStack, find_layers
from lagsearch.models.layout import Layout
from lagsearch.models.stored import CheckpointTensors
from lagsearch.operators import GrowthPlan
from lagsearch.operators.execute.mix import check_fit
from lagsearch.operators.execute.recipe import recipe
from lagsearch.storage.files import derive_seed

_WORDS = {getattr(torch, name): word for word, name in TYPES.items()}


def open_sources(growth: Growth, *, allow_pickle: bool) -> list[Checkpoint]:
    """Open the sources, each as what the target is.

    Raises:
        ModelError: One cannot be read, or has what would be lost.
    """
    opened = []
    for folder in growth.sources:
        config = load_config(folder, allow_pickle=allow_pickle)
        each = open_checkpoint(folder, growth.kind, config=config, allow_pickle=allow_pickle)
        each.check()
        opened.append(each)
    return opened


class Making:
    """The tensors of a target, those that are copied and those that are made.

    Args:
        growth: What is grown into what.
        sources: What it grows, opened.
        seed: Of random weights and noise.

    Raises:
        ModelError: A source lacks what is copied, or has it in another shape.
    """

    def __init__(self, growth: Growth, sources: Sequence[Checkpoint], seed: int) -> None:
        self._growth, self._seed = growth, seed
        self._model = model = empty_model(growth.config, growth.kind)
        self._stack = find_layers(model, growth.config)
        self._sources = [each.tensors for each in sources]
        self._targets = tensors_of(model)
        check_fit(growth.plan, self._stack, [_Metas(each) for each in self._sources], self._targets)
        self._types = _types(growth.plan, self._stack, self._sources, self._targets)
        self._layout = Layout(self._sources[0].naming, self._stack, model)
        self._groups = self._layout.groups(self._targets)

    @property
    def parameters(self) -> int:
        """Of the target, tied ones once."""
        return n_parameters(self._model)

    def entries(self) -> list[list[WrittenTensor]]:
        """Return the tensors that are written, in their groups."""
        return [self._entries(group, names) for group, names in self._groups.items()]

    def make(self, chosen: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the bytes of the tensors of these groups, by their names in the file: a layer's."""
        names = [name for group in chosen for name in self._groups[group]]
        for each in by_layer(self._stack, names):
            yield self._made(each)

    def _made(self, names: Sequence[str]) -> dict[str, Any]:
        made = {
            name: torch.empty(self._targets[name].shape, dtype=self._types[name]) for name in names
        }
        _fresh(self._model, self._growth.plan, self._stack, made, self._seed)
        fill_growth(self._growth, self._stack, self._sources, made, self._seed)
        for each in self._sources:
            each.release()
        return bytes_of(self._layout.written(made))

    def save_config(self, folder: Any) -> None:
        """Write the target's configuration."""
        config = self._growth.config
        config.dtype = most_common_type(self._types.values())
        config.architectures = [type(self._model).__name__]
        config.save_pretrained(folder)

    def _entries(self, group: str, names: Sequence[str]) -> list[WrittenTensor]:
        empty = {
            name: torch.empty(self._targets[name].shape, dtype=self._types[name], device="meta")
            for name in names
        }
        copied, value = self._copied(names[0]) if len(names) == 1 else (None, None)
        return [
            WrittenTensor(name, _WORDS[each.dtype], tuple(each.shape), copied, value, group)
            for name, each in self._layout.written(empty).items()
        ]

    def _copied(self, name: str) -> tuple[StoredTensor | None, bytes | None]:
        """Return the tensor in a file that one of the target has the bytes of, where it has any."""
        plan = self._growth.plan
        made = recipe(plan, self._stack, name)
        if made is None or len(made.copied) > 1 or not only_copies(plan):
            return None, None
        [(source, copied)] = made.copied
        found = self._sources[source].in_file(copied)
        if found is None or getattr(torch, TYPES[found.dtype]) != self._types[name]:
            return None, None
        return found, value_of(made, found.dtype)


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
    sources: Sequence[CheckpointTensors],
    targets: Mapping[str, torch.Tensor],
) -> dict[str, torch.dtype]:
    """Return the type of each target tensor: that of what it copies, else the usual one."""
    types: dict[str, torch.dtype] = {}
    for name in targets:
        made = recipe(plan, stack, name)
        if made is None:
            continue
        source, copied = made.copied[0]
        if copied in sources[source]:
            types[name] = sources[source].dtype(copied)
    usual = most_common_type(types.values() or [torch.float32])
    return {name: types.get(name, usual) for name in targets}


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
