"""`lagsearch grow`, mergekit and `cat` on the same growth of a checkpoint: time and peak memory.

    python tests/benchmarks/grow_speed.py [--megabytes 512] [--mergekit path/to/mergekit-yaml]

A Llama of 12 layers is grown to 24, and wider. In the same round `cat` puts the shards that were
written into one file. mergekit runs the passthrough YAML that `--to-mergekit`
wrote for it, and must write the same tensors. It has its own virtual environment:
`pip install mergekit==0.1.5`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

LAYERS = 12
WIDER = "WIDER"


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


def cat(folder, target):
    """Return seconds, and nothing, of putting a checkpoint's shards into one file."""
    parts = sorted(map(str, folder.glob("*.safetensors")))
    took = run(["sh", "-c", 'cat "$@" > "$0"', str(target), *parts])
    target.unlink()
    return took


def grown(root, out, *words):
    """Grow, and return seconds, memory and words."""
    if out.exists():
        shutil.rmtree(out)
    command = [sys.executable, "-m", "lagsearch.cli", "grow", root / "source"]
    return run([*command, *words, "--out", out])


def written(text):
    """Return the seconds of writing weights that `lagsearch grow` says."""
    found = re.search(r"^Written: .* in ([\d.,]+) s$", text, re.MULTILINE)
    return float(found[1].replace(",", ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--no-measured", action="store_true", help="leave out what compares outputs"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        size = elsewhere(make, root / "source", options.megabytes)
        print(f"source: {size / 2**20:,.0f} MiB in bf16, {LAYERS} layers, {os.cpu_count()} cores")
        stack = ("--operator", "stack", "--set", "factor=2")
        identity = ("--operator", "identity", "--set", "factor=2")
        width = ("--operator", "net2net", "--target", f"intermediate_size={WIDER}")
        kinds = {
            "stack": stack,
            "identity --no-measure": (*identity, "--no-measure"),
            "net2net, twice the feed-forward units, --no-measure": (*width, "--no-measure"),
            "stack --measure": (*stack, "--measure"),
        }
        if options.no_measured:
            del kinds["stack --measure"]
        ffn = json.loads((root / "source" / "config.json").read_text())["intermediate_size"]
        rows, cats, copying = {}, {}, {}
        out, theirs = root / "ours", root / "theirs"
        for number in range(options.rounds):
            for name, words in kinds.items():
                words = [each.replace(WIDER, str(2 * ffn)) for each in words]
                if number == 0 and name == "stack":
                    words += ["--to-mergekit", root / "m.yaml"]
                took = grown(root, out, *words)
                rows.setdefault(name, []).append(took[:2])
                copying.setdefault(name, []).append(written(took[2]))
                cats.setdefault(name, []).append(cat(out, root / "one")[0])
            if options.mergekit:
                shutil.rmtree(theirs, ignore_errors=True)
                command = [options.mergekit, root / "m.yaml", theirs, "--no-copy-tokenizer"]
                rows.setdefault("mergekit", []).append(run(command)[:2])
                cats.setdefault("mergekit", []).append(cat(theirs, root / "one")[0])
                grown(root, out, *stack)
                print(f"round {number}: {elsewhere(differences, out, theirs)} tensors differ")
        print(
            "| growth | seconds, best of rounds | of these writing | `cat` of its shards, s "
            "| times `cat` | peak resident memory, MiB |\n|---|---|---|---|---|---|"
        )
        for name, runs in rows.items():
            seconds, memory = (min(each) for each in zip(*runs, strict=True))
            base = min(cats[name])
            of_these = f"{min(copying[name]):.2f}" if name in copying else ""
            print(
                f"| {name} | {seconds:.2f} | {of_these} | {base:.2f} | {seconds / base:.1f} "
                f"| {memory / 1024:,.0f} |"
            )


if __name__ == "__main__":
    main()
