"""The ranking through a Hugging Face Trainer against that through lagsearch's own loop.

    python tests/benchmarks/trainer_ranking.py [--out FOLDER]

Eight growths of one source are trained to K twice: by `examples/hugging_face/train.py`, which is
the `transformers.Trainer` with an order of its own for the batches, and by lagsearch's own loop,
there under a second seed, too, to see what chance alone moves. Source, text, validation batches, K,
rate, schedule, optimizer and batch size are the same.
"""

import argparse
import shlex
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau, spearmanr

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.records.curve import read_curve

SCRIPT = Path(__file__).parents[2] / "examples" / "hugging_face" / "train.py"
LAG, STEPS, LENGTH, ROWS, RATE = 100, 200, 64, 16, 1e-3

SPACE = {
    "name": "trainer-ranking",
    "data": {"tokenizer": "bytes", "sequence_length": LENGTH},
    "sources": [
        {
            "name": "small",
            "pretrain": {
                "config": {
                    "model_type": "llama",
                    "num_hidden_layers": 3,
                    "hidden_size": 48,
                    "intermediate_size": 128,
                    "num_attention_heads": 4,
                    "num_key_value_heads": 2,
                    "max_position_embeddings": LENGTH,
                },
                "steps": 600,
                "optimizer": {"lr": 3e-3},
                "schedule": {"name": "constant", "warmup_steps": 50},
            },
        }
    ],
    "target": {"num_hidden_layers": 6},
    "candidates": [
        {"operator": "identity"},
        {"operator": "interleave"},
        {
            "operator": "layers",
            "layers": [
                [0, 0, 0, 0, 1, 2],
                [0, 2, 0, 2, 0, 2],
                [2, 1, 0, 2, 1, 0],
                [0, 0, 0, 0, 0, 0],
                [1, 1, 1, 1, 1, 1],
                [2, 2, 2, 2, 2, 2],
            ],
        },
    ],
    "training": {
        "steps": STEPS,
        "batch_size": ROWS,
        "optimizer": {"name": "adamw", "lr": RATE, "weight_decay": 0.1, "betas": [0.9, 0.95]},
        "schedule": {"name": "cosine", "final_fraction": 0.0},
        "gradient_clip": 1.0,
    },
    "evaluation": {"batches": 32, "steps": []},
    "search": {"lag": LAG, "baselines": []},
    "resources": {"cpus_per_candidate": 1},
}
"""What both do, in the words of a space file."""


def write_texts(folder):
    """Write 900 kB of this Python's own sources to train on, and the next 100 kB to measure on.

    Returns:
        Both files, as absolute paths.
    """
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text = "".join(path.read_text(errors="replace") for path in files)
    text = text.encode("ascii", "replace").decode()
    train, validation = folder / "train.txt", folder / "validation.txt"
    train.write_text(text[:900_000])
    validation.write_text(text[900_000:1_000_000])
    return train.absolute(), validation.absolute()


def by_trainer(text):
    """Return the key that hands candidates to the Trainer of the example, with what both share."""
    shared = "--stop-at {steps} --max-steps {total_steps} --seed {seed} "
    shared += f"--length {LENGTH} --batch-size {ROWS} --lr {RATE} --text {shlex.quote(str(text))}"
    begin = f"{{python}} {shlex.quote(str(SCRIPT))} --init {{checkpoint}} --out {{out}}"
    return {
        "command": f"{begin} {shared}",
        "resume": f"{begin} --resume {{last}} {shared}",
        "evaluate": "lagsearch",
        "losses": {"format": "jsonl"},
        "checkpoints": {"path": "{out}/checkpoint-{step}"},
    }


def measure(folder):
    """Return the losses after growth and at K: by the Trainer, and by our loop under two seeds.

    Args:
        folder: Where texts and runs are left.

    Returns:
        By candidate: {"trainer": (loss at 0, loss at K), "own": ..., "other seed": ...}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train, validation = write_texts(folder)
    data = {"train": {"files": [str(train)]}, "validation": {"files": [str(validation)]}}
    space = {**SPACE, "data": {**SPACE["data"], **data}}
    own = {**space, "search": {**space["search"], "seeds": [0, 1]}}
    lagsearch.run(own, out=folder / "own", serial=True, watch=Watch())
    elsewhere = {**space, "trainer": by_trainer(train)}
    result = lagsearch.run(elsewhere, out=folder / "trainer", serial=True, watch=Watch())
    places = {"trainer": ("trainer", ""), "own": ("own", ""), "other seed": ("own", "@1")}
    return {
        each.name: {
            way: tuple(
                read_curve(folder / run / "curves" / f"{each.name}{seed}.jsonl").at(step).val_loss
                for step in (0, LAG)
            )
            for way, (run, seed) in places.items()
        }
        for each in result.candidates
    }


def at_lag(losses, way):
    """Return the losses at K of all candidates."""
    return np.array([each[way][1] for each in losses.values()])


def show(losses):
    """Print a row for each candidate, and how far rankings and losses agree."""
    trainer, own, other = (at_lag(losses, way) for way in ("trainer", "own", "other seed"))
    table = Table("candidate", "by the Trainer", "by our loop", "under seed 1", "ranks")
    ranks = [values.argsort().argsort() + 1 for values in (trainer, own, other)]
    for place in own.argsort():
        shown = [f"{values[place]:.4f}" for values in (trainer, own, other)]
        table.add_row(list(losses)[place], *shown, " ".join(str(each[place]) for each in ranks))
    console = Console(width=100)
    console.print(table)
    for name, values in (("Trainer and our loop", trainer), ("our loop, seeds 0 and 1", other)):
        away = np.abs(values - own)
        console.print(
            f"{name}: Spearman {spearmanr(values, own).statistic:.3f}, Kendall "
            f"{kendalltau(values, own).statistic:.3f}; losses differ by {away.mean():.4f} on "
            f"average, by {away.max():.4f} at most"
        )
    gaps, grown = np.diff(np.sort(own)), [abs(np.subtract(*both(each))) for each in losses.values()]
    console.print(f"neighbours in the ranking lie {gaps.min():.4f} to {gaps.max():.4f} apart")
    console.print(f"right after growth, losses differ by {max(grown):.1e} at most")


def both(ways):
    """Return the losses right after growth that the Trainer's checkpoint and ours have."""
    return ways["trainer"][0], ways["own"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="Leave both run folders here.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        show(measure(asked.out or Path(scratch)))


if __name__ == "__main__":
    main()
