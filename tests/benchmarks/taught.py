"""Write what the benchmark teaches: `lagsearch/selection/taught.json`.

    python tests/benchmarks/taught.py [reports/bench] [--out lagsearch/selection/taught.json]

For each search that makes the most of a budget, and each budget: what it costs and its relative
regret, beside LAG's in the same runs, of the half `choice` and, with its growths as a prior, of
the half `test`. For each kind of growth: its place early and at the end, and how often it leads
early and ends behind.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from lagsearch.bench.teaching import taught_by
from lagsearch.records.benchmark import load_benchmark
from lagsearch.storage.files import write_text

HOME = Path(__file__).parents[2]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", nargs="?", type=Path, default=HOME / "reports" / "bench")
    out = HOME / "lagsearch" / "selection" / "taught.json"
    parser.add_argument("--out", type=Path, default=out)
    asked = parser.parse_args()
    found = taught_by(*(load_benchmark(asked.bench, half) for half in ("choice", "test")))
    write_text(asked.out, json.dumps(asdict(found), indent=1) + "\n")
    print(f"{asked.out}: {found.runs} runs, {len(found.growths)} kinds of growths")


if __name__ == "__main__":
    main()
