"""What the documentation tells people to type, and space files that it shows, work.

Commands are those of the pages, but for the numbers below: steps, hours and models are smaller,
candidates are trained in this process in place of Ray's, and `init` measures one step. Where a page
names a file of the reader's, a small one of its kind lies there.
"""

import shlex
import shutil
from dataclasses import replace

import pytest
import typer
from checkpoints import LLAMA, save
from conftest import SPACE
from written import COMMANDS, PAGES, ROOT, all_blocks, blocks, calls, mentioned, name_of, words_of

from lagsearch.cli.commands import app
from lagsearch.init.speed import seconds_per_step
from lagsearch.planning.run import plan
from lagsearch.running.workers.serial import open_serial
from lagsearch.space import load_space, read_yaml

SMALLER = {
    "--lag 300": "--lag 6",
    "--lag 200": "--lag 6",
    "--lag 50": "--lag 6",
    "lag=300": "lag=6",
    "training.steps=300": "training.steps=12",
    "training.steps=4000": "training.steps=40",
    "run space.yaml": "run space.yaml --set training.steps=20 --set evaluation.batches=2",
    "path/to/checkpoint path/to/text.txt": "path/to/checkpoint path/to/text.txt --hours 0.001",
}
"""Numbers that a command has here in place of those on the page."""

SMALLER_SPACE = {
    "{corpus: python-stdlib}": "{files: [path/to/text.txt]}",
    "hidden_size: 48": "hidden_size: 16",
    "intermediate_size: 128": "intermediate_size: 32",
    "steps: 600": "steps: 12",
    "warmup_steps: 50": "warmup_steps: 2",
    "ramp_steps: [0, 100]": "ramp_steps: [0, 4]",
    "batch_size: 32": "batch_size: 4",
    "batches: 16": "batches: 2",
    "lag: 300": "lag: 6",
}
"""The same for `search_spaces/quickstart.yaml`."""

LONGER = (
    "docs/howto/choose-k.md",
    "docs/howto/memory.md",
    "docs/howto/profile.md",
    "docs/howto/publish.md",
    "docs/howto/resume.md",
    "docs/howto/schedules.md",
    "docs/howto/seeds.md",
    "docs/tutorial/first-search.md",
    "docs/tutorial/other-trainers.md",
    "docs/tutorial/own-checkpoint.md",
    "docs/tutorial/several-sources.md",
)
"""Pages whose commands train several times, or draw whole reports: `pytest -m slow`."""

CHECKPOINT_SPACE = """\
sources: [{{name: mine, checkpoint: {checkpoint}}}]
target: {{num_hidden_layers: 9}}
candidates: [{{operator: lag, index: 0, block_size: 1, init: duplicate}}]
"""


# ---- blocks ----


@pytest.mark.parametrize("block", all_blocks(*COMMANDS, "python", "yaml"), ids=str)
def test_a_mark_has_a_reason(block):
    assert block.mark is None or len(block.reason.split()) >= 2


def ran(page, mark=None):
    """Return the blocks of a page that run, in order."""
    return [
        each for each in blocks(page) if each.kind in (*COMMANDS, "python") and each.mark == mark
    ]


def with_blocks(mark):
    """Return the pages that have blocks with a mark, the long ones as slow tests."""
    pages = [each for each in PAGES if ran(each, mark)]
    slow = {name: (pytest.mark.slow,) for name in LONGER}
    return [
        pytest.param(each, id=name_of(each), marks=slow.get(name_of(each), ())) for each in pages
    ]


@pytest.fixture
def prepared(tmp_path, monkeypatch, corpus):
    """Return what makes a folder with all that the commands of a page name, and enters it."""

    def prepare(page):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("lagsearch.running.run._open_ray", lambda *_: open_serial)
        monkeypatch.setattr(
            "lagsearch.init.draft.seconds_per_step",
            lambda load, at_once: seconds_per_step(replace(load, seconds=0.0), 1),
        )
        for name, n_layers in (("checkpoint", 6), ("five-layers", 5)):
            save(tmp_path / "path" / "to" / name, {**LLAMA, "num_hidden_layers": n_layers})
        for name in ("path/to/text.txt", "stories.txt"):
            (tmp_path / name).write_text(corpus.read_text()[:8000])
        copy_spaces(tmp_path / "search_spaces")
        copy_reports(tmp_path / "reports", page.read_text())
        tiny = SPACE.format(corpus=corpus).replace("seed: 3", "seed: 0")
        if "\nlagsearch init" not in page.read_text():  # which writes it
            (tmp_path / "space.yaml").write_text(tiny)
        begin, end = tiny.index("sources:"), tiny.index("training:")
        mine = CHECKPOINT_SPACE.format(checkpoint="path/to/checkpoint")
        (tmp_path / "mine.yaml").write_text(tiny[:begin] + mine + tiny[end:])
        for text, space in whole_spaces(page):
            (tmp_path / f"{space['name']}.yaml").write_text(text)
        return tmp_path

    return prepare


def copy_spaces(folder):
    folder.mkdir()
    for path in (ROOT / "search_spaces").iterdir():
        if path.name != "quickstart.yaml":
            (folder / path.name).symlink_to(path)
    text = (ROOT / "search_spaces" / "quickstart.yaml").read_text()
    for old, new in SMALLER_SPACE.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "quickstart.yaml").write_text(text)


def copy_reports(folder, text):
    """Copy committed runs that a page names, and write the curves of one as others would."""
    from lagsearch.report.write import curves_table

    for path in (ROOT / "reports").iterdir():
        if path.is_dir() and f"reports/{path.name}" in text:
            shutil.copytree(path, folder / path.name)
    if ".csv" in text:
        table = curves_table(ROOT / "reports" / "shakespeare-6to9")
        for name in ("curves.csv", "shakespeare_6to9.csv"):
            table.to_csv(folder.parent / name, index=False)


def smaller(text):
    for old, new in SMALLER.items():
        text = text.replace(old, new)
    return text


def run(block, call, names):
    """Run a block: its commands in this process, or its Python with what ran before it."""
    if block.kind == "python":
        exec(smaller(block.text), names)
        return
    for command in block.commands:
        program, *words = words_of(smaller(command))
        assert program == "lagsearch", f"{block}: `{command}` is not run, and has no mark"
        code, _, error = call(*words)
        assert code == 0, f"{name_of(block.page)}:{block.line}: {command}: {error}"


@pytest.mark.parametrize("page", with_blocks(None))
def test_what_a_page_tells_to_type_works(page, prepared, call, registries):
    prepared(page)
    names = {"__name__": "written"}
    for block in ran(page):
        run(block, call, names)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", with_blocks("slow"))
def test_what_takes_longer_works_too(page, prepared, call):
    import subprocess
    import sys

    folder = prepared(page)
    for block in ran(page, "slow"):
        for command in block.commands:
            program, *words = words_of(smaller(command))
            if program == "python":
                done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True)
                assert done.returncode == 0, done.stderr
            else:
                assert program == "lagsearch"
                assert call(*words)[0] == 0, command
    assert folder.is_dir()


@pytest.fixture
def registries(monkeypatch):
    """What pages add to the tables is gone behind a test."""
    from lagsearch.operators.registry import OPERATORS
    from lagsearch.selection import SIGNALS

    for table in (OPERATORS, SIGNALS):
        table.names()
        monkeypatch.setattr(table, "_entries", dict(table._entries))


# ---- the operator and the signal of docs/howto/extend.md ----


@pytest.fixture
def added(registries):
    names = {"__name__": "added"}
    for block in ran(ROOT / "docs" / "howto" / "extend.md"):
        exec(block.text, names)
    return names


def test_the_operator_that_is_shown_grows(added):
    from lagsearch.models.configs import ModelShape
    from lagsearch.operators.described import meanings
    from lagsearch.operators.registry import find_operator, make_candidate

    shapes = ModelShape(3, {"hidden_size": 8}, "llama"), ModelShape(5, {"hidden_size": 8}, "llama")
    made = make_candidate("tail", {"layer": 1}, shapes[:1], shapes[1])
    assert (made.name, made.plan.layer_map()) == ("tail-layer1", "0 1 2 1* 1*")
    assert meanings(find_operator("tail")) == {"layer": "The layer that is repeated, 0-based."}


def test_the_signal_that_is_shown_judges(added):
    from numpy import array
    from numpy.testing import assert_allclose

    from lagsearch.selection import LossTable, Measured, find_signal

    losses = array([[[[4.0]], [[2.0]]], [[[5.0]], [[3.0]]]])  # two candidates at two steps
    table = LossTable.of_batches(("a", "b"), (5, 10), losses)
    judged = find_signal("level").judge(Measured(table), 10, 20)
    assert_allclose(judged.at(10), [3.0, 4.0])


# ---- command lines ----


def command_lines():
    """Return every command line of the documentation that calls lagsearch, run or not."""
    found = [(each.page, line) for each in all_blocks(*COMMANDS) for line in each.commands]
    found += [(page, line) for page in PAGES for line in mentioned(page)]
    return sorted(
        {(name_of(page), shlex.join(words)) for page, line in found for words in calls(line)}
    )


def parsed(words):
    """Parse a command line as the real one does, without running it; return its command's name."""
    command, name = typer.main.get_command(app), "lagsearch"
    while hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            known = {option for each in command.params for option in each.opts}
            assert {*words} <= {*known, "--help"}, words
            return name
        name, *words = words
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    if words:  # a command that is named alone is spoken of, not typed
        command.make_context(name, list(words))
    return name


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_line_is_one(page, line):
    assert parsed(shlex.split(line))


@pytest.mark.parametrize("line", ["runn x", "run x --lagg 3", "schema x", "--versoin", "init a"])
def test_a_wrong_command_line_is_none(line):
    with pytest.raises((AssertionError, Exception), match=r"(?i)runn|lagg|unexpected|versoin|text"):
        parsed(line.split())


# ---- space files ----


def whole_spaces(page):
    """Return the blocks of a page that are whole spaces, as text and as values."""
    found = [(each.text, read_yaml(each.text)[0]) for each in blocks(page) if each.kind == "yaml"]
    return [(text, space) for text, space in found if {"name", "data"} <= set(space)]


@pytest.mark.parametrize("page", [each for each in PAGES if whole_spaces(each)], ids=name_of)
def test_whole_spaces_can_be_planned(page, prepared):
    prepared(page)
    for _, space in whole_spaces(page):
        assert plan(load_space(space)).stages


def laid_over(space, part):
    """Return a space with keys of a fragment of one in place of its own."""
    merged = ("data", "objective", "training", "evaluation", "search", "resources")
    both = {key: {**space.get(key, {}), **part[key]} for key in merged if key in part}
    return {**space, **part, **both}


@pytest.mark.parametrize(
    "block", [each for each in all_blocks("yaml") if each.mark != "no space"], ids=str
)
def test_yaml_is_a_space_or_a_part_of_one(block):
    space = read_yaml(SPACE.format(corpus="text.txt").replace("seed: 3", "seed: 0"))[0]
    space["training"] = {"steps": 1000}
    space["data"] = {"train": {"files": ["text.txt"]}}
    part = read_yaml(block.text)[0]
    both = laid_over(space, part)
    if "stages" in part:
        both = {key: value for key, value in both.items() if key not in ("target", "candidates")}
        both["training"] = part.get("training", {})
        if "sources" not in part:
            del both["sources"]
    assert load_space(both)
