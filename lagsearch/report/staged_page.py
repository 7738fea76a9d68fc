"""`report.md` and `report.html` of a run of several stages."""

from html import escape
from pathlib import Path
from typing import Any

from lagsearch.report.markdown import markdown_section
from lagsearch.report.page import headed, html_section
from lagsearch.report.staged_sections import sections
from lagsearch.report.staged_verdict import cost_line, judge

Figures = list[tuple[str, str]]

_WITH = {"Courses": ("loss", "loss_and_flops"), "Genealogy": ("genealogy", "depth")}
"""The figures of a part, by its title."""


def write_markdown(report: dict[str, Any], figures: Figures) -> str:
    """Return the page that reads alone.

    Args:
        report: As `report.json` of a run with stages.
        figures: File name and caption of each figure.
    """
    drawn = {name.removesuffix(".png"): (name, caption) for name, caption in figures}
    lines = [*judge(report), cost_line(report)]
    parts = [
        f"# {report['name']}",
        "\n".join(f"**{escape(line, quote=False)}**  " for line in lines),
    ]
    for section in sections(report):
        parts.append(markdown_section(section))
        for key in _WITH.get(section.title, ()):
            name, caption = drawn[key]
            parts.append(f"![{caption}](figures/{name})\n\n*{caption}*")
    return "\n\n".join(parts) + "\n"


def write_page(report: dict[str, Any], figures: Figures, folder: Path) -> str:
    """Return the page as one file that needs no network and no script.

    Args:
        report: As `report.json` of a run with stages.
        figures: File name and caption of each figure.
        folder: Where the figures are.
    """
    captions = {name.removesuffix(".png"): caption for name, caption in figures}
    lines = "".join(f"<li>{escape(line)}</li>" for line in [*judge(report), cost_line(report)])
    body = [f'<section id="verdict"><h2>Result</h2><ul>{lines}</ul></section>']
    for section in sections(report):
        drawn = "".join(
            _figure(folder / f"{key}.svg", captions[key]) for key in _WITH.get(section.title, ())
        )
        told = html_section(section, section.title)
        body.append(f"<section><h2>{escape(section.title)}</h2>{told}{drawn}</section>")
    seeds = ", ".join(map(str, report["seeds"]))
    stages = len(report["courses"][0]["stages"])
    facts = f"{stages} stages · {report['steps']:,} steps · seeds {seeds}"
    return headed(report["name"], facts, "\n".join(body))


def _figure(path: Path, caption: str) -> str:
    drawn = path.read_text(encoding="utf-8")
    drawn = drawn[drawn.index("<svg") :]
    return f"<figure>{drawn}<figcaption><p>{escape(caption)}</p></figcaption></figure>"
