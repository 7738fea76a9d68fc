"""The plotly that pages carry: small, whole, with its licence, and able to draw all of them."""

import json
from pathlib import Path

import pytest

from lagsearch.report import pages
from lagsearch.report.pages.stage import stage_html
from lagsearch.report.pictures.as_plotly import chart
from lagsearch.report.pictures.course import course_pictures
from lagsearch.report.pictures.stage import stage_pictures

PLOTLY = Path(pages.__file__).parent / "plotly"
REPORTS = Path(__file__).parents[2] / "reports"
BASIC = {"bar", "pie", "scatter"}
"""What the basic bundle says that it holds (plotly.js-basic-dist-min, README)."""
MOST_BYTES = 1_500_000


def reports():
    return sorted(REPORTS.glob("*/report.json"))


def test_its_licence_and_version_are_there():
    begin = (PLOTLY / "plotly-basic.min.js").read_text(encoding="utf-8")[:200]
    assert "plotly.js (basic - minified) v4.1.1" in begin
    assert "Licensed under the MIT license" in begin
    assert (PLOTLY / "LICENSE").read_text().startswith("MIT License")


def test_nothing_in_it_ends_a_script():
    text = (PLOTLY / "plotly-basic.min.js").read_text(encoding="utf-8").lower()
    assert "</script" not in text
    assert "<!--" not in text


@pytest.mark.parametrize("path", reports(), ids=lambda path: path.parent.name)
def test_charts_are_of_kinds_that_it_draws(path):
    report = json.loads(path.read_text())
    is_staged = report.get("kind") == "stages"
    found = course_pictures(report) if is_staged else stage_pictures(report)
    kinds = {trace["type"] for each in found for trace in chart(each)["data"]}
    assert kinds
    assert kinds <= BASIC


@pytest.mark.parametrize("name", ["wikitext-multi-3", "evidence-shakespeare"])
def test_a_page_is_small(name):
    report = json.loads((REPORTS / name / "report.json").read_text())
    page = stage_html(report, Path("reports") / name)
    assert len(page.encode()) < MOST_BYTES
