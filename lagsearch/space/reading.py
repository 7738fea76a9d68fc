"""YAML text to a checked `Space`, with a line for every mistake."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML

from lagsearch.errors import SpaceError, and_then, did_you_mean, did_you_mean_file
from lagsearch.space.rules import broken_rules
from lagsearch.space.schema import Space
from lagsearch.space.yaml_tree import (
    Key,
    Said,
    put_in,
    read_text,
    read_yaml,
    said,
)

MODELINE = "# yaml-language-server: $schema="
"""What a space's first line begins with; the name of the schema file follows."""

SCHEMA_FILE = "space.schema.json"

Written = str | Path | Mapping[str, Any] | BaseModel
"""A space: its YAML file, or the same as a dictionary or a `Space`."""


def checked(plain: dict[str, Any], error: Callable[[Key, str], SpaceError]) -> Space:
    """Check a tree against the schema and the rules between keys.

    Args:
        plain: The tree.
        error: Makes the error of a key and a message.

    Raises:
        SpaceError: It is not as it must be.
    """
    try:
        space = Space.model_validate_json(json.dumps(plain, default=str))
    except ValidationError as invalid:
        raise error(*explained(invalid, Space)) from None
    space = space.resolved
    for at, message in broken_rules(space):
        raise error(at, message)
    return space


def explained(error: ValidationError, model: type[BaseModel]) -> tuple[Key, str]:
    """Return where the first mistake is that a schema found, and what it is.

    Args:
        error: pydantic's.
        model: The schema.
    """
    errors = error.errors(include_url=False)
    errors.sort(key=lambda each: each["type"] == "missing")  # a misspelt key says more
    found = [_explain(each, model) for each in errors if not _follows(each, errors)]
    at = found[0][0]
    return at, " or ".join(dict.fromkeys(text for where, text in found if where == at))


def dump_space(space: Space) -> str:
    """Return the space as YAML, every default written out, so that running it repeats the run."""
    return dump_yaml(written_out(space))


def dump_yaml(values: Any) -> str:
    """Return plain values as YAML."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 100
    yaml.dump(values, stream)
    return stream.getvalue()


def dump_flow(values: Any) -> str:
    """Return a plain value as YAML in one line, e.g. `{operator: lag, index: 0}`."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 1 << 20
    yaml.dump(values, stream)
    return stream.getvalue().strip().removesuffix("\n...")  # what ends a single value


def written_out(part: BaseModel) -> dict[str, Any]:
    """Return a part of the space as plain values with every default, but for keys not in use."""
    values = part.model_dump(mode="json")
    for name, field in type(part).model_fields.items():
        value, key = getattr(part, name), field.alias or name
        if value is None and field.default is None:
            del values[key]
        elif isinstance(value, BaseModel):
            values[key] = written_out(value)
        elif isinstance(value, tuple):
            values[key] = [
                written_out(each) if isinstance(each, BaseModel) else each for each in value
            ]
    return values


def read_written(
    space: Written, overrides: Sequence[str] | Said = ()
) -> tuple[Path, dict[str, Any], dict[Key, int | str]]:
    """Read a space into nested dicts and lists, with its path and the line of each key.

    One that is no file has the path `space`, and nothing for lines.

    Args:
        space: The YAML file, or the same as a dictionary or a `Space`.
        overrides: `key.path=value` texts, or all that a command says; they win over it and have
            their words for a line.

    Raises:
        SpaceError: It cannot be read, or is no mapping; or an override is none.
    """
    if isinstance(space, str | Path):
        return Path(space), *read_file(Path(space), overrides)
    if isinstance(space, BaseModel):
        space = space.model_dump(mode="json", exclude_unset=True)
    try:
        plain = json.loads(json.dumps(space, default=_plain))
    except (TypeError, ValueError) as error:
        raise SpaceError(f"the space holds what no space file can: {error}") from None
    if not isinstance(plain, dict):
        raise SpaceError("a space is a mapping of keys to values, or the path of a file")
    lines: dict[Key, int | str] = {(): ""}
    put_in(plain, lines, overrides if isinstance(overrides, Mapping) else said(overrides))
    return Path("space"), plain, lines


def _plain(value: Any) -> Any:
    """Turn what a dictionary may hold beside plain values into them."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def read_file(
    path: Path, overrides: Sequence[str] | Said = ()
) -> tuple[dict[str, Any], dict[Key, int | str]]:
    """Read a space file into nested dicts and lists, with the line of each key.

    Args:
        path: The YAML file.
        overrides: `key.path=value` texts, or all that a command says; they win over the file and
            have their words for a line.

    Raises:
        SpaceError: It cannot be read, or is no mapping; or an override is none.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        hint = did_you_mean_file(path.name, [each.name for each in path.parent.glob("*.y*ml")])
        raise SpaceError(f"{path}: no such file{hint}") from None
    except IsADirectoryError:
        raise SpaceError(f"{path}: is a folder; name a space file (YAML)") from None
    except UnicodeDecodeError:
        raise SpaceError(f"{path}: is no text, and so no space file (YAML)") from None
    except OSError as error:
        raise SpaceError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        plain, lines = read_yaml(text)
    except SpaceError as error:
        raise SpaceError(f"{path}:{error}") from None
    if not isinstance(plain, dict):
        message = "a space file is a mapping of keys to values, e.g. name: mine"
        raise SpaceError(f"{path}:1: {message}")
    put_in(plain, lines, overrides if isinstance(overrides, Mapping) else said(overrides))
    return plain, lines


def _follows(error: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Return whether another error says more.

    A list is only too short where what it lists is wrong, and of the kinds that a value may have
    the one was meant whose keys are wrong.
    """
    at = error["loc"]
    if error["type"] == "too_short":
        least = len(at) + 1
    elif at and at[-1] in _UNION_TAGS:
        at, least = at[:-1], len(at) + 1
    else:
        return False
    return any(each["loc"][: len(at)] == at and len(each["loc"]) >= least for each in errors)


def _explain(error: ErrorDetails, root: type[BaseModel]) -> tuple[Key, str]:
    """Turn a pydantic error into a path and words of the space file."""
    at = tuple(part for part in error["loc"] if part not in _UNION_TAGS)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_at(at[:-1], root)
        hint = did_you_mean(str(at[-1]), known)
        if ":" in str(at[-1]):
            hint = "; write a blank after the colon"
        return at, and_then(f"unknown key{hint}", f"known: {', '.join(known)}")
    if kind == "missing":
        return at, f"is required{_example(at)}"
    if kind == "literal_error":
        return at, f"must be {context['expected']}"
    if kind == "too_short":
        return at, f"must list at least {context['min_length']}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return at, f"must be a mapping of keys to values{_example(at)}"
    if kind in ("tuple_type", "list_type"):
        return at, f"must be a list{_example(at) or ', e.g. [a, b]'}"
    if kind == "string_pattern_mismatch":
        return at, "use letters, digits, '.', '_' and '-' only, beginning with a letter or digit"
    message = error["msg"].removeprefix("Input ").removeprefix("should be ").removeprefix("Value ")
    if message == error["msg"]:
        return at, message
    return at, f"must be {message}{_instead(error['input']) if kind.startswith(_NUMBERS) else ''}"


_NUMBERS = ("int_", "float_")


def _instead(value: Any) -> str:
    """Say how a number is written that somebody wrote in another way."""
    if isinstance(value, list):
        return ", one and not a list"
    if isinstance(value, float) and value.is_integer():
        return f": write {value:.0f}"
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return ": write it without quotes"
    return ""


_EXAMPLES = {
    ("name",): "name: mine",
    ("data",): "data: {train: {files: [text.txt]}}",
    ("data", "train"): "{files: [text.txt]}",
    ("data", "train", "files"): "[text.txt]",
    ("objective",): "{name: masked}",
    ("sources",): "[{name: mine, checkpoint: folder-or-hub-name}]",
    ("target",): "{num_hidden_layers: 12}",
    ("sources", "*"): "{name: mine, checkpoint: folder-or-hub-name}",
    ("candidates",): "[{operator: stack}]",
    ("candidates", "*"): "{operator: stack}",
    ("training",): "{steps: 1000}",
    ("search",): "{lag: 200}",
}
"""What may stand at a key, where people write something else."""


def _example(at: Key) -> str:
    """Return what may stand at a key, after a comma."""
    found = _EXAMPLES.get(tuple("*" if isinstance(part, int) else part for part in at))
    return f", e.g. {found}" if found else ""


_UNION_TAGS = frozenset(
    {
        *("constrained-float", "constrained-int", "float", "literal['auto']", "str", "TrainBpe"),
        "dict[str,any]",
    }
)


def _keys_at(at: Key, root: type[BaseModel]) -> list[str]:
    """Return the keys that the schema knows at a path."""
    model: Any = root
    for part in at:
        if isinstance(part, int):
            continue
        model = _model_in(model.model_fields[part].annotation)
    more = ["stages"] if model is Space else []
    return [*(field.alias or name for name, field in model.model_fields.items()), *more]


def _model_in(annotation: Any) -> Any:
    """Find the model class inside an annotation such as `tuple[Source, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def located(
    path: Path, plain: Any, lines: dict[Key, int | str], at: Key, message: str
) -> SpaceError:
    """Compose `file:line: key value: message`, with the nearest line that is known."""
    known = at
    while known not in lines:
        known = known[:-1]
    line = lines[known]
    where = line if isinstance(line, str) else f"{path}:{line}"
    where = f"{where}: " if where else ""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    value: Any = plain
    for part in at:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return SpaceError(f"{where}{key}: {message}")
    shown = json.dumps(value, default=str) if at else ""
    shown = f" {shown}" if shown and len(shown) <= 60 else ""
    return SpaceError(f"{where}{key}{shown}: {message}" if key else f"{where}{message}")
