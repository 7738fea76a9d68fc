"""The table of signals: its rows, and what a space that names one is told."""

import numpy as np
import pytest

from lagsearch import plan
from lagsearch.errors import LagsearchError, PluginError, SpaceError
from lagsearch.selection import SIGNALS, LossTable, Measured, Signal, find_signal, forecast, signals
from lagsearch.selection.signals import loss, signal, trend

LOSS = LossTable.of_batches(("a", "b"), (1,), np.ones((2, 1, 1, 1)))


def test_the_rows_in_the_order_of_reports():
    assert SIGNALS.names() == ["loss", "trend", "ema", "annealed"]
    assert [each.needs for each in SIGNALS.all()] == [None, None, "ema", "annealed"]
    assert (find_signal("loss").judge, find_signal("trend").judge) == (loss, trend)
    assert find_signal("trend").heading == "trend's end"


@pytest.mark.parametrize(
    ("measured", "names"),
    [
        (Measured(LOSS), ["loss", "trend"]),
        (Measured(LOSS, ema=LOSS), ["loss", "trend", "ema"]),
        (Measured(LOSS, annealed=LOSS), ["loss", "trend", "annealed"]),
    ],
)
def test_what_a_signal_needs(measured, names):
    assert [each.name for each in SIGNALS.all() if each.is_measured(measured)] == names


def test_an_unknown_one_lists_all_and_the_nearest():
    known = r"known: annealed, ema, loss, trend$"
    with pytest.raises(LagsearchError, match=r"^signal 'tend' .*did you mean 'trend'\? " + known):
        find_signal("tend")


def test_a_taken_name_names_both():
    with pytest.raises(PluginError, match=r"'loss' is there twice: lagsearch\.selection\.signals"):
        signal("loss", heading="x", words="y")(lambda measured, step, completion: measured.loss)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            "{lag: 10, signal: tend}",
            r"space\.yaml:24: search\.signal \"tend\": signal 'tend' is unknown; did you mean "
            r"'trend'\? known: annealed, ema, loss, trend$",
        ),
        ("{lag: 10, signal: ema}", r":24: .*ema needs evaluation\.ema, e\.g\. 0\.98$"),
        ("{lag: 10, signal: annealed}", r":24: .*annealed needs evaluation\.annealed, e\.g\. \{"),
        (
            "{lag: 10, strategy: expected_regret, signal: trend}",
            r":24: search\.signal \"trend\": must be loss with strategy expected_regret: it goes",
        ),
        ("{lag: 10, signal: 3}", r":24: search\.signal 3: must be a valid string"),
    ],
)
def test_a_space_that_names_one_wrongly(write_space, search, message):
    with pytest.raises(SpaceError, match=message):
        plan(write_space(("search: {lag: 10}", f"search: {search}")))


def test_a_later_stage_is_checked_before_anything_trains(write_stages):
    path = write_stages(("steps: 24", "steps: 24\n    search: {signal: tend}"), listed=True)
    with pytest.raises(SpaceError, match=r"stages\[2\]\.search\.signal \"tend\": stage 3: signal"):
        plan(path)


def test_a_plan_says_what_ranks(write_space):
    told = (
        plan(write_space(("search: {lag: 10}", "search: {lag: 10, signal: trend}")))
        .stages[0]
        .remarks
    )
    assert told == (
        "Candidates are ranked at step 10 by the final loss that the trend of their last "
        "evaluations leads to (search.signal: trend).",
    )
    assert plan(write_space()).stages[0].remarks == ()


def test_only_signals_of_late_steps_do_without_all_batches_at_early_ones():
    """Those of packages that do not say so are given all; the trend begins where forecasts do."""
    assert [each.looks_back for each in SIGNALS.all()] == [False] * 4
    assert Signal("own", "own", "its own", None, loss).looks_back
    assert signals.WINDOW <= forecast.WINDOW


def test_a_trend_over_steps_with_fewer_batches_keeps_the_means_of_each():
    """A line through the means, of 4 batches at step 3, against numpy's."""
    generator = np.random.default_rng(0)
    whole = generator.normal(2, 0.3, (3, 3, 1, 8))
    few = whole.copy()
    few[:, 1, :, 4:] = np.nan
    table = LossTable.of_batches(("a", "b", "c"), (2, 3, 6), few)
    means_CS = np.stack([few[:, 0].mean(axis=(1, 2)), np.nanmean(few[:, 1], axis=(1, 2)),
                         few[:, 2].mean(axis=(1, 2))], axis=1)  # fmt: skip
    found = find_signal("trend").judge(Measured(table), 6, 60).at(6)
    for row, name in enumerate(table.candidates):
        slope, intercept = np.polyfit([1 / 2, 1 / 3, 1 / 6], means_CS[row], 1)
        assert found[row] == pytest.approx(intercept + slope / 60), name
