"""Checkpoints that are all that tables say: their configurations and tensors without transformers.

What is read here needs neither torch nor transformers. Whatever is not just as tables have it, or
is wrong, is left to transformers: it reads more, and says what is wrong.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lagsearch.errors import LagsearchError, ModelError
from lagsearch.models.families.anatomy import MODEL_TYPES, Anatomy, ModelType
from lagsearch.models.files import weight_files
from lagsearch.models.headers import (
    ITEM_BYTES,
    TYPES,
    StoredTensor,
    most_common_type,
    tensors_in,
)
from lagsearch.models.layers import LayerStack
from lagsearch.models.tabled_configs import TabledConfig, written_config


@dataclass(frozen=True)
class TabledCheckpoint:
    """A checkpoint that is all that tables say.

    Attributes:
        folder: Where it is.
        config: Its configuration.
        tensors: Its tensors by their names in tables.
        stack: Where it keeps its layers.
        spelling: What files call them.
        usual_type: The type of most tensors, as files say it.
    """

    folder: Path
    config: TabledConfig
    tensors: Mapping[str, StoredTensor] = field(repr=False)
    stack: LayerStack
    spelling: "Spelling"

    usual_type: str


@dataclass(frozen=True)
class Spelling:
    """How files write the names that tables have.

    Attributes:
        body: What they leave out at the beginning.
        others: The table's name by theirs, where they have another.
    """

    body: str
    others: Mapping[str, str]

    def read(self, name: str) -> str:
        """Return the name in tables of a name in files."""
        return self.body + self.others.get(name, name)

    def written(self, name: str) -> str:
        """Return the name in files of a name in tables."""
        name = name.removeprefix(self.body)
        return next((theirs for theirs, ours in self.others.items() if ours == name), name)


def open_tabled(
    folder: Path, tensors: Mapping[str, StoredTensor] | None = None
) -> TabledCheckpoint | None:
    """Open a checkpoint whose files have just the tensors that tables say, or return None."""
    with suppress(ModelError):
        return read_tabled(folder, tensors)
    return None


def read_tabled(
    folder: Path, tensors: Mapping[str, StoredTensor] | None = None
) -> TabledCheckpoint | None:
    """Open a checkpoint as `open_tabled` does, and say what is wrong where shapes alone are.

    Args:
        folder: Where it is.
        tensors: Those of its files, where these are not in the folder.

    Raises:
        ModelError: A tensor has another shape than the configuration says.
    """
    try:
        keys = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = written_config(keys)
        if tensors is None:
            tensors = tensors_in(weight_files(folder))
    except (OSError, ValueError, KeyError, LagsearchError):
        return None
    if config is None:
        return None
    spelling = _spelling(MODEL_TYPES[config.model_type], tensors)
    usual_type = _usual_type(each.dtype for each in tensors.values())
    ignored = MODEL_TYPES[config.model_type].ignored
    kept = [name for name in tensors if not any(re.search(each, name) for each in ignored)]
    found = {spelling.read(name): tensors[name] for name in kept}
    if len(found) < len(kept):
        return None
    tensors = found
    if any(each.dtype not in ITEM_BYTES for each in tensors.values()):
        return None
    anatomy, stack = config.anatomy, _stack(config, tensors)
    if anatomy is None or stack is None:
        return None
    wanted = shapes_of(anatomy, stack, config.num_hidden_layers)
    if tensors.keys() != wanted.keys():
        return None
    for name, shape in wanted.items():
        if (own := tensors[name].shape) != shape:
            raise ModelError(f"{folder}: {name} is {own}, but config.json makes it {shape}")
    return TabledCheckpoint(folder, config, tensors, stack, spelling, usual_type)


def shapes_of(anatomy: Anatomy, stack: LayerStack, depth: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of a model's tensors by its name, from the embedding up."""
    layers = {
        stack.join(layer, rest): shape
        for layer in range(depth)
        for rest, shape in anatomy.layer.items()
    }
    return {**anatomy.bottom, **layers, **anatomy.top}


def _usual_type(types: Iterable[str]) -> str:
    """Return the most common type of those that are no whole numbers."""
    found = [each for each in types if TYPES.get(each, "").strip("b").startswith("float")]
    return most_common_type(found or ["F32"])


def _spelling(known: ModelType, names: Collection[str]) -> Spelling:
    """Return how files write names."""
    others = {theirs: ours for ours, theirs in known.spelt if theirs in names}
    has_body = any(name.startswith(known.body) for name in names)
    return Spelling("" if has_body else known.body, others)


def _stack(config: TabledConfig, tensors: Mapping[str, StoredTensor]) -> LayerStack | None:
    """Find where the names say that layers are kept."""
    anatomy = config.anatomy
    if anatomy is None:
        return None
    first = re.escape(next(iter(anatomy.layer)))
    found = [match[1] for name in tensors if (match := re.fullmatch(rf"(.+)\.0\.{first}", name))]
    return LayerStack(found[0], frozenset(anatomy.top), anatomy.family) if len(found) == 1 else None
