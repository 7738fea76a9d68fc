"""A candidate's evaluations, one JSON object a line: the file that a run is resumed from."""

import gzip
import json
import os
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import fsum, isclose, isfinite
from pathlib import Path
from typing import Any

from lagsearch.errors import RunFolderError
from lagsearch.storage.files import (
    naming,
    replacing,
    write_text,
)


@dataclass(frozen=True)
class Evaluation:
    """The validation loss of one candidate at one step.

    Attributes:
        step: Steps since growth.
        val_loss: Mean over all validation batches, nats per predicted token; estimated where only
            some were measured (`level`).
        val_loss_batches: Loss of each validation batch, nats per predicted token; of the first ones
            alone where not all were measured.
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


LARGEST_LOSS = 3.5e38
"""What a loss in 32 bits cannot exceed; sums and squares of such ones are numbers, too."""

MEND = "delete the file, and `lagsearch run` trains it anew"
"""How a curve is mended."""


def read_curve(path: Path) -> Curve:
    """Read a curve; a line that was cut off when its writer was killed is left out.

    One that was packed (`pack`) is read as well.

    Raises:
        RunFolderError: It cannot be read, or a whole line is neither an evaluation nor a failure.
    """
    lines = _text(path).split("\n")
    evaluations: dict[int, Evaluation] = {}
    before: dict[int, tuple[float, ...]] = {}  # all batches, at the last step that had them
    failure: Failure | None = None
    whole: tuple[float, ...] = ()
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):
                break
            raise RunFolderError(f"{path}:{number}: no whole line of JSON; {MEND}") from None
        try:
            found = _entry(entry)
            if isinstance(found, Failure):
                failure = found
                continue
            mean = level(found.val_loss_batches, before.setdefault(found.step, whole))
            is_mean = isclose(mean, found.val_loss, rel_tol=1e-12)
            _check(is_mean, "val_loss is not the mean of its batches")
            if _losses(evaluations.get(found.step, found)) != _losses(found):
                raise ValueError(f"step {found.step} stands there twice, with other losses")
            if len(found.val_loss_batches) >= len(whole):
                whole = found.val_loss_batches
            evaluations[found.step] = found
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            why = f": {error}" if type(error) is ValueError else ""
            message = f"neither an evaluation nor a failure{why}; {MEND}"
            raise RunFolderError(f"{path}:{number}: {message}") from None
    ordered = tuple(evaluations[step] for step in sorted(evaluations))
    return Curve(ordered, failure)


def _text(path: Path) -> str:
    """Return what a curve's file holds, packed or not; nothing where there is none.

    Raises:
        RunFolderError: It cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise RunFolderError(f"{path}: not a file")
        if path.exists():
            return path.read_bytes().decode("ascii")
        packed = _packed(path)
        if not packed.is_file():
            return ""
        return gzip.decompress(packed.read_bytes()).decode("ascii")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is none of a curve's, {error.object[error.start]:#04x}"
        raise RunFolderError(f"{path}: {message}; {MEND}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RunFolderError(f"{_packed(path)}: not packed whole: {error}; {MEND}") from None


def _entry(entry: Any) -> Evaluation | Failure:
    """Return what a line says.

    Raises:
        ValueError: A value is none; others where keys are not these.
    """
    if "failed" in entry:
        failure = Failure(**entry)
        _check(isinstance(failure.failed, str), "failed is no text")
        _check_whole(failure.step, "step")
        return failure
    batches = entry["val_loss_batches"]
    entry["val_loss_batches"] = tuple(batches)
    entry["parts"] = {name: tuple(each) for name, each in entry.get("parts", {}).items()}
    for key in ("ema_batches", "annealed_batches"):
        entry[key] = tuple(entry.get(key, ()))
    found = Evaluation(**entry)
    _check_whole(found.step, "step")
    _check_whole(found.flops, "flops")
    _check_whole(found.annealed_flops, "annealed_flops")
    for key, losses in _losses(found).items():
        _check_losses(losses, key)
        _check(len(losses) == len(batches), f"{key} has {len(losses)} of {len(batches)} batches")
    _check_losses((found.val_loss, found.wall_s), "val_loss or wall_s")
    return found


def level(losses: Sequence[float], whole: Sequence[float]) -> float:
    """Return the mean loss of all validation batches from those of the first ones.

    How far these lie from the mean of all is taken to be as it was at an earlier evaluation (the
    difference estimator of sampling from finite populations). Where it has no more batches, this is
    their own mean.

    Args:
        losses: Of the first batches.
        whole: Of all, at the last evaluation before that measured all.
    """
    return fsum(losses) / len(losses) + _offset(len(losses), whole)


def last_whole(evaluations: Iterable[Evaluation]) -> tuple[float, ...]:
    """Return the batch losses of the last evaluation that has no fewer than those before."""
    whole: tuple[float, ...] = ()
    for each in evaluations:
        whole = each.val_loss_batches if len(each.val_loss_batches) >= len(whole) else whole
    return whole


def _offset(size: int, whole: Sequence[float]) -> float:
    """Return how far the mean of all batches lies above that of the first ones."""
    if size >= len(whole):
        return 0.0
    return fsum(whole) / len(whole) - fsum(whole[:size]) / size


def levelled(measured: Iterable[tuple[int, tuple[float, ...]]]) -> dict[int, tuple[float, ...]]:
    """Return batch losses by step; where there are the first ones alone, their mean is `level`.

    They are moved together, so that their differences are those that were measured.

    Args:
        measured: Steps and batch losses in order; what has none is left out.
    """
    found: dict[int, tuple[float, ...]] = {}
    whole: tuple[float, ...] = ()
    for step, losses in measured:
        if losses:
            whole = losses if len(losses) >= len(whole) else whole
            offset = _offset(len(losses), whole)
            found[step] = tuple(loss + offset for loss in losses)
    return found


def _losses(found: Evaluation) -> dict[str, tuple[float, ...]]:
    """Return all losses of batches that an evaluation has, by their keys."""
    more = {"ema_batches": found.ema_batches, "annealed_batches": found.annealed_batches}
    own = {"val_loss_batches": found.val_loss_batches, **found.parts}
    return own | {key: losses for key, losses in more.items() if losses}


def _check(is_right: bool, message: str) -> None:
    if not is_right:
        raise ValueError(message)


def _check_whole(value: Any, key: str) -> None:
    _check(type(value) is int and value >= 0, f"{key} is no whole number, 0 or more")


def _check_losses(losses: tuple[Any, ...], key: str) -> None:
    _check(bool(losses) and {*map(type, losses)} <= {int, float}, f"{key} are no numbers")
    _check(min(losses) >= -LARGEST_LOSS and max(losses) <= LARGEST_LOSS, f"{key} are too large")
    _check(isfinite(fsum(losses)), f"{key} are no numbers")


def append(path: Path, entry: Evaluation | Failure) -> None:
    """Append one entry, in place of a line that was cut off, and wait until it is on the disk.

    Raises:
        OSError: It cannot be written; what was there stays.
    """
    line = _line(entry)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _unpack(path)
        with path.open("a+b") as file:
            file.seek(0)
            before = file.read()
            end = before.rfind(b"\n") + 1
            if _is_json(before[end:]):  # whole but for its end
                line = "\n" + line
            else:
                file.truncate(end)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


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


def operator_record(curve: Path) -> Path:
    """Return the file of what came of learning an operator, by that of the candidate's curve."""
    return curve.with_suffix(".operator.json")
