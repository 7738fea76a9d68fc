"""How often a ranking that is called settled keeps its choice to the end, on recorded runs.

    python tests/benchmarks/settled.py [RUNS ...] [--half test] [--least 1] [--from-step 50]

Every seed is a search of its own, and every evaluated step K from 20 on, with one at or before
K / 2, a search that ends there. A choice is kept if what it gives away at completion is within the
noise: twice the standard deviation of a candidate between seeds where there are several, else
twice the standard error of a difference over the validation batches, else a tenth of the range of
final losses. The benchmark's half `choice` chooses the least distance that `outlook` asks for, and
each of its runs is judged by what all the others choose. Other runs judge what they choose
together: with `--half test` those of the benchmark's half `test`, else those that are named, or the
committed ones. The share kept stands there by search and as the mean over runs, since the steps of
a run are not independent. No test calls it.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lagsearch.records.benchmark import load_benchmark
from lagsearch.records.folder import RunFolder
from lagsearch.records.imported_curves import searches_in
from lagsearch.replay.replay import Recording, recordings
from lagsearch.selection import indistinguishable, outlook, stability
from lagsearch.selection.outlook import LEAST

REPORTS = Path(__file__).parents[2] / "reports"

GRID = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Least distances over movement to choose from."""

FIRST = 20
"""The first step that is a K."""

KEPT = 0.95
"""Least share of choices that are kept, the mean over the runs that choose."""


@dataclass(frozen=True)
class Point:
    """A search that ends at K.

    Attributes:
        run: Its run.
        share: K over completion.
        apart: Distance over movement; None where there is no outlook.
        is_forecast: Whether the leader is forecast to lead.
        is_tied: Whether others cannot be told apart from it.
        agrees: Spearman of the rankings at K / 2 and K.
        regret: What the choice gives away, in nats.
        relative: As a share of the range of final losses.
        of_half: As a share of that of the best half.
        is_kept: Whether it is within the noise.
    """

    run: str
    share: float
    apart: float
    is_forecast: bool
    is_tied: bool
    agrees: float
    regret: float
    relative: float
    of_half: float
    is_kept: bool

    def is_clear(self, least):
        """Return whether the ranking is clear."""
        return self.apart >= least and self.is_forecast


def noise(found: list[Recording]) -> float:
    """Return what a difference of two final losses may be by chance."""
    end = found[0].completion
    losses_EC = np.stack([each.measured.loss.at(end) for each in found])
    if len(found) > 1:
        return 2 * np.sqrt(interaction(losses_EC))
    batches_NC = found[0].measured.loss.batches_at(end)[:, 0].T
    if len(batches_NC) > 1:
        return 2 * np.sqrt(2 * interaction(batches_NC) / len(batches_NC))
    return 0.1 * np.ptp(losses_EC)


def interaction(values_RC):
    """Return the mean square of what is neither the row's nor the candidate's."""
    left = values_RC - values_RC.mean(axis=0) - values_RC.mean(axis=1, keepdims=True)
    left = left + values_RC.mean()
    return (left**2).sum() / ((left.shape[0] - 1) * (left.shape[1] - 1))


def points(path: Path, first: int) -> list[Point]:
    """Return all searches of a run that end early."""
    found = recordings(path)
    return [
        point
        for each in found
        for step in each.measured.loss.steps
        if first <= step < each.completion and (point := at(each, step, noise(found))) is not None
    ]


def at(recording: Recording, step: int, within: float) -> Point | None:
    """Return a search that ends at a step."""
    table, finals = recording.measured.loss, recording.final
    leader = table.candidates[int(table.at(step).argmin())]
    found = outlook(table, step, recording.completion, leader)
    before = stability(table, step)
    if found is None or before is None:
        return None
    ordered = sorted(finals.values())
    regret = finals[leader] - ordered[0]
    half = ordered[(len(ordered) - 1) // 2] - ordered[0]
    return Point(
        recording.run,
        step / recording.completion,
        found.apart / found.to_come,
        found.forecast == leader,
        not table.is_repeated or bool(indistinguishable(table, step)),
        before[1],
        regret,
        recording.given_away([leader]).relative_regret,
        regret / half,
        regret <= within,
    )


def chosen(known: list[Point]) -> float:
    """Return the least distance of the grid at which choices are kept."""
    for least in GRID:
        clear = [each for each in known if each.is_clear(least)]
        if clear and by_run(clear) >= KEPT:
            return least
    return GRID[-1]


def by_run(some: list[Point]) -> float:
    """Return the share that is kept, the mean over runs."""
    runs = sorted({each.run for each in some})
    return np.mean([np.mean([each.is_kept for each in some if each.run == run]) for run in runs])


def row(name: str, some: list[Point]) -> list[str]:
    """Return how many there are and how they ended."""
    if not some:
        return [name, "0", "0", *["-"] * 6]
    means = [np.mean([getattr(each, key) for each in some]) for key in ("relative", "of_half")]
    return [
        name,
        str(len(some)),
        str(len({each.run for each in some})),
        f"{np.mean([each.is_kept for each in some]):.2f}",
        f"{by_run(some):.2f}",
        f"{np.mean([each.regret for each in some]):.4f}",
        *(f"{each:.3f}" for each in means),
        f"{max(each.relative for each in some):.2f}",
    ]


def verdicts(some: list[Point], by: Mapping[str, float]) -> list[list[str]]:
    """Return the rows of the three verdicts, by the least distance of each run."""
    clear = [each for each in some if each.is_clear(by[each.run])]
    return [
        row("settled", [each for each in clear if not each.is_tied]),
        row("open in the first places", [each for each in clear if each.is_tied]),
        row("NOT settled", [each for each in some if each not in clear]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--half", choices=("test",))
    parser.add_argument("--least", type=float, default=LEAST, help="distance that judges")
    parser.add_argument("--from-step", type=int, default=FIRST, help="the first step that is a K")
    given = parser.parse_args()
    committed = sorted(path.parent for path in REPORTS.glob("*/space.yaml"))
    paths = given.runs or [path for path in committed if not RunFolder(path).has_stages]
    name = "the runs that judge" if given.runs else "other committed runs"
    bench = REPORTS / "bench"
    if given.half:
        name = f"the half {given.half}"
        paths = [bench / run for run in load_benchmark(bench, given.half).runs]
    judges, choosing = (searches(each, given.from_step) for each in (paths, [bench]))
    runs = sorted({each.run for each in choosing})
    by_others = {run: chosen([each for each in choosing if each.run != run]) for run in runs}
    by_least = dict.fromkeys((each.run for each in judges), given.least)
    early = [each for each in judges if each.share <= 0.5]
    groups = {
        "the half choice, each run by what the others choose": (choosing, by_others),
        f"{name}, by {given.least:g}": (judges, by_least),
        f"{name}, by {given.least:g}, K up to half": (early, by_least),
    }
    heads = ("searches", "runs", "kept", "by run", "nats", "relative", "of best half", "worst")
    table = Table("", *heads, box=None, pad_edge=False)
    for title, (some, by) in groups.items():
        table.add_row(title)
        for cells in verdicts(some, by):
            table.add_row(*cells)
    table.add_row("all, Spearman of K / 2 with K at least 0.8, no ties")
    every = [*choosing, *judges]
    agree = [each for each in every if each.agrees >= 0.8 and not each.is_tied]
    table.add_row(*row("so", agree))
    table.add_row(*row("not so", [each for each in every if each not in agree]))
    console = Console(highlight=False, width=130)
    console.print(table)
    values = ", ".join(f"{each:g}" for each in sorted(set(by_others.values())))
    console.print(
        f"The half choice chooses {chosen(choosing):g}; without one of its runs: {values}."
    )


def searches(paths: list[Path], first: int) -> list[Point]:
    """Return all searches of some runs that end early, at that step or later."""
    return [point for path in paths for each in searches_in(path) for point in points(each, first)]


if __name__ == "__main__":
    main()
