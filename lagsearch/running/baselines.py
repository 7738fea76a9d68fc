"""Courses: the trainings through all stages that a run compares, each a space with stages.

The adaptive one searches at every stage. Each baseline has one candidate in each of its stages,
and so has a schedule, which repeats a course without search. Baselines are records here, or in a
package with an entry point of `lagsearch.baselines`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lagsearch.errors import LagsearchError, PluginError
from lagsearch.models.configs import rebuild_config, shape_of
from lagsearch.planning.run import Plan, plan_stages
from lagsearch.planning.stage import StagePlan
from lagsearch.planning.vocabulary import Vocabulary
from lagsearch.records.stage_result import ADAPTIVE
from lagsearch.registry import Registry
from lagsearch.space import SpaceFile, chosen_stages, depth_key, with_stages
from lagsearch.storage.files import derive_seed

Plain = dict[str, Any]


@dataclass(frozen=True)
class Course:
    """One training through all stages, under one seed.

    Attributes:
        name: `adaptive`, `last`, ...
        seed: Of the data's order and of random weights.
        folder: Its folder in that of the run.
        file: Its space.
        words: What it does, for the report.
        is_first: Whether it ends in the model that the run is for.
    """

    name: str
    seed: int
    folder: str
    file: SpaceFile
    words: str
    is_first: bool = False


@dataclass(frozen=True)
class BaselineCourse:
    """What the adaptive course is compared with: one row of the table.

    One that stands here, or in a module that is an entry point of `lagsearch.baselines`, is
    registered by that.

    Attributes:
        name: In reports, and of its folder: small letters, digits and hyphens.
        words: What it does, for the report.
        stages: From the plan of the adaptive course to its own stages, as a space lists them.
            Raises `LagsearchError` where there can be none, with the reason.
    """

    name: str
    words: str
    stages: Callable[[Plan], Sequence[Plain]]

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            PluginError: It cannot be a folder's, or is that of the adaptive course.
        """
        if not re.fullmatch("[a-z0-9][a-z0-9-]*", self.name) or self.name == ADAPTIVE:
            known = f"must be small letters, digits and hyphens, and not {ADAPTIVE!r}"
            raise PluginError(f"baseline {self.name!r}: its name {known}")


BASELINES = Registry("baseline", __name__, "lagsearch.baselines", BaselineCourse)


_SEARCH = "LAG in every stage"


def course_folder(name: str, seed: int, first_seed: int) -> str:
    """Return the name of a course's folder."""
    return name if seed == first_seed else f"{name}@{seed}"


def stage_place(file: SpaceFile, course: str, number: int) -> str:
    """Return the folder of a stage, from the run's: that itself where there are no `stages`.

    Args:
        file: The space.
        course: The folder of its course.
        number: The stage's, from 1.
    """
    return f"{course}/stage-{number}" if file.has_stages else ""


def courses_with_search(file: SpaceFile) -> list[Course]:
    """Return the courses that search at every stage.

    With `stages` one for each seed; else one, which trains its candidates under all seeds.
    """
    if not file.has_stages:
        return [Course(ADAPTIVE, file.seed, "", file, _SEARCH, is_first=True)]
    return [
        Course(
            ADAPTIVE,
            seed,
            course_folder(ADAPTIVE, seed, file.seed),
            file.under(seed),
            _SEARCH,
            is_first=seed == file.seeds[0],
        )
        for seed in file.seeds
    ]


def baseline_courses(
    plan: Plan, seed: int, first_seed: int, vocabulary: Vocabulary | None
) -> tuple[list[Course], dict[str, str]]:
    """Return the baselines that there can be, and why there are not the others.

    Args:
        plan: The adaptive course's, under the seed.
        seed: The seed.
        first_seed: The first seed of the run.
        vocabulary: The tokenizer's.
    """
    courses, refused = [], {}
    for each in BASELINES.all():
        try:
            file = with_stages(plan.file, each.stages(plan), each.name)
            plan_stages(file, vocabulary)
        except LagsearchError as error:
            refused[each.name] = str(error).partition(": ")[2] or str(error)
            continue
        folder = course_folder(each.name, seed, first_seed)
        courses.append(Course(each.name, seed, folder, file, each.words))
    return courses, refused


def _same(operator: str) -> Callable[[Plan], list[Plain]]:
    """Return stages that all grow by one operator."""

    def stages(plan: Plan) -> list[Plain]:
        grown = [None if _is_random(each) else {"operator": operator} for each in plan.stages]
        return chosen_stages(plan.file, grown)

    return stages


def _random(plan: Plan) -> list[Plain]:
    """Return stages that grow by a candidate drawn at random."""
    chosen: list[Mapping[str, Any] | None] = []
    for number, stage in enumerate(plan.stages):
        seed = derive_seed(stage.space.seed, "random choice", number)
        drawn = stage.candidates[int(np.random.default_rng(seed).integers(len(stage.candidates)))]
        each = {"operator": drawn.candidate.operator, **drawn.candidate.settings}
        chosen.append(None if _is_random(stage) else each)
    return chosen_stages(plan.file, chosen)


def _merged(depths: Callable[[Sequence[int], int], list[int]]) -> Callable[..., list[Plain]]:
    """Return stages that stack to other depths than the adaptive ones; equal depths are one stage.

    Args:
        depths: From the depths of all stages and that before the first growth to its own.
    """

    def stages(plan: Plan) -> list[Plain]:
        own = chosen_stages(plan.file, [None if _is_random(each) else {} for each in plan.stages])
        reached = [_depth(each.candidates[0].config) for each in plan.stages]
        before = _depth_before(plan)
        merged: list[Plain] = []
        begin, last = 0, before
        _check_alike(own)
        for entry, stage, depth in zip(own, plan.stages, depths(reached, before), strict=True):
            if "model" not in entry:
                entry["target"] = _deeper(stage, depth)
            if depth == last and merged:
                merged[-1]["steps"] += entry["steps"]
                _evaluate_alike(merged[-1], plan, begin)
                continue
            if "model" not in entry:
                entry["candidates"] = [{"operator": "stack"}]
            begin = sum(each["steps"] for each in merged)
            merged.append(entry)
            last = depth
        return merged

    return stages


def _check_alike(stages: Sequence[Plain]) -> None:
    """Check that stages can be one.

    Raises:
        LagsearchError: They are not trained alike.
    """
    if any(each.get("training", {}) != stages[0].get("training", {}) for each in stages):
        raise LagsearchError("it has fewer stages, and these differ in their training")


def _deeper(plan: StagePlan, depth: int) -> Plain:
    """Return a target of another depth.

    Raises:
        LagsearchError: The stage grows in width, too.
    """
    target = plan.space.target
    key = depth_key(target)
    if key is None or len(target) > 1:
        raise LagsearchError(f"the stages grow in {', '.join(target)}, not in depth alone")
    return {key: depth}


def doubled(depths: Sequence[int], before: int) -> list[int]:
    """Return the depths of stacking by doubling: never deeper than the adaptive ones till the end.

    Args:
        depths: The adaptive course's, stage by stage.
        before: The depth before the first growth.
    """
    own: list[int] = []
    now = before
    for depth in depths[:-1]:
        while now * 2 <= depth:
            now *= 2
        if depth > before and not own and now == before:  # a source cannot train on as it is
            now = min(2 * before, depths[-1])
        own.append(now)
    return [*own, depths[-1]]


def at_once(depths: Sequence[int], before: int) -> list[int]:
    """Return the depths of one growth to the end."""
    return [depth if depth == before else depths[-1] for depth in depths]


def _scratch(plan: Plan) -> list[Plain]:
    """Return the one stage of the full depth from random weights."""
    return _one_stage(plan, plan.stages[-1])


def _ungrown(plan: Plan) -> list[Plain]:
    """Return the one stage of the first stage's model, trained all the steps.

    Raises:
        LagsearchError: The first stage grows a source.
    """
    if not _is_random(plan.stages[0]):
        raise LagsearchError("the stages begin with a source, not with random weights")
    return _one_stage(plan, plan.stages[0])


def _one_stage(plan: Plan, shaped: StagePlan) -> list[Plain]:
    """Return one stage of all steps that begins with random weights, of a stage's model."""
    own = chosen_stages(plan.file, [None if _is_random(each) else {} for each in plan.stages])
    _check_alike(own)
    config = shaped.candidates[0].config
    entry = {"model": dict(config), "steps": plan.file.steps}
    if "training" in own[0]:
        entry["training"] = own[0]["training"]
    _evaluate_alike(entry, plan, 0)
    return [entry]


def _evaluate_alike(entry: Plain, plan: Plan, begin: int) -> None:
    """Have a long stage measured where the shorter ones of the adaptive course are.

    Args:
        entry: The stage as a space lists it, changed in place.
        plan: The adaptive course.
        begin: Steps before the long stage.
    """
    measured: set[int] = set()
    behind = 0
    for stage in plan.stages:
        measured |= {behind + step - begin for step in stage.steps}
        behind += stage.space.training.steps
    own = sorted(step for step in measured if 0 <= step <= entry["steps"])
    entry["evaluation"] = {**entry.get("evaluation", {}), "steps": own}


LAST = BaselineCourse(
    "last", "copies the last layers on top in every stage (gradual stacking)", _same("last")
)
MIDDLE = BaselineCourse(
    "middle", "copies the middle layers in place in every stage (MIDAS)", _same("middle")
)
DOUBLING = BaselineCourse(
    "doubling", "doubles the whole stack, in fewer stages (StackBERT)", _merged(doubled)
)
ONE_HOP = BaselineCourse("one-hop", "stacks once to the full depth (G_stack)", _merged(at_once))
RANDOM = BaselineCourse("random", "a random candidate in every stage", _random)
SCRATCH = BaselineCourse("scratch", "the full depth, trained from scratch", _scratch)
CONTINUE = BaselineCourse(
    "continue", "the first stage's model, trained on without growing", _ungrown
)


def _is_random(plan: StagePlan) -> bool:
    before = plan.space.sources[0].before
    return before is not None and before.steps == 0


def _depth(config: Mapping[str, Any]) -> int:
    return shape_of(rebuild_config(config)).n_layers


def _depth_before(plan: Plan) -> int:
    return shape_of(plan.stages[0].sources[0].config).n_layers
