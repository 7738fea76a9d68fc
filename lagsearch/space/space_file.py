"""A space file: the space of each stage, of which most have one, and the line of each key."""

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lagsearch.errors import SpaceError
from lagsearch.space.reading import (
    Written,
    checked,
    explained,
    located,
    read_written,
    written_out,
)
from lagsearch.space.schema import Space
from lagsearch.space.stages import (
    DEPTH,
    Ladder,
    LadderError,
    Places,
    Plain,
    Stage,
    StagesSpace,
    depth_key,
    ladder_places,
    spell_out,
    stage_places,
)
from lagsearch.space.yaml_tree import (
    Key,
    Said,
    put_in,
)

Lines = dict[Key, int | str]

_GROWTH = ("target", "candidates")

FALLING = ("linear", "cosine", "wsd")
"""Schedules whose length matters (`Schedule.falls`)."""


@dataclass(frozen=True)
class StageFile:
    """The space of one stage; its errors name the key and the line of the file.

    Attributes:
        space: The space, overrides included.
        path: The file it was read from.
        plain: The same as nested dicts and lists, defaults left out.
        tree: The tree of the whole file.
        lines: The line of each of its keys; an override has its own words instead.
        number: Counts from 1; None where the file has no `stages`.
        places: From the stage's keys to those of the file.
    """

    space: Space
    path: Path
    plain: Plain
    tree: Plain
    lines: Lines
    number: int | None = None
    places: Places = field(default_factory=dict)

    def error(self, at: Key, message: str) -> SpaceError:
        """Return an error that names file, line, key, value, stage and `message`."""
        return _error(self.path, self.tree, self.lines, self.places, self.number)(at, message)

    @property
    def has_default_lag(self) -> bool:
        """Whether K is left out, and is the default."""
        return _is_left_out(self.plain, "search", "lag")


@dataclass(frozen=True)
class SpaceFile:
    """A checked space file.

    Attributes:
        path: The file it was read from.
        plain: Nested dicts and lists as written, overrides included, defaults left out.
        lines: Line of each key, by its path; an override has its own words instead.
        stages: The space of each stage, under the first seed; one where there is no `stages`.
        seeds: Seeds under which all is gone through.
        remarks: What was chosen that the file leaves open, in lines.
    """

    path: Path
    plain: Plain
    lines: Lines
    stages: tuple[StageFile, ...]
    seeds: tuple[int, ...]
    remarks: tuple[str, ...] = ()

    @property
    def has_stages(self) -> bool:
        """Whether it has `stages`."""
        return self.stages[0].number is not None

    @property
    def stage(self) -> StageFile:
        """The only stage.

        Raises:
            SpaceError: The file has `stages`.
        """
        if self.has_stages:
            raise self.error(("stages",), "belongs to `lagsearch run`, `plan` and `schedule` alone")
        return self.stages[0]

    @property
    def space(self) -> Space:
        """The space of the only stage.

        Raises:
            SpaceError: The file has `stages`.
        """
        return self.stage.space

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return str(self.plain["name"])

    @property
    def seed(self) -> int:
        """The root of every random number."""
        return self.stages[0].space.seed

    @property
    def steps(self) -> int:
        """Training steps of all stages."""
        return sum(each.space.training.steps for each in self.stages)

    @property
    def begins_random(self) -> bool:
        """Whether its first stage begins with random weights."""
        return self.stages[0].space.sources[0].before is not None

    @property
    def has_oracle(self) -> bool:
        """Whether all candidates of a stage are trained to completion."""
        return any(each.space.search.oracle for each in self.stages)

    def error(self, at: Key, message: str) -> SpaceError:
        """Return an error that names file, line, key, value and `message`."""
        return located(self.path, self.plain, self.lines, at, message)

    def under(self, seed: int) -> "SpaceFile":
        """Return the same stages under one of its seeds; validation batches stay the same."""
        if seed == self.seed:
            return self
        plain = deepcopy(self.plain)
        evaluation = plain.get("evaluation") or {}
        plain["evaluation"] = {"seed": self.seed, **evaluation}
        plain["seed"] = seed
        plain.get("search", {}).pop("seeds", None)
        return check_file(self.path, plain, dict(self.lines))

    def written_out(self) -> Plain:
        """Return all as plain values: defaults too, or stages spelt out in a list with their K."""
        if not self.has_stages:
            return written_out(self.space)
        stages, _ = _list(self.path, self.plain, self.lines)
        for stage, file in zip(stages, self.stages, strict=True):
            if file.has_default_lag:
                stage["lag"] = file.space.search.lag
        return {**self.plain, "stages": stages}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is taken where the file leaves out what decides the cost, in lines."""
        found = [*self.remarks]
        steps = self.stages[0].space.training.steps
        if not self.has_stages and _is_left_out(self.plain, "training", "steps"):
            found.append(f"training.steps is left out: {steps:,} steps are trained")
        lags = {
            each.number: f"{each.space.search.lag:,}"
            for each in self.stages
            if each.has_default_lag
        }
        if self.has_stages and lags:
            listed = ", ".join(f"stage {number}: {lag}" for number, lag in lags.items())
            shares = {
                _share(each.space.lag_share): 0 for each in self.stages if each.has_default_lag
            }
            taken = " or ".join(shares)
            found.append(f"search.lag is left out: K is {taken} of the steps ({listed})")
        elif lags:
            (lag,) = lags.values()
            share = _share(self.space.lag_share)
            found.append(f"search.lag is left out: K is {lag}, {share} of the {steps:,} steps")
        return tuple(found)


def _share(share: float) -> str:
    """Return a share in words, before "of ..."."""
    return {0.5: "half", 0.25: "a quarter"}.get(share, f"{100 * share:g} %")


def _is_left_out(plain: Plain, part: str, key: str) -> bool:
    return (plain.get(part) or {}).get(key) is None


def load_space(space: Written, overrides: Sequence[str] | Said = ()) -> SpaceFile:
    """Read and check a space, with stages or without.

    Args:
        space: The YAML file, or the same as a dictionary or a `Space`.
        overrides: `key.path=value` texts, as `--set` takes them, or all that a command says; they
            win over the file, and nothing is judged before all are put in.

    Raises:
        SpaceError: Anything in it or in an override is not as it must be.
    """
    return check_file(*read_written(space, overrides))


OF_BUDGET = ("strategy", "lag", "min_lag", "max_lag", "evidence", "keep", "cut", "settings")
"""The keys of `search` that follow from a budget."""


def opened(
    space: Written | SpaceFile, said: Said | None = None, *, has_budget: bool = False
) -> SpaceFile:
    """Return a space with all that a command says beside it: it wins over what was said before.

    Args:
        space: A space file, one that is loaded, a dictionary or a `Space`.
        said: What the command says.
        has_budget: Whether what follows from a budget is set aside, but for a strategy that
            samples candidates.

    Raises:
        SpaceError: Anything in the file or in what is said is not as it must be.
    """
    if not isinstance(space, SpaceFile):
        path, plain, lines = read_written(space, said or {})
    elif said or has_budget:
        path, plain, lines = space.path, deepcopy(space.plain), dict(space.lines)
        put_in(plain, lines, said or {})
    else:
        return space
    if has_budget:
        _check_beside_budget(said or {})
        _set_aside(plain)
    return check_file(path, plain, lines)


def _check_beside_budget(said: Said) -> None:
    """Refuse what a command says beside a budget that follows from the budget.

    Raises:
        SpaceError: It says so.
    """
    for words, override in said.items():
        *_, part, key = ("", *override.partition("=")[0].split("."))
        if key in ("search", "lag") or (part == "search" and key in OF_BUDGET):
            message = "does not go with --budget: strategy and K follow from it; give one of them"
            raise SpaceError(f"{words} {message}")


def _set_aside(plain: Plain) -> None:
    """Take out of a tree what follows from a budget; what is misshapen stays, to be refused."""
    from lagsearch.selection import STRATEGIES

    stages = plain.get("stages")
    for part in (plain, *(stages if isinstance(stages, list) else [stages])):
        search = part.get("search") if isinstance(part, dict) else None
        if isinstance(part, dict) and part is not plain:
            part.pop("lag", None)
        if not isinstance(search, dict):
            continue
        strategy = STRATEGIES.get(str(search.get("strategy")))
        kept = ("strategy",) if strategy is not None and strategy.samples else ()
        for key in {*OF_BUDGET} - {*kept}:
            search.pop(key, None)


def check_file(path: Path, plain: Plain, lines: Lines | None = None) -> SpaceFile:
    """Check a tree against the schema and the rules between keys.

    Args:
        path: The file it was read from.
        plain: The tree.
        lines: The line of each of its keys; nothing where it was made, not read.

    Raises:
        SpaceError: It is not as it must be.
    """
    lines = {(): 1} if lines is None else lines
    if "stages" in plain:
        return _staged(path, plain, lines)
    space = checked(plain, _error(path, plain, lines, {}, None))
    return SpaceFile(
        path, plain, lines, (StageFile(space, path, plain, plain, lines),), space.seeds
    )


def _error(
    path: Path, tree: Plain, lines: Lines, places: Places, number: int | None
) -> Callable[[Key, str], SpaceError]:
    """Return what makes the errors of a stage."""
    prefix = "" if number is None else f"stage {number}: "

    def error(at: Key, message: str) -> SpaceError:
        return located(path, tree, lines, _place(places, at), prefix + message)

    return error


def _staged(path: Path, plain: Plain, lines: Lines) -> SpaceFile:
    """Check a tree as a space with stages."""
    if "trainer" in plain:
        message = "does not go with stages: write a space of one growth for each of them"
        raise _error(path, plain, lines, {}, None)(("trainer",), message)
    _validated(StagesSpace, path, plain, lines, plain, ())
    stages, places = _list(path, plain, lines)
    _check_list(path, plain, lines, stages, places)
    behind = list(accumulate((stage["steps"] for stage in stages), initial=0))
    rows = 0  # sequences that were trained on before
    files: list[StageFile] = []
    for index, stage in enumerate(stages):
        own = _own(plain, stage, index)
        if index > 0:
            before = {"config": {}, "steps": behind[index], "sequences": rows}
            own["sources"] = [{"name": f"stage-{index}", "before": before}]
        if index < len(stages) - 1 and isinstance(own.get("evaluation"), dict):
            own["evaluation"].pop("harness", None)
        _set_schedule(own, _begun(plain), behind[index], behind[-1])
        number = index + 1
        space = checked(own, _error(path, plain, lines, places[index], number))
        files.append(StageFile(space, path, own, plain, lines, number, places[index]))
        training = files[-1].space.training
        rows += training.steps * training.batch_size
    seeds = files[0].space.seeds
    return SpaceFile(path, plain, lines, tuple(map(_one_seed, files)), seeds)


def _validated(model: Any, path: Path, plain: Plain, lines: Lines, part: Any, at: Key) -> Any:
    try:
        return model.model_validate_json(json.dumps(part, default=str))
    except ValidationError as error:
        where, message = explained(error, model)
        raise located(path, plain, lines, (*at, *where), message) from None


def _list(path: Path, plain: Plain, lines: Lines) -> tuple[list[Plain], list[Places]]:
    """Return the stages as a list, and where the keys of each stand."""
    written, at = plain["stages"], ("stages",)
    if isinstance(written, list):
        if not written:
            raise located(path, plain, lines, at, "must list at least 1")
        for index, each in enumerate(written):
            _validated(Stage, path, plain, lines, each, (*at, index))
        stages = [{key: each[key] for key in each if each[key] is not None} for each in written]
        return stages, [stage_places(each, index) for index, each in enumerate(stages)]
    ladder = _validated(Ladder, path, plain, lines, written, at)
    listed = written["candidates"]
    is_list = isinstance(listed, list)
    try:
        stages = spell_out(ladder, listed)
    except LadderError as error:
        raise located(path, plain, lines, (*at, *error.at), str(error)) from None
    n_candidates = len(listed) if is_list else 1
    places = [ladder_places(index, n_candidates, is_list=is_list) for index, _ in enumerate(stages)]
    if "lag" not in written:
        for each in places:
            each.pop(("search", "lag"))
    if "steps" not in written:
        for each in places:
            each["training", "steps"] = ("stages", "allocation")
    return stages, places


def _check_list(
    path: Path, plain: Plain, lines: Lines, stages: list[Plain], places: list[Places]
) -> None:
    """Check what the stages must have beside each other."""
    for index, stage in enumerate(stages):
        for key, message in _broken(stage, index, has_sources=bool(plain.get("sources"))):
            at: Key = _place(places[index], (key,)) if key != "model" else places[index]["sources",]
            raise located(path, plain, lines, at, f"stage {index + 1}: {message}")
        for within, message in _misplaced(stage):
            at = ("stages", index, *within)
            raise located(path, plain, lines, at, f"stage {index + 1}: {message}")
    if not isinstance(plain.get("data"), dict) or "train" not in plain["data"]:
        raise located(path, plain, lines, ("data", "train"), "is required: all stages train on it")
    training = plain.get("training") or {}
    if (plain.get("search") or {}).get("vary_sources"):
        message = "has no effect with stages: under each seed all is trained anew"
        raise located(path, plain, lines, ("search", "vary_sources"), message)
    if (plain.get("search") or {}).get("baselines"):
        message = "has no effect with stages: `lagsearch run --baselines` trains theirs"
        raise located(path, plain, lines, ("search", "baselines"), message)
    if "steps" in training:
        message = "is given by the stages: leave it out here"
        raise located(path, plain, lines, ("training", "steps"), message)


OF_ALL_STAGES = {
    ("training", "steps"): "write the stage's own `steps`",
    ("search", "lag"): "write the stage's own `lag`",
    ("search", "seeds"): "under each seed all stages are gone through: write it in `search`",
    ("search", "vary_sources"): "has no effect with stages: under each seed all is trained anew",
    ("search", "baselines"): "has no effect with stages: `lagsearch run --baselines` trains theirs",
    ("evaluation", "seed"): "all stages have the same validation batches: write it in `evaluation`",
}
"""What a stage cannot change in its `training`, `evaluation` and `search`, and what to do."""


def _misplaced(stage: Plain) -> Iterator[tuple[Key, str]]:
    """Yield what a stage says in a place where it would have no effect."""
    for (part, key), message in OF_ALL_STAGES.items():
        if key in stage.get(part, {}):
            yield (part, key), message


def _broken(stage: Plain, index: int, *, has_sources: bool) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a stage: its key and why."""
    if "model" not in stage:
        if index == 0 and not has_sources:
            message = "is required where there are no sources: what is trained from random weights"
            yield "model", message
        yield from ((key, f"{key} is required") for key in _GROWTH if key not in stage)
        return
    if index > 0:
        yield "model", "belongs to the first stage: later ones grow the winner before them"
    elif has_sources:
        yield "model", "begins with random weights, but there are sources: leave one out"
    if depth_key(stage["model"]) is None:
        yield "model", f"{DEPTH} is required"
    if not isinstance(stage["model"].get("model_type"), str):
        yield "model", "model_type is required, e.g. model_type: llama"
    message = "leave it out: nothing is grown where `model` begins with random weights"
    yield from ((key, message) for key in _GROWTH if key in stage)


def _begun(plain: Plain) -> int:
    """Return the steps of the first source that a schedule over the whole counts."""
    schedule = (plain.get("training") or {}).get("schedule")
    continued = schedule.get("continue", False) if isinstance(schedule, dict) else False
    if not isinstance(continued, bool):
        return int(continued) if isinstance(continued, int) else 0
    sources = plain.get("sources") or [{}]
    first = sources[0] if isinstance(sources, list) and isinstance(sources[0], dict) else {}
    pretrain = first.get("pretrain")
    steps = pretrain.get("steps", 0) if isinstance(pretrain, dict) else 0
    return steps if continued and isinstance(steps, int) else 0


def _own(plain: Plain, stage: Plain, index: int) -> Plain:
    """Return the tree of a stage's own space, without what lies behind it."""
    own = {key: deepcopy(value) for key, value in plain.items() if key != "stages"}
    own["name"] = f"{str(plain['name'])[:90]}-{index + 1}"
    for part in ("training", "evaluation", "search"):
        if stage.get(part) or isinstance(own.get(part), dict):
            own[part] = {**(own.get(part) or {}), **deepcopy(stage.get(part) or {})}
    own["training"] = {**(own.get("training") or {}), "steps": stage["steps"]}
    own["search"] = {**(own.get("search") or {}), "baselines": []}
    if stage.get("lag") is not None:
        own["search"]["lag"] = stage["lag"]
    if "model" in stage:
        model = dict(stage["model"])
        key = depth_key(model) or DEPTH
        own["target"], own["candidates"] = {key: model[key]}, [{"operator": "scratch"}]
        own["sources"] = [{"name": "nothing", "before": {"config": model}}]
        own["search"] = _unsearched(own.get("search") or {}, stage["steps"])
        (own.get("evaluation") or {}).pop("annealed", None)
    else:
        own["target"], own["candidates"] = stage["target"], deepcopy(stage["candidates"])
    return own


def _unsearched(search: Plain, steps: int) -> Plain:
    """Return the search of a stage with one candidate: there is nothing to decide."""
    lag = search.get("lag", steps)
    kept = {"lag": min(lag, steps) if isinstance(lag, int) else steps}
    return kept | {key: search[key] for key in ("seeds", "oracle", "baselines") if key in search}


def _set_schedule(own: Plain, begun: int, behind: int, whole: int) -> None:
    """Make one schedule of all stages where they continue it.

    Args:
        own: The tree of a stage's own space, changed in place.
        begun: Steps of the first source that it counts.
        behind: Steps of the stages before.
        whole: Steps of all stages.
    """
    schedule = own["training"].get("schedule")
    if not isinstance(schedule, dict) or schedule.get("continue", False) is False:
        return
    if schedule.get("name") in FALLING and "total_steps" not in schedule:
        schedule["total_steps"] = begun + whole
    if behind:
        schedule["continue"] = begun + behind
    elif "before" in own["sources"][0]:  # random weights: there is nothing to go on from
        schedule.pop("continue")
        schedule.pop("rewarm_steps", None)


def _one_seed(file: StageFile) -> StageFile:
    """Return a stage under its own seed alone."""
    search = file.space.search.model_copy(update={"seeds": ()})
    return replace(file, space=file.space.model_copy(update={"search": search}))


def _place(places: Places, at: Key) -> Key:
    """Return where the whole file says what a stage's key says."""
    for length in range(len(at), 0, -1):
        if at[:length] in places:
            return places[at[:length]] + at[length:]
    return at
