import hashlib
from pathlib import Path

import numpy as np
import pytest

from lagsearch.data.corpora import open_corpus
from lagsearch.data.store import check_length, open_stores
from lagsearch.data.tokenizers import byte_tokenizer, character_tokenizer, make_tokenizer
from lagsearch.errors import DataError
from lagsearch.space import Corpus, Data, Ingredient, Validation
from lagsearch.storage import digest

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


def stores_of(data, tokenizer="bytes"):
    """Open the stores of a space whose tokenizer is made from its training files."""
    return open_stores(data, make_tokenizer(tokenizer, open_corpus(data.train, "train")))


def store_of(data, tokenizer="bytes"):
    """Open the one store of a space with one text."""
    stores = stores_of(data, tokenizer)
    [share], [other] = stores.train, stores.validation
    assert share.folder == other.folder
    return share.store


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
    numbers = {value for value in _values(store.facts) if isinstance(value, int)}
    assert len(store.tokens("train")) == 6
    assert len(store.tokens("validation")) == 4
    assert {6, 4} <= numbers


def _values(value):
    if isinstance(value, dict):
        for each in value.values():
            yield from _values(each)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each)
    else:
        yield value


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
    lines = '{"text": "h\\u00e9"}\n{"text": ""}\n{"text": "yo"}\n'
    data = own_validation((write("a.jsonl", lines),), (write("v.txt", "val"),))
    expected = [*as_ids("h\u00e9"), END, END, *as_ids("yo"), END]
    assert store_of(data).tokens("train").tolist() == expected


def test_too_short_a_training_text(write):
    data = own_validation(
        (write("a.txt", "abc"),), (write("v.txt", "val" * 50),), sequence_length=8
    )
    with pytest.raises(DataError, match="train"):
        check_length(stores_of(data), data, 1)


def test_too_short_a_validation_text(write):
    data = own_validation(
        (write("a.txt", "abc" * 50),), (write("v.txt", "v" * 39),), sequence_length=8
    )
    store = stores_of(data)  # 40 tokens, the separator with them
    check_length(store, data, 4)  # 4 sequences of 8 and one token more: 33
    with pytest.raises(DataError, match="validation"):
        check_length(store, data, 5)  # 41


def test_a_text_too_short_to_hold_a_stretch_out_says_so(write):
    data = held_out((write("a.txt", numbered(2000)),), 0.05, sequence_length=8)
    message = r"0\.05 of .*a\.txt: 0 tokens, but 9 .* whole stretches of 8,192 tokens are held out"
    with pytest.raises(DataError, match=message):
        check_length(stores_of(data), data, 1)


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
    apart = stores_of(own_validation((path,), (path,)))
    assert apart.identity == digest({**made_of, "validation": made_of["train"]})


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
    assert stores.tokenizer().eos_token_id == END


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
    with pytest.raises(DataError, match=r"b\.txt: 6 tokens, but 17 are needed") as caught:
        check_length(stores_of(data), data, 1)
    assert caught.value.at == ("data", "train", "mixture", 1)


def test_a_missing_file_of_a_mixture_names_its_place(write, tmp_path):
    data = mixture((1.0, (write("a.txt", "abc"),)), (2.0, (str(tmp_path / "gone.txt"),)))
    with pytest.raises(DataError, match=r"gone\.txt: no such file") as caught:
        stores_of(data)
    assert caught.value.at == ("data", "train", "mixture", 1)
