import math
import random
import re

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import open_corpus
from transformers import PreTrainedTokenizerFast

from lagsearch.data.objectives.base import IGNORED
from lagsearch.data.objectives.masking import Masked
from lagsearch.data.objectives.registry import make_objective
from lagsearch.data.objectives.whole_words import find_words
from lagsearch.data.tokens.encoding import Encoder
from lagsearch.data.tokens.tokenizers import (
    byte_tokenizer,
    character_tokenizer,
    make_tokenizer,
    vocabulary_size,
)
from lagsearch.space import Corpus, Objective, TrainBpe

TEXT = (
    "#### The layers ####\nthe layer grows and the layers grow; don't stack 12 layers2 on café "
    "x_y.\n\tgrowing\r\n"
) * 30


SOME = settings(max_examples=40)
LETTERS = "abcxyz \n\t.,'#_0123"
BYTES = byte_tokenizer()
CHARACTERS = character_tokenizer(sorted(LETTERS))
WORDS_OF_BYTES = find_words(BYTES)


def ids(tokenizer, text):
    (row,) = Encoder(tokenizer)([text])
    return np.array(row, np.int64)


def grouped(tokenizer, text):
    """Return the tokens of a text, those of each word together."""
    row = ids(tokenizer, text)
    names = tokenizer.convert_ids_to_tokens(row.tolist())
    words = {}
    for name, number in zip(names, find_words(tokenizer).numbers(row), strict=True):
        words.setdefault(int(number), []).append(name)
    assert list(words) == list(range(len(words)))
    return list(words.values())


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """Return a tokenizer of byte pairs that knows some words whole and others in pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        path = tmp_path_factory.mktemp("text") / "text.txt"
        path.write_bytes(TEXT.encode())
        text = open_corpus(Corpus(files=(str(path),)))
        return make_tokenizer(TrainBpe(train_bpe=300), text)


@pytest.fixture(scope="module")
def pieces():
    """Return BERT's kind of tokenizer."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "un", "play", "s", "!", "2"]
    vocabulary = {word: number for number, word in enumerate([*words, "##play", "##ing", "##2"])}
    backend = hf.Tokenizer(hf.models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = hf.pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


# Words by hand


def test_words_of_bytes_by_hand():
    assert grouped(BYTES, "it's a 2nd\n\tone") == [
        ["i", "t"], ["'"], ["s"], ["Ġ"], ["a"], ["Ġ"], ["2", "n", "d"], ["Ċ"], ["ĉ"],
        ["o", "n", "e"],
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["café", "naïve", "Größe", "日本", "слово", "čaj"])
def test_bytes_beyond_ascii_are_letters(word):
    [before, *words, after] = grouped(BYTES, f"({word})")
    assert (before, after) == (["("], [")"])
    assert [len(each) for each in words] == [len(word.encode())]


def test_words_of_characters_by_hand():
    text = "aé č2, x_y\tĠ\n"
    assert grouped(character_tokenizer(sorted(set(text))), text) == [
        ["a", "é"], [" "], ["č", "2"], [","], [" "], ["x"], ["_"], ["y"], ["\t"], ["Ġ"], ["\n"],
    ]  # fmt: skip


def test_words_of_word_pieces_by_hand(pieces):
    assert grouped(pieces, "unplaying the plays 22 play !") == [
        ["un", "##play", "##ing"], ["the"], ["[UNK]"], ["2", "##2"], ["play"], ["!"],
    ]  # fmt: skip


def test_special_tokens_stand_alone(pieces):
    names = ["[CLS]", "##ing", "play", "[MASK]", "##ing", "##2", "[SEP]", "[SEP]"]
    row = np.array(pieces.convert_tokens_to_ids(names))
    assert find_words(pieces).numbers(row).tolist() == [0, 1, 2, 3, 4, 4, 5, 6]
    tokenizer = byte_tokenizer()
    end, mask = tokenizer.eos_token_id, tokenizer.mask_token_id
    row = np.array([97, 98, end, 99, mask, mask, 100])
    assert find_words(tokenizer).numbers(row).tolist() == [0, 0, 1, 2, 3, 4, 5]


def test_words_of_byte_pairs_by_hand(bpe):
    """A word is together whether it is one token or many; what begins with a space begins it."""
    words = grouped(bpe, "the unseen café,layers")
    spelled = [bpe.convert_tokens_to_string(each) for each in words]
    assert [each.strip() for each in spelled if each != " "] == [
        "the", "unseen", "café", ",", "layers",
    ]  # fmt: skip
    assert words[0] == ["the"]
    assert max(map(len, words)) > 3


def test_a_vocabulary_with_number_signs_is_not_one_of_word_pieces(bpe):
    assert any(token.startswith("##") and len(token) > 2 for token in bpe.get_vocab())
    [word] = grouped(bpe, "xyzzy")
    assert bpe.convert_tokens_to_string(word) == "xyzzy"


def test_words_of_a_mark_for_spaces():
    vocabulary = {"<unk>": 0, "▁the": 1, "▁lay": 2, "er": 3, "s": 4, "▁": 5, ".": 6}
    backend = hf.Tokenizer(hf.models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    row = np.array([1, 2, 3, 4, 6, 5, 3, 0, 4])
    assert find_words(tokenizer).numbers(row).tolist() == [0, 1, 1, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["bytes", "byte pairs", "characters"])
@given(text=st.text(alphabet=LETTERS, min_size=1, max_size=40))
@SOME
def test_words_are_runs_of_letters_and_digits(bpe, kind, text):
    """Two tokens are of one word where one run of letters and digits stands across their border."""
    tokenizer = {"bytes": BYTES, "byte pairs": bpe, "characters": CHARACTERS}[kind]
    row = ids(tokenizer, text)
    within = {
        place
        for run in re.finditer("[a-z0-9]+", text)
        for place in range(run.start() + 1, run.end())
    }
    borders = np.cumsum([len(tokenizer.decode([int(token)])) for token in row])[:-1]
    expected = np.cumsum([0, *(int(border) not in within for border in borders)])
    assert find_words(tokenizer).numbers(row).tolist() == expected.tolist()


# Whole words hidden


def hidden_of(objective, rows, seed):
    """Return which tokens are hidden, after checking that nothing else has changed."""
    inputs, labels = objective.example(rows, seed)
    whole = rows[:, :-1]
    is_hidden = labels != IGNORED
    np.testing.assert_array_equal(labels[is_hidden], whole[is_hidden])
    np.testing.assert_array_equal(inputs[~is_hidden], whole[~is_hidden])
    return is_hidden


@pytest.mark.parametrize("kind", ["bytes", "byte pairs", "word pieces"])
@given(
    length=st.integers(2, 60),
    fraction=st.floats(0.02, 0.9),
    seed=st.integers(0, 2**63 - 1),
    text_seed=st.integers(0, 9),
)
@SOME
def test_all_tokens_of_a_word_or_none(bpe, pieces, kind, length, fraction, seed, text_seed):
    tokenizer = {"bytes": BYTES, "byte pairs": bpe, "word pieces": pieces}[kind]
    words = find_words(tokenizer)
    size = vocabulary_size(tokenizer)
    draw = np.random.default_rng(text_seed)
    rows = draw.integers(0, size, (3, length + 1))
    rows[0] = np.resize(
        ids(tokenizer, TEXT if kind != "word pieces" else "the unplaying"), length + 1
    )
    before = rows.copy()
    objective = Masked(fraction, tokenizer.mask_token_id, size, words)
    is_hidden = hidden_of(objective, rows, seed)
    np.testing.assert_array_equal(rows, before)
    budget = max(1, round(fraction * length))
    for row, hidden in zip(rows[:, :-1], is_hidden, strict=True):
        numbers = words.numbers(row)
        sizes = np.bincount(numbers)
        chosen = set(numbers[hidden].tolist())
        assert chosen
        assert hidden.tolist() == [number in chosen for number in numbers.tolist()]
        if sizes.min() > budget:
            assert [sizes[number] for number in chosen] == [sizes.min()]
            continue
        left = budget - int(hidden.sum())
        assert left >= 0
        # no word that would have had room was passed over
        assert all(size > left for word, size in enumerate(sizes) if word not in chosen)


def test_words_of_one_token_fill_the_budget():
    rows = np.array([list(b"a b c d e f g h i j k")] * 5)
    objective = Masked(0.3, BYTES.mask_token_id, 256, WORDS_OF_BYTES)
    assert hidden_of(objective, rows, 0).sum(axis=1).tolist() == [6] * 5


def test_a_word_longer_than_the_budget_is_hidden_whole():
    objective = Masked(0.1, BYTES.mask_token_id, 256, WORDS_OF_BYTES)
    rows = np.array([list(b"abcdefghijk"), list(b"abc abcdefg")])
    first, second = hidden_of(objective, rows, 0).tolist()
    assert first == [True] * 10
    assert second == [place == 3 for place in range(10)]  # the space is the one that fits


def test_every_word_is_hidden_at_times():
    rows = np.array([list(b"ab cd ef gh ij kl ")] * 600)
    objective = Masked(2 / 17, BYTES.mask_token_id, 256, WORDS_OF_BYTES)
    is_hidden = hidden_of(objective, rows, 1)
    counts = is_hidden.sum(axis=0)
    assert counts[0] == counts[1]
    assert (is_hidden.sum(axis=1) == 2).all()
    # a word fits where it is the first of all 11 drawn, 5 of them spaces
    share = 6 / 11 / 6
    tolerance = 5 * math.sqrt(600 * share * (1 - share))
    assert abs(counts[[0, 3, 6, 9, 12, 15]] - 600 * share).max() < tolerance


def test_eighty_ten_ten_of_whole_words():
    draw = random.Random(0)
    words = ["layer", "grows", "a", "of", "the", "steps"]
    texts = [" ".join(draw.choices(words, k=60)).encode()[:121] for _ in range(200)]
    rows = np.array([list(text) for text in texts])
    n_vocabulary = vocabulary_size(BYTES)
    mask = BYTES.mask_token_id
    inputs, labels = Masked(0.3, mask, n_vocabulary, WORDS_OF_BYTES).example(rows, 4)
    is_hidden = labels != IGNORED
    n_hidden = int(is_hidden.sum())
    assert n_hidden > 0.95 * 200 * 36
    shown, was = inputs[is_hidden], labels[is_hidden]
    masked, kept = int((shown == mask).sum()), int((shown == was).sum())
    for count, share in ((masked, 0.8), (kept, 0.1), (n_hidden - masked - kept, 0.1)):
        by_chance = 0.1 / n_vocabulary  # a random token may be the mask or the old one
        tolerance = 4.5 * math.sqrt(n_hidden * share * (1 - share)) + 2 * by_chance * n_hidden
        assert abs(count - share * n_hidden) < tolerance


def test_whole_words_hang_on_the_seed_and_the_text():
    objective = Masked(0.3, BYTES.mask_token_id, 256, WORDS_OF_BYTES)
    rows = np.array([list(TEXT.encode()[:41])] * 4)
    one, two, other = (objective.example(rows, seed) for seed in (5, 5, 6))
    for place in (0, 1):
        np.testing.assert_array_equal(one[place], two[place])
        assert not np.array_equal(one[place], other[place])
    assert len({tuple(each) for each in one[1].tolist()}) == 4


def test_global_random_state_is_untouched():
    def state():
        _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
        return keys.tolist(), rest, random.getstate()

    before = state()
    objective = Masked(0.3, BYTES.mask_token_id, 256, WORDS_OF_BYTES)
    objective.example(np.array([list(b"to grow or not")]), 5)
    assert state() == before


def test_whole_words_of_a_space():
    size = vocabulary_size(BYTES)
    rows = np.array([list(b"abcd efgh ijkl mnop ")])
    for whole_words in (True, False):
        wanted = Objective(name="masked", mask_fraction=0.5, whole_words=whole_words)
        objective = make_objective(wanted, BYTES, size, 19)
        is_hidden = np.array([hidden_of(objective, rows, seed)[0] for seed in range(30)])
        words = [is_hidden[:, first : first + 4] for first in (0, 5, 10, 15)]
        is_whole = all(((each.sum(axis=1) % 4) == 0).all() for each in words)
        assert is_whole == whole_words
