import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagsearch.data.tokens.batches import (
    BLOCK,
    MixedRows,
    TrainingRows,
    shares,
    training_rows,
    validation_rows,
)
from lagsearch.storage.files import derive_seed

SPACING = 1_000_000
"""Tokens of text c count from c times this, so that a row tells where it is from."""


def texts_of(sizes, weights):
    return [
        (np.arange(size) + SPACING * text, weight)
        for text, (size, weight) in enumerate(zip(sizes, weights, strict=True))
    ]


def rows_by_hand(n_tokens, length, n_rows, seed, *purpose):
    """Where the sequences of one text began before there were mixtures, one after the other."""
    per_pass = max(1, (n_tokens - 1) // length - 1)
    starts = []
    for which in range(-(-n_rows // per_pass)):
        generator = np.random.default_rng(derive_seed(seed, "batches", *purpose, which))
        offset = int(generator.integers(length))
        starts += (generator.permutation(per_pass) * length + offset).tolist()
    return starts[:n_rows]


weights = st.lists(st.floats(0.01, 10), min_size=2, max_size=5)
mixtures = st.tuples(
    weights,
    st.integers(2, 6),  # T
    st.integers(1, 40),  # B
    st.integers(0, 2**32),  # seed
    st.integers(0, 400),  # tokens more than the least, and more with each text
)


def mixed(mixture):
    weights, length, batch, seed, more = mixture
    sizes = [2 * length + 1 + more * (1 + text) for text in range(len(weights))]
    return sizes, MixedRows(texts_of(sizes, weights), length, batch, seed, "growth")


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8), st.integers(0, 2000))
def test_shares_are_exact_but_for_less_than_a_row(weights, rows):
    found = shares(weights, rows)
    assert found.sum() == rows
    exact = np.array(weights) / sum(weights) * rows
    assert (abs(found - exact) < 1 + 1e-9).all()
    rounded_up = [e - np.floor(e) for e, f in zip(exact, found, strict=True) if f > e]
    rounded_down = [e - np.floor(e) for e, f in zip(exact, found, strict=True) if f < e]
    if rounded_up and rounded_down:
        assert min(rounded_up) >= max(rounded_down) - 1e-6


def test_shares_by_hand():
    assert shares([0.57, 0.17, 0.17, 0.09], 100).tolist() == [57, 17, 17, 9]
    assert shares([1, 1, 1], 100).tolist() == [34, 33, 33]
    assert shares([5, 3, 2], 7).tolist() == [4, 2, 1]  # 3.5, 2.1, 1.4


@given(mixtures)
def test_every_block_of_rows_has_each_text_by_its_share(mixture):
    weights, _, batch, _, _ = mixture
    _, rows = mixed(mixture)
    steps = -(-2 * BLOCK // batch)
    texts = np.concatenate([rows(step)[:, 0] // SPACING for step in range(steps)])
    for block in range(2):
        seen = np.bincount(texts[block * BLOCK : (block + 1) * BLOCK], minlength=len(weights))
        assert seen.tolist() == shares(weights, BLOCK).tolist()
    # and nearly so in any stretch of a block, as rows of a text are spread over it: one in each of
    # its equal parts, and a place in the order of all is off by less than a row of each text
    counts = shares(weights, BLOCK)
    most = 2 + 2 * len(weights) * counts / BLOCK
    for stretch in np.split(texts[:BLOCK], 10):
        seen = np.bincount(stretch, minlength=len(weights))
        assert (abs(seen - counts / 10) <= most).all()


@given(mixtures, st.lists(st.integers(0, 500), min_size=1, max_size=6))
def test_a_step_of_a_mixture_is_pure_in_any_order_of_calls(mixture, steps):
    in_order = {step: mixed(mixture)[1](step) for step in sorted(set(steps))}
    _, rows = mixed(mixture)
    for step in steps:
        np.testing.assert_array_equal(rows(step), in_order[step])


@given(mixtures)
def test_rows_of_a_text_come_as_they_would_alone_each_once_in_a_pass(mixture):
    _, length, batch, seed, _ = mixture
    sizes, rows = mixed(mixture)
    found = np.concatenate([rows(step) for step in range(-(-1100 // batch))])
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, found[:, :1] + np.arange(length + 1))
    for text, size in enumerate(sizes):
        starts = found[found[:, 0] // SPACING == text][:, 0] - text * SPACING
        expected = rows_by_hand(size, length, len(starts), seed, "growth", text)
        assert starts.tolist() == expected
        per_pass = max(1, (size - 1) // length - 1)
        for first in range(0, len(starts), per_pass):
            one_pass = starts[first : first + per_pass]
            assert len(set(one_pass.tolist())) == len(one_pass)
        assert (starts + length < size).all()


@given(
    st.integers(2, 6), st.integers(1, 9), st.integers(0, 300), st.integers(0, 2**32), st.floats(0.1)
)
def test_one_text_is_as_it_was_before_there_were_mixtures(length, batch, more, seed, weight):
    tokens = np.arange(2 * length + 1 + more)
    rows = training_rows([(tokens, weight)], length, batch, seed, "growth")
    assert isinstance(rows, TrainingRows)
    found = np.concatenate([rows(step) for step in range(20)])
    starts = rows_by_hand(len(tokens), length, 20 * batch, seed, "growth")
    np.testing.assert_array_equal(found, np.array(starts)[:, None] + np.arange(length + 1))


def test_orders_differ_between_blocks_seeds_and_streams():
    texts = texts_of([500, 700], [2, 3])

    def order(seed, stream, block):
        rows = MixedRows(texts, 4, BLOCK, seed, stream)
        return (rows(block)[:, 0] // SPACING).tolist()

    orders = [order(0, "growth", 0), order(0, "growth", 1), order(1, "growth", 0), order(0, "s", 0)]
    assert len({tuple(each) for each in orders}) == 4


def test_a_pass_and_the_next_ones_leave_no_token_out():
    """A pass leaves out fewer than 2 T tokens, at the ends, and each pass others."""
    n_tokens, length = 1003, 7
    per_pass = (n_tokens - 1) // length - 1
    rows = TrainingRows(np.arange(n_tokens), length, 1, 5, "growth")
    seen = set()
    for which in range(60):
        steps = range(which * per_pass, (which + 1) * per_pass)
        one_pass = np.concatenate([rows(step).ravel() for step in steps])
        assert n_tokens - len(set(one_pass.tolist())) < 2 * length
        assert set(one_pass.tolist()) >= set(range(length, n_tokens - 2 * length))
        seen.update(one_pass.tolist())
    assert len(seen) >= n_tokens - length


@given(
    weights,
    st.integers(2, 6),
    st.integers(1, 12),
    st.integers(1, 8),
    st.integers(0, 50),
)
def test_validation_batches_have_each_text_by_its_share(weights, length, batch, batches, more):
    counts = shares(weights, batch * batches)
    sizes = [int(count) * length + 1 + more for count in counts]
    found = validation_rows(texts_of(sizes, weights), length, batch, batches)
    assert [each.shape for each in found] == [(batch, length + 1)] * batches
    texts = np.array([np.bincount(each[:, 0] // SPACING, minlength=len(weights)) for each in found])
    assert texts.sum(0).tolist() == counts.tolist()
    assert (abs(texts - counts / batches) < 1).all()
    for text, size in enumerate(sizes):
        rows = np.concatenate(found)
        starts = np.sort(rows[rows[:, 0] // SPACING == text][:, 0] - text * SPACING)
        available = (size - 1) // length
        n_rows = len(starts)
        assert starts.tolist() == [i * available // n_rows * length for i in range(n_rows)]


@pytest.mark.parametrize(("length", "batch", "batches", "spare"), [(4, 3, 2, 0), (5, 4, 7, 91)])
def test_validation_batches_of_one_text_are_as_they_were(length, batch, batches, spare):
    tokens = np.arange(batches * batch * length + 1 + spare)
    rows = batches * batch
    starts = np.arange(rows) * ((len(tokens) - 1) // length) // rows * length
    found = validation_rows([(tokens, 1.0)], length, batch, batches)
    for number, each in enumerate(starts.reshape(batch, batches).T):
        np.testing.assert_array_equal(found[number], each[:, None] + np.arange(length + 1))
