"""What a benchmark shows, as a page in Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

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
from lagsearch.bench.pictures import draw_bench
from lagsearch.bench.strategies import (
    StrategyFigures,
    best_within,
    compare_strategies,
    interval_over_runs,
)
from lagsearch.bench.teaching import (
    Prior,
    RuleFigures,
    asked_for,
    budgets_of,
    prior_alone,
    priors_of,
    ties_by_prior,
)
from lagsearch.errors import RunFolderError, counted
from lagsearch.records.benchmark import Benchmark
from lagsearch.replay.budgets import BUDGETS
from lagsearch.replay.replay import Recording, recordings_of
from lagsearch.report.pages.markdown import escape_markdown, write_markdown
from lagsearch.report.words.parts import Grid, Section, code
from lagsearch.selection.spread import Mean
from lagsearch.selection.taught import AtBudget, taught

BUDGET = 0.3
"""The share of training all at which strategies are compared."""
GOAL = 1.5
"""Regret over the noise floor that is aimed at."""


def page_of(
    benchmark: Benchmark,
    title: str,
    tell: Callable[[str], None],
    chosen_on: Benchmark | None = None,
    figures: Path | None = None,
) -> str:
    """Return what the runs of a benchmark show, as Markdown.

    Args:
        benchmark: The runs.
        title: Of the page.
        tell: Is told how far it is.
        chosen_on: Other runs, on which the strategy is chosen that the page judges: the best one
            of many is too good on the runs that it is the best on.
        figures: The folder that figures are drawn into; none are when left out.

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
    every = [
        recordings_of(benchmark.searched(name), benchmark.path / name) for name in benchmark.runs
    ]
    priors = priors_of(runs, None if chosen_on is None else taught().growths)
    budgets, prior_budgets = budgets_of(every), budgets_of(every, priors)
    drawn = [] if figures is None else draw_bench(runs, budgets, prior_budgets, figures)
    sections: list[Section | tuple[str, str]] = [
        *drawn[:1],
        _budgets(budgets),
        _asked(every, runs, None, is_chosen_here=chosen_on is None),
        _budgets(prior_budgets, has_prior=True),
        _asked(every, runs, priors, is_chosen_here=chosen_on is None),
        _strategies(found, _goal(found, best, is_chosen_here=chosen_on is None)),
        _prior(
            ties_by_prior(every, runs, priors),
            prior_alone(every, priors),
            is_chosen_here=chosen_on is None,
        ),
        _noise(runs),
        *drawn[1:2],
        _shares(runs),
        *drawn[3:],
        _transitions(runs),
        *drawn[2:3],
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


def _budgets(found: Mapping[str, Mapping[float, AtBudget]], *, has_prior: bool = False) -> Section:
    rows = [
        [title, *(_at_budget(row.get(budget)) for budget in BUDGETS)]
        for title, row in found.items()
    ]
    words = (
        "Relative regret, and in parentheses what was spent, as each search makes the most of a "
        "budget: the share of training all that search and winner may cost. With fewer runs in "
        "which it is possible, their number behind a colon."
    )
    n_runs = max(at.runs for row in found.values() for at in row.values())
    rows = [[cell.removesuffix(f": {n_runs}") for cell in row] for row in rows]
    if has_prior:
        words = "The same, where what growths of their kinds came to in other runs counts, too."
    title = "Within a budget, with a prior" if has_prior else "Within a budget"
    return Section(title, (words, _grid(("search", *(f"{b:.0%}" for b in BUDGETS)), rows)))


def _at_budget(at: AtBudget | None) -> str:
    return "" if at is None else f"{at.regret:.3f} ({at.cost:.0%}): {at.runs}"


def _asked(
    every: Sequence[Sequence[Recording]],
    runs: Sequence[RunFigures],
    priors: Sequence[Prior] | None,
    *,
    is_chosen_here: bool,
) -> Section:
    head = (
        "--budget", "chooses", "cost", "relative regret", "95 %", "of the noise floor",
        "LAG within it", "gain, 95 %", "wins, losses", "p",
    )  # fmt: skip
    rows: list[list[str]] = []
    lines: list[str] = []
    for share in BUDGETS:
        if (found := asked_for(every, runs, share, priors)) is None:
            continue
        chosen = ", ".join(f"{title} {count}" for title, count in found.chosen.items())
        rows.append([f"{share:.0%}", chosen, *_cells(found)])
        if share == BUDGET and not np.isnan(found.in_noise):
            is_met = "met" if found.in_noise <= GOAL else "missed"
            lines.append(
                f"At {BUDGET:.0%} its relative regret is {found.in_noise:.2f} times the noise floor"
                + ("." if is_chosen_here else f": the goal of {GOAL:g} is {is_met}.")
            )
    where = "chosen on these runs, so rather too good" if is_chosen_here else "on the half choice"
    words = (
        f"What `--budget` chooses, for the candidates and steps of each run ({where}), beside LAG "
        "alone within the same budget; p by flips of signs over runs, for each budget by itself."
    )
    title = "What --budget chooses"
    if priors is not None:
        title += ", with a prior"
        known = "all other runs here" if is_chosen_here else "the half choice"
        words = f"The same with `search.prior`, of {known}; LAG beside it has none."
    return Section(title, (words, _grid(head, rows), *lines))


def _cells(found: RuleFigures) -> list[str]:
    return [
        f"{found.cost:.0%}",
        f"{found.regret:.3f}",
        _interval(found.low, found.high),
        "" if np.isnan(found.in_noise) else f"{found.in_noise:.2f}",
        f"{found.standard:.3f}",
        f"{found.standard - found.regret:+.3f} ({_interval(found.gain_low, found.gain_high)})",
        f"{found.wins}, {found.losses}",
        f"{found.p_value:.3f}",
    ]


def _prior(found: RuleFigures, alone: float, *, is_chosen_here: bool) -> Section:
    head = (
        "cost", "relative regret", "95 %", "of the noise floor", "without the prior", "gain, 95 %",
        "wins, losses", "p",
    )  # fmt: skip
    where = "all other runs here" if is_chosen_here else "the half choice"
    words = (
        "LAG at each run's K, where ties go to the kind of growth that ended best in "
        f"{where} (`search.prior`). The prior alone, nothing trained, has a relative regret of "
        f"{alone:.3f}."
    )
    return Section("A prior that breaks ties", (words, _grid(head, [_cells(found)])))


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
        low, high = interval_over_runs(regrets)
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
