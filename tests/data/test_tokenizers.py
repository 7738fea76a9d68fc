import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lagsearch.data.tokens.encoding import Encoder
from lagsearch.data.tokens.tokenizers import (
    byte_tokenizer,
    character_tokenizer,
    is_bytes,
    make_tokenizer,
    vocabulary_size,
)
from lagsearch.errors import DataError
from lagsearch.space import TrainBpe

BYTES = byte_tokenizer()


class Texts:
    """A corpus of these documents; its digest is that of its texts unless it is given."""

    def __init__(self, *texts, digest=None):
        self.digest = digest or sha256(repr(texts).encode()).hexdigest()
        self.name, self.read = "text", lambda: iter(texts)


class Unread:
    """A corpus that must not be read."""

    def __init__(self, digest="0"):
        self.digest = digest

    def read(self):
        raise AssertionError("the corpus was read")


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
    tokenizer = make_tokenizer("bytes", Unread())
    assert ids(make_tokenizer("bytes", None), "hi") == [104, 105]
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


def test_characters_come_from_the_cache_and_one_by_one(cache):
    told = []
    text = Texts("cab" * 10, "d", digest="d")
    one = make_tokenizer("characters", text, tell=told.append)
    again = make_tokenizer("characters", Unread("d"), tell=told.append)
    assert again.backend_tokenizer.to_str() == one.backend_tokenizer.to_str()
    assert told == ["looking for the characters of text"]
    assert len(list(cache.rglob("characters.json"))) == 1


def test_characters_of_many_documents_are_not_all_held(cache):
    """Each set of characters takes hundreds of bytes: those of the documents add up."""
    documents = Texts(*["the same few characters " * 2] * 30_000)
    tracemalloc.start()
    make_tokenizer("characters", documents)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10e6


# Tokens that an objective adds


def with_more(special):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["[NLG]", "<extra_id_0>"], special_tokens=special)
    return tokenizer


def test_bytes_with_more_special_tokens_are_bytes():
    text = "a<extra_id_0>b é [NLG] " * 20_000
    found = Encoder(with_more(special=True))
    assert [int(each) for each in found([text])[0]] == list(text.encode())
    assert found.cut(text, 0) > 0
    assert is_bytes(with_more(special=True))
    other = with_more(special=False)  # it finds them in a text
    assert not is_bytes(other)
    assert len(ids(other, "a[NLG]b")) == 3


# Byte pairs

LINES = [
    "The layers of a model grow, and the loss of the grown model falls.\n",
    "def grow(layer):\n    return [layer, layer]\n\n",
    "El año pasado, naïve café: \u2192 <mask> 日本語\n",
]
TEXTS = [each * 8 for each in LINES]


def trained(size=320, texts=TEXTS, **keys):
    return make_tokenizer(TrainBpe(train_bpe=size), Texts(*texts, **keys))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return trained()


@pytest.mark.parametrize("size", [260, 261, 300, 320])
def test_the_vocabulary_has_the_size_that_is_asked_for(size):
    tokenizer = trained(size)
    assert vocabulary_size(tokenizer) == len(tokenizer) == len(tokenizer.get_vocab()) == size
    assert sorted(tokenizer.get_vocab().values()) == list(range(size))
    special = {tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id}
    assert len(special) == 3
    assert set(tokenizer.all_special_ids) == special
    single = [ids(tokenizer, chr(byte)) for byte in range(128)]
    assert [len(each) for each in single] == [1] * 128


def test_merges_by_hand():
    """Pairs within words: ab 65 times, then abc 25, cd 9 and x before abc 4."""
    words = {"ab": 40, "abc": 21, "cd": 9, "xabc": 4}
    text = "".join(f"{word}\n" * times for word, times in words.items())
    tokenizer = trained(263, [text])
    assert tokenizer.convert_ids_to_tokens([259, 260, 261, 262]) == ["ab", "abc", "cd", "xabc"]
    assert ids(tokenizer, "xabcd") == [262, *ids(tokenizer, "d")]


@given(st.text(max_size=40))
@settings(max_examples=60)
@example("a<|endoftext|>b<mask>")
@example(" two  spaces\r\n\t ")
@example("e\u0301\0日本")
def test_byte_pairs_there_and_back(pairs, text):
    row = ids(pairs, text)
    assert pairs.decode(row) == text
    assert set(row).isdisjoint(pairs.all_special_ids)
    if "<" not in text:
        assert own_encoding(pairs, text) == row


def test_byte_pairs_shorten_the_text(pairs):
    for text in LINES:
        assert len(ids(pairs, text)) < 0.8 * len(text.encode())


def test_the_same_text_gives_the_same_tokenizer(cache, tmp_path, monkeypatch):
    one = trained()
    monkeypatch.setenv("LAGSEARCH_CACHE", str(tmp_path / "other"))
    two = trained()
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()
    [mine] = cache.rglob("tokenizer.json")
    [other] = (tmp_path / "other").rglob("tokenizer.json")
    assert mine.read_bytes() == other.read_bytes()
    assert mine.relative_to(cache) == other.relative_to(tmp_path / "other")


def test_a_trained_tokenizer_comes_from_the_cache(cache):
    one = trained(300, digest="d")
    [file] = cache.rglob("tokenizer.json")
    assert file.parent.parent == cache / "tokenizers"
    again = make_tokenizer(TrainBpe(train_bpe=300), Unread("d"))
    assert again.backend_tokenizer.to_str() == one.backend_tokenizer.to_str()
    for other in (trained(301, digest="d"), trained(300, TEXTS[1:], digest="e")):
        assert other.backend_tokenizer.to_str() != one.backend_tokenizer.to_str()
    assert len(list(cache.rglob("tokenizer.json"))) == 3


def test_what_takes_long_is_said():
    told = []
    for _ in range(2):
        make_tokenizer(TrainBpe(train_bpe=300), Texts(*TEXTS), tell=told.append)
    assert told == ["training a tokenizer of 300 tokens on text"]


def test_training_that_breaks_leaves_nothing(cache):
    def read():
        yield TEXTS[0]
        raise RuntimeError("torn")

    broken = Texts(digest="d")
    broken.read = read
    with pytest.raises(RuntimeError, match="torn"):
        make_tokenizer(TrainBpe(train_bpe=300), broken)
    assert list(cache.rglob("*.json")) == []
    assert vocabulary_size(trained(300, digest="d")) == 300


def test_a_text_too_short_for_the_vocabulary_is_refused():
    with pytest.raises(DataError, match=r"text has pairs for 2[67]\d tokens only") as caught:
        trained(1000, ["the layer grows"])
    assert caught.value.at == ("data", "tokenizer", "train_bpe")


def test_tokens_of_the_byte_pairs_are_saved(pairs, tmp_path):
    pairs.save_pretrained(tmp_path)
    text = "".join(LINES)
    for again in (AutoTokenizer.from_pretrained(tmp_path), make_tokenizer(str(tmp_path), None)):
        assert again.get_vocab() == pairs.get_vocab()
        assert ids(again, text) == ids(pairs, text)
        assert own_encoding(again, "the grown") == own_encoding(pairs, "the grown")
        assert again.decode(ids(again, text)) == text
        for role in ("bos_token", "eos_token", "pad_token", "mask_token"):
            assert getattr(again, role) == getattr(pairs, role)


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
