"""The figures for papers: what is in them, and the same bytes for the same numbers."""

import numpy as np
import pytest
from made_up import made_importance, made_report

from lagsearch.report.pictures import figures

pytestmark = pytest.mark.draws


@pytest.fixture(scope="module")
def report():
    return made_report()


def test_every_figure_is_there_in_both_kinds_and_again_the_same(report, tmp_path):
    drawn = figures.draw_figures({**report, "importance": made_importance()}, tmp_path / "one")
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
    figures.draw_figures(report, tmp_path / "two")
    for name in names[:-1]:
        for kind in ("png", "svg"):
            first, second = (
                (tmp_path / folder / name).with_suffix(f".{kind}") for folder in ("one", "two")
            )
            assert first.read_bytes() == second.read_bytes()
            assert len(first.read_bytes()) > 5000


def test_importance_shows_the_losses_by_value_and_their_means(report):
    losses = {each["name"]: each["val_loss"]["10"] for each in report["candidates"]}
    first, second = figures._importance({**report, "importance": made_importance()}).axes
    assert second.get_title().startswith("lag: index\nshare 70%, p 0.001")
    for axes in (first, second):
        points = [tuple(point) for each in axes.collections for point in each.get_offsets()]
        names = (("first", 0), ("second", 0), ("third", 1))
        assert sorted(points) == sorted((place, losses[name]) for name, place in names)
        ends, mean, _, other = axes.lines
        assert list(ends.get_ydata()) == [2.0, 2.3]
        assert [float(*np.ravel(each.get_ydata())) for each in (mean, other)] == [2.1, 1.9]


def test_figure_2_has_every_growth_at_its_losses(report):
    left, right = figures._early_and_final(report).axes
    growths = [each["val_loss"] for each in report["candidates"] if not each["is_baseline"]]
    for axes, step in ((left, "0"), (right, "10")):
        points = [tuple(point) for each in axes.collections for point in each.get_offsets()]
        assert sorted(points) == sorted((found[step], found["50"]) for found in growths)


def test_figure_3_has_the_steps_up_to_k(report):
    heat, rank, recall, regret = figures._first_steps(report).axes[:4]
    oracle, steps = report["oracle"], [0, 1, 2, 5, 10]
    shown = np.asarray(heat.images[0].get_array())
    expected = np.array(oracle["rank_correlation"]["matrix"])[:5, :5]
    np.testing.assert_array_equal(shown, expected)
    for axes, metric in ((rank, "spearman"), (regret, "relative_regret")):
        line = axes.lines[0]
        assert list(line.get_xdata()) == steps
        assert list(line.get_ydata()) == [oracle[metric][str(step)]["value"] for step in steps]
    assert [line.get_label() for line in recall.lines[:5]] == [f"m = {at}" for at in range(1, 6)]
    for at, line in enumerate(recall.lines[:5], 1):
        values = [oracle["recall"][str(at)][str(step)]["value"] for step in steps]
        assert np.allclose(line.get_ydata(), values, atol=0.02)
