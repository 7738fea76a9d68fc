"""A candidate's evaluations, one JSON object a line: the file that a run is resumed from."""

import gzip
import json
import os
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lagsearch.errors import RunFolderError
from lagsearch.storage import replacing, write_text


@dataclass(frozen=True)
class Evaluation:
    """The validation loss of one candidate at one step.

    Attributes:
        step: Steps since growth.
        val_loss: Mean over the validation batches, nats per predicted token.
        val_loss_batches: Loss of each validation batch, nats per predicted token.
        wall_s: Seconds of training and evaluation since growth, of this candidate alone.
        flops: Training FLOPs since growth; evaluation is not in them.
        parts: Loss of each validation batch for each part of an objective that has several.
        ema_batches: Loss of each validation batch of the moving average of the weights.
        annealed_batches: Loss of each validation batch after a decay of the rate to zero that
            branches off at this step.
        annealed_flops: Training FLOPs of that decay.
    """

    step: int
    val_loss: float
    val_loss_batches: tuple[float, ...]
    wall_s: float
    flops: int
    parts: dict[str, tuple[float, ...]] = field(default_factory=dict)
    ema_batches: tuple[float, ...] = ()
    annealed_batches: tuple[float, ...] = ()
    annealed_flops: int = 0


@dataclass(frozen=True)
class Failure:
    """The end of a candidate that cannot go on.

    Attributes:
        step: Steps since growth.
        failed: What happened, in one line.
        again: Whether another try may end otherwise: its worker died, say, and not its loss.
    """

    step: int
    failed: str
    again: bool = False


@dataclass(frozen=True)
class Curve:
    """All that a candidate's file says.

    Attributes:
        evaluations: In the order of their steps.
        failure: How it failed, if it did.
    """

    evaluations: tuple[Evaluation, ...] = ()
    failure: Failure | None = None

    @property
    def seen(self) -> bool:
        """Whether its file says anything at all."""
        return bool(self.evaluations or self.failure)

    def at(self, step: int) -> Evaluation | None:
        """Return the evaluation at a step, if there is one."""
        place = bisect_left(self.evaluations, step, key=lambda each: each.step)
        found = self.evaluations[place : place + 1]
        return found[0] if found and found[0].step == step else None


def read_curve(path: Path) -> Curve:
    """Read a curve; a line that was cut off when its writer was killed is left out.

    One that was packed (`pack`) is read as well.

    Raises:
        RunFolderError: A whole line is neither an evaluation nor a failure.
    """
    if path.is_file():
        text = path.read_text()
    elif _packed(path).is_file():
        text = gzip.decompress(_packed(path).read_bytes()).decode()
    else:
        return Curve()
    evaluations: dict[int, Evaluation] = {}
    failure = None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        try:
            if "failed" in entry:
                failure = Failure(**entry)
                continue
            entry["val_loss_batches"] = tuple(entry["val_loss_batches"])
            parts = entry.get("parts", {})
            entry["parts"] = {name: tuple(losses) for name, losses in parts.items()}
            for key in ("ema_batches", "annealed_batches"):
                entry[key] = tuple(entry.get(key, ()))
            evaluations[entry["step"]] = Evaluation(**entry)
        except (KeyError, TypeError):
            message = f"{path}:{number}: neither an evaluation nor a failure"
            raise RunFolderError(message) from None
    ordered = tuple(evaluations[step] for step in sorted(evaluations))
    return Curve(ordered, failure)


def append(path: Path, entry: Evaluation | Failure) -> None:
    """Append one entry and hand it to the operating system at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _unpack(path)
    with path.open("a+b") as file:
        is_new = file.seek(0, os.SEEK_END) == 0
        if not is_new:  # a line that was cut off must not swallow this one
            file.seek(-1, os.SEEK_END)
            is_new = file.read() == b"\n"
        line = _line(entry)
        file.write((line if is_new else "\n" + line).encode())


def rewrite(path: Path, evaluations: Iterable[Evaluation]) -> None:
    """Write a curve anew, whole or not at all: what a resumed candidate will repeat is left out."""
    write_text(path, "".join(map(_line, evaluations)))
    _packed(path).unlink(missing_ok=True)


def pack(path: Path) -> None:
    """Compress a curve: `.gz` behind its name takes its place, with the same bytes each time."""
    with replacing(_packed(path)) as temporary:
        temporary.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()


def _packed(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def _unpack(path: Path) -> None:
    """Write a packed curve as it was, to go on with it."""
    packed = _packed(path)
    if packed.is_file():
        if not path.is_file():
            write_text(path, gzip.decompress(packed.read_bytes()).decode())
        packed.unlink()


_OPTIONAL = {"parts", "ema_batches", "annealed_batches", "annealed_flops"}


def _line(entry: Evaluation | Failure) -> str:
    """Write an entry, without what it has not."""
    empty = {each.name for each in fields(entry) if not getattr(entry, each.name)}
    plain = {key: value for key, value in asdict(entry).items() if key not in _OPTIONAL & empty}
    return json.dumps(plain, allow_nan=False) + "\n"
