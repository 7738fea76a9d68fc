"""Spaces with stages that leave nothing to choose: schedules, and what they are compared with."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from lagsearch.space.reading import written_out
from lagsearch.space.schema import TrainBpe
from lagsearch.space.space_file import SpaceFile, StageFile, check_file
from lagsearch.space.stages import Plain


def with_stages(file: SpaceFile, stages: Sequence[Plain], suffix: str) -> SpaceFile:
    """Return a space of the same training with other stages, of one candidate each.

    Args:
        file: What is trained.
        stages: As a space lists them.
        suffix: Of its name.

    Raises:
        SpaceError: They cannot be.
    """
    plain = deepcopy({key: value for key, value in file.plain.items() if key != "stages"})
    first = file.stages[0].space
    plain["name"] = f"{file.name[:85]}-{suffix}"
    plain["seed"] = first.seed
    plain["search"] = {"lag": 1, "single_model_control": False}
    plain["resources"] = written_out(first.resources.model_copy(update={"profile": False}))
    evaluation = plain.get("evaluation") or {}
    for key in ("annealed", "harness"):
        evaluation.pop(key, None)
    plain["evaluation"] = evaluation
    if any("model" in each for each in stages):
        plain.pop("sources", None)
        plain["data"] = {**plain["data"], "tokenizer": _written(first.tokenizer)}
    plain["stages"] = list(stages)
    return check_file(file.path, plain)


def chosen_stages(file: SpaceFile, chosen: Sequence[Mapping[str, Any] | None]) -> list[Plain]:
    """Return the stages of a space with one candidate each.

    Args:
        file: The space.
        chosen: The candidate of each stage: its operator and settings; None where nothing is grown.
    """
    listed = file.written_out()["stages"]
    return [
        _entry(stage, plain, each)
        for stage, plain, each in zip(file.stages, listed, chosen, strict=True)
    ]


def _entry(stage: StageFile, plain: Plain, chosen: Mapping[str, Any] | None) -> Plain:
    entry: Plain = {"steps": stage.space.training.steps}
    if chosen is None:
        entry["model"] = plain["model"]
    else:
        one = {
            key: [each] if isinstance(each, list | tuple) else each for key, each in chosen.items()
        }
        entry |= {"target": dict(stage.space.target), "candidates": [one]}
        entry["lag"] = stage.space.latest_lag
    for part in ("training", "evaluation"):
        if kept := {key: each for key, each in plain.get(part, {}).items() if key != "annealed"}:
            entry[part] = deepcopy(kept)
    return entry


def _written(tokenizer: str | TrainBpe) -> Any:
    return tokenizer if isinstance(tokenizer, str) else written_out(tokenizer)
