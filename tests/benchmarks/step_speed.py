"""What a step of lagsearch's training costs beside a bare loop, and beside another source tree.

    python tests/benchmarks/step_speed.py [--tree ../before]... [--rounds 30]

A bare loop has its batches ready and does what nobody can leave out: model, cross-entropy,
gradients, clipping, AdamW. Every contender is a process of its own with one thread; they take turns
in short rounds of five steps, and of each the round of the fewest CPU seconds counts (all threads
of the process), so that other work on the machine weighs little. Beside them stand the operators of
a step, and how often it looks at a value, which a GPU has to be waited for.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEPS = 5
LLAMA = {"model_type": "llama", "num_hidden_layers": 6, "hidden_size": 64, "num_attention_heads": 4,
         "intermediate_size": 176, "max_position_embeddings": 64}  # fmt: skip
BERT = {"model_type": "bert", "num_hidden_layers": 6, "hidden_size": 64, "num_attention_heads": 4,
        "intermediate_size": 256, "max_position_embeddings": 64, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0}  # fmt: skip
KINDS = {"causal": (LLAMA, {}), "masked": (BERT, {}), "ul2": (LLAMA, {}),
         "causal, 4 passes": (LLAMA, {"gradient_accumulation": 4})}  # fmt: skip
LENGTH, ROWS = 64, 32


def job_of(kind, folder):
    """Return the job of a model with random weights on this project's own source as its text."""
    from lagsearch.data.objectives.registry import add_tokens, make_objective
    from lagsearch.data.tokens.store import open_stores
    from lagsearch.data.tokens.tokenizers import byte_tokenizer, vocabulary_size
    from lagsearch.models.build import fresh_model, n_parameters
    from lagsearch.models.configs import build_config, plain_config
    from lagsearch.operators.catalog.scratch import fresh_plan
    from lagsearch.space import Corpus, Data, Objective, Training, Validation
    from lagsearch.training.job import Compute, Job, Text

    files = sorted((ROOT / "lagsearch").rglob("*.py"))
    data = Data(
        train=Corpus(files=tuple(map(str, files))),
        validation=Validation(fraction=0.1),
        sequence_length=LENGTH,
    )
    settings, tokenizer = Objective(name=kind.partition(",")[0]), byte_tokenizer()
    add_tokens(tokenizer, settings, LENGTH)
    size = vocabulary_size(tokenizer)
    predicts = make_objective(settings, tokenizer, size, LENGTH)
    keys, training = KINDS[kind]
    config = build_config({**keys, "vocab_size": size})
    return Job(
        name="model",
        config=plain_config(config),
        plan=fresh_plan(6),
        sources=(),
        n_parameters=n_parameters(fresh_model(config, predicts.kind, 0)),
        init_seed=0,
        training=Training(steps=10**6, batch_size=ROWS, **training),
        text=Text(open_stores(data, byte_tokenizer()), LENGTH, "growth", 2, predicts, 0, 0),
        compute=Compute(),
        evaluate_at=(),
        curve=folder / "curve.jsonl",
        state=folder / "state.safetensors",
        flops_per_step=1,
    )


def bare_loop(job, run):
    """Return a step of the plainest loop."""
    import torch
    from torch.nn.functional import cross_entropy

    from lagsearch.models.build import fresh_model
    from lagsearch.models.configs import rebuild_config

    config, kind = rebuild_config(job.config), job.text.objective.kind
    model, settings = fresh_model(config, kind, 0).train(), job.training.optimizer
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)
    objective, passes = job.text.objective, job.training.gradient_accumulation
    extra = {"use_cache": False} if objective.kind == "causal" else {}
    batches = [
        tuple(map(torch.from_numpy, objective.example(run.examples.rows(step), step)))
        for step in range(40)
    ]

    def step(number):
        optimizer.zero_grad(set_to_none=True)
        inputs, labels = batches[number % len(batches)]
        for x, y in zip(inputs.chunk(passes), labels.chunk(passes), strict=True):
            logits = model(x, **extra).logits
            (cross_entropy(logits.flatten(0, 1), y.flatten()) / passes).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job.training.gradient_clip)
        optimizer.step()

    return step


def counted(step):
    """Return the operators of a step, and its looks at values."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        operators = looks = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.operators += 1
            self.looks += function.overloadpacket.__name__ == "_local_scalar_dense"
            return function(*args, **(kwargs or {}))

    with Counter() as counter:
        step(0)
    return counter.operators, counter.looks


def child(kind, is_bare):
    """Time steps whenever a line comes in; write CPU seconds and seconds of each."""
    from lagsearch.training.loop import _Run, computing

    with tempfile.TemporaryDirectory() as folder:
        job = job_of(kind, Path(folder))
        run = _Run(job)
        list(run.begin())
        run.model.train()
        if is_bare:
            import torch

            torch.set_num_threads(1)
            step = bare_loop(job, run)
            serve(step)
        else:
            with computing(job.compute):
                serve(lambda number: run._update())


def serve(step):
    for number in range(3):
        step(number)
    print(*counted(step), flush=True)
    for number, _ in enumerate(sys.stdin):
        began, cpu = time.perf_counter(), time.process_time()
        for each in range(STEPS):
            step(number * STEPS + each)
        print(time.process_time() - cpu, time.perf_counter() - began, flush=True)


class Contender:
    """A process that does steps when it is told to."""

    def __init__(self, tree, kind, is_bare=False):
        words = [sys.executable, __file__, "--child", kind, *(["--bare"] if is_bare else [])]
        own = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(words, env=own, **pipes)
        self.operators, self.looks = map(int, self.process.stdout.readline().split())
        self.times = []

    def turn(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.times.append(tuple(map(float, self.process.stdout.readline().split())))

    def best(self, place):
        return min(each[place] for each in self.times) / STEPS * 1e3

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(kind, trees, rounds):
    """Print a line of the table for each contender."""
    found = {"bare loop": Contender(ROOT, kind, is_bare=True)}
    found |= {str(tree): Contender(tree, kind) for tree in trees}
    for number in range(rounds):
        for name in list(found) if number % 2 else reversed(list(found)):
            found[name].turn()
    bare = found["bare loop"]
    for name, each in found.items():
        each.end()
        ms, wall = each.best(0), each.best(1)
        ratios = f"{ms / bare.best(0):.3f} | {wall:.2f} | {wall / bare.best(1):.3f}"
        print(f"| {kind} | {name} | {ms:.2f} | {ratios} | {each.operators} | {each.looks} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", action="append", default=[], help="another source tree")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--kinds", default=";".join(KINDS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.bare)
    print("| objective | step | CPU ms | ratio | ms | ratio | operators | looks at a value |")
    print("|---|---|---|---|---|---|---|---|")
    trees = [*(Path(each).resolve() for each in options.tree), ROOT]
    for kind in options.kinds.split(";"):
        compare(kind, trees, options.rounds)


if __name__ == "__main__":
    main()
