"""Configurations that are all that tables say: read and completed without transformers."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from lagsearch.models.configs import (
    BOOKKEEPING,
    DERIVED_KEYS,
    PER_LAYER_KEYS,
    build_config,
    rebuild_config,
)
from lagsearch.models.families.anatomy import MODEL_TYPES, Anatomy, anatomy_of
from lagsearch.models.headers import TYPES

_DEFAULTS = Path(__file__).with_name("families") / "defaults.json"


@dataclass(frozen=True)
class Defaults:
    """What configurations of a type have where nothing is written.

    `tests/models/make_defaults.py` writes the table, and a test compares it with transformers.

    Attributes:
        keys: The value of each key.
        shared: Those of keys that have nothing to do with the type.
        aliases: Stored names of keys that have two.
        cycles: Of keys that hold one value for each layer, those that are repeated over the layers.
        follow: Keys that follow from the widths: `num_key_value_heads`, `head_dim`.
        unheeded: Keys that have no effect, and their default value, whatever is written.
    """

    keys: Mapping[str, Any]
    shared: Mapping[str, Any]
    aliases: Mapping[str, str]
    cycles: Mapping[str, list[Any]]
    follow: tuple[str, ...]
    unheeded: tuple[str, ...]


@cache
def _defaults() -> dict[str, Defaults]:
    tables = json.loads(_DEFAULTS.read_text(encoding="utf-8"))
    shared = tables.pop("shared")
    shared["id2label"] = _numbered(shared["id2label"])
    return {
        name: Defaults(
            *(each["keys"], shared, each["aliases"], each["cycles"]),
            *(tuple(each["follow"]), tuple(each["unheeded"])),
        )
        for name, each in tables.items()
    }


def _numbered(labels: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return labels by numbers, which JSON has as text."""
    return {int(key) if str(key).isdigit() else key: label for key, label in labels.items()}


@dataclass(frozen=True)
class TabledConfig:
    """A configuration's keys, with the attributes that transformers' configurations have.

    Attributes:
        keys: As `config.json` has them or, where they are completed, with all that is left out.
        aliases: Stored names of keys that have two.
    """

    keys: Mapping[str, Any]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_type(self) -> str:
        """As transformers calls it."""
        return str(self.keys["model_type"])

    @property
    def architectures(self) -> list[str] | None:
        """The class that has these weights, where that is written."""
        return self.keys.get("architectures")

    @property
    def attribute_map(self) -> dict[str, str]:
        """Stored names of keys that have two."""
        depth = MODEL_TYPES[self.model_type].depth
        named = {"num_hidden_layers": depth} if depth != "num_hidden_layers" else {}
        return {**named, **self.aliases}

    @property
    def num_hidden_layers(self) -> int:
        """The depth."""
        return int(self.keys[MODEL_TYPES[self.model_type].depth])

    def __getattr__(self, name: str) -> Any:
        """Return a key's value, by either of its names.

        Raises:
            AttributeError: There is no such key.
        """
        if not name.startswith("_") and name not in ("keys", "aliases"):
            stored = self.attribute_map.get(name, name)
            if stored in self.keys:
                return self.keys[stored]
        raise AttributeError(name)

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


def config_of(keys: Mapping[str, Any], *, is_written: bool = False) -> Any:
    """Return the configuration of these keys: by tables where they say all of it.

    Args:
        keys: With `model_type`.
        is_written: A user wrote them; else they are `plain_config`'s.

    Raises:
        ModelError: transformers cannot make one of them.
    """
    if (found := completed(keys, is_stored=not is_written)) is not None:
        return found
    return build_config(keys) if is_written else rebuild_config(keys)


def with_vocabulary(config: Any, size: int) -> Any:
    """Return a configuration with another number of tokens; one of transformers is changed."""
    if isinstance(config, TabledConfig):
        return replace(config, keys={**config.keys, "vocab_size": size})
    config.vocab_size = size
    return config


def completed(keys: Mapping[str, Any], *, is_stored: bool = False) -> TabledConfig | None:
    """Return a configuration with all that is left out, or None where tables do not say all of it.

    Whatever is unusual, or wrong, is left to transformers, which knows what it takes.

    Args:
        keys: With `model_type`.
        is_stored: They are a checkpoint's, or `plain_config`'s: its rotation may be any usual one,
            and keys that have no effect are carried along.
    """
    defaults = _defaults().get(str(keys.get("model_type")))
    if defaults is None:
        return None
    known = {**defaults.shared, **defaults.keys}
    carried = {key: keys[key] for key in keys if is_stored and key in CARRIED and key not in known}
    named = {key: value for key, value in keys.items() if key not in carried}
    own = {defaults.aliases.get(key, key): named[key] for key in named if key != "model_type"}
    if isinstance(own.get("id2label"), dict):
        own["id2label"] = _numbered(own["id2label"])
    if len(own) < len(named) - 1 or own.get("use_sliding_window"):
        return None
    for key, value in own.items():
        is_turned = is_stored and key == "rope_parameters" and is_usual_turn(value)
        is_known = key in known and (value == known[key] or _may_be(key, value, known[key]))
        is_left = value is None and (key in defaults.follow or key in defaults.unheeded)
        if not (is_turned or is_known or is_left or key in defaults.cycles):
            return None
    own |= {key: known[key] for key in defaults.unheeded}
    model_type = str(keys["model_type"])
    found = TabledConfig({**known, **own, **carried, "model_type": model_type}, defaults.aliases)
    if (added := _following(found, own, defaults)) is None:
        return None
    found = replace(found, keys={**found.keys, **added})
    return found if _can_be(found) else None


def _following(
    found: TabledConfig, own: Mapping[str, Any], defaults: Defaults
) -> dict[str, Any] | None:
    """Return what follows from widths and depth; None where they are not usual.

    Args:
        found: The configuration so far.
        own: What is written.
        defaults: What configurations of its type have.
    """
    following = dict.fromkeys(defaults.follow) | dict(own)
    heads, width = found.num_attention_heads, found.hidden_size
    if not all(type(each) is int and each > 0 for each in (heads, width, found.num_hidden_layers)):
        return None
    follows = {"num_key_value_heads": heads, "head_dim": width // heads}
    added = {key: follows[key] for key in defaults.follow if following[key] is None}
    depth = found.num_hidden_layers
    for key, cycle in defaults.cycles.items():
        listed = own.get(key, [cycle[layer % len(cycle)] for layer in range(depth)])
        if not (isinstance(listed, list) and len(listed) == depth and set(listed) <= set(cycle)):
            return None
        added[key] = listed
    return added


def _can_be(config: TabledConfig) -> bool:
    """Return whether transformers would make a model of a completed configuration."""
    heads, groups = config.num_attention_heads, config.keys.get("num_key_value_heads")
    sizes = (config.vocab_size, config.max_position_embeddings)
    return (
        config.hidden_size % heads == 0
        and (groups is None or (type(groups) is int and groups > 0 and heads % groups == 0))
        and all(type(each) is int and each > 0 for each in sizes)
        and not is_beyond(config.keys.get("pad_token_id"), config.vocab_size)
        and config.anatomy is not None
        and all(0 not in shape for part in config.anatomy.parts for shape in part.values())
    )


def _may_be(key: str, value: Any, default: Any) -> bool:
    """Return whether a value that is not the default is kept as it is."""
    if type(default) is float and type(value) is int and not re.search("dropout|pdrop|_prob", key):
        return False
    is_given = value is not None or key.endswith(("_token_id", "_window"))
    return is_given and _is_of_its_kind(key, value) is True


CARRIED = frozenset(
    (
        *("n_ctx", "task_specific_params", "gradient_checkpointing", "position_embedding_type"),
        *("max_sequence_length", "is_llama_config", "rope_interleaved", "use_mrope"),
        *("cache_implementation", "auto_map", "tie_weights_", "tokenizer_class"),
    )
)
"""Keys without effect that checkpoints have from other versions; transformers keeps them."""

OF_GENERATION = frozenset(
    (
        *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "temperature"),
        *("top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids"),
        *("num_return_sequences", "output_scores", "return_dict_in_generate"),
        *("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"),
        *("exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"),
        *("num_beam_groups", "diversity_penalty"),
    )
)
"""Keys of how text is generated, which transformers does not take from a configuration."""


def stored_config(written: TabledConfig) -> TabledConfig | None:
    """Return what a checkpoint's configuration means, completed; None where it is unusual.

    Args:
        written: As `written_config` has it.
    """
    left_out = {*BOOKKEEPING, "torch_dtype"} - {"model_type"} | OF_GENERATION
    own = {key: value for key, value in written.keys.items() if key not in left_out}
    default = _defaults()[written.model_type].keys.get("rope_parameters")
    if default is not None:
        own["rope_parameters"] = _turn(own, default)
    found = completed(own, is_stored=True)
    if found is None:
        return None
    return replace(found, keys={**found.keys, "architectures": list(written.architectures or ())})


def _turn(own: dict[str, Any], default: Mapping[str, Any]) -> Any:
    """Take what is said of rotary embeddings out of keys, and return it in one, as it is today.

    Args:
        own: A configuration's keys.
        default: The type's `rope_parameters`.
    """
    scaling, given = own.pop("rope_scaling", None), own.pop("rope_parameters", None)
    theta, local = own.pop("rope_theta", None), own.pop("rope_local_base_freq", None)
    base, share = own.pop("rotary_emb_base", None), own.pop("rotary_pct", None)
    part = own.pop("partial_rotary_factor", None)
    if "rope_theta" not in default:  # one for each type of layer
        if scaling or base or share or part or (given and (theta or local)):
            return "more than one is said"
        full, sliding = default["full_attention"], default["sliding_attention"]
        return given or {
            "full_attention": {**full, **({"rope_theta": theta} if theta else {})},
            "sliding_attention": {**sliding, **({"rope_theta": local} if local else {})},
        }
    found = dict(scaling or given or {})
    found.setdefault("rope_type", found.get("type", "default"))
    for key, values in (("rope_theta", (theta, base)), ("partial_rotary_factor", (part, share))):
        said = [value for value in values if value is not None]
        if local or len(said) > 1 or (said and key not in default):
            return "more than one is said"
        if key in default:
            found.setdefault(key, said[0] if said else default[key])
    return found


_TURNS = {
    "default": set(),
    "linear": {"factor"},
    "llama3": {
        *("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    },
}
"""What rotary embeddings of a kind need beside the base of their wavelengths."""


def is_usual_turn(value: Any) -> bool:
    """Return whether a value is all that transformers makes of a usual `rope_parameters`."""
    if not isinstance(value, dict):
        return False
    if value.keys() == {"full_attention", "sliding_attention"}:
        return all(map(is_usual_turn, value.values()))
    kind = value.get("rope_type")
    if kind not in _TURNS or value.get("type", kind) != kind:
        return False
    own = {key: each for key, each in value.items() if key not in ("rope_type", "type")}
    has_all = own.keys() - {"partial_rotary_factor"} == {"rope_theta", *_TURNS[kind]}
    numbers = (int, float)
    return has_all and all(type(each) in numbers and each > 0 for each in own.values())


def written_config(keys: Any) -> TabledConfig | None:
    """Return a configuration that means the same to transformers as what is written there."""
    if (
        not isinstance(keys, dict)
        or (known := MODEL_TYPES.get(str(keys.get("model_type")))) is None
    ):
        return None
    depth = keys.get(known.depth)
    if type(depth) is not int or (layers := _layers(keys, depth)) is None:
        return None
    keys = {**layers, **keys}
    listed = [key for key in (*PER_LAYER_KEYS, *DERIVED_KEYS) if key in keys]
    is_known = (
        keys.get("architectures") in [[name] for name in known.classes]
        and depth == keys.get("num_hidden_layers", depth)
        and "quantization_config" not in keys
        and sorted(listed) == sorted(known.per_layer)
        and all(isinstance(keys[key], list) and len(keys[key]) == depth for key in listed)
        and all(_is_usual(key, value) for key, value in keys.items() if key not in listed)
        and not is_beyond(keys.get("pad_token_id"), keys.get("vocab_size"))
    )
    return TabledConfig(keys) if is_known else None


def _layers(keys: Mapping[str, Any], depth: int) -> dict[str, list[Any]] | None:
    """Return what layers are where a configuration does not list it, as older ones did not.

    None where it says in another way what they are.
    """
    cycles = _defaults()[str(keys["model_type"])].cycles
    lacking = {key: cycle for key, cycle in cycles.items() if key not in keys}
    other = ("use_sliding_window", "sliding_window_pattern", "no_rope_layer_interval")
    if lacking and any(keys.get(key) for key in other):
        return None
    return {
        key: [cycle[layer % len(cycle)] for layer in range(depth)] for key, cycle in lacking.items()
    }


_ACTIVATIONS = (
    *("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu"),
    *("relu", "relu2", "silu", "swish", "tanh"),
)
_ROTATIONS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")


def is_beyond(token: Any, size: Any) -> bool:
    """Return whether padding has no row in the embedding."""
    return type(token) is int and type(size) is int and token >= size


def _is_usual(key: str, value: Any) -> bool:
    """Return whether a key of a configuration has a value of the kind that it always has.

    Others are for transformers, which knows what it takes and says what is wrong.
    """
    if key in ("dtype", "torch_dtype"):
        return value in TYPES.values()
    if key in ("rope_parameters", "rope_scaling"):
        return value is None or _is_rotation(value)
    found = _is_of_its_kind(key, value)
    return not key.endswith("_config") if found is None else found  # of a part of the model


def _is_of_its_kind(key: str, value: Any) -> bool | None:
    """Return whether a value is of the kind that its key says; None where the key says none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_count = type(value) is int and value >= 0
    if re.fullmatch(r"hidden_act(ivation)?|activation(_function)?", key):
        return value in _ACTIVATIONS
    if key.endswith("_token_id"):
        return value is None or is_count or (isinstance(value, list) and bool(value))
    if re.fullmatch(r"(tie|use|is)_.*|.*_bias|add_cross_attention|scale_attn.*", key):
        return value is None or isinstance(value, bool)
    if key.endswith("_range"):
        return is_number and 0 <= value <= 1
    if re.search(r"(dropout|pdrop|_prob|_eps|epsilon|_theta|_factor|_pct|_scaling)$", key):
        return value is None or is_number
    if re.search(
        r"(_size|_heads|_layers|_embeddings|_positions|_window|_scalar|(^|_)dim)$|^n_[a-z]+$", key
    ):
        return value is None or is_count
    return None


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
