"""transformers configurations: built from a space's keys, and grown to the target's."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from lagsearch.errors import ModelError, brief, did_you_mean
from lagsearch.models.files import check_config, check_fetched
from lagsearch.models.hub_files import quiet_hub

PER_LAYER_KEYS = (
    "layer_types",
    "mlp_layer_types",
    "no_rope_layers",
    "layers_block_type",
    "attention_layers",
)
"""Configuration keys that hold one value for each layer."""

DERIVED_KEYS = ("attention_types", "first_k_dense_replace", "mlp_only_layers")
"""Configuration keys that say in another way what each layer is: GPT-Neo's runs of attention types,
how many of the first layers have no experts, which layers have none."""

_NAMES_OF_SIZES = (
    ("num_hidden_layers", "n_layers", "num_layers", "n_layer", "layers", "depth"),
    ("hidden_size", "dim", "d_model", "n_embd", "width", "hidden", "embedding"),
    ("num_attention_heads", "n_heads", "num_heads", "n_head", "heads"),
    ("num_key_value_heads", "num_kv_heads", "kv_heads", "n_kv_heads", "groups"),
    ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim", "d_ff", "ffn", "mlp", "feed_forward"),
    ("vocab_size", "n_vocab", "vocab", "vocabulary"),
    ("max_position_embeddings", "n_positions", "n_ctx", "context_length", "context", "positions"),
)
"""What a size is called: by configurations, the most usual name first, and by people."""

_OF_EVERY_MODEL = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "id2label", "label2id", "problem_type"),
    *("output_attentions", "output_hidden_states", "return_dict", "chunk_size_feed_forward"),
    *("is_encoder_decoder", "is_decoder", "torch_dtype", "use_cache"),
}
"""Keys that are not named to those who look for another one."""

BOOKKEEPING = {"_name_or_path", "architectures", "transformers_version", "dtype", "model_type"}


@dataclass(frozen=True)
class ModelShape:
    """What an operator may know of a model.

    Attributes:
        n_layers: Depth.
        keys: All other configuration keys, by the names that the configuration stores.
        model_type: As transformers calls it.
    """

    n_layers: int
    keys: Mapping[str, Any]
    model_type: str = ""

    def differences(self, other: "ModelShape") -> dict[str, tuple[Any, Any]]:
        """Return the keys, depth left out, in which two shapes differ: (this, other)."""
        names = sorted(set(self.keys) | set(other.keys))
        pairs = {name: (self.keys.get(name), other.keys.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def quiet() -> None:
    """Keep transformers' own messages and progress bars out of the output."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    getLogger("datasets").setLevel(ERROR)
    quiet_hub()


def build_config(keys: Mapping[str, Any]) -> Any:
    """Build a transformers configuration from `model_type` and keys that a user wrote.

    Raises:
        ModelError: The model type or a key is unknown, or a value does not fit.
    """
    quiet()
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    model_type = keys["model_type"]
    if model_type not in CONFIG_MAPPING_NAMES:
        hint = did_you_mean(str(model_type), list(CONFIG_MAPPING_NAMES))
        raise ModelError(f"model_type {model_type!r} is unknown to transformers{hint}")
    check_keys(AutoConfig.for_model(model_type), {k: keys[k] for k in keys if k != "model_type"})
    return rebuild_config(keys)


def rebuild_config(keys: Mapping[str, Any]) -> Any:
    """Build a configuration from `plain_config`'s keys.

    Real checkpoints carry keys that their class does not know (`n_ctx`,
    `task_specific_params`); they are carried along.

    Raises:
        ModelError: A value does not fit.
    """
    quiet()
    from transformers import AutoConfig

    model_type = keys["model_type"]
    settings = {key: value for key, value in keys.items() if key != "model_type"}
    try:
        return AutoConfig.for_model(model_type, **settings)
    except Exception as error:  # transformers raises many types here; all mean the values
        raise ModelError(f"{model_type}: {_one_line(error)}") from error


def read_config(folder: Path) -> Any:
    """Read what a checkpoint's `config.json` says.

    Raises:
        ModelError: There is none that can be read, or of no known model type.
    """
    check_config(folder)
    quiet()
    from transformers import AutoConfig

    check_fetched(folder / "config.json")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many types here
        where = f"{folder}/config.json"
        if unknown := re.search("model type `(.+?)` but Transformers does not", str(error)):
            message = f"model_type {unknown[1]!r} is unknown to this version of transformers"
            raise ModelError(f"{where}: {message}; a newer one may know it") from error
        raise ModelError(f"{where}: {brief(error)}") from error
    if getattr(config, "quantization_config", None):
        raise ModelError(f"{folder} is quantized; bring the weights it was made from")
    return config


def check_keys(config: Any, keys: Mapping[str, Any]) -> None:
    """Refuse keys that the configuration's class does not have (transformers takes any).

    Raises:
        ModelError: A key is unknown, or is there twice by two names.
    """
    known = set(config.to_dict()) | set(config.attribute_map)
    if "rope_parameters" in known:
        known |= {"rope_theta", "rope_scaling"}
    stored: dict[str, str] = {}
    for key in keys:
        if key not in known:
            told = f"key {key!r} is unknown to model_type {config.model_type}"
            raise ModelError(f"{told}{_meant(key, config, known)}")
        twin = stored.setdefault(stored_name(config, key), key)
        if twin != key:
            raise ModelError(f"keys {twin!r} and {key!r} are two names for one: give one of them")


def _meant(key: str, config: Any, known: set[str]) -> str:
    """Return which key was meant: by what it is called elsewhere, or by spelling; else all."""
    for names in _NAMES_OF_SIZES:
        if key.lower() in names and (found := [name for name in names if name in known]):
            return f"; did you mean {stored_name(config, found[0])!r}?"
    listed = sorted(set(config.to_dict()) - BOOKKEEPING - _OF_EVERY_MODEL)
    return did_you_mean(key, sorted(known)) or f"; known: {', '.join(listed)}"


def shape_of(config: Any) -> ModelShape:
    """Return the shape of a configuration, with stored names in place of aliases."""
    hidden = {
        "model_type",
        *PER_LAYER_KEYS,
        *DERIVED_KEYS,
        stored_name(config, "num_hidden_layers"),
    }
    keys = {key: value for key, value in plain_config(config).items() if key not in hidden}
    return ModelShape(n_layers(config), keys, config.model_type)


def stored_name(config: Any, key: str) -> str:
    """Return the name under which a configuration stores an aliased key."""
    name: str = config.attribute_map.get(key, key)
    return name


def n_layers(config: Any) -> int:
    """Return the depth of a configuration.

    Raises:
        ModelError: The model type has no `num_hidden_layers`.
    """
    depth = getattr(config, "num_hidden_layers", None)
    if not isinstance(depth, int):
        raise ModelError(f"model_type {config.model_type} has no num_hidden_layers to grow")
    return depth


def target_shape(source: Any, changes: Mapping[str, Any]) -> ModelShape:
    """Return the shape that the target's changed keys lead to.

    Raises:
        ModelError: A key is unknown, or a value does not fit.
    """
    check_keys(source, changes)
    depth = stored_name(source, "num_hidden_layers")
    plain = {stored_name(source, key): value for key, value in changes.items()}
    layers = plain.pop(depth, n_layers(source))
    if not isinstance(layers, int) or isinstance(layers, bool) or layers < 1:
        raise ModelError(f"{depth} must be a whole number of at least 1")
    return ModelShape(layers, {**shape_of(source).keys, **plain}, source.model_type)


def plain_config(config: Any) -> dict[str, Any]:
    """Return the keys that build the same configuration again, `model_type` included."""
    keys = {key: value for key, value in config.to_dict().items() if key not in BOOKKEEPING}
    return {"model_type": config.model_type, **keys}


def grown_keys(
    source: Any, changes: Mapping[str, Any], origins: Sequence[int | None]
) -> dict[str, Any]:
    """Return the keys of the target's configuration: a copied layer carries those of its own along.

    Args:
        source: The source's configuration.
        changes: The keys of the target that differ.
        origins: For each target layer the source layer whose place it takes, if any.

    Raises:
        ModelError: A key is unknown, or no configuration has such an order of layers.
    """
    check_keys(source, changes)
    keys = plain_config(source)
    for key in PER_LAYER_KEYS:
        listed = keys.pop(key, None)
        known = [origin for origin in origins if origin is not None and origin < len(listed or ())]
        if listed and len(known) == len(origins):
            keys[key] = [listed[origin] for origin in known]
    keys.update(_derived(keys, origins))
    keys.update({stored_name(source, key): value for key, value in changes.items()})
    return keys


def _derived(keys: Mapping[str, Any], origins: Sequence[int | None]) -> dict[str, Any]:
    """Return the keys that say what each layer is in words of their own, for the target's layers.

    Raises:
        ModelError: The configuration has no words for such an order of layers.
    """
    found: dict[str, Any] = {}
    if "attention_types" in keys and "attention_layers" in keys:
        found["attention_types"] = [[keys["attention_layers"], 1]]
    if listed := keys.get("mlp_only_layers"):
        found["mlp_only_layers"] = [n for n, origin in enumerate(origins) if origin in listed]
    first = keys.get("first_k_dense_replace")
    if isinstance(first, int) and first:
        dense = [origin is not None and origin < first for origin in origins]
        found["first_k_dense_replace"] = count = sum(dense)
        if not all(dense[:count]):
            raise ModelError(
                f"{keys['model_type']} can have layers without experts below all others only "
                f"(first_k_dense_replace {first}), and this growth puts one above: leave the first "
                f"{first} where they are, e.g. with the operators last or layers"
            )
    return found


def numbered(model_type: str, keys: Mapping[str, Any]) -> str | None:
    """Return what in a model's layers depends on their number, in words, if anything does."""
    if keys.get("scale_attn_by_inverse_layer_idx"):
        return "scale_attn_by_inverse_layer_idx divides the scores by it"
    if model_type == "diffllama":
        return "lambda_init of its differential attention follows from it"
    if (keys.get("decoder_sparse_step") or 1) != 1:
        return "decoder_sparse_step says by it which layers have experts"
    return None


def _one_line(error: Exception) -> str:
    """Return what is wrong, without the names of who found it."""
    words = re.sub(r"^Class validation error for validator '\w+':\s*\w+: ", "", str(error))
    return " ".join(words.split())[:300].rstrip(".")
