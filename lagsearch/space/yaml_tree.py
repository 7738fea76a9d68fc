"""Plain trees of YAML values with the line of each key, and what a command says put into them."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
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


_WAYS_OUT = {
    "'\\t'": "indent with blanks, not with tabs",
    "<block": "indent this line as those beside it, and write `key: value`",
    "expected ','": "close the brackets that are opened above",
    "mapping values": "write one `key: value` on a line, and texts that hold a colon in quotes",
    "simple key": "write `key: value`, with a colon and a blank",
    "duplicate key": "leave one of them out",
}
"""What mends YAML that is wrong, by what its reader says."""


def read_yaml(text: str) -> tuple[Any, dict[Key, int | str]]:
    """Read YAML text into plain values, with the line of each key.

    Raises:
        SpaceError: It is not valid, or uses what a space has no use for: tags, merge keys, an
            alias inside of itself. The message is `line: problem`.
    """
    plain, lines = _read(text)
    return deepcopy(plain), dict(lines)


@lru_cache(maxsize=8)
def _read(text: str) -> tuple[Any, dict[Key, int | str]]:
    """Read it once: a run looks at its space several times."""
    lines: dict[Key, int | str] = {(): 1}
    try:
        return plain_tree(YAML().load(text), (), lines), lines
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = brief(error.problem or "not valid YAML")
        hint = next((f": {way}" for sign, way in _WAYS_OUT.items() if sign in problem), "")
        raise SpaceError(f"{mark.line + 1 if mark else 1}: {problem}{hint}") from None
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


Said = Mapping[str, str]
"""What a command says beside the file: `key.path=value` by the words that the user wrote."""


def said(
    overrides: Sequence[str] = (),
    *,
    lag: int | str | None = None,
    oracle: bool = False,
    seeds: Sequence[int] = (),
    profile: bool = False,
    skip_unfit: bool = False,
    keep: int | None = None,
) -> Said:
    """Return all that a command says of the space, whichever option says it.

    Args:
        overrides: `key.path=value` texts, as `--set` takes them.
        lag: K: `--lag`.
        oracle: Whether `--oracle` is given.
        seeds: `--seeds`.
        profile: Whether `--profile` is given.
        skip_unfit: Whether `--skip-unfit` is given.
        keep: `--keep`.
    """
    listed = ",".join(map(str, seeds))
    options = {
        f"--lag {lag}": (lag is not None, f"search.lag={lag}"),
        "--oracle": (oracle, "search.oracle=true"),
        f"--seeds {listed}": (bool(seeds), f"search.seeds=[{listed}]"),
        "--profile": (profile, "resources.profile=true"),
        "--skip-unfit": (skip_unfit, "search.skip_unfit=true"),
        f"--keep {keep}": (keep is not None, f"search.keep_checkpoints={keep}"),
    }
    given = {words: override for words, (is_given, override) in options.items() if is_given}
    return {**given, **{f"--set {override}": override for override in overrides}}


@dataclass(frozen=True)
class _Override:
    """One `key.path=value`.

    Attributes:
        words: What the user wrote, e.g. `--lag 200`; takes the place of the key's line.
        path: Where the value belongs.
        value: The value.
    """

    words: str
    path: tuple[str, ...]
    value: Any

    def contradicts(self, other: "_Override") -> bool:
        """Return whether this one gives another value to what the other is about."""
        if other.path[: len(self.path)] != self.path:
            return False
        mine: Any = self.value
        for part in other.path[len(self.path) :]:
            if isinstance(mine, list) and part.isdigit() and int(part) < len(mine):
                mine = mine[int(part)]
            elif isinstance(mine, dict) and part in mine:
                mine = mine[part]
            else:
                return False  # the other adds to it
        return bool(mine != other.value)


def put_in(plain: dict[str, Any], lines: dict[Key, int | str], said: Said) -> None:
    """Put all that a command says into the tree; in which order it is said makes no difference.

    Where there are stages, a K that is said for all takes the place of each stage's own.

    Args:
        plain: The tree, changed in place.
        lines: The line of each key, changed in place.
        said: What the command says.

    Raises:
        SpaceError: A text is no `key=value`, a path leads nowhere, or two say different things.
    """
    found = [_parsed(words, override) for words, override in said.items()]
    found.sort(key=lambda each: len(each.path))  # the whole first, then what is in it
    for place, later in enumerate(found):
        for earlier in found[:place]:
            if earlier.contradicts(later):
                message = f"does not go with {earlier.words}: give one of them"
                raise SpaceError(f"{later.words}: {message}")
    if any(each.path == ("search", "lag") for each in found):
        _drop_own_lags(plain)
    for each in found:
        _apply(plain, lines, each)


def _drop_own_lags(plain: dict[str, Any]) -> None:
    stages = plain.get("stages")
    for stage in stages if isinstance(stages, list) else [stages]:
        if isinstance(stage, dict):
            stage.pop("lag", None)


_INDEX = re.compile(r"\[(\d+)\]")
"""An index as messages write it: `sources[0].name` is `sources.0.name`."""


def _parsed(words: str, override: str) -> _Override:
    path, equals, value_text = override.partition("=")
    if not equals or not path:
        raise SpaceError(f"{words}: write key=value, e.g. training.steps=500")
    try:
        value, _ = read_yaml(value_text)
    except SpaceError:
        raise SpaceError(f"{words}: the value is not valid YAML") from None
    return _Override(words, tuple(_INDEX.sub(r".\1", path).split(".")), value)


def _apply(plain: dict[str, Any], lines: dict[Key, int | str], override: _Override) -> None:
    *parents, last = override.path
    node: Any = plain
    at: Key = ()
    for part in parents:
        key = _key_in(node, part, override.words)
        at = (*at, key)
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
            lines[at] = override.words
        node = node[key]
    key = _key_in(node, last, override.words)
    at = (*at, key)
    node[key] = deepcopy(override.value)
    for below in [known for known in lines if known[: len(at)] == at]:
        del lines[below]
    lines[at] = override.words


def _key_in(node: Any, part: str, words: str) -> str | int:
    """Return the key or index that a part of a path means in a node."""
    if isinstance(node, dict):
        return part
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return int(part)
    length = f"a list of {len(node)}" if isinstance(node, list) else "a single value"
    raise SpaceError(f"{words}: {part!r} leads nowhere: {length} stands there")
