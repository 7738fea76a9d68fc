"""Searches that cost a share of the compute to train every candidate to the final step.

A share counts what candidates are trained in the search and what the winner is trained on after it,
in steps; beyond the winner's own training, of 1 / n for n candidates, it pays for the search.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import floor
from typing import Any

from lagsearch.selection.strategies.finalists import Keep, n_finalists

EARLIEST = 0.025
"""The least share of the final step at which any candidate is let go."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class BudgetedSearch:
    """A search of a strategy that makes the most of a budget.

    Attributes:
        title: What tables call it.
        keys: From a share of training all, the number of candidates and the final step, to the keys
            of a space's `search`, `lag` among them; None where this search cannot cost as little,
            or need not cost as much.
    """

    title: str
    keys: Callable[[float, int, int], Mapping[str, Any] | None]


def lag_keys(
    share: float, n_candidates: int, completion: int, **more: Any
) -> Mapping[str, Any] | None:
    """Return LAG with the largest K that a share pays for."""
    if n_candidates < 2:
        return None
    lag = floor((share * n_candidates - 1) * completion / (n_candidates - 1) + _ROUNDING)
    return {"lag": min(lag, completion), **more} if lag >= 1 else None


def finalists_keys(
    share: float,
    n_candidates: int,
    completion: int,
    *,
    keep: Keep,
    until: float,
) -> Mapping[str, Any] | None:
    """Return finalists up to a share of the final step, with the latest cut that is paid for."""
    lag = max(1, int(until * completion))
    kept = n_finalists(keep, n_candidates)
    if kept == n_candidates:
        return None
    left = share * n_candidates * completion - (completion - lag) - kept * lag
    cut = floor(left / (n_candidates - kept) + _ROUNDING)
    return {"lag": lag, "cut": cut, "keep": keep} if EARLIEST * completion <= cut < lag else None


def budgeted_finalists() -> list[BudgetedSearch]:
    """Return finalists to half and to three quarters of the final step."""
    keeps: tuple[Keep, ...] = ("half", "third", "quarter")
    return [
        BudgetedSearch(
            f"finalists: {keep}, to {word}", partial(finalists_keys, keep=keep, until=until)
        )
        for until, word in ((1 / 2, "half"), (3 / 4, "three quarters"))
        for keep in keeps
    ]
