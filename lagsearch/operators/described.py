"""What is to be said of an operator: types and meanings of its settings, an example, a growth."""

import re
import textwrap
from dataclasses import dataclass
from typing import Any

from lagsearch.models.configs import ModelShape
from lagsearch.operators.registry import Candidate, Operator, find_operator, make_candidate

SOURCE_LAYERS, TARGET_LAYERS = 4, 6
"""Depths of the small growth that is drawn; two sources have half of the target's each."""

_KEYS: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
_DOUBLED = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


@dataclass(frozen=True)
class Setting:
    """A setting of an operator, in words.

    Attributes:
        name: Its key in a space.
        kind: What values it takes.
        default: What it is when left out; None where it is required.
        meaning: What it decides.
    """

    name: str
    kind: str
    default: str | None
    meaning: str


def settings_of(operator: Operator) -> list[Setting]:
    """Return the settings of an operator, in words."""
    schema = operator.settings.model_json_schema()
    told = meanings(operator)
    found = []
    for name, field in operator.settings.model_fields.items():
        default = "none" if field.default is None else str(field.default)
        found.append(
            Setting(
                name,
                type_in_words(schema["properties"][name]),
                None if field.is_required() else default,
                told.get(name, ""),
            )
        )
    return found


def meanings(operator: Operator) -> dict[str, str]:
    """Return what each setting decides, by its name, from the operator's docstring."""
    found = {}
    for name, text in _arguments(operator).items():
        other = re.match(r"As for `([a-z0-9-]+)`", text)
        if name in operator.settings.model_fields:
            found[name] = text
            if other and other[1] != operator.name:
                told = meanings(find_operator(other[1]))[name]
                more = text[other.end() :].lstrip(";. ")
                found[name] = f"{told} {more[:1].upper()}{more[1:]}".rstrip()
    return found


def paragraphs(operator: Operator) -> list[str]:
    """Return an operator's description without arguments and errors, a line for each paragraph."""
    text = re.split(r"\n\n(?=(?:Args|Raises|Source):\n)", operator.description)[0]
    return [" ".join(each.split()) for each in text.split("\n\n")]


def source_of(operator: Operator) -> str:
    """Return where an operator comes from and what differs from it, or nothing."""
    return " ".join(_section(operator, "Source").split())


def type_in_words(schema: dict[str, Any]) -> str:
    """Say in words what values a JSON schema allows."""
    if "anyOf" in schema:
        kinds = [type_in_words(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return _either(kinds)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return _either(list(map(str, schema["enum"])))
    if schema.get("type") == "array":
        return f"a list of {_PLURALS[schema['items']['type']]}"
    return " ".join([_KINDS[schema.get("type", "string")], *_bounds(schema)])


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "object": "a mapping",
    "boolean": "true or false",
}
_PLURALS = {"integer": "whole numbers", "number": "numbers", "string": "texts"}


def _either(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _bounds(schema: dict[str, Any]) -> list[str]:
    words = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "up to {}",
        "exclusiveMaximum": "below {}",
    }
    return [text.format(schema[key]) for key, text in words.items() if key in schema]


def example_entry(operator: Operator) -> dict[str, Any]:
    """Return an entry of a space's `candidates`: what is required, and the defaults."""
    fields = operator.settings.model_fields
    chosen = {name: field.default for name, field in fields.items() if not field.is_required()}
    told = {name: value for name, value in chosen.items() if value is not None}
    return {"operator": operator.name, **operator.example, **told}


def small_growth(operator: Operator) -> Candidate:
    """Build the plan of a small Llama's growth by an operator's example.

    Source and target differ in depth, in width (sizes are doubled), or in both, as the operator
    grows them.
    """
    grows = set(operator.grows.split(", "))
    depth = TARGET_LAYERS if grows & {"depth", "nothing"} else SOURCE_LAYERS
    wider = {key: 2 * _KEYS[key] for key in _DOUBLED} if "width" in grows else {}
    target = ModelShape(depth, {**_KEYS, **wider}, "llama")
    is_one = operator.takes == "one"
    n_layers = SOURCE_LAYERS if is_one else depth // 2
    names = ("source",) if is_one else ("a", "b")
    sources = tuple(ModelShape(n_layers, _KEYS, "llama") for _ in names)
    settings = {key: value for key, value in example_entry(operator).items() if key != "operator"}
    return make_candidate(operator.name, settings, sources, target, names)


def _arguments(operator: Operator) -> dict[str, str]:
    entries = re.split(r"\n(?=\w+: )", "\n" + _section(operator, "Args"))
    pairs = (each.strip().partition(": ") for each in entries if each.strip())
    return {name: " ".join(text.split()) for name, _, text in pairs}


def _section(operator: Operator, name: str) -> str:
    found = re.search(rf"\n{name}:\n((?:    .*\n|\n(?=    ))+)", operator.description + "\n")
    return textwrap.dedent(found[1]) if found else ""
