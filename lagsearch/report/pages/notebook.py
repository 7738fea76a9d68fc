"""What a run came to, as HTML for a notebook."""

from pathlib import Path
from typing import Any

from lagsearch.display.notebook import Row, table_html
from lagsearch.report.numbers.trust import HEADLINES
from lagsearch.report.words.parts import loss_cell
from lagsearch.report.words.verdict import judge, judge_courses


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
                loss_cell(each["val_loss"].get(lag)),
                loss_cell(each["val_loss"].get(end)),
                each["status"] if each["status"] != "ok" else "",
            ),
        )
        for each in report["candidates"]
    ]
    heads = ("candidate", f"loss at {int(lag):,}", f"loss at {int(end):,}", "")
    title = f"{verdict.lines[0]} {HEADLINES[verdict.trust]}."
    return table_html(title, heads, rows, files)


def _stages_html(report: dict[str, Any], files: str) -> str:
    rows = [
        Row(
            f"{each['number']}. {each['winner']}",
            each["layer_map"],
            (f"{each['candidates']:,}", f"{each['steps']:,}", loss_cell(each["val_loss"])),
        )
        for each in report["courses"][0]["stages"]
    ]
    heads = ("stage", "candidates", "steps", "loss at its end")
    return table_html(judge_courses(report)[0], heads, rows, files)
