import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lagsearch.data.tokens.batches import (
    TrainingRows,
    training_rows,
    validation_rows,
)


def rows_of(n_tokens=101, length=5, batch=3, seed=0, stream="growth"):
    return TrainingRows(np.arange(n_tokens), length, batch, seed, stream)


def starts_of(rows, n_steps):
    """Return where the sequences begin, in the order they are seen; tokens count from 0."""
    return [int(row[0]) for step in range(n_steps) for row in rows(step)]


def passes_of(starts, length):
    """Cut a row of starts into passes: one ends where a start comes again or the offset moves."""
    passes, seen = [], []
    for start in starts:
        if seen and (start in seen or start % length != seen[0] % length):
            passes.append(seen)
            seen = []
        seen.append(start)
    return passes, seen


sizes = st.tuples(
    st.integers(2, 6),  # T
    st.integers(1, 5),  # B
    st.integers(0, 60),  # tokens more than the least
    st.integers(0, 2**32),  # seed
).map(lambda t: (2 * t[0] + 1 + t[2], t[0], t[1], t[3]))


@given(sizes, st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_a_step_is_pure_in_any_order_of_calls(size, steps):
    n_tokens, length, batch, seed = size
    rows = rows_of(n_tokens, length, batch, seed)
    in_order = {step: rows(step) for step in sorted(set(steps))}
    other = rows_of(n_tokens, length, batch, seed)
    for step in steps:
        np.testing.assert_array_equal(other(step), in_order[step])
        np.testing.assert_array_equal(rows_of(n_tokens, length, batch, seed)(step), in_order[step])


@given(sizes, st.data())
def test_rows_are_true_slices(size, data):
    n_tokens, length, batch, seed = size
    tokens = np.array(
        data.draw(st.lists(st.integers(0, 9), min_size=n_tokens, max_size=n_tokens)),
        dtype=np.uint16,
    )
    rows = TrainingRows(tokens, length, batch, seed, "growth")
    counted = rows_of(n_tokens, length, batch, seed)
    for step in range(6):
        got = rows(step)
        assert got.shape == (batch, length + 1)
        assert got.dtype == np.int64
        for row, start in zip(got, counted(step)[:, 0], strict=True):
            assert 0 <= start <= n_tokens - length - 1
            np.testing.assert_array_equal(row, tokens[start : start + length + 1])


@given(sizes)
def test_every_window_of_a_pass_once(size):
    """All passes are equally long, so at a low offset one window at the end may be left out."""
    n_tokens, length, batch, seed = size
    rows = rows_of(n_tokens, length, batch, seed)
    n_steps = 4 * (n_tokens // length) // batch + 2
    passes, last = passes_of(starts_of(rows, n_steps), length)
    assert len(passes) >= 2
    for each in passes:
        offset = each[0] % length
        fitting = [offset + length * window for window in range((n_tokens - 1 - offset) // length)]
        assert sorted(each) == fitting[: len(each)]
        assert len(fitting) - len(each) <= 1
    assert len({len(each) for each in passes}) == 1
    assert len(set(last)) == len(last)


def test_passes_differ_in_order_and_offset():
    passes, _ = passes_of(starts_of(rows_of(n_tokens=301, batch=4), 150), 5)
    assert len(passes) >= 8
    assert len({each[0] % 5 for each in passes}) >= 3
    assert all(each != sorted(each) for each in passes)
    orders = {tuple((start - min(each)) // 5 for start in each) for each in passes}
    assert len(orders) == len(passes)


def test_every_offset_is_drawn():
    passes, _ = passes_of(starts_of(rows_of(n_tokens=41, batch=8), 100), 5)
    assert {each[0] % 5 for each in passes} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("other", [{"stream": "source"}, {"seed": 1}, {"stream": "growth "}])
def test_streams_and_seeds_differ(other):
    one, two = (rows_of(n_tokens=501, batch=10, **keys) for keys in ({}, other))
    assert starts_of(one, 5) != starts_of(two, 5)


@pytest.mark.parametrize(("one", "two"), [((1, "1x"), (11, "x")), ((12, "3"), (1, "23"))])
def test_seed_and_stream_do_not_run_together(one, two):
    a, b = (rows_of(n_tokens=501, batch=10, seed=s, stream=name) for s, name in (one, two))
    assert starts_of(a, 5) != starts_of(b, 5)


def test_batch_size_only_cuts_the_same_order():
    small, large = rows_of(batch=2), rows_of(batch=6)
    assert starts_of(small, 30) == starts_of(large, 10)


def test_batches_do_not_hang_on_the_text():
    tokens = np.random.default_rng(0).integers(0, 50, 101)
    rows = TrainingRows(tokens, 5, 3, 0, "growth")
    for step in range(20):
        for row, start in zip(rows(step), rows_of()(step)[:, 0], strict=True):
            np.testing.assert_array_equal(row, tokens[start : start + 6])


def test_a_batch_may_be_changed_without_harm():
    tokens = np.arange(101)
    rows = TrainingRows(tokens, 5, 3, 0, "growth")
    before = rows(4).copy()
    rows(4)[:] = -1
    np.testing.assert_array_equal(rows(4), before)
    np.testing.assert_array_equal(tokens, np.arange(101))


def test_global_random_state_is_untouched():
    def state():
        _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
        return keys.tolist(), rest

    before = state()
    rows_of()(3)
    assert state() == before


validation_sizes = st.tuples(
    st.integers(2, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 80)
)


@given(validation_sizes)
@settings(max_examples=200)
def test_validation_rows(size):
    length, batch, batches, spare = size
    n_tokens = batches * batch * length + 1 + spare
    tokens = np.arange(n_tokens, dtype=np.uint16)
    got = validation_rows([(tokens, 1.0)], length, batch, batches)
    assert [each.shape for each in got] == [(batch, length + 1)] * batches
    assert {each.dtype for each in got} == {np.dtype(np.int64)}
    rows = np.concatenate(got)
    starts = rows[:, 0]
    np.testing.assert_array_equal(rows, starts[:, None] + np.arange(length + 1))
    assert starts.min() >= 0
    assert rows.max() < n_tokens
    gaps = np.diff(np.sort(starts))
    assert (gaps >= length).all()  # no token is predicted twice
    if len(gaps):
        assert gaps.max() - gaps.min() <= length
        assert starts.min() <= gaps.max()
        assert n_tokens - rows.max() <= gaps.max() + length


def test_all_of_a_validation_text_that_just_fits():
    got = validation_rows([(np.arange(2 * 3 * 4 + 1), 1.0)], 4, 3, 2)
    starts = sorted(int(row[0]) for each in got for row in each)
    assert starts == [0, 4, 8, 12, 16, 20]


def test_validation_rows_are_the_same_each_time():
    tokens = np.arange(200)
    one, two = validation_rows([(tokens, 1.0)], 5, 3, 4), validation_rows([(tokens, 1.0)], 5, 3, 4)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("n_texts", [1, 2])
def test_rows_go_on_behind_those_that_were_seen(n_texts):
    texts = [(np.arange(700) + 1000 * text, 1.0 + text) for text in range(n_texts)]
    whole = training_rows(texts, 8, 4, 5, "growth")
    behind = training_rows(texts, 8, 4, 5, "growth", 12)
    smaller = training_rows(texts, 8, 2, 5, "growth", 12)
    for step in range(40):
        np.testing.assert_array_equal(behind(step), whole(step + 3))
        halves = np.concatenate([smaller(2 * step), smaller(2 * step + 1)])
        np.testing.assert_array_equal(halves, whole(step + 3))
