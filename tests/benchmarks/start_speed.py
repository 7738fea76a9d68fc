"""How long commands take to start: seconds of each, beside `python -c "import torch"`.

    python tests/benchmarks/start_speed.py [--rounds 5]

Each is run in a process of its own, a round of all after a round of all; the shortest time counts.
`mine.yaml` is what `lagsearch init` writes for a small checkpoint, which is made here; `undrawn` is
a run without figures, which the other report finds drawn.
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
            "report undrawn",
            "report quickstart-oracle",
            "compare quickstart-oracle shakespeare-6to9",
            "replay quickstart-oracle --strategy lag",
            "plan quickstart.yaml",
            "plan shakespeare_width.yaml",
            "plan mine.yaml",
            "plan mine.yaml --budget 0.3",
        )
    },
}


CHECKPOINT = {
    "model_type": "llama",
    "num_hidden_layers": 5,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 259,
}


def write_spaces(folder):
    """Write the spaces that are planned; `lagsearch init` writes one for a small checkpoint."""
    for space in ("quickstart", "shakespeare_width"):
        shutil.copy(ROOT / "search_spaces" / f"{space}.yaml", folder)
    code = (
        "from lagsearch.models.build import fresh_model\n"
        "from lagsearch.models.configs import build_config\n"
        "from lagsearch.data.tokens.tokenizers import byte_tokenizer\n"
        f"fresh_model(build_config({CHECKPOINT}), 'causal', 0).save_pretrained('mine')\n"
        "byte_tokenizer().save_pretrained('mine')\n"
    )
    init = ["-m", "lagsearch.cli", *["init", "mine", "python-stdlib", "--out", "mine.yaml"]]
    for words in (["-c", code], init):
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=folder)


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
        undrawn = Path(folder) / "undrawn"
        shutil.copytree(ROOT / "reports" / "quickstart-oracle", undrawn)
        write_spaces(folder)
        for _ in range(options.rounds):
            for name, words in COMMANDS.items():
                shutil.rmtree(undrawn / "figures", ignore_errors=True)
                best[name] = min(best[name], seconds(words, folder))
    print("| command | seconds, best of rounds | times `import torch` |\n|---|---|---|")
    for name, took in best.items():
        print(f"| {name} | {took:.2f} | {took / best[TORCH]:.2f} |")


if __name__ == "__main__":
    main()
