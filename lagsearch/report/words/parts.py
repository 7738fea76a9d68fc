"""What reports are told in: sections of paragraphs, tables and lists, for all kinds of pages."""

import re
from dataclasses import dataclass
from typing import Any

SHOWN = 50
"""Rows that a table in words lists; all are in `tables/`."""


@dataclass(frozen=True)
class Grid:
    """A table of words; backticks are around names, two stars around what stands out.

    Attributes:
        head: The columns' names.
        rows: Their cells.
        may_go: Columns that a narrow terminal leaves out, in this order.
    """

    head: list[str]
    rows: list[list[str]]
    may_go: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quotes:
    """A list of things that others said, which may hold any character.

    Attributes:
        points: One for each.
    """

    points: list[str]


Part = str | Grid | Quotes


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Its heading.
        parts: Paragraphs, tables and lists in reading order.
    """

    title: str
    parts: tuple[Part, ...]


def loss_cell(value: float | None) -> str:
    """Write a loss in a table."""
    return "" if value is None else f"{value:.4f}"


def code(text: str) -> str:
    """Set a name apart."""
    return f"`{text}`"


def unmarked(text: str) -> str:
    """Return a text without the marks around names and around what stands out."""
    return re.sub(r"`([^`]*)`|\*\*([^*]*)\*\*", r"\1\2", text)


def score_cell(score: dict[str, Any] | None, digits: int = 2) -> str:
    """Write a score with its interval in a table."""
    if score is None:
        return ""
    if score["value"] is None:
        return "not defined"
    low, high = score["interval"] or (None, None)
    shown = f"{score['value']:.{digits}f}"
    return shown if low is None else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"
