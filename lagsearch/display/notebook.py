"""Tables of plans and results as HTML for a notebook: one that needs nothing, in light and dark.

Colours are those of the text around it, which a notebook sets for both; no script, no style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lagsearch.display.layer_blocks import drawn_blocks, legend, palette_of

_SHOWN = 50
"""Rows that a table has at most; the report has all."""

_CELL = "padding:.2em .8em .2em 0;text-align:left;vertical-align:middle;background:none"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: What it is of.
        layer_map: Its layers drawn, e.g. `0 1 0* 1* 2`; None where they are not known.
        numbers: What else is known, as texts.
    """

    name: str
    layer_map: str | None
    numbers: tuple[str, ...]


def table_html(title: str, heads: Sequence[str], rows: Sequence[Row], more: str = "") -> str:
    """Return a table with the layers of each row as blocks.

    Args:
        title: A sentence above it, as text.
        heads: Of the first column, and of the numbers.
        rows: Those after the first 50 are only counted.
        more: A sentence below it, as text.
    """
    shown = rows[:_SHOWN]
    maps = [each.layer_map for each in shown if each.layer_map is not None]
    palette = palette_of(maps)
    first, *numbers = heads
    head = "".join(_cell("th", escape(each)) for each in (first, "layers", *numbers))
    body = "".join(
        "<tr>"
        + _cell("td", escape(each.name))
        + _cell("td", drawn_blocks(each.layer_map, palette) if each.layer_map else "")
        + "".join(_cell("td", escape(number)) for number in each.numbers)
        + "</tr>"
        for each in shown
    )
    left = len(rows) - len(shown)
    notes = [f"And {left:,} more."] if left else []
    notes += [f"{legend(maps)}."] if maps else []
    notes += [more] if more else []
    return (
        f'<div style="overflow-x:auto"><p>{escape(title)}</p>'
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table><p><small>{escape(' '.join(notes))}</small></p></div>"
    )


def _cell(kind: str, inner: str) -> str:
    return f'<{kind} style="{_CELL}">{inner}</{kind}>'
