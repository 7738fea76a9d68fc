"""What the words of a command are, and what is said of those that are something else."""

import pytest
from processes import in_one_process

from lagsearch.space.arguments import argument_kind, is_hub_name

FILES = {
    "mine/config.json": b"{}",
    "mine/model.safetensors": b"\0",
    "mine/notes.txt": b"hello\n",
    "run/space.yaml": b"name: run\n",
    "texts/a.txt": b"hello\n",
    "space.yaml": b"name: mine\n",
    "odd.yml": b"hello\n",
    "space": b"# a comment\n\nname: mine\n",
    "space.json": b'{\n  "name": "mine"}\n',
    "text.txt": b"First Citizen:\nname: nobody\n",
    "text": b"First Citizen: hear me\n",
    "records.jsonl": b'{"name": "a", "text": "b"}\n',
    "records.json": b'{"id": 1, "text": "b"}\n',
    "weights.bin": b"\0\1\2",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mine", "checkpoint"),
        ("mine/", "checkpoint"),
        ("mine/config.json", "inside"),
        ("mine/model.safetensors", "inside"),
        ("mine/notes.txt", "text"),
        ("run", "run"),
        ("texts", "folder"),
        ("space.yaml", "space"),
        ("odd.yml", "space"),
        ("space", "space"),
        ("space.json", "space"),
        ("text.txt", "text"),
        ("text", "text"),
        ("records.jsonl", "text"),
        ("records.json", "text"),
        ("weights.bin", "unknown"),
        ("python-stdlib", "text"),
        ("gpt2", "missing"),
        ("someone/model", "missing"),
    ],
)
def test_each_word_is_one_thing(name, kind):
    assert argument_kind(name) == kind


def test_a_file_that_is_gone_is_no_name_of_the_hub():
    assert is_hub_name("someone/data")
    assert not any(map(is_hub_name, ("gone/text.txt", "texts/gone", "./gone", "/gone", "a/b/c")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("plan", "Missing argument 'SPACE'. E.g. lagsearch plan space.yaml"),
        ("init", "Missing argument 'CHECKPOINT'. E.g. lagsearch init path/to/checkpoint text.txt"),
        (
            "init mine",
            "Missing argument 'TEXT'. E.g. lagsearch init mine text.txt, or python-stdlib for a "
            "first try",
        ),
        (
            "run",
            "Missing argument 'SPACE | CHECKPOINT TEXT...'. E.g. lagsearch run space.yaml, or "
            "lagsearch run path/to/checkpoint text.txt",
        ),
        ("compare", "Missing argument 'RUN'. E.g. lagsearch compare reports/one reports/two"),
        (
            "run mine",
            "mine is a checkpoint: give a text, too: lagsearch run mine TEXT, e.g. lagsearch run "
            "mine text.txt",
        ),
        (
            "plan mine",
            "mine is a checkpoint: give a text, too: lagsearch init mine TEXT, e.g. lagsearch "
            "init mine text.txt",
        ),
        (
            "run mine/config.json",
            "mine/config.json is a file of a checkpoint: give a text, too: lagsearch run mine "
            "TEXT, e.g. lagsearch run mine text.txt",
        ),
        (
            "run text.txt",
            "text.txt is a text, and goes behind a checkpoint: lagsearch run CHECKPOINT text.txt",
        ),
        (
            "plan text",
            "text is a text, and goes behind a checkpoint: lagsearch init CHECKPOINT text",
        ),
        (
            "plan mine text.txt",
            "plan takes one space file, not 2 words; lagsearch init mine text.txt writes one and "
            "shows its plan",
        ),
        ("plan space.yaml odd.yml", "plan takes one space file, not 2 words"),
        (
            "run run",
            "run is a run folder: name the space in it, lagsearch run run/space.yaml",
        ),
        (
            "run gpt2",
            "gpt2: no such file; if it is a checkpoint of the hub, give a text, too: lagsearch "
            "run gpt2 TEXT, e.g. lagsearch run gpt2 text.txt",
        ),
        ("plan odd", "odd: no such file; did you mean 'odd.yml'?"),
        ("run texts", "texts: is a folder; name a space file (YAML)"),
        (
            "init space.yaml text",
            "space.yaml is a space file: run it alone, lagsearch run space.yaml",
        ),
        (
            "run text.txt mine",
            "text.txt is a file: first comes the checkpoint's folder, then the text",
        ),
        (
            "init mine space.yaml",
            "space.yaml is a space file, not a text; with it, give nothing else",
        ),
        (
            "init mine text.txt --out texts",
            "--out texts: is a folder: name a file in it, --out texts/space.yaml",
        ),
        (
            "init https://hub.org/mine text.txt",
            "https://hub.org/mine is an address: give the name that the hub has for it, owner/name",
        ),
        (
            "init mine https://a.org/b.txt",
            "https://a.org/b.txt is an address: fetch the text first, and give its file",
        ),
        (
            "init mine text.txt --hours 2h",
            "Invalid value for '--hours': Input should be a valid number, unable to parse string "
            "as a number; e.g. --hours 0.5",
        ),
        (
            "report text.txt",
            "text.txt: is a file: name a run folder, or curves in a .csv or .parquet",
        ),
        (
            "schedule scale space.yaml",
            "schedule scale: say what to, with --layers N, --steps N or both",
        ),
        ("init mine mine/config.json", "mine/config.json is a file of a checkpoint, not a text"),
        (
            "run mine texts/gone",
            "texts/gone: no such file or folder; give text files (.txt, .jsonl, .parquet, .gz), "
            "folders of them, one dataset of the hub (owner/name), or python-stdlib",
        ),
    ],
)
def test_other_words_are_answered_with_the_command_that_takes_them(call, words, message):
    assert call(*words.split()) == (2, "", f"lagsearch: {message}\n")


REFUSED = [
    (
        "init ./mein text.txt --out space.yaml",
        "./mein: there is no such folder; did you mean 'mine'?",
    ),
    ("init run text.txt --out space.yaml", "run has no config.json: not a Hugging Face checkpoint"),
    ("init mine text.txt --out space.yaml", "space.yaml is there already"),
    ("init mine text.txt --hours 0", "--hours 0: give a number above 0, e.g. 0.5"),
    ("init mine text.txt --hours -1", "--hours -1: give a number above 0"),
    ("run mine text.txt --hours nan", "--hours nan: give a number above 0"),
    ("run mine text.txt --hours inf", "--hours inf: give a number above 0"),
    ("init mine gone.txt", "gone.txt: no such file or folder"),
    ("init text.txt mine", "text.txt is a file"),
    ("run text.txt", "text.txt is a text"),
]


def test_what_needs_no_torch_is_refused_without_it():
    commands = [words.split() for words, _ in REFUSED]
    for command in commands:
        if "--out" not in command and command[0] == "init":
            command += ["--out", "other.yaml"]
    without = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
    for (words, message), ended in zip(
        REFUSED, in_one_process(*commands, first=without), strict=True
    ):
        assert ended.code == 2, words
        assert ended.err.startswith(f"lagsearch: {message}"), words
        assert len(ended.err.splitlines()) == 1, words
