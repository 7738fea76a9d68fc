"""Rules between keys that the schema cannot say: each broken one has a path and a message."""

from collections.abc import Iterator

from lagsearch.space.schema import Corpus, Space, Validation

Broken = tuple[tuple[str | int, ...], str]


def broken_rules(space: Space) -> Iterator[Broken]:
    """Yield every rule between keys that the space breaks, in the order of the file."""
    yield from _corpus(("data", "train"), space.data.train)
    yield from _corpus(("data", "validation"), space.data.validation)
    yield from _sources(space)
    yield from _candidates(space)
    yield from _steps(space)


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
        if source.pretrain is not None and not source.pretrain.config.get("model_type"):
            yield (*at, "pretrain", "config"), "model_type is required, e.g. model_type: llama"
        if source.name in seen:
            yield (*at, "name"), "is the name of another source too"
        seen.add(source.name)


def _candidates(space: Space) -> Iterator[Broken]:
    for index, entry in enumerate(space.candidates):
        if not isinstance(entry.get("operator"), str):
            yield ("candidates", index), "operator is required, e.g. {operator: lag, index: [0, 1]}"
        for key, value in entry.items():
            if value == []:
                yield ("candidates", index, key), "is an empty list: it would give no candidate"


def _steps(space: Space) -> Iterator[Broken]:
    training, lag = space.training, space.search.lag
    if lag is not None and lag > training.steps:
        yield ("search", "lag"), f"is beyond completion, training.steps {training.steps}"
    if training.schedule.warmup_steps > training.steps:
        at = ("training", "schedule", "warmup_steps")
        yield at, f"is beyond completion, training.steps {training.steps}"
    for index, step in enumerate(space.evaluation.steps or ()):
        if step > training.steps:
            yield (
                ("evaluation", "steps", index),
                f"is beyond completion, training.steps {training.steps}",
            )
