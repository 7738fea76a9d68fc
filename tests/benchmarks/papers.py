"""Runs of the papers' experiments at laptop size, beside the papers' own numbers.

python tests/benchmarks/papers.py lag reports/lag-bert-12to16-laptop
python tests/benchmarks/papers.py lag reports/lag-ul2-12to16-laptop
python tests/benchmarks/papers.py gstack reports/gstack-1b-operators-laptop

Published: LAG (Karp et al. 2024), Tables 1 and 2 and section 3; G_stack (Du et al. 2024), Figure 3.
"""

import json
import sys
from pathlib import Path

from scipy.stats import spearmanr

LAG = {
    "bert": {
        "oracle": (1.7461, 0.0, 0.0),
        "LAG": (1.7461, 0.0, 0.0),
        "best at initialization (LAG@0)": (1.7875, 0.0414, 0.7986),
        "last block on top": (1.7747, 0.0286, 0.5517),
        "random block on top": (1.7875, 0.0414, 0.7986),
    },
    "ul2": {
        "oracle": (2.1254, 0.0, 0.0),
        "LAG": (2.1268, 0.0014, 0.0895),
        "best at initialization (LAG@0)": (2.1398, 0.0144, 0.9202),
        "last block on top": (2.1357, 0.0103, 0.6582),
        "random block on top": (2.1398, 0.0144, 0.9202),
    },
}
GSTACK = {  # operator here: name there, training loss, speed-up
    "stack-shallow": ("direct, depth", 2.151, 0.491),
    "identity-shallow": ("zero, depth", 2.161, 0.466),
    "random-ramp100-shallow": ("random, depth", 2.258, -0.257),
    "ligo-shallow": ("learned, depth", 2.156, 0.486),
    "net2net-narrow": ("direct, width", 2.209, -0.007),
    "zero-gstack-narrow": ("zero, width", 2.249, -0.179),
    "random-width-ramp100-narrow": ("random, width", 2.227, -0.138),
    "ligo-narrow": ("learned, width", 2.233, -0.154),
}


def lag(report):
    published = LAG["ul2" if "ul2" in report["name"] else "bert"]
    print("| strategy | final loss: paper, here | regret | relative regret | candidate here |")
    print("|---|---|---|---|---|")
    for row in report["baselines"]:
        name = "LAG" if row["name"] == f"LAG@{report['lag']}" else row["name"]
        there = published[name]
        here = (row["final_val_loss"], row["regret"], row["relative_regret"])
        pairs = " | ".join(f"{a:.4f}, {b:.4f}" for a, b in zip(there, here, strict=True))
        print(f"| {row['name']} | {pairs} | `{row['candidate']}` |")
    oracle = report["oracle"]
    for step in ("0", str(report["lag"])):
        numbers = ", ".join(
            f"{metric} {oracle[metric][step]['value']:.3f}" for metric in ("pearson", "spearman")
        )
        print(f"step {step} with the end: {numbers}")
    steps = oracle["spearman"]
    print("Spearman by step:", {step: round(each["value"], 2) for step, each in steps.items()})
    regret = oracle["relative_regret"]
    print("relative regret:", {step: round(each["value"], 2) for step, each in regret.items()})


def gstack(report):
    end = str(report["steps"])
    final = {each["name"]: each["val_loss"][end] for each in report["candidates"]}
    growths = report["savings"]["growths"]
    print("| operator | loss there | loss here | speed-up there | here, with its source |")
    print("|---|---|---|---|---|")
    for name, (title, loss, speed) in GSTACK.items():
        here = growths[name]["flops"]["with_sources_speed_up"]
        print(f"| {title} | {loss:.3f} | {final[name]:.4f} | {speed:+.1%} | {here:+.1%} |")
    here = [final[name] for name in GSTACK]
    for each in report["candidates"]:
        if each["is_baseline"]:
            last = max(each["val_loss"], key=int)
            print(f"{each['name']}: {each['val_loss'][last]:.4f} at step {last}")
    there = [loss for _, loss, _ in GSTACK.values()]
    print("Spearman of the two rankings:", round(float(spearmanr(here, there).statistic), 3))


def main():
    report = json.loads((Path(sys.argv[2]) / "report.json").read_text())
    {"lag": lag, "gstack": gstack}[sys.argv[1]](report)


if __name__ == "__main__":
    main()
