"""The JSON schema of space files: with it, editors complete and check them as they are written."""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic.json_schema import models_json_schema

from lagsearch.data.objectives.registry import OBJECTIVES
from lagsearch.operators import ANY, Operator, all_operators
from lagsearch.operators.described import meanings
from lagsearch.operators.registry import SOURCE, Draws
from lagsearch.selection import EVIDENCE, SIGNALS, STRATEGIES
from lagsearch.space import OF_ALL_STAGES, STRIDES, Ladder, Space, Stage

Schema = dict[str, Any]

_REF = "#/$defs/"


def dump_schema() -> str:
    """Return the schema as JSON."""
    return json.dumps(space_schema(), indent=1)


def space_schema() -> Schema:
    """Return the JSON schema of a space, with stages or without.

    Rules between keys are left to `lagsearch plan`. Operators and their settings are in.
    """
    models = [(each, "validation") for each in (Space, Stage, Ladder)]
    _, found = models_json_schema(models)  # type: ignore[arg-type]  # a list of literals
    parts: dict[str, Schema] = found["$defs"]
    for part in parts.values():
        _tidy(part)
    signals = {each.name: f"judged by {each.words}" for each in SIGNALS.all()}
    _name_all(parts["Search"]["properties"]["signal"], signals)
    evidence = {each.name: f"stops what is {each.words}" for each in EVIDENCE.all()}
    _name_all(parts["Search"]["properties"]["evidence"], evidence)
    strategies = {each.name: each.words for each in STRATEGIES.all()}
    _name_all(parts["Search"]["properties"]["strategy"], strategies)
    objectives = {each.name: f"predicts {each.words}" for each in OBJECTIVES.all()}
    _name_all(parts["Objective"]["properties"]["name"], objectives)
    parts["Candidate"] = {
        "description": "An operator with its settings; a list of values means one candidate each.",
        "anyOf": [*map(_entry, all_operators()), _shorthand()],
    }
    _add_stages(parts)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A space of lagsearch",
        "if": {"required": ["stages"]},
        "then": {"$ref": f"{_REF}Staged"},
        "else": {"$ref": f"{_REF}Space"},
        "$defs": dict(sorted(parts.items())),
    }


def _tidy(node: Any) -> None:
    """Leave titles out that only repeat a key, and line breaks within sentences."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if isinstance(node.get("description"), str):
            node["description"] = " ".join(node["description"].split())
        for each in node.values():
            _tidy(each)
    elif isinstance(node, list):
        for each in node:
            _tidy(each)


def _name_all(key: Schema, words: Mapping[str, str]) -> None:
    """List the names that a key may have, and describe those that are not described yet."""
    key["enum"] = list(words)
    told = key["description"]
    more = [f"`{name}`: {each}." for name, each in words.items() if f"`{name}`" not in told]
    key["description"] = " ".join([told, *more])


def _entry(operator: Operator) -> Schema:
    """Return the schema of an operator's entry in `candidates`."""
    schema = operator.settings.model_json_schema()
    told = meanings(operator)
    settings: dict[str, Schema] = {}
    for name, one in schema["properties"].items():
        _tidy(one)
        default = {"default": one.pop("default")} if "default" in one else {}
        words = [each for each in operator.settings.model_fields[name].metadata]
        is_drawn = any(isinstance(each, Draws) for each in words)
        description = {"description": told[name]} if name in told else {}
        settings[name] = {**description, **default, "anyOf": _values(one, is_drawn)}
    if operator.takes == "one" and not operator.is_baseline:
        one = {"type": "string"}
        text = "Name of the source that is grown, where there are several."
        settings[SOURCE] = {"description": text, "anyOf": _values(one, False)}
    return {
        "type": "object",
        "description": operator.summary,
        "properties": {
            "operator": {"const": operator.name, "description": operator.summary},
            **settings,
        },
        "required": ["operator", *schema.get("required", ())],
        "additionalProperties": False,
    }


def _values(one: Schema, is_drawn: bool) -> list[Schema]:
    """Return what may stand for a setting: one value, or a list of several, or `any`."""
    several: Schema = {"type": "array", "items": one, "minItems": 1}
    is_list = one.get("type") == "array"  # of a setting that is a list itself several are listed
    return [*([] if is_list else [one]), several, *([{"const": ANY}] if is_drawn else [])]


def _shorthand() -> Schema:
    """Return the schema of `{width: a, depth: b}`, short for `combined`."""
    entry = deepcopy(next(_entry(each) for each in all_operators() if each.name == "combined"))
    entry["required"].remove("operator")
    entry["description"] = f"Short for `operator: combined`. {entry['description']}"
    return entry


def _add_stages(parts: dict[str, Schema]) -> None:
    """Add the schema of a space with stages, made of those of its parts."""
    parts["Space"]["properties"]["candidates"]["items"] = {"$ref": f"{_REF}Candidate"}
    word: Schema = {
        "description": "All grown layers that there are, or every second one.",
        "enum": list(STRIDES),
    }
    named = [each for each in all_operators() if each.indices]
    worded = [_with(_entry(each), dict.fromkeys(each.indices, word)) for each in named]
    parts["StageCandidate"] = {"anyOf": [{"$ref": f"{_REF}Candidate"}, *worded]}
    listed: Schema = {"type": "array", "minItems": 1, "items": {"$ref": f"{_REF}StageCandidate"}}
    stage, ladder = parts["Stage"]["properties"], parts["Ladder"]["properties"]
    stage["candidates"] = _described(stage["candidates"], listed)
    ladder["candidates"] = _described(
        ladder["candidates"], {"anyOf": [{"$ref": f"{_REF}StageCandidate"}, listed]}
    )
    for key in ("training", "evaluation", "search"):
        refused = {name for part, name in OF_ALL_STAGES if part == key}
        name = f"Stage{key.capitalize()}"
        model = parts["Space"]["properties"][key]["$ref"].removeprefix(_REF)
        parts[name] = _without(parts[model], refused)
        stage[key] = _described(stage[key], {"$ref": f"{_REF}{name}"})
    whole = _without(parts["Space"], {"target", "candidates"})
    whole["description"] = "A space with stages: several growths, one after the other."
    whole["properties"]["training"] = _described(
        whole["properties"]["training"], {"$ref": f"{_REF}StageTraining"}
    )
    whole["properties"]["stages"] = {
        "description": "A list of stages, or stages of equal growth written short.",
        "anyOf": [
            {"type": "array", "minItems": 1, "items": {"$ref": f"{_REF}Stage"}},
            {"$ref": f"{_REF}Ladder"},
        ],
    }
    whole["required"] = ["name", "data", "stages"]
    parts["Staged"] = whole


def _with(part: Schema, keys: Mapping[str, Schema]) -> Schema:
    """Return a part some of whose keys have other schemas."""
    return {**part, "properties": {**part["properties"], **keys}}


def _described(before: Mapping[str, Any], schema: Schema) -> Schema:
    """Return a schema with the description of the one whose place it takes."""
    return {"description": before["description"], **schema} if "description" in before else schema


def _without(part: Schema, keys: set[str]) -> Schema:
    """Return a part of which some keys are not to be had and none is required."""
    kept = {name: deepcopy(each) for name, each in part["properties"].items() if name not in keys}
    return {**{key: each for key, each in part.items() if key != "required"}, "properties": kept}
