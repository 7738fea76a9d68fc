"""An objective: a token that is some places ahead."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.data.objectives.base import IGNORED, Example, OnePart
from lagsearch.data.objectives.registry import Broken, objective
from lagsearch.space import Objective, Space


@dataclass(frozen=True)
class Ahead(OnePart):
    """Predict the token that is so many places ahead."""

    places: int
    kind: str = "causal"

    def example(self, rows: NDArray[np.int64], seed: int, *, exact: bool = False) -> Example:
        """Return all tokens but the last, and what is ahead of each."""
        labels = np.full_like(rows[:, 1:], IGNORED)
        labels[:, : 1 - self.places or None] = rows[:, self.places :]
        return rows[:, :-1], labels


def places_of(asked: Objective) -> Any:
    """Return how many places are asked for."""
    return (asked.settings or {}).get("places", 2)


def check(space: Space) -> Iterator[Broken]:
    """Yield what is wrong with the settings."""
    known, length = {"places"}, space.data.sequence_length
    for key in sorted({*(space.objective.settings or {})} - known):
        yield ("objective", "settings", key), "unknown key; known: places"
    places = places_of(space.objective)
    if not isinstance(places, int) or not 1 <= places < length:
        yield ("objective", "settings", "places"), f"must be a number from 1 to {length - 1}"


@objective(
    "ahead", kind="causal", words="a token some places ahead", uses=("settings",), check=check
)
def make_ahead(asked: Objective, tokenizer: Any, n_vocabulary: int, sequence_length: int) -> Ahead:
    """Return it."""
    return Ahead(places_of(asked))
