"""Text in pieces: the tokens of the whole, whatever was cut, killed or read ahead."""

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tokenizers as hf
from conftest import SHARED
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opening import open_corpus
from transformers import GPT2TokenizerFast, PreTrainedTokenizerFast

from lagsearch.data.text import documents as pieces
from lagsearch.data.text import files
from lagsearch.data.text.documents import cut_anywhere, in_pieces
from lagsearch.data.tokens import writing
from lagsearch.data.tokens.encoding import Encoder
from lagsearch.data.tokens.store import open_stores
from lagsearch.data.tokens.tokenizers import (
    byte_tokenizer,
    character_tokenizer,
    make_tokenizer,
)
from lagsearch.display.watch import LiveWatch, PlainWatch
from lagsearch.errors import DataError
from lagsearch.space import Corpus, Data, Ingredient, TrainBpe, Validation

LINES = (
    "The layers grow; they don't stop at 12.\n"
    "\tdef grown(source, n=3):\r\n        return source * n  # x_y\r\n\r\n"
    "“Größe”, naïve cafés — and 中文字。 e\u0301 \U0001f600\u00a0\u3000!\n\n\n"
    "1234567 3.14\t\t..., 'll I'll WE'RE  \n"
) * 4


def trained(pre_tokenizer, normalizer=None, size=400):
    """Train byte pairs, so that many tokens are longer than a character."""
    backend = hf.Tokenizer(hf.models.BPE(unk_token="?", fuse_unk=True))
    if normalizer is not None:
        backend.normalizer = normalizer
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    alphabet = sorted({*LINES, *hf.pre_tokenizers.ByteLevel.alphabet()})
    trainer = hf.trainers.BpeTrainer(
        vocab_size=size + len(alphabet),
        special_tokens=["?", "<|endoftext|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator([LINES * 3], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def _llama_3():
    """The pre-tokenizer of Llama 3, which lets punctuation take the new lines behind it."""
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = hf.pre_tokenizers.Split(hf.Regex(pattern), "isolated")
    level = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return hf.pre_tokenizers.Sequence([split, level])


def _byte_level(**keys):
    return hf.pre_tokenizers.ByteLevel(**keys)


TOKENIZERS = {
    "byte level": trained(_byte_level(add_prefix_space=False)),
    "prefix space": trained(_byte_level(add_prefix_space=True)),
    "llama 3": trained(_llama_3()),
    "bert": trained(
        hf.pre_tokenizers.BertPreTokenizer(), hf.normalizers.BertNormalizer(lowercase=True)
    ),
    "normalized": trained(_byte_level(add_prefix_space=False), hf.normalizers.NFKC()),
    "metaspace": trained(hf.pre_tokenizers.Metaspace()),
    "no words": trained(None),
    "words of all": trained(_byte_level(add_prefix_space=False, use_regex=False)),
    "characters": character_tokenizer(sorted(set(LINES))),
    "bytes": byte_tokenizer(),
}
UNCUT = {"no words", "words of all"}
"""Tokenizers whose words go on over spaces."""

ENCODERS = {name: Encoder(each) for name, each in TOKENIZERS.items()}


@pytest.fixture
def small(monkeypatch):
    """Cut after a few characters, encode and save after a few pieces."""
    monkeypatch.setattr(pieces, "PIECE", 40)
    monkeypatch.setattr(files, "PIECE", 40)
    monkeypatch.setattr(files, "_READ_BYTES", 70)
    monkeypatch.setattr(writing, "_PORTION", 200)
    monkeypatch.setattr(writing, "STRETCH", 64)
    monkeypatch.setattr(writing, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(writing, "_SHOW_EVERY_S", 0.0)


def in_small_pieces(encoder, text, size=40):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        return list(in_pieces(text, encoder.cut))


def same_tokens(encoder, text, size=40):
    """Check that pieces make up the text and have its tokens; return how many there are."""
    found = in_small_pieces(encoder, text, size)
    assert "".join(found) == text
    [whole] = encoder([text])
    np.testing.assert_array_equal(np.concatenate(encoder(found)), whole)
    return len(found)


WORDS = ["a", "layer", "don't", "x_1", "12", " ", "  ", "\n", "\r\n", "\t", ".", ",\n", "...\n\n"]
WORDS += ["\u00a0", "\u3000", "中文", "é", "\u0301", "'ll", "<|endoftext|>", "\U0001f600", "_", "-"]


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@settings(max_examples=60)
@given(st.lists(st.sampled_from(WORDS), max_size=120).map("".join), st.sampled_from([6, 17, 40]))
@example(LINES, 40)
@example(LINES.replace("\n", "\r\n"), 30)
@example("word " * 100, 20)
def test_pieces_have_the_tokens_of_the_whole(name, text, size):
    same_tokens(ENCODERS[name], text, size)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_what_can_be_cut_is_cut(name):
    for text in (LINES, LINES.replace("\n", "\r\n"), "some words in one line " * 40):
        n_pieces = same_tokens(ENCODERS[name], text, 40)
        if name in UNCUT:
            assert n_pieces == 1, text
        else:
            assert n_pieces > len(text) / 160, text


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data" / "gpt2").is_dir(), reason="needs ../shared/data/gpt2")
@pytest.mark.parametrize(
    "name", ["tinyshakespeare.txt", "wikitext2.valid.txt", "wikitext2.test.txt"]
)
def test_gpt2_has_the_same_tokens_in_pieces(name):
    encoder = Encoder(GPT2TokenizerFast.from_pretrained(SHARED / "data" / "gpt2"))
    text = (SHARED / "data" / name).read_text()
    assert same_tokens(encoder, text[:300_000], 300) > 500
    assert same_tokens(encoder, text[:30_000].replace("\n", "\r\n"), 100) > 100
    assert same_tokens(encoder, " ".join(text[:30_000].split()), 100) > 100


def test_a_blob_in_a_text_is_passed_over():
    encoder = ENCODERS["byte level"]
    text = "words before it " * 20 + "A1b2" * 500 + " and words after it" * 20
    found = in_small_pieces(encoder, text)
    assert max(map(len, found)) < 2100
    assert len(found) > 8
    same_tokens(encoder, text)


def test_settings_of_a_tokenizer_that_cut_off_or_pad_do_not_count(tmp_path):
    plain = trained(_byte_level(add_prefix_space=False))
    backend = hf.Tokenizer.from_str(plain.backend_tokenizer.to_str())
    backend.enable_truncation(8)
    backend.enable_padding(length=16)
    cutting = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    assert len(cutting.backend_tokenizer.encode(LINES)) == 16
    expected = ENCODERS["byte level"]([LINES, "a"])
    for found, row in zip(Encoder(cutting)([LINES, "a"]), expected, strict=True):
        np.testing.assert_array_equal(found, row)
    (tmp_path / "a.txt").write_bytes(LINES.encode())
    (tmp_path / "v.txt").write_text("other")
    files = [(str(tmp_path / name),) for name in ("a.txt", "v.txt")]
    data = Data(train=Corpus(files=files[0]), validation=Validation(files=files[1]))
    [share] = open_stores(data, cutting).train
    np.testing.assert_array_equal(share.store.tokens("train")[:-1], expected[0])


# Stores


DOCUMENTS = ["", "one two three " * 30, LINES * 2, "x", "中 " * 60]


@pytest.fixture
def corpus(tmp_path):
    """A corpus of every kind of file."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_bytes((LINES * 5).encode())
    (folder / "b.txt").write_bytes(b"")
    rows = "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS)
    (folder / "c.jsonl").write_text(rows)
    pd.DataFrame({"text": DOCUMENTS}).to_parquet(folder / "d.parquet", row_group_size=2)
    with gzip.open(folder / "e.txt.gz", "wb") as file:
        file.write((LINES * 2).encode())
    (folder / "f.jsonl").write_text("")
    with gzip.open(folder / "g.jsonl.gz", "wt") as file:
        file.write(rows)
    return folder


RECORDS = DOCUMENTS[1:]  # an empty one is none
ALL = [LINES * 5, "", *RECORDS, *RECORDS, LINES * 2, *RECORDS]


def data_of(corpus, **validation):
    return Data(
        train=Corpus(files=(str(corpus),)), validation=Validation(**validation or {"fraction": 0.2})
    )


def expected_tokens(encoder, end, documents=ALL):
    rows = encoder(documents)
    return np.concatenate([part for row in rows for part in (row, [end])])


def divided(tokens, fraction, stretch):
    """Divide tokens into those of training and of validation, as it always was."""
    parts = [], []
    whole = len(tokens) // stretch
    for number in range(whole):
        is_held_out = int((number + 1) * fraction) > int(number * fraction)
        parts[is_held_out].append(tokens[number * stretch : (number + 1) * stretch])
    parts[0].append(tokens[whole * stretch :])
    return [np.concatenate(part) for part in parts]


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_a_store_holds_every_token_of_every_document_and_separators(name, corpus, small):
    tokenizer = TOKENIZERS[name]
    [share] = open_stores(data_of(corpus), tokenizer).train
    tokens = expected_tokens(ENCODERS[name], tokenizer.eos_token_id)
    train, validation = divided(tokens, 0.2, 64)
    np.testing.assert_array_equal(share.store.tokens("train"), train)
    np.testing.assert_array_equal(share.store.tokens("validation"), validation)
    counts = share.store.facts["corpus"]["tokens"], share.store.facts["validation"]["tokens"]
    assert sum(counts) == sum(map(len, ENCODERS[name](ALL))) + len(ALL)
    left = {path.name for path in share.folder.iterdir()}
    assert left == {"train.bin", "validation.bin", "store.json", "tokenizer", "lock", "seal.json"}


def test_pieces_are_small_whatever_the_size_of_the_file(tmp_path, small):
    path = tmp_path / "a.txt"
    path.write_bytes((LINES * 50).encode())
    [unit] = open_corpus(Corpus(files=(str(path),))).units
    found = list(unit.pieces(0, ENCODERS["byte level"].cut))
    assert "".join(each.text for each in found) == LINES * 50
    assert [each.ends for each in found] == [False] * (len(found) - 1) + [True]
    assert max(len(each.text) for each in found) <= 200
    shares = [each.done for each in found]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


class Killed(BaseException):
    """Stands in for a signal that ends the process."""


class Death:
    """Ends the process at an event with a running number: half-way in a write, or at a save."""

    def __init__(self, patch, at):
        self.left = at
        self.tokens = 0
        write, save = writing._Writing._write, writing.write_json
        take = writing._Writing._tokens

        def writing_half(each, tokens, *, is_held_out):
            if self.comes():
                write(each, tokens[: len(tokens) // 2], is_held_out=is_held_out)
                for file in each.files:
                    file.flush()
                raise Killed
            write(each, tokens, is_held_out=is_held_out)

        def saving(path, value):
            if self.comes():
                raise Killed
            save(path, value)
            if self.comes():
                raise Killed

        def counted(each, portion):
            found = take(each, portion)
            self.tokens += sum(map(len, found))
            return found

        patch.setattr(writing._Writing, "_write", writing_half)
        patch.setattr(writing, "write_json", saving)
        patch.setattr(writing._Writing, "_tokens", counted)

    def comes(self):
        self.left -= 1
        return self.left == -1


def bytes_of(stores):
    folders = {share.folder for share in (*stores.train, *stores.validation)}
    return {
        (folder.name, name): (folder / name).read_bytes()
        for folder in folders
        for name in ("train.bin", "validation.bin", "store.json")
    }


def cut_short_and_gone_on(data, tokenizer, whole, at, cache):
    """Kill the tokenizing at an event, go on, and compare.

    Returns:
        Tokens that were encoded in both, separators with them; 0 if there is no such event.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGSEARCH_CACHE", str(cache))
        with pytest.MonkeyPatch.context() as deadly:
            death = Death(deadly, at)
            try:
                open_stores(data, tokenizer)
            except Killed:
                pass
            else:
                return 0
        with pytest.MonkeyPatch.context() as counting:
            life = Death(counting, -1)
            assert bytes_of(open_stores(data, tokenizer)) == whole
    return death.tokens + life.tokens


@pytest.mark.parametrize("kind", ["fraction", "own"])
def test_tokenizing_that_is_killed_anywhere_goes_on_to_the_same_bytes(kind, small, tmp_path):
    corpus = tmp_path / "few"
    corpus.mkdir()
    (corpus / "a.txt").write_bytes(LINES.encode())
    (corpus / "b.txt").write_bytes(b"")
    rows = ["", "one two three " * 12, "x", "y " * 90]
    pd.DataFrame({"text": rows}).to_parquet(corpus / "c.parquet", row_group_size=2)
    with gzip.open(corpus / "d.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps({"text": text}) + "\n" for text in rows))
    with gzip.open(tmp_path / "v.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps({"text": f"v{text}"}) + "\n" for text in rows))
    own = {"files": (str(tmp_path / "v.jsonl.gz"), str(corpus / "b.txt"))}
    data = data_of(corpus, **(own if kind == "own" else {"fraction": 0.3}))
    tokenizer, encoder = TOKENIZERS["byte level"], ENCODERS["byte level"]
    whole = bytes_of(open_stores(data, tokenizer))
    documents = [LINES, "", *rows[1:], *rows[1:]]
    documents += [*(f"v{text}" for text in rows), ""] * (kind == "own")
    n_tokens = sum(map(len, encoder(documents))) + len(documents)
    more = []
    for at in range(10_000):
        encoded = cut_short_and_gone_on(data, tokenizer, whole, at, tmp_path / f"cache {at}")
        if not encoded:
            break
        more.append(encoded - n_tokens)
    assert len(more) > 30
    # what is encoded twice is a portion or two, not all that was there
    assert max(more) < n_tokens / 2
    assert min(more) >= 0


def test_a_record_that_does_not_fit_is_not_believed(corpus, small, monkeypatch):
    tokenizer = TOKENIZERS["byte level"]
    data = data_of(corpus)
    stores = open_stores(data, tokenizer)
    whole = bytes_of(stores)
    folder = stores.train[0].folder
    for record in ("", "[1]", '{"format": 0}', '{"task": 0, "sizes": [99999999, 0]}', '{"x": 1}'):
        (folder / "store.json").unlink()
        (folder / "progress.json").write_text(record)
        assert bytes_of(open_stores(data, tokenizer)) == whole


def test_a_text_that_is_broken_leaves_nothing_behind_and_names_its_key(tmp_path, cache):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": LINES}) + "\n{")
    other = tmp_path / "b.txt"
    other.write_bytes(LINES.encode())
    parts = tuple(Ingredient(weight=1.0, files=(str(each),)) for each in (other, path))
    data = Data(train=Corpus(mixture=parts), validation=Validation(fraction=0.2))
    with pytest.raises(DataError, match=r"a\.jsonl:2: not a JSON object in one line") as caught:
        open_stores(data, byte_tokenizer())
    assert caught.value.at == ("data", "train", "mixture", 1)
    left = [
        sorted(each.name for each in folder.iterdir()) for folder in (cache / "tokens").iterdir()
    ]
    assert sorted(left) == [
        ["lock"],
        ["lock", "seal.json", "store.json", "tokenizer", "train.bin", "validation.bin"],
    ]


def test_tokenizers_that_are_trained_on_the_text_see_all_of_it(tmp_path):
    (tmp_path / "a.txt").write_bytes((LINES * 5).encode())
    text = open_corpus(Corpus(files=(str(tmp_path / "a.txt"),)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", 40)
        patch.setattr(files, "PIECE", 40)
        assert "".join(text.read()) == LINES * 5
        assert len(list(text.read())) > 50
        patch.setenv("LAGSEARCH_CACHE", str(tmp_path / "pieces"))
        in_pieces_ = make_tokenizer(TrainBpe(train_bpe=300), text).backend_tokenizer.to_str()
    assert len(list(text.read())) == 1
    whole = make_tokenizer(TrainBpe(train_bpe=300), text).backend_tokenizer.to_str()
    assert in_pieces_ == whole
    assert cut_anywhere("a b", 0) == 0


SCRIPT = """\
import sys, time
from pathlib import Path
from lagsearch.data.text import documents as pieces, files
from lagsearch.data.tokens import writing
from lagsearch.data.tokens.store import open_stores
from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.space import Corpus, Data, Validation

pieces.PIECE = files.PIECE = 40
files._READ_BYTES, writing._PORTION, writing.STRETCH = 70, 200, 64
writing._SAVE_EVERY_S = 0.0
save = writing.write_json

def saving(path, value):
    save(path, value)
    print("saved", flush=True)
    time.sleep(0.05)

writing.write_json = saving
files = Corpus(files=(sys.argv[1],))
open_stores(Data(train=files, validation=Validation(fraction=0.2)), byte_tokenizer())
print("done", flush=True)
"""


def test_a_process_that_is_killed_while_it_tokenizes(corpus, small, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(corpus)]
    environment = {**os.environ, "LAGSEARCH_CACHE": str(tmp_path / "killed")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    for _ in range(5):
        assert process.stdout.readline() == "saved\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = bytes_of(open_stores(data_of(corpus), byte_tokenizer()))
    [folder] = (tmp_path / "killed" / "tokens").iterdir()
    assert not (folder / "store.json").exists()
    assert json.loads((folder / "progress.json").read_text())["sizes"][0] > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGSEARCH_CACHE", str(tmp_path / "killed"))
        lines = []
        again = open_stores(data_of(corpus), byte_tokenizer(), lines.append)
    assert bytes_of(again) == whole
    assert "going on behind" in lines[0]


# What is shown


def test_how_far_it_is_is_shown_and_ends(corpus, small):
    told, shown = [], []
    open_stores(data_of(corpus), TOKENIZERS["byte level"], told.append, shown.append)
    n_tokens = sum(map(len, ENCODERS["byte level"](ALL)))
    assert told[0] == f"tokenizing {corpus}"
    assert told[1].startswith(f"tokenized {corpus}: {len(ALL)} documents, {n_tokens:,} tokens, ")
    assert shown[-1] == ""
    size = sum(path.stat().st_size for path in corpus.iterdir()) / 1e6
    for line in shown[:-1]:
        assert f"% of {size:.1f} MB, " in line
        assert line.endswith(" tokens/s")
    shares = [int(line.split("%")[0].split()[-1]) for line in shown[:-1]]
    assert shares == sorted(shares)
    assert shares[0] < 20
    assert shares[-1] > 90


def test_an_error_ends_what_is_shown(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"")
    shown = []
    with pytest.raises(DataError, match="no text at all"):
        open_stores(data_of(tmp_path / "a.txt"), byte_tokenizer(), shown.append, shown.append)
    assert shown[-1] == ""


def test_without_a_terminal_a_line_now_and_then(monkeypatch):
    stream = io.StringIO()
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = PlainWatch(stream)
    for second in range(100, 140):
        now[0] = float(second)
        watch.passing(f"at {second}")
    watch.passing("")
    assert stream.getvalue().splitlines() == ["  at 116", "  at 132"]


def test_in_a_terminal_one_line_that_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    watch = LiveWatch()
    from rich.console import Console

    stream = io.StringIO()
    watch.console = Console(file=stream, force_terminal=True, width=80)
    watch.passing("")
    assert watch.live is None
    watch.passing("1 [bold] of 2")
    watch.passing("2 of 2")
    assert watch.live is not None
    watch.passing("")
    assert watch.live is None
    assert "2 of 2" in stream.getvalue()


def test_random_documents_come_out_as_they_went_in(tmp_path, small):
    draw = random.Random(5)
    words = [*WORDS, "longer", "words", "than", "these"]
    documents = ["".join(draw.choices(words, k=draw.randrange(200))) for _ in range(60)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": each}) + "\n" for each in documents))
    tokenizer = TOKENIZERS["byte level"]
    [share] = open_stores(data_of(path), tokenizer).train
    tokens = expected_tokens(ENCODERS["byte level"], tokenizer.eos_token_id, documents)
    train, validation = divided(tokens, 0.2, 64)
    np.testing.assert_array_equal(share.store.tokens("train"), train)
    np.testing.assert_array_equal(share.store.tokens("validation"), validation)
    assert Path(share.folder).is_dir()
