"""Checkpoints that are all that tables say: their configurations and tensors without transformers.

What is read here needs neither torch nor transformers. Whatever is not just as tables have it, or
is wrong, is left to transformers: it reads more, and says what is wrong.
"""

import copy
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lagsearch.errors import LagsearchError
from lagsearch.models.configs import DERIVED_KEYS, PER_LAYER_KEYS
from lagsearch.models.families.anatomy import MODEL_TYPES, Anatomy, ModelType, anatomy_of
from lagsearch.models.files import weight_files
from lagsearch.models.headers import ITEM_BYTES, TYPES, StoredTensor, most_common_type, read_header
from lagsearch.models.layers import LayerStack


@dataclass(frozen=True)
class TabledConfig:
    """A configuration as `config.json` says it, with the few attributes that a growth asks for."""

    keys: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        """As transformers calls it."""
        return str(self.keys["model_type"])

    @property
    def architectures(self) -> list[str]:
        """The class that has these weights."""
        return list(self.keys["architectures"])

    @property
    def attribute_map(self) -> dict[str, str]:
        """Stored names of keys that have two."""
        depth = MODEL_TYPES[self.model_type].depth
        return {"num_hidden_layers": depth} if depth != "num_hidden_layers" else {}

    @property
    def num_hidden_layers(self) -> int:
        """The depth."""
        return int(self.keys[MODEL_TYPES[self.model_type].depth])

    @property
    def anatomy(self) -> Anatomy | None:
        """The tensors of the model, where tables say all of them."""
        return anatomy_of(self.model_type, self.keys)

    def grown(self, keys: Mapping[str, Any]) -> "TabledConfig":
        """Return a configuration with other values for these keys; what else is written stays."""
        second = {"num_hidden_layers"} & set(self.attribute_map)
        kept = {key: value for key, value in self.keys.items() if key not in second}
        return TabledConfig({**kept, **keys})

    def save(self, folder: Path, dtype: str) -> None:
        """Write `config.json`, with the type of the weights as torch calls it."""
        keys = {key: value for key, value in self.keys.items() if key != "torch_dtype"}
        text = json.dumps({**keys, "dtype": dtype}, indent=2, sort_keys=True)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Return the keys."""
        return copy.deepcopy(dict(self.keys))


@dataclass(frozen=True)
class TabledCheckpoint:
    """A checkpoint that is all that tables say.

    Attributes:
        folder: Where it is.
        config: Its configuration.
        tensors: Its tensors by their names in tables.
        stack: Where it keeps its layers.
        spelling: What files call them.
    """

    folder: Path
    config: TabledConfig
    tensors: Mapping[str, StoredTensor] = field(repr=False)
    stack: LayerStack
    spelling: "Spelling"

    @property
    def usual_type(self) -> str:
        """The type of most tensors, as files say it."""
        return most_common_type(each.dtype for each in self.tensors.values())


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


def open_tabled(folder: Path) -> TabledCheckpoint | None:
    """Open a checkpoint whose files have just the tensors that tables say, or return None."""
    try:
        keys = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = _config(keys)
        files = weight_files(folder)
        tensors: dict[str, StoredTensor] = {}
        for path, names in files.items():
            found = read_header(path)
            tensors |= {name: found[name] for name in names or found}
    except (OSError, ValueError, KeyError, LagsearchError):
        return None
    if config is None:
        return None
    spelling = _spelling(MODEL_TYPES[config.model_type], tensors)
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
    if {name: each.shape for name, each in tensors.items()} != wanted:
        return None
    return TabledCheckpoint(folder, config, tensors, stack, spelling)


def shapes_of(anatomy: Anatomy, stack: LayerStack, depth: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of a model's tensors by its name, from the embedding up."""
    layers = {
        stack.join(layer, rest): shape
        for layer in range(depth)
        for rest, shape in anatomy.layer.items()
    }
    return {**anatomy.bottom, **layers, **anatomy.top}


def _spelling(known: ModelType, names: Collection[str]) -> Spelling:
    """Return how files write names."""
    others = {theirs: ours for ours, theirs in known.spelt if theirs in names}
    has_body = any(name.startswith(known.body) for name in names)
    return Spelling("" if has_body else known.body, others)


def _config(keys: Any) -> TabledConfig | None:
    """Return a configuration that means the same to transformers as what is written there."""
    if (
        not isinstance(keys, dict)
        or (known := MODEL_TYPES.get(str(keys.get("model_type")))) is None
    ):
        return None
    depth = keys.get(known.depth)
    listed = [key for key in (*PER_LAYER_KEYS, *DERIVED_KEYS) if key in keys]
    is_known = (
        keys.get("architectures") in [[name] for name in known.classes]
        and type(depth) is int
        and depth == keys.get("num_hidden_layers", depth)
        and "quantization_config" not in keys
        and sorted(listed) == sorted(known.per_layer)
        and all(isinstance(keys[key], list) and len(keys[key]) == depth for key in listed)
        and all(_is_usual(key, value) for key, value in keys.items() if key not in listed)
        and not _is_beyond(keys.get("pad_token_id"), keys.get("vocab_size"))
    )
    return TabledConfig(keys) if is_known else None


_ACTIVATIONS = (
    *("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu"),
    *("relu", "relu2", "silu", "swish", "tanh"),
)
_ROTATIONS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")


def _is_beyond(token: Any, size: Any) -> bool:
    """Return whether padding has no row in the embedding."""
    return type(token) is int and type(size) is int and token >= size


def _is_usual(key: str, value: Any) -> bool:
    """Return whether a key of a configuration has a value of the kind that it always has.

    Others are for transformers, which knows what it takes and says what is wrong.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_count = type(value) is int and value >= 0
    if re.fullmatch(r"hidden_act(ivation)?|activation(_function)?", key):
        return value in _ACTIVATIONS
    if key in ("dtype", "torch_dtype"):
        return value in TYPES.values()
    if key in ("rope_parameters", "rope_scaling"):
        return value is None or _is_rotation(value)
    if key.endswith("_token_id"):
        return value is None or is_count or (isinstance(value, list) and bool(value))
    if re.fullmatch(r"(tie|use|is)_.*|.*_bias|add_cross_attention|scale_attn.*", key):
        return value is None or isinstance(value, bool)
    if re.search(r"(dropout|pdrop|_prob|_eps|epsilon|_range|_theta|_factor|_pct|_scaling)$", key):
        return value is None or is_number
    if re.search(r"(_size|_heads|_layers|_embeddings|_positions|_window|_dim)$|^n_[a-z]+$", key):
        return value is None or is_count
    return not key.endswith("_config")  # of a part of the model


def _is_rotation(value: Any) -> bool:
    """Return whether a value is rotary parameters, for all layers or for each kind of them."""
    if not isinstance(value, dict):
        return False
    if value and all(isinstance(each, dict) for each in value.values()):
        return all(map(_is_rotation, value.values()))
    if value.get("rope_type", value.get("type", "default")) not in _ROTATIONS:
        return False
    own = {key: each for key, each in value.items() if key not in ("rope_type", "type")}
    numbers = (int, float, list)
    return all(isinstance(each, numbers) and not isinstance(each, bool) for each in own.values())


def _stack(config: TabledConfig, tensors: Mapping[str, StoredTensor]) -> LayerStack | None:
    """Find where the names say that layers are kept."""
    anatomy = config.anatomy
    if anatomy is None:
        return None
    first = re.escape(next(iter(anatomy.layer)))
    found = [match[1] for name in tensors if (match := re.fullmatch(rf"(.+)\.0\.{first}", name))]
    return LayerStack(found[0], frozenset(anatomy.top), anatomy.family) if len(found) == 1 else None
