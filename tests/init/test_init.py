"""`lagsearch init`, and `lagsearch run` with a checkpoint and a text."""

import gzip
import json
from dataclasses import replace

import jsonschema
import pytest
from ruamel.yaml import YAML
from test_checkpoint import BERT, GPT2, LLAMA

import lagsearch
from lagsearch.cli.schema import space_schema
from lagsearch.data.objectives.registry import make_objective
from lagsearch.data.tokens.store import check_text, open_stores, validation_size
from lagsearch.data.tokens.tokenizers import byte_tokenizer, vocabulary_size
from lagsearch.data.tokens.writing import held_out_tokens
from lagsearch.display.watch import Watch
from lagsearch.errors import DataError, LagsearchError
from lagsearch.init import InitRequest, draft, init_space, speed
from lagsearch.init.text import measure_text
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config
from lagsearch.planning.vocabulary import find_tokenizer
from lagsearch.running.jobs import sizes_wanted

QWEN3 = {**LLAMA, "model_type": "qwen3", "num_hidden_layers": 2, "head_dim": 8}
FAMILIES = {
    "llama": ({**LLAMA, "num_hidden_layers": 3, "hidden_size": 32}, "causal"),
    "gpt2": (GPT2, "causal"),
    "qwen3": (QWEN3, "causal"),
    "bert": ({**BERT, "num_hidden_layers": 4}, "masked"),
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, and measure one step in this process."""
    monkeypatch.chdir(tmp_path)
    measured = speed.seconds_per_step
    monkeypatch.setattr(
        draft, "seconds_per_step", lambda load, at_once: measured(replace(load, seconds=0.0), 1)
    )


@pytest.fixture
def checkpoint(tmp_path):
    def make(family="llama", name="mine"):
        keys, kind = FAMILIES[family]
        fresh_model(build_config(keys), kind, 0).save_pretrained(tmp_path / name)
        byte_tokenizer().save_pretrained(tmp_path / name)
        return name

    return make


def candidates_left_out(text):
    """Return the growths that stand as comments, with their reasons."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("# - {")]
    return {line[4:].split("  # left out: ")[0]: line.split("left out: ")[1] for line in lines}


@pytest.fixture
def unmeasured(monkeypatch):
    """Take a step for 10 ms without training any."""
    monkeypatch.setattr(draft, "seconds_per_step", lambda load, at_once: 0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_it_writes_runs_as_it_is(checkpoint, corpus, family, tmp_path):
    written = init_space(InitRequest(checkpoint(family), (str(corpus),)), tmp_path / "space.yaml")
    space = written.file.space
    assert space.objective.name == FAMILIES[family][1]
    assert space.search.lag == space.training.steps // 4
    planned = lagsearch.plan(tmp_path / "space.yaml")
    assert len(planned.candidates) >= 5
    assert planned.stages[0].evaluation_advice() == "", "init does not write what a plan scolds"
    text = (tmp_path / "space.yaml").read_text()
    left_out = candidates_left_out(text)
    is_post_norm = family == "bert"
    assert any("post-norm" in reason for reason in left_out.values()) == is_post_norm
    # a growth is listed or left out, and nothing twice
    growths = [each.growth for each in planned.candidates]
    assert len({*growths}) == len(growths)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_from_checkpoint_and_text_ends_with_a_ranking(checkpoint, corpus, family):
    written = init_space(InitRequest(checkpoint(family), (str(corpus),), hours=1e-9))
    result = lagsearch.run(written.file.path, serial=True, watch=Watch())
    assert {each.status for each in result.candidates} == {"ok"}


@pytest.mark.slow
def test_a_short_text_needs_no_arithmetic(checkpoint, corpus, tmp_path, unmeasured):
    (tmp_path / "short.txt").write_text(corpus.read_text()[:50_000])
    written = init_space(InitRequest(checkpoint(), ("short.txt",), hours=1e-9))
    fewer = ["training.steps=8", "training.schedule.warmup_steps=1", "search.lag=2"]
    result = lagsearch.run(written.file.path, serial=True, overrides=fewer, watch=Watch())
    assert {each.status for each in result.candidates} == {"ok"}


@pytest.mark.parametrize("n_bytes", [50_000, 200_000, 5_000_000])
def test_a_run_holds_out_and_measures_on_what_is_written(
    checkpoint, corpus, tmp_path, unmeasured, n_bytes
):
    text = corpus.read_text()
    (tmp_path / "text.txt").write_text((text * (n_bytes // len(text) + 1))[:n_bytes])
    written = init_space(InitRequest(checkpoint(), ("text.txt",)), tmp_path / "space.yaml")
    space, told = written.file.space, []
    data = space.data
    tokenizer = find_tokenizer(written.file)
    stores = open_stores(data, tokenizer, told.append)
    [held_out] = [each.store.facts["validation"]["tokens"] for each in stores.validation]
    assert held_out == held_out_tokens(n_bytes, data.validation.fraction)
    assert held_out / n_bytes == pytest.approx(data.validation.fraction, abs=0.01)
    assert f"{held_out:,} tokens are held out" in (tmp_path / "space.yaml").read_text()
    [wanted] = sizes_wanted(space)
    n_tokens, length = vocabulary_size(tokenizer), data.sequence_length
    objective = make_objective(space.objective, tokenizer, n_tokens, length)
    check_text(stores, objective, length, [wanted])
    size = validation_size(stores, objective, length, wanted)
    assert size.batches == space.evaluation.batches
    assert not any("is short" in line for line in told)


def test_width_and_both(checkpoint, corpus, tmp_path):
    name = checkpoint()
    wide = init_space(InitRequest(name, (str(corpus),), hidden=64), tmp_path / "wide.yaml")
    both = init_space(InitRequest(name, (str(corpus),), 4, 64), tmp_path / "both.yaml")
    assert "num_hidden_layers" not in wide.file.space.target
    assert both.file.space.target["num_hidden_layers"] == 4
    names = [each.name for each in lagsearch.plan(both.file).candidates]
    assert "combined-zero-stack" in names


def test_the_schema_is_named_and_fits(checkpoint, corpus, tmp_path):
    path = tmp_path / "sub" / "space.yaml"
    path.parent.mkdir()
    init_space(InitRequest(checkpoint(), (str(corpus),)), path)
    first, *others = path.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=space.schema.json"
    assert f"lagsearch schema --out {path.with_name('space.schema.json')}" in others[2]
    plain = YAML(typ="safe").load(path.read_text())
    jsonschema.Draft202012Validator(space_schema()).validate(plain)


def test_reasons_stand_beside_values(checkpoint, corpus, tmp_path):
    init_space(InitRequest(checkpoint(), (str(corpus),)), tmp_path / "space.yaml")
    lines = (tmp_path / "space.yaml").read_text().splitlines()
    notes = {line.split(":")[0].strip(): line.partition("#")[2] for line in lines if "  #" in line}
    n_tokens = len(corpus.read_bytes())
    assert (
        notes["train"]
        .strip()
        .startswith(f"{n_tokens:,} tokens; {{files: [...], documents: lines}}")
    )
    assert "no trainer_state.json" in notes["optimizer"]
    assert "quarter" in notes["lag"]


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.txt", "one two", None),
        ("a.jsonl", '{"id": 1, "content": "one two"}\n', "content"),
        ("a.jsonl", '{"text": "one two", "content": "much longer than that"}\n', None),
        ("a.jsonl.gz", '{"url": "x", "body": "one two"}\n', "body"),
        # of the first record neither the text nor its length says what the column is
        ("a.jsonl", '{"text": null, "url": "x"}\n{"text": "one two", "url": "x"}\n', None),
        ("a.jsonl", '{"body": "", "url": "x"}\n{"body": "one two", "url": "x"}\n', "body"),
    ],
)
def test_a_texts_column_is_found(tmp_path, name, content, column):
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    text = measure_text([name], byte_tokenizer())
    assert text.train == {"files": [name]} | ({"column": column} if column else {})
    assert (text.tokens, text.is_exact) == (7, True)


def test_a_column_that_is_named_is_taken(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "long and longer", "body": "one two"}\n')
    text = measure_text(["a.jsonl"], byte_tokenizer(), "body")
    assert (text.train, text.tokens) == ({"files": ["a.jsonl"], "column": "body"}, 7)
    assert "column" not in measure_text(["a.jsonl"], byte_tokenizer(), "text").train


def test_a_column_goes_into_the_space(checkpoint, corpus, tmp_path):
    rows = [{"title": "x" * 99, "body": line} for line in corpus.read_text().splitlines()]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    request = InitRequest(checkpoint(), ("a.jsonl",), column="body")
    written = init_space(request, tmp_path / "space.yaml")
    assert written.file.space.data.train.column == "body"


def test_a_long_text_is_estimated(tmp_path, monkeypatch):
    (tmp_path / "long.txt").write_text("abcdefghij\n" * 40_000)
    monkeypatch.setattr("lagsearch.init.text._SAMPLE", 1000)
    text = measure_text(["long.txt"], byte_tokenizer())
    assert not text.is_exact
    assert text.tokens == pytest.approx(440_000, rel=0.01)


def test_names_of_files_are_data(checkpoint, corpus, tmp_path):
    odd = tmp_path / "a: {b} # c\u202e\x1b[31m.txt"
    odd.write_text(corpus.read_text())
    written = init_space(InitRequest(checkpoint(), (odd.name,)), tmp_path / "space.yaml")
    assert written.file.space.data.train.files == (odd.name,)
    assert "\x1b" not in (tmp_path / "space.yaml").read_text().replace("\\x1b", "").replace(
        "\\e", ""
    )


def test_nothing_is_overwritten(checkpoint, corpus, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("mine")
    with pytest.raises(LagsearchError, match=r"space.yaml is there already: give another name"):
        init_space(InitRequest(checkpoint(), (str(corpus),)), path)
    assert path.read_text() == "mine"


def test_a_checkpoint_that_is_nowhere_is_said_before_a_file_that_is_there(call, corpus, tmp_path):
    (tmp_path / "space.yaml").touch()
    code, _, error = call("init", "nowhere", corpus)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("lagsearch: nowhere: is no folder here and cannot be fetched")


def test_a_space_that_cannot_be_leaves_no_file(checkpoint, tmp_path):
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(DataError, match=r"short.txt: 5 tokens are too few to train on; give"):
        init_space(InitRequest(checkpoint(), ("short.txt",)), tmp_path / "space.yaml")
    assert not (tmp_path / "space.yaml").exists()


def test_run_writes_the_space_once_and_goes_on_with_it(
    checkpoint, corpus, call, tmp_path, unmeasured
):
    words = ("run", checkpoint(), corpus, "--serial", "--set", "training.steps=8")
    words = (*words, "--set", "training.schedule.warmup_steps=1", "--lag", 2)
    words = (*words, "--set", "candidates=[{operator: last}, {operator: random}]")
    code, out, err = call(*words)
    assert code == 0, err
    path = tmp_path / "mine-to-5.yaml"
    assert f"Space: {path.name}" in out
    before = path.read_text()
    assert YAML(typ="safe").load(before)["name"] == "mine-to-5"
    assert (tmp_path / "reports" / "mine-to-5" / "report.json").is_file()
    code, out, err = call(*words)
    assert code == 0, err
    assert f"{path.name} is there from before" in out
    assert path.read_text() == before
    other = tmp_path / "other.txt"
    other.write_text(corpus.read_text())
    code, _, err = call("run", "mine", other)
    assert (code, "of another checkpoint, text or target" in err) == (2, True)
    code, out, err = call(*words, "--hours", 2)
    assert code == 0, err
    assert "Space: mine-to-5-2h.yaml" in out
    assert (tmp_path / "reports" / "mine-to-5-2h" / "report.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("init", "nowhere", "text.txt"), "nowhere: is no folder here and cannot be fetched"),
        (("init", "./nowhere", "text.txt"), "./nowhere: there is no such folder"),
        (("init", "empty", "text.txt"), "empty has no config.json: not a Hugging Face checkpoint"),
        (("init", "mine", "nothing.txt"), "nothing.txt: no such file or folder; give text files"),
        (("init", "mine", "empty.txt"), "empty.txt: "),
        (("init", "mine", "binary.txt"), "binary.txt: not UTF-8 text"),
        (("init", "mine", "latin.txt"), "; a text in another encoding must be saved as UTF-8"),
        (
            ("init", "future", "text.txt"),
            "future/config.json: model_type 'llama9' is unknown to this version of transformers; a "
            "newer one may know it",
        ),
        (("init", "adapter", "text.txt"), "; an adapter must be merged into its model first"),
        (("init", "mine", "empty"), "empty: a folder without files"),
        (("init", "mine"), "Missing argument 'TEXT'"),
        (("init", "mine", "text.txt", "--layers", "3"), "--layers 3: mine has 3 layers already"),
        (("init", "mine", "text.txt", "--hidden", "33"), "--hidden 33: "),
        (("init", "mine", "text.txt", "--hours", "0"), "--hours 0: give a number above 0"),
        (("init", "mine", "text.txt", "--hours", "x"), "Invalid value for '--hours'"),
        (("init", "bare", "text.txt"), "bare: brings no tokenizer: put its tokenizer.json"),
        (("init", "mine", "text.txt", "text.txt"), "text.txt is named twice"),
        (("init", "mine", "mine"), "mine is a checkpoint, not a text"),
        (("init", "text.txt", "mine"), "text.txt is a file: first comes the checkpoint's folder"),
        (
            ("init", "mine/config.json", "text.txt"),
            "is a file of a checkpoint: give its folder, mine",
        ),
        (("run", "mine"), "mine is a checkpoint: give a text, too: lagsearch run mine TEXT"),
        (("run", "space.yaml", "--layers", "4"), "--layers is for a checkpoint and a text"),
        (("run", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("run", "broken", "text.txt"), "broken/config.json: It looks like"),
        (
            ("run", "mine", "numbers.jsonl"),
            "numbers.jsonl: no column of its first 1 records holds text; they have n: give other "
            "records, or name the column that has text farther on: --column NAME",
        ),
        (
            ("init", "mine", "late.jsonl"),
            "late.jsonl:1: no column 'body'; it has: id; --column names another",
        ),
        (
            ("init", "mine", "late.jsonl", "--column", "bodi"),
            "--column bodi: late.jsonl has none of this name; did you mean 'body'? it has id, body",
        ),
        (
            ("init", "mine", "text.txt", "--column", "body"),
            "--column body: is for records (.jsonl, .parquet); there are none here",
        ),
        (("run", "space.yaml", "--column", "body"), "--column is for a checkpoint and a text"),
    ],
)
def test_wrong_first_words_are_one_line(checkpoint, corpus, call, tmp_path, words, message):
    checkpoint()
    checkpoint(name="bare")
    for path in (tmp_path / "bare").glob("tokenizer*"):
        path.unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"")
    (tmp_path / "text.txt").write_text(corpus.read_text())
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x81" * 100)
    (tmp_path / "numbers.jsonl").write_text(json.dumps({"n": 1}) + "\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    (tmp_path / "future").mkdir()
    (tmp_path / "future" / "config.json").write_text('{"model_type": "llama9"}')
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "late.jsonl").write_text('{"id": 1}\n{"body": "one two"}\n')
    before = {path.name for path in tmp_path.iterdir()}
    code, _, err = call(*words)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == before
