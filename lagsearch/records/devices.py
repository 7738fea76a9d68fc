"""On which nodes of a cluster a model was trained, and on what device: a file beside its curve."""

from pathlib import Path

from typing_extensions import TypedDict

from lagsearch.records.shapes import read_record
from lagsearch.storage.files import write_json


class TrainedOn(TypedDict):
    """Where a model was trained for a while."""

    node: str
    device: str


class _Devices(TypedDict):
    """The shape of the file."""

    devices: list[TrainedOn]


def read_devices(curve: Path) -> list[TrainedOn]:
    """Return where a model was trained, one after the other; nothing where no cluster was.

    Args:
        curve: The file of its curve.

    Raises:
        RunFolderError: The record cannot be read.
    """
    path = _file(curve)
    found: list[TrainedOn] = read_record(path, _Devices)["devices"] if path.is_file() else []
    return found


def note_device(curve: Path, place: TrainedOn) -> None:
    """Write down where a model is trained from now on.

    Args:
        curve: The file of its curve.
        place: Where.
    """
    before = read_devices(curve)
    if before[-1:] != [place]:
        write_json(_file(curve), {"devices": [*before, place]})


def _file(curve: Path) -> Path:
    return curve.with_suffix(".devices.json")
