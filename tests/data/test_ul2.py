import math
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lagsearch.data.objectives.base import IGNORED
from lagsearch.data.objectives.registry import (
    add_tokens,
    make_objective,
    tokens_of,
)
from lagsearch.data.objectives.ul2 import (
    Ul2,
    make_ul2,
    span_sizes,
    tokens_of_ul2,
)
from lagsearch.data.tokens.encoding import Encoder
from lagsearch.data.tokens.tokenizers import byte_tokenizer, vocabulary_size
from lagsearch.errors import DataError
from lagsearch.space import Objective
from lagsearch.space.schema import Ul2Weights

SOME = settings(max_examples=25)
CAUSAL, PREFIX, SPAN, PAD, FIRST = 2001, 2002, 2003, 2000, 3000
PARTS = (("causal", 0.6), ("prefix", 0.2), ("span", 0.2))


def mixture(parts=PARTS, fraction=0.15, mean_span=3.0):
    """An objective whose text has the tokens 0 to 1999."""
    modes = {"causal": CAUSAL, "prefix": PREFIX, "span": SPAN}
    return Ul2(
        parts=parts,
        modes=tuple(modes[name] for name, _ in parts),
        sentinels=tuple(range(FIRST, FIRST + 200)),
        pad=PAD,
        fraction=fraction,
        mean_span=mean_span,
    )


def only(part, **settings):
    return mixture(((part, 1.0),), **settings)


def rows_of(n_rows, length, seed=0):
    return np.random.default_rng(seed).integers(0, 2000, (n_rows, length + 1))


def largest(length, fraction, mean_span):
    """T5's numbers of tokens and spans taken out of every text; the largest text that has room."""
    fitting = []
    for size in range(2, length + 1):
        n_out = min(max(round(size * fraction), 1), size - 1)
        n_spans = min(max(round(n_out / mean_span), 1), n_out, size - n_out)
        if size + 2 * n_spans + 1 <= length:
            fitting.append((size, n_out, n_spans))
    return max(fitting)


def pieces_of(tokens):
    """Cut at the sentinels: what stands before the first one, and (sentinel, what follows)."""
    before, pieces = [], []
    for token in map(int, tokens):
        if token >= FIRST:
            pieces.append((token, []))
        elif pieces:
            pieces[-1][1].append(token)
        else:
            before.append(token)
    return before, pieces


# Each part by hand


@pytest.fixture
def text():
    """Bytes with the tokens of UL2, and back."""
    settings = Objective(name="ul2", mask_fraction=0.5, mean_span=1.0)

    class Text:
        tokenizer = byte_tokenizer()
        length = 9

        def shown(self, part, text, seed=0):
            made = make_ul2(settings, self.tokenizer, 0, self.length)
            names = [name for name, _ in made.parts]
            here = names.index(part)
            alone = Ul2(((part, 1.0),), (made.modes[here],), made.sentinels, made.pad, 0.5, 1.0)
            inputs, labels = alone.example(np.array([list(text.encode())]), seed)
            assert inputs.shape == labels.shape == (1, self.length)
            number = self.tokenizer.convert_ids_to_tokens
            return (
                [number(int(token)) for token in inputs[0]],
                ["-" if token == IGNORED else number(int(token)) for token in labels[0]],
            )

    add_tokens(Text.tokenizer, settings, Text.length)
    return Text()


def test_causal_by_hand(text):
    inputs, labels = text.shown("causal", "the cats 2")
    assert inputs == ["[NLG]", "t", "h", "e", "Ġ", "c", "a", "t", "s"]
    assert labels == ["t", "h", "e", "Ġ", "c", "a", "t", "s", "Ġ"]


def test_prefix_by_hand(text):
    inputs, labels = text.shown("prefix", "the cats 2", seed=3)
    assert inputs == ["[S2S]", "t", "h", "e", "Ġ", "c", "a", "t", "s"]
    n_given = labels.count("-")
    assert 1 <= n_given <= 8
    assert labels == ["-"] * n_given + ["t", "h", "e", "Ġ", "c", "a", "t", "s", "Ġ"][n_given:]


def test_spans_by_hand(text):
    """Half of four letters in spans of one: only one way is left to draw it."""
    inputs, labels = text.shown("span", "cats are 2")
    zero, one, two = "<extra_id_0>", "<extra_id_1>", "<extra_id_2>"
    assert inputs == ["[NLU]", "c", zero, "t", one, zero, "a", one, "s"]
    assert labels == ["-", "-", "-", "-", zero, "a", one, "s", two]


def test_one_span_by_hand():
    """A text of 6 with one span of 2 at its end, and two places of padding."""
    [inputs], [labels] = only("span", fraction=0.3, mean_span=2).example(
        np.array([[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]]), 0
    )
    assert span_sizes(9, 0.3, 2) == (6, 2, 1)
    assert inputs.tolist() == [SPAN, 10, 11, 12, 13, FIRST, FIRST, 14, 15]
    assert labels.tolist() == [IGNORED] * 5 + [FIRST, 14, 15, FIRST + 1]


def test_padding_by_hand():
    """5 + 2 x 2 + 1 = 10 of 11 places: with 6 of the text there are 3 spans, and 13 places."""
    assert span_sizes(10, 0.5, 1) == (5, 2, 2)
    assert span_sizes(11, 0.5, 1) == (5, 2, 2)
    [inputs], [labels] = only("span", fraction=0.5, mean_span=1).example(rows_of(1, 11), 0)
    assert inputs[10] == PAD
    assert labels[10] == IGNORED
    assert PAD not in inputs[:10]
    assert labels[9] == FIRST + 2


@pytest.mark.parametrize(
    ("length", "fraction", "mean_span", "expected"),
    [
        (128, 0.15, 3.0, (115, 17, 6)),  # 116 tokens: 17 in 6 spans, 129 of 128
        (64, 0.15, 3.0, (57, 9, 3)),
        (512, 0.15, 3.0, (465, 70, 23)),  # 465 + 2 x 23 + 1 = 512
        (5, 0.15, 3.0, (2, 1, 1)),
        (9, 0.5, 1.0, (4, 2, 2)),
    ],
)
def test_sizes_by_hand(length, fraction, mean_span, expected):
    assert span_sizes(length, fraction, mean_span) == expected


# Properties

settings_of_spans = st.tuples(
    st.integers(5, 80), st.floats(0.01, 0.95), st.floats(1, 12), st.integers(0, 2**63 - 1)
)


@given(settings_of_spans)
def test_a_row_holds_the_largest_text(drawn):
    length, fraction, mean_span, _ = drawn
    assert span_sizes(length, fraction, mean_span) == largest(length, fraction, mean_span)


@given(settings_of_spans)
def test_the_text_comes_back_from_its_spans(drawn):
    length, fraction, mean_span, seed = drawn
    size, n_out, n_spans = largest(length, fraction, mean_span)
    rows = rows_of(3, length, seed % 1000)
    before = rows.copy()
    inputs, labels = only("span", fraction=fraction, mean_span=mean_span).example(rows, seed)
    np.testing.assert_array_equal(rows, before)
    assert inputs.shape == labels.shape == (3, length)
    assert inputs.dtype == labels.dtype == np.int64
    used = size + 2 * n_spans + 1
    n_given = size - n_out + n_spans
    for row, shown, asked in zip(rows, inputs, labels, strict=True):
        assert shown[0] == SPAN
        assert (shown[used:] == PAD).all()
        assert (asked[:n_given] == IGNORED).all()
        assert (asked[used:] == IGNORED).all()
        # what is predicted is what is shown one place later
        np.testing.assert_array_equal(asked[n_given : used - 1], shown[n_given + 1 : used])
        assert (asked[n_given:used] != IGNORED).all()
        first, given = pieces_of(shown[1 : 1 + n_given])
        nothing, wanted = pieces_of(asked[n_given:used])
        assert nothing == []
        assert [token for token, _ in given] == list(range(FIRST, FIRST + n_spans))
        assert [token for token, _ in wanted] == list(range(FIRST, FIRST + n_spans + 1))
        assert wanted[-1][1] == []
        kept = [first, *(piece for _, piece in given)]
        assert kept.pop() == []  # the text ends with a span
        taken = [piece for _, piece in wanted[:-1]]
        assert all(kept) and all(taken)
        assert sum(map(len, taken)) == n_out
        text = [token for pair in zip(kept, taken, strict=True) for each in pair for token in each]
        assert text == row[:size].tolist()


@given(st.integers(2, 40), st.integers(0, 2**32))
def test_causal_predicts_all(length, seed):
    rows = rows_of(3, length)
    inputs, labels = only("causal").example(rows, seed)
    np.testing.assert_array_equal(inputs[:, 1:], rows[:, : length - 1])
    np.testing.assert_array_equal(labels, rows[:, :length])
    assert (inputs[:, 0] == CAUSAL).all()


@given(st.integers(2, 40), st.integers(0, 2**32))
def test_prefix_predicts_what_follows(length, seed):
    rows = rows_of(3, length)
    inputs, labels = only("prefix").example(rows, seed)
    np.testing.assert_array_equal(inputs[:, 1:], rows[:, : length - 1])
    assert (inputs[:, 0] == PREFIX).all()
    for row, asked in zip(rows, labels, strict=True):
        n_given = int((asked == IGNORED).sum())
        assert 1 <= n_given <= length - 1
        assert asked.tolist() == [IGNORED] * n_given + row[n_given:length].tolist()


def test_prefixes_are_drawn_evenly():
    n_rows, length = 2000, 6
    _, labels = only("prefix").example(rows_of(n_rows, length), 1)
    counts = np.bincount((labels == IGNORED).sum(axis=1), minlength=length)
    assert counts[0] == 0
    assert len(counts) == length
    share = 1 / (length - 1)
    assert abs(counts[1:] - n_rows * share).max() < 5 * math.sqrt(n_rows * share * (1 - share))


def test_all_ways_to_cut_are_equally_likely():
    """5 kept and 3 taken tokens in 2 spans: 4 x 2 ways."""
    n_rows, length = 1600, 13
    assert span_sizes(length, 0.375, 1.5) == (8, 3, 2)
    inputs, labels = only("span", fraction=0.375, mean_span=1.5).example(rows_of(n_rows, length), 2)
    ways = {}
    for shown, asked in zip(inputs, labels, strict=True):
        first, _ = pieces_of(shown[1:8])
        _, wanted = pieces_of(asked[7:])
        way = (len(first), len(wanted[0][1]))
        ways[way] = ways.get(way, 0) + 1
    assert set(ways) == {(left, taken) for left in range(1, 5) for taken in (1, 2)}
    tolerance = 5 * math.sqrt(n_rows / 8 * 7 / 8)
    assert max(abs(count - n_rows / 8) for count in ways.values()) < tolerance


# Which row is of which part


def parts_from(inputs):
    return [{CAUSAL: 0, PREFIX: 1, SPAN: 2}[int(row[0])] for row in inputs]


@pytest.mark.parametrize("exact", [True, False])
@given(st.integers(1, 40), st.integers(0, 2**63 - 1))
@SOME
def test_the_first_token_names_the_part(exact, n_rows, seed):
    objective = mixture()
    inputs, _ = objective.example(rows_of(n_rows, 12), seed, exact=exact)
    parts = objective.parts_of(n_rows, seed, exact=exact)
    assert parts_from(inputs) == parts.tolist()


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [(10, [6, 2, 2]), (4, [2, 1, 1]), (16, [10, 3, 3]), (32, [19, 7, 6]), (3, [2, 1, 0])],
)
def test_exact_shares_by_hand(n_rows, expected):
    found = mixture().parts_of(n_rows, 7, exact=True)
    assert np.bincount(found, minlength=3).tolist() == expected


@given(st.lists(st.integers(1, 30), min_size=3, max_size=3), st.integers(1, 60))
def test_exact_shares_are_those_of_the_largest_remainder(weights, n_rows):
    whole = [Fraction(weight * n_rows, sum(weights)) for weight in weights]
    parts = tuple(
        (name, weight / sum(weights)) for (name, _), weight in zip(PARTS, weights, strict=True)
    )
    found = np.bincount(mixture(parts).parts_of(n_rows, 0, exact=True), minlength=3).tolist()
    assert sum(found) == n_rows
    rounded_up = []
    for count, exact in zip(found, whole, strict=True):
        assert abs(count - exact) < 1 + 1e-9
        rounded_up.append(count > exact)
    rest = [exact - math.floor(exact) for exact in whole]
    up = [each for each, is_up in zip(rest, rounded_up, strict=True) if is_up]
    down = [each for each, is_up in zip(rest, rounded_up, strict=True) if not is_up]
    assert not up or not down or min(up) >= max(down) - Fraction(1, 10**9)


def test_training_shares_come_near_the_weights():
    n_rows = 20_000
    counts = np.bincount(mixture().parts_of(n_rows, 11, exact=False), minlength=3)
    for count, (name, weight) in zip(counts, PARTS, strict=True):
        assert abs(count - n_rows * weight) < 5 * math.sqrt(n_rows * weight * (1 - weight)), name


def test_the_order_of_exact_shares_is_drawn():
    orders = {tuple(mixture().parts_of(12, seed, exact=True)) for seed in range(6)}
    assert len(orders) == 6


# Purity


@pytest.mark.parametrize("exact", [True, False])
def test_the_same_seed_gives_the_same(exact):
    objective, rows = mixture(), rows_of(20, 30)
    one, two = (objective.example(rows, 5, exact=exact) for _ in range(2))
    other = objective.example(rows, 6, exact=exact)
    for place in (0, 1):
        np.testing.assert_array_equal(one[place], two[place])
        assert not np.array_equal(one[place], other[place])


@pytest.mark.parametrize("exact", [True, False])
@given(st.integers(0, 11), st.integers(0, 2**40))
@SOME
def test_a_row_does_not_hang_on_the_others(exact, row, seed):
    objective, rows = mixture(), rows_of(12, 20)
    others = rows_of(12, 20, seed=99)
    others[row] = rows[row]
    one, two = (objective.example(each, seed, exact=exact) for each in (rows, others))
    for place in (0, 1):
        np.testing.assert_array_equal(one[place][row], two[place][row])


def test_training_rows_do_not_hang_on_how_many_there_are():
    objective, rows = mixture(), rows_of(12, 20)
    whole, first = objective.example(rows, 4), objective.example(rows[:5], 4)
    for place in (0, 1):
        np.testing.assert_array_equal(whole[place][:5], first[place])


def test_rows_of_one_part_are_drawn_apart():
    rows = np.repeat(rows_of(1, 40), 8, axis=0)
    for part in ("prefix", "span"):
        _, labels = only(part).example(rows, 0)
        assert len({tuple(each) for each in labels.tolist()}) > 4


def test_global_random_state_is_untouched():
    def state():
        _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
        return keys.tolist(), rest, random.getstate(), torch.get_rng_state().tolist()

    before = state()
    mixture().example(rows_of(8, 20), 5)
    mixture().example(rows_of(8, 20), 5, exact=True)
    assert state() == before


# Its tokens


def text_ids(tokenizer, text):
    (row,) = Encoder(tokenizer)([text])
    return [int(each) for each in row]


def test_tokens_of_a_length_by_hand():
    objective = Objective(name="ul2")  # 115 tokens, 17 of them in 6 spans, fit 128
    assert tokens_of_ul2(objective, 128) == [
        "[NLG]", "[S2S]", "[NLU]", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>", "<extra_id_3>",
        "<extra_id_4>", "<extra_id_5>", "<extra_id_6>",
    ]  # fmt: skip
    assert tokens_of(objective, 128) == tokens_of_ul2(objective, 128)
    assert tokens_of(Objective(), 128) == tokens_of(Objective(name="masked"), 128) == []


def test_tokens_are_added_behind_the_tokenizers_own():
    tokenizer = byte_tokenizer()
    own = tokenizer.get_vocab()
    size = vocabulary_size(tokenizer)
    objective = Objective(name="ul2")
    add_tokens(tokenizer, objective, 24)
    wanted = tokens_of(objective, 24)
    assert {token: tokenizer.get_vocab()[token] for token in own} == own
    assert [tokenizer.convert_tokens_to_ids(token) for token in wanted] == list(
        range(size, size + len(wanted))
    )
    add_tokens(tokenizer, objective, 24)
    assert vocabulary_size(tokenizer) == size + len(wanted)


def test_only_missing_tokens_are_added():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<extra_id_1>", "[NLU]"], special_tokens=True)
    size = vocabulary_size(tokenizer)
    before = tokenizer.get_vocab()
    objective = Objective(name="ul2", mask_fraction=0.5, mean_span=1.0)
    add_tokens(tokenizer, objective, 9)
    assert {token: tokenizer.get_vocab()[token] for token in before} == before
    added = ["[NLG]", "[S2S]", "<extra_id_0>", "<extra_id_2>"]
    assert tokenizer.convert_tokens_to_ids(added) == list(range(size, size + 4))
    assert vocabulary_size(tokenizer) == size + 4


def test_other_objectives_add_nothing():
    for name in ("causal", "masked"):
        tokenizer = byte_tokenizer()
        before = tokenizer.get_vocab()
        add_tokens(tokenizer, Objective(name=name), 24)
        assert tokenizer.get_vocab() == before


@given(st.text(max_size=20) | st.just("a[NLU]b<extra_id_0> [S2S]<extra_id_1>"))
@SOME
def test_text_is_encoded_as_before(text):
    assert text_ids(BYTES_OF_UL2, text) == list(text.encode())


BYTES_OF_UL2 = byte_tokenizer()
add_tokens(BYTES_OF_UL2, Objective(name="ul2"), 24)


def test_a_saved_tokenizer_keeps_them(tmp_path):
    BYTES_OF_UL2.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == BYTES_OF_UL2.get_vocab()
    text = "é <extra_id_0>[NLG]"
    assert text_ids(again, text) == list(text.encode())
    number = again.convert_tokens_to_ids("[NLG]")
    assert again.decode([97, number, 98], skip_special_tokens=True) == "ab"
    assert again.decode([97, number]) == "a[NLG]"


def test_an_objective_of_a_space():
    objective = Objective(name="ul2", weights=Ul2Weights(causal=3.0, prefix=1.0, span=1.0))
    tokenizer = byte_tokenizer()
    add_tokens(tokenizer, objective, 24)
    made = make_objective(objective, tokenizer, vocabulary_size(tokenizer), 24)
    assert made.kind == "causal"
    assert [name for name, _ in made.parts] == ["causal", "prefix", "span"]
    assert [weight for _, weight in made.parts] == pytest.approx([0.6, 0.2, 0.2])
    inputs, labels = made.example(rows_of(50, 24) % 256, 0)
    assert inputs.max() < vocabulary_size(tokenizer)
    begins = {tokenizer.convert_ids_to_tokens(int(token)) for token in inputs[:, 0]}
    assert begins == {"[NLG]", "[S2S]", "[NLU]"}
    assert (labels[inputs == tokenizer.pad_token_id] == IGNORED).all()


def test_without_a_padding_token_the_separator_pads():
    objective = Objective(name="ul2")
    tokenizer = byte_tokenizer()
    add_tokens(tokenizer, objective, 24)
    tokenizer.pad_token = None
    assert make_ul2(objective, tokenizer, 0, 24).pad == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="ul2 needs a tokenizer with a padding token") as caught:
        make_ul2(objective, tokenizer, 0, 24)
    assert caught.value.at == ("objective", "name")
