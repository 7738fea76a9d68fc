"""A trainer that is none of lagsearch: it moves one weight a little at every step.

With options for all that can go wrong.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from numpy import float32
from safetensors.numpy import load_file, save_file

WEIGHT = "model.norm.weight"


def train(begin, out, done, steps, every=1, writes="all", log=None):
    """Train from a folder; save at every step, and yield steps and losses."""
    weights = Path(begin) / "model.safetensors"
    tensors = load_file(weights if weights.is_file() else begin)
    for step in range(done + 1, steps + 1):
        tensors[WEIGHT] = tensors[WEIGHT] + float32(0.01)
        if step % every == 0 or step == steps:
            if writes != "nothing":
                save(Path(begin), out / f"checkpoint-{step}", tensors, writes)
            yield step, 5.0 / (1 + step)


def save(begin, folder, tensors, writes="all"):
    if writes == "pt":
        save_file(tensors, folder.parent / "ckpt.pt")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (begin / name).is_file() and begin != folder:
            shutil.copy(begin / name, folder / name)
    if writes == "nan":
        tensors = {name: tensor * float32("nan") for name, tensor in tensors.items()}
    if writes == "other":
        tensors = {WEIGHT: tensors[WEIGHT]}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def main():
    parser = argparse.ArgumentParser()
    for name in ("init", "out", "last", "keep", "hold", "hf", "export"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("steps", "seed", "total", "done", "exit", "stops", "nan", "holds-at"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--writes", default="all")
    parser.add_argument("--name")
    parser.add_argument("--name-only")
    parser.add_argument("--exit-while", type=Path)
    parser.add_argument("--spoils-while", type=Path)
    asked = parser.parse_args()
    if asked.export:
        save(asked.init, asked.hf, load_file(asked.export))
        return
    if asked.exit or (
        asked.exit_while and asked.exit_while.exists() and asked.name_only == asked.name
    ):
        sys.stderr.write("RuntimeError: as asked\n")
        raise SystemExit(asked.exit or 1)
    if asked.keep:
        shutil.copytree(asked.init, asked.keep / asked.name)
    if asked.spoils_while and asked.spoils_while.exists():
        (asked.out / "ckpt.pt").write_bytes(b"half")
        raise SystemExit(1)
    begin = asked.init if asked.last is None else asked.last
    found = train(
        begin, asked.out, asked.done or 0, asked.stops or asked.steps, asked.every, asked.writes
    )
    for step, loss in found:
        with (asked.out / "losses.jsonl").open("a") as file:
            loss = float("nan") if step == asked.nan else loss
            file.write(json.dumps({"step": step, "loss": loss}) + "\n")
        if asked.holds_at == step and asked.hold.exists():
            sys.stdout.write(f"holding {os.getpid()}\n")
            sys.stdout.flush()
            time.sleep(600)


if __name__ == "__main__":
    main()
