"""Rules between keys that the schema cannot say: each broken one has a path and a message."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from lagsearch.errors import PluginError
from lagsearch.registry import Registry
from lagsearch.space.schema import (
    Corpus,
    NewParameters,
    Optimizer,
    Placement,
    Schedule,
    Search,
    Space,
    TextOrigin,
    Validation,
)
from lagsearch.space.tasks import repeated_task
from lagsearch.space.trainers import trainer_rules

if TYPE_CHECKING:
    from lagsearch.selection import Strategy

Place = tuple[str | int, ...]
Broken = tuple[Place, str]
Named = Schedule | Optimizer

_MEASURED = {"ema": "0.98", "annealed": "{fraction: 0.25}"}
"""Examples of what is measured beside the loss, by its key of `evaluation`."""

_WHOLE = {
    "muon": "makes whole matrices orthogonal",
    "adafactor": "keeps means over whole rows and columns",
}
"""Why an optimizer needs whole matrices, by its name."""

_SMALLEST_SHARE = 0.001  # one row in a block of a mixture's rows


def broken_rules(space: Space) -> Iterator[Broken]:
    """Yield every rule between keys that the space breaks, in the order of the file."""
    yield from _training_text(space)
    yield from _corpus(("data", "validation"), space.data.validation)
    yield from _sources(space)
    yield from _candidates(space)
    yield from _steps(space)
    yield from _without_effect(space)
    yield from _search(space)
    yield from _baselines(space)
    yield from _seeds(space)
    yield from _resources(space)
    yield from _harness(space)
    yield from trainer_rules(space)


def _training_text(space: Space) -> Iterator[Broken]:
    if space.data.train is not None:
        yield from _corpus(("data", "train"), space.data.train)
    for index, source in enumerate(space.sources):
        if source.pretrain is not None and source.pretrain.corpus is not None:
            yield from _corpus(("sources", index, "pretrain", "corpus"), source.pretrain.corpus)
        elif space.data.train is None:
            message = f"is required: source {source.name} has no pretrain.corpus of its own"
            yield ("data", "train"), message


def _corpus(at: Place, corpus: TextOrigin) -> Iterator[Broken]:
    ways = ["corpus", "files", "hub"]
    if isinstance(corpus, Corpus):
        ways.append("mixture")
    if isinstance(corpus, Validation):
        ways.append("fraction")
    given = [way for way in ways if getattr(corpus, way) is not None]
    if len(given) != 1:
        yield at, f"give exactly one of {', '.join(ways)}"
    yield from _without_origin(at, corpus)
    if isinstance(corpus, Corpus):
        yield from _mixture((*at, "mixture"), corpus)


def _without_origin(at: Place, corpus: TextOrigin) -> Iterator[Broken]:
    """Find keys that belong to another origin of the text than the one that is given."""
    of_hub = {key: ["hub"] for key in ("config", "split", "revision", "streaming")}
    for key, origins in {**of_hub, "column": ["hub", "files"], "documents": ["files"]}.items():
        is_left_alone = getattr(corpus, key) == TextOrigin.model_fields[key].default
        if not is_left_alone and all(getattr(corpus, each) is None for each in origins):
            kind = " or ".join({"hub": "a hub dataset", "files": "files"}[each] for each in origins)
            yield (*at, key), f"belongs to {kind}; there is no `{'` or `'.join(origins)}` here"


def _mixture(at: Place, corpus: Corpus) -> Iterator[Broken]:
    ingredients = corpus.mixture or ()
    whole = sum(each.weight for each in ingredients)
    for index, each in enumerate(ingredients):
        yield from _corpus((*at, index), each)
        if each.weight / whole < _SMALLEST_SHARE:
            message = f"is less than a thousandth of all weights, {whole:g}: leave the text out"
            yield (*at, index, "weight"), message


def _sources(space: Space) -> Iterator[Broken]:
    seen: set[str] = set()
    for index, source in enumerate(space.sources):
        at = ("sources", index)
        if sum(way is not None for way in (source.checkpoint, source.pretrain, source.before)) != 1:
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
    training = space.training
    if space.latest_lag > training.steps:
        key = "max_lag" if space.search.lag == "auto" else "lag"
        yield ("search", key), f"is beyond the final step, training.steps {training.steps}"
    yield from _schedule(space)
    yield from _new_parameters(space)
    sizes = [each.pretrain.batch_size for each in space.sources if each.pretrain is not None]
    smallest = min([training.batch_size, *(size for size in sizes if size is not None)])
    if training.gradient_accumulation > smallest:
        at = ("training", "gradient_accumulation")
        yield at, f"is more than the {smallest} sequences of a step"
    annealed = space.evaluation.annealed
    listed: list[tuple[Place, tuple[int, ...]]] = [
        (("evaluation", "steps"), space.evaluation.steps or ()),
        (("evaluation", "annealed", "at"), (annealed.at if annealed else None) or ()),
    ]
    for where, steps in listed:
        for index, step in enumerate(steps):
            if step > training.steps:
                yield (*where, index), f"is beyond the final step, training.steps {training.steps}"


def _new_parameters(space: Space) -> Iterator[Broken]:
    """Find settings of new parameters that say nothing, or more than there is."""
    new, steps = space.training.new_parameters, space.training.steps
    at: Place = ("training", "new_parameters")
    if new is None:
        return
    if new == NewParameters():
        yield at, "changes nothing: give lr_scale, rewarm_steps or freeze_source_steps"
    for key in ("rewarm_steps", "freeze_source_steps"):
        if getattr(new, key) > steps:
            yield (*at, key), f"is beyond the final step, training.steps {steps}"


def _schedule(space: Space) -> Iterator[Broken]:
    """Find steps of the schedule that do not fit those of the training."""
    schedule, steps = space.training.schedule, space.training.steps
    at: Place = ("training", "schedule")
    behind = 0
    if schedule.continued is not False:
        yield from _continuing(space, (*at, "continue"))
        pretrained = [each.pretrain.steps for each in space.sources if each.pretrain is not None]
        behind = pretrained[0] if pretrained else int(schedule.continued)
    elif schedule.rewarm_steps:
        yield (
            (*at, "rewarm_steps"),
            "has no effect without continue; is warmup_steps meant?",
        )
    if schedule.rewarm_steps > steps:
        yield (*at, "rewarm_steps"), f"is beyond the final step, training.steps {steps}"
    if schedule.warmup_steps > (schedule.total_steps or behind + steps):
        yield (*at, "warmup_steps"), f"is beyond the final step, training.steps {steps}"
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


def _search(space: Space) -> Iterator[Broken]:
    from lagsearch.selection import EVIDENCE, SIGNALS, STRATEGIES, find_strategy

    search = space.search
    tables: dict[str, Registry[Any]] = {
        "strategy": STRATEGIES,
        "evidence": EVIDENCE,
        "signal": SIGNALS,
    }
    unknown = [key for key, table in tables.items() if table.get(getattr(search, key)) is None]
    for key in unknown:
        yield ("search", key), tables[key].unknown(getattr(search, key))
    if unknown:
        return
    if search.lag == "auto" and find_strategy(search.strategy).needs_lag:
        message = f"must be a number with strategy {search.strategy}: losses are compared at K"
        yield ("search", "lag"), message
    if search.cut is not None and search.cut >= space.latest_lag:
        yield ("search", "cut"), f"must be less than K, {space.latest_lag}"
    if search.lag == "auto" and search.min_lag > space.latest_lag:
        yield ("search", "min_lag"), f"is beyond the largest K, {space.latest_lag}"
    strategy = find_strategy(search.strategy)
    for key, message in strategy.check(search.settings or {}):
        yield ("search", "settings", key), message
    yield from _not_heeded(search, strategy)
    yield from _signal(space)
    if strategy.samples:
        yield from _sampling(space)


def _not_heeded(search: Search, strategy: "Strategy") -> Iterator[Broken]:
    """Find settings that the chosen strategy would ignore."""
    from lagsearch.selection import EVIDENCE, STRATEGIES, find_evidence

    is_auto, evidence = search.lag == "auto", find_evidence(search.evidence)
    races = "evidence" in strategy.heeds
    by_key = {key: _heeding(EVIDENCE, key) for key in ("min_lag", "stability")}
    unused = {
        "max_lag": (not is_auto, "lag is auto"),
        "min_lag": (
            not is_auto and "min_lag" not in evidence.heeds,
            f"lag is auto or evidence is {by_key['min_lag']}",
        ),
        "stability": (
            not is_auto and not (races and "stability" in evidence.heeds),
            f"lag is auto, or strategy is race and evidence is {by_key['stability']}",
        ),
    }
    for key in sorted({key for each in STRATEGIES.all() for key in each.heeds}):
        if key not in type(search).model_fields:
            names = _heeding(STRATEGIES, key)
            raise PluginError(f"strategy {names} heeds search.{key}, and there is no such key")
        unused[key] = (key not in strategy.heeds, f"strategy is {_heeding(STRATEGIES, key)}")
    for key, (is_unused, otherwise) in unused.items():
        if is_unused and getattr(search, key) != type(search).model_fields[key].default:
            yield ("search", key), f"has no effect unless {otherwise}"


def _heeding(table: Registry[Any], key: str) -> str:
    return " or ".join(each.name for each in table.all() if key in each.heeds)


def _signal(space: Space) -> Iterator[Broken]:
    from lagsearch.selection import find_signal, find_strategy

    found, at, lag = find_signal(space.search.signal), ("search", "signal"), space.latest_lag
    strategy = find_strategy(space.search.strategy)
    if strategy.is_by_loss and found.name != "loss":
        yield at, f"must be loss with strategy {strategy.name}: it goes by the losses alone"
    if found.needs is None:
        return
    annealed = space.evaluation.annealed
    if getattr(space.evaluation, found.needs) is None:
        yield at, f"{found.name} needs evaluation.{found.needs}, e.g. {_MEASURED[found.needs]}"
    elif found.needs == "annealed" and annealed and annealed.at is not None:
        for step, what in {space.cut: "the cut", lag: "K"}.items():
            if step not in annealed.at:
                message = f"lacks {what}, {step}, where candidates are judged by it"
                yield ("evaluation", "annealed", "at"), message


def _baselines(space: Space) -> Iterator[Broken]:
    for index, each in enumerate(space.search.baselines):
        at: Place = ("search", "baselines", index)
        entry = {"operator": each} if isinstance(each, str) else each
        if not isinstance(entry.get("operator"), str):
            yield at, "operator is required, e.g. {operator: continue, steps: matched}"
        for key, value in entry.items():
            if value == []:
                yield (*at, key), "is an empty list: it would give no baseline"


def _sampling(space: Space) -> Iterator[Broken]:
    search, harness = space.search, space.evaluation.harness
    name = search.strategy
    if search.candidates is None:
        message = f"is required with strategy {name}: how many to try, e.g. 40"
        yield ("search", "candidates"), message
    if search.keep_checkpoints is not None and search.oracle:
        message = f"cannot be with strategy {name} and an oracle: each is trained on at once"
        yield ("search", "keep_checkpoints"), message
    if harness is not None and harness.candidates:
        at: Place = ("evaluation", "harness", "candidates")
        yield at, f"cannot be named before they are sampled, with search.strategy {name}"


def _seeds(space: Space) -> Iterator[Broken]:
    seeds = space.search.seeds
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            yield ("search", "seeds", index), "is listed twice"
    if seeds and seeds[0] != space.seed:
        yield ("search", "seeds"), f"must begin with the space's seed, {space.seed}"
    if space.search.vary_sources:
        at: Place = ("search", "vary_sources")
        if len(space.seeds) < 2:
            yield at, "has no effect with one seed: give several in search.seeds"
        if all(source.pretrain is None for source in space.sources):
            yield at, "has no effect: no source is trained here"


def _resources(space: Space) -> Iterator[Broken]:
    share = space.resources.gpus_per_candidate
    if share != "auto" and share > 1 and share != int(share):
        at = ("resources", "gpus_per_candidate")
        yield at, "is more than one GPU, and must then be a whole number"
    yield from _devices(space)


def _devices(space: Space) -> Iterator[Broken]:
    """Find what several devices that train one model cannot do."""
    wanted, training = space.resources, space.training
    own = wanted.devices_per_candidate or 1
    places: dict[Place, Placement] = {("resources", "devices_per_candidate"): wanted.of_candidates}
    for key, placement in (("winner", wanted.winner), ("sources", wanted.sources)):
        if placement is not None:
            of = wanted.of_winner if key == "winner" else wanted.of_sources
            places["resources", key, "devices"] = of
            if placement.parallel and placement.devices == 1:
                yield ("resources", key, "parallel"), "has no effect with one device"
    if wanted.parallel is not None and own == 1:
        yield ("resources", "parallel"), "has no effect with one device: see devices_per_candidate"
    several = {at: each for at, each in places.items() if each.devices > 1}
    if several and space.trainer is not None:
        message = "belongs to lagsearch's own loop: a trainer of your own starts its own processes"
        yield next(iter(several)), message
        return
    if several and wanted.gpus_per_candidate not in ("auto", 0, 1):
        at: Place = ("resources", "gpus_per_candidate")
        yield at, "is 1 for each of several devices, or 0 for CPUs: leave it out"
    sizes = [each.pretrain.batch_size for each in space.sources if each.pretrain is not None]
    for at, each in several.items():
        mine = sizes if "sources" in at else []
        rows = min([training.batch_size, *(size for size in mine if size is not None)])
        if each.devices * training.gradient_accumulation > rows:
            message = f"leaves devices without a sequence: a step has {rows}"
            passes = training.gradient_accumulation
            yield at, message + (f", in {passes} passes" if passes > 1 else "")
    yield from _sharded(space, any(each.parallel == "fsdp" for each in several.values()))


def _sharded(space: Space, is_sharded: bool) -> Iterator[Broken]:
    """Find what needs the whole of a weight, where each device has a part."""
    if not is_sharded:
        return
    name = space.training.optimizer.name
    if name in _WHOLE:
        at: Place = ("training", "optimizer", "name")
        yield at, f"{name} {_WHOLE[name]}, and with parallel fsdp each device has a part: take ddp"
    if space.training.compile:
        yield ("training", "compile"), "is not to be had with parallel fsdp: take ddp"


def _harness(space: Space) -> Iterator[Broken]:
    harness, at = space.evaluation.harness, ("evaluation", "harness")
    if harness is None:
        return
    for index, name in enumerate(harness.tasks):
        if (twin := repeated_task(harness.tasks[:index], name)) is not None:
            yield (*at, "tasks", index), f"is asked for by {twin} already: list it once"


def _without_effect(space: Space) -> Iterator[Broken]:
    """Find settings that the chosen schedule or optimizer would ignore."""
    known = get_args(Schedule.model_fields["name"].annotation)
    falling = {name for name in known if Schedule(name=name).falls}
    adam = {"adamw", "adam", "muon"}
    of_schedules = {"final_fraction": falling, "total_steps": falling, "decay_steps": {"wsd"}}
    of_optimizers = {"betas": {*adam, "lion"}, "eps": adam, "momentum": {"sgd", "muon"}}
    of_optimizers["lr_tuned_for"] = {"adamw", "adam", "lion"}
    chosen: list[tuple[Place, Named, dict[str, set[str]]]] = [
        (("training", "schedule"), space.training.schedule, of_schedules),
        (("training", "optimizer"), space.training.optimizer, of_optimizers),
    ]
    for index, source in enumerate(space.sources):
        at: Place = ("sources", index, "pretrain")
        if (pretrain := source.pretrain) is None:
            continue
        if pretrain.schedule is not None:
            chosen.append(((*at, "schedule"), pretrain.schedule, of_schedules))
        if pretrain.optimizer is not None:
            chosen.append(((*at, "optimizer"), pretrain.optimizer, of_optimizers))
            if pretrain.optimizer.lr_tuned_for is not None:
                yield (
                    (*at, "optimizer", "lr_tuned_for"),
                    "has no effect on a source: it is for wider models that grow from it",
                )
    is_later = any(source.before is not None for source in space.sources)
    if is_later and space.training.optimizer.lr_tuned_for is not None:
        at = ("training", "optimizer", "lr_tuned_for")
        yield at, "is for one growth: a later stage's source is not the one that lr was tuned for"
    for at, part, used_by in chosen:
        for key, names in used_by.items():
            is_left_alone = getattr(part, key) == type(part).model_fields[key].default
            if part.name not in names and not is_left_alone:
                yield (*at, key), f"has no effect with the {at[-1]} {part.name}"
