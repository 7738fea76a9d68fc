"""Losses in the forms in which trainers log them, read while they are written.

A line that is not whole yet is left out; of a step that comes twice the later one counts, and of
several files the newest.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

from lagsearch.errors import CurvesError
from lagsearch.space import TrainerLosses, filled_in

Row = Mapping[str, Any]
"""What was logged at one step, by its names."""

_DEFAULT_PATHS = {"jsonl": "{out}/losses.jsonl", "csv": "{out}/losses.csv"}
_DEFAULT_KEYS = {"trainer_state": "eval_loss", "megatron_log": "lm loss"}
_SHOWN = 8
_BLOCK = 32768  # of a file of Weights & Biases, as LevelDB's logs have it
_HEAD = 7


@dataclass(frozen=True)
class Logged:
    """What a trainer has logged so far.

    Attributes:
        losses: Its losses by step, in order; NaN and infinity as they are.
        names: All names that were logged, in the order in which they were first seen.
        key: The name of the loss.
    """

    losses: Mapping[int, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    key: str = ""

    @property
    def last(self) -> int:
        """The last step that has a loss; 0 before the first."""
        return max(self.losses, default=0)

    @property
    def broken(self) -> tuple[int, float] | None:
        """The first step whose loss is no finite number, and that."""
        found = [(step, loss) for step, loss in self.losses.items() if not isfinite(loss)]
        return found[0] if found else None

    def lacking(self) -> str:
        """Say what was logged in place of the loss."""
        if not self.names:
            return "nothing was logged"
        more = ", ..." if len(self.names) > _SHOWN else ""
        return f"{self.key!r} was not logged, but {', '.join(self.names[:_SHOWN])}{more}"


class LoggedLosses:
    """The losses of one training, read again where files have changed.

    Args:
        asked: Where they are, and in which form.
        out: The trainer's folder.
        output: The file of what it prints.
    """

    def __init__(self, asked: TrainerLosses, out: Path, output: Path) -> None:
        pattern = asked.path or _DEFAULT_PATHS.get(asked.format, "{out}")
        place = Path(filled_in(pattern, {"out": str(out)}))
        if asked.format == "megatron_log" and asked.path is None:
            place = output
        self._place, self._asked = place, asked
        self._key = asked.key or _DEFAULT_KEYS.get(asked.format, "val_loss")
        self._stamp: list[tuple[str, int, int]] = []
        self._logged = Logged(key=self._key)

    def read(self) -> Logged:
        """Read what there is.

        Raises:
            CurvesError: It needs a library that is not installed.
        """
        names, find, rows_of = _FORMATS[self._asked.format]
        files = [*self._place.rglob(names)] if self._place.is_dir() else [self._place]
        files = find(sorted((each for each in files if each.is_file()), key=_age))
        stamp = [(str(each), (at := each.stat()).st_mtime_ns, at.st_size) for each in files]
        if stamp != self._stamp:
            self._logged, self._stamp = self._of(files, rows_of), stamp
        return self._logged

    def _of(self, files: list[Path], rows_of: "RowsOf") -> Logged:
        losses: dict[int, float] = {}
        seen: dict[str, None] = {}
        for path in files:
            for row in rows_of(path, self._key):
                seen |= dict.fromkeys(row)
                step, loss = _number(row.get(self._step)), _number(row.get(self._key))
                if step is not None and loss is not None and isfinite(step):
                    losses[int(step)] = loss
        names = tuple(each for each in seen if each != self._step)
        return Logged(dict(sorted(losses.items())), names, self._key)

    @property
    def _step(self) -> str:
        own = {"jsonl", "csv", "wandb"}
        return self._asked.step if self._asked.format in own else "step"


RowsOf = Callable[[Path, str], Iterator[Row]]


def _number(value: Any) -> float | None:
    """Return what is a number, or reads as one: the words of CSV, and `NaN` of JSON."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _trainer_state(path: Path, key: str) -> Iterator[Row]:
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["log_history"]
    except (ValueError, KeyError, TypeError):  # half written
        return
    yield from (each for each in history if isinstance(each, dict))


def _jsonl(path: Path, key: str) -> Iterator[Row]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _csv(path: Path, key: str) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    for row in csv.DictReader(whole.splitlines()):
        yield {name: value for name, value in row.items() if name is not None}  # None: too many


def _megatron_log(path: Path, key: str) -> Iterator[Row]:
    """Read `validation loss at iteration 100 ... | lm loss value: 2.5E+00 | ...`.

    Where no such line is there, the training losses: ` iteration  100/ 500 | ... | lm loss: 2.5 |`.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    measured = re.findall(r"validation loss at iteration\s+(\d+)\b([^\n]*)\n", text)
    trained = re.findall(r"\biteration\s+(\d+)/\s*\d+\b([^\n]*)\n", text)
    for lines, word in ((measured, r"\s+value:"), (trained, ":")):
        for step, line in lines:
            pairs = re.findall(rf"\|\s*([^|:]+?){word}\s*([-+.\w]+)", line)
            yield {"step": step, **{name.strip(): value for name, value in pairs}}
        if any(key in line for _, line in lines):
            return


def check_library(form: str) -> None:
    """Check that the library is installed that a form is read with, where it takes one.

    Raises:
        CurvesError: It is not.
    """
    if form in ("tensorboard", "wandb") and find_spec(form) is None:
        raise CurvesError(f"needs a library of its own: pip install 'lagsearch[{form}]'")


def _tensorboard(path: Path, key: str) -> Iterator[Row]:
    check_library("tensorboard")
    from tensorboard.backend.event_processing import event_accumulator

    events: Any = event_accumulator.EventAccumulator(str(path), {"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        yield from ({"step": each.step, tag: each.value} for each in events.Scalars(tag))


def _wandb(path: Path, key: str) -> Iterator[Row]:
    check_library("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    for data in _records(path.read_bytes()):
        record: Any = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            row = {"step": record.history.step.num}
            for item in record.history.item:
                row[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
            yield row


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of a `.wandb` file, a log in the form of LevelDB."""
    place, parts = _HEAD, b""
    while place + _HEAD <= len(data):
        if _BLOCK - place % _BLOCK < _HEAD:  # no head fits: the rest of the block is empty
            place += _BLOCK - place % _BLOCK
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        begin, place = place + _HEAD, place + _HEAD + size
        if place > len(data) or not kind:
            return
        parts = (b"" if kind in (1, 2) else parts) + data[begin:place]  # whole or first; or more
        if kind in (1, 4):  # whole or last
            yield parts


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, str(path)


def _all(files: list[Path]) -> list[Path]:
    return files


def _newest(files: list[Path]) -> list[Path]:
    return files[-1:]


_FORMATS: dict[str, tuple[str, Callable[[list[Path]], list[Path]], RowsOf]] = {
    "trainer_state": ("trainer_state.json", _newest, _trainer_state),
    "jsonl": ("*.jsonl", _all, _jsonl),
    "csv": ("*.csv", _all, _csv),
    "tensorboard": ("*tfevents*", _all, _tensorboard),
    "wandb": ("*.wandb", _all, _wandb),
    "megatron_log": ("*", _all, _megatron_log),
}
"""Of each form: its files in a folder, which of these are read, and how."""
