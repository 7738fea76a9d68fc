"""`lagsearch grow` and mergekit on the same growth of a checkpoint: wall time and peak memory.

    python tests/benchmarks/grow_speed.py [--megabytes 512] [--mergekit path/to/mergekit-yaml]

A Llama of 12 layers is stacked to 24. mergekit runs the passthrough YAML that `--to-mergekit`
wrote for it, and must write the same tensors. It has its own virtual environment:
`pip install mergekit==0.1.5`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

LAYERS = 12


def make(folder, megabytes):
    """Save a model of about that size in bf16, random weights, 8000 tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width = 64 * max(1, round((megabytes * 2**20 / 2 / LAYERS / 12) ** 0.5 / 64))
    config = LlamaConfig(
        vocab_size=8000,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(folder, max_shard_size="300MB")
    return sum(each.stat().st_size for each in folder.glob("*.safetensors"))


def run(command):
    """Return seconds and peak resident memory in KiB of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}\n{out}")
    return time.perf_counter() - began, usage.ru_maxrss, out


def differences(one, other):
    """Count tensors that are not the same in both checkpoints."""
    import torch

    from lagsearch.models.checkpoints import open_checkpoint

    first, second = (open_checkpoint(each).tensors for each in (one, other))
    assert set(first) == set(second)
    return sum(not torch.equal(first[name], second[name]) for name in first)


def elsewhere(function, *arguments):
    """Call a function in a process of its own: a child's peak counts what its parent held."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lagsearch = [sys.executable, "-m", "lagsearch.cli", "grow"]
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        size = elsewhere(make, root / "source", options.megabytes)
        print(f"source: {size / 2**20:,.0f} MiB in bf16, {LAYERS} layers")
        growth = [root / "source", "--operator", "stack", "--set", "factor=2"]
        rows = {}
        for number in range(options.rounds):
            out = root / f"ours{number}"
            written = ["--to-mergekit", root / "m.yaml"] if number == 0 else []
            rows.setdefault("lagsearch grow", []).append(
                run([*lagsearch, *growth, *written, "--out", out])
            )
            if options.mergekit:
                theirs = root / f"theirs{number}"
                command = [options.mergekit, root / "m.yaml", theirs, "--no-copy-tokenizer"]
                rows.setdefault("mergekit", []).append(run(command))
                print(f"round {number}: {elsewhere(differences, out, theirs)} tensors differ")
        print(rows["lagsearch grow"][0][2])
        print("| | seconds, best of rounds | peak resident memory, MiB |\n|---|---|---|")
        for name, runs in rows.items():
            seconds, memory, _ = (min(each) for each in zip(*runs, strict=True))
            print(f"| {name} | {seconds:.1f} | {memory / 1024:,.0f} |")


if __name__ == "__main__":
    main()
