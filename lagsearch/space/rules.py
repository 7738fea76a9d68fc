"""Rules between keys that the schema cannot say: each broken one has a path and a message."""

from collections.abc import Iterator

from lagsearch.space.asked import repeated_task
from lagsearch.space.schema import Corpus, Objective, Schedule, Space, Validation

Place = tuple[str | int, ...]
Broken = tuple[Place, str]


def broken_rules(space: Space) -> Iterator[Broken]:
    """Yield every rule between keys that the space breaks, in the order of the file."""
    yield from _corpus(("data", "train"), space.data.train)
    yield from _corpus(("data", "validation"), space.data.validation)
    yield from _sources(space)
    yield from _candidates(space)
    yield from _steps(space)
    yield from _without_effect(space)
    yield from _resources(space)
    yield from _harness(space)


def _corpus(at: tuple[str | int, ...], corpus: Corpus) -> Iterator[Broken]:
    ways = ["corpus", "files", "hub"]
    if isinstance(corpus, Validation):
        ways.append("fraction")
    given = [way for way in ways if getattr(corpus, way) is not None]
    if len(given) != 1:
        yield at, f"give exactly one of {', '.join(ways)}"
    if corpus.hub is None:
        for key in ("config", "split", "column"):
            if key in corpus.model_fields_set and corpus.model_dump()[key] != _default(key):
                yield (*at, key), "belongs to a hub dataset; there is no `hub` here"


def _default(key: str) -> object:
    return Corpus.model_fields[key].default


def _sources(space: Space) -> Iterator[Broken]:
    seen: set[str] = set()
    for index, source in enumerate(space.sources):
        at = ("sources", index)
        if (source.checkpoint is None) == (source.pretrain is None):
            yield at, "give exactly one of checkpoint, pretrain"
        if source.pretrain is not None:
            model_type = source.pretrain.config.get("model_type")
            if not isinstance(model_type, str) or not model_type:
                yield (*at, "pretrain", "config"), "model_type is required, e.g. model_type: llama"
            number, parts = source.pretrain.place_in_text
            if number > parts:
                yield (*at, "pretrain", "part"), f"there are only {parts} parts"
        if source.name in seen:
            yield (*at, "name"), "is the name of another source too"
        seen.add(source.name)


def _candidates(space: Space) -> Iterator[Broken]:
    for index, entry in enumerate(space.candidates):
        is_short = "operator" not in entry and {"width", "depth"} <= set(entry)
        if not is_short and not isinstance(entry.get("operator"), str):
            message = (
                "operator is required, e.g. {operator: lag, index: [0, 1]}, or both width and "
                "depth, e.g. {width: zero, depth: stack}"
            )
            yield ("candidates", index), message
        for key, value in entry.items():
            if value == []:
                yield ("candidates", index, key), "is an empty list: it would give no candidate"


def _steps(space: Space) -> Iterator[Broken]:
    training, lag = space.training, space.search.lag
    if lag is not None and lag > training.steps:
        yield ("search", "lag"), f"is beyond completion, training.steps {training.steps}"
    yield from _schedule(space)
    for index, step in enumerate(space.evaluation.steps or ()):
        if step > training.steps:
            yield (
                ("evaluation", "steps", index),
                f"is beyond completion, training.steps {training.steps}",
            )


def _schedule(space: Space) -> Iterator[Broken]:
    """Find steps of the schedule that do not fit those of the training."""
    schedule, steps = space.training.schedule, space.training.steps
    at: Place = ("training", "schedule")
    behind = 0
    if schedule.continued is not False:
        yield from _continuing(space, (*at, "continue"))
        pretrained = [each.pretrain.steps for each in space.sources if each.pretrain is not None]
        behind = pretrained[0] if pretrained else int(schedule.continued)
    if schedule.warmup_steps > behind + steps:
        yield (*at, "warmup_steps"), f"is beyond completion, training.steps {steps}"
    if schedule.total_steps is not None and schedule.total_steps < behind + steps:
        yield (*at, "total_steps"), f"is less than the {behind + steps} steps that are trained"
    for index, source in enumerate(space.sources):
        own = source.pretrain.schedule if source.pretrain is not None else None
        if own is None:
            continue
        place: Place = ("sources", index, "pretrain", "schedule")
        if own.continued is not False:
            message = "belongs to training.schedule: a source has nothing to go on from"
            yield (*place, "continue"), message
        elif schedule.continued is not False:
            yield place, "is that of training, where that one continues: leave it out"


def _continuing(space: Space, at: Place) -> Iterator[Broken]:
    """Find why a schedule cannot go on where the sources' stopped."""
    continued = space.training.schedule.continued
    pretrained = [each.pretrain.steps for each in space.sources if each.pretrain is not None]
    if continued is True and len(pretrained) < len(space.sources):
        yield at, "needs the checkpoint's steps: write their number, not true"
    if continued is not True and (pretrained or continued < 0):
        yield at, "must be true or false where sources are pretrained"
    if len({*pretrained}) > 1:
        yield at, "needs sources that are trained equally long"


def _resources(space: Space) -> Iterator[Broken]:
    share = space.resources.gpus_per_candidate
    if share != "auto" and share > 1 and share != int(share):
        at = ("resources", "gpus_per_candidate")
        yield at, "is more than one GPU, and must then be a whole number"


def _harness(space: Space) -> Iterator[Broken]:
    harness, at = space.evaluation.harness, ("evaluation", "harness")
    if harness is None:
        return
    if space.objective.name == "masked":
        message = "asks what comes next, which a model of the objective masked does not predict"
        yield at, message
    for index, name in enumerate(harness.tasks):
        if (twin := repeated_task(harness.tasks[:index], name)) is not None:
            yield (*at, "tasks", index), f"is asked for by {twin} already: list it once"


def _without_effect(space: Space) -> Iterator[Broken]:
    """Find settings that the chosen objective or schedule would ignore."""
    schedules: list[tuple[Place, Schedule]] = [(("training", "schedule"), space.training.schedule)]
    for index, source in enumerate(space.sources):
        if source.pretrain is not None and source.pretrain.schedule is not None:
            place = ("sources", index, "pretrain", "schedule")
            schedules.append((place, source.pretrain.schedule))
    falling = {"linear", "cosine", "wsd"}
    used_by = {"final_fraction": falling, "total_steps": falling, "decay_steps": {"wsd"}}
    for at, schedule in schedules:
        for key, names in used_by.items():
            is_left_alone = getattr(schedule, key) == getattr(Schedule(), key)
            if schedule.name not in names and not is_left_alone:
                yield (*at, key), f"has no effect with the schedule {schedule.name}"
    objective = space.objective
    if objective.name != "masked" and objective.mask_fraction != Objective().mask_fraction:
        yield ("objective", "mask_fraction"), f"has no effect with the objective {objective.name}"
