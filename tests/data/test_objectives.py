import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lagsearch.data.objectives.base import IGNORED
from lagsearch.data.objectives.masking import (
    Causal,
    Masked,
)
from lagsearch.data.objectives.registry import make_objective
from lagsearch.data.tokens.tokenizers import byte_tokenizer, vocabulary_size
from lagsearch.errors import DataError
from lagsearch.space import Objective

MASK = 99


def rows(n_rows, length, n_vocabulary=99, seed=0):
    return np.random.default_rng(seed).integers(0, n_vocabulary, (n_rows, length + 1))


# Causal


def test_causal_by_hand():
    inputs, labels = Causal().example(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), 0)
    assert inputs.tolist() == [[1, 2, 3], [5, 6, 7]]
    assert labels.tolist() == [[2, 3, 4], [6, 7, 8]]
    assert (inputs.dtype, labels.dtype) == (np.int64, np.int64)


def test_causal_draws_nothing():
    given_rows = rows(2, 6)
    for one, two in zip(
        Causal().example(given_rows, 0), Causal().example(given_rows, 1), strict=True
    ):
        np.testing.assert_array_equal(one, two)


# Masked


@given(
    st.integers(1, 5),
    st.integers(2, 40),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32),
)
def test_masked_hides_the_same_number_in_every_sequence(n_rows, length, fraction, seed):
    given_rows = rows(n_rows, length)
    before = given_rows.copy()
    inputs, labels = Masked(fraction, MASK, 100).example(given_rows, seed)
    np.testing.assert_array_equal(given_rows, before)
    assert inputs.shape == labels.shape == (n_rows, length)
    assert (inputs.dtype, labels.dtype) == (np.int64, np.int64)
    n_hidden = (labels != IGNORED).sum(axis=1)
    assert len(set(n_hidden.tolist())) == 1
    assert n_hidden[0] >= 1
    assert abs(n_hidden[0] - fraction * length) < 1
    original = np.where(labels == IGNORED, inputs, labels)
    is_row = [np.array_equal(original, given_rows[:, s : s + length]) for s in (0, 1)]
    assert any(is_row)
    assert ((inputs >= 0) & (inputs < 100)).all()


def test_eighty_ten_ten():
    n_vocabulary = 1000
    given_rows = rows(400, 100, n_vocabulary=n_vocabulary - 1)
    mask = n_vocabulary - 1
    inputs, labels = Masked(0.25, mask, n_vocabulary).example(given_rows, 3)
    is_hidden = labels != IGNORED
    n_hidden = int(is_hidden.sum())
    assert n_hidden == 400 * 25
    hidden, was = inputs[is_hidden], labels[is_hidden]
    masked = (hidden == mask).sum()
    kept = (hidden == was).sum()
    other = n_hidden - masked - kept

    def tolerance(share):
        return 4.5 * math.sqrt(n_hidden * share * (1 - share))

    # A random token is the mask or the old one in 1 of 1000 cases: 1 of 10,000 hidden tokens.
    assert abs(masked - 0.8 * n_hidden) < tolerance(0.8)
    assert abs(kept - 0.1 * n_hidden) < tolerance(0.1)
    assert abs(other - 0.1 * n_hidden) < tolerance(0.1)
    random_tokens = hidden[(hidden != mask) & (hidden != was)]
    assert random_tokens.min() < 0.05 * n_vocabulary
    assert random_tokens.max() > 0.95 * n_vocabulary
    assert abs(random_tokens.mean() - n_vocabulary / 2) < 5 * n_vocabulary / math.sqrt(12 * 1000)


def test_masks_by_numbers():
    """What was drawn for a seed before there were other ways to hide is drawn for it still."""
    inputs, labels = Masked(0.4, MASK, 100).example(np.arange(22).reshape(2, 11), 7)
    no = IGNORED
    assert inputs.tolist() == [
        [0, 1, 2, 99, 99, 5, 99, 7, 8, 99],
        [99, 99, 99, 24, 15, 16, 17, 18, 19, 20],
    ]
    assert labels.tolist() == [
        [no, no, no, 3, 4, no, 6, no, no, 9],
        [11, 12, 13, 14, no, no, no, no, no, no],
    ]


@given(st.integers(1, 4), st.integers(2, 30), st.floats(0.01, 0.99), st.integers(0, 2**63 - 1))
def test_masks_token_by_token(n_rows, length, fraction, seed):
    """A row hides its lowest draws; then all hidden tokens draw their lot, then another token."""
    given_rows = rows(n_rows, length)
    draw = np.random.default_rng(seed)
    keys = draw.random((n_rows, length))
    n_hidden = max(1, round(fraction * length))
    places = [
        (row, column)
        for row in range(n_rows)
        for column in sorted(range(length), key=lambda column, row=row: keys[row, column])[
            :n_hidden
        ]
    ]
    lots, others = draw.random(len(places)), draw.integers(100, size=len(places))
    expected, labels = given_rows[:, :-1].copy(), np.full((n_rows, length), IGNORED)
    for place, lot, other in zip(places, lots, others, strict=True):
        labels[place] = expected[place]
        if lot < 0.8:
            expected[place] = MASK
        elif lot >= 0.9:
            expected[place] = other
    found = Masked(fraction, MASK, 100).example(given_rows, seed)
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], labels)


def test_objectives_of_one_part():
    for objective in (Causal(), Masked(0.3, MASK, 100)):
        assert objective.parts == (("all", 1.0),)
        assert objective.parts_of(3, 0, exact=True).tolist() == [0, 0, 0]
        one, two = (objective.example(rows(3, 8), 5, exact=exact) for exact in (True, False))
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


def test_every_position_is_hidden_at_times():
    _, labels = Masked(0.15, MASK, 100).example(rows(500, 20), 0)
    share = (labels != IGNORED).mean(axis=0)  # (T,)
    assert share.min() > 0.08
    assert share.max() < 0.22


def test_fraction_of_a_short_sequence():
    _, labels = Masked(0.15, MASK, 100).example(rows(3, 4), 0)
    assert (labels != IGNORED).sum(axis=1).tolist() == [1, 1, 1]


def test_masks_hang_on_the_seed_alone():
    objective = Masked(0.3, MASK, 100)
    inputs, labels = objective.example(rows(4, 20), 5)
    again_inputs, again_labels = objective.example(rows(4, 20), 5)
    np.testing.assert_array_equal(inputs, again_inputs)
    np.testing.assert_array_equal(labels, again_labels)
    other_inputs, other_labels = objective.example(rows(4, 20, seed=1), 5)
    np.testing.assert_array_equal(labels == IGNORED, other_labels == IGNORED)
    np.testing.assert_array_equal(inputs == MASK, other_inputs == MASK)
    _, moved_labels = objective.example(rows(4, 20), 6)
    assert not np.array_equal(labels == IGNORED, moved_labels == IGNORED)


def test_sequences_of_a_batch_are_hidden_apart():
    _, labels = Masked(0.3, MASK, 100).example(rows(6, 30), 0)
    assert len({tuple(each) for each in (labels == IGNORED).tolist()}) == 6


def test_ignored_is_what_torch_ignores():
    logits = torch.zeros(1, 3, 7)
    labels = torch.tensor([[IGNORED, 2, IGNORED]])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert loss.item() == pytest.approx(math.log(7))


def test_global_random_state_is_untouched():
    def state():
        _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
        return keys.tolist(), rest

    before = state()
    Masked(0.3, MASK, 100).example(rows(4, 20), 5)
    assert state() == before


def test_objectives_of_a_space():
    tokenizer = byte_tokenizer()
    n_vocabulary = vocabulary_size(tokenizer)
    assert make_objective(Objective(), tokenizer, n_vocabulary, 16).kind == "causal"
    masked = make_objective(
        Objective(name="masked", mask_fraction=0.5), tokenizer, n_vocabulary, 16
    )
    assert masked.kind == "masked"
    inputs, labels = masked.example(rows(8, 40, n_vocabulary=256), 0)
    assert (labels != IGNORED).sum(axis=1).tolist() == [20] * 8
    assert (inputs == tokenizer.mask_token_id).sum() > 8 * 20 / 2


def test_masked_objective_needs_a_mask_token():
    tokenizer = byte_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(DataError, match="mask"):
        make_objective(Objective(name="masked"), tokenizer, vocabulary_size(tokenizer), 16)
