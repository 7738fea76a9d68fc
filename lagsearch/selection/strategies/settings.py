"""What a strategy is given beside the losses, and what it may answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lagsearch.selection.transition import LEFT, MARGIN, THRESHOLD

Reason = Literal["lag", "stable", "bound", "alone"]
"""Why a search chose when it did: it came to K; the ranking was stable; it came to the upper bound
of K; one candidate was left."""


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search.

    Attributes:
        rungs: Steps at which it may choose or stop candidates, ascending; the last one is the
            latest.
        completion: Steps of the whole training.
        strategy: Its name.
        signal: What candidates are judged by, by its name.
        first: The first rung at which it may choose; None chooses at the last one alone.
        cut: The rung at which finalists are chosen; None where there are none.
        keep: How many candidates are finalists.
        evidence: What candidates are stopped on, by its name; None stops none.
        since: `forecast` stops none before this step.
        threshold: See `phase_transition`, as the next two.
        margin: How many times as many steps as up to the transition.
        left: Correlation with the first ranking below which that one has been left.
        level: `batches`: probability of stopping any candidate that is as good as the leader.
        doubt: `forecast`: probability of stopping one that will end as well as the leader.
        own: What the strategy was given as `search.settings`.
        prior: Where candidates like these ended in other runs, from 0, best, to 1, worst: ties at
            the choice are broken by it. Those that are not named are not known.
    """

    rungs: tuple[int, ...]
    completion: int
    strategy: str = "lag"
    signal: str = "loss"
    first: int | None = None
    cut: int | None = None
    keep: Literal["half", "third", "quarter"] | int = "half"
    evidence: str | None = None
    since: int = 20
    threshold: float = THRESHOLD
    margin: float = MARGIN
    left: float = LEFT
    level: float = 0.05
    doubt: float = 0.2
    own: Mapping[str, Any] = field(default_factory=dict)
    prior: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What to train next.

    Attributes:
        step: The step to reach.
        candidates: Who is to reach it.
        stopped: Those that are stopped so far.
    """

    step: int
    candidates: tuple[str, ...]
    stopped: Mapping[str, "Stop"] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    """Why a candidate was stopped.

    Attributes:
        step: Where.
        leader: Who was better.
        difference: By how much, in nats per predicted token: of the signal there, or of the
            forecast at completion.
        p_value: Of that difference, two-sided, before the correction for the number of tests.
    """

    step: int
    leader: str
    difference: float
    p_value: float


@dataclass(frozen=True)
class Choice:
    """What a search came to.

    Attributes:
        step: K: where it chose.
        ranking: Candidates from best to worst; stopped ones come last, the latest first.
        stopped: Those that were stopped.
        stable_since: The phase transition; None where there was none.
        reason: Why it chose there.
        preferred_to: Who led, where a prior broke a tie in another's favour.
    """

    step: int
    ranking: tuple[str, ...]
    stopped: Mapping[str, Stop] = field(default_factory=dict)
    stable_since: int | None = None
    reason: Reason = "lag"
    preferred_to: str | None = None
