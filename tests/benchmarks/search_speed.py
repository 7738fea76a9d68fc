"""Where the time of a search goes: the step against a bare loop, Ray's overhead, and the slots.

    python tests/benchmarks/search_speed.py [--steps 100] [--candidates 12]

A search is compared with its trainings' own time, steps and evaluations: divided by the slots, as
if they could be cut, and whole, the longest first, in the slot that is free first. Seconds begin
with the first candidate; the source that is trained on is one of them. Prints one table. Run it on
an idle machine; no test calls it.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.planning.stage import make_plan, recorded
from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of
from lagsearch.records.folder import RunFolder
from lagsearch.records.trainings import RunReader
from lagsearch.running import run as pipeline
from lagsearch.running.evaluation.downstream import open_downstream
from lagsearch.running.jobs import JobMaker
from lagsearch.running.phases import Phases
from lagsearch.running.workers.serial import open_serial
from lagsearch.space import load_space
from lagsearch.training.job import Job
from lagsearch.training.loop import _Run, steps_of

SPACE = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"


def space(steps, candidates, *more):
    """Return the quickstart with fewer steps and so many candidates, its layers in other orders."""
    orders = [[0, 1, 2, *rest] for rest in product(range(3), repeat=3)][:candidates]
    shorter = [f"training.steps={steps}", f"search.lag={steps}"]
    return load_space(
        SPACE, [*shorter, f"candidates=[{{operator: layers, layers: {orders}}}]", *more]
    )


def one_job(folder):
    """Return the job of one candidate, its source trained, as the search would run it."""
    file = space(10**6, 4)
    tokenizer = find_tokenizer(file)
    plan = make_plan(file, vocabulary_of(tokenizer, file.space))
    memory = [each.cost.memory_bytes for each in plan.candidates]
    compute, slots = pipeline._resources(file, memory)
    store, objective = pipeline._open_data([file], tokenizer, Watch())
    run_folder = RunFolder(folder)
    make = JobMaker(plan, store, objective, run_folder, compute, slots.cpus * slots.number)
    run_folder.begin(file.space, recorded(plan), {}, make.inputs())
    downstream = open_downstream(file, [], run_folder, print)
    opened = (open_serial, open_serial, open_serial, None, compute, slots)
    rest = (Watch(), {}, downstream, tokenizer, lambda path: {})
    sources = Phases(plan, make, *opened, *rest).sources()
    states = {seed: [each.state for each in found] for seed, found in sources.items()}
    jobs = make.candidates(states)
    return replace(next(iter(jobs.values())), evaluate_at=())


def bare_loop(job: Job):
    """Yield after each step of the plainest loop: batches ready, model, loss, clip, AdamW."""
    run = _Run(job)
    list(run.begin())
    model, settings = run.model.train(), job.training.optimizer
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)
    batches = [torch.from_numpy(run.examples.rows(step)) for step in range(40)]
    for step in count():
        rows = batches[step % len(batches)]
        logits = model(rows[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(model.parameters(), job.training.gradient_clip)
        optimizer.step()
        yield


def step_times(job: Job, rounds=40, steps=5):
    """Return median seconds of a step, bare and ours, timed in turn in short rounds."""
    torch.set_num_threads(job.compute.threads)
    loops = {"bare": bare_loop(job), "ours": steps_of(job)}
    times = {name: [] for name in loops}
    for number in range(rounds):
        for name in sorted(loops, reverse=bool(number % 2)):
            began = time.perf_counter()
            for _ in range(steps):
                next(loops[name])
            if number >= 3:  # the first rounds warm up
                times[name].append((time.perf_counter() - began) / steps)
    return {name: median(each) for name, each in times.items()}


def search(folder, steps, candidates, *more, serial):
    """Return a search's seconds, those of each training in it, and slots."""
    file = space(steps, candidates, *more)
    result = lagsearch.run(file, out=folder, serial=serial, watch=Watch())
    trained = [each.curve.evaluations[-1] for each in RunReader(folder).trainings()]
    cost = result.report["cost"]
    return cost["wall_s"]["search"], [each.wall_s for each in trained], cost["slots"]


def whole(seconds, slots):
    """Return when the last of some trainings ends, each in the slot that is free first."""
    ends = [0.0] * slots
    for each in sorted(seconds, reverse=True):
        ends[ends.index(min(ends))] += each
    return max(ends)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--no-serial", action="store_true", help="leave out one at a time")
    options = parser.parse_args()
    size = (options.steps, options.candidates)
    table = Table("what", "measured", "against", "ratio", "wanted")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = step_times(one_job(folder / "job"))
        ours, bare = 1e3 * steps["ours"], 1e3 * steps["bare"]
        table.add_row(
            "one step, 1 thread",
            f"{ours:.2f} ms",
            f"bare loop {bare:.2f} ms",
            f"{ours / bare:.3f}",
            "<= 1.00",
        )
        wall, own, slots = search(folder / "ray", *size, serial=False)
        what = f"search, {len(own)} x {options.steps} steps, {slots} slots of 1 thread"
        for name, least_s in (("cut", sum(own) / slots), ("whole", whole(own, slots))):
            against = f"trainings, {name}: {least_s:.1f} s"
            table.add_row(what, f"{wall:.1f} s", against, f"{wall / least_s:.3f}", "<= 1.05")
            what = ""
        if not options.no_serial:
            threads = f"resources.cpus_per_candidate={slots}"
            alone, *_ = search(folder / "serial", *size, threads, serial=True)
            table.add_row(
                f"one at a time on {slots} threads",
                f"{alone:.1f} s",
                f"{slots} slots {wall:.1f} s",
                f"{alone / wall:.3f}",
                ">= 1.3",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
