"""Plain trees of YAML values with the line of each key, and `--set` overrides put into them."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lagsearch.errors import SpaceError, brief

Key = tuple[str | int, ...]

LARGEST = 1_000_000
"""Bytes of the largest file: no space comes near it."""

MOST_VALUES = 100_000
"""Values in the largest tree: neither does any come near this."""


def read_text(path: Path) -> str:
    """Read a YAML file, and no more than such a file may hold.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
        SpaceError: It is larger than any space, or has no end.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise SpaceError(f"{path}: more than {LARGEST // 10**6} MB, no space is so large")
    return content.decode("utf-8")


def read_yaml(text: str) -> tuple[Any, dict[Key, int | str]]:
    """Read YAML text into plain values, with the line of each key.

    Raises:
        SpaceError: It is not valid, or uses what a space has no use for: tags, merge keys, an
            alias inside of itself. The message is `line: problem`.
    """
    lines: dict[Key, int | str] = {(): 1}
    try:
        return plain_tree(YAML().load(text), (), lines), lines
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = brief(error.problem or "not valid YAML")
        raise SpaceError(f"{mark.line + 1 if mark else 1}: {problem}") from None
    except YAMLError as error:
        raise SpaceError(f"1: not valid YAML: {brief(error)}") from None
    except RecursionError:
        raise SpaceError("1: nested too deeply, or an alias stands inside of itself") from None
    except SpaceError:
        raise
    except Exception as error:  # what Python says of a date or a number that YAML takes for one
        line = _line_of_long_number(text)
        raise SpaceError(f"{line}: not valid YAML: {brief(error)}") from None


def _line_of_long_number(text: str) -> int:
    """Return the line of a number with more digits than Python reads; 1 where there is none."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"[0-9_]{4000}", line):
            return number
    return 1


def plain_tree(node: Any, at: Key, lines: dict[Key, int | str]) -> Any:
    """Turn ruamel's tree into plain values and note the line of each key in `lines`."""
    _refuse_extras(node, at, lines)
    if isinstance(node, dict):
        for key in node:
            if hasattr(node, "lc"):
                lines[(*at, str(key))] = node.lc.key(key)[0] + 1
        return {str(key): plain_tree(value, (*at, str(key)), lines) for key, value in node.items()}
    if isinstance(node, list):
        for index in range(len(node)):
            if hasattr(node, "lc"):
                lines[(*at, index)] = node.lc.item(index)[0] + 1
        return [plain_tree(value, (*at, index), lines) for index, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _refuse_extras(node: Any, at: Key, lines: dict[Key, int | str]) -> None:
    """Refuse what YAML has and a space has no use for, naming the nearest line."""
    if len(lines) > MOST_VALUES:
        message = f"aliases make more than {MOST_VALUES:,} values of this"
        raise SpaceError(f"{lines[at[:1]]}: {message}")
    tag = getattr(getattr(node, "tag", None), "value", None)
    is_tagged = isinstance(node, TaggedScalar) or (isinstance(node, dict | list) and tag)
    if not is_tagged and not getattr(node, "merge", None):
        return
    while at not in lines:
        at = at[:-1]
    what = "tags (!...)" if is_tagged else "merge keys (<<)"
    raise SpaceError(f"{lines[at]}: {what} have no meaning in a space")


def apply_override(
    plain: dict[str, Any], lines: dict[Key, int | str], override: str, words: str
) -> None:
    """Put one `key.path=value` into the tree.

    Args:
        plain: The tree, changed in place.
        lines: The line of each key, changed in place.
        override: Path and value.
        words: What the user wrote, e.g. `--lag 200`; takes the place of the key's line.

    Raises:
        SpaceError: The text is no `key=value`, or the path leads nowhere.
    """
    path, equals, value_text = override.partition("=")
    if not equals or not path:
        raise SpaceError(f"{words}: write key=value, e.g. training.steps=500")
    try:
        value, _ = read_yaml(value_text)
    except SpaceError:
        raise SpaceError(f"{words}: the value is not valid YAML") from None
    *parents, last = path.split(".")
    node: Any = plain
    at: Key = ()
    for part in parents:
        key = _key_in(node, part, words)
        at = (*at, key)
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = node[key]
    key = _key_in(node, last, words)
    at = (*at, key)
    node[key] = value
    for below in [known for known in lines if known[: len(at)] == at]:
        del lines[below]
    lines[at] = words


def _key_in(node: Any, part: str, words: str) -> str | int:
    """Return the key or index that a part of a path means in a node."""
    if isinstance(node, dict):
        return part
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return int(part)
    length = f"a list of {len(node)}" if isinstance(node, list) else "a single value"
    raise SpaceError(f"{words}: {part!r} leads nowhere: {length} stands there")
