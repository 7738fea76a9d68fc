"""The report of a run of several stages, built or built again from its folder."""

import time
from pathlib import Path
from typing import Any

from lagsearch.records.stage_result import read_handed
from lagsearch.records.whole import WholeFolder
from lagsearch.report.numbers.course import ADAPTIVE, build_whole_numbers
from lagsearch.report.numbers.staged_tables import write_whole_tables
from lagsearch.space import StagedFile, chosen_stages, dump_yaml, with_stages
from lagsearch.storage.files import write_json, write_text


def build_whole(path: Path) -> dict[str, Any]:
    """Write the report's files and return its numbers.

    Those are `report.json`, `report.md`, `report.html`, `figures/`, `tables/`, and a schedule for
    each seed.

    Raises:
        RunFolderError: The folder is none of a run with stages, or that has not come to its end.
    """
    began = time.monotonic()
    folder = WholeFolder(path)
    file = folder.file()
    report = build_whole_numbers(folder, file)
    for course in report["courses"]:
        if course["name"] == ADAPTIVE:
            _write_schedule(folder, file.under(course["seed"]), course["folder"])
    from lagsearch.report.pages.course import write_markdown, write_page
    from lagsearch.report.pictures.staged_figures import draw_whole

    figures = draw_whole(report, folder.figures)
    write_whole_tables(report, folder.tables)
    write_text(folder.path / "report.md", write_markdown(report, figures))
    write_text(folder.path / "report.html", write_page(report, figures, folder.figures))
    report["cost"]["wall_s"]["report"] = round(time.monotonic() - began, 3)
    write_json(folder.report_file, report)
    return report


def _write_schedule(folder: WholeFolder, file: StagedFile, course: str) -> None:
    """Write what a course chose as a space that repeats it without search."""
    chosen: list[dict[str, Any] | None] = []
    for number in range(1, len(file.stages) + 1):
        handed = read_handed(folder.path / course / f"stage-{number}")
        assert handed is not None, course
        chosen.append(None if number == 1 and file.begins_random else handed.chosen)
    made = with_stages(file, chosen_stages(file, chosen), "schedule")
    name = course.replace(ADAPTIVE, "schedule")
    write_text(folder.path / f"{name}.yaml", dump_yaml(made.plain))
