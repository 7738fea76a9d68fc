"""How long a ranking of many candidates takes, and how much memory.

    python tests/benchmarks/selection_speed.py [--candidates 5000] [--steps 50] [--batches 32]

Prints one table. Run it on one core; no test calls it.
"""

import argparse
import resource
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from lagsearch.selection import (
    LossTable,
    importance,
    indistinguishable,
    phase_transition,
    places,
    rank_candidates,
    rank_correlation,
    score_step,
)


def made_up(candidates, steps, seeds, batches):
    """Return losses whose ranking settles, as batch losses by name, seed and step."""
    generator = np.random.default_rng(0)
    shape = (candidates, steps, seeds, batches)
    start, end = generator.normal(size=(2, candidates, 1, 1, 1))
    share = np.linspace(0, 1, steps)[:, None, None]
    losses = 2 + 0.1 * ((1 - share) * start + share * end)
    losses = losses + generator.normal(size=(1, steps, 1, batches))
    losses = losses + 0.05 * generator.normal(size=shape)
    at = [10 * step for step in range(steps)]
    return {
        f"c{number}": [
            {step: losses[number, column, seed].tolist() for column, step in enumerate(at)}
            for seed in range(seeds)
        ]
        for number in range(candidates)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batches", type=int, default=32)
    options = parser.parse_args()
    size = (options.candidates, options.steps, options.seeds, options.batches)
    curves = made_up(*size)
    out = Table("what", "seconds", "memory at most, MB")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = 0.0

    def timed(what, run):
        nonlocal total
        began = time.process_time()
        result = run()
        took = time.process_time() - began
        total += took
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out.add_row(what, f"{took:.2f}", f"{peak / 1024:.0f}")
        return result

    table = timed("table", lambda: LossTable.of_seeds(curves))
    last, generator = table.steps[-1], np.random.default_rng(0)
    timed("ranking", lambda: rank_candidates(table, last))
    timed("candidates that cannot be told apart", lambda: indistinguishable(table, last))
    timed("rank intervals", lambda: places(table, last, generator))
    timed(
        "scores of every step", lambda: [score_step(table, s, last, generator) for s in table.steps]
    )
    timed("rank correlations", lambda: rank_correlation(table))
    timed("phase transition", lambda: phase_transition(table))
    designs = {name: ("lag", {"a": n % 7, "b": n % 11}) for n, name in enumerate(curves)}
    losses = dict(zip(table.candidates, table.at(last).tolist(), strict=True))
    timed("importance", lambda: importance(designs, losses, generator))
    out.add_row("all", f"{total:.2f}", "")
    title = "{} candidates, {} steps, {} seeds, {} batches".format(*size)
    Console(width=100).print(f"{title}; {before / 1024:.0f} MB of imports and losses", out)


if __name__ == "__main__":
    main()
