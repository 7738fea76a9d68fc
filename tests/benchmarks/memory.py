"""The memory estimate beside what the resident set of a process grows by while it trains.

    python tests/benchmarks/memory.py [--only llama] [--json]

Each model is trained for two steps on a CPU in a process of its own, which first trains a tiny
one, so that libraries are loaded. The largest resident set during the steps counts: once with
glibc's memory allocator as it is, which keeps some freed blocks, and once told to give back all
of more than 64 KiB at once (MALLOC_MMAP_THRESHOLD_=65536), so that what is needed is seen.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

MODELS = {
    "llama": {
        "model_type": "llama", "num_hidden_layers": 6, "hidden_size": 384,
        "intermediate_size": 1024, "num_attention_heads": 6, "num_key_value_heads": 2,
        "vocab_size": 4096, "max_position_embeddings": 512,
    },
    "gpt2": {
        "model_type": "gpt2", "n_layer": 6, "n_embd": 384, "n_head": 6, "n_positions": 256,
        "vocab_size": 4096,
    },
    "bert": {
        "model_type": "bert", "num_hidden_layers": 6, "hidden_size": 384,
        "intermediate_size": 1536, "num_attention_heads": 6, "max_position_embeddings": 256,
        "vocab_size": 4096,
    },
}  # fmt: skip
BATCHES = {"llama": (2, 512), "gpt2": (4, 256), "bert": (4, 256)}


def resident():
    """Return the resident set of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def train(keys, kind, batch, steps):
    """Train a model from random weights."""
    import torch

    from lagsearch.models.build import fresh_model
    from lagsearch.models.configs import build_config

    model = fresh_model(build_config(keys), kind, 0).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(steps):
        tokens = torch.randint(keys["vocab_size"], batch)
        logits = model(tokens, use_cache=False).logits if kind == "causal" else model(tokens).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def measure(name):
    """Print what training a model takes, and the estimate."""
    import torch

    from lagsearch.models.tabled_configs import completed
    from lagsearch.planning.memory import training_bytes
    from lagsearch.planning.sizes import sizes_by_tables

    torch.set_num_threads(1)
    keys, batch = MODELS[name], BATCHES[name]
    kind = "masked" if name == "bert" else "causal"
    depth = "n_layer" if name == "gpt2" else "num_hidden_layers"
    train({**keys, depth: 1}, kind, (1, 8), 2)
    before, most, is_over = resident(), 0, threading.Event()

    def watch():
        nonlocal most
        while not is_over.is_set():
            most = max(most, resident())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    train(keys, kind, batch, 2)
    is_over.set()
    watcher.join()
    sizes = sizes_by_tables(completed(keys), kind, batch)
    estimate = training_bytes(sizes.parameters, sizes.activation_bytes, 2)
    print(json.dumps({"model": name, "estimate": estimate, "measured": most - before}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=MODELS)
    options = parser.parse_args()
    if options.child:
        measure(options.child)
        return
    if not options.json:
        print("| model | estimate, MiB | measured, MiB | ratio | at once, MiB | ratio |")
        print("|---|---|---|---|---|---|")
    for name in [options.only] if options.only else MODELS:
        command = [sys.executable, __file__, "--child", name]
        found = {"model": name}
        for key, more in (("measured", {}), ("at_once", {"MALLOC_MMAP_THRESHOLD_": "65536"})):
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env={**os.environ, **more}
            )
            told = json.loads(done.stdout.splitlines()[-1])
            found |= {"estimate": told["estimate"], key: told["measured"]}
        if options.json:
            print(json.dumps(found))
            continue
        cells = [f"{found['estimate'] / 2**20:,.0f}"]
        for key in ("measured", "at_once"):
            cells += [f"{found[key] / 2**20:,.0f}", f"{found['estimate'] / found[key]:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
