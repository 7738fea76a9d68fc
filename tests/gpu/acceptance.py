"""What lagsearch does on one GPU: whether it is right there, and how fast each part is.

    python tests/gpu/acceptance.py --out acceptance            # one GPU, at most 9 minutes
    python tests/gpu/acceptance.py --device cpu --small        # the same in seconds, on a CPU

Needs lagsearch with torch and transformers; neither Ray nor a network. Every stage writes one line;
all figures stand in OUT/acceptance.json as it goes, and in a table at the end. A stage for which
not enough of the budget is left is skipped, and said to be. The exit code is 1 where one failed.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
import transformers
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.models.attention import leave_out_masks
from lagsearch.models.build import empty_model, fresh_model
from lagsearch.models.checkpoints import load_checkpoint
from lagsearch.models.configs import build_config
from lagsearch.models.layers import find_layers
from lagsearch.planning.memory import training_bytes
from lagsearch.running.workers.gpu_use import gpu_use_of
from lagsearch.space import Optimizer
from lagsearch.training import loss as loss_module
from lagsearch.training.compiling import checkpoint_layers, compile_layers
from lagsearch.training.job import Compute
from lagsearch.training.loop import computing
from lagsearch.training.loss import Loss
from lagsearch.training.optimizer import make_optimizer
from lagsearch.training.state import SavedAt, load_state, save_state

# layers, width, feed-forward units, heads, vocabulary, tokens, sequences
SIZES = {
    "10M": (6, 384, 1024, 6, 259, 256, 32),
    "124M": (12, 768, 2048, 12, 50304, 1024, 16),
    "1.1B": (22, 2048, 5632, 32, 32000, 2048, 4),
    "quickstart": (6, 48, 128, 2, 259, 64, 32),
}
SMALL = {
    "10M": (2, 48, 128, 2, 259, 32, 4),
    "124M": (2, 48, 128, 2, 500, 32, 4),
    "1.1B": (3, 48, 128, 2, 500, 32, 2),
    "quickstart": SIZES["quickstart"],
}
SPACE = """\
name: accept
data:
  train: {{files: [{text}]}}
  validation: {{fraction: 0.1}}
  tokenizer: bytes
  sequence_length: 64
sources:
  - name: small
    pretrain:
      config: {{model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 4,
               num_attention_heads: 2, max_position_embeddings: 64}}
      steps: {pretrained}
target: {{num_hidden_layers: 6}}
candidates:
  - {{operator: lag, index: {index}, block_size: 1, init: [duplicate, random]}}
  - {{operator: ligo, steps: 3}}
training:
  steps: {steps}
  batch_size: 16
  gradient_accumulation: 2
  optimizer: {{name: adamw, lr: 1.0e-3}}
evaluation: {{batches: 4}}
search: {{lag: {lag}}}
resources: {{gpus_per_candidate: {gpus}}}
"""


class Looks(TorchDispatchMode):
    """Counts how often a value is looked at, where there is no GPU to ask."""

    number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += function.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero")
        return function(*args, **(kwargs or {}))


class Step:
    """The step of lagsearch's training, made of its own parts, each of which can be left out."""

    def __init__(self, bench, size, **without):
        layers, width, units, heads, vocabulary, length, rows = bench.sizes[size]
        self.bench, self.shape, self.without = bench, (rows, length), without
        self.config = build_config(
            {
                **{"model_type": "llama", "num_hidden_layers": layers, "hidden_size": width},
                **{"intermediate_size": units, "num_attention_heads": heads},
                **{"vocab_size": vocabulary, "max_position_embeddings": length},
            }
        )
        with torch.device(bench.device):
            self.model = fresh_model(self.config, "causal", 0).train()
        if not without.get("masks"):
            leave_out_masks(self.model, length)
        if without.get("compiled"):
            compile_layers(self.model)
        if without.get("recomputed"):
            checkpoint_layers(self.model)
        self.loss_of = partial(Loss(self.model), lambda x: self.model(x, use_cache=False).logits)
        self.optimizer = make_optimizer(self.model, Optimizer(lr=1e-4))
        self.tokens = torch.randint(vocabulary, self.shape, device=bench.device)

    def loss(self):
        with torch.autocast(
            self.bench.device, torch.bfloat16, enabled=not self.without.get("fp32")
        ):
            return self.loss_of(self.tokens, self.tokens)

    def __call__(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def flops(self):
        named = self.model.named_parameters()
        return 6 * sum(p.numel() for n, p in named if "embed" not in n) * self.tokens.numel()


class Bench:
    """One run of all stages."""

    def __init__(self, options):
        self.out, self.device, self.small = Path(options.out), options.device, options.small
        self.is_gpu = self.device == "cuda"
        self.sizes = SMALL if self.small else SIZES
        self.budget, self.began = options.budget, time.monotonic()
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        name = torch.cuda.get_device_name() if self.is_gpu else "cpu"
        self.result = {"device": name, "small": self.small, **versions, "stages": {}}
        self.out.mkdir(parents=True, exist_ok=True)

    def stage(self, name, need_s, run):
        """Run a stage, if there is time for it, and write down what came of it."""
        left, began = self.budget - (time.monotonic() - self.began), time.monotonic()
        if left < need_s:
            got = {"skipped": f"{left:.0f} s left, needs {need_s}"}
        else:
            try:
                got = run(self) or {}
            except Exception as error:  # the others shall still be seen
                line = f"{type(error).__name__}: {error}"[:400]
                got = {"FAILED": line, "at": traceback.format_exc()[-1500:]}
            got["s"] = round(time.monotonic() - began, 1)
        self.result["stages"][name] = got
        print(f"{name}: {json.dumps({k: v for k, v in got.items() if k != 'at'})}", flush=True)
        (self.out / "acceptance.json").write_text(json.dumps(self.result, indent=1))
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()

    def wait(self):
        if self.is_gpu:
            torch.cuda.synchronize()

    def seconds(self, do, rounds=8, warm_up=2):
        """Return the median seconds of something, its work on the GPU included."""
        rounds, warm_up = (2, 1) if self.small else (rounds, warm_up)
        times = []
        for _ in range(warm_up + rounds):
            self.wait()
            began = time.perf_counter()
            do()
            self.wait()
            times.append(time.perf_counter() - began)
        return median(times[warm_up:])

    def space(self):
        """Write the space of the whole runs; return its path."""
        text, path = self.out / "text.txt", self.out / "space.yaml"
        files = sorted(Path(os.__file__).parent.glob("*.py"))[: 8 if self.small else 60]
        text.write_text("".join(each.read_text(errors="ignore") for each in files))
        sizes = {"pretrained": 60, "steps": 60, "lag": 30, "index": [0, 2]}
        if self.small:
            sizes = {"pretrained": 4, "steps": 4, "lag": 2, "index": 0}
        path.write_text(SPACE.format(text=text.resolve(), gpus=int(self.is_gpu), **sizes))
        return path

    def run(self, name, *overrides):
        """Run the space in this process; return each candidate's validation losses, by its name."""
        os.environ["LAGSEARCH_CACHE"] = self.cache(name)
        file = lagsearch.load_space(self.space(), list(overrides))
        lagsearch.run(file, out=self.out / name, serial=True, watch=Watch())
        return self.losses(name)

    def cache(self, name):
        """Return a cache of a run's own, so that each trains its source."""
        return str((self.out / f"cache-{name}").resolve())

    def losses(self, name):
        curves = sorted((self.out / name / "curves").glob("*.jsonl"))
        return {
            each.stem: [json.loads(line)["val_loss_batches"] for line in each.open()]
            for each in curves
        }


# Stages: is it right?


def two_runs(bench):
    first, second = bench.run("run1"), bench.run("run2")
    assert first == second, "two runs differ"
    used = json.loads((bench.out / "run1" / "environment.json").read_text())
    return {"candidates": len(first), "equal bits": True, "used": used["devices"]}


def killed(bench):
    """Kill a run while its candidates train, and go on."""
    words = ["run", str(bench.space()), "--serial", "--out", str(bench.out / "run3")]
    command = [sys.executable, "-m", "lagsearch.cli", *words]
    own = os.environ | {"LAGSEARCH_CACHE": bench.cache("run3")}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=own, **silent) as process:
        began, curves = time.monotonic(), bench.out / "run3" / "curves"
        while process.poll() is None and len(list(curves.glob("*.jsonl"))) < 2:
            assert time.monotonic() - began < 120, "it does not get on"
            time.sleep(0.01)
        was_killed = process.poll() is None
        process.kill()
    before = len(list(curves.glob("*.jsonl")))
    assert bench.run("run3") == bench.losses("run1"), "the losses differ"
    return {"killed": was_killed, "curves when killed": before, "equal bits": True}


def one_checkpoint_on_both(bench):
    """The winner's checkpoint, in fp32: losses on the CPU and on the device."""
    folder = bench.out / "run1" / "winner"
    text = (bench.out / "text.txt").read_bytes()[: 64 * 64]
    tokens = torch.tensor(list(text)).reshape(64, 64)
    losses = {}
    for device in dict.fromkeys(("cpu", bench.device)):
        model = load_checkpoint(folder, "causal").to(device).eval()
        leave_out_masks(model, 64)
        given = tokens.to(device)
        with torch.inference_mode(), computing(Compute(device=device)):
            loss_of = Loss(model)
            logits_of = partial(lambda model, x: model(x, use_cache=False).logits, model)
            losses[device] = float(loss_of(logits_of, given[:, :-1], given[:, 1:]))
    apart = max(losses.values()) - min(losses.values())
    assert apart <= 1e-3, f"{apart} apart"
    return {**losses, "apart": apart}


def rankings(bench):
    """The same candidates trained in fp32 and in bf16: how far apart, and in which order."""
    runs = {
        each: bench.run(each, f"training.precision={each}", "evaluation.precision=fp32")
        for each in ("fp32", "bf16")
        if bench.is_gpu or each == "bf16"
    }
    if not bench.is_gpu:
        runs["fp32"] = bench.losses("run1")
    found = {
        each: {name: sum(losses[-1]) / len(losses[-1]) for name, losses in runs[each].items()}
        for each in ("fp32", "bf16")
    }
    orders = [sorted(each, key=each.__getitem__) for each in found.values()]
    apart = max(abs(found["fp32"][name] - found["bf16"][name]) for name in found["fp32"])
    return {"largest difference": apart, "same order": orders[0] == orders[1], "orders": orders}


def looks(bench):
    """Host synchronizations of a step: on a GPU by torch's own detector, else by operators."""
    got = {}
    for name, without in (("transformers' masks", {"masks": True}), ("without masks", {})):
        with computing(Compute(device=bench.device)):
            step = Step(bench, "10M", **without)
            step()
            bench.wait()
            if bench.is_gpu:
                torch.cuda.set_sync_debug_mode("warn")
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    step()
                torch.cuda.set_sync_debug_mode("default")
                got[name] = sum("synchroniz" in str(each.message) for each in caught)
            else:
                with Looks() as counted:
                    step()
                got[name] = counted.number
    assert got["without masks"] == 0, got
    return got


# Stages: how fast is it?


def ceilings(bench):
    """The best rate of a matrix product, in TFLOP/s."""
    side, got = 256 if bench.small else 8192, {}
    kinds = (("bf16", torch.bfloat16, 0), ("fp32", torch.float32, 0), ("tf32", torch.float32, 1))
    for name, dtype, is_rounded in kinds:
        torch.backends.cuda.matmul.allow_tf32 = bool(is_rounded)
        matrix = torch.randn(side, side, device=bench.device).to(dtype)
        took = bench.seconds(partial(torch.mm, matrix, matrix), 5)
        got[f"{name} TFLOP/s"] = round(2 * side**3 / took / 1e12, 3)
    torch.backends.cuda.matmul.allow_tf32 = False
    return got


VARIANTS = {
    "lagsearch": {},
    "with masks": {"masks": True},
    "with filled memory": {"fill": True},
    "loss in parts": {"parts": 8},
    "layers computed again": {"recomputed": True},
    "compiled": {"compiled": True},
}


def steps(bench, size):
    """A step of one size in variants: time, share of the best rate, memory against the estimate."""
    got, most = {}, loss_module.MOST_LOGITS
    best = bench.result["stages"]["ceilings"].get("bf16 TFLOP/s", 0) * 1e12
    for name, without in VARIANTS.items():
        if name == "compiled" and not (bench.is_gpu and size == "10M"):
            continue  # waits for the compiler for a minute
        if bench.is_gpu:
            torch.cuda.reset_peak_memory_stats()
        with computing(Compute(threads=torch.get_num_threads(), device=bench.device)):
            torch.utils.deterministic.fill_uninitialized_memory = bool(without.get("fill"))
            step = None
            try:
                step = Step(bench, size, **without)
                if parts := without.get("parts"):
                    n_logits = step.tokens.numel() * step.config.vocab_size
                    loss_module.MOST_LOGITS = -(-n_logits // parts)
                took = bench.seconds(step)
                got[name] = {"ms": round(1e3 * took, 2)}
                if best:
                    got[name]["share of best rate"] = round(step.flops() / took / best, 3)
                if bench.is_gpu:
                    peak = torch.cuda.max_memory_allocated()
                    got[name]["GiB"] = round(peak / 2**30, 2)
                    got[name]["of estimate"] = round(peak / estimate(step), 2)
                    got[name]["busy"] = round(gpu_use_of(step() for _ in count()).busy, 2)
            except torch.OutOfMemoryError:
                got[name] = "out of memory"
            finally:
                loss_module.MOST_LOGITS = most
                step = None
                gc.collect()
                if bench.is_gpu:
                    torch.cuda.empty_cache()
    return got


def estimate(step):
    """Return the bytes that `lagsearch plan` says of a step."""
    empty = empty_model(step.config, "causal")
    layers = find_layers(empty, step.config).prefix if step.without.get("recomputed") else None
    again = tuple(empty.get_submodule(layers).children()) if layers else ()
    return training_bytes(empty, *step.shape, "causal", 2, again)


def evaluation(bench):
    """An evaluation in fp32, in TF32 and in bf16: seconds and loss."""
    got, step = {}, Step(bench, "1.1B", fp32=True)
    step.model.eval()
    for name, is_rounded, is_bf16 in (("fp32", 0, 0), ("tf32", 1, 0), ("bf16", 0, 1)):
        torch.backends.cuda.matmul.allow_tf32 = bool(is_rounded)

        def measure(step=step, is_bf16=bool(is_bf16)):
            with (
                torch.inference_mode(),
                torch.autocast(bench.device, torch.bfloat16, enabled=is_bf16),
            ):
                return step.loss_of(step.tokens, step.tokens)

        loss = float(measure())
        got[name] = {"ms": round(1e3 * bench.seconds(measure, 3, 1), 1), "loss": loss}
    torch.backends.cuda.matmul.allow_tf32 = False
    return got


def states(bench):
    """A full state: written, and read."""
    step, path = Step(bench, "1.1B"), bench.out / "state.safetensors"
    step()
    began = time.perf_counter()
    save_state(path, step.model, step.optimizer, SavedAt(1, 0.0))
    saved = time.perf_counter() - began
    size = path.stat().st_size
    began = time.perf_counter()
    load_state(path, step.model, step.optimizer)
    loaded = time.perf_counter() - began
    path.unlink()
    return {"GB": round(size / 1e9, 3), "save s": round(saved, 2), "load s": round(loaded, 2)}


def small_step(bench):
    """Return the step of a candidate of which a device holds many, in what it is trained in."""
    return Step(bench, "10M") if bench.is_gpu else Step(bench, "quickstart", fp32=True)


def many_small(bench):
    """Steps of small candidates a second: one after another, stacked, as a graph, in processes."""
    is_whole = bench.is_gpu and not bench.small
    number, got = 12 if is_whole else 6, {}
    each = [small_step(bench) for _ in range(number)]

    def in_turn():
        for step in each:
            step()

    got["one after another"] = round(number / bench.seconds(in_turn), 1)
    got["stacked by vmap"] = round(number / bench.seconds(stacked(bench, each)), 1)
    if bench.is_gpu:
        got["CUDA graph"] = round(1 / bench.seconds(graph(small_step(bench)), 30), 1)
    for processes in (2, 4, 8) if is_whole else (2,):
        got[f"{processes} processes"] = round(in_processes(bench, processes), 1)
    return got


def cast_attention(module, query, key, value, attention_mask, **settings):
    """Attend without a mask; autocast does not reach queries and keys below vmap."""
    query, key = query.to(value.dtype), key.to(value.dtype)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)


def stacked(bench, each):
    """Return a step of all models at once, their weights stacked. Gradients are not clipped."""
    parameters, buffers = stack_module_state([step.model for step in each])
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    empty, tokens = empty_model(each[0].config, "causal"), each[0].tokens
    transformers.AttentionInterface.register("cast", cast_attention)
    empty.set_attn_implementation("cast")
    optimizer = torch.optim.AdamW(list(leaves.values()), lr=1e-4, fused=True)

    def loss(weights, held):
        with torch.autocast(bench.device, torch.bfloat16, enabled=bench.is_gpu):
            out = functional_call(empty, (weights, held), (tokens,), {"use_cache": False})
        return cross_entropy(out.logits.float().flatten(0, 1), tokens.flatten())

    def step():
        optimizer.zero_grad(set_to_none=True)
        vmap(loss, randomness="different")(leaves, buffers).sum().backward()
        optimizer.step()

    return step


def graph(step):
    """Return a replay of a step that is captured as a CUDA graph. Gradients are not clipped."""
    settings = {"lr": 1e-4, "fused": True, "capturable": True}
    step.optimizer = torch.optim.AdamW(step.model.parameters(), **settings)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    step.optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(captured):
        step.loss().backward()
        step.optimizer.step()
    return captured.replay


def in_processes(bench, number):
    """Return the steps a second of so many processes: on one GPU by time slices, or a CPU each."""
    words = [sys.executable, __file__, "--device", bench.device, "--child"]
    words += ["--small"] if bench.small else []
    started = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in started)


def child(bench):
    """Be one of those processes."""
    if not bench.is_gpu:
        torch.set_num_threads(1)
    step, steps = small_step(bench), 60 if bench.is_gpu else 10
    for _ in range(5):
        step()
    bench.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    bench.wait()
    print(steps / (time.perf_counter() - began), flush=True)


STAGES = (
    ("ceilings", 10, ceilings),
    ("two runs of one space", 60, two_runs),
    ("killed and begun again", 40, killed),
    ("one checkpoint on CPU and device", 10, one_checkpoint_on_both),
    ("host synchronizations of a step", 10, looks),
    ("step of 10M", 40, partial(steps, size="10M")),
    ("step of 124M", 50, partial(steps, size="124M")),
    ("step of 1.1B", 70, partial(steps, size="1.1B")),
    ("many small candidates", 70, many_small),
    ("evaluation", 30, evaluation),
    ("bf16 against fp32", 60, rankings),
    ("state", 60, states),
)


def table(result):
    """Return all figures as a table."""
    rows = [f"| stage | {result['device']} |", "|---|---|"]
    for name, got in result["stages"].items():
        for key, value in got.items():
            if key not in ("s", "at"):
                shown = value if isinstance(value, str) else json.dumps(value)
                rows.append(f"| {name}: {key} | {shown} |")
    return "\n".join(rows)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--out", help="a folder; a temporary one when left out")
    parser.add_argument("--budget", type=float, default=500, help="seconds")
    names = [name for name, _, _ in STAGES]
    parser.add_argument("--stage", choices=names, action="append", help="these alone")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.out = options.out or tempfile.mkdtemp(prefix="acceptance-")
    bench = Bench(options)
    if options.child:
        return child(bench)
    for name, need_s, run in STAGES:
        if options.stage and name not in options.stage:
            continue
        bench.stage(name, 0 if bench.small else need_s, run)
    print(table(bench.result))
    failed = [name for name, got in bench.result["stages"].items() if "FAILED" in got]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
