import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lagsearch.data.encoding import Encoder
from lagsearch.data.tokenizers import (
    byte_tokenizer,
    character_tokenizer,
    make_tokenizer,
    vocabulary_size,
)
from lagsearch.errors import DataError

BYTES = byte_tokenizer()


class Texts:
    """A corpus of these documents."""

    def __init__(self, *texts):
        self.read = lambda: iter(texts)


def own_encoding(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def ids(tokenizer, text):
    (row,) = Encoder(tokenizer)([text])
    return [int(each) for each in row]


# Bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Az", [65, 122]),
        (" a\n\tb\r\n", [32, 97, 10, 9, 98, 13, 10]),
        ("é", [0xC3, 0xA9]),
        ("e\u0301", [0x65, 0xCC, 0x81]),  # decomposed: it must not be normalized
        ("€", [0xE2, 0x82, 0xAC]),
        ("\U0001f600", [0xF0, 0x9F, 0x98, 0x80]),
        ("\0", [0]),
    ],
)
def test_bytes_by_hand(text, expected):
    assert ids(BYTES, text) == expected
    assert own_encoding(BYTES, text) == expected


@given(st.text(max_size=30))
@example("  two  spaces ")
@example("Ġa▁b")
def test_bytes_there_and_back(text):
    assert ids(BYTES, text) == list(text.encode("utf-8"))
    assert own_encoding(BYTES, text) == list(text.encode("utf-8"))
    assert BYTES.decode(list(text.encode("utf-8"))) == text


@pytest.mark.parametrize("special", ["<|endoftext|>", "<pad>", "<mask>", "<unk>"])
def test_special_words_in_a_text_are_text(special):
    text = f"a{special}b"
    assert ids(BYTES, text) == list(text.encode("utf-8"))


def test_special_tokens_stand_behind_the_bytes():
    specials = BYTES.all_special_ids
    assert min(specials) >= 256
    assert vocabulary_size(BYTES) == max(specials) + 1
    assert BYTES.eos_token_id in specials
    assert BYTES.mask_token_id in specials
    assert BYTES.pad_token_id in specials
    assert len({BYTES.eos_token_id, BYTES.mask_token_id, BYTES.pad_token_id}) == 3


def test_encode_keeps_the_order_of_texts():
    rows = Encoder(BYTES)(["b", "", "ac"])
    assert [[int(each) for each in row] for row in rows] == [[98], [], [97, 99]]


def test_make_bytes_reads_no_text():
    class Unread:
        def read(self):
            raise AssertionError("the corpus was read")

    tokenizer = make_tokenizer("bytes", Unread())
    assert ids(tokenizer, "hi") == [104, 105]


# Characters


def test_characters_have_one_token_each():
    tokenizer = character_tokenizer(["\n", " ", "a", "b", "é"])
    got = ids(tokenizer, "ab\n aé")
    assert len(got) == 6
    assert got[0] == got[4]
    assert len(set(got)) == 5
    assert tokenizer.unk_token_id not in got
    assert max(got) < vocabulary_size(tokenizer)
    assert tokenizer.decode(got) == "ab\n aé"


def test_unknown_characters():
    tokenizer = character_tokenizer(["a", "b"])
    a, unknown, other, b = ids(tokenizer, "azωb")
    assert unknown == other == tokenizer.unk_token_id
    assert {a, b}.isdisjoint({tokenizer.unk_token_id})


@given(st.text(min_size=1, max_size=30))
@example("a  b\n\n c\t")
@example("e\u0301é")
@example("ĠÇ▁")
def test_characters_there_and_back(text):
    tokenizer = character_tokenizer(sorted(set(text)))
    got = ids(tokenizer, text)
    assert len(got) == len(text)
    assert len(set(got)) == len(set(text))
    assert tokenizer.unk_token_id not in got
    assert max(got) < vocabulary_size(tokenizer)
    assert tokenizer.decode(got) == text


@pytest.mark.parametrize("special", ["<|endoftext|>", "<pad>", "<mask>", "<unk>"])
def test_special_words_in_a_text_are_characters(special):
    text = f"a{special}b"
    tokenizer = character_tokenizer(sorted(set(text)))
    got = ids(tokenizer, text)
    assert len(got) == len(text)
    assert set(got).isdisjoint(tokenizer.all_special_ids)


def test_make_characters_takes_those_of_the_corpus():
    tokenizer = make_tokenizer("characters", Texts("hello ", "wörld\n"))
    characters = set("hello wörld\n")
    assert len({ids(tokenizer, each)[0] for each in characters}) == len(characters)
    n_special = len(set(tokenizer.all_special_ids))
    assert vocabulary_size(tokenizer) == len(characters) + n_special
    assert ids(tokenizer, "z") == [tokenizer.unk_token_id]


def test_make_characters_does_not_hang_on_the_order_of_texts():
    one = make_tokenizer("characters", Texts("cab", "d"))
    two = make_tokenizer("characters", Texts("d", "bca"))
    assert ids(one, "abcd") == ids(two, "abcd")


# Folders


@pytest.mark.parametrize("kind", ["bytes", "characters"])
def test_a_saved_tokenizer_is_the_same(kind, tmp_path):
    text = "Is it? é\n  \u2192 <mask> it is."
    tokenizer = make_tokenizer(kind, Texts(text))
    tokenizer.save_pretrained(tmp_path)
    for again in (AutoTokenizer.from_pretrained(tmp_path), make_tokenizer(str(tmp_path), None)):
        assert ids(again, text) == ids(tokenizer, text)
        assert vocabulary_size(again) == vocabulary_size(tokenizer)
        assert again.eos_token_id == tokenizer.eos_token_id
        assert again.decode(ids(again, text)) == text


def test_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(DataError, match=tmp_path.name) as failure:
        make_tokenizer(str(tmp_path), None)
    assert "\n" not in str(failure.value)
