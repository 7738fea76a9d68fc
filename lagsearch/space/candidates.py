"""The candidates a space lists: every combination of the listed values, in order."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lagsearch.space.schema import Space


@dataclass(frozen=True)
class Entry:
    """One operator with one value for each of its settings.

    Attributes:
        operator: The operator's name, not yet looked up.
        settings: Its settings as written, not yet checked.
        at: Where the space lists it, e.g. `("candidates", 0)` or `("search", "baselines", 0)`.
    """

    operator: str
    settings: dict[str, Any]
    at: tuple[str | int, ...]


def expand(space: Space) -> Iterator[Entry]:
    """Yield one entry for each combination of listed values; the last key varies fastest.

    `{width: a, depth: b}` is short for `{operator: combined, width: a, depth: b}`.
    """
    for index, listed in enumerate(space.candidates):
        yield from _combinations(listed, ("candidates", index))


def expand_baselines(space: Space) -> Iterator[Entry]:
    """Yield one entry for each baseline that the search names; a word is an operator's name."""
    for index, each in enumerate(space.search.baselines):
        listed = {"operator": each} if isinstance(each, str) else each
        yield from _combinations(listed, ("search", "baselines", index))


def _combinations(listed: dict[str, Any], at: tuple[str | int, ...]) -> Iterator[Entry]:
    settings = {key: value for key, value in listed.items() if key != "operator"}
    choices = [value if isinstance(value, list) else [value] for value in settings.values()]
    for combination in itertools.product(*choices):
        values = dict(zip(settings, combination, strict=True))
        yield Entry(listed.get("operator", "combined"), values, at)
