"""Memory of each process while a checkpoint is grown into a model that they hold in parts.

    python tests/benchmarks/device_memory.py [--processes 10]

Private memory (`RssAnon` of Linux, so that mapped files do not count) beyond that of a process that
has joined the others, at its most while the model is built, placed and filled with weights and
moments; then what the same takes in one process. The source has 8 layers and its moments, the
target 16 layers.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from lagsearch.models.build import n_parameters
from lagsearch.models.configs import build_config, plain_config
from lagsearch.operators.catalog.scratch import fresh_plan
from lagsearch.operators.plan.growth import GrowthPlan, copies
from lagsearch.space import Training
from lagsearch.training.growth import build, grow_job
from lagsearch.training.job import Compute, Job
from lagsearch.training.loop import computing
from lagsearch.training.optimizer import make_optimizer, zero_state
from lagsearch.training.ranks import ALONE, Ranks
from lagsearch.training.state import SavedAt, save_state

SIZES = {
    "model_type": "llama", "hidden_size": 512, "intermediate_size": 1376, "vocab_size": 4096,
    "num_attention_heads": 8, "max_position_embeddings": 128, "tie_word_embeddings": False,
}  # fmt: skip
SOURCE, TARGET = 8, 16


def job_of(layers: int, plan: GrowthPlan, sources: tuple[Path, ...] = ()) -> Job:
    """Return a job of which nothing but its growth is of interest."""
    config = build_config({**SIZES, "num_hidden_layers": layers})
    text = SimpleNamespace(objective=SimpleNamespace(kind="causal"))
    return Job(
        "model", plain_config(config), plan, sources, 0, 0, Training(), text, Compute(), (),
        Path(), Path(), 0, is_first_of_its_shape=False,
    )  # fmt: skip


def private_bytes() -> int:
    """Return the private memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


class Peak:
    """The most private memory inside, beyond that at its beginning."""

    def __enter__(self) -> "Peak":
        self.begin = self.most = private_bytes()
        self.is_on = True
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self) -> None:
        while self.is_on:
            self.most = max(self.most, private_bytes())
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self.most = max(self.most, private_bytes())
        self.is_on = False
        self.thread.join()

    @property
    def bytes(self) -> int:
        """How much."""
        return self.most - self.begin


def grown(source: Path, ranks: Ranks) -> int:
    """Grow the source; return the most memory that it took."""
    plan = GrowthPlan(copies([at % SOURCE for at in range(TARGET)]))
    job = job_of(TARGET, plan, (source,))
    with computing(job.compute), Peak() as peak:
        model = ranks.place(build(job), torch.device("cpu"))
        optimizer = make_optimizer(model, job.training.optimizer)
        object.__setattr__(job, "n_parameters", n_parameters(model))
        list(grow_job(job, model, optimizer, ranks))
    return peak.bytes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--rank", nargs=3, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.rank:
        source, number, store = words.rank
        warm_up()
        if words.processes == 1:
            print(grown(Path(source), ALONE))
            return
        from torch import distributed

        from lagsearch.training.group import RankGroup

        distributed.init_process_group(
            "gloo", init_method=store, rank=int(number), world_size=words.processes
        )
        print(grown(Path(source), RankGroup(shards_model=True)))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.safetensors"
        model = build(job_of(SOURCE, fresh_plan(SOURCE)))
        optimizer = make_optimizer(model, Training().optimizer)
        zero_state(optimizer, model)
        save_state(source, model, optimizer, SavedAt(0, 0.0))
        tell(source, words.processes, folder)


def warm_up() -> None:
    """Have all imported and allocated that a process has once."""
    small = {**SIZES, "hidden_size": 16, "intermediate_size": 16, "vocab_size": 16}
    config = build_config({**small, "num_hidden_layers": 1})
    job = job_of(1, fresh_plan(1))
    build(Job(**{**vars(job), "config": plain_config(config)}))


def tell(source: Path, processes: int, folder: str) -> None:
    whole = build(job_of(TARGET, fresh_plan(TARGET)))
    weights = 4 * n_parameters(whole)
    largest = max(4 * each.numel() for each in whole.parameters())
    del whole
    print(
        f"weights {weights / 2**20:.0f} MiB, with moments {3 * weights / 2**20:.0f} MiB, ", end=""
    )
    print(f"largest tensor {largest / 2**20:.1f} MiB, {processes} processes")
    for count in (processes, 1):
        command = [sys.executable, __file__, "--processes", str(count), "--rank", str(source)]
        store = f"file://{folder}/store-{count}"
        started = [
            subprocess.Popen([*command, str(number), store], stdout=subprocess.PIPE, text=True)
            for number in range(count)
        ]
        taken = [int(each.communicate()[0]) / 2**20 for each in started]
        share = 3 * weights / count / 2**20
        print(f"{count} processes: at most {max(taken):.0f} MiB each; its share is {share:.0f} MiB")


if __name__ == "__main__":
    main()
