"""What a benchmark shows, as a page in Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lagsearch.bench.figures import (
    SHARES,
    Claim,
    RunFigures,
    claims_of,
    figures_of,
    operators_of,
    transitions,
    why_left_out,
)
from lagsearch.bench.strategies import StrategyFigures, best_within, compare_strategies
from lagsearch.errors import RunFolderError, counted
from lagsearch.records.benchmark import Benchmark
from lagsearch.report.pages.markdown import escape_markdown, write_markdown
from lagsearch.report.words.parts import Grid, Section, code
from lagsearch.selection import mean_interval
from lagsearch.selection.spread import Mean
from lagsearch.storage.files import derive_seed

BUDGET = 0.3
"""The share of training all at which strategies are compared."""
GOAL = 1.5
"""Regret over the noise floor that is aimed at."""


def page_of(
    benchmark: Benchmark,
    title: str,
    tell: Callable[[str], None],
    chosen_on: Benchmark | None = None,
) -> str:
    """Return what the runs of a benchmark show, as Markdown.

    Args:
        benchmark: The runs.
        title: Of the page.
        tell: Is told how far it is.
        chosen_on: Other runs, on which the strategy is chosen that the page judges: the best one
            of many is too good on the runs that it is the best on.

    Raises:
        RunFolderError: There are no runs to show, or none to choose on.
    """
    benchmark, left_out = _shown(benchmark)
    runs, found = _compared(benchmark, tell)
    best = best_within(
        found if chosen_on is None else _compared(_shown(chosen_on)[0], tell)[1], BUDGET
    )
    n_seeded = sum(each.n_seeds > 1 for each in runs)
    lead = (
        f"{counted(len(runs), 'run')}, {n_seeded or 'none'} of them with several seeds. Relative "
        "regret: final loss of the choice less the least one, as a share of the range of final "
        "losses. Intervals are over runs, 95 %."
    )
    sections = [
        _strategies(found, _goal(found, best, is_chosen_here=chosen_on is None)),
        _noise(runs),
        _shares(runs),
        _transitions(runs),
        _operators(runs),
        _claims(claims_of(runs)),
    ]
    return write_markdown(title, [lead, *left_out, *sections])


def _shown(benchmark: Benchmark) -> tuple[Benchmark, list[str]]:
    """Return the runs that can be compared, and a line for each of the others.

    Raises:
        RunFolderError: There are none.
    """
    reasons = {name: why_left_out(benchmark.searched(name)) for name in benchmark.runs}
    names = tuple(name for name, reason in reasons.items() if reason is None)
    if not names:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise RunFolderError(f"{benchmark.path}: no runs to compare{f' ({why})' if why else ''}")
    lines = [
        f"Left out: {escape_markdown(name)}, as {why}." for name, why in reasons.items() if why
    ]
    return replace(benchmark, runs=names), lines


def _compared(
    benchmark: Benchmark, tell: Callable[[str], None]
) -> tuple[list[RunFigures], list[StrategyFigures]]:
    runs = [figures_of(benchmark, name) for name in benchmark.runs]
    return runs, compare_strategies(benchmark, {each.name: each.floor for each in runs}, tell)


def _strategies(found: Sequence[StrategyFigures], goal: str) -> Section:
    head = (
        "strategy", "until", "signal", "cost, of training all", "relative regret", "95 %",
        "of the noise floor", "wins, losses", "p, corrected",
    )  # fmt: skip
    rows = [
        (
            *each.key,
            f"{each.cost:.0%}",
            f"{each.regret:.3f}",
            _interval(each.low, each.high),
            "" if np.isnan(each.in_noise) else f"{each.in_noise:.2f}",
            f"{each.wins}, {each.losses}",
            f"{each.p_value:.3f}",
        )
        for each in found
    ]
    words = (
        "Wins, losses and p are against LAG at K by loss; p by flips of signs over runs, corrected "
        "for all rows (max-T)."
    )
    return Section("Strategies", (words, _grid(head, rows), goal))


def _goal(
    found: Sequence[StrategyFigures], best: StrategyFigures | None, *, is_chosen_here: bool
) -> str:
    """Return what the strategy that was chosen comes to, and whether that is what is aimed at."""
    here = next((each for each in found if best is not None and each.key == best.key), None)
    if here is None:
        return f"No strategy costs {BUDGET:.0%} of training all or less."
    where = "these runs, so rather too good" if is_chosen_here else "the half choice"
    line = (
        f"Best at {BUDGET:.0%} of training all, chosen on {where}: {here.key[0]}, until "
        f"{here.key[1]}, by {here.key[2]}. Here it costs {here.cost:.0%}, with a relative regret "
        f"of {here.regret:.3f} ({_interval(here.low, here.high)})"
    )
    if np.isnan(here.in_noise):
        return f"{line}; no run has several seeds."
    is_met = "met" if here.in_noise <= GOAL else "missed"
    verdict = "" if is_chosen_here else f": the goal of {GOAL:g} is {is_met}"
    return f"{line}, {here.in_noise:.2f} times the noise floor{verdict}."


def _noise(runs: Sequence[RunFigures]) -> Section:
    head = ("run", "growths", "seeds", "spread, nats", "noise, nats", "noise floor", "transition")
    rows = [
        (
            code(each.name),
            f"{each.n_growths}",
            f"{each.n_seeds}",
            f"{each.spread:.4f}",
            "" if each.noise is None else f"{each.noise:.4f}",
            "" if each.floor is None else f"{each.floor:.3f}",
            "none" if each.transition is None else f"{each.transition:.0%}",
        )
        for each in runs
    ]
    words = (
        "Noise: standard deviation of what a seed adds to a growth's final loss. Noise floor: "
        "relative regret of choosing by one seed's final losses, judged by another's. Transition: "
        "the step after which the ranking is stable, of the final step."
    )
    return Section("Runs and their noise", (words, _grid(head, rows)))


def _shares(runs: Sequence[RunFigures]) -> Section:
    head = ("LAG at", "relative regret", "95 %", "chooses within the noise", "rank correlation")
    rows = []
    for share in (0.0, *SHARES):
        found = [each.at[share] for each in runs]
        regrets = [each.relative_regret for each in found]
        generator = np.random.default_rng(derive_seed(0, "bench", "interval"))
        low, high = mean_interval(regrets, generator) or (np.nan, np.nan)
        within = [each.is_within_noise for each in found if each.is_within_noise is not None]
        rows.append(
            (
                f"{share:.0%}" if share else "growth",
                f"{np.mean(regrets):.3f}",
                _interval(low, high),
                f"{np.mean(within):.0%} of {counted(len(within), 'run')}" if within else "",
                f"{np.mean([each.correlation for each in found]):.2f}",
            )
        )
    words = (
        "Within the noise: no farther behind the best than twice the standard error of a "
        "difference of two growths' final losses, of the seeds of the run."
    )
    return Section("How early LAG chooses well", (words, _grid(head, rows)))


def _transitions(runs: Sequence[RunFigures]) -> Section:
    head = ("by", "", "runs", "with a transition", "its median, of the final step")
    rows = [
        (title, value, f"{n_runs}", f"{n_there}", "" if median is None else f"{median:.0%}")
        for title, value, n_runs, n_there, median in transitions(runs)
    ]
    return Section("Where the phase transition lies", (_grid(head, rows),))


def _operators(runs: Sequence[RunFigures]) -> Section:
    head = ("operator", "runs", "place at 5 %", "place at the end", "ended best in")
    rows = [
        (each.label, f"{each.n_runs}", f"{each.early:.2f}", f"{each.final:.2f}", f"{each.n_best}")
        for each in operators_of(runs)
    ]
    words = "Places go from 0, best, to 1, worst: the mean over its forms, then over runs."
    return Section("Operators", (words, _grid(head, rows)))


def _claims(found: Sequence[Claim]) -> Section:
    head = ("claim", "measured", "mean, 95 %", "runs", "")
    rows = [
        (
            each.words,
            each.measure,
            _mean(each.mean),
            "0" if each.mean is None else f"{each.mean.n}",
            each.verdict,
        )
        for each in found
    ]
    return Section("The papers' claims", (_grid(head, rows),))


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    return Grid([*head], [[*row] for row in rows])


def _mean(found: Mean | None) -> str:
    if found is None:
        return ""
    interval = "" if found.low is None or found.high is None else _interval(found.low, found.high)
    return f"{found.value:.2f}" + (f" ({interval})" if interval else "")


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.2f} to {high:.2f}"
