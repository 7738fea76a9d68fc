"""What goes wrong in a first hour: one line each, with the right key and a way out."""

import re

import pytest

CONFIG = "num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}"
ENTRY = "  - {operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}"

FILES = [
    ("seed: 3", "sead: 3", r":2: sead 3: unknown key; did you mean 'seed'\? known: name, seed"),
    ("batch_size: 4", "bath_size: 4", r"training\.bath_size 4: unknown key; did you mean 'batch_"),
    ("steps: 24", "steps: many", r'training\.steps "many": must be a valid integer$'),
    ("steps: 24", "steps: '24'", r'training\.steps "24": .*: write it without quotes$'),
    ("steps: 24", "steps: 1e3", r"training\.steps 1000\.0: .*: write 1000$"),
    ("steps: 24", "steps: 0", r"training\.steps 0: must be greater than or equal to 1"),
    ("lag: 10", "lag: 99", r"search\.lag 99: is beyond the final step, training\.steps 24"),
    ("lag: 10", "lag:10", r"search\.lag:10 null: unknown key; write a blank after the colon"),
    ("batch_size: 4", "batch_size: [4, 8]", r"batch_size \[4, 8\]: .* integer, one and not a list"),
    ("data:\n", "datum:\n", r":3: datum: unknown key; did you mean 'data'"),
    ("objective: {name: causal}", "objective: masked", r"a mapping .*, e\.g\. \{name: masked\}$"),
    (
        "objective: {name: causal}",
        "objective: {name: clm}",
        r"objective\.name \"clm\": .*known: causal, masked, ul2$",
    ),
    ("target: {num_hidden_layers: 4}", "", r":1: target: is required, e\.g\. \{num_hidden_layer"),
    ("{num_hidden_layers: 4}", "4", r"target 4: must be a mapping .*e\.g\. \{num_hidden_layers"),
    ("target: {num_hidden_layers: 4}", "target: {layers: 4}", r"mean 'num_hidden_layers'\?$"),
    ("{num_hidden_layers: 4}", "{num_hidden_layers: 2}", r"num_hidden_layers 2: is shallower than"),
    ("{num_hidden_layers: 4}", "{num_hidden_layers: 3}", r"target .*nothing grows: give more lay"),
    (
        "{num_hidden_layers: 4}",
        "{num_hidden_layers: four}",
        r"must be a whole number of at least 1",
    ),
    (ENTRY, "  - stack", r'candidates\[0\] "stack": must be a mapping .*\{operator: stack\}$'),
    (f"candidates:\n{ENTRY}", "candidates: {operator: stack}", r"a list, e\.g\. \[\{operator"),
    ("operator: lag", "operator: lagg", r"candidates\[0\]\.operator .*did you mean 'lag'"),
    (
        "block_size: 1",
        "blocksize: 1",
        r"candidates\[0\]\.blocksize 1: .* did you mean 'block_size'",
    ),
    ("block_size: 1", "block_size: one", r'block_size "one": lag: block_size must be a valid int'),
    ("sequence_length: 16", "sequence_length: 64", r"room for 32 tokens, less than data\.sequence"),
    ("lr: 3e-3", "lr: fast", r'training\.optimizer\.lr "fast": must be a valid number$'),
    ("name: adamw", "name: adamm", r"training\.optimizer\.name \"adamm\": must be 'adamw', 'adam'"),
    ("  tokenizer: bytes", "\ttokenizer: bytes", r":6: .*indent with blanks, not with tabs$"),
    ("  tokenizer: bytes", "   tokenizer: bytes", r":6: .*: indent this line as those beside it"),
    ("tokenizer: bytes", "tokenizer: bites", r'data\.tokenizer "bites": .*did you mean \'bytes\''),
    ("{fraction: 0.2}", "{fraction: 0.2", r"close the brackets that are opened above$"),
    ("seed: 3", "seed: 3\nseed: 4", r":3: found duplicate key .*: leave one of them out$"),
    ("name: tiny", "name: my run", r'name "my run": use letters, digits'),
    ("- name: small", "- name: small\n    checkpoint: x", r"exactly one of checkpoint, pretrain"),
]


@pytest.mark.parametrize(("old", "new", "message"), FILES, ids=[new for _, new, _ in FILES])
def test_a_wrong_file_is_one_line(call, write_space, old, new, message):
    path = write_space((old, new))
    code, out, error = call("plan", path)
    said = [line for line in error.splitlines() if line != "loading torch and transformers"]
    assert (code, out, len(said)) == (2, "", 1)
    assert error.startswith(f"lagsearch: {path}:")
    assert re.search(message, error.rstrip()), error
    assert "?;" not in error


OPTIONS = [
    (
        ["--set", "training.steps"],
        r"^--set training\.steps: write key=value, e\.g\. training\.steps=",
    ),
    (["--set", "training.stesp=5"], r"^--set training\.stesp=5: .* did you mean 'steps'"),
    (["--set", "trainig.steps=5"], r"^--set trainig\.steps=5: .* did you mean 'training'"),
    (["--set", "name.x=5"], r"^--set name\.x=5: 'x' leads nowhere: a single value stands there"),
    (["--set", "candidates.4.index=1"], r"'4' leads nowhere: a list of 1 stands there"),
    (["--set", "training.steps=[1"], r"^--set training\.steps=\[1: the value is not valid YAML"),
    (["--set", "seed=1", "--set", "seed=2"], r"^--set seed=2: does not go with --set seed=1: give"),
    (["--lag", "5", "--set", "search.lag=6"], r"^--set search\.lag=6: does not go with --lag 5"),
    (["--lag", "x"], r"^--lag x: write a number of steps, or auto"),
    (["--lag", "0"], r"^--lag 0: search\.lag 0: must be greater than or equal to 1"),
    (["--lag", "99"], r"^--lag 99: search\.lag 99: is beyond the final step, training\.steps 24"),
    (["--lga", "5"], r"^No such option: --lga"),
    (["RUN", "--seeds", "a"], r"^--seeds a: write whole numbers between commas, e\.g\. 0,1,2"),
    (["RUN", "--seeds", "1,2"], r"^--seeds 1,2: .* must begin with the space's seed, 3"),
    (["RUN", "--seeds", "3,3"], r"^--seeds 3,3: search\.seeds\[1\] 3: is listed twice"),
    (["RUN", "--out", "FILE"], r"a-file: is a file; choose a folder with --out"),
    (["RUN", "--out", "FOLDER"], r": has files, but is no run folder; choose another folder with"),
    (["RUN", "--baselines"], r"--baselines belongs to a space with stages; --oracle is what"),
]


@pytest.mark.parametrize(("words", "message"), OPTIONS, ids=[" ".join(each) for each, _ in OPTIONS])
def test_a_wrong_option_is_one_line(call, monkeypatch, tmp_path, write_space, words, message):
    path = write_space()
    (tmp_path / "a-file").write_text("x")
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled" / "x").write_text("x")
    places = {"FILE": tmp_path / "a-file", "FOLDER": tmp_path / "filled"}
    verb = ["run", path, "--serial"] if words[0] == "RUN" else ["plan", path]
    options = [places.get(word, word) for word in words if word != "RUN"]
    monkeypatch.chdir(tmp_path)
    code, out, error = call(*verb, *options)
    said = [line for line in error.splitlines() if line != "loading torch and transformers"]
    assert (code, out, len(said)) == (2, "", 1)
    assert re.search(message, error.removeprefix("lagsearch: ").rstrip()), error
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("spac.yaml", None, r"spac\.yaml: no such file; did you mean 'space\.yaml'\?$"),
        ("folder", {}, r"folder: is a folder; name a space file \(YAML\)$"),
        ("space.json", b'{"name": "x"}', r":1: data: is required, e\.g\. data: \{train: \{files:"),
        ("list.yaml", b"- a\n", r":1: a space file is a mapping of keys to values, e\.g\. name:"),
        ("void.yaml", b"", r":1: a space file is a mapping of keys to values"),
        ("model.safetensors", b"\xff\xfe\x00", r"is no text, and so no space file \(YAML\)$"),
    ],
)
def test_what_is_no_space_file(call, write_space, name, content, message):
    path = write_space().parent / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    code, _, error = call("plan", path)
    assert (code, len(error.splitlines())) == (2, 1)
    assert re.search(message, error.rstrip()), error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no such file or folder \(relative paths start at "),
        (b"", r"no text at all$"),
        (bytes(range(256)), r"not UTF-8 text"),
        (b"ab", r"2 bytes, but 33 tokens are needed to train on sequences of 16 and 65 to measure"),
        (
            b"ab" * 40,
            r"80 bytes, but 33 tokens .*: give more text, or a smaller data\.sequence_length",
        ),
        (b"ab" * 50, r"4 are needed: give data\.sequence_length \d or less, or more text$"),
    ],
    ids=["missing", "empty", "binary", "two letters", "80 letters", "100 letters"],
)
def test_a_wrong_text(call, tmp_path, write_space, content, message):
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    words = ["--set", f"data.train.files=[{text}]", "--out", tmp_path / "run", "--serial"]
    code, _, error = call("run", write_space(), *words)
    [line] = [each for each in error.splitlines() if each.startswith("lagsearch: ")]
    assert code == 2
    assert f'data.train {{"files": ["{text}"]}}' in line or "data.train" in line
    assert re.search(message, line), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", r"is no folder here and cannot be fetched .*give a local path"),
        ("someone/gone", r"is no folder here and cannot be fetched .*give a local path"),
        ("./gone", r"there is no such folder"),
        ("without-config", r"has no config\.json: not a Hugging Face checkpoint"),
        ("broken-config", r"config\.json: .*not a valid JSON"),
    ],
)
def test_a_wrong_checkpoint_is_named_at_its_key(
    call, monkeypatch, tmp_path, write_space, name, message
):
    """The tokenizer would come from it, but it is the checkpoint that is wrong."""
    for folder, text in (("without-config", None), ("broken-config", "{")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").write_bytes(b"")
        if text:
            (tmp_path / folder / "config.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    listed = f"sources=[{{name: mine, checkpoint: {name}}}]"
    words = ["--set", listed, "--set", "data.tokenizer=null"]
    code, _, error = call("plan", write_space(), *words)
    assert (code, len(error.splitlines())) == (2, 1)
    assert f'sources[0].checkpoint "{name}": ' in error
    assert re.search(message, error), error
