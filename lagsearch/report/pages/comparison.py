"""A comparison of runs in a folder: `compare.md`, `compare.html`, `tables/*.csv` and figures."""

from pathlib import Path
from typing import Any

from lagsearch.errors import LagsearchError, counted
from lagsearch.report.numbers.tables import write_comparison_tables
from lagsearch.report.pages.html import page, svg
from lagsearch.report.pages.markdown import write_markdown
from lagsearch.report.words.comparison import comparison_sections
from lagsearch.storage.files import write_text


def write_comparison(comparison: dict[str, Any], folder: Path) -> None:
    """Write pages, tables and figures of a comparison.

    Args:
        comparison: As `compare` returns it.
        folder: A new or empty one, or that of an earlier comparison.

    Raises:
        LagsearchError: The folder holds something else; nothing was written.
    """
    from lagsearch.report.pictures.comparison import draw_comparison

    _check_free(folder)
    figures = draw_comparison(comparison, folder / "figures")
    write_comparison_tables(comparison, folder / "tables")
    names = [run["name"] for run in comparison["runs"]]
    title, sections = f"{counted(len(names), 'run')} side by side", comparison_sections(comparison)
    write_text(folder / "compare.md", write_markdown(title, [*sections, *figures]))
    drawn = [(svg(folder / "figures" / name), caption) for name, caption in figures]
    made = page(
        "comparison.html",
        title=title,
        facts=" · ".join(names),
        sections=sections,
        figures=drawn,
    )
    write_text(folder / "compare.html", made)


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier comparison."""
    if folder.exists() and not folder.is_dir():
        raise LagsearchError(f"{folder}: is no folder; choose another with --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "compare.md").is_file():
        message = "has files, but no comparison; choose another folder with --out"
        raise LagsearchError(f"{folder}: {message}")
