"""Plans and results as HTML for a notebook: one table that needs nothing, in light and in dark.

Colours are those of the text around it, which a notebook sets for both; no script, no style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lagsearch.display.layer_blocks import drawn_blocks, palette_of
from lagsearch.operators.plan.growth import legend
from lagsearch.report.numbers.trust import HEADLINES
from lagsearch.report.words.verdict import judge

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


def result_html(report: dict[str, Any], folder: Path) -> str:
    """Return what a run came to: its verdict, and the ranking.

    Args:
        report: As `report.json`, with stages or without.
        folder: The run folder.
    """
    files = f"The whole report: {folder / 'report.html'}"
    if report.get("kind") == "stages":
        return _stages_html(report, files)
    lag, end = str(report["lag"]), str(report["steps"])
    verdict = judge(report)
    rows = [
        Row(
            f"{each['rank']}. {each['name']}",
            each["layer_map"],
            (
                _loss(each["val_loss"].get(lag)),
                _loss(each["val_loss"].get(end)),
                each["status"] if each["status"] != "ok" else "",
            ),
        )
        for each in report["candidates"]
    ]
    heads = ("candidate", f"loss at {int(lag):,}", f"loss at {int(end):,}", "")
    title = f"{verdict.lines[0]} {HEADLINES[verdict.trust]}."
    return table_html(title, heads, rows, files)


def _stages_html(report: dict[str, Any], files: str) -> str:
    from lagsearch.report.words.staged_verdict import judge as judge_stages

    rows = [
        Row(
            f"{each['number']}. {each['winner']}",
            each["layer_map"],
            (f"{each['candidates']:,}", f"{each['steps']:,}", _loss(each["val_loss"])),
        )
        for each in report["courses"][0]["stages"]
    ]
    heads = ("stage", "candidates", "steps", "loss at its end")
    return table_html(judge_stages(report)[0], heads, rows, files)


def _cell(kind: str, inner: str) -> str:
    return f'<{kind} style="{_CELL}">{inner}</{kind}>'


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
