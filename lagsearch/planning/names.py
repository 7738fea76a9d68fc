"""Names in a space of what anybody may add to: they are checked where the tables are known."""

from collections.abc import Iterator

from lagsearch.data.objectives.registry import OBJECTIVES
from lagsearch.selection import SIGNALS, find_signal
from lagsearch.space import Space, SpaceFile

Broken = tuple[tuple[str | int, ...], str]

_MEASURED = {"ema": "0.98", "annealed": "{fraction: 0.25}"}
"""Examples of what is measured beside the loss, by its key of `evaluation`."""


def check_names(file: SpaceFile) -> None:
    """Check what a space names, and that the space has what it needs.

    Operators are checked with their settings, when candidates are planned.

    Raises:
        SpaceError: There is none of that name, or it lacks something; the message has the line.
        PluginError: An installed package adds something that cannot be had.
    """
    for at, message in (*_signal(file.space), *_objective(file.space)):
        raise file.error(at, message)


def tell_signal(space: Space) -> list[str]:
    """Say what candidates are ranked by, where it is not their loss."""
    if space.search.signal == "loss":
        return []
    found = find_signal(space.search.signal)
    lag = "K" if space.search.lag == "auto" else f"step {space.latest_lag:,}"
    return [f"Candidates are ranked at {lag} by {found.words} (search.signal: {found.name})."]


def _signal(space: Space) -> Iterator[Broken]:
    name, at, lag = space.search.signal, ("search", "signal"), space.latest_lag
    if (found := SIGNALS.get(name)) is None:
        yield at, SIGNALS.unknown(name)
        return
    if found.needs is None:
        return
    annealed = space.evaluation.annealed
    if getattr(space.evaluation, found.needs) is None:
        yield at, f"{name} needs evaluation.{found.needs}, e.g. {_MEASURED[found.needs]}"
    elif found.needs == "annealed" and annealed and lag not in (annealed.at or (lag,)):
        message = f"lacks K, {lag}, where candidates are judged by it"
        yield ("evaluation", "annealed", "at"), message


def _objective(space: Space) -> Iterator[Broken]:
    name = space.objective.name
    if (found := OBJECTIVES.get(name)) is None:
        yield ("objective", "name"), OBJECTIVES.unknown(name)
        return
    yield from found.broken(space)
    if found.kind == "masked" and space.evaluation.harness is not None:
        message = f"asks what comes next, which a model of the objective {name} does not predict"
        yield ("evaluation", "harness"), message
