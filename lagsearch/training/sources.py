"""Trained sources in the cache: pretrained once, or a checkpoint made ready once.

A source's folder holds `state.safetensors` (weights and, if it was trained here, moments),
`curve.jsonl` and, when it is complete, its record `source.json` and a seal.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lagsearch.display.watch import Progress
from lagsearch.models.checkpoints import checkpoint_digest, load_checkpoint
from lagsearch.records.curve import read_curve
from lagsearch.storage.cache import CacheEntry, provide
from lagsearch.storage.files import (
    cache_root,
    digest,
    write_json,
)
from lagsearch.training.job import Job
from lagsearch.training.loop import train
from lagsearch.training.state import SavedAt, save_state

FORMAT = 1
"""Raise when the same words would train another source."""


@dataclass(frozen=True)
class CachedSource:
    """A source that is ready to be grown.

    Attributes:
        state: Its weights and moments.
        facts: Its name, the digest of what made it, steps, validation loss, FLOPs, and whether
            its optimizer state is there.
    """

    state: Path
    facts: dict[str, Any]


def pretrained(
    job: Job,
    made_of: Any,
    follow: Callable[[Progress], None],
    tell: Callable[[str], None],
    advance: Callable[[Job, int], Iterator[Progress]] = train,
) -> CachedSource:
    """Train a source, or take it from the cache; an interrupted one goes on.

    Args:
        job: How to train it; its files are placed here.
        made_of: All that decides its weights, as plain values.
        follow: Is told of every sign of life.
        tell: Is told in a line when there is something to wait for.
        advance: Trains a job up to a step.

    Raises:
        CandidateFailed: Its loss is NaN or infinite.
    """
    entry = _entry(made_of)
    folder = entry.folder
    job = replace(job, state=folder / "state.safetensors", curve=folder / "curve.jsonl")

    def build() -> None:
        for progress in advance(job, job.training.steps):
            follow(progress)
        last = read_curve(job.curve).evaluations[-1]
        facts = {
            "kind": "pretrained",
            "steps": last.step,
            "val_loss": last.val_loss,
            "flops": last.flops,
            "wall_s": last.wall_s,
            "has_optimizer_state": True,
            "made_of": made_of,
        }
        write_json(entry.record, facts)

    provide(entry, build, tell)
    return _cached(entry, job.name)


def from_checkpoint(
    name: str, checkpoint: Path, kind: str, n_tokens: int | None, tell: Callable[[str], None]
) -> CachedSource:
    """Make a checkpoint's weights ready, once for each content.

    Args:
        name: The source's name.
        checkpoint: Its folder.
        kind: `causal` or `masked`.
        n_tokens: Rows of its embedding, where they are more than it brings.
        tell: Is told in a line when there is something to wait for.

    Raises:
        ModelError: It cannot be read.
    """
    made_of = [checkpoint_digest(checkpoint), kind] + ([n_tokens] if n_tokens else [])
    entry = _entry(*made_of)

    def build() -> None:
        model = load_checkpoint(checkpoint, kind, n_tokens)
        save_state(entry.folder / "state.safetensors", model, None, SavedAt(0, 0.0))
        facts = {"kind": "checkpoint", "flops": None, "has_optimizer_state": False}
        write_json(entry.record, facts | {"checkpoint": str(checkpoint)})

    provide(entry, build, tell)
    return _cached(entry, name)


def is_cached(made_of: Any) -> bool:
    """Return whether a pretrained source is complete and whole in the cache."""
    return _entry(made_of).is_usable()


def _entry(*made_of: Any) -> CacheEntry:
    return CacheEntry(cache_root() / "sources" / digest([FORMAT, *made_of]))


def _cached(entry: CacheEntry, name: str) -> CachedSource:
    facts = entry.facts()
    for key in ("made_of", "checkpoint"):
        facts.pop(key, None)
    known = {"name": name, "digest": entry.folder.name}
    return CachedSource(entry.folder / "state.safetensors", {**known, **facts})
