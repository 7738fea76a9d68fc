"""The token store beside bare `tokenizers` on the same text: tokens a second and peak memory.

    python tests/benchmarks/tokenize_speed.py TEXT... [--tokenizer FOLDER] [--megabytes 100]

The files are repeated to that size and written as one. Bare is `encode_batch_fast` on text that is
in memory already, cut after new lines into the pieces and batches that the store has; it neither
reads nor keeps anything. Each measurement has a process of its own. Seconds of the processor are
what to compare by on a machine that does other work too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GPT2 = Path(__file__).parents[3] / "shared" / "data" / "gpt2"


def load(folder):
    """Load a tokenizer's folder, be it only a vocabulary and merges."""
    from transformers import AutoTokenizer, GPT2TokenizerFast

    has_all = (Path(folder) / "tokenizer.json").is_file()
    return (AutoTokenizer if has_all else GPT2TokenizerFast).from_pretrained(folder)


def store(path, folder):
    """Return the tokens that the store has of a file, and what making it took."""
    from lagsearch.data.tokens.store import open_stores
    from lagsearch.space import Corpus, Data, Validation

    tokenizer = load(folder)
    data = Data(train=Corpus(files=(path,)), validation=Validation(fraction=0.05))
    clock = Clock()
    [share] = open_stores(data, tokenizer).train
    facts = share.store.facts
    return clock.read(sum(facts[part]["tokens"] for part in ("corpus", "validation")) - 1)


def bare(path, folder):
    """Return how many tokens a text has, and what encoding it took."""
    from lagsearch.data.text.documents import (
        PIECE,
        cut_anywhere,
        in_pieces,
    )
    from lagsearch.data.tokens.writing import _PORTION

    backend = load(folder).backend_tokenizer
    pieces = list(in_pieces(Path(path).read_bytes().decode(), cut_anywhere))
    batch = _PORTION // PIECE
    clock = Clock()
    n_tokens = 0
    for first in range(0, len(pieces), batch):
        encodings = backend.encode_batch_fast(
            pieces[first : first + batch], add_special_tokens=False
        )
        n_tokens += sum(map(len, encodings))
    return clock.read(n_tokens)


class Clock:
    """Measures from its making on."""

    def __init__(self):
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self, n_tokens):
        wall, processor = time.perf_counter() - self.wall, time.process_time() - self.processor
        return {"tokens": n_tokens, "wall_s": wall, "processor_s": processor}


def apart(what, path, folder):
    """Measure in a process of its own, and its peak memory with it."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, "--measure", what, "--tokenizer", folder, path]
        environment = {**os.environ, "LAGSEARCH_CACHE": cache}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{what} failed")
    return {**json.loads(out), "peak_mib": usage.ru_maxrss / 1024}


def repeat(sources, megabytes, path):
    """Write files again and again, to a size."""
    text = b"".join(Path(each).read_bytes() for each in sources)
    with open(path, "wb") as file:
        for _ in range(max(1, round(megabytes * 1e6 / len(text)))):
            file.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--tokenizer", default=str(GPT2))
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--measure", choices=["store", "bare"])
    options = parser.parse_args()
    if options.measure:
        measured = {"store": store, "bare": bare}[options.measure]
        print(json.dumps(measured(options.texts[0], options.tokenizer)))
        return
    with tempfile.TemporaryDirectory() as root:
        small, large = f"{root}/small.txt", f"{root}/large.txt"
        repeat(options.texts, options.megabytes / 10, small)
        repeat(options.texts, options.megabytes, large)
        table = [("store", small)] + [("bare", large), ("store", large)] * options.rounds
        print("| | MB | tokens | tokens/s | of the processor's second | peak memory, MiB |")
        print("|---|---|---|---|---|---|")
        for what, path in table:
            got = apart(what, path, options.tokenizer)
            paces = [got["tokens"] / got[each] for each in ("wall_s", "processor_s")]
            megabytes = Path(path).stat().st_size / 1e6
            print(
                f"| {what} | {megabytes:,.0f} | {got['tokens']:,} | {paces[0]:,.0f} | "
                f"{paces[1]:,.0f} | {got['peak_mib']:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
