"""`report.md` and `report.html` of a run of several stages."""

from html import escape
from pathlib import Path
from typing import Any

from lagsearch.report.pages.markdown import (
    bold,
    markdown_section,
    plain,
)
from lagsearch.report.pages.stage import (
    THEME,
    chart_figure,
    charted,
    header,
    html_section,
    navigation,
)
from lagsearch.report.pictures.as_plotly import chart
from lagsearch.report.pictures.course import course_pictures
from lagsearch.report.words.course import sections
from lagsearch.report.words.staged_verdict import cost_line, judge

Figures = list[tuple[str, str]]

_WITH = {"Courses": ("loss", "difference", "loss_and_flops"), "Genealogy": ("genealogy", "depth")}
"""The figures and charts of a part, by its title; where there are both, a page has the chart."""


def write_markdown(report: dict[str, Any], figures: Figures) -> str:
    """Return the page that reads alone.

    Args:
        report: As `report.json` of a run with stages.
        figures: File name and caption of each figure.
    """
    drawn = {name.removesuffix(".png"): (name, caption) for name, caption in figures}
    lines = [*judge(report), cost_line(report)]
    parts = [
        f"# {plain(report['name'])}",
        bold(lines),
    ]
    for section in sections(report):
        parts.append(markdown_section(section))
        for key in _WITH.get(section.title, ()):
            if key in drawn:
                name, caption = drawn[key]
                parts.append(f"![{caption}](figures/{name})\n\n*{caption}*")
    return "\n\n".join(parts) + "\n"


def write_page(report: dict[str, Any], figures: Figures, folder: Path) -> str:
    """Return the page as one file that loads and sends nothing.

    Args:
        report: As `report.json` of a run with stages.
        figures: File name and caption of each figure.
        folder: Where the figures are.
    """
    captions = {name.removesuffix(".png"): caption for name, caption in figures}
    lines = "".join(f"<li>{escape(line)}</li>" for line in [*judge(report), cost_line(report)])
    told, charts = sections(report), [chart(each) for each in course_pictures(report)]
    by_id = {each["id"]: each for each in charts}
    seeds = ", ".join(map(str, report["seeds"]))
    stages = len(report["courses"][0]["stages"])
    facts = f"{stages} stages · {report['steps']:,} steps · seeds {seeds}"
    links = [(_key(section.title), section.title) for section in told]
    body = [header(report["name"], facts, THEME), navigation(links), "<main>"]
    body.append(f'<section id="verdict"><h2>Result</h2><ul>{lines}</ul></section>')
    for section in told:
        keys = _WITH.get(section.title, ())
        live = "".join(chart_figure(by_id[key]) for key in keys if key in by_id)
        still = [
            _figure(folder / f"{key}.svg", captions[key])
            for key in keys
            if key in captions and key not in by_id
        ]
        inner = [html_section(section, section.title), *still]
        if live:
            inner.append(f'<div class="charts">{live}</div>')
        title, key = escape(section.title), _key(section.title)
        body.append(f'<section id="{key}"><h2>{title}</h2>{"".join(inner)}</section>')
    shown = {"charts": charts, "over": "training steps"}
    return charted(report["name"], [*body, "</main>"], shown)


def _key(title: str) -> str:
    """Return the id of a section."""
    return title.lower().replace(" ", "-")


def _figure(path: Path, caption: str) -> str:
    drawn = path.read_text(encoding="utf-8")
    drawn = drawn[drawn.index("<svg") :]
    return f"<figure>{drawn}<figcaption><p>{escape(caption)}</p></figcaption></figure>"
