"""What a prior is to count beside the loss at the cut, on the benchmark's half `choice`.

    python tests/benchmarks/prior_weight.py [reports/bench]

For each weight and budget: the mean relative regret of finalists, over all searches that every run
can have there. The prior of each run is of all the others. No test calls it.
"""

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lagsearch.bench.figures import figures_of
from lagsearch.bench.teaching import budgets_of, priors_of
from lagsearch.records.benchmark import load_benchmark
from lagsearch.replay.budgets import BUDGETS
from lagsearch.replay.replay import recordings_of
from lagsearch.selection.strategies import prior

HOME = Path(__file__).parents[2]
WEIGHTS = (0.0, 1.0, 2.0, 3.0, 4.0, 100.0)


def main() -> None:
    """Print the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HOME / "reports" / "bench"
    benchmark = load_benchmark(path, "choice")
    every = [recordings_of(benchmark.searched(name), path / name) for name in benchmark.runs]
    priors = priors_of([figures_of(benchmark, name) for name in benchmark.runs])
    table = Table("weight", *(f"{budget:.0%}" for budget in BUDGETS), box=None)
    for weight in WEIGHTS:
        prior.WEIGHT = weight
        found = budgets_of(every, priors)
        finalists = [row for title, row in found.items() if title.startswith("finalists")]
        cells = []
        for budget in BUDGETS:
            at = [row[budget].regret for row in finalists if budget in row]
            all_runs = [
                row[budget].regret
                for row in finalists
                if budget in row and row[budget].runs == len(every)
            ]
            cells.append(f"{np.mean(all_runs):.3f}" if all_runs else "" if not at else "few runs")
        table.add_row(f"{weight:g}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
