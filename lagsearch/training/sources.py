"""Trained sources in the cache: pretrained once, or a checkpoint made ready once.

A source's folder holds `state.safetensors` (weights and, if it was trained here, moments),
`curve.jsonl` and, when it is complete, its record `source.json` and a seal.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lagsearch.models.checkpoints import checkpoint_digest, load_checkpoint
from lagsearch.records.curve import read_curve
from lagsearch.storage.cache import CacheEntry, making, provide
from lagsearch.storage.files import (
    cache_root,
    digest,
    write_json,
)
from lagsearch.training.interrupted import told_where
from lagsearch.training.job import Job
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
    jobs: Sequence[Job],
    made_of: Callable[[Job], Any],
    train: Callable[[Sequence[Job]], None],
    tell: Callable[[str], None],
) -> list[CachedSource]:
    """Train sources, or take them from the cache; interrupted ones go on.

    Args:
        jobs: How to train them; their files are placed here.
        made_of: Gives all that decides a job's weights, as plain values.
        train: Trains those that are missing to their completions.
        tell: Is told in a line when there is something to wait for.
    """
    entries = [_entry(made_of(job)) for job in jobs]
    in_order = sorted(zip(entries, jobs, strict=True), key=lambda each: each[0].name)
    with ExitStack() as stack:  # in one order, so that processes do not wait for one another
        missing = [
            (entry, _placed(job, entry))
            for entry, job in in_order
            if stack.enter_context(making(entry, tell))
        ]
        if missing:
            left = [job for _, job in missing]
            with told_where(left):
                train(left)
        for entry, job in missing:
            last = read_curve(job.curve).evaluations[-1]
            facts = {
                "kind": "pretrained",
                "steps": last.step,
                "val_loss": last.val_loss,
                "flops": last.flops,
                "wall_s": last.wall_s,
                "has_optimizer_state": True,
                "made_of": made_of(job),
            }
            write_json(entry.record, facts)
    return [_cached(entry, job.name) for entry, job in zip(entries, jobs, strict=True)]


def _placed(job: Job, entry: CacheEntry) -> Job:
    """Return a job whose files are those of an entry."""
    state, curve = entry.folder / "state.safetensors", entry.folder / "curve.jsonl"
    return replace(job, state=state, curve=curve)


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
