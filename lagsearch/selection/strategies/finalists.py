"""All candidates are ranked once before K; the better ones are trained on to K."""

from dataclasses import replace
from math import ceil
from typing import Literal

from lagsearch.selection.doubt import p_values
from lagsearch.selection.signals import Measured, find_signal
from lagsearch.selection.strategies.prior import ranked_with_prior
from lagsearch.selection.strategies.rungs import decide_at_rungs, ranked_by_signal
from lagsearch.selection.strategies.settings import Choice, Order, SearchSettings, Stop

Keep = Literal["half", "third", "quarter"]
"""Shares of the candidates that go on."""


def n_finalists(keep: Keep | int, n_candidates: int) -> int:
    """Return how many candidates are trained on: shares are rounded up."""
    if isinstance(keep, int):
        return min(keep, n_candidates)
    return ceil(n_candidates / {"half": 2, "third": 3, "quarter": 4}[keep])


def _behind_the_cut(
    measured: Measured, step: int, settings: SearchSettings, n_candidates: int, is_stable: bool
) -> dict[str, Stop]:
    table = find_signal(settings.signal).judge(measured, step, settings.completion)
    by_signal = ranked_by_signal(measured, step, settings)
    ranking = ranked_with_prior(by_signal, settings.prior)
    losses = dict(zip(table.candidates, table.at(step).tolist(), strict=True))
    tested, first = p_values(table, step), ranking[0]
    return {
        name: Stop(step, first, losses[name] - losses[first], float(tested.get(name, 1.0)))
        for name in ranking[n_finalists(settings.keep, n_candidates) :]
    }


def decide_among_finalists(measured: Measured, settings: SearchSettings) -> Order | Choice:
    """Train all candidates to the cut, the better ones on to K, and choose the best of those."""
    last = settings.rungs[-1]
    cut = last if settings.cut is None else settings.cut
    rungs = tuple(sorted({cut, last}))
    return decide_at_rungs(measured, replace(settings, rungs=rungs), _behind_the_cut)
