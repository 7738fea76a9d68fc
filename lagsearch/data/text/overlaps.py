"""Texts that hold the same files: what is the same must be held out alike, and not measured on."""

from collections.abc import Iterator, Mapping, Sequence, Set

from lagsearch.data.text.corpora import (
    Documents,
    Place,
    part_of_text,
)
from lagsearch.data.text.documents import Unit
from lagsearch.data.tokens.batches import BLOCK
from lagsearch.data.tokens.writing import STRETCH
from lagsearch.errors import DataError
from lagsearch.storage.files import path_of

_Key = tuple[int, ...]
"""Numbers of texts."""


def apart(texts: Sequence[Documents]) -> list[tuple[Documents, ...]]:
    """Divide texts that overlap: what is in several of them becomes a text of its own.

    A text that shares nothing is left as it is, and so are texts that are the same. What is less
    than a thousandth of each of its texts, such as a licence, does not count as shared.

    Args:
        texts: The texts.

    Returns:
        For each text, those that it consists of; of the same content, they have one digest.
    """
    holders: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        for each in dict.fromkeys(unit.digest() for unit in text.units):
            holders.setdefault(each, []).append(number)
    small = {
        key
        for key, units in _groups(texts, holders).items()
        if len(key) > 1 and not _matters(units, [texts[number] for number in key])
    }
    groups = _groups(texts, holders, small)
    made = {key: part_of_text(_smallest(texts, key), tuple(units)) for key, units in groups.items()}
    return [
        tuple(each for key, each in made.items() if number in key) for number in range(len(texts))
    ]


def _groups(
    texts: Sequence[Documents], holders: Mapping[str, list[int]], small: Set[_Key] = frozenset()
) -> dict[_Key, list[Unit]]:
    """Return the units of texts by the numbers of those that they are in; a small group stays."""
    groups: dict[_Key, list[Unit]] = {}
    for number, text in enumerate(texts):
        for unit in text.units:
            key = tuple(holders[unit.digest()])
            key = (number,) if key in small else key
            if key[0] == number:
                groups.setdefault(key, []).append(unit)
    return groups


def _smallest(texts: Sequence[Documents], key: _Key) -> Documents:
    """Return that one of some texts which has the fewest units, the first of these."""
    return min((texts[number] for number in key), key=lambda text: len(text.units))


def check_apart(training: Sequence[Documents], validation: Sequence[Documents]) -> None:
    """Check that nothing is both trained on and measured on.

    Args:
        training: All texts that are trained on.
        validation: The texts that losses are measured on.

    Raises:
        DataError: A text is.
    """
    for held in validation:
        for text in training:
            content = {unit.content() for unit in text.units}
            shared = [unit for unit in held.units if unit.content() in content]
            if _matters(shared, [held, text]):
                raise DataError(
                    f"{max(shared, key=lambda unit: unit.size).name} is trained on too, by "
                    f"{key_of(text.at)}: give validation a text of its own",
                    held.at,
                )


def check_held_out_alike(measured: Sequence[Documents], texts: Sequence[Documents]) -> None:
    """Check that no text of which a fraction is held out is there twice.

    What is shorter than a stretch that is held out may be: empty files, licences.

    Args:
        measured: The texts of which a fraction is held out.
        texts: All that are trained on.

    Raises:
        DataError: A file is listed twice, or read both whole and by lines.
    """
    ways: dict[str, tuple[Unit, Documents]] = {}
    for text in measured:
        for unit, twin in _twins(text):
            names = unit.name if unit.name == twin.name else f"{unit.name} and {twin.name}"
            raise DataError(
                f"{names}: the same text, listed twice; with a fraction held out, one would be "
                "trained on and the other measured on",
                text.at,
            )
    for text in (*measured, *texts):
        for unit in text.units:
            other, there = ways.setdefault(unit.content(), (unit, text))
            if other.digest() != unit.digest() and _matters([unit], [text, there]):
                raise DataError(
                    f"{unit.name} is read in another way by {key_of(there.at)}: with a fraction "
                    "held out, `documents` must be the same",
                    text.at,
                )


def _twins(text: Documents) -> Iterator[tuple[Unit, Unit]]:
    """Find units of a text that are there twice, but in Python's library, which is as it is."""
    if text.name == "python-stdlib":
        return
    seen: dict[str, Unit] = {}
    for unit in text.units:
        twin = seen.setdefault(unit.content(), unit)
        is_same = path_of(unit.name).resolve() == path_of(twin.name).resolve()
        if twin is not unit and (unit.size >= STRETCH or (is_same and unit.size)):
            yield unit, twin


def _matters(units: Sequence[Unit], texts: Sequence[Documents]) -> bool:
    """Return whether units are a thousandth of one of some texts; what has no size is."""
    return bool(units) and sum(unit.size for unit in units) * BLOCK >= min(
        text.size for text in texts
    )


def key_of(at: Place) -> str:
    """Return a key of the space file as it is written."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
