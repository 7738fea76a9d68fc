"""What `stages:` may say, and the shorthand spelt out: depths, steps and candidates of each."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from lagsearch.space.schema import Name, PositiveInt, StrictModel
from lagsearch.space.yaml_tree import Key

DEPTH = "num_hidden_layers"
_DEPTHS = (DEPTH, "n_layer", "n_layers", "num_layers")

STRIDES = {"every": 1, "even": 2}
"""Words for the `index` of a stage's candidates: of all that there are, every so manyth."""

Lag = PositiveInt | Literal["auto"]
Plain = dict[str, Any]


class Stage(StrictModel):
    """One growth and the training after it. The first may begin with random weights."""

    model: Plain | None = None
    """First stage only, where there are no `sources`: the transformers configuration of a model
    that is trained from random weights. Nothing is grown then."""
    target: Annotated[Plain, Field(min_length=1)] | None = None
    """The configuration keys that differ from the stage's before, or from the first source's."""
    candidates: Annotated[tuple[Plain, ...], Field(min_length=1)] | None = None
    """As in a space without stages; `index: every` or `even` means all that there are, or every
    second one."""
    steps: PositiveInt
    """Training steps of the stage."""
    lag: Lag | None = None
    """K of this stage, in place of `search.lag`."""
    training: Plain = Field(default_factory=dict)
    """Keys of `training` that are others in this stage."""
    evaluation: Plain = Field(default_factory=dict)
    """Keys of `evaluation` that are others in this stage."""
    search: Plain = Field(default_factory=dict)
    """Keys of `search` that are others in this stage."""


class Ladder(StrictModel):
    """Stages of equal growth, written short."""

    model: Plain | None = None
    """The first stage's, as in the list; its depth is `from`."""
    begin: Annotated[PositiveInt, Field(alias="from")]
    """Layers before the first growth: of `model`, or of the source."""
    to: PositiveInt
    """Layers at the end."""
    count: PositiveInt
    """Stages, one that begins with random weights included."""
    steps: PositiveInt | None = None
    """Training steps of all stages together; may be left out where `allocation` lists them."""
    allocation: Literal["uniform"] | str | tuple[PositiveInt, ...] = "uniform"
    """How the steps are divided: `uniform`; `proportional(alpha)`, the i-th stage has a share of
    i^alpha; or the steps of each. What rounding leaves over goes to the last one."""
    candidates: Plain | tuple[Plain, ...]
    """Of every growth; as in the list."""
    lag: Lag | None = None
    """K of every stage, in place of `search.lag`."""


class StagesSpace(StrictModel):
    """A space with stages: what each stage makes of the rest is checked stage by stage."""

    name: Name
    """Names the run folder."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The root of every random number."""
    data: Any
    """Text and tokens, of all stages."""
    objective: Any = None
    """What is predicted."""
    sources: Any = None
    """The trained smaller models, where the first stage does not begin with random weights."""
    stages: Any
    """A list of stages, or their shorthand."""
    training: Plain | None = None
    """The training of every stage; its steps are those of the stages."""
    evaluation: Plain | None = None
    """The measurement in every stage."""
    search: Plain | None = None
    """The search in every stage; under each of its `seeds` all stages are gone through anew."""
    resources: Any = None
    """The resources of one candidate."""


Places = dict[Key, Key]
"""From a key of a stage's own space to where the file says it; the longest that fits counts."""


def depth_key(config: Plain) -> str | None:
    """Return the name by which a configuration gives its depth, or None where it does not."""
    return next((key for key in _DEPTHS if key in config), None)


class LadderError(ValueError):
    """A shorthand that cannot be spelt out.

    Args:
        at: The key that is wrong, below `stages`.
        message: Why.
    """

    def __init__(self, at: Key, message: str) -> None:
        super().__init__(message)
        self.at = at


def spell_out(ladder: Ladder, listed: Any) -> list[Plain]:
    """Return the list of stages that a shorthand means, as plain values.

    Args:
        ladder: The shorthand, checked.
        listed: Its `candidates` as written.

    Raises:
        LadderError: Depths or steps cannot be divided so.
    """
    depths, steps = _depths(ladder), _steps(ladder)
    candidates = listed if isinstance(listed, list) else [listed]
    stages: list[Plain] = []
    for number, (depth, own) in enumerate(zip(depths, steps, strict=True)):
        if number == 0 and ladder.model is not None:
            stages.append(
                {"model": {**ladder.model, depth_key(ladder.model) or DEPTH: depth}, "steps": own}
            )
            continue
        stage: Plain = {"target": {DEPTH: depth}, "candidates": candidates, "steps": own}
        stages.append(stage | ({} if ladder.lag is None else {"lag": ladder.lag}))
    return stages


def ladder_places(number: int, n_candidates: int, *, is_list: bool) -> Places:
    """Return where the keys of a stage's space stand in the shorthand."""
    at: Key = ("stages",)
    places: Places = {
        ("target",): (*at, "to"),
        ("training", "steps"): (*at, "steps"),
        ("sources",): (*at, "model") if number == 0 else at,
        ("search", "lag"): (*at, "lag"),
    }
    for index in range(n_candidates):
        listed: Key = (*at, "candidates")
        places[("candidates", index)] = (*listed, index) if is_list else listed
    return places


def stage_places(stage: Plain, number: int) -> Places:
    """Return where the keys of a stage's space stand in its entry of the list."""
    at: Key = ("stages", number)
    places: Places = {
        ("target",): (*at, "target"),
        ("candidates",): (*at, "candidates"),
        ("training", "steps"): (*at, "steps"),
        ("sources",): (*at, "model") if number == 0 else at,
    }
    if "lag" in stage:
        places[("search", "lag")] = (*at, "lag")
    for part in ("training", "evaluation", "search"):
        for key in stage.get(part, {}):
            places[(part, key)] = (*at, part, key)
    return places


def _depths(ladder: Ladder) -> list[int]:
    growths = ladder.count - (ladder.model is not None)
    if growths < 1:
        message = "leaves no stage to grow in: the first one begins with random weights"
        raise LadderError(("count",), message)
    if ladder.to <= ladder.begin:
        raise LadderError(("to",), f"is not above the {ladder.begin} layers that it begins with")
    if ladder.to - ladder.begin < growths:
        message = f"is more than there are layers to add, {ladder.to - ladder.begin}"
        raise LadderError(("count",), message)
    key = depth_key(ladder.model or {})
    if key is not None and ladder.model and ladder.model[key] != ladder.begin:
        raise LadderError(("model", key), f"is not `from`, {ladder.begin}: leave it out")
    added = ladder.to - ladder.begin
    grown = [ladder.begin + added * place // growths for place in range(1, growths + 1)]
    return grown if ladder.model is None else [ladder.begin, *grown]


def _steps(ladder: Ladder) -> list[int]:
    how, whole, count = ladder.allocation, ladder.steps, ladder.count
    if isinstance(how, tuple):
        if len(how) != count:
            raise LadderError(("allocation",), f"lists {len(how)} numbers for {count} stages")
        if whole not in (None, sum(how)):
            raise LadderError(("steps",), f"is not the sum of the allocation, {sum(how)}")
        return list(how)
    if whole is None:
        raise LadderError(("steps",), "is required, or list the steps of each in allocation")
    alpha = 0.0
    if how != "uniform":
        found = re.fullmatch(r"proportional\(([0-9]+(?:\.[0-9]+)?)\)", how.replace(" ", ""))
        if found is None:
            message = "must be uniform, proportional(alpha), e.g. proportional(1), or a list"
            raise LadderError(("allocation",), message)
        alpha = float(found[1])
    shares = [number**alpha for number in range(1, count + 1)]
    steps = [int(whole * share / sum(shares) + 1e-9) for share in shares]
    if min(steps) < 1:
        raise LadderError(("steps",), f"are too few for {count} stages")
    return [*steps[:-1], whole - sum(steps[:-1])]
