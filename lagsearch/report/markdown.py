"""`report.md`: the numbers as a page that reads alone."""

from html import escape
from pathlib import Path
from typing import Any

from lagsearch.report.sections import Grid, Points, Section, ranking, sections, tell_source
from lagsearch.report.verdict import advise, judge


def write_page(report: dict[str, Any], figures: list[tuple[str, str]], folder: Path) -> str:
    """Return the page.

    Args:
        report: As `report.json`.
        figures: File name and caption of each figure.
        folder: The run folder, as in commands.
    """
    advice = advise(report, folder)
    command = f"\n\n```sh\n{advice.command}\n```" if advice.command else ""
    drawn = [f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in figures]
    told = {name: markdown_section(section) for name, section in sections(report).items()}
    scored = [told.pop(name) for name in ("strategies", "scores") if name in told]
    parts = [
        f"# {escape(report['name'], quote=False)}",
        "\n".join(f"**{escape(line, quote=False)}**  " for line in judge(report).lines),
        f"Next: {escape(advice.line, quote=False)}{command}",
        *(["\n".join(map(tell_source, report["sources"]))] if report["sources"] else []),
        markdown_section(ranking(report)),
        *drawn[:1],
        *scored,
        *drawn[1:],
        *told.values(),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_section(section: Section) -> str:
    """Write a section as Markdown."""
    return "\n\n".join([f"## {section.title}", *(_part(part) for part in section.parts)])


def _part(part: str | Grid | Points) -> str:
    if isinstance(part, Grid):
        return _grid(part.head, part.rows)
    if isinstance(part, Points):
        return "\n".join(f"- {escape(item, quote=False)}" for item in part.items)
    return part


def _grid(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
