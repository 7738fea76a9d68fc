"""A run folder's report, built or built again from its files."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lagsearch.operators import GrowthPlan
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import Recorded, read_run
from lagsearch.records.stage_result import ADAPTIVE, read_stage_result
from lagsearch.records.trainings import RunReader
from lagsearch.report.numbers.course import build_whole_numbers
from lagsearch.report.numbers.stage import build_numbers
from lagsearch.report.numbers.tables import write_course_tables, write_tables
from lagsearch.report.numbers.trust import ended_best
from lagsearch.report.pictures.style import PAGE_WIDTH
from lagsearch.selection import find_strategy
from lagsearch.space import Space, SpaceFile, chosen_stages, dump_space, dump_yaml, with_stages
from lagsearch.storage.files import write_json, write_text

if TYPE_CHECKING:
    import pandas as pd


def write_report(path: Path, figure_width: float = PAGE_WIDTH) -> dict[str, Any]:
    """Write the report's files and return its numbers.

    Those are `report.json`, `report.html`, `report.md`, `figures/`, `tables/` and `schedule.yaml`;
    with stages also those of each stage that had a choice, and a schedule for each seed.

    Args:
        path: The run folder.
        figure_width: Of the figures, in inches.

    Raises:
        RunFolderError: The folder is none of a run, or of one that has not come far enough.
    """
    write = _write_stages if RunFolder(path).has_stages else _write_stage
    return write(path, figure_width)


def _write_stage(path: Path, width: float) -> dict[str, Any]:
    began = time.monotonic()
    folder = RunFolder(path)
    run = read_run(folder)
    report = build_numbers(run)
    write_pages(report, folder, width)
    schedule = _alone(run.space, run.plans[run.winner], "schedule")
    write_text(folder.path / "schedule.yaml", dump_space(schedule))
    _write_best(report, run, folder)
    plain = schedule.model_dump(mode="json", exclude_defaults=True)
    taken = GrowthPlan.from_dict(run.plans[run.winner]["plan"]).sources
    _write_card(report, folder, run.space, taken, plain)
    report["cost"]["wall_s"]["report"] = round(time.monotonic() - began, 3)
    write_json(folder.report_file, report)
    return report


def _write_best(report: dict[str, Any], run: Recorded, folder: RunFolder) -> None:
    """Write the candidate that ended best as a space, where another was chosen."""
    path = folder.path / "best.yaml"
    best = ended_best(report)
    if best is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, dump_space(_alone(run.space, run.plans[best], "best")))


def _write_stages(path: Path, width: float) -> dict[str, Any]:
    began = time.monotonic()
    folder = RunFolder(path)
    file = folder.file()
    for stage in folder.stages():
        _write_stage(stage.path, width)
    report = build_whole_numbers(folder, file)
    for course in report["courses"]:
        if course["name"] == ADAPTIVE:
            made = _write_schedule(folder, file.under(course["seed"]), course["folder"])
            if course["seed"] == file.seed:
                first = file.stages[0].space
                _write_card(report, folder, first, range(len(first.sources)), made)
    from lagsearch.report.pages.course import course_html, course_markdown
    from lagsearch.report.pictures.course import draw_courses

    figures = draw_courses(report, folder.figures, width)
    write_course_tables(report, folder.tables)
    write_text(folder.path / "report.md", course_markdown(report, figures))
    write_text(folder.path / "report.html", course_html(report, figures, folder.figures))
    report["cost"]["wall_s"]["report"] = round(time.monotonic() - began, 3)
    write_json(folder.report_file, report)
    return report


def _write_card(
    report: dict[str, Any],
    folder: RunFolder,
    space: Space,
    taken: Collection[int],
    schedule: dict[str, Any],
) -> None:
    """Write the model card of the winner, where its weights are."""
    if not any(folder.winner.glob("*.safetensors")):
        return
    from lagsearch.report.pages.card import write_winner_card

    environment = folder.environment()
    made_by = environment["versions"]["lagsearch"], environment.get("git_commit")
    write_winner_card(folder.winner, report, space, taken, schedule, made_by)


def _write_schedule(folder: RunFolder, file: SpaceFile, course: str) -> dict[str, Any]:
    """Write what a course chose as a space that repeats it without search, and return that."""
    chosen: list[dict[str, Any] | None] = []
    for number in range(1, len(file.stages) + 1):
        handed = read_stage_result(folder.path / course / f"stage-{number}")
        assert handed is not None, course
        chosen.append(None if number == 1 and file.begins_random else handed.chosen)
    made = with_stages(file, chosen_stages(file, chosen), "schedule")
    name = course.replace(ADAPTIVE, "schedule")
    write_text(folder.path / f"{name}.yaml", dump_yaml(made.plain))
    return made.plain


def _alone(space: Space, planned: dict[str, Any], name: str) -> Space:
    """Return the space of one candidate: of a run without a search.

    Args:
        space: Of the search.
        planned: What `plans.json` says of the candidate.
        name: What the new space's name ends with.
    """
    settings = {
        key: [value] if isinstance(value, list) else value  # a list alone would be several values
        for key, value in planned["settings"].items()
    }
    search: dict[str, Any] = {"oracle": False, "seeds": (), "vary_sources": False, "baselines": ()}
    search["keep_checkpoints"] = None
    strategy = find_strategy(space.search.strategy)
    if strategy.samples:
        fields = type(space.search).model_fields
        search |= {key: fields[key].default for key in ("strategy", *strategy.heeds)}
    return space.model_copy(
        update={
            "name": f"{space.name[:90]}-{name}",
            "candidates": ({"operator": planned["operator"], **settings},),
            "search": space.search.model_copy(update=search),
            "resources": space.resources.model_copy(update={"profile": False}),
        }
    )


def write_pages(report: dict[str, Any], folder: RunFolder, width: float) -> None:
    """Write figures, tables, `report.md` and `report.html`."""
    from lagsearch.report.pages.stage import stage_html, stage_markdown
    from lagsearch.report.pictures.stage import draw_stage

    figures = draw_stage(report, folder.figures, width)
    write_tables(report, folder.tables)
    place = from_here(folder.path)
    write_text(folder.path / "report.md", stage_markdown(report, figures, place))
    write_text(folder.path / "report.html", stage_html(report, place))


def from_here(path: Path) -> Path:
    """Return how a command names the folder: from the working directory where it lies in there."""
    whole, here = path.absolute(), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else path


def curves_table(path: Path) -> "pd.DataFrame":
    """Return all evaluations of a run, a row each, those of baselines and of all seeds too.

    Columns: candidate, seed, is_baseline, step, val_loss (nats per predicted token), wall_s, flops;
    with stages, `course` and `stage` stand before them.
    """
    import pandas as pd

    has_stages = RunFolder(path).has_stages
    rows = [
        {
            **(_place_of(training.stage) if has_stages else {}),
            "candidate": training.candidate,
            "seed": training.seed,
            "is_baseline": training.is_baseline,
            "step": each.step,
            "val_loss": each.val_loss,
            "wall_s": each.wall_s,
            "flops": each.flops,
        }
        for training in RunReader(path).trainings()
        for each in training.curve.evaluations
    ]
    columns = ["candidate", "seed", "is_baseline", "step", "val_loss", "wall_s", "flops"]
    return pd.DataFrame(rows, columns=["course", "stage", *columns] if has_stages else columns)


def _place_of(stage: str) -> dict[str, Any]:
    """Return course and number of a stage from its folder, e.g. `adaptive/stage-2`."""
    course, number = stage.split("/stage-")
    return {"course": course, "stage": int(number)}
