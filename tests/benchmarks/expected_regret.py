"""How well the expected regret at K foretells the regret at the end, on recorded runs.

    python tests/benchmarks/expected_regret.py [RUNS ...] [--half choice|test]

By default the committed runs with an oracle; with `--half` those of the benchmark. Every evaluated
step K from 20 on is a search that ends there. For each run: the mean over K of the expected regret,
of its 95 % bound, of the regret that came and of that of a random choice, in nats, and how often
the bound held. No test calls it.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lagsearch.records.benchmark import load_benchmark
from lagsearch.records.imported_curves import read_searched, searches_in
from lagsearch.selection import expected_regret, rank_candidates

REPORTS = Path(__file__).parents[2] / "reports"


def judged(path: Path) -> list[list[float]]:
    """Return a row for each K: expected, bound, regret, a random choice's, whether it held."""
    run = read_searched(path)
    table = run.table.only(run.complete_growths)
    finals = table.at(run.completion)
    rows = []
    for step in (step for step in table.steps if 20 <= step < run.completion):
        leader = rank_candidates(table, step)[0]
        generator = np.random.default_rng(0)
        found = expected_regret(table.until(step), step, run.completion, leader, generator)
        if found is not None:
            regret = float(finals[table.candidates.index(leader)] - finals.min())
            chance = float(finals.mean() - finals.min())
            rows.append([found.value, found.high, regret, chance, regret <= found.high])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--half", choices=("choice", "test"))
    given = parser.parse_args()
    paths = given.runs or sorted(path.parent for path in REPORTS.glob("*/plans.json"))
    if given.half:
        bench = REPORTS / "bench"
        paths = [bench / name for name in load_benchmark(bench, given.half).runs]
    heads = ("run", "K", "expected", "95 % bound", "regret", "random choice", "bound held")
    shown, means = Table(*heads, box=None), []
    for path in (search for each in paths for search in searches_in(each)):
        rows = judged(path)
        if rows:
            means.append(np.mean(rows, axis=0))
            *nats, held = means[-1]
            shown.add_row(path.name, str(len(rows)), *(f"{x:.4f}" for x in nats), f"{held:.0%}")
    *nats, held = np.mean(means, axis=0)
    shown.add_row("mean of runs", "", *(f"{x:.4f}" for x in nats), f"{held:.0%}")
    Console().print(shown)


if __name__ == "__main__":
    main()
