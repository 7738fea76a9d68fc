"""The console of this package: text of a run is text, whatever is in it, and fits the terminal."""

import os
import sys
from collections.abc import Collection, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from lagsearch.display.screen import leave, printable

_WIDTH_WITHOUT_TERMINAL = 120
_UNBOUNDED = 100_000


class _Plain(Console):
    """Prints strings as they are: no markup, no highlighting, nothing that steers a terminal."""

    @override
    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text), **how)

    @override
    def on_broken_pipe(self) -> None:
        leave(self.file)  # type: ignore[arg-type]  # rich says IO[str]


def make_console(stream: TextIO | None = None) -> Console:
    """Return a console as wide as the terminal or COLUMNS say, or 120 columns without either.

    Args:
        stream: Where it prints; standard output when left out.
    """
    stream = stream or sys.stdout
    is_known = stream.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    width = None if is_known else _WIDTH_WITHOUT_TERMINAL
    return _Plain(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_rows(console: Console, table: Table, may_go: Sequence[str] = ()) -> tuple[str, ...]:
    """Print a table; where it is too wide, each row as a paragraph of headings and values.

    Args:
        console: Where to.
        table: Its cells are strings; columns that wrap have a `min_width`.
        may_go: Headings of columns that are left out before that, in this order.

    Returns:
        The headings of those that were.
    """
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(len(str(cell)) for cell in (column.header, *column.cells))
    unbounded = console.options.update(max_width=_UNBOUNDED)
    for count in range(len(may_go) + 1):
        shown = _without(table, may_go[:count])
        if Measurement.get(console, unbounded, shown).minimum <= console.width:
            console.print(shown)
            return tuple(may_go[:count])
    for first, *rest in zip(*(column.cells for column in table.columns), strict=True):
        console.print(first)
        told = zip(table.columns[1:], rest, strict=True)
        line = "; ".join(f"{column.header}: {cell}" for column, cell in told if cell)
        console.print(Padding(plain(line), (0, 0, 0, 2)))
    return ()


def _without(table: Table, headings: Collection[str]) -> Table:
    """Return a table without some of its columns."""
    fewer = Table(box=table.box, pad_edge=table.pad_edge)
    kept = [each for each in table.columns if each.header not in headings]
    for each in kept:
        looks: dict[str, Any] = {"justify": each.justify, "no_wrap": each.no_wrap}
        fewer.add_column(each.header, min_width=each.min_width, **looks)
    for cells in zip(*(each.cells for each in kept), strict=True):
        fewer.add_row(*cells)
    return fewer


def plain(text: str) -> Text:
    """Return a text that is shown as it is, and that nothing in it can steer."""
    return Text(printable(text))
