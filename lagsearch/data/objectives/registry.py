"""The table of objectives: what a space may name, and what must be known of it before it is made.

A new one is a module here, or in a package with an entry point of the group `lagsearch.objectives`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from lagsearch.data.objectives.base import Predicts
from lagsearch.errors import DataError
from lagsearch.registry import Registry, place_of
from lagsearch.space import Objective, Space

Kind = Literal["causal", "masked"]

Broken = tuple[tuple[str | int, ...], str]
"""A key of the space, and what is wrong with it."""

Make = Callable[[Objective, Any, int, int], Predicts]
"""From what the space says, its tokenizer (with the tokens that the objective adds), the size of
the vocabulary and the tokens of a sequence to what predicts."""


@dataclass(frozen=True)
class KnownObjective:
    """One row of the table.

    Attributes:
        name: What a space asks for as `objective.name`.
        kind: The kind of model that it trains.
        words: What is predicted, in a clause.
        uses: Keys of `objective` that it heeds; others are errors where somebody sets them.
        tokens: From what the space says and the tokens of a sequence to the tokens that it needs
            beside the text's.
        check: Yields what of a space does not fit it.
        make: Makes it.
    """

    name: str
    kind: Kind
    words: str
    uses: tuple[str, ...]
    tokens: Callable[[Objective, int], list[str]]
    check: Callable[[Space], Iterator[Broken]]
    make: Make

    def broken(self, space: Space) -> Iterator[Broken]:
        """Yield what of a space does not fit, settings without effect included."""
        yield from self.check(space)
        for key, field in Objective.model_fields.items():
            is_left_alone = getattr(space.objective, key) == field.default
            if key not in ("name", *self.uses) and not is_left_alone:
                yield ("objective", key), f"has no effect with the objective {self.name}"


OBJECTIVES = Registry[KnownObjective](
    "objective", "lagsearch.data.objectives", "lagsearch.objectives"
)


def _no_tokens(objective: Objective, sequence_length: int) -> list[str]:
    return []


def _no_rules(space: Space) -> Iterator[Broken]:
    return iter(())


def objective(
    name: str,
    *,
    kind: Kind,
    words: str,
    uses: tuple[str, ...] = (),
    tokens: Callable[[Objective, int], list[str]] = _no_tokens,
    check: Callable[[Space], Iterator[Broken]] = _no_rules,
) -> Callable[[Make], Make]:
    """Enter a function `(objective, tokenizer, n_vocabulary, sequence_length) -> Predicts`.

    Args:
        name: See `KnownObjective`, as the others.
        kind: Of the model.
        words: What is predicted.
        uses: Keys that it heeds.
        tokens: That it needs.
        check: What does not fit.

    Raises:
        PluginError: The name is taken.
    """

    def enter(make: Make) -> Make:
        entry = KnownObjective(name, kind, words, uses, tokens, check, make)
        OBJECTIVES.enter(name, entry, place_of(make))
        return make

    return enter


def find_objective(name: str) -> KnownObjective:
    """Look an objective up.

    Raises:
        DataError: There is none of that name; the message lists all and the nearest.
    """
    if (found := OBJECTIVES.get(name)) is None:
        raise DataError(OBJECTIVES.unknown(name), ("objective", "name"))
    return found


def objective_kind(objective: Objective) -> Kind:
    """Return the kind of model that an objective trains."""
    return find_objective(objective.name).kind


def tokens_of(objective: Objective, sequence_length: int) -> list[str]:
    """Return the tokens that an objective needs beside the text's."""
    return find_objective(objective.name).tokens(objective, sequence_length)


def add_tokens(tokenizer: Any, objective: Objective, sequence_length: int) -> None:
    """Give a tokenizer the tokens of an objective that it lacks, behind all of its own."""
    known = tokenizer.get_vocab()
    wanted = tokens_of(objective, sequence_length)
    tokenizer.add_tokens([each for each in wanted if each not in known], special_tokens=True)


def make_objective(
    objective: Objective, tokenizer: Any, n_vocabulary: int, sequence_length: int
) -> Predicts:
    """Return the objective that a space names.

    Args:
        objective: What the space says.
        tokenizer: The space's, with the tokens that the objective adds.
        n_vocabulary: Its size.
        sequence_length: T.

    Raises:
        DataError: There is none of that name, or the tokenizer cannot serve it.
    """
    make = find_objective(objective.name).make
    return make(objective, tokenizer, n_vocabulary, sequence_length)
