"""Datasets of the Hugging Face hub, and folders that `datasets` reads, as documents."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from typing_extensions import override

from lagsearch.data.text.documents import (
    Cut,
    Piece,
    Unit,
    in_pieces,
)
from lagsearch.data.text.files import as_text, files_in
from lagsearch.errors import DataError, brief
from lagsearch.space import TextOrigin
from lagsearch.storage.files import file_digest, path_of

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MANY = 200_000
"""Rows that take a while to read."""


@dataclass(frozen=True)
class HubDataset(Unit):
    """A dataset, one column of which holds documents; null is none, nor is an empty one.

    Attributes:
        origin: What the space says.
        commit: What its content is known by, where it is not read to find that out.
        tell: Is told in a line when there is something to wait for.
    """

    origin: TextOrigin
    commit: str | None
    tell: Callable[[str], None]

    @property
    @override
    def name(self) -> str:
        origin = self.origin
        return " ".join(filter(None, [origin.hub, origin.config, origin.split]))

    @property
    @override
    def size(self) -> int:
        return 0

    @override
    def digest(self) -> str:
        return self._digest

    @override
    def ready(self) -> None:
        _ = self.rows

    @cached_property
    def rows(self) -> Any:
        """The dataset as `datasets` has it."""
        import datasets

        from lagsearch.models.configs import quiet

        quiet()
        datasets.disable_progress_bars()
        origin, commit = self.origin, self.commit
        with _fetching(origin):
            folder = path_of(origin.hub or "")
            rows: Any = datasets.load_dataset(
                str(folder) if folder.is_dir() else origin.hub,
                origin.config,
                split=origin.split,
                revision=commit if commit and _COMMIT.fullmatch(commit) else origin.revision,
                streaming=origin.streaming,
            )
            names = rows.column_names or list(next(iter(rows), {}))
        if origin.column not in names:
            listed = ", ".join(names)
            raise DataError(
                f"dataset {origin.hub!r} has no column {origin.column!r}; it has: {listed}"
            )
        return rows

    @cached_property
    def _digest(self) -> str:
        origin = self.origin
        if self.commit is not None:
            made_of = ["hub", origin.hub, self.commit, origin.config, origin.split, origin.column]
            return hashlib.sha256(json.dumps([*made_of, "records"]).encode()).hexdigest()[:16]
        if len(self.rows) > _MANY:
            self.tell(f"reading {self.name} to know it by its content, {len(self.rows):,} rows")
        hasher = hashlib.sha256(b"records")
        for text in self._texts(0):
            if text:
                hasher.update(text.encode() + b"\0")
        return hasher.hexdigest()[:16]

    @override
    def pieces(self, after: int, cut: Cut) -> Iterator[Piece]:
        rows = None if self.origin.streaming else len(self.rows)
        for number, text in enumerate(self._texts(after), start=after):
            if not text:
                continue
            done = (number + 1) / rows if rows else None
            *before, last = in_pieces(text, cut)
            for each in before:
                yield Piece(each, False, None, done)
            yield Piece(last, True, number + 1, done)

    def _texts(self, after: int) -> Iterator[str | None]:
        """Yield the text of each row."""
        column, rows = self.origin.column, self.rows
        try:
            if after and not self.origin.streaming and after >= len(rows):
                return  # there skip would raise
            rows = rows.skip(after) if after else rows
            for row in rows.select_columns([column]):
                yield as_text(row[column], column)
        except DataError as error:
            raise DataError(f"dataset {self.origin.hub!r}: {error}") from None
        except Exception as error:  # of many types: a network, a broken file
            raise DataError(f"dataset {self.origin.hub!r}: {brief(error)}") from error


def open_hub(origin: TextOrigin, tell: Callable[[str], None] = lambda line: None) -> HubDataset:
    """Find a dataset; one that is streamed is not fetched before it is read.

    Args:
        origin: What the space says.
        tell: Is told in a line when there is something to wait for.

    Raises:
        DataError: It cannot be had, or has no such column.
    """
    with _fetching(origin):
        dataset = HubDataset(origin, _commit(origin) if origin.streaming else None, tell)
    if not origin.streaming:
        dataset.ready()
    return dataset


@contextmanager
def _fetching(origin: TextOrigin) -> Iterator[None]:
    """Say in one line why a dataset cannot be had."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # datasets and the hub raise many types; all mean: not to be had
        pinned = "; text that is tokenized already needs none with a commit as `revision`"
        raise DataError(
            f"dataset {origin.hub!r} cannot be fetched ({brief(error)}); give local `files`, the "
            "path of a local folder as `hub`, or set HF_HOME to a cache that has it, and "
            f"HF_HUB_OFFLINE=1 where there is no network{pinned if origin.streaming else ''}"
        ) from error


def _commit(origin: TextOrigin) -> str:
    """Return what a dataset's content is known by: the hub's commit, or a local folder's files."""
    name = origin.hub or ""
    if (folder := path_of(name)).is_dir():
        hashes = [[str(each.relative_to(folder)), file_digest(each)] for each in files_in(folder)]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    if origin.revision is not None and _COMMIT.fullmatch(origin.revision):
        return origin.revision
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(name, revision=origin.revision).sha)
