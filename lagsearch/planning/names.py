"""Names in a space of what anybody may add to: they are checked where the tables are known."""

from collections.abc import Iterator

from lagsearch.data.objectives.registry import OBJECTIVES
from lagsearch.selection import EVIDENCE, SIGNALS, find_signal
from lagsearch.space import OPTIMIZERS, Search, Space, StageFile

Broken = tuple[tuple[str | int, ...], str]

_MEASURED = {"ema": "0.98", "annealed": "{fraction: 0.25}"}
"""Examples of what is measured beside the loss, by its key of `evaluation`."""


def check_names(file: StageFile) -> None:
    """Check what a space names, and that the space has what it needs.

    Operators are checked with their settings, when candidates are planned.

    Raises:
        SpaceError: There is none of that name, or it lacks something; the message has the line.
        PluginError: An installed package adds something that cannot be had.
    """
    for at, message in (*_search(file.space.search), *_signal(file.space), *_objective(file.space)):
        raise file.error(at, message)


def tell_signal(space: Space) -> list[str]:
    """Say what candidates are ranked by, where it is not their loss."""
    if space.search.signal == "loss":
        return []
    found = find_signal(space.search.signal)
    lag = "K" if space.search.lag == "auto" else f"step {space.latest_lag:,}"
    return [f"Candidates are ranked at {lag} by {found.words} (search.signal: {found.name})."]


def _search(search: Search) -> Iterator[Broken]:
    """Find what is unknown, and settings that the chosen strategy would ignore."""
    if (found := EVIDENCE.get(search.evidence)) is None:
        yield ("search", "evidence"), EVIDENCE.unknown(search.evidence)
        return
    is_auto, races = search.lag == "auto", search.strategy == "race"
    by_key = {key: _heeding(key) for key in ("min_lag", "stability")}
    unused = {
        "max_lag": (not is_auto, "lag is auto"),
        "min_lag": (
            not is_auto and "min_lag" not in found.heeds,
            f"lag is auto or evidence is {by_key['min_lag']}",
        ),
        "stability": (
            not is_auto and not (races and "stability" in found.heeds),
            f"lag is auto, or strategy is race and evidence is {by_key['stability']}",
        ),
        "evidence": (not races, "strategy is race"),
    }
    for key, (is_unused, otherwise) in unused.items():
        if is_unused and getattr(search, key) != type(search).model_fields[key].default:
            yield ("search", key), f"has no effect unless {otherwise}"


def _heeding(key: str) -> str:
    return " or ".join(each.name for each in EVIDENCE.all() if key in each.heeds)


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


def lacking(name: str) -> str | None:
    """Return why this torch cannot serve an optimizer, or None where it can."""
    import torch

    torch_name = OPTIMIZERS[name].torch_name
    if hasattr(torch.optim, torch_name):
        return None
    return f"torch {torch.__version__} has no {torch_name}; use another, or a newer one"
