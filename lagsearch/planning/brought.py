"""Checkpoints that users bring, as far as a plan asks: by tables, or else by transformers.

Neither torch nor transformers is imported where tables say all of a checkpoint, nor torch to say
what is wrong with its files. Nor are weights fetched from the hub where tables say all of it.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.display.watch import Watch
from lagsearch.errors import HubError, ModelError
from lagsearch.models.configs import read_config
from lagsearch.models.files import (
    check_config,
    fetch_weights,
    lacking_bytes,
    locate_checkpoint,
    weight_files,
)
from lagsearch.models.headers import TYPES, StoredTensor, tensors_in
from lagsearch.models.hub_files import hub_headers, hub_list
from lagsearch.models.tabled import TabledCheckpoint, open_tabled, read_tabled
from lagsearch.models.tabled_configs import stored_config
from lagsearch.planning.planned import PlannedSource
from lagsearch.space import StageFile
from lagsearch.storage.files import path_of


@dataclass(frozen=True)
class Brought:
    """A checkpoint before anything of it is grown.

    Attributes:
        folder: Where it is; its weights may still be on the hub.
        config: Its configuration, as the weights are.
        dtype: The type of most of its weights, as torch calls it.
        notes: What a user should know of what is read and what is not.
    """

    folder: Path
    config: Any
    dtype: str
    notes: tuple[str, ...] = ()


def read_brought(name: str, kind: str) -> Brought:
    """Read a checkpoint that is to be grown as a kind of model.

    Args:
        name: Its folder, or its name on the hub.
        kind: `causal` or `masked`.

    Raises:
        ModelError: It cannot be read, or lacks what the model needs.
    """
    folder, tensors = _found(name)
    tabled = read_tabled(folder, tensors)
    is_usual = tabled is not None and _predicts(tabled, kind)
    if tabled is not None and is_usual and (config := stored_config(tabled.config)) is not None:
        return Brought(folder, config, TYPES[tabled.usual_type])
    _check_files(name, folder)
    from lagsearch.models.checkpoints import open_checkpoint

    opened = open_checkpoint(folder, kind)
    opened.check_whole()
    stored = str(opened.tensors.usual_type).removeprefix("torch.")
    return Brought(folder, opened.config, stored, opened.notes)


def brought_config(name: str, *, fetch: bool = True) -> Any:
    """Read the configuration of a checkpoint, as its weights are.

    Args:
        name: Its folder, or its name on the hub.
        fetch: Whether the hub may be asked.

    Raises:
        ModelError: It cannot be read.
    """
    folder, tensors = _found(name, fetch=fetch)
    tabled = open_tabled(folder, tensors)
    if tabled is not None and (config := stored_config(tabled.config)) is not None:
        return config
    _check_files(name, folder, fetch=fetch)
    from lagsearch.models.checkpoints import load_config

    return load_config(folder)


def fetch_brought(
    file: StageFile, sources: Iterable[PlannedSource], watch: Watch | None = None
) -> None:
    """Fetch the weights of planned checkpoints, as far as they are still on the hub.

    Args:
        file: The space.
        sources: What was planned of it.
        watch: Is told what is fetched.

    Raises:
        SpaceError: They are not to be had.
    """
    for index, each in enumerate(sources):
        name = each.source.checkpoint
        if name is None or each.checkpoint is None or path_of(name).is_dir():
            continue
        try:
            lacks = lacking_bytes(name, each.checkpoint)
            what = f"fetching the weights of {name}, {lacks / 2**20:,.0f} MiB"
            with (watch or Watch()).doing(what, is_brief=not lacks):
                fetch_weights(name, each.checkpoint)
        except ModelError as error:
            raise file.error(("sources", index, "checkpoint"), str(error)) from None


def _found(name: str, *, fetch: bool = True) -> tuple[Path, Mapping[str, StoredTensor] | None]:
    """Return a checkpoint's folder, and its tensors where they are still on the hub.

    Raises:
        ModelError: There is none, or the hub does not say what tensors it has.
    """
    folder = locate_checkpoint(name, fetch=fetch, weights=False)
    check_config(folder)
    if not fetch or path_of(name).is_dir():
        return folder, None
    with suppress(ModelError):
        weight_files(folder)
        return folder, None
    if (listed := hub_list(name, folder)) is None:  # the hub was not reached
        return folder, None
    files = weight_files(folder, listed=listed)
    try:
        headers = hub_headers(name, tuple(files))
    except HubError as error:
        raise ModelError(
            f"what tensors it has cannot be read on the hub ({error}); give a local path, or run "
            f"`hf download {name}` first, which fetches all of it"
        ) from error
    return folder, tensors_in(files, headers.__getitem__)


def _predicts(tabled: TabledCheckpoint, kind: str) -> bool:
    """Return whether a checkpoint's own class is of a kind."""
    [name] = tabled.config.architectures or [""]
    return ("MaskedLM" in name) == (kind == "masked")


def _check_files(name: str, folder: Path, *, fetch: bool = True) -> None:
    """Check what needs no torch of a checkpoint's files, all of which are here then.

    Raises:
        ModelError: Its configuration or one of its files cannot be read.
    """
    read_config(folder)
    fetch_weights(name, folder, fetch=fetch)
    tensors_in(weight_files(folder))
