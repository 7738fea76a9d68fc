"""How long commands take to start: seconds of each, beside `python -c "import torch"`.

    python tests/benchmarks/start_speed.py [--rounds 5]

Each is run in a process of its own, a round of all after a round of all; the shortest time counts.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = "python -c 'import torch'"
COMMANDS = {
    TORCH: ["-c", "import torch"],
    "python -c 'import torch, transformers; transformers.AutoConfig'": [
        "-c",
        "import torch, transformers; transformers.AutoConfig",
    ],
    **{
        f"lagsearch {words}": ["-m", "lagsearch.cli", *words.split()]
        for words in (
            "--help",
            "--version",
            "operators",
            "operators lag",
            "schema",
            "report quickstart-oracle",
            "compare quickstart-oracle shakespeare-6to9",
            "replay quickstart-oracle --strategy lag",
            "plan quickstart.yaml",
        )
    },
}


def seconds(words, folder):
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=folder)
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    best = dict.fromkeys(COMMANDS, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        for run in ("quickstart-oracle", "shakespeare-6to9"):
            shutil.copytree(ROOT / "reports" / run, Path(folder) / run)
        shutil.copy(ROOT / "search_spaces" / "quickstart.yaml", folder)
        for _ in range(options.rounds):
            for name, words in COMMANDS.items():
                best[name] = min(best[name], seconds(words, folder))
    print("| command | seconds, best of rounds | times `import torch` |\n|---|---|---|")
    for name, took in best.items():
        print(f"| {name} | {took:.2f} | {took / best[TORCH]:.2f} |")


if __name__ == "__main__":
    main()
