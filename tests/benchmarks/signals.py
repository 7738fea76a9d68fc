"""What signals give away on average over K, on recorded runs: the mean over steps 20 to half.

    python tests/benchmarks/signals.py RUNFOLDER... [--signals loss trend] [--first 20]

A table by run (those with stages are passed over and named), each seed as a search of its own, then
the mean over the runs. K is a choice of its own: a signal that is good at one step may be bad at
another.
"""

import argparse
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from lagsearch.records.folder import RunFolder
from lagsearch.replay.replay import lag_outcome, recordings


def given_away(path, signal, first):
    """Return the relative regret of a choice by a signal, the mean over seeds and steps."""
    found = recordings(path)
    regrets = [
        lag_outcome(each, step, str(step), signal).given_away.relative_regret
        for each in found
        for step in each.measured.loss.steps
        if first <= step <= each.completion / 2
    ]
    return found[0].run, fmean(regrets)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--signals", nargs="+", default=["loss", "trend"])
    parser.add_argument("--first", type=int, default=20)
    given = parser.parse_args(arguments)
    table = Table("run", *given.signals, box=None, pad_edge=False)
    rows = []
    staged = [path for path in given.runs if RunFolder(path).has_stages]
    flat = [path for path in given.runs if path not in staged]
    if staged:
        print("passed over, as they have stages:", *staged)
    if not flat:
        parser.error("no run without stages")
    for path in flat:
        found = [given_away(path, signal, given.first) for signal in given.signals]
        rows.append([regret for _, regret in found])
        table.add_row(found[0][0], *(f"{regret:.3f}" for regret in rows[-1]))
    table.add_row("mean", *(f"{fmean(each):.3f}" for each in zip(*rows, strict=True)))
    Console(highlight=False, width=100).print(table)


if __name__ == "__main__":
    main()
