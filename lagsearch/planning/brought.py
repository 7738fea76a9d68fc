"""Checkpoints that users bring, as far as a plan asks: by tables, or else by transformers.

Neither torch nor transformers is imported where tables say all of a checkpoint, nor torch to say
what is wrong with its files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.models.configs import read_config
from lagsearch.models.files import check_config, weight_files
from lagsearch.models.headers import TYPES, tensors_in
from lagsearch.models.tabled import TabledCheckpoint, open_tabled, read_tabled
from lagsearch.models.tabled_configs import stored_config


@dataclass(frozen=True)
class Brought:
    """A checkpoint before anything of it is grown.

    Attributes:
        config: Its configuration, as the weights are.
        dtype: The type of most of its weights, as torch calls it.
        notes: What a user should know of what is read and what is not.
    """

    config: Any
    dtype: str
    notes: tuple[str, ...] = ()


def read_brought(folder: Path, kind: str) -> Brought:
    """Read a checkpoint that is to be grown as a kind of model.

    Args:
        folder: Where it is.
        kind: `causal` or `masked`.

    Raises:
        ModelError: It cannot be read, or lacks what the model needs.
    """
    check_config(folder)
    tabled = read_tabled(folder)
    is_usual = tabled is not None and _predicts(tabled, kind)
    if tabled is not None and is_usual and (config := stored_config(tabled.config)) is not None:
        return Brought(config, TYPES[tabled.usual_type])
    _check_files(folder)
    from lagsearch.models.checkpoints import open_checkpoint

    opened = open_checkpoint(folder, kind)
    opened.check_whole()
    stored = str(opened.tensors.usual_type).removeprefix("torch.")
    return Brought(opened.config, stored, opened.notes)


def brought_config(folder: Path) -> Any:
    """Read the configuration of a checkpoint, as its weights are.

    Raises:
        ModelError: It cannot be read.
    """
    check_config(folder)
    tabled = open_tabled(folder)
    if tabled is not None and (config := stored_config(tabled.config)) is not None:
        return config
    _check_files(folder)
    from lagsearch.models.checkpoints import load_config

    return load_config(folder)


def _predicts(tabled: TabledCheckpoint, kind: str) -> bool:
    """Return whether a checkpoint's own class is of a kind."""
    [name] = tabled.config.architectures or [""]
    return ("MaskedLM" in name) == (kind == "masked")


def _check_files(folder: Path) -> None:
    """Check what of a checkpoint is checked without torch.

    Raises:
        ModelError: Its configuration or one of its files cannot be read.
    """
    read_config(folder)
    tensors_in(weight_files(folder))
