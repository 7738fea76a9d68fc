"""Axes that one outlier would crush show the others, and say what they leave out."""

import pytest

from lagsearch.report.pictures.as_matplotlib import draw_sheet
from lagsearch.report.pictures.as_plotly import chart
from lagsearch.report.pictures.fitted import at_the_edge, cut_above, fitted_span, span_of
from lagsearch.report.pictures.picture import Axis, Line, Picture, Points, Sheet


def test_an_outlier_leaves_the_axis_to_the_others():
    # quartiles 2 and 4 of 1 to 5 and 100: fences at 2.25 - 7.5 and 4.75 + 7.5
    assert fitted_span([1, 2, 3, 4, 5, 100]) == pytest.approx((1 - 0.24, 5 + 0.24))


def test_what_must_be_in_view_is():
    low, high = fitted_span([1, 2, 3, 4, 5, 100], kept=[20])
    assert low < 1
    assert 20 < high < 100


@pytest.mark.parametrize("values", [[], [1.0], [1, 2, 3, 4, 5], [1, 2, 3, 4, 9], [2, 2, 2, 2]])
def test_an_axis_that_nothing_crushes_stays_as_it_is(values):
    assert fitted_span(values) is None


def test_a_span_that_fills_half_of_the_axis_is_no_span():
    assert span_of([1, 2], [1, 2, 3]) is None
    assert span_of([1, 2], [1, 2, 9]) == pytest.approx((0.94, 2.06))


def picture(points):
    return Picture("k", "t", "Note.", "table", Axis(), Axis(), [points])


def test_points_beyond_stand_at_the_edge_with_their_values_and_this_is_said():
    points = Points("all", "rest", [1.0, 2.0, 50.0], [1.0, 9.0, 2.0], text=["a", "b", "c"])
    found = at_the_edge(picture(points), (0.0, 10.0), (0.0, 5.0))
    inside, beyond = found.shapes
    assert (list(inside.x), list(inside.y), list(inside.text)) == ([1.0], [1.0], ["a"])
    assert list(beyond.x) == pytest.approx([2.0, 9.7])
    assert list(beyond.y) == pytest.approx([4.85, 2.0])
    assert list(beyond.text) == ["b: 2.0000, 9.0000", "c: 50.0000, 2.0000"]
    assert chart(found)["note"] == "Note. Triangles: 2 beyond the axes, drawn at the edge."
    (axes,) = draw_sheet(Sheet("key", "caption", [found])).axes
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 10), (0, 5))


def test_points_of_categories_move_in_one_direction_and_means_stay():
    losses = Points("all", "rest", ["a", "b"], [1.0, 9.0], text=["one", "two"])
    means = Points("mean", "best", ["a", "b"], [1.0, 9.0], low=[0.5, 8.0], high=[2.0, 10.0])
    shown = Picture("k", "t", "Note.", "table", Axis(scale="category"), Axis(), [losses, means])
    first, second, beyond = at_the_edge(shown, None, (0.0, 5.0)).shapes
    assert (list(first.x), second) == (["a"], means)
    assert (list(beyond.x), list(beyond.y), list(beyond.text)) == (["b"], [4.85], ["two: 9.0000"])


def test_where_nothing_is_beyond_nothing_is_said():
    points = Points("all", "rest", [1.0], [1.0], text=["a"])
    assert at_the_edge(picture(points), None, None) == picture(points)
    assert at_the_edge(picture(points), (0.0, 2.0), None).beyond == ""


def test_losses_above_are_cut_and_a_log_axis_begins_where_lines_come_into_view():
    line = Line("one", "best", [1.0, 10.0, 100.0, 1000.0], [9.0, 5.0, 2.0, 1.0])
    whole = Picture("k", "t", "Note.", "table", Axis(scale="log"), Axis(), [line])
    assert cut_above(whole, None) == whole
    found = cut_above(whole, (0.9, 2.5))
    assert found.y.span == (0.9, 2.5)
    assert found.x.span == pytest.approx((100 / 1.3, 1100))
    made = chart(found)
    assert made["note"] == "Note. Losses above 2.50 nats are cut off."
    assert made["layout"]["xaxis"]["range"] == pytest.approx([1.886057, 3.041393])  # powers of ten
    (axes,) = draw_sheet(Sheet("key", "caption", [found])).axes
    assert axes.get_xlim() == pytest.approx((100 / 1.3, 1100))
