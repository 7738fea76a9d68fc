"""Where candidates like these ended in other runs: it breaks ties, or helps choose finalists."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lagsearch.selection.doubt import indistinguishable
from lagsearch.selection.signals import Measured, find_signal
from lagsearch.selection.strategies.settings import Choice, SearchSettings

WEIGHT = 3.0
"""What a place in other runs counts beside one in the ranking at the cut. Of 0, 1, 2, 3, 4 and 100,
on the benchmark's half `choice`, 3 and 4 were best at budgets of 25 to 40 %, at 50 % 1 and 2:
`tests/benchmarks/prior_weight.py`."""
UNKNOWN = 0.5
"""The place of a candidate that other runs say nothing of: in the middle."""


def ranked_with_prior(ranking: Sequence[str], prior: Mapping[str, float]) -> list[str]:
    """Return a ranking in which places in other runs count, too.

    Args:
        ranking: Names, the best first.
        prior: Their places in other runs, from 0, best, to 1, worst.
    """
    last = max(1, len(ranking) - 1)
    score = {
        name: place / last + WEIGHT * prior.get(name, UNKNOWN) for place, name in enumerate(ranking)
    }
    return sorted(ranking, key=score.__getitem__) if prior else [*ranking]


def break_ties(choice: Choice, measured: Measured, settings: SearchSettings) -> Choice:
    """Return a choice that falls on the tied candidate of which the prior expects most.

    Only candidates that cannot be told apart from the leader are looked at (`indistinguishable`);
    where the prior does not know the leader, or each loss was measured once, nothing changes.

    Args:
        choice: By what was measured alone.
        measured: Of all candidates that did not fail.
        settings: The search's, with its `prior`.
    """
    leader = choice.ranking[0]
    if leader not in settings.prior:
        return choice
    left = [name for name in choice.ranking if name not in choice.stopped]
    judged = find_signal(settings.signal).judge(
        measured.only(left), choice.step, settings.completion
    )
    if not judged.is_repeated:
        return choice
    tied = indistinguishable(judged, choice.step, winner=leader)
    known = [name for name in (leader, *tied) if name in settings.prior]
    best = min(known, key=lambda name: settings.prior[name])  # of equals the one that leads
    if settings.prior[best] == settings.prior[leader]:
        return choice
    others = tuple(name for name in choice.ranking if name != best)
    return replace(choice, ranking=(best, *others), preferred_to=leader)
