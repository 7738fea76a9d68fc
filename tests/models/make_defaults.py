"""Writes what configurations have where nothing is written, to `families/defaults.json`.

    python tests/models/make_defaults.py

A line for each model type, of the version of transformers that is installed.
"""

import json
from pathlib import Path

import transformers

import lagsearch
from lagsearch.models.configs import BOOKKEEPING, PER_LAYER_KEYS
from lagsearch.models.families.anatomy import MODEL_TYPES

PATH = Path(lagsearch.__file__).parent / "models" / "families" / "defaults.json"


def plain(config):
    keys = json.loads(json.dumps(config.to_dict()))
    return {key: value for key, value in keys.items() if key not in BOOKKEEPING}


def named(model_type, **keys):
    return transformers.AutoConfig.for_model(model_type, **keys)


def followers(model_type, aliases):
    """Return the keys that follow from others where they are not given, or given as null."""
    heads, width = (aliases.get(key, key) for key in ("num_attention_heads", "hidden_size"))
    made = plain(named(model_type, **{heads: 6, width: 60}))
    wanted = {"num_key_value_heads": 6, "head_dim": 10}
    return [key for key, value in wanted.items() if made.get(key) == value]


def unheeded(model_type):
    """Return the keys that have their default value whatever is written."""
    keys = [key for key in ("sliding_window",) if key in plain(named(model_type))]
    return [key for key in keys if plain(named(model_type, **{key: 3}))[key] != 3]


def shortest_cycle(values):
    """Return the shortest beginning of a list that it repeats."""
    return next(
        values[:n]
        for n in range(1, len(values) + 1)
        if all(value == values[place % n] for place, value in enumerate(values))
    )


def defaults_of(model_type):
    config = named(model_type)
    keys, aliases = plain(config), dict(config.attribute_map)
    cycles = {key: shortest_cycle(keys[key]) for key in PER_LAYER_KEYS if keys.get(key)}
    own = {key: value for key, value in keys.items() if key not in cycles}
    follow = followers(model_type, aliases)
    return {
        "aliases": aliases,
        "cycles": cycles,
        "follow": follow,
        "unheeded": unheeded(model_type),
        "keys": own,
    }


def main():
    found = {name: defaults_of(name) for name in MODEL_TYPES}
    shared = dict.fromkeys(next(iter(found.values()))["keys"])
    shared = {
        key: each["keys"][key]
        for each in list(found.values())[:1]
        for key in shared
        if all(other["keys"].get(key, "?") == each["keys"][key] for other in found.values())
    }
    for each in found.values():
        each["keys"] = {key: value for key, value in each["keys"].items() if key not in shared}
    lines = {"shared": shared, **found}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in lines.items())
    PATH.write_text("{\n" + text + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
