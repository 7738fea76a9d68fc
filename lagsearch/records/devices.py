"""On which nodes of a cluster a model was trained, and on what device: a file beside its curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from lagsearch.records.shapes import read_record
from lagsearch.storage.files import write_json


class TrainedOn(TypedDict):
    """Where a model was trained for a while.

    Attributes:
        node: The node.
        device: What it was trained on there.
        beside: The first of the nodes that trained it together, on each of the others.
    """

    node: str
    device: str
    beside: NotRequired[str]


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


def trained_on(places: Sequence[tuple[str, str]]) -> list[TrainedOn]:
    """Return where a model is trained by several nodes together, or by one.

    Args:
        places: Name and device of each, in the order of its processes.
    """
    first, *others = (TrainedOn(node=node, device=device) for node, device in places)
    return [first, *(TrainedOn(**each, beside=first["node"]) for each in others)]


def note_devices(curve: Path, places: Sequence[TrainedOn]) -> None:
    """Write down where a model is trained from now on.

    Args:
        curve: The file of its curve.
        places: Where.
    """
    before = read_devices(curve)
    if before[-len(places) :] != [*places]:
        write_json(_file(curve), {"devices": [*before, *places]})


def _file(curve: Path) -> Path:
    return curve.with_suffix(".devices.json")
