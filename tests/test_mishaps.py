"""Files that machines and hands have damaged: one clear line or the same numbers, never another."""

import json
import os
import shutil
from pathlib import Path
from random import Random

import mishaps
import pytest
from conftest import SPACE
from finished import made_run
from mishaps import BOMB, CACHE, CURVES, RECORDS, SMALL, mutated
from reported import without_times
from staged import STAGED, as_list

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.space import load_space, said

pytestmark = pytest.mark.timeout(1200)
"""Seconds for many small runs on a busy machine; none of them waits for anything."""


def some(cases, *fast):
    """Return all cases as parameters, those that are not named as slow ones."""
    return [
        pytest.param(name, id=name, marks=() if name in fast else pytest.mark.slow)
        for name in cases
    ]


@pytest.fixture
def call(call):
    """Run the command line in this process; a mishap ends in one line, and in exit code 2."""

    def called(*words):
        code, _, error = call(*words)
        if not code:
            return code, ""
        assert code == 2, error
        assert "Traceback" not in error
        assert error.count("lagsearch: ") == 1, error
        message = error[error.index("lagsearch: ") :].removeprefix("lagsearch: ")
        first, *others = message.splitlines()
        # only candidates that cannot be are told in a line each
        assert (
            not others
            or f"{1 + len(others)} candidates" in first
            or " candidates cannot be" in first
        )
        assert all(len(line) < 1500 for line in (first, *others)), message
        return code, first

    return called


@pytest.fixture
def whole(write_space, tmp_path):
    """A small run, its space and its cache; they are copied before anything happens to them."""
    made = made_run(write_space(*SMALL, name="whole.yaml").read_text())
    report = json.loads((made / "run" / "report.json").read_text())
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(without_times(report)))
    for name in ("space.yaml", "run", "cache"):
        (folder / name).symlink_to(made / name)
    return folder


@pytest.fixture
def copied(whole, tmp_path, cache):
    """The same in folders of this test's own."""
    shutil.copytree(whole / "run", tmp_path / "run")
    shutil.copytree(whole / "cache", cache, dirs_exist_ok=True)
    return tmp_path / "run"


def numbers(folder):
    return without_times(json.loads((folder / "report.json").read_text()))


def run(call, whole, folder):
    return call("run", whole / "space.yaml", "--out", folder, "--serial")


def check_run(call, whole, folder):
    """Report on a folder and go on with it: each says in a line what is wrong, or changes nothing.

    A file that is named is deleted, as the line says; then all is as it was.
    """
    right = json.loads((whole / "report.json").read_text())
    for command in (lambda: call("report", folder), lambda: run(call, whole, folder)):
        code, line = command()
        if code:
            assert str(folder) in line, line
        else:
            assert numbers(folder) == right
    return code, line


@pytest.mark.parametrize("kind", some(CURVES, "a batch lost", "cut off at the end"))
def test_a_damaged_curve(call, whole, copied, kind):
    path = sorted((copied / "curves").glob("*.jsonl"))[0]
    CURVES[kind](path)
    code, line = check_run(call, whole, copied)
    if code:
        assert any(each in line for each in ("delete the file", "not a file", "mends it")), line
        for each in (path, path.with_name(path.name + ".gz")):
            if each.is_dir():
                each.rmdir()
            else:
                each.unlink(missing_ok=True)
        assert run(call, whole, copied) == (0, "")
    assert numbers(copied) == json.loads((whole / "report.json").read_text())


@pytest.mark.parametrize("kind", some(RECORDS, "environment without wall_s"))
def test_a_damaged_record(call, whole, copied, kind):
    RECORDS[kind](copied)
    code, line = check_run(call, whole, copied)
    if code:
        assert kind.split()[0] in line, line


@pytest.mark.parametrize(
    "kind", some(CACHE, "a bit of a source's weights", "the validation tokens zeroed")
)
def test_a_damaged_cache(call, whole, copied, cache, tmp_path, capsys, kind):
    CACHE[kind](cache)
    told = []
    watch = Watch()
    watch.say = told.append
    result = lagsearch.run(whole / "space.yaml", out=tmp_path / "anew", serial=True, watch=watch)
    assert without_times(result.report) == json.loads((whole / "report.json").read_text())
    assert any("damaged" in line for line in told) or "record cut off" in kind, told
    assert call("cache", "verify") == (0, "")


@pytest.mark.parametrize("state", ["damaged", "lost"])
def test_a_damaged_state_is_trained_again(whole, tmp_path, cache, monkeypatch, state):
    """After the ranking, before the winner goes on, a bit of its state turns over."""
    from lagsearch.running import phases

    shutil.copytree(whole / "cache", cache, dirs_exist_ok=True)
    real = phases.Phases.winner

    def winner(self, jobs):
        (path,) = (each for each in self.folder.states.glob("*") if each.stem != "continue")
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
        if state == "lost":
            path.unlink()
        return real(self, jobs)

    monkeypatch.setattr(phases.Phases, "winner", winner)
    result = lagsearch.run(whole / "space.yaml", out=tmp_path / "run", serial=True, watch=Watch())
    assert without_times(result.report) == json.loads((whole / "report.json").read_text())


TEXTS = {
    "plain": SPACE.format(corpus="CORPUS"),
    "stages": STAGED.format(corpus="CORPUS"),
    "listed": as_list(STAGED.format(corpus="CORPUS")),
    **{path.stem: path.read_text() for path in sorted(Path("search_spaces").glob("*.yaml"))},
}
"""Spaces that something happens to."""


def check_mutant(call, path, seed, corpus):
    """Plan a space that something happened to: it is planned as it says, or refused in a line."""
    random = Random(seed)
    name = random.choice(sorted(TEXTS))
    text, kind = mutated(TEXTS[name].replace("CORPUS", str(corpus)), random)
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    before = {each.name for each in path.parent.iterdir()}
    code, line = call("plan", path, "--lag", "auto")
    assert {each.name for each in path.parent.iterdir()} == before
    if code:
        assert line, (seed, name, kind)
        return
    file = load_space(path, said(lag="auto"))  # as it was planned
    if not file.has_stages:
        from lagsearch.space import dump_space

        again = path.with_name("again.yaml")
        again.write_text(dump_space(file.space))
        assert load_space(again).space == file.space, (seed, name, kind)


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(10), id="0-9"),
        *(
            pytest.param(range(at, at + 35), id=f"{at}-{at + 34}", marks=pytest.mark.slow)
            for at in range(10, 500, 35)
        ),
    ],
)
def test_a_mutated_space(call, tmp_path, corpus, seeds):
    for seed in seeds:
        try:
            check_mutant(call, tmp_path / "space.yaml", seed, corpus)
        except Exception as error:
            raise AssertionError(
                f"seed {seed}: {(tmp_path / 'space.yaml').read_bytes()}"
            ) from error


FILES = {
    "aliases ten by ten, nine deep": lambda path: path.write_text(BOMB),
    "100 MB": lambda path: path.write_bytes(b"# nothing\n" * 10**7),
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a number of 5,000 digits": lambda path: path.write_text("name: a\nseed: " + "9" * 5000),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: path.touch(),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.timeout(60)
def test_a_file_that_is_no_space(call, tmp_path, kind, verb):
    path = tmp_path / "odd.yaml"
    FILES[kind](path)
    code, line = call(verb, path)
    assert code == 2
    assert str(path) in line
    assert [each.name for each in tmp_path.iterdir()] == ["odd.yaml"]


@pytest.mark.parametrize(
    "option",
    [
        ("--lag", mishaps.BIG),
        ("--seeds", f"0,{mishaps.BIG}"),
        ("--set", f"training.steps={mishaps.BIG}"),
    ],
    ids=["lag", "seeds", "set"],
)
def test_a_number_of_5000_digits(call, write_space, tmp_path, option):
    code, line = call("run", write_space(), "--out", tmp_path / "run", "--serial", *option)
    assert code == 2
    assert line.startswith(option[0])
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_too_long(call, tmp_path):
    code, line = call("plan", tmp_path / ("x" * 300))
    assert code == 2
    assert "name too long" in line


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_text_without_end(call, write_space, tmp_path, corpus, kind):
    odd = Path("/dev/zero")
    if kind == "pipe":
        odd = tmp_path / "pipe"
        os.mkfifo(odd)
    path = write_space((str(corpus), str(odd)))
    code, line = call("run", path, "--serial", "--out", tmp_path / "run")
    assert code == 2
    assert f"{odd}: neither a file nor a folder, but a device or a pipe" in line
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_where_a_full_disk_stops_a_run(call, whole, copied, monkeypatch):
    """Every write fails from now on: the folder stays as it was, and the line says where."""

    def full(handle):
        raise OSError(28, "No space left on device")

    def lasting():
        """What a report is made from, and the report; tables and figures are drawn from it."""
        files = [each for each in copied.rglob("*") if each.is_file()]
        return {
            each: each.read_bytes()
            for each in files
            if each.parent.name not in ("tables", "figures")
        }

    before = lasting()
    monkeypatch.setattr(os, "fsync", full)
    code, line = call("report", copied)
    monkeypatch.undo()
    assert code == 2
    assert "o space left on device" in line
    assert str(copied) in line
    assert lasting() == before


def test_losses_of_which_no_mean_can_be_taken(call, tmp_path):
    rows = ["candidate,step,val_loss,batch"]
    rows += [f"{name},{step},1e308,{batch}" for name in "ab" for step in (0, 5) for batch in (0, 1)]
    path = tmp_path / "curves.csv"
    path.write_text("\n".join(rows) + "\n")
    code, line = call("report", path)
    assert code == 2
    assert f"{path}:2: val_loss 1e+308: too large" in line
    assert [each.name for each in tmp_path.iterdir()] == ["curves.csv"]


def test_a_linked_folder_of_states_keeps_what_others_have_there(whole, tmp_path, cache):
    """It was moved to another disk while the run was interrupted."""

    class Stop(Watch):
        def finished(self, name):
            if name != "small":
                raise KeyboardInterrupt

    shutil.copytree(whole / "cache", cache, dirs_exist_ok=True)
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(whole / "space.yaml", out=folder, serial=True, watch=Stop())
    (folder / "states").rename(elsewhere)
    (folder / "states").symlink_to(elsewhere)
    (elsewhere / "thesis.pdf").write_bytes(b"mine")
    (elsewhere / "folder").mkdir()
    (elsewhere / "folder" / "x.safetensors").write_bytes(b"mine")
    result = lagsearch.run(whole / "space.yaml", out=folder, serial=True, watch=Watch())
    assert without_times(result.report) == json.loads((whole / "report.json").read_text())
    assert sorted(each.name for each in elsewhere.iterdir()) == ["folder", "thesis.pdf"]
    assert (elsewhere / "folder" / "x.safetensors").read_bytes() == b"mine"


def test_a_winner_that_is_a_link_is_refused(call, whole, copied, tmp_path):
    (copied / "winner").rename(tmp_path / "mine")
    (copied / "winner").symlink_to(tmp_path / "mine")
    code, line = run(call, whole, copied)
    assert code == 2
    assert f"{copied / 'winner'}: a link" in line
    assert (tmp_path / "mine" / "model.safetensors").is_file()


def test_a_run_that_was_killed_while_it_wrote_its_winner_goes_on(call, whole, copied):
    """The half written checkpoint is a folder; one file of the tables was half written, too."""
    (copied / "winner").rename(copied / ".winner.tmp")
    (copied / "tables" / ".loss.csv.abcdefgh.tmp").write_text("half")
    assert run(call, whole, copied) == (0, "")
    assert numbers(copied) == json.loads((whole / "report.json").read_text())
    assert not (copied / ".winner.tmp").exists()
    assert not (copied / "tables" / ".loss.csv.abcdefgh.tmp").exists()
