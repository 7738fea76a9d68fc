"""A file of losses that grows by a line at every evaluation: JSON or CSV."""

import csv
import io
import json
from pathlib import Path

from lagsearch.errors import CurvesError

_COLUMNS = ("candidate", "seed", "step", "val_loss")


class CurveFile:
    """Appends losses to a file, `.jsonl` or `.csv`: candidate, seed, step, val_loss.

    `lagsearch report` reads it, that of one candidate or of many, and so does `trainer.losses` of a
    space. Several trainings may append to one file; to go on with an interrupted one writes steps
    again, of which `.jsonl` alone lets the later count.

    Args:
        path: The file.
        candidate: The candidate's name.
        seed: The seed it is trained under.

    Raises:
        CurvesError: The file has another ending.
    """

    def __init__(self, path: str | Path, candidate: str, seed: int = 0) -> None:
        self.path, self.candidate, self.seed = Path(path), candidate, seed
        if self.path.suffix not in (".jsonl", ".csv"):
            raise CurvesError(f"{path}: a curve file is a .jsonl or a .csv")

    def append(self, step: int, val_loss: float) -> None:
        """Append the loss of a step, as one line that is written at once."""
        row = dict(zip(_COLUMNS, (self.candidate, self.seed, step, val_loss), strict=True))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            if self.path.suffix == ".jsonl":
                file.write(json.dumps(row) + "\n")
                return
            lines = io.StringIO()
            writer = csv.DictWriter(lines, _COLUMNS, lineterminator="\n")
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
            file.write(lines.getvalue())
