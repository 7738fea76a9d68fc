import sysconfig
from pathlib import Path

import pandas as pd
import pytest

from lagsearch.data.corpora import open_corpus
from lagsearch.errors import DataError
from lagsearch.space import Corpus


def test_the_standard_library_is_read_in_order_without_tests():
    corpus = open_corpus(Corpus(corpus="python-stdlib"), "train")
    texts = list(corpus.read())
    root = Path(sysconfig.get_paths()["stdlib"])
    assert texts[0] == (root / "__future__.py").read_bytes().decode()
    assert (root / "argparse.py").read_bytes().decode() in texts
    assert not any(
        path.read_bytes().decode(errors="replace") in texts
        for path in sorted((root / "test").glob("test_arg*.py"))
    )
    assert sum(map(len, texts)) > 5_000_000
    assert corpus.digest == open_corpus(Corpus(corpus="python-stdlib"), "train").digest


def test_a_dataset_is_read_by_its_column(tmp_path):
    """The hub loader on a local folder of the same columns as a hub dataset."""
    folder = tmp_path / "wiki"
    folder.mkdir()
    rows = ["= Title =", "", "Some text, with unicode: é."]
    pd.DataFrame({"text": rows, "id": [1, 2, 3]}).to_parquet(folder / "train.parquet")
    corpus = open_corpus(Corpus(hub=str(folder)), "train")
    assert list(corpus.read()) == rows
    with pytest.raises(DataError, match=r"has no column 'body'; it has: text, id") as caught:
        open_corpus(Corpus(hub=str(folder), column="body"), "validation")
    assert caught.value.at == ("data", "validation")


def test_what_cannot_be_had_is_one_line_with_the_ways_out(tmp_path):
    with pytest.raises(DataError, match=r"cannot be fetched .*give local `files`") as caught:
        open_corpus(Corpus(hub="no-one/nothing"), "train")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"gone\.txt: no such file"):
        open_corpus(Corpus(files=(str(tmp_path / "gone.txt"),)), "train")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.txt: not UTF-8 text"):
        list(open_corpus(Corpus(files=(str(binary),)), "train").read())


def test_the_digest_is_of_the_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    first = open_corpus(Corpus(files=(str(path),)), "train").digest
    path.write_text("two")
    assert open_corpus(Corpus(files=(str(path),)), "train").digest != first
