import json
import os
import random
import shutil
import sys
from itertools import count
from pathlib import Path

import finished
import pytest
from hypothesis import settings
from staged import STAGED, as_list
from undrawn.empty_figure import undrawn

from lagsearch import cli
from lagsearch.display.watch import Watch
from lagsearch.running import interrupts

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a test process for each core is enough
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads must not spin on a core of others
os.environ.setdefault("RAY_worker_niceness", "0")  # other tests must not starve Ray's workers
settings.register_profile("any-machine", deadline=None)  # a busy one is slow, not wrong
settings.load_profile("any-machine")

NUMBERS = count()
SHARED = Path(__file__).parents[2] / "shared"

SPACE = """\
name: tiny
seed: 3
data:
  train: {{files: [{corpus}]}}
  validation: {{fraction: 0.2}}
  tokenizer: bytes
  sequence_length: 16
objective: {{name: causal}}
sources:
  - name: small
    pretrain:
      config: {{model_type: llama, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32,
                num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}}
      steps: 20
target: {{num_hidden_layers: 4}}
candidates:
  - {{operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}}
training:
  steps: 24
  batch_size: 4
  optimizer: {{name: adamw, lr: 3e-3}}
  schedule: {{name: cosine, warmup_steps: 2}}
evaluation: {{batches: 4}}
search: {{lag: 10}}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Every test has a cache of its own, and no way to a hub."""
    folder = tmp_path_factory.getbasetemp() / "caches" / str(next(NUMBERS))  # tmp_path looks at all
    folder.mkdir(parents=True)
    monkeypatch.setenv("LAGSEARCH_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture(autouse=True)
def signals():
    """Commands that are called in this process leave its signals as they were."""
    with interrupts.kept():
        yield


@pytest.fixture(scope="session", autouse=True)
def unsynced():
    """Leave it to the system when what is written reaches the disk; processes still sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def tried_once():
    """Models of one configuration are tried once in a process: they generate, are saved and loaded.

    Nothing but the configuration decides how that ends; `models/test_checks.py` tries it.
    """
    from lagsearch.training import growth

    check, known = growth.check_running, set()

    def check_once(model, kind, *, saves=True):
        key = json.dumps([model.config.to_dict(), kind, saves], sort_keys=True, default=str)
        if key not in known:
            check(model, kind, saves=saves)
        known.add(key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "check_running", check_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """The folder that the processes of this session share, for what is made once for all."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "for-all"
    folder.mkdir(exist_ok=True)
    finished.HOME = folder
    return folder


@pytest.fixture(scope="session")
def corpus(home):
    """A text of 60 kB with something to learn in it."""
    words = [
        "the",
        "layer",
        "grows",
        "and",
        "the",
        "loss",
        "falls",
        "before",
        "a",
        "step",
        "is",
        "done",
        "with",
        "all",
        "of",
        "it",
    ]
    draw = random.Random(0)
    lines = (" ".join(draw.choices(words, k=9)) + ".\n" for _ in range(1400))
    text = "".join(lines)
    folder = finished.once("text", lambda folder: (folder / "corpus.txt").write_text(text))
    return folder / "corpus.txt"


@pytest.fixture
def trained(monkeypatch):
    """Have sources trained once for all tests, and copied to where a run looks for them.

    For tests of what comes behind: a run neither trains a source then nor says so.
    """
    from lagsearch.running import phases
    from lagsearch.storage.files import cache_root
    from lagsearch.training.loop import train
    from lagsearch.training.sources import is_cached, pretrained

    def train_alone(jobs):
        for job in jobs:
            list(train(job, job.training.steps))

    def copied(jobs, made_of, train_them, tell):
        missing, own = [each for each in jobs if not is_cached(made_of(each))], cache_root()
        with finished.cache_at(finished.HOME / "sources"):
            found = pretrained(missing, made_of, train_alone, lambda line: None)
        for folder in (each.state.parent for each in found):
            shutil.copytree(folder, own / "sources" / folder.name, dirs_exist_ok=True)
        return pretrained(jobs, made_of, train_them, tell)

    monkeypatch.setattr(phases, "pretrained", copied)


@pytest.fixture
def write_space(tmp_path, corpus):
    """Write the tiny space, with replacements, and return its path."""

    def write(*replacements: tuple[str, str], name: str = "space.yaml") -> Path:
        text = SPACE.format(corpus=corpus)
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def write_stages(tmp_path, corpus):
    """Write the tiny space with stages, with replacements, and return its path."""

    def write(*replacements: tuple[str, str], name: str = "stages.yaml", listed=False) -> Path:
        text = STAGED.format(corpus=corpus)
        text = as_list(text) if listed else text
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def silent():
    return Watch()


@pytest.fixture(scope="session", autouse=True)
def undrawn_elsewhere():
    """Have processes that tests start write figures empty, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).with_name("undrawn")), prepend=os.pathsep)
        yield


@pytest.fixture(autouse=True)
def drawn(request, monkeypatch):
    """Write figures empty where a test is not marked `draws`: that takes longer than its runs."""
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr("lagsearch.report.pictures.as_matplotlib.draw_sheet", undrawn)


def pytest_collection_modifyitems(items):
    """Begin with the slow tests, so that no core waits for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture
def checkpoint(tmp_path):
    """Save a small model with its tokenizer; return its folder."""

    def make(keys=None, kind="causal", name="source", seed=0, dtype=None):
        from checkpoints import save

        return save(tmp_path / name, keys, kind, seed, dtype)

    return make


@pytest.fixture
def call(monkeypatch, capsys):
    """Run `lagsearch` in this process; return its exit code and what it wrote to both streams."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lagsearch", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def grow(call):
    """Run `lagsearch grow`."""

    def run(*words):
        return call("grow", *words)

    return run
