"""`report.md` and `report.html` of a run of several stages."""

from pathlib import Path
from typing import Any

from lagsearch.errors import counted
from lagsearch.report.pages.html import Chapter, chart_page, svg
from lagsearch.report.pages.markdown import Figure, Passage, bold, write_markdown
from lagsearch.report.pictures.as_plotly import chart
from lagsearch.report.pictures.course import course_pictures
from lagsearch.report.words.course import course_sections
from lagsearch.report.words.verdict import cost_line, judge_courses

_WITH = {"Courses": ("loss", "difference", "loss_and_flops"), "Genealogy": ("genealogy", "depth")}
"""The figures and charts of a part, by its title; where there are both, a page has the chart."""


def course_markdown(report: dict[str, Any], figures: list[Figure]) -> str:
    """Return the page that reads alone.

    Args:
        report: As `report.json` of a run with stages.
        figures: File name and caption of each figure.
    """
    drawn = {name.removesuffix(".png"): (name, caption) for name, caption in figures}
    blocks: list[Passage] = [bold([*judge_courses(report), cost_line(report)])]
    for section in course_sections(report):
        keys = _WITH.get(section.title, ())
        blocks += [section, *(drawn[key] for key in keys if key in drawn)]
    return write_markdown(report["name"], blocks)


def course_html(report: dict[str, Any], figures: list[Figure], folder: Path) -> str:
    """Return the page for a browser.

    Args:
        report: As `report.json` of a run with stages.
        figures: File name and caption of each figure.
        folder: Where the figures are.
    """
    captions = {name.removesuffix(".png"): caption for name, caption in figures}
    charts = {each.key: chart(each) for each in course_pictures(report)}
    chapters = []
    for section in course_sections(report):
        keys = _WITH.get(section.title, ())
        live = [charts[key] for key in keys if key in charts]
        still = [key for key in keys if key in captions and key not in charts]
        drawn = [(svg(folder / f"{key}.png"), captions[key]) for key in still]
        key = section.title.lower().replace(" ", "-")
        chapters.append(Chapter(key, section.title, live, [section], figures=drawn))
    stages, seeds = len(report["courses"][0]["stages"]), ", ".join(map(str, report["seeds"]))
    of_seeds = f"{'seed' if len(report['seeds']) == 1 else 'seeds'} {seeds}"
    return chart_page(
        "course.html",
        {"charts": list(charts.values()), "over": "training steps"},
        title=report["name"],
        facts=f"{counted(stages, 'stage')} · {counted(report['steps'], 'step')} · {of_seeds}",
        links=[(each.key, each.title) for each in chapters],
        lines=[*judge_courses(report), cost_line(report)],
        chapters=chapters,
    )
