"""Simple mistakes are said before torch is imported; a plan sees that a text is too short."""

import json
import shutil
from functools import partial

import pytest
from checkpoints import save
from processes import in_one_process

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import LagsearchError
from lagsearch.planning.run import check_first, plan
from lagsearch.space import dump_yaml, load_space

CONFIG = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
}
SPACE = """\
name: looks
data:
  train: {{files: [{text}]}}
  validation: {{{validation}}}
  sequence_length: 64
  tokenizer: bytes
sources:
  - name: small
    {source}
target: {{num_hidden_layers: 4}}
candidates:
  - operator: {operator}
training: {{steps: 20, batch_size: 4}}
search: {{lag: 10}}
"""
PRETRAIN = f"pretrain: {{config: {json.dumps(CONFIG)}, steps: 10}}"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text("a b c d " * 1000)

    def written(text="good.txt", validation="fraction: 0.1", source=PRETRAIN, operator="stack"):
        named = {"text": text, "validation": validation, "source": source, "operator": operator}
        (tmp_path / "space.yaml").write_text(SPACE.format(**named))
        return tmp_path / "space.yaml"

    return written


# 2 * 64 + 1 = 129 tokens to train on, 4 * 64 + 1 = 257 to measure; 386 less 4 for ends of the text
@pytest.mark.parametrize(
    ("size", "validation", "said"),
    [
        (0, "fraction: 0.1", r"short\.txt: no text at all"),
        (
            381,
            "fraction: 0.1",
            r"short\.txt: 381 bytes, but 129 tokens are needed to train on sequences of 64 and 257 "
            r"to measure losses on: give more text, or a smaller data\.sequence_length",
        ),
        (382, "fraction: 0.1", None),
        (
            1,
            "files: [good.txt]",
            r"1 byte, but 129 tokens are needed to train on sequences of 64: give more text",
        ),
        (125, "files: [good.txt]", None),
    ],
)
def test_a_plan_sees_that_a_text_is_too_short(write, tmp_path, size, validation, said):
    (tmp_path / "short.txt").write_bytes(b"a" * size)
    file = load_space(write("short.txt", validation, operator="interleave"))
    if said is None:
        assert plan(file, skip_unfit=True).candidates
        return
    with pytest.raises(LagsearchError, match=rf"space\.yaml:3: data\.train .*{said}"):
        plan(file)
    with pytest.raises(LagsearchError, match=said):
        check_first(file)


def test_a_validation_text_that_is_too_short_is_named(write, tmp_path):
    (tmp_path / "short.txt").write_bytes(b"a" * 252)
    file = load_space(write(validation="files: [short.txt]"))
    said = r"space\.yaml:4: data\.validation .*252 bytes, but at least 257 to measure losses on"
    with pytest.raises(LagsearchError, match=said):
        plan(file)


def test_records_and_compressed_text_may_be_longer_than_their_files(write, tmp_path):
    for name in ("short.txt.gz", "short.jsonl"):
        (tmp_path / name).write_bytes(b"a")
        plan(load_space(write(name, operator="interleave")), skip_unfit=True)
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(LagsearchError, match="no text at all"):
            plan(load_space(write(name)))


def test_a_text_that_cannot_be_read_is_said_to_be_so(write, monkeypatch):
    monkeypatch.setattr("lagsearch.data.text.corpora.os.access", lambda path, mode: False)
    said = r"space\.yaml:3: data\.train .*good\.txt: cannot be read: permission denied"
    with pytest.raises(LagsearchError, match=said):
        check_first(load_space(write()))


NO_CHECKPOINT = "checkpoint: ./nowhere"
MISTAKES = {
    "missing text": ({"text": "nowhere.txt"}, ("run",), "nowhere.txt: no such file"),
    "empty text": ({"text": "empty.txt"}, ("run",), "no text at all"),
    "operator": ({"operator": "stak"}, ("run",), "operator 'stak' is unknown; did you mean"),
    "checkpoint": ({"source": NO_CHECKPOINT}, ("run",), "there is no such folder"),
    "baselines": ({}, ("run", "--baselines"), "--baselines belongs to a space with stages"),
    "exported": ({"operator": "stak"}, ("export", "--out", "x"), "is unknown; did you mean"),
    "export of no text": ({"text": "nowhere.txt"}, ("export", "--out", "x"), "no such file"),
}


def check_said(cases):
    """Check what commands, each in its folder, say in their last lines, all before torch is there.

    Args:
        cases: Folder, words, and what is said.
    """
    commands = [each for folder, words, _ in cases for each in (("cd", folder), words)]
    for (_, words, said), ended in zip(cases, in_one_process(*commands), strict=True):
        assert ended.code == 2, words
        assert said in ended.err.splitlines()[-1], words
        assert not {"torch", "transformers", "ray"} & ended.modules, words


def test_mistakes_in_a_space_are_said_without_torch(write, tmp_path):
    cases = []
    for number, (changes, (verb, *options), said) in enumerate(MISTAKES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "empty.txt").touch()
        shutil.copy("good.txt", folder)
        write(**changes).rename(folder / "space.yaml")
        cases.append((folder, (verb, "space.yaml", *options), said))
    check_said(cases)


WRONG_WORDS = [
    (("init", "folder", "good.txt"), "folder has no config.json: not a Hugging Face"),
    (("init", "run", "good.txt"), "it is a run folder: give run/winner"),
    (("init", "model", "empty.txt"), "empty.txt: there is no text in it"),
    (("init", "model", "good.txt", "--layers", "3"), "model has 3 layers already; give more"),
    (("init", "model", "good.txt", "--layers", "99"), "give 48 at most"),
    (
        ("grow", "good.txt", "--operator", "stack", "--out", "x"),
        "good.txt: is a file: give the folder of a checkpoint",
    ),
    (("grow", "folder", "--operator", "stack", "--out", "x"), "folder has no config.json"),
    (
        ("grow", "model", "--operator", "stack", "--set", "factr=2", "--out", "x"),
        "stack has no setting 'factr'; did you mean 'factor'?",
    ),
    (("schedule", "scale", "nowhere.yaml", "--layers", "3"), "nowhere.yaml: no such file"),
]


def test_mistakes_in_a_command_are_said_without_torch(write, tmp_path):
    write()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "folder").mkdir()
    for folder in ("model", "run/winner"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text(json.dumps(CONFIG))
    more = {"init": ("--out", "x.yaml")}
    cases = [(tmp_path, (*words, *more.get(words[0], ())), said) for words, said in WRONG_WORDS]
    check_said(cases)


def test_a_tokenizer_of_the_hub_that_is_not_here_yet_is_left_to_the_run(write):
    """Where no configuration says how many tokens there are, a plan would need it."""
    config = {key: value for key, value in CONFIG.items() if key != "vocab_size"}
    path = write(source=f"pretrain: {{config: {json.dumps(config)}, steps: 10}}")
    overrides = ["data.tokenizer=some-one/tokenizer"]
    with pytest.raises(LagsearchError, match="the cache has none of that name"):
        plan(path, overrides=overrides)
    check_first(load_space(path, overrides))


def test_a_mistake_in_a_space_is_said_before_that_its_folder_holds_another_run(write, tmp_path):
    """Those of a checkpoint are found by planning, which comes after the look at the folder."""
    save(tmp_path / "small", CONFIG)
    space, folder = write(source="checkpoint: small"), tmp_path / "run"
    folder.mkdir()
    (folder / "space.yaml").write_text(dump_yaml(load_space(space).written_out()))
    (folder / "environment.json").write_text("{}")
    run = partial(lagsearch.run, space, out=folder, serial=True, watch=Watch())
    with pytest.raises(LagsearchError, match=r"'ffn' is unknown to .* mean 'intermediate_size'\?$"):
        run(overrides=["target={num_hidden_layers: 4, ffn: 64}"])
    with pytest.raises(LagsearchError, match=r"holds another run: training\.steps is 20 there and"):
        run(overrides=["training.steps=30"])
