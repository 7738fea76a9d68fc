"""Whole runs that decide on their way: K found, candidates stopped, other signals than the loss."""

import json
from statistics import fmean

import pytest

import lagsearch
from lagsearch.errors import SpaceError
from lagsearch.progress import Watch
from lagsearch.report.choice import strategy_of
from lagsearch.report.folder import RunFolder
from lagsearch.report.numbers import read_run
from lagsearch.selection import Choice, decide

PLAIN = "search: {lag: 10}"
LISTED = ("evaluation: {batches: 4}", "evaluation: {batches: 4, steps: [1, 2, 4, 6, 8, 12, 16]}")
SOON = "stability: {threshold: 0.01, margin: 1.0, left: 1.0}"


def run(path, folder, **options):
    return lagsearch.run(
        path, out=folder, serial=True, watch=options.pop("watch", Watch()), **options
    )


def evaluated(folder):
    """Return the last evaluated step of each candidate."""
    found = {}
    for path in sorted((folder / "curves").glob("*.jsonl")):
        found[path.stem] = json.loads(path.read_text().splitlines()[-1])["step"]
    return found


def losses(folder, name, step, key="val_loss_batches"):
    for line in (folder / "curves" / f"{name}.jsonl").read_text().splitlines():
        if json.loads(line)["step"] == step:
            return fmean(json.loads(line)[key])
    return None


def as_with_an_oracle(path, folder, tmp_path):
    """Return what the same strategy chooses on the curves of an oracle run."""
    oracle = run(path, tmp_path / "oracle", oracle=True)
    recorded = read_run(RunFolder(oracle.folder))
    choice = decide(recorded.measured, strategy_of(RunFolder(folder).space()))
    assert isinstance(choice, Choice)
    return choice


def test_k_is_found_where_the_ranking_is_stable(write_space, tmp_path):
    path = write_space((PLAIN, f"search: {{lag: auto, min_lag: 4, max_lag: 16, {SOON}}}"), LISTED)
    result = run(path, tmp_path / "run")
    found = result.report["search"]
    assert found["reason"] == "stable"
    lag = result.report["lag"]
    assert 4 <= lag < 16
    assert evaluated(result.folder) == {
        each.name: 24 if each.name == result.winner else lag for each in result.candidates
    }
    choice = as_with_an_oracle(path, result.folder, tmp_path)
    assert (choice.step, choice.ranking) == (lag, tuple(each.name for each in result.candidates))
    assert choice.stable_since == found["stable_since"]
    assert f"step {lag}" in (result.folder / "report.md").read_text()


def test_k_is_at_most_its_bound(write_space, tmp_path):
    never = "stability: {threshold: 1.0, margin: 8.0}"
    path = write_space((PLAIN, f"search: {{lag: auto, min_lag: 4, max_lag: 12, {never}}}"), LISTED)
    result = run(path, tmp_path / "run")
    assert (result.report["lag"], result.report["search"]["reason"]) == (12, "bound")
    again = run(path, tmp_path / "run")
    assert again.report["candidates"] == result.report["candidates"]


RACE = (PLAIN, f"search: {{lag: 16, strategy: race, {SOON}}}")


def test_a_race_stops_who_is_worse_and_says_why(write_space, tmp_path):
    path = write_space(RACE, LISTED)
    result = run(path, tmp_path / "run")
    stopped = {each["name"]: each for each in result.report["candidates"] if "stopped" in each}
    assert stopped
    for name, entry in stopped.items():
        evidence = entry["stopped"]
        step, leader = evidence["step"], evidence["leader"]
        assert entry["status"] == "stopped"
        assert evaluated(result.folder)[name] == step < 16
        difference = losses(result.folder, name, step) - losses(result.folder, leader, step)
        assert evidence["difference"] == pytest.approx(difference)
        assert 0 < evidence["p_value"] < 0.05
        assert name in (result.folder / "report.md").read_text()
    assert not (result.folder / "states").exists()
    choice = as_with_an_oracle(path, result.folder, tmp_path)
    assert choice.ranking == tuple(each.name for each in result.candidates)
    assert {name: each.step for name, each in choice.stopped.items()} == {
        name: entry["stopped"]["step"] for name, entry in stopped.items()
    }


@pytest.mark.parametrize("search", [RACE, (PLAIN, "search: {lag: auto, min_lag: 4, max_lag: 16}")])
def test_interrupted_in_between_it_ends_as_if_it_had_not_been(write_space, tmp_path, search):
    class Interrupt(Watch):
        def __init__(self, at):
            self.left = at

        def progress(self, progress):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    path = write_space(search, LISTED)
    whole = run(path, tmp_path / "whole")
    for at in (12, 7, 20, 9):
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "run", watch=Interrupt(at))
    result = run(path, tmp_path / "run")
    assert evaluated(result.folder) == evaluated(whole.folder)
    assert [each.name for each in result.candidates] == [each.name for each in whole.candidates]
    assert result.report["search"] == whole.report["search"]
    for each in whole.candidates:
        assert losses(result.folder, each.name, 4) == losses(whole.folder, each.name, 4)


@pytest.mark.parametrize(
    ("signal", "evaluation", "key"),
    [
        ("ema", "ema: 0.8", "ema_batches"),
        ("annealed", "annealed: {fraction: 0.5}", "annealed_batches"),
    ],
)
def test_ranked_by_another_signal(write_space, tmp_path, signal, evaluation, key):
    search = (PLAIN, f"search: {{lag: 10, signal: {signal}}}")
    measured = ("evaluation: {batches: 4}", f"evaluation: {{batches: 4, {evaluation}}}")
    result = run(write_space(search, measured), tmp_path / "run")
    values = [losses(result.folder, each.name, 10, key) for each in result.candidates]
    assert values == sorted(values)
    assert values != [losses(result.folder, each.name, 10) for each in result.candidates]
    assert result.report["search"]["signal"] == signal


def test_what_a_decay_costs_is_charged(write_space, tmp_path):
    plain = run(write_space(), tmp_path / "plain")
    decayed = ("evaluation: {batches: 4}", "evaluation: {batches: 4, annealed: {fraction: 0.5}}")
    path = write_space(decayed)
    result = run(path, tmp_path / "run")
    spent = [each.report["cost"]["search_flops"] for each in (plain, result)]
    assert spent[1] == pytest.approx(spent[0] * 1.5)
    assert lagsearch.plan(path).flops(10) == spent[1]
    for each in plain.candidates:
        assert losses(result.folder, each.name, 10) == losses(plain.folder, each.name, 10)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{lag: soon}", r'search.lag "soon": must be a valid integer or must be .auto.'),
        ("{lag: auto, min_lag: 13}", r"search.min_lag 13.*beyond the largest K, 12"),
        ("{lag: auto, max_lag: 25}", r"search.max_lag 25.*beyond completion"),
        ("{lag: 10, max_lag: 12}", r"search.max_lag 12.*no effect unless lag is auto"),
        ("{lag: 10, stability: {margin: 3.0}}", r"search.stability.*no effect"),
        ("{lag: 10, signal: ema}", r'search.signal "ema": .*needs evaluation.ema'),
        ("{lag: 10, signal: annealed}", r'search.signal "annealed": .*needs evaluation.annealed'),
    ],
)
def test_refused(write_space, search, message):
    with pytest.raises(SpaceError, match=message):
        lagsearch.plan(write_space((PLAIN, f"search: {search}")))
