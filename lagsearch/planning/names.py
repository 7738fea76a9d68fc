"""Names in a space of what rooms below know: they are checked where the tables are known."""

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from lagsearch.data.objectives.registry import OBJECTIVES
from lagsearch.selection import find_signal, find_strategy
from lagsearch.space import OPTIMIZERS, Space, StageFile, annealed_steps, rungs

Broken = tuple[tuple[str | int, ...], str]

_MANY_RUNGS, _SHORT_RUNG = 5, 50  # of these steps on the average


def check_names(file: StageFile) -> None:
    """Check what a space names, and that the space has what it needs.

    Operators are checked with their settings, when candidates are planned.

    Raises:
        SpaceError: There is none of that name, or it lacks something; the message has the line.
        PluginError: An installed package adds something that cannot be had.
    """
    for at, message in _objective(file.space):
        raise file.error(at, message)


def tell_signal(space: Space) -> list[str]:
    """Say what candidates are ranked by, where it is not their loss."""
    if space.search.signal == "loss":
        return []
    found = find_signal(space.search.signal)
    lag = "K" if space.search.lag == "auto" else f"step {space.latest_lag:,}"
    return [f"Candidates are ranked at {lag} by {found.words} (search.signal: {found.name})."]


def tell_rungs(space: Space) -> list[str]:
    """Say that a search with many short rungs takes long on the clock, where it has them."""
    needs_decay = find_signal(space.search.signal).needs == "annealed"
    at = rungs(space, annealed_steps(space) if needs_decay else None)
    does_wait = not space.search.oracle and "cut" not in find_strategy(space.search.strategy).heeds
    if not does_wait or len(at) < _MANY_RUNGS or at[-1] >= _SHORT_RUNG * len(at):
        return []
    return [
        f"The search waits for all candidates at {len(at)} rungs up to step {at[-1]:,}, to stop "
        "some or to choose. At each of them trainings start anew, so that short ones take longer "
        "on the clock than their FLOPs say: a shorter list of evaluation.steps makes fewer rungs."
    ]


def _objective(space: Space) -> Iterator[Broken]:
    name = space.objective.name
    if (found := OBJECTIVES.get(name)) is None:
        yield ("objective", "name"), OBJECTIVES.unknown(name)
        return
    yield from found.broken(space)
    if found.kind == "masked" and space.evaluation.harness is not None:
        message = f"asks what comes next, which a model of the objective {name} does not predict"
        yield ("evaluation", "harness"), message


def lacking(name: str) -> str | None:
    """Return why this torch cannot serve an optimizer, or None where it can."""
    torch_name = OPTIMIZERS[name].torch_name
    if sys.modules.get("torch") is None and _has_module(torch_name):
        return None
    import torch

    if hasattr(torch.optim, torch_name):
        return None
    return f"torch {torch.__version__} has no {torch_name}; use another, or a newer one"


def _has_module(name: str) -> bool:
    """Return whether torch, which is not imported, has a module of an optimizer."""
    found = PathFinder.find_spec("torch")
    if found is None or found.origin is None:
        return False
    folder = Path(found.origin).parent / "optim"
    return any((folder / f"{mark}{name.lower()}.py").is_file() for mark in ("", "_"))
