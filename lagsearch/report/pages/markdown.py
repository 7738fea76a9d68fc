"""`report.md`: the numbers as a page that reads alone."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from lagsearch.report.words.stage import (
    Grid,
    Points,
    Section,
    ranking,
    sections,
    tell_source,
)
from lagsearch.report.words.verdict import advise, judge

_MARKS = re.compile(r"[\\`*]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(")
"""What Markdown would not show but read: not an underscore within a word."""


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
        f"# {plain(report['name'])}",
        bold(judge(report).lines),
        f"Next: {plain(advice.line)}{command}",
        *(["\n".join(map(tell_source, report["sources"]))] if report["sources"] else []),
        markdown_section(ranking(report)),
        *drawn[:1],
        *scored,
        *drawn[1:],
        *told.values(),
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Write a text so that it is shown as it is: names come from users."""
    return _MARKS.sub(r"\\\g<0>", escape(text, quote=False))


def bold(lines: Sequence[str]) -> str:
    """Write lines in bold, each on its own."""
    return "\n".join(f"**{plain(line)}**  " for line in lines)


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
