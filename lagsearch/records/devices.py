"""On which nodes of a cluster a model was trained, and on what device: a file beside its curve."""

from pathlib import Path

from typing_extensions import TypedDict

from lagsearch.records.shapes import read_record
from lagsearch.storage.files import write_json


class Place(TypedDict):
    """Where a model was trained for a while."""

    node: str
    device: str


class _Places(TypedDict):
    """The shape of the file."""

    places: list[Place]


def read_places(curve: Path) -> list[Place]:
    """Return where a model was trained, one after the other; nothing where no cluster was.

    Args:
        curve: The file of its curve.

    Raises:
        RunFolderError: The record cannot be read.
    """
    path = _file(curve)
    found: list[Place] = read_record(path, _Places)["places"] if path.is_file() else []
    return found


def note_place(curve: Path, place: Place) -> None:
    """Write down where a model is trained from now on.

    Args:
        curve: The file of its curve.
        place: Where.
    """
    before = read_places(curve)
    if before[-1:] != [place]:
        write_json(_file(curve), {"places": [*before, place]})


def _file(curve: Path) -> Path:
    return curve.with_suffix(".devices.json")
