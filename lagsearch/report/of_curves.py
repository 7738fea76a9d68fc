"""The report of curves that another trainer recorded."""

from pathlib import Path
from typing import Any

from lagsearch.errors import CurvesError
from lagsearch.records.folder import RunFolder
from lagsearch.records.imported_curves import AS_FOUND, Asked, read_curves
from lagsearch.records.manifest import read_with_manifest
from lagsearch.records.shapes import AnyReport
from lagsearch.report.numbers.stage import build_numbers
from lagsearch.report.numbers.statistics import statistics
from lagsearch.report.pictures.style import PAGE_WIDTH
from lagsearch.report.write import from_here, write_pages
from lagsearch.storage.files import write_json


def report_curves(
    path: Path,
    asked: Asked = AS_FOUND,
    out: Path | None = None,
    figure_width: float = PAGE_WIDTH,
    manifest: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Write the report of curves that another trainer recorded.

    Args:
        path: A CSV or Parquet file (`read_curves`).
        asked: What the file does not say.
        out: The report's folder; by default one beside the file, named after it.
        figure_width: Of the figures, in inches.
        manifest: That of the export whose checkpoints were trained: growths, FLOPs, layers.

    Returns:
        The folder, and what `report.json` holds.

    Raises:
        CurvesError: The file is wrong, or the folder holds something else; nothing was written.
    """
    folder = RunFolder(path.with_suffix("") if out is None else out)
    _check_free(folder)
    if manifest is None:
        run = read_curves(path, asked)
        report = statistics(run)
    else:
        run = read_with_manifest(path, manifest, asked)
        report = build_numbers(run) | {"manifest": str(from_here(manifest))}
    report |= {"curves": str(from_here(path)), "ignored": list(run.terms.ignored)}
    write_pages(report, folder, figure_width)
    write_json(folder.report_file, report)
    return folder.path, report


def _check_free(folder: RunFolder) -> None:
    """Refuse a folder that holds anything but an earlier report of curves."""
    if folder.path.is_dir() and any(folder.path.iterdir()):
        is_run = folder.space_file.exists() or not folder.report_file.is_file()
        if is_run or folder.report(AnyReport).get("curves") is None:
            message = "has files, but no report of curves; choose another folder with --out"
            raise CurvesError(f"{folder.path}: {message}")
    elif folder.path.exists() and not folder.path.is_dir():
        raise CurvesError(f"{folder.path}: is no folder; choose another with --out")
