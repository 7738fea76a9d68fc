"""Pages in Markdown, for all kinds of reports: they read alone."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from lagsearch.report.words.parts import Grid, Part, Quotes, Section

_MARKS = re.compile(r"[\\`*]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(")
"""What Markdown would not show but read: not an underscore within a word."""

Figure = tuple[str, str]
"""File name in `figures/`, and caption."""

Passage = str | Section | Figure
"""Markdown, a section, or a figure."""


def write_markdown(title: str, passages: Iterable[Passage]) -> str:
    """Return a page.

    Args:
        title: As text.
        passages: In reading order: Markdown, sections, and figures.
    """
    return "\n\n".join([f"# {escape_markdown(title)}", *map(_passage, passages)]) + "\n"


def escape_markdown(text: str) -> str:
    """Write a text so that it is shown as it is: names come from users."""
    return _MARKS.sub(r"\\\g<0>", escape(text, quote=False))


def bold(lines: Sequence[str]) -> str:
    """Write lines in bold, each on its own."""
    return "\n".join(f"**{escape_markdown(line)}**  " for line in lines)


def markdown_section(section: Section) -> str:
    """Write a section as Markdown."""
    return "\n\n".join([f"## {section.title}", *map(_part, section.parts)])


def _passage(passage: Passage) -> str:
    if isinstance(passage, Section):
        return markdown_section(passage)
    if isinstance(passage, str):
        return passage
    name, caption = passage
    return f"![{caption}](figures/{name})\n\n*{caption}*"


def _part(part: Part) -> str:
    if isinstance(part, Quotes):
        return "\n".join(f"- {escape(point, quote=False)}" for point in part.points)
    if isinstance(part, Grid):
        rows = [part.head, ["---"] * len(part.head), *part.rows]
        safe = ([cell.replace("|", "/") for cell in row] for row in rows)
        return "\n".join(f"| {' | '.join(row)} |" for row in safe)
    return part
