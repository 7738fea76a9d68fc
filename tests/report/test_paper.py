"""Figures as a paper takes them: as wide as asked, text as text, every mark named off the data."""

import json
import os
import re
import shutil
import zlib
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib import rc_context
from PIL import Image

from lagsearch.report.pictures.as_matplotlib import STYLE, draw_sheet
from lagsearch.report.pictures.course import course_sheets
from lagsearch.report.pictures.figures import draw_sheets
from lagsearch.report.pictures.picture import Band, Line, Points
from lagsearch.report.pictures.stage import stage_sheets

pytestmark = pytest.mark.draws

REPORTS = Path(__file__).parents[2] / "reports"
MADE_BY = {
    "quickstart-oracle": stage_sheets,
    "evidence-shakespeare": stage_sheets,
    "adaptive-decoder-laptop": course_sheets,
}
WIDTHS = (3.25, 6.75)


def sheets_of(name):
    return MADE_BY[name](json.loads((REPORTS / name / "report.json").read_text()))


def every_sheet():
    return [pytest.param(name, at) for name in MADE_BY for at in range(len(sheets_of(name)))]


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width}in")
def width(request):
    return request.param


@pytest.mark.parametrize(("name", "at"), every_sheet())
def test_no_text_is_cut_and_no_legend_lies_on_data(name, at, width):
    with rc_context(STYLE):
        figure = draw_sheet(sheets_of(name)[at], width)
        figure.draw_without_rendering()
        renderer, whole = figure.canvas.get_renderer(), figure.bbox
        assert figure.get_size_inches()[0] <= width + 1e-9
        boxes = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.get_visible()]
        for box in boxes:
            assert whole.x0 - 1 <= box.x0 < box.x1 <= whole.x1 + 1
            assert whole.y0 - 1 <= box.y0 < box.y1 <= whole.y1 + 1
        for one, other in combinations(boxes, 2):
            assert not overlap(one, other)
        for legend in figure.legends:
            box = legend.get_window_extent(renderer)
            assert whole.x0 - 1 <= box.x0 < box.x1 <= whole.x1 + 1
            assert not any(overlap(box, each) for each in boxes)
        for axes in figure.axes:
            assert axes.get_legend() is None
            for axis in (axes.xaxis, axes.yaxis):
                written = axis.get_ticklabels(which="both")
                labels = [each.get_window_extent(renderer) for each in written]
                shown = [box for box in labels if box.width > 0 and inside(box, axes, axis)]
                for one, other in combinations(shown, 2):
                    assert not overlap(one, other), axis


def overlap(one, other, slack=1.0):
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > slack
        and min(one.y1, other.y1) - max(one.y0, other.y0) > slack
    )


def inside(box, axes, axis):
    """Return whether a label belongs to a tick in view: matplotlib keeps others as well."""
    low, high = (axes.bbox.x0, axes.bbox.x1) if axis.axis_name == "x" else axes.bbox.intervaly
    middle = (box.x0 + box.x1) / 2 if axis.axis_name == "x" else (box.y0 + box.y1) / 2
    return low - 2 <= middle <= high + 2 and axis.axis_name in "xy" and box.height < 200


@pytest.mark.parametrize(("name", "at"), every_sheet())
def test_the_legend_names_every_mark_once(name, at):
    sheet = sheets_of(name)[at]
    with rc_context(STYLE):
        figure = draw_sheet(sheet)
    names = set()
    for picture in sheet.pictures:
        for shape in picture.shapes:
            if isinstance(shape, Line | Points | Band) and getattr(shape, "in_legend", None) in (
                None,
                True,
            ):
                names.add(shape.name)
        names |= {mark.name for mark in picture.marks}
    told = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert len(told) == len(set(told))
    assert set(told) == names - {""}


def test_sizes_are_as_printed_and_text_stays_text(tmp_path, width):
    (sheet,) = [each for each in sheets_of("quickstart-oracle") if each.key == "loss"]
    draw_sheets([sheet], tmp_path, width)
    with Image.open(tmp_path / "loss.png") as image:
        assert image.width == pytest.approx(300 * width, abs=1)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    svg = (tmp_path / "loss.svg").read_text()
    points = float(re.search(r'<svg [^>]*width="([\d.]+)pt"', svg)[1])
    assert points == pytest.approx(72 * width, abs=0.5)
    for text in ("Validation loss", "steps after growth", "winner: stack", "K = 300"):
        assert f">{text}</text>" in svg
    pdf = (tmp_path / "loss.pdf").read_bytes()
    assert b"/CIDFontType2" in pdf  # TrueType, fonttype 42
    assert b"/Type3" not in pdf
    box = re.search(rb"/MediaBox \[ ?([\d. ]+)\]", pdf)[1].split()
    assert float(box[2]) == pytest.approx(72 * width, abs=0.5)
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    drawn = b"".join(zlib.decompress(each) for each in streams[:1])
    assert b" Tf" in drawn  # letters of a font, no outlines


def test_a_narrow_figure_has_its_pictures_under_one_another():
    (sheet,) = [each for each in sheets_of("quickstart-oracle") if each.key == "loss"]
    with rc_context(STYLE):
        for width, is_beside in ((3.25, False), (6.75, True)):
            figure = draw_sheet(sheet, width)
            figure.draw_without_rendering()
            left, right = (axes.get_position() for axes in figure.axes)
            assert (right.x0 > left.x1) == is_beside
            assert (right.y1 < left.y0) != is_beside


def test_a_figure_in_a_column_is_as_wide_as_it_and_no_longer():
    """Nine inches are a page of most conferences, and the caption stands below the figure."""
    for name, made_by in MADE_BY.items():
        for sheet in sheets_of(name):
            with rc_context(STYLE):
                width, height = draw_sheet(sheet, 3.25).get_size_inches()
            assert width == 3.25, (name, sheet.key, made_by)
            assert height < 7.5, (name, sheet.key)


def test_lines_of_one_colour_are_told_apart_over_flops_too():
    for name in ("quickstart-oracle", "gstack-1b-operators-laptop"):
        report = json.loads((REPORTS / name / "report.json").read_text())
        (sheet,) = [each for each in stage_sheets(report) if each.key == "loss_and_flops"]
        looks = {line.name: (line.role, line.dash) for line in sheet.pictures[0].shapes}
        assert len(set(looks.values())) == len(looks), looks


def test_all_text_is_readable_in_print():
    sizes = [size for key, size in STYLE.items() if key.endswith("size")]
    assert len(sizes) == 6
    assert all(7 <= size <= 9 for size in sizes)


def test_the_command_line_asks_for_a_width(call, tmp_path):
    run = shutil.copytree(REPORTS / "quickstart-oracle", tmp_path / "run")
    code, _, err = call("report", run, "--figure-width", "3.25")
    assert code == 0, err
    with Image.open(tmp_path / "run" / "figures" / "loss.png") as image:
        assert image.width == 975
    code, _, err = call("report", run, "--figure-width", "1")
    assert code == 2
    assert err.count("\n") == 1
    assert "--figure-width" in err


def test_what_is_drawn_is_drawn_again_only_where_it_would_differ(tmp_path):
    (sheet,) = [each for each in sheets_of("quickstart-oracle") if each.key == "loss"]
    files = [tmp_path / f"loss.{kind}" for kind in ("png", "pdf", "svg")]

    def drawn(sheet, width):
        """Return whether all files were written, or none."""
        for each in files:
            if each.exists():
                os.utime(each, (0, 0))
        draw_sheets([sheet], tmp_path, width)
        (is_new,) = {each.stat().st_mtime > 0 for each in files}
        return is_new

    assert drawn(sheet, 6.75)
    assert not drawn(sheet, 6.75)
    assert drawn(sheet, 3.25)
    (picture,) = sheet.pictures[:1]
    (line,) = [each for each in picture.shapes if isinstance(each, Line)][:1]
    moved = replace(line, y=[*line.y[:-1], line.y[-1] + 1e-9])
    shapes = [moved if each is line else each for each in picture.shapes]
    changed = replace(sheet, pictures=[replace(picture, shapes=shapes), *sheet.pictures[1:]])
    assert drawn(changed, 3.25)
    assert not drawn(changed, 3.25)
    files[1].unlink()
    assert drawn(changed, 3.25)
    files[2].write_text("another program's")
    assert drawn(changed, 3.25)
