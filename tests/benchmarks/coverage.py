"""How often intervals and sets hold the truth, and how sure the probabilities are, simulated.

    python tests/benchmarks/coverage.py [--runs 200] [--resamples 300]

Candidates have known expected losses at two steps; what is measured adds to them what a seed and
a batch add to all candidates, what each adds to one, and noise, all but the last alike at both
steps by half. Signal to noise is the spread of expected losses over the standard error of one
candidate's. Under one seed the truth is that seed's. Prints three tables; no test calls it.
"""

import argparse
import itertools
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from lagsearch.selection import LossTable, indistinguishable, places, rank_candidates, score_step
from lagsearch.selection.scores import METRICS, ranks, recall

KINDS = ("normal", "even", "groups")
SIZES = ((5, 1), (5, 3), (5, 5), (16, 1), (16, 3), (16, 5))
BATCHES = (8, 32)
RATIOS = (0.5, 1.0, 2.0, 4.0, 8.0)
AGREEMENTS = (0.0, 0.8, 1.0)
EARLY, FINAL = 1, 2


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    kind: str
    candidates: int
    seeds: int
    batches: int
    ratio: float
    agreement: float
    tails: float | None = None


def expected(cell, generator):
    """Return expected losses at both steps, of spread 1 or so: (2, C)."""
    size, share = cell.candidates, cell.agreement
    if cell.kind == "even":
        early = np.arange(size) / np.arange(size).std()
        order = np.arange(size)
        if share < 1:
            reach = size if share == 0 else 0.45 * size
            order = np.argsort(np.arange(size) + generator.uniform(0, reach, size))
        return np.stack([early, early[order]])
    own = generator.normal(size=(2, size))
    pair = np.stack([own[0], share * own[0] + np.sqrt(1 - share**2) * own[1]])
    if cell.kind == "groups":  # a third near the best, the others far behind and near each other
        pair = 0.15 * pair + 1.5 * (np.arange(size) >= max(2, size // 3))
        pair /= pair.std(axis=1, keepdims=True)
    return pair


def alike(generator, shape, tails):
    """Return noise of two steps, half of it the same: (2, ...)."""
    if tails is None:
        one, two = generator.normal(size=(2, *shape))
    else:
        one, two = generator.standard_t(tails, size=(2, *shape)) / np.sqrt(tails / (tails - 2))
    return np.stack([one, 0.5 * one + np.sqrt(0.75) * two])


def simulate(cell, generator):
    """Return the true losses (2, C) and a table of measured ones."""
    size, seeds, batches, error = cell.candidates, cell.seeds, cell.batches, 1 / cell.ratio
    truth = expected(cell, generator)
    share = 0.5 if seeds > 1 else 0.0
    interaction = np.sqrt((share or 0.5) * seeds) * error
    by_seed = alike(generator, (size, seeds, 1), cell.tails) * interaction
    by_batch = alike(generator, (size, 1, batches), cell.tails)
    by_batch *= np.sqrt((1 - share) * 0.7 * batches) * error
    noise = alike(generator, (size, seeds, batches), cell.tails)
    noise *= np.sqrt((1 - share) * 0.3 * batches * seeds) * error
    common = 3 * error * alike(generator, (1, seeds, 1), None)
    common = common + 5 * error * alike(generator, (1, 1, batches), None)
    if seeds == 1:
        truth = truth + by_seed[:, :, 0, 0]
        by_seed = by_seed - by_seed
    measured = truth[:, :, None, None] + by_seed + by_batch + noise + common
    names = tuple(f"c{number}" for number in range(size))
    cells = measured.transpose(1, 0, 2, 3)
    return truth, LossTable(names, (EARLY, FINAL), cells.mean(axis=(2, 3)), cells)


def measure(cell, runs, resamples, start=0):
    """Return what came of each run by name: lists of (held, width) or of (happened, said)."""
    found = defaultdict(list)
    number = [ord(cell.kind[0]), cell.candidates, cell.seeds, cell.batches]
    number += [int(10 * cell.ratio), int(10 * cell.agreement), int(cell.tails or 0), start]
    generator = np.random.default_rng(number)
    for _ in range(runs):
        truth, table = simulate(cell, generator)
        scores, recalls = score_step(table, EARLY, FINAL, generator, resamples)
        for name, metric in METRICS.items():
            value, score = float(metric(truth[0], truth[1])), scores[name]
            held = score.low - 1e-9 <= value <= score.high + 1e-9
            found[name].append((held, score.high - score.low))
        for at in (1, 3):
            hit = float(recall(truth[0], truth[1], at))
            found[f"recall@{at}"].append((hit, recalls[at].share))
        place = places(table, FINAL, generator, resamples)
        rank = dict(zip(table.candidates, ranks(truth[1])[0], strict=True))
        winner = rank_candidates(table, FINAL)[0]
        held = [each.low <= rank[name] <= each.high for name, each in place.items()]
        width = np.mean([each.high - each.low for each in place.values()]) / cell.candidates
        found["rank"].append((np.mean(held), width))
        found["rank of the winner"].append((held[0], place[winner].high - place[winner].low))
        found["p_best of the winner"].append((rank[winner] == 1, place[winner].p_best))
        together = {winner, *indistinguishable(table, FINAL)}
        best = table.candidates[int(truth[1].argmin())]
        found["set of the best"].append((best in together, len(together) / cell.candidates))
    return found


def equal(candidates, seeds, batches, runs):
    """Return how often a candidate is told apart from a better one falsely, where all are equal."""
    generator = np.random.default_rng([candidates, seeds, batches])
    outside, any_apart = [], []
    for _ in range(runs):
        cell = Cell("normal", candidates, seeds, batches, 1.0, 1.0)
        truth, table = simulate(cell, generator)
        flat = table.batches[:, 1:] - truth[1][:, None, None, None]
        table = LossTable(table.candidates, (FINAL,), flat.mean(axis=(2, 3)), flat)
        tied = indistinguishable(table, FINAL)
        outside.append("c0" not in {rank_candidates(table, FINAL)[0], *tied})
        any_apart.append(len(tied) < candidates - 1)
    return np.mean(outside), np.mean(any_apart)


def grid():
    """Yield all points."""
    for kind, (size, seeds), batches, ratio, agreement in itertools.product(
        KINDS, SIZES, BATCHES, RATIOS, AGREEMENTS
    ):
        yield Cell(kind, size, seeds, batches, ratio, agreement)
    for (size, seeds), ratio in itertools.product(SIZES, (1.0, 4.0)):
        yield Cell("normal", size, seeds, 8, ratio, 0.8, tails=4)


INTERVALS = (*METRICS, "rank", "rank of the winner", "set of the best")
PROBABILITIES = ("p_best of the winner", "recall@1", "recall@3")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    options = parser.parse_args()
    found = {cell: measure(cell, options.runs, options.resamples) for cell in grid()}
    print_coverage(found)
    print_calibration(found)
    table = Table("candidates, seeds, batches", "one is left out", "any two are told apart")
    for (size, seeds), batches in itertools.product(SIZES, BATCHES):
        outside, apart = equal(size, seeds, batches, 10 * options.runs)
        table.add_row(f"{size}, {seeds}, {batches}", f"{outside:.3f}", f"{apart:.3f}")
    Console(width=150).print("All equal: how often a 5 % test errs", table)


def print_coverage(found):
    by_ratio = [f"ratio {ratio:g}" for ratio in RATIOS]
    table = Table("95 %", "all", "worst cell", "cells < .92", *by_ratio, "1 seed", "3", "5")
    for name in INTERVALS:
        held = {cell: np.mean([each[0] for each in runs[name]]) for cell, runs in found.items()}
        width = {cell: np.mean([each[1] for each in runs[name]]) for cell, runs in found.items()}
        row = [f"{np.mean(list(held.values())):.3f}", f"{min(held.values()):.2f}"]
        row.append(f"{np.mean([each < 0.92 for each in held.values()]):.0%}")
        for ratio in RATIOS:
            of = [cell for cell in found if cell.ratio == ratio]
            means = [np.mean([each[cell] for cell in of]) for each in (held, width)]
            row.append(f"{means[0]:.3f} ({means[1]:.2f})")
        for seeds in (1, 3, 5):
            row.append(f"{np.mean([held[cell] for cell in found if cell.seeds == seeds]):.3f}")
        table.add_row(name, *row)
    Console(width=175).print("How often the truth is held (width)", table)


def print_calibration(found):
    table = Table("probability", *(f"{low / 5:.1f}-{(low + 1) / 5:.1f}" for low in range(5)))
    for name in PROBABILITIES:
        pairs = np.array([each for runs in found.values() for each in runs[name]], float)
        row = []
        for low in range(5):
            into = np.clip((pairs[:, 1] * 5).astype(int), 0, 4) == low
            happened, said = pairs[into].mean(axis=0)
            row.append(f"{happened:.2f} (said {said:.2f})")
        table.add_row(name, *row)
    Console(width=150).print("How often it happened", table)


if __name__ == "__main__":
    main()
