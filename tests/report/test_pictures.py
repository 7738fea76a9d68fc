"""A picture described once: what the browser is told, and what paper shows."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_up import HOSTILE

from lagsearch.report import pages
from lagsearch.report.pages.course import course_html
from lagsearch.report.pictures.as_matplotlib import draw_sheet
from lagsearch.report.pictures.as_plotly import chart
from lagsearch.report.pictures.course import course_pictures, course_sheets
from lagsearch.report.pictures.picture import Axis, Band, Line, Mark, Picture, Points, Sheet

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture
def picture():
    band = Band("best", [1, 2], [0.5, 1.5], [1.5, 2.5], group="$a<b$")
    line = Line("$a<b$", "best", [1, 2], [1.0, 2.0], "h", [1, 2], text="$a<b$", is_stair=True)
    points = Points("", "winner", [2], [2.0], "h", text=["<i>"], low=[1.5], high=[3.0])
    shapes, axis = [band, line, points], Axis("loss", span=(0, 4), ticks={0: "none"})
    shown = (Axis("steps", "log_steps"), axis, shapes, [Mark(1, "K", "K = 1")])
    return Picture("key", "$Title$", "note", "table", *shown)


def test_the_browser_is_told_numbers_as_they_are_and_text_escaped(picture):
    made = chart(picture)
    low, high, line, points = made["data"]
    assert (low["y"], high["y"], high["fillcolor"]) == ([0.5, 1.5], [1.5, 2.5], "@best/0.16")
    assert (line["x"], line["y"], line["customdata"]) == ([1, 2], [1.0, 2.0], [1, 2])
    assert line["name"] == line["text"] == "$a&lt;b$"
    assert line["line"] == {"color": "@best", "width": 1.5, "shape": "hv"}
    assert points["text"] == ["&lt;i&gt;"]
    assert (points["error_y"]["array"], points["error_y"]["arrayminus"]) == ([1.0], [0.5])
    axis = {"title": {"text": "loss"}, "range": [0, 4], "tickvals": [0], "ticktext": ["none"]}
    assert made["layout"] == {"yaxis": axis}
    assert (made["steps"], made["marks"]) == ("log", [{"x": 1, "label": "K"}])


def test_paper_shows_the_same_numbers_and_no_formula(picture):
    (axes,) = draw_sheet(Sheet("key", "caption", [picture])).axes
    line, interval, mark = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2], [1.0, 2.0])
    assert line.get_label() == r"\$a<b\$"
    assert line.get_drawstyle() == "steps-post"
    assert (list(interval.get_ydata()), mark.get_xdata()[0]) == ([1.5, 3.0], 1)
    assert axes.get_title() == r"\$Title\$"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_ylim()) == ("steps", "loss", (0, 4))


def test_courses_are_the_same_in_the_browser_and_on_paper():
    report = json.loads((REPORTS / "adaptive-decoder-laptop" / "report.json").read_text())
    charts = {each.key: chart(each) for each in course_pictures(report)}
    for sheet in course_sheets(report)[:3]:
        axes = draw_sheet(sheet).axes[0]
        named = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
        drawn = {name: line for name, line in named.items() if name != "adaptive grows"}
        traces = {each["name"]: each for each in charts[sheet.key]["data"] if "name" in each}
        assert drawn.keys() == traces.keys()
        for name, line in drawn.items():
            np.testing.assert_array_equal(line.get_xdata(), traces[name]["x"])
            lifted = np.array(traces[name]["y"]) + traces[name].get("lift", 0)
            np.testing.assert_array_equal(line.get_ydata(), lifted)


def test_text_of_a_run_with_stages_is_text(tmp_path):
    report = json.loads((REPORTS / "adaptive-decoder-laptop" / "report.json").read_text())
    counts = []
    for name, why in (("plain", "failed"), HOSTILE[:2]):
        report |= {"name": name, "missing": {"one-hop": why}}
        page = course_html(report, [], tmp_path)
        bare = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
        counts.append((bare.count("<"), page.count("<script")))
    assert counts[0] == counts[1]
    assert "&lt;script&gt;alert(1)" in bare


def test_no_template_takes_text_for_markup():
    templates = sorted((Path(pages.__file__).parent / "templates").glob("*.html"))
    assert len(templates) == 5
    for path in templates:
        assert not re.search(r"\|\s*safe|autoescape", path.read_text()), path.name
