"""What stands between documents."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import SHARED
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from lagsearch import cli, run
from lagsearch.data.tokens import writing
from lagsearch.data.tokens.batches import validation_rows
from lagsearch.data.tokens.boundaries import boundaries_of
from lagsearch.data.tokens.store import open_stores
from lagsearch.data.tokens.tokenizers import byte_tokenizer, character_tokenizer
from lagsearch.errors import DataError
from lagsearch.space import Corpus, Data, Validation, load_space

END = 256  # <|endoftext|>, which is the byte tokenizer's first token, too


def adding(template):
    """Return a byte tokenizer that puts `<pad>` or `<mask>` where a template says so."""
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<pad>", 257), ("<mask>", 258)]
    )
    return tokenizer


def test_a_tokenizer_that_adds_nothing_ends_documents():
    for tokenizer in (byte_tokenizer(), character_tokenizer(list("ab"))):
        found = boundaries_of(tokenizer, "auto")
        assert (found.before, found.after) == ((), (tokenizer.eos_token_id,))
        assert "<|endoftext|> after each (data.separators auto: the tokenizer" in found.words


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        ("<pad> $A", (257,), ()),
        ("$A <mask>", (), (258,)),
        ("<pad> $A <mask>", (257,), (258,)),
        ("<pad> <pad> $A", (257, 257), ()),
    ],
)
def test_auto_is_what_the_tokenizer_itself_adds(template, before, after):
    tokenizer = adding(template)
    tokenizer.backend_tokenizer.enable_truncation(1)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    found = boundaries_of(tokenizer, "auto")
    assert (found.before, found.after) == (before, after)
    assert "as the tokenizer itself adds" in found.words
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 1  # as it was


@pytest.mark.parametrize(
    ("wanted", "before", "after"),
    [("bos", (END,), ()), ("eos", (), (END,)), ("both", (END,), (END,)), ("none", (), ())],
)
def test_what_is_asked_for_is_what_is_taken(wanted, before, after):
    found = boundaries_of(adding("<pad> $A"), wanted)
    assert (found.before, found.after) == (before, after)
    assert f"data.separators {wanted}" in found.words


def test_a_token_that_is_not_there_is_an_error():
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = tokenizer.bos_token = None
    with pytest.raises(DataError, match=r"no token for the end \(eos_token\) of a text") as error:
        boundaries_of(tokenizer, "both" if tokenizer.bos_token_id else "eos")
    assert error.value.at == ("data", "separators")
    with pytest.raises(DataError, match=r"no token for the beginning \(bos_token\) of a text"):
        boundaries_of(tokenizer, "bos")
    assert boundaries_of(tokenizer, "auto").words.startswith("Documents: nothing between them")


def test_older_words_mean_what_they_meant():
    assert Data(separators=True).separators == "eos"
    assert Data(separators=False).separators == "none"


def written(tmp_path, name, texts, tokenizer, **keys):
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    other = tmp_path / "validation.txt"
    other.write_text("other text")
    data = Data(
        train=Corpus(files=(str(path),)), validation=Validation(files=(str(other),)), **keys
    )
    [share] = open_stores(data, tokenizer).train
    return share.store.tokens("train"), share


def test_tokens_stand_around_every_document_once(tmp_path):
    """Also around one that is read in many pieces."""
    long = "many words and more of them " * 20_000
    texts = ["one", long, "three"]
    tokens, _ = written(tmp_path, "a", texts, adding("<pad> $A <mask>"))
    expected = [each for text in texts for each in (257, *text.encode(), 258)]
    assert tokens.tolist() == expected
    tokens, _ = written(tmp_path, "a", texts, byte_tokenizer(), separators="none")
    assert tokens.tolist() == list("".join(texts).encode())


def test_a_writing_that_is_taken_up_inside_of_a_document_does_not_begin_it_again(
    tmp_path, monkeypatch
):
    path = tmp_path / "long.txt"
    path.write_text("some words, " * 200_000)
    monkeypatch.setattr(writing, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(writing, "_PORTION", 1 << 18)
    data = Data(train=Corpus(files=(str(path),)), validation=Validation(fraction=0.01))
    tokenizer = adding("<pad> $A <mask>")
    save, counts = writing._Writing.save, []

    def killed(self, state):
        save(self, state)
        counts.append(state.is_inside)
        if len(counts) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(writing._Writing, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        open_stores(data, tokenizer)
    assert counts == [True] * 3
    [share] = open_stores(data, tokenizer).train
    parts = [share.store.tokens(part) for part in ("train", "validation")]
    assert [sum(int((each == mark).sum()) for each in parts) for mark in (257, 258)] == [1, 1]
    assert sum(map(len, parts)) == path.stat().st_size + 2


def test_other_boundaries_are_another_store_and_the_same_ones_the_same(tmp_path):
    folders = {
        wanted: written(tmp_path, "a", ["one", "two"], byte_tokenizer(), separators=wanted)[1]
        for wanted in ("auto", True, "eos", "bos", "both", "none")
    }
    names = {wanted: share.folder.name for wanted, share in folders.items()}
    assert names["auto"] == names[True] == names["eos"]
    assert len(set(names.values())) == 4


def test_the_plan_says_what_stands_between_documents(write_space, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lagsearch", "plan", str(write_space())])
    cli.main()
    assert "Documents: <|endoftext|> after each (data.separators auto" in capsys.readouterr().out
    space = load_space(write_space(), ["data.separators=true"]).space
    assert space.data.separators == "eos"


def stories():
    """Return the stories: between two stands one line's end, between their paragraphs two."""
    path = SHARED / "data" / "tinystories.txt"
    if not path.is_file():
        pytest.skip("../shared is not here")
    return [each for each in re.split(r"(?<!\n)\n(?!\n)", path.read_text()) if each.strip()]


@pytest.mark.slow
@pytest.mark.shared
def test_a_trained_model_is_measured_with_its_own_boundaries(tmp_path):
    """stories260K saw `<s>` before each story: so measured, it is as good as transformers says."""
    texts = stories()[:60]
    folder = SHARED / "data" / "stories260K"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def loss(tokens, length=256):
        rows = torch.from_numpy(tokens.astype(np.int64))[: len(tokens) // length * length]
        rows = rows.view(-1, length)
        with torch.no_grad():
            return float(model(rows, labels=rows).loss)

    def measured(wanted):
        tokens, _ = written(tmp_path, "stories", texts, tokenizer, separators=wanted)
        return loss(tokens)

    plain = np.concatenate([tokenizer(text).input_ids for text in texts])
    assert abs(measured("auto") - loss(plain)) < 1e-4
    assert measured("eos") > measured("auto") + 0.05


@pytest.mark.shared
def test_a_run_measures_the_source_as_transformers_does(tmp_path):
    """`identity` computes what the source does: its loss at growth is that of the source."""
    folder = SHARED / "data" / "stories260K"
    texts = stories()[:120]
    for name, some in (("train", texts[:40]), ("validation", texts[40:])):
        lines = (json.dumps({"text": text}) + "\n" for text in some)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    (tmp_path / "space.yaml").write_text(f"""
name: own
data:
  train: {{files: [{tmp_path}/train.jsonl]}}
  validation: {{files: [{tmp_path}/validation.jsonl]}}
  sequence_length: 256
sources: [{{name: stories, checkpoint: {folder}}}]
target: {{num_hidden_layers: 10}}
candidates: [{{operator: identity}}]
training: {{steps: 2, batch_size: 8, optimizer: {{name: adamw, lr: 1.0e-4}}}}
evaluation: {{batches: 8}}
search: {{lag: 1}}
""")
    [candidate] = run(tmp_path / "space.yaml", out=tmp_path / "run", serial=True).candidates
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = np.concatenate([tokenizer(text).input_ids for text in texts[40:]])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    losses = []
    for rows in validation_rows([(tokens, 1.0)], 256, 8, 8):
        ids = torch.from_numpy(rows.astype(np.int64))
        with torch.no_grad():
            losses.append(float(model(ids, labels=ids).loss))
    assert abs(candidate.val_loss[0] - np.mean(losses)) < 1e-4
