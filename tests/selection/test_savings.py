import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lagsearch.selection import Spending, saving, speed_up


def falling(losses):
    """Pool adjacent violators: merge neighbours while a later block is higher than an earlier."""
    blocks = []
    for loss in losses:
        blocks.append((loss, 1))
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            (high, n), (low, m) = blocks.pop(), blocks.pop()
            blocks.append(((high * n + low * m) / (n + m), n + m))
    return [mean for mean, count in blocks for _ in range(count)]


def curves(min_size=1):
    losses = st.lists(
        st.floats(0.5, 12).map(lambda loss: round(loss, 3)), min_size=min_size, max_size=12
    )
    gaps = st.lists(st.integers(1, 10**15), min_size=12, max_size=12)
    return st.tuples(losses, gaps, st.booleans()).map(
        lambda drawn: (
            np.cumsum([0 if drawn[2] else 5, *drawn[1]])[: len(drawn[0])].tolist(),
            drawn[0],
        )
    )


# By hand


CURVE = Spending([100, 200, 400, 800], [4.0, 3.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (4.0, 100.0),
        (5.0, 100.0),
        (3.0, 200.0),
        (1.0, 800.0),
        (2.5, 100.0 * 2**1.5),  # half way from 200 to 400 on the logarithm
        (1.25, 400.0 * 2**0.75),
        (1.75, 400.0 * 2**0.25),
    ],
)
def test_until_by_hand(loss, expected):
    assert CURVE.until(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", [0.999, 0.0, -1.0, float("-inf")])
def test_a_loss_that_is_never_reached(loss):
    assert CURVE.until(loss) is None


def test_a_rise_is_smoothed_away():
    """3 and 3.4 become 3.2 twice; 2.6, 2 and 2.9 fall from 2.6 to 2.45 twice."""
    curve = Spending([1, 10, 100, 1000, 10_000, 100_000], [4.0, 3.0, 3.4, 2.6, 2.0, 2.9])
    assert curve.until(3.2) == pytest.approx(10.0)
    assert curve.until(3.1) == pytest.approx(100 * 10 ** ((3.2 - 3.1) / (3.2 - 2.6)))
    assert curve.until(2.45) == pytest.approx(10_000.0)
    assert curve.until(2.44) is None
    assert curve.end == pytest.approx(2.45)


def test_nothing_is_spent_at_first():
    """From nothing to the first spending there is no line over a logarithm: all of it counts."""
    curve = Spending([0, 64, 128], [5.0, 3.0, 1.0])
    assert curve.until(5.0) == 0.0
    assert curve.until(4.0) == 64.0
    assert curve.until(2.0) == pytest.approx(64 * math.sqrt(2))


def test_one_evaluation():
    curve = Spending([7], [2.0])
    assert (curve.until(2.0), curve.until(1.9), curve.end) == (7.0, None, 2.0)


# In general


@given(curves())
def test_the_end_is_that_of_the_pooled_losses(curve):
    spent, losses = curve
    assert Spending(spent, losses).end == pytest.approx(falling(losses)[-1], rel=1e-9)


@given(curves(2), st.floats(0, 1), st.data())
def test_between_evaluations_it_is_a_line_over_the_logarithm(curve, share, data):
    spent, losses = curve
    smooth = falling(losses)
    place = data.draw(st.integers(0, len(losses) - 2))
    assume(spent[place] > 0 and smooth[place] > smooth[place + 1] + 1e-6)
    loss = smooth[place] + share * (smooth[place + 1] - smooth[place])
    assume(share == 0 or smooth[place] - loss > 1e-9)
    found = Spending(spent, losses).until(loss + 1e-12)
    if share == 0:  # the first evaluation of this height
        first = next(each for each in range(len(smooth)) if smooth[each] <= smooth[place] + 1e-9)
        assert found <= spent[first] * (1 + 1e-6)
        return
    expected = spent[place] ** (1 - share) * spent[place + 1] ** share
    assert found == pytest.approx(expected, rel=1e-6)


@given(curves(), st.floats(0.4, 12.5), st.floats(0.4, 12.5))
def test_a_lower_loss_never_takes_less(curve, one, two):
    spending = Spending(*curve)
    low, high = (spending.until(loss) for loss in sorted((one, two)))
    if high is None:
        assert low is None
    elif low is not None:
        assert low >= high
        assert curve[0][0] <= high <= low <= curve[0][-1] * (1 + 1e-12)


@given(curves())
def test_what_is_reached_and_what_is_not(curve):
    spending = Spending(*curve)
    assert spending.until(spending.end) is not None
    assert spending.until(spending.end - 1e-6) is None
    assert spending.until(max(curve[1]) + 1e-9) == pytest.approx(curve[0][0])


@given(curves(2), st.floats(1e-3, 1e3))
def test_the_unit_of_the_spending_does_not_matter(curve, factor):
    spent, losses = curve
    loss = (falling(losses)[0] + falling(losses)[-1]) / 2 + 1e-9
    one = Spending(spent, losses).until(loss)
    other = Spending([each * factor for each in spent], losses).until(loss)
    assert other == pytest.approx(one * factor, rel=1e-9)


# Speed-up and saving


@given(st.floats(1e3, 1e8), st.floats(1e3, 1e8))
def test_speed_up_and_saving_say_the_same(reference, method):
    faster, saved = speed_up(reference, method), saving(reference, method)
    assert faster / (1 + faster) == pytest.approx(saved, rel=1e-6, abs=1e-9)
    assert (faster > 0) == (saved > 0) == (method < reference)


def test_speed_ups_by_hand():
    """G_stack: 194B tokens for what scratch needs 300B for, a speed-up of 54.6 %."""
    assert speed_up(300, 194) == pytest.approx(0.546, abs=5e-4)
    assert saving(300, 194) == pytest.approx(0.353, abs=5e-4)
    assert saving(1.546, 1.0) == pytest.approx(0.3532, abs=5e-5)
    assert (speed_up(100, 50), saving(100, 50)) == (1.0, 0.5)
    assert (speed_up(100, 200), saving(100, 200)) == (-0.5, -1.0)
