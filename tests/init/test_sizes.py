"""Batches, steps and K from a text's tokens, a machine's speed and the time that one has."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagsearch.data.tokens.writing import held_out_tokens
from lagsearch.init.sizes import (
    FEWEST_STEPS,
    MOST_PASSES,
    MOST_STEPS,
    OVERHEAD_S,
    Length,
    Shape,
    Work,
    best_place,
    lag_of,
    longest,
    seconds,
    shapes,
)
from lagsearch.init.speed import Speed

WORK = Work(candidates=9, target=1e6, source=5e5)


@given(tokens=st.integers(3200, 10**9), positions=st.integers(16, 8192))
def test_every_shape_fits_text_and_model(tokens, positions):
    found = list(shapes(tokens, positions, "cpu"))
    assert found
    for each in found:
        assert each.sequence_length <= positions
        assert each.tokens * 40 <= tokens or each.batch_size <= 4
        assert 0 < each.fraction < 1
        held_out = held_out_tokens(tokens, each.fraction)
        assert 4 <= each.batches <= 16
        assert each.batches * each.sequence_length < held_out < tokens / 3
        # what a run holds out is what is written, but for a part of a stretch
        assert abs(held_out / tokens - each.fraction) < 0.04
    sizes = [each.tokens for each in found]
    assert sizes == sorted(sizes, reverse=True)


def test_a_text_that_holds_no_sequences_has_no_shape():
    assert list(shapes(3199, 512, "cpu")) == []


def test_a_long_text_gets_256_tokens_on_a_cpu_and_1024_on_a_gpu():
    assert next(shapes(10**8, 4096, "cpu")) == Shape(256, 16, 0.05, 16)
    assert next(shapes(10**8, 4096, "cuda")) == Shape(1024, 64, 0.05, 16)


def test_the_estimate_by_hand():
    # 100 steps, K = 25; evaluated at 0, 1, 2, 5, 10, 20 up to K and at 50 and 100 behind it; nine
    # candidates and the source fill two slots five times
    shape, speed = Shape(100, 10, 0.1, 3), Speed(1e9, slots=2)
    step_s = 100 * 10 * 1e6 / 1e9
    search = 5 * (25 + 6 * 1) * step_s
    rest = (75 + 2 * 1) * (step_s + step_s / 2)
    assert seconds(100, shape, WORK, speed) == pytest.approx(OVERHEAD_S + 1.25 * (search + rest))


@given(
    tokens=st.integers(3200, 10**8),
    flops=st.floats(1e8, 1e14),
    budget=st.floats(60, 10**6),
)
def test_the_longest_training_keeps_within_time_and_text(tokens, flops, budget):
    for shape in shapes(tokens, 512, "cpu"):
        found = longest(shape, tokens, WORK, Speed(flops, 2), budget)
        assert found.lag == lag_of(found.steps)
        assert found.seconds == seconds(found.steps, shape, WORK, Speed(flops, 2))
        if found.steps > FEWEST_STEPS:
            assert found.seconds <= budget
            assert found.steps * shape.tokens <= MOST_PASSES * tokens


def test_what_limits_it_is_said():
    shape = Shape(128, 4, 0.1, 8)
    hurried = longest(shape, 10**7, WORK, Speed(1e9, 2), 300)
    short = longest(shape, 20_000, WORK, Speed(1e15, 2), 10**6)
    assert (hurried.why, hurried.is_hurried) == ("limited by the time, 5 minutes", True)
    assert (short.why, short.is_hurried) == ("limited by 8 passes over the text", False)
    assert short.steps <= math.ceil(MOST_PASSES * 20_000 / 512)


def test_the_fewest_and_the_most_steps_have_a_reason_of_their_own():
    shape = Shape(128, 4, 0.25, 8)
    slow = longest(shape, 10**7, WORK, Speed(1e6, 2), 3 * 3600)
    assert (slow.steps, slow.is_hurried) == (FEWEST_STEPS, True)
    assert slow.why == "the fewest that can rank; they take longer than 3 hours"
    tiny = longest(shape, 3200, WORK, Speed(1e15, 2), 10**6)
    assert (tiny.steps, tiny.is_hurried) == (FEWEST_STEPS, False)
    assert tiny.why == "the fewest that can rank; they are 13 passes over the text"  # 60 * 512/2400
    endless = longest(shape, 10**15, WORK, Speed(1e30, 2), 10**6)
    assert (endless.steps, endless.why) == (MOST_STEPS, "the most that init chooses")
    assert MOST_STEPS == 80_000_000 // 100


@pytest.mark.parametrize(
    ("tokens", "positions", "device", "length", "rows"),
    [
        (10**8, 4096, "cpu", "as many as init chooses on a CPU", "as many as init chooses"),
        (10**8, 4096, "cuda", "as many as init chooses on a GPU", "as many as init chooses"),
        (10**8, 100, "cpu", "the model has 100 positions", "as many as init chooses"),
        (20_000, 512, "cpu", "so that the text has 200 sequences", "the fewest that init chooses"),
        (10**5, 512, "cpu", "as many as init chooses on a CPU", "fewer than 4,096, for more steps"),
        (3200, 512, "cpu", "the fewest that init chooses", "the fewest that init chooses"),
    ],
)
def test_values_at_their_ends_have_the_reason_for_it(tokens, positions, device, length, rows):
    shape = next(shapes(tokens, positions, device))
    assert length in shape.why_length(positions, device)
    assert rows in shape.why_rows(device)


def test_of_trainings_that_all_take_too_long_the_shortest_is_chosen():
    def lengths(*each):
        return [Length(steps, 15, seconds, "", True) for steps, seconds in each]

    assert best_place(lengths((60, 900), (60, 500), (60, 400)), 360) == 2
    assert best_place(lengths((60, 300), (60, 200), (60, 400)), 360) == 0
    assert best_place(lengths((60, 900), (80, 350), (60, 200)), 360) == 1
