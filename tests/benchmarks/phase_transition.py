"""Where the rule of the phase transition would have ended recorded runs, and what it would lose.

    python tests/benchmarks/phase_transition.py [run folders; by default all in reports/]

A cell: the step at which the transition is first seen (since which step), and the relative regret
of choosing there; `-` where it is never seen and all train to completion. Prints one table.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run
from lagsearch.selection import phase_transition
from lagsearch.selection.scores import relative_regret

THRESHOLDS = (0.7, 0.8, 0.9, 0.95)
MARGINS = (1.5, 2.0, 3.0)
LEFT = (0.5, 0.6, 0.7, 0.8, 2.0)


def seen(table, threshold, margin, left):
    """Return the first step at which the rule holds, and the transition."""
    for step in table.steps:
        found = phase_transition(table, step, threshold, margin, left)
        if found:
            return step, found
    return None


def lost(table, step):
    """Return the relative regret of choosing at a step."""
    return float(relative_regret(table.at(step), table.at(table.steps[-1])))


def main():
    reports = Path(__file__).parents[2] / "reports"
    paths = [Path(each) for each in sys.argv[1:]]
    paths = paths or sorted(each.parent for each in reports.glob("*/space.yaml"))
    paths = [each for each in paths if not RunFolder(each).has_stages]
    tables, lags = {}, {}
    for path in paths:
        run = read_run(RunFolder(path))
        if len(run.complete_growths) > 2:
            tables[path.name] = run.table.only(run.complete_growths)
            lags[path.name] = run.lag
    out = Table("threshold", "margin", "left", *tables, "mean", "worst", "steps")
    at_lag = [lost(tables[name], lags[name]) for name in tables]
    share = [lags[name] / tables[name].steps[-1] for name in tables]
    cells = [f"{lags[name]} {each:.2f}" for name, each in zip(tables, at_lag, strict=True)]
    summary = (f"{np.mean(at_lag):.2f}", f"{max(at_lag):.2f}", f"{np.mean(share):.0%}")
    out.add_row("at K", "", "", *cells, *summary, end_section=True)
    for threshold, margin, left in itertools.product(THRESHOLDS, MARGINS, LEFT):
        cells, regrets, spent = [], [], []
        for table in tables.values():
            found = seen(table, threshold, margin, left)
            step = found[0] if found else table.steps[-1]
            regrets.append(lost(table, step))
            spent.append(step / table.steps[-1])
            cells.append(f"{step} ({found[1].step}) {regrets[-1]:.2f}" if found else "-")
        summary = (f"{np.mean(regrets):.2f}", f"{max(regrets):.2f}", f"{np.mean(spent):.0%}")
        never = "any" if left > 1 else f"{left:g}"
        out.add_row(f"{threshold:g}", f"{margin:g}", never, *cells, *summary)
    Console(width=230).print(out)


if __name__ == "__main__":
    main()
