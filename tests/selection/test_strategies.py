"""How a search goes on, on made tables whose answer is known."""

import numpy as np
import pytest

from lagsearch.errors import LagsearchError
from lagsearch.replay.replay import replayed_searches
from lagsearch.selection import (
    EVIDENCE,
    Choice,
    LossTable,
    Measured,
    Order,
    SearchSettings,
    decide,
    find_evidence,
)
from lagsearch.selection.signals import extrapolated, trend

RNG = np.random.default_rng
NOISE = 0.001


def measured(curves, n_seeds=1, n_batches=8, seed=0):
    """Make losses of batches whose means are those of given curves: {name: {step: loss}}."""
    draw = RNG(seed)
    shared = draw.normal(0, 0.1, n_batches)
    shared -= shared.mean()
    table = {}
    for name, curve in curves.items():
        table[name] = []
        for _ in range(n_seeds):
            own = draw.normal(0, NOISE, (len(curve), n_batches))
            own -= own.mean(axis=1, keepdims=True)
            rows = zip(curve.items(), own, strict=True)
            table[name].append(
                {step: (loss + shared + each).tolist() for (step, loss), each in rows}
            )
    return Measured(LossTable.of_seeds(table))


def lines(steps, **ends):
    """Curves that are constant."""
    return {name: dict.fromkeys(steps, loss) for name, loss in ends.items()}


LAG = SearchSettings(rungs=(10,), completion=100)


def test_lag_trains_all_to_k_and_ranks_there():
    names = ("a", "b", "c")
    at_zero = {name: {0: 3.0} for name in names}
    assert decide(measured(at_zero), LAG) == Order(10, names)
    partly = {"a": {0: 3.0, 10: 2.0}, "b": {0: 1.0}, "c": {0: 3.0, 10: 1.5}}
    assert decide(measured(partly), LAG) == Order(10, ("b",))
    whole = partly | {"b": {0: 1.0, 10: 1.7}}
    choice = decide(measured(whole), LAG)
    assert isinstance(choice, Choice)
    assert (choice.step, choice.ranking, choice.reason) == (10, ("c", "b", "a"), "lag")
    later = {name: curve | {50: 9.0 - curve[10]} for name, curve in whole.items()}
    assert decide(measured(later), LAG).ranking == ("c", "b", "a")  # what came later is not seen


def test_a_seed_that_lacks_a_step_is_waited_for():
    table = LossTable.of_seeds({"a": [{10: [1.0]}, {}], "b": [{10: [1.0]}, {10: [2.0]}]})
    assert decide(Measured(table), LAG) == Order(10, ("a",))


STEPS = (0, 10, 20, 40, 80, 160)
AUTO = SearchSettings(rungs=STEPS[1:], completion=320, first=20)


def crossing(at):
    """Candidates whose ranking is turned round at a step and stays as it is from there."""
    names = "abcdef"
    return {
        name: {step: (place if step < at else 5 - place) * 0.1 + 2.0 for step in STEPS}
        for place, name in enumerate(names)
    }


def test_a_search_of_unknown_k_never_chooses_before_the_least():
    choice = decide(measured(crossing(at=10)), AUTO)
    assert (choice.step, choice.stable_since, choice.reason) == (20, 10, "stable")
    later = SearchSettings(rungs=STEPS[1:], completion=320, first=80)
    assert decide(measured(crossing(at=10)), later).step == 80
    assert decide(measured(crossing(at=40)), AUTO).step == 80  # the first ranking is left at 40


def test_a_search_of_unknown_k_ends_at_its_bound():
    draw = RNG(3)
    curves = {name: {step: 2 + draw.random() for step in STEPS} for name in "abcdefgh"}
    choice = decide(measured(curves), AUTO)
    assert (choice.step, choice.reason, choice.stable_since) == (160, "bound", None)


def test_a_decision_is_the_same_whatever_is_known_beyond_it():
    whole = measured(crossing(at=40), n_seeds=2)
    choice = decide(whole, AUTO)
    assert isinstance(choice, Choice)
    cut = Measured(whole.loss.until(choice.step))
    assert decide(cut, AUTO) == choice


@pytest.mark.parametrize("evidence", ["batches", "forecast"])
@pytest.mark.parametrize("seed", range(20))
def test_what_an_oracle_knows_of_stopped_candidates_is_not_seen(evidence, seed):
    """A race on an oracle's curves decides as one for which stopped candidates end there."""
    draw = RNG(seed)
    curves = {
        name: {step: 2.0 + float(draw.normal(0, 0.1)) + 1 / (1 + step) for step in STEPS}
        for name in "abcdefgh"
    }
    races = SearchSettings(
        STEPS[1:],
        320,
        first=20,
        strategy="race",
        evidence=evidence,
        threshold=0.3,
        margin=1.5,
        left=0.99,
    )
    whole = measured(curves)
    choice = decide(whole, races)
    losses = whole.loss.batches.copy()
    for name, stop in choice.stopped.items():
        losses["abcdefgh".index(name), np.array(STEPS) > stop.step] = np.nan
    assert decide(Measured(LossTable.of_batches(tuple("abcdefgh"), STEPS, losses)), races) == choice


def test_a_line_over_the_basis_is_carried_to_completion():
    """Against numpy's least squares, for every candidate, seed and batch alone."""
    draw = RNG(0)
    steps = (0, 5, 10, 20, 30, 40)
    table = LossTable.of_batches(("a", "b"), steps, draw.random((2, 6, 3, 4)))
    found = extrapolated(table, 40, 200, np.log, window=4.0)
    assert found.steps == (40,)
    used = [2, 3, 4, 5]  # from 40 / 4 on
    x = np.log([steps[place] for place in used])
    for place in np.ndindex(2, 3, 4):
        y = table.batches[(place[0], used, *place[1:])]
        slope, level = np.polyfit(x, y, 1)
        expected = level + slope * np.log(200)
        assert found.batches[(place[0], 0, *place[1:])] == pytest.approx(expected)


def test_a_trend_sees_who_overtakes_and_with_few_evaluations_does_not_guess():
    steps = (0, 10, 20, 30, 40)
    falls = {step: 3.0 - 0.02 * step for step in steps}
    rests = dict.fromkeys(steps, 2.1)
    found = measured({"rests": rests, "falls": falls})
    assert found.loss.at(40).argmin() == 0
    assert trend(found, 40, 400).at(40).argmin() == 1
    np.testing.assert_array_equal(trend(found, 10, 400).at(10), found.loss.at(10))


CURVES = {  # at 10: a b c d e; at 40: c a b
    "a": {0: 9.0, 10: 1.0, 40: 0.8, 80: 0.7},
    "b": {0: 8.0, 10: 1.1, 40: 0.9, 80: 0.6},
    "c": {0: 7.0, 10: 1.2, 40: 0.7, 80: 0.5},
    "d": {0: 6.0, 10: 1.3, 40: 0.1, 80: 0.1},
    "e": {0: 5.0, 10: 1.4, 40: 0.2, 80: 0.2},
}


def until(curves, step):
    return {name: {at: each for at, each in c.items() if at <= step} for name, c in curves.items()}


@pytest.mark.parametrize(
    ("keep", "finalists"), [("half", "abc"), ("quarter", "ab"), (1, "a"), (3, "abc"), (9, "abcde")]
)
def test_finalists_are_the_better_at_k_and_the_best_of_them_later_is_chosen(keep, finalists):
    settings = SearchSettings((10, 40), 80, strategy="finalists", cut=10, keep=keep, evidence=None)
    assert decide(measured(until(CURVES, 0)), settings) == Order(10, tuple("abcde"))
    order = decide(measured(until(CURVES, 10)), settings)
    others = tuple(name for name in "abcde" if name not in finalists)
    if len(finalists) > 1:
        assert (order.step, order.candidates) == (40, tuple(finalists))
        assert tuple(order.stopped) == others
        found = decide(measured(until(CURVES, 40)), settings)
        ranked = sorted(finalists, key=lambda name: CURVES[name][40])
        assert (found.step, found.ranking) == (40, (*ranked, *others))
    else:
        assert (order.step, order.ranking, order.reason) == (10, tuple("abcde"), "alone")
    for name, stop in order.stopped.items():
        assert (stop.step, stop.leader) == (10, "a")
        assert stop.difference == pytest.approx(CURVES[name][10] - 1.0)
        assert stop.p_value < 0.01


def test_the_rows_of_evidence():
    assert EVIDENCE.names() == ["batches", "forecast"]
    assert [each.heeds for each in EVIDENCE.all()] == [("stability",), ("min_lag",)]
    with pytest.raises(LagsearchError, match=r"^evidence 'batch' is .*'batches'\? known"):
        find_evidence("batch")


def test_searches_that_are_replayed_in_the_order_of_tables():
    found = {
        each.title: (strategy, each.settings.get("evidence"), each.is_auto)
        for strategy, each in replayed_searches()
    }
    assert [*found.items()] == [
        ("race", ("race", "batches", False)),
        ("race on forecasts", ("race", "forecast", False)),
        ("finalists: half", ("finalists", None, False)),
        ("finalists: quarter", ("finalists", None, False)),
        ("expected regret", ("expected_regret", None, False)),
        ("LAG, K auto", ("lag", None, True)),
        ("race, K auto", ("race", "batches", True)),
    ]
