"""Losses at completion of growths of several sources, by boundary policy: mean over the orders.

python tests/benchmarks/boundaries.py reports/wikitext-multi-2 reports/wikitext-multi-3
"""

import json
import sys
from pathlib import Path
from statistics import mean


def policy(settings):
    """Name a candidate's policy; `same` by where the model of both ends stands."""
    policy, _, chosen = settings.get("boundary", "").partition("-")
    names = settings["order"].split()
    if policy != "same":
        return policy
    places = {names[0]: "lowest", names[-1]: "top"}
    return f"same, {places.get(chosen, 'middle')}"


def main():
    for folder in map(Path, sys.argv[1:]):
        report = json.loads((folder / "report.json").read_text())
        plans = json.loads((folder / "plans.json").read_text())["candidates"]
        settings = {each["name"]: (each["operator"], each["settings"]) for each in plans}
        groups = {}
        for each in report["candidates"]:
            operator, chosen = settings[each["name"]]
            is_ordered = operator in ("multi-stack", "multi-interleave")
            key = f"{operator}, {policy(chosen)}" if is_ordered else operator
            groups.setdefault(key, []).append(each["val_loss"][str(report["steps"])])
        print(f"{folder.name}, step {report['steps']}")
        for key, losses in sorted(groups.items()):
            print(f"  {key:32} {mean(losses):.3f}  ({len(losses)} growths, best {min(losses):.3f})")


if __name__ == "__main__":
    main()
