import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opening import open_corpus

from lagsearch.data.objectives.masking import Causal
from lagsearch.data.objectives.ul2 import make_ul2
from lagsearch.data.text.corpora import CorpusText, Opener
from lagsearch.data.text.overlaps import apart
from lagsearch.data.tokens.batches import validation_rows
from lagsearch.data.tokens.store import (
    Stores,
    TokenStore,
    ValidationSize,
    check_text,
    open_stores,
    validation_size,
)
from lagsearch.data.tokens.tokenizers import (
    byte_tokenizer,
    character_tokenizer,
    make_tokenizer,
)
from lagsearch.errors import DataError
from lagsearch.space import Corpus, Data, Ingredient, Objective, Pretrain, Source, Validation
from lagsearch.storage.files import digest, write_json

END = 256  # the byte tokenizer's separator


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("LAGSEARCH_CACHE", str(folder))
    return folder


@pytest.fixture
def write(tmp_path):
    def write_text(name, text):
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8"))
        return str(path)

    return write_text


def own_validation(train, validation, **keys):
    return Data(train=Corpus(files=train), validation=Validation(files=validation), **keys)


def held_out(train, fraction=0.05, **keys):
    return Data(train=Corpus(files=train), validation=Validation(fraction=fraction), **keys)


def check(data, batches=32, rows=16, stores=None, objective=None):
    """Check that there is text for a space with so many validation batches; return the taken."""
    stores, objective = stores or stores_of(data), objective or Causal()
    wanted = ValidationSize(batches, rows)
    check_text(stores, objective, data.sequence_length, [wanted])
    taken = validation_size(stores, objective, data.sequence_length, wanted)
    return taken.batches, taken.rows


def stores_of(data, tokenizer="bytes"):
    """Open the stores of a space whose tokenizer is made from its training files."""
    text = None if tokenizer == "bytes" else open_corpus(data.train)
    return open_stores(data, make_tokenizer(tokenizer, text))


@dataclass
class Pair:
    """The stores of a space with one text: that of training, and that of validation."""

    train: TokenStore
    validation: TokenStore

    def tokens(self, part):
        return getattr(self, part).tokens(part)

    def tokenizer(self):
        return self.train.tokenizer()

    @property
    def folder(self):
        return self.train.folder


def store_of(data, tokenizer="bytes"):
    """Open the stores of a space with one text; they are one where a fraction is held out."""
    stores = stores_of(data, tokenizer)
    [share], [other] = stores.train, stores.validation
    assert (share.folder == other.folder) == (data.validation.fraction is not None)
    return Pair(share.store, other.store)


def numbered(n_lines, mark="x"):
    """Lines of 8 bytes, each with a number of its own."""
    return "".join(f"{mark}{line:06d}\n" for line in range(n_lines))


def whole_lines(tokens):
    text = bytes(int(t) for t in tokens if t < 256).decode("utf-8")
    return {line for line in text.split("\n") if len(line) == 7 and line.startswith("x")}


def mixture(*texts, **keys):
    """Return a space's data: (weight, files) of each text, and the validation."""
    ingredients = tuple(Ingredient(weight=weight, files=files) for weight, files in texts)
    return Data(train=Corpus(mixture=ingredients), **keys)


def as_ids(text):
    return list(text.encode("utf-8"))


def test_tokens_of_two_corpora_by_hand(write):
    data = own_validation((write("a.txt", "hé"), write("b.txt", "yo")), (write("v.txt", "val"),))
    store = store_of(data)
    end = store.tokenizer().eos_token_id
    train, validation = store.tokens("train").tolist(), store.tokens("validation").tolist()
    assert train == [*as_ids("hé"), end, *as_ids("yo"), end]
    assert validation == [*as_ids("val"), end]


def test_store_lies_in_the_cache_folder(write, cache, tmp_path):
    store = store_of(own_validation((write("a.txt", "abc"),), (write("v.txt", "val"),)))
    assert cache in store.folder.parents
    names = {path.name for path in store.folder.iterdir()}
    assert {"train.bin", "validation.bin", "store.json", "tokenizer"} <= names


def test_held_out_stretches_part_the_text(write):
    text = numbered(40_000)  # 320,000 bytes
    store = store_of(held_out((write("a.txt", text),), 0.1))
    train, validation = store.tokens("train"), store.tokens("validation")
    n_separators = int((train == END).sum() + (validation == END).sum())
    assert n_separators >= 1
    assert len(train) + len(validation) - n_separators == len(text)
    lines_in_train, lines_in_validation = whole_lines(train), whole_lines(validation)
    assert lines_in_train.isdisjoint(lines_in_validation)
    n_lines = len(lines_in_train) + len(lines_in_validation)
    assert n_lines > 0.99 * 40_000  # a cut through a line loses it on both sides
    assert len(validation) / (len(train) + len(validation)) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_share_held_out(write, fraction):
    text = numbered(100_000)
    store = store_of(held_out((write("a.txt", text),), fraction))
    n_train, n_validation = len(store.tokens("train")), len(store.tokens("validation"))
    assert n_validation / (n_train + n_validation) == pytest.approx(fraction, abs=0.02)


def test_held_out_text_comes_from_all_over(write):
    text = numbered(100_000)
    store = store_of(held_out((write("a.txt", text),), 0.05))
    numbers = np.array(sorted(int(line[1:]) for line in whole_lines(store.tokens("validation"))))
    assert numbers.min() < 25_000
    assert numbers.max() > 75_000


def test_held_out_text_does_not_hang_on_anything_random(write, cache, monkeypatch, tmp_path):
    data = held_out((write("a.txt", numbered(20_000)),), 0.1)
    one = store_of(data).tokens("validation").tolist()
    monkeypatch.setenv("LAGSEARCH_CACHE", str(tmp_path / "another"))
    assert store_of(data).tokens("validation").tolist() == one


def test_facts(write):
    data = own_validation((write("a.txt", "abc"), write("b.txt", "d")), (write("v.txt", "val"),))
    store = store_of(data)
    train, validation = store.train.facts, store.validation.facts
    assert (train["corpus"]["tokens"], train["validation"]["tokens"]) == (6, 0)
    assert (validation["corpus"]["tokens"], validation["validation"]["tokens"]) == (0, 4)
    assert train["corpus"]["name"] == ", ".join(data.train.files)
    assert validation["validation"]["name"] == data.validation.files[0]
    assert (train["dtype"], train["vocabulary"]) == ("uint16", 259)


def test_tokens_are_read_only(write):
    store = store_of(own_validation((write("a.txt", "abc"),), (write("v.txt", "val"),)))
    with pytest.raises(ValueError, match="read-only"):
        store.tokens("train")[0] = 1


def test_second_opening_makes_nothing(write):
    data = held_out((write("a.txt", numbered(5_000)),), 0.1)
    first = store_of(data)
    path = first.folder / "train.bin"
    before = path.stat().st_mtime_ns, path.stat().st_ino
    second = store_of(data)
    assert second.folder == first.folder
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_changed_text_is_another_store(write):
    first = store_of(own_validation((write("a.txt", "abc"),), (write("v.txt", "v"),)))
    second = store_of(own_validation((write("a.txt", "xyz"),), (write("v.txt", "v"),)))
    assert second.folder != first.folder
    assert second.tokens("train").tolist()[:3] == as_ids("xyz")
    assert first.tokens("train").tolist()[:3] == as_ids("abc")


def test_changed_validation_is_another_store(write):
    train = (write("a.txt", numbered(20_000)),)
    first = store_of(held_out(train, 0.1))
    second = store_of(held_out(train, 0.2))
    third = store_of(own_validation(train, (write("v.txt", "v"),)))
    assert len({first.folder, second.folder, third.folder}) == 3
    assert len(first.tokens("validation")) < len(second.tokens("validation"))


def test_another_tokenizer_is_another_store(write):
    data = own_validation((write("a.txt", "abca"),), (write("v.txt", "cab"),))
    one, two = store_of(data), store_of(data, "characters")
    assert one.folder != two.folder
    tokenizer = two.tokenizer()
    assert tokenizer.decode(two.tokens("train")[:4].tolist()) == "abca"
    assert tokenizer.decode(two.tokens("validation")[:3].tolist()) == "cab"


def test_another_vocabulary_is_another_store(write):
    data = own_validation((write("a.txt", "abca"),), (write("v.txt", "cab"),))
    one, two = (
        open_stores(data, character_tokenizer(each)).train[0].store
        for each in (["a", "b", "c"], ["c", "b", "a"])
    )
    assert one.tokens("train")[:4].tolist() == [0, 1, 2, 0]
    assert two.tokens("train")[:4].tolist() == [2, 1, 0, 2]


def test_another_separator_is_another_store(write):
    data = own_validation((write("a.txt", "abca"),), (write("v.txt", "cab"),))
    tokenizer = byte_tokenizer()
    first = open_stores(data, tokenizer).train[0].store
    tokenizer.eos_token = tokenizer.pad_token
    second = open_stores(data, tokenizer).train[0].store
    assert first.tokens("train")[-1] != second.tokens("train")[-1] == tokenizer.pad_token_id


def test_sequence_length_needs_no_other_store(write):
    files = (write("a.txt", "abc"),), (write("v.txt", "v"),)
    one = store_of(own_validation(*files, sequence_length=4))
    two = store_of(own_validation(*files, sequence_length=8))
    assert one.folder == two.folder


def test_validation_with_unseen_characters(write):
    data = own_validation((write("a.txt", "abc"),), (write("v.txt", "aωb"),))
    store = store_of(data, "characters")
    tokenizer = store.tokenizer()
    a, unknown, b = store.tokens("validation")[:3].tolist()
    assert unknown == tokenizer.unk_token_id
    assert tokenizer.decode([a, b]) == "ab"


def test_store_keeps_its_tokenizer(write):
    store = store_of(own_validation((write("a.txt", "hé"),), (write("v.txt", "v"),)))
    tokens = store.tokens("train")[:3].tolist()
    assert store.tokenizer().decode(tokens) == "hé"


def test_half_made_store_is_made_anew(write):
    data = own_validation((write("a.txt", "abc"),), (write("v.txt", "val"),))
    store = store_of(data)
    tokens = store.tokens("train").tolist()
    (store.folder / "store.json").unlink()
    assert store_of(data).tokens("train").tolist() == tokens


def test_missing_file(tmp_path):
    missing = str(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match=r"nowhere\.txt") as failure:
        store_of(held_out((missing,)))
    assert "\n" not in str(failure.value)


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(DataError, match=tmp_path.name):
        store_of(held_out((str(tmp_path),)))


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 " * 10)
    with pytest.raises(DataError, match=r"latin\.txt.*UTF-8"):
        store_of(held_out((str(path),)))


def test_a_corpus_without_text(write):
    data = own_validation((write("a.txt", ""),), (write("v.txt", "val"),))
    with pytest.raises(DataError, match=r"a\.txt: no text at all"):
        stores_of(data)
    some = own_validation((write("a.txt", ""), write("b.txt", "b")), (write("v.txt", "val"),))
    assert store_of(some).tokens("train").tolist() == [END, ord("b"), END]


def test_records_are_documents(write):
    lines = '{"text": "h\\u00e9"}\n{"text": ""}\n{"text": null}\n{"text": "yo"}\n'
    data = own_validation((write("a.jsonl", lines),), (write("v.txt", "val"),))
    expected = [*as_ids("h\u00e9"), END, *as_ids("yo"), END]
    assert store_of(data).tokens("train").tolist() == expected


def test_too_short_a_training_text_says_what_fits(write):
    data = own_validation(
        (write("a.txt", "abc" * 4),), (write("v.txt", "val" * 50),), sequence_length=8
    )
    message = r"a\.txt: 13 tokens to train on are too few for sequences of 8: give data\.sequence_"
    with pytest.raises(DataError, match=message + "length 6 or less, or more text") as caught:
        check(data)
    assert caught.value.at == ("data", "train")
    assert check(data.model_copy(update={"sequence_length": 6}))


def test_too_short_a_validation_text_says_what_fits(write):
    data = own_validation(
        (write("a.txt", "abc" * 50),), (write("v.txt", "v" * 23),), sequence_length=8
    )
    message = r"v\.txt: 24 tokens to measure losses on are 2 sequences of 8, and 4 are needed: "
    ending = r"give data\.sequence_length 5 or less"
    with pytest.raises(DataError, match=message + ending) as caught:
        check(data)
    assert caught.value.at == ("data", "validation")
    assert check(data.model_copy(update={"sequence_length": 5})) == (4, 1)
    assert check(data, batches=2) == (2, 1)  # no more are asked for


def test_what_is_far_too_short_needs_more_text(write):
    data = own_validation((write("a.txt", "ab"),), (write("v.txt", "v"),), sequence_length=8)
    with pytest.raises(DataError, match=r"a\.txt: 3 tokens .* sequences of 8: give more text$"):
        check(data)


@pytest.mark.parametrize(
    ("n_sequences", "taken"),
    [
        (512, (32, 16)),  # as asked for
        (511, (31, 16)),
        (128, (8, 16)),
        (127, (8, 15)),  # smaller ones rather than fewer
        (8, (8, 1)),
        (7, (7, 1)),
        (4, (4, 1)),
    ],
)
def test_validation_takes_what_there_is(write, n_sequences, taken):
    validation = write("v.txt", "v" * (8 * n_sequences))  # and the separator behind it
    data = own_validation((write("a.txt", "abc" * 50),), (validation,), sequence_length=8)
    assert check(data) == taken


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.floats(0.01, 3)), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(1, 20),
)
@example([(545, 1.0)], 9, 16)
@settings(max_examples=200)
def test_what_validation_takes_is_there_and_never_more_than_asked_for(texts, batches, rows):
    shares = tuple(_Made(weight, {"tokens": tokens}) for tokens, weight in texts)
    stores, wanted = Stores(shares, shares), ValidationSize(batches, rows)
    try:
        check_text(stores, Causal(), 4, [wanted])
    except DataError:
        return
    taken = validation_size(stores, Causal(), 4, wanted)
    assert min(batches, 4) <= taken.batches <= batches
    assert 1 <= taken.rows <= rows
    tokens = [(np.arange(n), weight) for n, weight in texts]
    found = validation_rows(tokens, 4, taken.rows, taken.batches)
    assert [each.shape for each in found] == [(taken.rows, 5)] * taken.batches
    if (taken.batches, taken.rows) != (batches, rows) and len(texts) == 1:
        one_more = taken.batches + 1, taken.rows
        if taken.rows < rows and taken.batches == min(batches, 8):
            one_more = taken.batches, taken.rows + 1
        assert one_more[0] * one_more[1] * 4 + 1 > texts[0][0]


@dataclass(frozen=True)
class _Made:
    """A share of a text that is made up."""

    weight: float
    counts: dict
    name: str = "made up"
    at: tuple = ("data",)

    @property
    def store(self):
        return self

    @property
    def facts(self):
        return {"corpus": {"tokens": 100}, "validation": self.counts}


def test_each_part_of_an_objective_keeps_a_row_in_small_batches(write):
    """Of 1 to 3 rows some part of UL2 would have none."""
    ul2 = make_ul2(Objective(name="ul2"), byte_tokenizer(), 0, 16)
    data = own_validation(
        (write("a.txt", "abc" * 50),), (write("v.txt", "v" * 16 * 20),), sequence_length=16
    )
    assert check(data, objective=ul2) == (5, 4)
    assert check(data.model_copy(update={"sequence_length": 20}), objective=ul2) == (4, 4)
    with pytest.raises(DataError, match="are 15 sequences of 21, and 16 are needed"):
        check(data.model_copy(update={"sequence_length": 21}), objective=ul2)


@pytest.mark.parametrize(
    ("n_tokens", "fraction", "stretch"),
    [
        (2_000, 0.05, 125),  # a quarter of it
        (50_000, 0.05, 2_048),  # as much as in a stretch of the usual length
        (163_839, 0.05, 2_048),
        (10_000, 0.6, 1_500),  # the share that is asked for
    ],
)
def test_short_stretches_are_held_out_of_a_short_text(write, n_tokens, fraction, stretch):
    text = numbered(n_tokens)[: n_tokens - 1]  # and the separator behind it
    lines = []
    data = held_out((write("a.txt", text),), fraction)
    [share] = open_stores(data, byte_tokenizer(), lines.append).train
    whole = [*as_ids(text), END]
    ends = [n_tokens * number // 4 for number in (1, 2, 3, 4)]
    held = {place for end in ends for place in range(end - stretch, end)}
    trained_on, measured_on = (share.store.tokens(part) for part in ("train", "validation"))
    assert measured_on.tolist() == [whole[place] for place in sorted(held)]
    assert trained_on.tolist() == [each for place, each in enumerate(whole) if place not in held]
    told = f"{4 * stretch:,} of its {n_tokens:,} tokens are held out"
    assert [told in line for line in lines if "is short" in line] == [True] * (fraction < 0.25)


def test_a_text_with_a_stretch_to_hold_out_is_divided_as_ever(write):
    text = numbered(20 * 1024)
    store = store_of(held_out((write("a.txt", text),), 0.05))
    assert store.tokens("validation").tolist() == as_ids(text)[19 * 8192 : 20 * 8192]


def test_a_store_without_anything_held_out_is_made_anew(write):
    """Earlier versions left such ones in the cache for texts of fewer than 20 stretches."""
    data = held_out((write("a.txt", numbered(2_000)),), 0.05)
    made = stores_of(data).train[0].store
    tokens = [made.tokens(part).copy() for part in ("train", "validation")]
    facts = made.facts
    facts["corpus"]["tokens"], facts["validation"]["tokens"] = 2_001, 0
    np.concatenate(tokens).tofile(made.folder / "train.bin")
    (made.folder / "validation.bin").write_bytes(b"")
    write_json(made.folder / "store.json", facts)
    again = stores_of(data).train[0].store
    assert again.folder == made.folder
    for part, before in zip(("train", "validation"), tokens, strict=True):
        np.testing.assert_array_equal(again.tokens(part), before)


def test_carriage_returns_are_kept(write):
    data = own_validation((write("a.txt", "a\r\nb\rc"),), (write("v.txt", "v"),))
    store = store_of(data)
    assert store.tokens("train")[:6].tolist() == as_ids("a\r\nb\rc")


def test_special_words_in_a_text_are_text(write):
    text = "a<|endoftext|>b"
    data = own_validation((write("a.txt", text),), (write("v.txt", "v"),))
    store = store_of(data)
    assert store.tokens("train")[: len(text)].tolist() == as_ids(text)


def test_the_folder_of_one_text_is_named_as_ever(write):
    """What is in a cache stays of use: the name is a hash of these words and no others."""
    path = write("a.txt", numbered(5_000))
    content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    tokenizer = byte_tokenizer()
    made_of = {
        "format": 1,
        "train": hashlib.sha256(content.encode()).hexdigest()[:16],
        "validation": 0.1,
        "tokenizer": digest(tokenizer.backend_tokenizer.to_str()),
        "separator": END,
    }
    stores = stores_of(held_out((path,), 0.1))
    assert stores.train[0].folder.name == digest(made_of) == stores.identity
    apart = stores_of(own_validation((path,), (write("v.txt", "other"),)))
    [share] = apart.train
    assert share.folder.name == digest({**made_of, "validation": None})


def test_without_separators_documents_run_together(write):
    texts = (write("a.txt", "hé"), write("b.txt", "yo")), (write("v.txt", "val"),)
    store = store_of(own_validation(*texts, separators=False))
    assert store.tokens("train").tolist() == as_ids("héyo")
    assert store.tokens("validation").tolist() == as_ids("val")
    assert store.folder != store_of(own_validation(*texts)).folder


def test_each_text_of_a_mixture_has_the_store_it_would_have_alone(write):
    texts = [(write("a.txt", numbered(30_000)),), (write("b.txt", numbered(9_000, "y")),)]
    validation = Validation(fraction=0.2)
    stores = stores_of(
        mixture((3.0, texts[0]), (1.0, texts[1]), validation=validation, sequence_length=8)
    )
    alone = [store_of(held_out(each, 0.2)).folder for each in texts]
    assert [share.folder for share in stores.train] == alone
    assert stores.validation == stores.train
    assert [share.weight for share in stores.train] == [3.0, 1.0]
    names = [folder.name for folder in alone]
    shares = [[names[0], 3.0], [names[1], 1.0]]
    assert stores.identity == {"train": shares, "validation": shares}


def test_a_mixture_with_validation_of_its_own(write):
    texts = [(write("a.txt", "abc"),), (write("b.txt", "de"),)]
    validation = Validation(files=(write("v.txt", "val"),))
    stores = stores_of(mixture((1.0, texts[0]), (1.0, texts[1]), validation=validation))
    found = [share.store.tokens("train").tolist() for share in stores.train]
    assert found == [[*as_ids("abc"), END], [*as_ids("de"), END]]
    [held] = stores.validation
    assert held.store.tokens("validation").tolist() == [*as_ids("val"), END]
    assert held.folder not in [share.folder for share in stores.train]


def test_a_mixture_that_is_too_short_names_the_text(write):
    files = (write("a.txt", numbered(30_000)),), (write("b.txt", "short"),)
    validation = Validation(files=(write("v.txt", numbered(100)),))
    data = mixture((1.0, files[0]), (1.0, files[1]), validation=validation, sequence_length=8)
    with pytest.raises(DataError, match=r"b\.txt: 6 tokens to train on are too few") as caught:
        check(data)
    assert caught.value.at == ("data", "train", "mixture", 1)


def test_a_missing_file_of_a_mixture_names_its_place(write, tmp_path):
    data = mixture((1.0, (write("a.txt", "abc"),)), (2.0, (str(tmp_path / "gone.txt"),)))
    with pytest.raises(DataError, match=r"gone\.txt: no such file") as caught:
        stores_of(data)
    assert caught.value.at == ("data", "train", "mixture", 1)


# Texts that overlap


def source(name, *files, part=None):
    """Return a source with a text of its own."""
    pretrain = Pretrain(config={}, steps=1, corpus=Corpus(files=files), part=part)
    return Source(name=name, pretrain=pretrain)


def lines_of(shares, part, mark):
    """Return all whole lines in the tokens of some shares."""
    text = "\n".join(
        bytes(int(t) for t in share.store.tokens(part) if t < 256).decode() for share in shares
    )
    return {line for line in text.split("\n") if len(line) == 7 and line.startswith(mark)}


def check_nothing_leaks(stores, mark):
    held_out = lines_of(stores.validation, "validation", mark)
    assert len(held_out) > 500
    for shares in (stores.train, *stores.own.values()):
        assert not held_out & lines_of(shares, "train", mark)


def test_what_texts_share_is_held_out_alike(write):
    a, b = write("a.txt", numbered(30_500)), write("b.txt", numbered(40_000, "y"))
    data = held_out((a, b), 0.2)
    sources = [source("first", a), source("second", b), source("both", a, b)]
    stores = open_stores(data, byte_tokenizer(), sources=sources)
    for mark in "xy":
        check_nothing_leaks(stores, mark)
    alone = [store_of(held_out((each,), 0.2)).folder for each in (a, b)]
    assert [share.folder for share in stores.train] == alone
    assert stores.validation == stores.train
    assert stores.of("both").identity == Stores(stores.train, stores.train).identity
    assert [[share.folder for share in stores.own[each]] for each in ("first", "second")] == [
        [alone[0]],
        [alone[1]],
    ]
    sizes = [len(share.store.tokens("train")) for share in stores.train]
    weights = [share.weight for share in stores.train]
    assert weights == pytest.approx([each / sum(sizes) for each in sizes])
    # a list that shares nothing with another is one text, as it always was
    [whole] = stores_of(data).train
    assert whole.folder not in alone


def test_the_union_has_what_sources_share_once(write):
    a, b = write("a.txt", numbered(30_500)), write("b.txt", numbered(40_000, "y"))
    data = Data(validation=Validation(fraction=0.2))
    sources = [source("second", b), source("both", a, b, part="1/2")]
    stores = open_stores(data, byte_tokenizer(), sources=sources)
    for mark in "xy":
        check_nothing_leaks(stores, mark)
    alone = [store_of(held_out((each,), 0.2)) for each in (b, a)]
    assert [share.folder for share in stores.train] == [each.folder for each in alone]
    assert [share.weight for share in stores.train] == [len(e.tokens("train")) for e in alone]
    assert {share.folder for share in stores.own["both"]} == {each.folder for each in alone}


def test_a_mixture_whose_texts_overlap_keeps_its_weights(write):
    a, b = write("a.txt", numbered(20_000)), write("b.txt", numbered(60_000, "y"))
    validation = Validation(files=(write("v.txt", "val"),))
    data = mixture((1.0, (a,)), (3.0, (a, b)), validation=validation)
    first, second = stores_of(data).train
    n_a, n_b = 8 * 20_000 + 1, 8 * 60_000 + 1
    assert first.weight == pytest.approx(1 + 3 * n_a / (n_a + n_b))
    assert second.weight == pytest.approx(3 * n_b / (n_a + n_b))
    assert len(first.store.tokens("train")) == n_a


def test_a_licence_in_two_folders_does_not_divide_them(write, tmp_path):
    for name, mark in (("one", "x"), ("two", "y")):
        (tmp_path / name).mkdir()
        write(f"{name}/a.txt", numbered(40_000, mark))
        write(f"{name}/LICENSE", "free\n")
        write(f"{name}/empty.txt", "")
    folders = [str(tmp_path / name) for name in ("one", "two")]
    data = held_out((folders[0],), 0.2)
    stores = open_stores(data, byte_tokenizer(), sources=[source("other", folders[1])])
    assert [len(stores.train), len(stores.own["other"])] == [1, 1]
    held = Data(train=Corpus(files=(folders[0],)), validation=Validation(files=(folders[1],)))
    assert len(stores_of(held).validation) == 1


def test_only_what_is_measured_is_held_out(write):
    a, b = write("a.txt", numbered(30_000)), write("b.txt", numbered(30_000, "y"))
    stores = open_stores(held_out((a,), 0.2), byte_tokenizer(), sources=[source("own", b)])
    [share] = stores.own["own"]
    assert len(share.store.tokens("train")) == 8 * 30_000 + 1
    assert share.store.facts["validation"]["tokens"] == 0
    assert [each.name for each in stores.validation] == [a]


def test_a_text_that_is_trained_on_cannot_be_the_validation(write):
    a, b = write("a.txt", numbered(3_000)), write("b.txt", numbered(3_000, "y"))
    data = own_validation((a,), (write("v.txt", "val"), b))
    with pytest.raises(
        DataError, match=r"b\.txt is trained on too, by sources\[1\]\.pretrain\.c"
    ) as e:
        open_stores(data, byte_tokenizer(), sources=[source("x", a), source("y", b)])
    assert e.value.at == ("data", "validation")
    with pytest.raises(DataError, match=r"copy\.txt is trained on too, by data\.train: "):
        stores_of(own_validation((a,), (write("copy.txt", numbered(3_000)),)))
    lines = Data(train=Corpus(files=(a,)), validation=Validation(files=(a,), documents="lines"))
    with pytest.raises(DataError, match=r"a\.txt is trained on too, by data\.train"):
        stores_of(lines)


def test_a_text_of_which_a_fraction_is_held_out_is_listed_once(write, tmp_path):
    a, copy = write("a.txt", numbered(3_000)), write("copy.txt", numbered(3_000))
    again = str(tmp_path / "." / "x" / ".." / "a.txt")
    (tmp_path / "x").mkdir()
    for other in (again, copy):
        with pytest.raises(DataError, match=r"the same text, listed twice; with a fraction") as e:
            stores_of(held_out((a, other), 0.2))
        assert e.value.at == ("data", "train")
    [share] = stores_of(own_validation((a, again), (write("v.txt", "val"),))).train
    assert len(share.store.tokens("train")) == 2 * (8 * 3_000 + 1)  # it weighs twice
    by_lines = Source(
        name="lines",
        pretrain=Pretrain(config={}, steps=1, corpus=Corpus(files=(a,), documents="lines")),
    )
    with pytest.raises(DataError, match=r"a\.txt is read in another way by data\.train: ") as e:
        open_stores(held_out((a,), 0.2), byte_tokenizer(), sources=[by_lines])
    assert e.value.at == ("sources", 0, "pretrain", "corpus")


def test_what_would_hardly_be_seen_of_a_divided_text_is_refused(write):
    tiny, large = write("a.txt", "tiny\n"), write("b.txt", numbered(3_000))
    data = own_validation((large, tiny), (write("v.txt", "val"),))
    with pytest.raises(DataError, match=r"a\.txt: 6 tokens are less than a thousandth"):
        open_stores(data, byte_tokenizer(), sources=[source("x", tiny)])


@settings(max_examples=25)
@given(lists=st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=4))
def test_texts_are_divided_into_parts_that_are_the_same_wherever_they_are(lists, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number in range(5):
        (folder / str(number)).write_text(f"{number}" * 10)
    opener = Opener()
    texts = [
        opener.open(
            CorpusText(Corpus(files=tuple(str(folder / str(n)) for n in each)), 1.0, ("data",))
        )
        for each in lists
    ]
    found = apart(texts)
    owners = {}
    for text, pieces in zip(texts, found, strict=True):
        units = [unit.name for piece in pieces for unit in piece.units]
        assert sorted(units) == sorted(unit.name for unit in text.units)
        for piece in pieces:
            for unit in piece.units:
                assert owners.setdefault(unit.name, piece.digest) == piece.digest
        if len(pieces) == 1:
            assert pieces[0].digest == text.digest


# What is opened, and when


def test_all_texts_are_found_before_one_is_tokenized(write, cache):
    hub = Ingredient(weight=1.0, hub="some/set", streaming=True, revision="f" * 40)
    here = Ingredient(weight=1.0, files=(write("a.txt", numbered(3_000)),))
    data = Data(train=Corpus(mixture=(here, hub)), validation=Validation(fraction=0.2))
    with pytest.raises(DataError, match=r"dataset 'some/set' cannot be fetched") as caught:
        stores_of(data)
    assert caught.value.at == ("data", "train", "mixture", 1)
    assert not (cache / "tokens").exists()


def test_a_streamed_text_whose_tokens_are_stored_is_not_asked_for(monkeypatch):
    import datasets

    loaded = []

    def load(hub, config, **keys):
        loaded.append(hub)
        return datasets.Dataset.from_dict({"text": ["abc", "", None, "d"]}).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    hub = Corpus(hub="some/set", streaming=True, revision="f" * 40)
    data = Data(train=hub, validation=Validation(fraction=0.2))
    tokens = [stores_of(data).train[0].store.tokens("train").tolist() for _ in range(2)]
    assert tokens == [[*as_ids("abc"), END, *as_ids("d"), END]] * 2
    assert loaded == ["some/set"]


def test_a_text_is_tokenized_once_whatever_it_is_measured_on(write):
    files, lines = (write("a.txt", numbered(3_000)),), []
    for text in ("one", "two"):
        data = own_validation(files, (write(f"{text}.txt", text),))
        open_stores(data, byte_tokenizer(), lines.append)
    begun = [line.rpartition("/")[2] for line in lines if line.startswith("tokenizing")]
    assert begun == ["a.txt", "one.txt", "two.txt"]


def test_an_error_names_the_file_of_this_space(write):
    store_of(held_out((write("first.txt", "short"),), 0.2))
    data = held_out((write("second.txt", "short"),), 0.2, sequence_length=8)
    with pytest.raises(DataError, match=r"second\.txt: 6 tokens to train on are too few"):
        check(data)
