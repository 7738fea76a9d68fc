"""YAML text to a checked `Space`, with a line for every mistake."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML

from lagsearch.errors import SpaceError, did_you_mean
from lagsearch.space.overrides import Key, apply_override, read_text, read_yaml
from lagsearch.space.rules import broken_rules
from lagsearch.space.schema import Space


@dataclass(frozen=True)
class SpaceFile:
    """A checked space together with where each of its keys was written.

    Attributes:
        space: The space, overrides included.
        path: The file it was read from.
        plain: The same as nested dicts and lists, defaults left out.
        lines: Line of each key, by its path; an override has its own words instead.
    """

    space: Space
    path: Path
    plain: dict[str, Any]
    lines: dict[Key, int | str]

    def error(self, at: Key, message: str) -> SpaceError:
        """Return an error that names file, line, key, value and `message`."""
        return located(self.path, self.plain, self.lines, at, message)


def load_space(path: str | Path, overrides: Sequence[str] = ()) -> SpaceFile:
    """Read and check a space file.

    Args:
        path: The YAML file.
        overrides: `key.path=value` texts, as `--set` takes them; they win over the file.

    Raises:
        SpaceError: Anything in the file or in an override is not as it must be.
    """
    path = Path(path)
    return check_space(path, *read_file(path, overrides))


def with_flags(file: SpaceFile, flags: Mapping[str, str]) -> SpaceFile:
    """Return a space with further overrides.

    Args:
        file: The space as it is.
        flags: `key.path=value` by what the user wrote, e.g. `{"--lag 200": "search.lag=200"}`.

    Raises:
        SpaceError: An override is not as it must be.
    """
    plain, lines = deepcopy(file.plain), dict(file.lines)
    for words, override in flags.items():
        apply_override(plain, lines, override, words)
    return check_space(file.path, plain, lines)


def check_space(path: Path, plain: dict[str, Any], lines: dict[Key, int | str]) -> SpaceFile:
    """Check a tree against the schema and the rules between keys."""

    def error(at: Key, message: str) -> SpaceError:
        return located(path, plain, lines, at, message)

    if "stages" in plain:
        raise error(("stages",), "belongs to `lagsearch run`, `plan` and `schedule` alone")
    return SpaceFile(checked(plain, error), path, plain, lines)


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


def read_file(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[Key, int | str]]:
    """Read a space file into nested dicts and lists, with the line of each key.

    Args:
        path: The YAML file.
        overrides: `key.path=value` texts, which win over it; they have their words for a line.

    Raises:
        SpaceError: It cannot be read, or is no mapping; or an override is none.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise SpaceError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        plain, lines = read_yaml(text)
    except SpaceError as error:
        raise SpaceError(f"{path}:{error}") from None
    if not isinstance(plain, dict):
        raise SpaceError(f"{path}:1: a space file is a mapping of keys to values")
    for override in overrides:
        apply_override(plain, lines, override, f"--set {override}")
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
        return at, f"unknown key{hint}; known: {', '.join(known)}"
    if kind == "missing":
        return at, "is required"
    if kind == "literal_error":
        return at, f"must be {context['expected']}"
    if kind == "too_short":
        return at, f"must list at least {context['min_length']}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return at, "must be a mapping of keys to values"
    if kind == "string_pattern_mismatch":
        return at, "use letters, digits, '.', '_' and '-' only, beginning with a letter or digit"
    message = error["msg"].removeprefix("Input ").removeprefix("should be ").removeprefix("Value ")
    return at, f"must be {message}" if message != error["msg"] else message


_UNION_TAGS = frozenset(
    {"constrained-float", "constrained-int", "float", "literal['auto']", "str", "TrainBpe"}
)


def _keys_at(at: Key, root: type[BaseModel]) -> list[str]:
    """Return the keys that the schema knows at a path."""
    model: Any = root
    for part in at:
        if isinstance(part, int):
            continue
        model = _model_in(model.model_fields[part].annotation)
    return [field.alias or name for name, field in model.model_fields.items()]


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
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    value: Any = plain
    for part in at:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return SpaceError(f"{where}: {key}: {message}")
    shown = json.dumps(value, default=str) if at else ""
    shown = f" {shown}" if shown and len(shown) <= 60 else ""
    return SpaceError(f"{where}: {key}{shown}: {message}" if key else f"{where}: {message}")
