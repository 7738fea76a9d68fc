"""How long a report takes and how much memory, for a made-up run of many candidates.

    python tests/benchmarks/report_speed.py [--candidates 5000] [--steps 50] [--out FOLDER]

Makes a run folder without training and times `lagsearch report` on it, the whole and its parts.
No test calls it.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.records.folder import RunFolder
from lagsearch.report import write as build
from lagsearch.space import dump_space, evaluation_steps, load_space
from lagsearch.storage.files import write_json, write_text

SPACE = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"


def make_run(path, n_candidates, n_steps, n_batches=8):
    """Write a run folder: losses that fall as a power law, each candidate's own, with noise."""
    folder, generator = RunFolder(path), np.random.default_rng(0)
    last, lag = 1000, 200
    grid = np.geomspace(1, last, n_steps - 2).round()
    listed = sorted({0, lag, last, *map(int, grid), *range(2, 40)})[: n_steps - 2]
    overrides = ["search.oracle=true", f"search.lag={lag}", f"training.steps={last}"]
    overrides += [f"evaluation={{batches: {n_batches}, steps: {listed}, thin: false}}"]
    space = load_space(SPACE, overrides).space
    steps = evaluation_steps(space)
    names = [f"made-{number}" for number in range(n_candidates)]
    plan = GrowthPlan(copies([0, 1, 2, 0, 1, 2, 3])).to_dict()
    quality, start = generator.normal(0, 0.02, n_candidates), generator.normal(0, 0.3, n_candidates)
    text = generator.normal(0, 0.05, n_batches)
    entries = []
    for place, name in enumerate(names):
        layers = " ".join(str(layer) for layer in generator.integers(1, 25, 32))
        entries.append(
            {
                "name": name,
                "operator": "lag",
                "settings": {"index": place},
                "is_baseline": False,
                "layer_map": layers,
                "plan": plan,
                "parameters": 10**6 + place,
                "flops_per_step": 10**9,
                "evaluation_flops": 10**7,
            }
        )
        lines = []
        for step in steps:
            mean = 1.5 + quality[place] + (1 + start[place]) * (1 + step) ** -0.5
            batches = mean + text + generator.normal(0, 0.003, n_batches)
            line = {
                "step": step,
                "val_loss": float(batches.mean()),
                "val_loss_batches": batches.tolist(),
                "wall_s": step * 0.01,
                "flops": step * 10**9,
            }
            lines.append(json.dumps(line))
        write_text(folder.curve_file(name), "\n".join(lines) + "\n")
    write_text(folder.space_file, dump_space(space))
    write_json(folder.plans_file, {"candidates": entries})
    source = {"name": "made", "digest": "0", "kind": "pretrained", "steps": 100, "val_loss": 1.7}
    environment = {
        "inputs": {},
        "seeds": [space.seed],
        "slots": 1,
        "sources": [{**source, "flops": 10**12, "has_optimizer_state": True, "wall_s": 1.0}],
        "wall_s": dict.fromkeys(("sources", "search", "winner", "report"), 1.0),
    }
    write_json(folder.environment_file, environment)
    return len(steps)


def timed(times, owner, name, label):
    """Count the seconds of a function under a label."""
    function = getattr(owner, name)

    def wrapped(*arguments, **named):
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            times[label] = times.get(label, 0.0) + time.perf_counter() - began

    setattr(owner, name, wrapped)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = given.out or Path(temporary) / "run"
        n_steps = make_run(path, given.candidates, given.steps)
        print(f"{given.candidates} candidates x {n_steps} evaluations")
        from lagsearch.report.pages import stage as page
        from lagsearch.report.pictures import stage as pictures

        times = {}
        timed(times, build, "read_run", "read and rank")
        timed(times, build, "build_numbers", "scores, intervals, tests")
        timed(times, pictures, "draw_stage", "figures")
        timed(times, build, "write_tables", "tables")
        timed(times, page, "stage_markdown", "report.md")
        timed(times, page, "stage_html", "report.html")
        timed(times, build, "write_json", "report.json")
        began = time.perf_counter()
        build.write_report(path)
        whole = time.perf_counter() - began
        for label, seconds in times.items():
            print(f"{label:>28} {seconds:6.1f} s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        sizes = {each.name: each.stat().st_size / 2**20 for each in path.glob("report.*")}
        print(f"{'whole':>28} {whole:6.1f} s, peak {peak:.2f} GiB")
        print(", ".join(f"{name} {size:.1f} MiB" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
