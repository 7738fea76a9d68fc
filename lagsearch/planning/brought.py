"""Checkpoints that users bring, as far as a plan asks: by tables, or else by transformers.

Neither torch nor transformers is imported where tables say all of a checkpoint, nor torch to say
what is wrong with its files. Nor are weights fetched from the hub where tables say all of it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.errors import HubError, ModelError
from lagsearch.models.configs import read_config
from lagsearch.models.files import check_config, locate_checkpoint, weight_files
from lagsearch.models.headers import TYPES, StoredTensor, tensors_in
from lagsearch.models.hub_files import hub_tensors
from lagsearch.models.tabled import TabledCheckpoint, open_tabled, read_tabled
from lagsearch.models.tabled_configs import stored_config
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
    folder = _checked(name)
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
    tabled = open_tabled(*_found(name, fetch=fetch))
    if tabled is not None and (config := stored_config(tabled.config)) is not None:
        return config
    folder = _checked(name, fetch=fetch)
    from lagsearch.models.checkpoints import load_config

    return load_config(folder)


def _found(name: str, *, fetch: bool = True) -> tuple[Path, Mapping[str, StoredTensor] | None]:
    """Return a checkpoint's folder, and its tensors where they are still on the hub.

    Raises:
        ModelError: There is none.
    """
    folder = locate_checkpoint(name, fetch=fetch, weights=False)
    check_config(folder)
    if not fetch or path_of(name).is_dir():
        return folder, None
    with suppress(ModelError):
        weight_files(folder)
        return folder, None
    with suppress(HubError):
        return folder, hub_tensors(name, folder)
    return locate_checkpoint(name), None


def _predicts(tabled: TabledCheckpoint, kind: str) -> bool:
    """Return whether a checkpoint's own class is of a kind."""
    [name] = tabled.config.architectures or [""]
    return ("MaskedLM" in name) == (kind == "masked")


def _checked(name: str, *, fetch: bool = True) -> Path:
    """Return the folder of a checkpoint, with all files, of which what needs no torch is checked.

    Raises:
        ModelError: Its configuration or one of its files cannot be read.
    """
    folder = locate_checkpoint(name, fetch=fetch)
    read_config(folder)
    tensors_in(weight_files(folder))
    return folder
