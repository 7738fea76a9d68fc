"""How well the posterior of the ends foretells recorded ones: coverage, expected regret.

    python tests/benchmarks/posterior.py reports/evidence-* reports/wikitext-*

For each share of completion: how often intervals of 90 % hold a candidate's end, less the mean of
all; and what the leader is expected to give away and gives away, as shares of the spread.
"""

import sys
from pathlib import Path

import numpy as np

from lagsearch.records.imported_curves import searches_in
from lagsearch.replay.replay import recordings
from lagsearch.selection.posterior import ends_of

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)


def row(found, share):
    """Return coverage, expected and actual regret, and noise, each the mean over searches."""
    rows = []
    for each in found:
        table, end = each.measured.loss, each.completion
        step = max((step for step in table.steps if 0 < step <= share * end), default=0)
        ends = ends_of(table, step, end, np.random.default_rng(0)) if step else None
        if ends is None:
            continue
        final = table.at(end)
        drawn = ends.draws - ends.draws.mean(axis=1, keepdims=True)
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        is_in = (low <= final - final.mean()) & (final - final.mean() <= high)
        lost = final[table.candidates.index(ends.leader)] - final.min()
        rows.append([is_in.mean(), *np.array([ends.regret, lost, ends.noise]) / np.ptp(final)])
    return len(rows), np.mean(rows, axis=0)


def main():
    """Write a row for each share."""
    paths = [search for path in sys.argv[1:] for search in searches_in(Path(path))]
    found = [each for path in paths for each in recordings(path)]
    print("| at | searches | intervals of 90 % hold | expected | actual | noise |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        n, (coverage, expected, actual, noise) = row(found, share)
        cells = [
            f"{share:.0%}",
            f"{n}",
            f"{coverage:.0%}",
            *(f"{x:.3f}" for x in (expected, actual, noise)),
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
