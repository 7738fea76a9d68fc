import gzip
import hashlib
import json
import random
import sysconfig
from pathlib import Path

import pandas as pd
import pytest
from datasets import load_dataset
from opening import open_corpus

from lagsearch.data.text import (
    corpora,
    files,
    hub,
)
from lagsearch.data.text.corpora import CorpusText, Opener
from lagsearch.data.text.documents import END, cut_anywhere
from lagsearch.data.text.overlaps import apart
from lagsearch.errors import DataError, brief
from lagsearch.space import Corpus, Ingredient

WHOLE = staticmethod(lambda text, begin: 0)


def documents_of(corpus):
    """Return every document whole, and check that reading can go on wherever it says."""
    units = open_corpus(corpus).units
    found = []
    for unit in units:
        pieces = list(unit.pieces(0, WHOLE))
        for number, piece in enumerate(pieces):
            if piece.after not in (None, END):
                assert [p.text for p in unit.pieces(piece.after, WHOLE)] == [
                    p.text for p in pieces[number + 1 :]
                ]
        text = ""
        for piece in pieces:
            text += piece.text
            if piece.ends:
                found.append(text)
                text = ""
        assert text == ""
    return found


def corpus_of(*paths, **keys):
    return Corpus(files=tuple(map(str, paths)), **keys)


def test_the_standard_library_is_read_in_order_without_tests():
    corpus = open_corpus(Corpus(corpus="python-stdlib"))
    texts = documents_of(Corpus(corpus="python-stdlib"))
    root = Path(sysconfig.get_paths()["stdlib"])
    assert texts[0] == (root / "__future__.py").read_bytes().decode()
    assert (root / "argparse.py").read_bytes().decode() in texts
    assert not any(
        path.read_bytes().decode(errors="replace") in texts
        for path in sorted((root / "test").glob("test_arg*.py"))
    )
    assert sum(map(len, texts)) > 5_000_000
    assert corpus.digest == open_corpus(Corpus(corpus="python-stdlib")).digest


def test_a_dataset_is_read_by_its_column(tmp_path):
    """The hub loader on a local folder of the same columns as a hub dataset."""
    folder = tmp_path / "wiki"
    folder.mkdir()
    rows = ["= Title =", "", "Some text, with unicode: é."]
    pd.DataFrame({"text": rows, "id": [1, 2, 3]}).to_parquet(folder / "train.parquet")
    assert documents_of(Corpus(hub=str(folder))) == [rows[0], rows[2]]
    content = "records" + "".join(f"{row}\0" for row in rows if row)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    assert open_corpus(Corpus(hub=str(folder))).digest == digest
    with pytest.raises(DataError, match=r"has no column 'body'; it has: text, id") as caught:
        open_corpus(Corpus(hub=str(folder), column="body"), "validation")
    assert caught.value.at == ("data", "validation")


def test_what_cannot_be_had_is_one_line_with_the_ways_out(tmp_path):
    with pytest.raises(DataError, match=r"cannot be fetched .*give local `files`") as caught:
        open_corpus(Corpus(hub="no-one/nothing"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"gone\.txt: no such file"):
        open_corpus(Corpus(files=(str(tmp_path / "gone.txt"),)))
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.txt: not UTF-8 text"):
        list(open_corpus(Corpus(files=(str(binary),))).read())


def test_the_digest_is_of_the_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    first = open_corpus(Corpus(files=(str(path),))).digest
    path.write_text("two")
    assert open_corpus(Corpus(files=(str(path),))).digest != first


def test_records_in_files_are_read_by_their_column(tmp_path):
    rows = ["one", "", "zw\u00f6lf \u4e2d \n and a new line", "four"]
    documents = [row for row in rows if row]  # a row without text is none
    table = pd.DataFrame({"body": rows, "id": [1, 2, 3, 4]})
    table.to_parquet(tmp_path / "rows.parquet", row_group_size=2)
    lines = "".join(json.dumps({"id": 1, "body": row}) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text("\ufeff" + lines.replace("\n", "\r\n\n"))
    (tmp_path / "rows.json").write_text(lines.rstrip())
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write(lines)
    names = ["rows.parquet", "rows.jsonl", "rows.json", "rows.jsonl.gz"]
    for name in names:
        assert documents_of(corpus_of(tmp_path / name, column="body")) == documents, name
    paths = [tmp_path / name for name in names]
    assert documents_of(corpus_of(*paths, column="body")) == documents * 4
    loaded = load_dataset("json", data_files=str(paths[2]), split="train", cache_dir=str(tmp_path))
    assert list(loaded["body"]) == rows


def test_null_is_no_document(tmp_path):
    pd.DataFrame({"text": ["a", None, "b"]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"text": "b"}\n')
    assert documents_of(corpus_of(tmp_path / "a.parquet")) == ["a", "b"]
    assert documents_of(corpus_of(tmp_path / "a.jsonl")) == ["a", "b"]
    assert documents_of(Corpus(hub=str(_folder(tmp_path, ["a", None, "b"])))) == ["a", "b"]


def _folder(tmp_path, rows):
    folder = tmp_path / "hub"
    folder.mkdir()
    pd.DataFrame({"text": rows}).to_parquet(folder / "train.parquet")
    return folder


def test_a_folder_is_all_its_files_in_order_of_every_kind(tmp_path):
    folder = tmp_path / "corpus"
    (folder / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "b" / "z.md").write_text("fourth")
    (folder / "b.txt").write_text("fifth")
    (folder / "b" / "a.jsonl").write_text('{"text": "second"}\n{"text": "third"}')
    (folder / "a").write_text("first")
    (folder / ".hidden.txt").write_text("not this")
    (folder / ".git" / "HEAD").write_text("nor this")
    documents = ["first", "second", "third", "fourth", "fifth"]
    assert documents_of(corpus_of(folder)) == documents
    assert documents_of(corpus_of(folder / "b.txt", folder)) == ["fifth", *documents]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: a folder without files"):
        documents_of(corpus_of(tmp_path / "empty"))


def test_lines_are_documents_where_that_is_asked_for(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("first\r\n\n  \nsecond, \u4e2d\n third".encode())
    assert documents_of(corpus_of(path)) == ["first\r\n\n  \nsecond, \u4e2d\n third"]
    assert documents_of(corpus_of(path, documents="lines")) == ["first", "second, \u4e2d", " third"]


def test_packed_text_is_unpacked(tmp_path):
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write("some text\n" * 50_000)
    assert documents_of(corpus_of(tmp_path / "a.txt.gz")) == ["some text\n" * 50_000]
    (tmp_path / "b.txt.gz").write_bytes((tmp_path / "a.txt.gz").read_bytes()[:-50])
    with pytest.raises(DataError, match=r"b\.txt\.gz: cannot be unpacked"):
        documents_of(corpus_of(tmp_path / "b.txt.gz"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n\n{"text": \n', r"a\.jsonl:3: not a JSON object in one line"),
        ("a.jsonl", b'["text"]', r"a\.jsonl:1: not a JSON object in one line"),
        (
            "a.json",
            b'[\n {"text": "x"}\n]',
            r"a\.json:1: not a JSON object in one line .*: it begins an array; write each object "
            r"in a line of its own, e\.g\. jq -c '\.\[\]' a\.json > records\.jsonl",
        ),
        (
            "a.json",
            b'[{"text": "x"}]',
            r"a\.json:1: not a JSON object in one line: it begins an ar",
        ),
        (
            "a.txt",
            "one two".encode("utf-16"),
            r"a\.txt: not UTF-8 text \(invalid start byte\): it is UTF-16; save it as UTF-8, e\.g"
            r"\. iconv -f UTF-16 -t UTF-8 a\.txt > utf8-a\.txt",
        ),
        (
            "a.jsonl",
            b'{"text": "x"}\n{"id": 1, "b": 2}',
            r"a\.jsonl:2: no column 'text'; it has: id, b",
        ),
        ("a.jsonl", b'{"text": ["x"]}', r"a\.jsonl:1: column 'text' holds list, not text"),
        ("a.jsonl", b'{"text": "\xff"}', r"a\.jsonl: not UTF-8 text"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet: cannot be read as Parquet"),
        ("a.parquet", b"", r"a\.parquet: cannot be read as Parquet"),
        ("a.txt", b"caf\xe9", r"a\.txt: not UTF-8 text"),
        ("a.bin", bytes(range(200)), r"a\.bin: not UTF-8 text"),
    ],
)
def test_what_is_not_text_is_one_line_that_names_the_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        documents_of(corpus_of(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_table_of_other_columns_or_kinds_is_refused(tmp_path):
    pd.DataFrame({"id": [1, 2], "body": ["a", "b"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: no column 'text'; it has: id, body"):
        documents_of(corpus_of(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match=r"a\.parquet: row 1: column 'id' holds int, not text"):
        documents_of(corpus_of(tmp_path / "a.parquet", column="id"))


def test_keys_that_do_nothing_for_these_files_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.jsonl").write_text('{"body": "text"}')
    with pytest.raises(DataError, match=r"records .* there is none here") as caught:
        documents_of(corpus_of(tmp_path / "a.txt", column="body"))
    assert caught.value.at == ("data", "train", "column")
    with pytest.raises(DataError, match=r"plain text; there is none here") as caught:
        documents_of(corpus_of(tmp_path / "a.jsonl", column="body", documents="lines"))
    assert caught.value.at == ("data", "train", "documents")
    both = corpus_of(tmp_path / "a.jsonl", tmp_path / "a.txt", column="body", documents="lines")
    assert documents_of(both) == ["text", "text"]


def test_the_same_bytes_read_in_another_way_are_another_corpus(tmp_path):
    content = '{"text": "a", "body": "b"}'
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_text(content)
    ways = [
        corpus_of(tmp_path / "a.txt"),
        corpus_of(tmp_path / "a.txt", documents="lines"),
        corpus_of(tmp_path / "a.jsonl"),
        corpus_of(tmp_path / "a.jsonl", column="body"),
    ]
    assert len({open_corpus(way).digest for way in ways}) == 4


def test_a_streamed_folder_has_the_same_documents_and_is_known_by_its_files(tmp_path):
    rows = [f"row {number}" for number in range(30)]
    folder = _folder(tmp_path, rows)
    streamed = Corpus(hub=str(folder), streaming=True)
    assert documents_of(streamed) == rows
    first = open_corpus(streamed).digest
    assert first != open_corpus(Corpus(hub=str(folder))).digest
    assert first == open_corpus(streamed).digest
    pd.DataFrame({"text": rows[1:]}).to_parquet(folder / "train.parquet")
    assert open_corpus(streamed).digest != first
    with pytest.raises(DataError, match=r"no column 'body'; it has: text"):
        open_corpus(Corpus(hub=str(folder), streaming=True, column="body")).ready()
    with pytest.raises(DataError, match=r"a local folder has no revisions") as caught:
        open_corpus(Corpus(hub=str(folder), revision="main"))
    assert caught.value.at == ("data", "train", "revision")


def test_a_streamed_dataset_is_known_by_its_commit(monkeypatch):
    """The hub itself is not at hand: what it would be asked and answer stands in for it."""
    import datasets
    import huggingface_hub

    asked = []

    class Info:
        sha = "0123456789" * 4

    def info(self, name, revision=None):
        asked.append((name, revision))
        return Info()

    def load(hub, config, **keys):
        asked.append(keys)
        return datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset()

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", load)
    first = open_corpus(Corpus(hub="some/set", streaming=True, revision="v1"))
    assert len(asked) == 1
    first.ready()
    assert list(first.read()) == ["a"]
    assert asked[0] == ("some/set", "v1")
    assert (asked[1]["revision"], asked[1]["streaming"]) == (Info.sha, True)
    assert len(asked) == 2
    Info.sha = "9876543210" * 4
    second = open_corpus(Corpus(hub="some/set", streaming=True, revision="v1"))
    assert first.digest != second.digest
    commit = "f" * 40
    asked.clear()
    third = open_corpus(Corpus(hub="some/set", streaming=True, revision=commit))
    assert asked == []
    third.ready()
    assert asked[0]["revision"] == commit


@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_that_cannot_be_fetched_is_one_whole_line(streaming):
    with pytest.raises(DataError, match=r"dataset 'no-one/nothing' cannot be") as caught:
        open_corpus(Corpus(hub="no-one/nothing", streaming=streaming))
    line = str(caught.value)
    assert "\n" not in line
    for way in ("local `files`", "a local folder", "HF_HOME", "HF_HUB_OFFLINE=1"):
        assert way in line
    assert ("a commit as `revision`" in line) == streaming


def test_links_that_would_be_passed_over_are_named(tmp_path):
    folder, other = tmp_path / "corpus", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "a.txt").write_text("linked")
    (folder / "a.txt").symlink_to(other / "a.txt")
    assert documents_of(corpus_of(folder)) == ["linked"]
    (folder / "more").symlink_to(other)
    with pytest.raises(DataError, match=r"corpus/more: links to folders are not followed") as found:
        documents_of(corpus_of(folder))
    assert found.value.at == ("data", "train")
    (folder / "more").unlink()
    (folder / "gone.txt").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"gone\.txt: a link to nothing"):
        documents_of(corpus_of(folder))


def test_a_home_that_nobody_has_is_no_such_file(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"~nobodyx/a: no such file or folder"):
        documents_of(corpus_of("~nobodyx/a"))
    with pytest.raises(DataError, match=r"'~nobodyx/a' cannot be fetched"):
        documents_of(Corpus(hub="~nobodyx/a"))
    monkeypatch.setenv("HOME", str(tmp_path))
    _folder(tmp_path, ["a", "b"])
    assert documents_of(Corpus(hub="~/hub")) == ["a", "b"]
    assert documents_of(Corpus(hub="~/hub", streaming=True)) == ["a", "b"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    text = "first line\nsecond \ufeff line\n"
    (tmp_path / "plain.txt").write_bytes(text.encode())
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    with gzip.open(tmp_path / "marked.txt.gz", "wb") as file:
        file.write(b"\xef\xbb\xbf" + text.encode())
    for name in ("plain.txt", "marked.txt", "marked.txt.gz"):
        assert documents_of(corpus_of(tmp_path / name)) == [text]
        assert documents_of(corpus_of(tmp_path / name, documents="lines")) == text.splitlines()
    long = "many words " * 50_000
    (tmp_path / "long.txt").write_bytes(b"\xef\xbb\xbf" + long.encode())
    [unit] = open_corpus(corpus_of(tmp_path / "long.txt")).units
    pieces = list(unit.pieces(0, cut_anywhere))
    assert len(pieces) > 3
    for number, piece in enumerate(pieces[:-1]):
        rest = "".join(each.text for each in unit.pieces(piece.after, cut_anywhere))
        assert rest == "".join(each.text for each in pieces[number + 1 :])
    # what an earlier version kept, with the mark in it, has the bare hash of the file
    bare = hashlib.sha256((tmp_path / "long.txt").read_bytes()).hexdigest()
    assert bare == unit.content() != unit.digest()


def test_a_column_of_parquet_is_read_page_by_page(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = random.Random(0)
    rows = [draw.randbytes(5_000).hex() for _ in range(4_000)]
    table = pa.table({"text": rows})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=4_000, compression="none", use_dictionary=False)
    del table
    [unit] = open_corpus(corpus_of(path)).units
    before, most = pa.total_allocated_bytes(), 0
    for number, piece in enumerate(unit.pieces(0, WHOLE)):
        assert piece.text == rows[number]
        most = max(most, pa.total_allocated_bytes() - before)
    assert path.stat().st_size > 39e6
    assert most < 20e6


def test_a_text_is_opened_and_hashed_once(tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(files, "file_digest", lambda path: hashed.append(path) or "0" * 64)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    parts = [
        CorpusText(corpus_of(tmp_path / "a.txt"), 1.0, ("data", "train")),
        CorpusText(
            Ingredient(weight=2.0, files=(str(tmp_path / "a.txt"),)), 2.0, ("data", "other")
        ),
    ]
    opener = Opener()
    texts = [opener.open(part) for part in parts]
    assert [text.at for text in texts] == [part.at for part in parts]
    assert apart(texts)[0][0].digest == texts[1].digest
    assert hashed == [tmp_path / "a.txt"]


def test_a_large_text_is_said_to_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_LARGE", 10)
    monkeypatch.setattr(hub, "_MANY", 1)
    lines = []
    (tmp_path / "a.txt").write_text("a text of 21 characters")
    for text in (corpus_of(tmp_path / "a.txt"), Corpus(hub=str(_folder(tmp_path, ["a", "b"])))):
        Opener(lines.append).open(CorpusText(text, 1.0, ("data",)))
    assert lines == [
        f"reading {tmp_path}/a.txt to know it by its content, 0.0 GB",
        f"reading {tmp_path}/hub train to know it by its content, 2 rows",
    ]


def test_a_long_message_is_cut_between_words():
    assert brief(ValueError("first line\n\n second\tline")) == "first line second line"
    cut = brief(ValueError("word " * 100), 50)
    assert cut == "word " * 10 + "..."
    assert brief(ValueError()) == "ValueError()"
    assert brief(ValueError("x" * 300)) == "x" * 200 + "..."
