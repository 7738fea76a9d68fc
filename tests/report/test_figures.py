"""The figures for papers: what is in them, and the same bytes for the same numbers."""

import numpy as np
import pytest
from made_up import made_importance, made_report

from lagsearch.report.pictures.as_matplotlib import draw_sheet
from lagsearch.report.pictures.stage import draw_stage, stage_sheets

pytestmark = pytest.mark.draws


@pytest.fixture(scope="module")
def report():
    return made_report()


def figure(report, key):
    """Return a figure as matplotlib drew it."""
    return draw_sheet(next(sheet for sheet in stage_sheets(report) if sheet.key == key))


def test_every_figure_is_there_in_all_kinds_and_again_the_same(report, tmp_path):
    drawn = draw_stage({**report, "importance": made_importance()}, tmp_path / "one", 6.75)
    names = [name for name, _ in drawn]
    assert names == [
        "loss.png",
        "early_and_final.png",
        "first_steps.png",
        "recall_and_regret.png",
        "rank_correlation.png",
        "loss_and_flops.png",
        "importance.png",
    ]
    captions = dict(drawn)
    assert "Figure 2 of the LAG paper" in captions["early_and_final.png"]
    assert "Figure 3 of the LAG paper" in captions["first_steps.png"]
    draw_stage(report, tmp_path / "two", 6.75)
    for name in names[:-1]:
        for kind in ("png", "svg", "pdf"):
            first, second = (
                (tmp_path / folder / name).with_suffix(f".{kind}") for folder in ("one", "two")
            )
            assert first.read_bytes() == second.read_bytes()
            assert len(first.read_bytes()) > 5000


def test_importance_shows_the_losses_by_value_and_their_means(report):
    losses = {each["name"]: each["val_loss"]["10"] for each in report["candidates"]}
    first, second = figure({**report, "importance": made_importance()}, "importance").axes
    assert second.get_title().startswith("lag: index\nshare 70%, p 0.001")
    for axes in (first, second):
        points, means = (
            [tuple(each) for each in found.get_offsets()] for found in axes.collections
        )
        names = (("first", 0), ("second", 0), ("third", 1))
        assert sorted(points) == sorted((place, losses[name]) for name, place in names)
        assert means == [(0, 2.1), (1, 1.9)]
        assert [list(each.get_ydata()) for each in axes.lines] == [[2.0, 2.3], [1.9, 1.9]]


def test_figure_2_has_every_growth_at_its_losses(report):
    left, right = figure(report, "early_and_final").axes
    growths = [each["val_loss"] for each in report["candidates"] if not each["is_baseline"]]
    for axes, step in ((left, "0"), (right, "10")):
        points = [tuple(point) for each in axes.collections for point in each.get_offsets()]
        assert sorted(points) == sorted((found[step], found["50"]) for found in growths)


def test_figure_3_has_the_steps_up_to_k(report):
    heat, rank, recall, regret, _ = figure(report, "first_steps").axes
    oracle, steps = report["oracle"], [0, 1, 2, 5, 10]
    shown = np.asarray(heat.images[0].get_array())
    expected = np.array(oracle["rank_correlation"]["matrix"])[:5, :5]
    np.testing.assert_array_equal(shown, expected)
    for axes, metric in ((rank, "spearman"), (regret, "relative_regret")):
        (line,) = (each for each in axes.lines if each.get_marker() == "o")
        assert list(line.get_xdata()) == steps
        assert list(line.get_ydata()) == [oracle[metric][str(step)]["value"] for step in steps]
    assert [line.get_label() for line in recall.lines[:5]] == [f"m = {at}" for at in range(1, 6)]
    for at, line in enumerate(recall.lines[:5], 1):
        values = [oracle["recall"][str(at)][str(step)]["value"] for step in steps]
        assert np.allclose(line.get_ydata(), np.array(values) + 0.012 * (at - 1))
