"""The strategies that there are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lagsearch.errors import LagsearchError
from lagsearch.registry import Registry
from lagsearch.selection.signals import Measured
from lagsearch.selection.strategies.budgets import BudgetedSearch
from lagsearch.selection.strategies.evidence import find_evidence
from lagsearch.selection.strategies.prior import break_ties
from lagsearch.selection.strategies.settings import Choice, Order, SearchSettings

Broken = tuple[str, str]


def _no_settings(settings: Mapping[str, Any]) -> Iterator[Broken]:
    for key in settings:
        yield key, "unknown key; this strategy has no settings of its own"


@dataclass(frozen=True)
class ReplayedSearch:
    """A search of a strategy that replays try on recorded curves.

    Attributes:
        title: What it is called in their tables.
        settings: Of `SearchSettings`, what it has in place of the recorded search's.
        is_auto: Whether it chooses as soon as the ranking is stable.
    """

    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_auto: bool = False


@dataclass(frozen=True)
class Strategy:
    """A way to search.

    One that stands in a module of this folder, or of a package with an entry point of
    `lagsearch.strategies`, is registered by that.

    Attributes:
        name: What a space asks for as `search.strategy`.
        title: What it is called in replays.
        words: What it does, after its name.
        decide: From what was measured of all candidates that did not fail, and the settings of the
            search, to how it goes on. It may look at nothing that a rung cannot know.
        verdict: What a report says of it: a sentence, or why candidates were stopped, after "3 of 8
            were stopped by step 200, ".
        heeds: Keys of `search` that are errors with other strategies. `settings` is its own.
        stops: Whether it may stop candidates before the last rung.
        is_dense: Whether it decides at every evaluation, which are then more.
        needs_lag: Whether K must be a number, not `auto`.
        lag_share: K as a share of completion where it is left out.
        is_by_loss: Whether it goes by the losses alone: `search.signal` must be `loss`.
        samples: Whether candidates are sampled, in rounds, instead of listed.
        check: Yields what is wrong in `search.settings`: key and message.
        replays: Gives its searches that are replayed; left out, it is replayed once if it stops
            candidates. LAG at each step is replayed anyway.
        budgeted: Gives its searches that make the most of a budget.
    """

    name: str
    title: str
    words: str
    decide: Callable[[Measured, SearchSettings], Order | Choice]
    verdict: str = ""
    heeds: tuple[str, ...] = ()
    stops: bool = False
    is_dense: bool = False
    needs_lag: bool = False
    lag_share: float = 0.25
    is_by_loss: bool = False
    samples: bool = False
    check: Callable[[Mapping[str, Any]], Iterator[Broken]] = _no_settings
    replays: Callable[[], Sequence[ReplayedSearch]] | None = None
    budgeted: Callable[[], Sequence[BudgetedSearch]] = tuple

    @property
    def replayed(self) -> Sequence[ReplayedSearch]:
        """Its searches that are replayed."""
        if self.replays is not None:
            return self.replays()
        return [ReplayedSearch(self.title)] if self.stops else []


STRATEGIES = Registry("strategy", __name__.rpartition(".")[0], "lagsearch.strategies", Strategy)


def find_strategy(name: str) -> Strategy:
    """Look a strategy up.

    Raises:
        LagsearchError: There is none of that name; the message lists all and the nearest.
    """
    if (found := STRATEGIES.get(name)) is None:
        raise LagsearchError(STRATEGIES.unknown(name))
    return found


def why_stopped(strategy: str, evidence: str | None) -> str:
    """Return why a search stops candidates, after "3 of 8 were stopped, ".

    Args:
        strategy: Its name.
        evidence: What candidates are stopped on, by its name; None where the strategy needs none.
    """
    return find_strategy(strategy).verdict if evidence is None else find_evidence(evidence).words


def decide(measured: Measured, settings: SearchSettings) -> Order | Choice:
    """Say how a search goes on.

    Args:
        measured: Of all candidates that did not fail; only what a rung can know is looked at.
        settings: The search's.
    """
    found = find_strategy(settings.strategy).decide(measured, settings)
    if isinstance(found, Order) or settings.cut is not None:
        return found  # where finalists were chosen the prior has counted: once is enough
    return break_ties(found, measured, settings)
