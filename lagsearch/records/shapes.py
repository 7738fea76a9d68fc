"""Records in a run folder, JSON that lagsearch wrote: read with a look at their shape.

A shape says what the rest of the code relies on; what else a record holds is not looked at.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NotRequired

from pydantic import FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from lagsearch.errors import RunFolderError, brief

Shares = dict[str, FiniteFloat]


class _Source(TypedDict):
    name: str
    digest: str
    flops: NotRequired[int | None]


class Environment(TypedDict):
    """The shape of `environment.json`."""

    inputs: dict[str, Any]
    seeds: list[int]
    slots: int
    sources: list[_Source]
    wall_s: Shares
    winner: NotRequired[str]
    courses: NotRequired[list[dict[str, Any]]]
    trainers: NotRequired[list[dict[str, Any]]]


class _Planned(TypedDict):
    name: str
    operator: str
    settings: dict[str, Any]
    is_baseline: bool
    layer_map: str
    plan: dict[str, Any]
    parameters: int
    flops_per_step: int
    prior: NotRequired[float]


class Plans(TypedDict):
    """The shape of `plans.json`."""

    validation_batches: NotRequired[int]
    candidates: list[_Planned]


class _Ranked(TypedDict):
    name: str
    rank: int
    status: str
    is_baseline: bool
    val_loss: Shares


class AnyReport(TypedDict):
    """The shape of a `report.json` that may be of another program."""

    curves: NotRequired[str | None]


class Report(AnyReport):
    """The shape of `report.json`, as far as other reports read it."""

    name: str
    lag: NotRequired[int]
    steps: int
    seeds: list[int]
    candidates: NotRequired[list[_Ranked]]
    cost: dict[str, Any] | None
    oracle: NotRequired[dict[str, Any] | None]
    doubt: NotRequired[dict[str, Any]]
    search: NotRequired[dict[str, Any]]


class _Asked(TypedDict):
    candidate: str
    asked: str


class _Evaluated(_Asked):
    asked_num_fewshot: int | None
    limit: FiniteFloat | None
    own_files: str | None
    results: list[dict[str, Any]]


class _Failed(_Asked):
    reason: str


class HarnessRecord(TypedDict):
    """The shape of `harness.json`."""

    evaluations: list[_Evaluated]
    failures: list[_Failed]


class LearnedRecord(TypedDict):
    """The shape of what came of learning an operator."""

    steps: int
    loss_before: FiniteFloat
    loss_after: FiniteFloat
    parameters: int


class _Steps(TypedDict):
    median: FiniteFloat
    quartiles: tuple[FiniteFloat, FiniteFloat]


class ProfileRecord(TypedDict):
    """The shape of where a model's time went."""

    device: str
    threads: int
    precision: str
    step_s: _Steps
    shares: Shares
    evaluation_s: Shares
    tokens_per_s: FiniteFloat
    peak_flops_per_s: FiniteFloat
    model_flop_utilization: FiniteFloat
    memory: dict[str, Any]
    gpu_utilization: dict[str, Any] | None


_MEND = {
    "manifest.json": "give a folder that `lagsearch bench` or `lagsearch export` wrote",
    "environment.json": "choose another folder with --out",
    "plans.json": "`lagsearch run` with the same --out writes it again",
    "report.json": "`lagsearch report` writes it again",
}
_MEND_OTHERS = "delete it, and `lagsearch run` with the same --out makes it again"


def read_record(path: Path, shape: Any) -> dict[str, Any]:
    """Read a record.

    Args:
        path: Its file.
        shape: What pydantic can check: a class above, or one of dataclasses.

    Raises:
        RunFolderError: There is none, it cannot be read, or it has another shape; the message
            says how to mend it.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise RunFolderError(f"{path.parent}: no such folder") from None
        raise RunFolderError(f"{path.parent}: incomplete, it has no {path.name}") from None
    try:
        value: dict[str, Any] = json.loads(raw, parse_constant=_refuse)
        _adapter(shape).validate_json(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(map(str, first["loc"]))
        found = f"another shape than lagsearch writes: {at}: {_words(first)}".replace(": : ", ": ")
    except (ValueError, RecursionError) as error:
        found = f"not valid JSON: {brief(error)}"
    else:
        return value
    raise misshapen(path, found)


def misshapen(path: Path, found: str) -> RunFolderError:
    """Return the error of a record that cannot be used, with what mends it."""
    return RunFolderError(f"{path}: {found}; {_MEND.get(path.name, _MEND_OTHERS)}")


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _words(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "is missing"
    return str(error["msg"]).removeprefix("Input ")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
