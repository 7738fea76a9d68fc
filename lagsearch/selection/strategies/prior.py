"""Ties at the choice are broken by where candidates like these ended in other runs."""

from dataclasses import replace

from lagsearch.selection.doubt import indistinguishable
from lagsearch.selection.signals import Measured, find_signal
from lagsearch.selection.strategies.settings import Choice, SearchSettings


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
