"""What a finished stage of a run comes to, and hands on to the next one."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lagsearch.records.shapes import read_record
from lagsearch.storage.files import write_json

ADAPTIVE = "adaptive"
"""The course that searches at every stage; also the name of its folder."""

RECORD = "stage.json"
"""What a finished stage hands on, in its folder."""


@dataclass(frozen=True)
class StageResult:
    """What a finished stage comes to, and hands on to the next.

    Attributes:
        folder: The folder in which it was trained, from the run's.
        winner: The candidate that was trained to completion.
        chosen: Its operator and settings.
        identity: Digest of all that decides its weights.
        config: Its configuration.
        steps: Training steps of the course so far.
        flops: Training FLOPs of the course's winners so far.
        val_loss: At the end of the stage.
        wall_s: Seconds of the winners' training and evaluation so far.
        n_candidates: Candidates that it was chosen from.
    """

    folder: str
    winner: str
    chosen: dict[str, Any]
    identity: str
    config: dict[str, Any]
    steps: int
    flops: int
    val_loss: float
    wall_s: float
    n_candidates: int

    def write(self, folder: Path) -> None:
        """Write it into the folder of its stage, which is finished thereby."""
        write_json(folder / RECORD, asdict(self))


def read_stage_result(folder: Path) -> StageResult | None:
    """Read what a finished stage hands on; None where it is not finished."""
    path = folder / RECORD
    if not path.is_file():
        return None
    found = read_record(path, StageResult)
    return StageResult(**{each.name: found[each.name] for each in fields(StageResult)})
