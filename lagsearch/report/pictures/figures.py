"""Figures on paper, in files: drawn where they are not there, or would come out otherwise."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lagsearch.report.pictures.picture import Sheet
from lagsearch.report.pictures.style import FORMATS, LIGHT, PAGE_WIDTH
from lagsearch.storage.files import digest, file_digest


def draw_sheets(
    sheets: Sequence[Sheet], folder: Path, width: float = PAGE_WIDTH
) -> list[tuple[str, str]]:
    """Draw figures, and return the file name of the PNG, and the caption, of each.

    Args:
        sheets: What is drawn.
        folder: Where to.
        width: Of the figures, in inches.
    """
    how = [file_digest(Path(__file__).with_name("as_matplotlib.py")), version("matplotlib")]
    for sheet in sheets:
        paths = {kind: folder / f"{sheet.key}.{kind}" for kind in FORMATS}
        drawn_from = digest([*how, LIGHT, FORMATS, width, _plain(sheet)])
        if not _is_drawn(list(paths.values()), drawn_from):
            from lagsearch.report.pictures.as_matplotlib import write_figure

            paths[[*FORMATS][-1]].unlink(
                missing_ok=True
            )  # it would tell of files that are not there
            write_figure(sheet, paths, width, {"Identifier": drawn_from})
    return [(f"{sheet.key}.png", sheet.caption) for sheet in sheets]


def _is_drawn(paths: Sequence[Path], drawn_from: str) -> bool:
    """Return whether a figure's files are there, drawn from this."""
    if not all(path.is_file() and path.stat().st_size for path in paths):
        return False
    return f">{drawn_from}<".encode() in paths[-1].read_bytes()


def _plain(value: Any) -> Any:
    """Return what is drawn as JSON-like values."""
    if is_dataclass(value):
        named = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        return {type(value).__name__: named}
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(each)] for key, each in value.items()]
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value.item() if isinstance(value, np.generic) else value
    return [_plain(each) for each in value]
