"""What is wrong with a checkpoint and a text, as far as it is seen without torch."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lagsearch.data.text.files import files_in
from lagsearch.errors import DataError, ModelError
from lagsearch.models.files import check_config
from lagsearch.storage.files import path_of

LARGEST_FACTOR = 16
"""Times by which a depth or a width may grow at once."""


def check_before_loading(checkpoint: str, texts: Sequence[str], layers: int | None) -> None:
    """Check a checkpoint's folder, the files of texts, and the layers that are asked for.

    Args:
        checkpoint: A folder or a name on the hub, which is not looked at.
        texts: Files, folders or names.
        layers: The target's, where they are given.

    Raises:
        LagsearchError: The folder is no checkpoint, a text is empty, or the layers are too few.
    """
    folder = path_of(checkpoint)
    if folder.is_dir():
        check_config(folder)
        if layers is not None and (own := _depth(folder)) is not None:
            check_layers(checkpoint, own, layers)
    paths = [path for text in texts if path_of(text).exists() for path in files_in(path_of(text))]
    if paths and not any(path.stat().st_size for path in paths):
        raise DataError(f"{', '.join(texts)}: there is no text in it")


def check_layers(checkpoint: str, own: int, wanted: int) -> None:
    """Check that a target is deeper than a checkpoint, and not too deep for one growth.

    Args:
        checkpoint: Its name.
        own: Its layers.
        wanted: The target's.

    Raises:
        ModelError: It is not.
    """
    if wanted <= own:
        message = f"{checkpoint} has {own} layers already; give more, e.g. {2 * own}"
        raise ModelError(f"--layers {wanted}: {message}")
    if wanted > (most := LARGEST_FACTOR * own):
        raise ModelError(
            f"--layers {wanted}: {checkpoint} has {own} layers; give {most} at most, e.g. "
            f"{2 * own}: to grow farther, grow what comes out of it again"
        )


def _depth(folder: Path) -> int | None:
    """Return a checkpoint's layers, where its configuration says them under a usual name."""
    with suppress(OSError, ValueError, AttributeError):
        keys = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = [keys.get(name) for name in ("num_hidden_layers", "n_layer", "num_layers")]
        return next((each for each in found if isinstance(each, int)), None)
    return None
