"""Whether growing in depth or in width ends lower at equal training FLOPs (a claim of G_stack).

    python tests/benchmarks/depth_or_width.py --make FOLDER [--files FOLDER]
    python tests/benchmarks/depth_or_width.py [reports/depth-or-width]

The first command trains two runs for each setting below, from the same source: one to twice the
layers, one to a width with about as many parameters, for as many steps as the training FLOPs of the
other pay for, growths alone. It goes on where it was stopped, and adds each run to the benchmark in
FOLDER. Texts are those of the benchmark's half `choice`; settings of which one is not at hand are
left out, and named. The second prints what came of it. No test calls it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

import lagsearch
from lagsearch.bench.adding import add
from lagsearch.bench.design import Design, designs
from lagsearch.bench.make import made_runs
from lagsearch.bench.spaces import designed_space
from lagsearch.bench.texts import Texts
from lagsearch.display.watch import Watch
from lagsearch.records.benchmark import Benchmark, load_benchmark
from lagsearch.selection.spread import mean_of
from lagsearch.space import load_space

COMMITTED = Path(__file__).parents[2] / "reports" / "depth-or-width"

SETTINGS = [
    ("python-stdlib", "bytes", "llama", 1500),
    ("cython", "512", "llama", 1500),
    ("tinyshakespeare", "bytes", "llama", 1500),
    ("wikitext2", "512", "llama", 1500),
    ("python-stdlib", "512", "gpt2", 150),
    ("cython", "bytes", "gpt2", 150),
    ("tinyshakespeare", "512", "gpt2", 150),
    ("wikitext2", "bytes", "gpt2", 150),
]
"""Text, tokens, family, and the source's steps."""

STEPS = 320
"""Of a growth in depth."""

SIZES = {"depth": (8, 48), "width": (4, 64)}
"""Layers and width of the targets; the source has 4 x 48."""

GROWTHS = {
    "depth": [
        {"operator": "stack"},
        {"operator": "interleave"},
        {"operator": "identity", "placement": ["stacked", "interleaved"]},
        {"operator": "random", "ramp_steps": STEPS // 8},
    ],
    "width": [
        {"operator": "net2net"},
        {"operator": "zero", "form": ["hybrid", "gstack"]},
        {"operator": "random-width"},
        {"operator": "random-width", "ramp_steps": STEPS // 16},
    ],
}
"""Five growths each; `zero` in the form `gstack` is that paper's own in width."""

PAPER = {"depth": "stack", "width": "zero-gstack"}


def name_of(setting, kind):
    """Return the name of a run."""
    text, _, family, trained = setting
    return f"{kind}-{text}-{family}-{trained}"


def space_of(setting, kind, steps, places):
    """Return a space of the benchmark's kind."""
    text, tokens, family, trained = setting
    like = next(each for each in designs() if each.growths == kind and each.n_sources == 1)
    design: Design = replace(
        like,
        text=text,
        tokens=tokens,
        objective="causal",
        family=family,
        source=(4, 48),
        target=SIZES[kind],
        trained=trained,
        steps=steps,
        batch=8,
        length=64,
        lr=2e-3,
        rate="decaying",
        state="keep",
        n_seeds=2,
        varies_sources=False,
    )
    space = designed_space(design, places)
    space["name"] = name_of(setting, kind)
    space["candidates"] = GROWTHS[kind]
    space["search"]["baselines"] = ["continue"]
    return load_space(space)


def flops_of(space):
    """Return the training FLOPs of a step of a growth."""
    return max(each.cost.flops_per_step for each in lagsearch.plan(space).candidates)


def make(folder, files, console):
    """Train what is not there yet."""
    texts = Texts(folder / "texts", files, console.print)
    for setting in SETTINGS:
        text = setting[0]
        why = None if text == "python-stdlib" else texts.lacks(text)
        if why is not None:
            console.print(f"{text}: left out, it {why}")
            continue
        found = [] if text == "python-stdlib" else texts.find(text)
        places = {text: [str(path) for path in found]}
        depth, width = (space_of(setting, kind, STEPS, places) for kind in SIZES)
        steps = round(STEPS * flops_of(depth) / flops_of(width))
        width = space_of(setting, "width", steps, places)
        for kind, space in (("depth", depth), ("width", width)):
            name = name_of(setting, kind)
            if name not in made_runs(folder):
                console.print(name)
                out = folder / "runs" / name
                lagsearch.run(space, out=out, serial=True, watch=Watch())
                add(folder, out, name)


def final_losses(benchmark: Benchmark, name):
    """Return each growth's final loss, the mean over seeds, by name."""
    table = benchmark.curves
    rows = table[(table["run"] == name) & (table["kind"] == "growth")]
    last = rows[rows["step"] == rows["step"].max()]
    return last.groupby("candidate")["val_loss"].mean()


def show(folder, console):
    """Print final losses, and their differences with an interval over settings."""
    benchmark = load_benchmark(folder, "own")
    heads = ("setting", "FLOPs, depth", "width", "best in depth", "best in width")
    table = Table(*heads, "width less depth", "of means", "zero-gstack less stack", box=None)
    differences = []
    for setting in SETTINGS:
        names = {kind: name_of(setting, kind) for kind in SIZES}
        if not {*names.values()} <= {*benchmark.runs}:
            continue
        losses = {kind: final_losses(benchmark, name) for kind, name in names.items()}
        paid = [benchmark.curves.query("run == @name")["flops"].max() for name in names.values()]
        best = {kind: found.idxmin() for kind, found in losses.items()}
        values = [
            losses["width"].min() - losses["depth"].min(),
            losses["width"].mean() - losses["depth"].mean(),
            losses["width"][PAPER["width"]] - losses["depth"][PAPER["depth"]],
        ]
        differences.append(values)
        cells = [f"{best[kind]} {losses[kind].min():.4f}" for kind in SIZES]
        shown = [f"{each:+.4f}" for each in values]
        table.add_row(
            " ".join(map(str, setting)), *(f"{each:.3g}" for each in paid), *cells, *shown
        )
    columns = [*zip(*differences, strict=True)]
    means = [mean_of([float(value) for value in each]) for each in columns]
    table.add_row("mean", *[""] * 4, *(f"{each.value:+.4f}" for each in means))
    table.add_row("95 %", *[""] * 4, *(f"{each.low:+.4f} to {each.high:+.4f}" for each in means))
    console.print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=COMMITTED)
    parser.add_argument("--make", action="store_true", help="train what is not there yet")
    parser.add_argument("--files", type=Path, help="a folder of the public texts")
    given = parser.parse_args()
    console = Console(highlight=False, width=180)
    if given.make:
        make(given.folder, given.files, console)
    show(given.folder, console)


if __name__ == "__main__":
    main()
