"""Runs of several seeds: each is the run of its own, and the ranking is that of the mean."""

import json
import math
from statistics import fmean

import pytest
import torch
from finished import finished

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import SpaceError
from lagsearch.records.folder import RunFolder
from lagsearch.training import loop

SEEDS = ("search: {lag: 10}", "search: {lag: 10, seeds: [3, 5]}")


def run(path, folder, **options):
    return lagsearch.run(path, out=folder, serial=True, watch=Watch(), **options)


def curve(folder, name):
    return (folder / "curves" / f"{name}.jsonl").read_text().splitlines()


def losses(folder, name):
    return [json.loads(line)["val_loss_batches"] for line in curve(folder, name)]


@pytest.fixture
def one_and_both(write_space, tmp_path):
    """The same space run under seed 3, and under 3 and 5 with an oracle."""
    one = finished(write_space(), tmp_path / "one", oracle=True)
    both = finished(write_space(SEEDS), tmp_path / "both", oracle=True)
    return one, both


def test_the_first_seed_is_the_run_without_others_and_the_second_another(one_and_both):
    one, both = one_and_both
    for name in [each.name for each in one.candidates]:
        assert losses(both.folder, name) == losses(one.folder, name)
        other = losses(both.folder, f"{name}@5")
        assert other != losses(one.folder, name)
        # copies do not depend on the seed, and the validation text is the same
        assert (other[0] == losses(one.folder, name)[0]) == name.endswith("duplicate")


def test_ranked_by_the_mean_over_seeds(one_and_both):
    _, both = one_and_both
    report = both.report
    assert report["seeds"] == [3, 5]
    for entry in report["candidates"]:
        by_seed = entry["val_loss_by_seed"]
        for step, loss in entry["val_loss"].items():
            found = [
                next(
                    json.loads(line)["val_loss"]
                    for line in curve(both.folder, name)
                    if json.loads(line)["step"] == int(step)
                )
                for name in (entry["name"], f"{entry['name']}@5")
            ]
            assert [by_seed[seed][step] for seed in ("3", "5")] == found
            assert loss == pytest.approx(fmean(found), rel=1e-12)
    means = [each["val_loss"]["10"] for each in report["candidates"]]
    assert means == sorted(means)
    assert report["winner"]["seed"] == 3
    winner = report["candidates"][0]
    assert report["winner"]["val_loss"]["24"] == winner["val_loss_by_seed"]["3"]["24"]
    search = sum(
        json.loads(line)["flops"]
        for name in (each["name"] for each in report["candidates"])
        for trial in (name, f"{name}@5")
        for line in curve(both.folder, trial)
        if json.loads(line)["step"] == 10
    )
    assert report["cost"]["search_flops"] == search


@pytest.mark.usefixtures("trained")
def test_seeds_are_added_to_a_run_and_stay(write_space, tmp_path):
    one = finished(write_space(), tmp_path / "run")
    before = {each.name: curve(one.folder, each.name) for each in one.candidates}
    both = run(write_space(SEEDS, name="both.yaml"), tmp_path / "run")
    for name, lines in before.items():
        assert curve(both.folder, name)[: len(lines)] == lines
        assert len(curve(both.folder, f"{name}@5")) > 1
    again = run(write_space(), tmp_path / "run")
    assert again.report["seeds"] == [3, 5]
    assert again.report["candidates"] == both.report["candidates"]
    with pytest.raises(lagsearch.errors.RunFolderError, match=r"search.seeds"):
        run(write_space((SEEDS[0], "search: {lag: 10, seeds: [3, 6]}")), tmp_path / "run")


def test_without_an_oracle_the_winner_alone_goes_on_and_under_the_first_seed(write_space, tmp_path):
    result = finished(write_space(SEEDS), tmp_path / "run")
    lengths = {
        path.stem: json.loads(path.read_text().splitlines()[-1])["step"]
        for path in (result.folder / "curves").glob("*.jsonl")
    }
    # and what growths are compared with, to its end
    expected = dict.fromkeys(lengths, 10) | {result.winner: 24, "continue": 24}
    assert lengths == expected
    assert not (result.folder / "states").exists()
    schedule = run(result.folder / "schedule.yaml", tmp_path / "schedule")
    assert losses(schedule.folder, result.winner) == losses(result.folder, result.winner)


@pytest.mark.slow
def test_killed_and_continued_it_is_the_same(write_space, tmp_path):
    class Interrupt(Watch):
        def __init__(self, at):
            self.left = at

        def progress(self, progress):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    whole = finished(write_space(SEEDS), tmp_path / "whole")
    path = write_space(SEEDS)
    for at in (9, 20, 15):
        with pytest.raises(KeyboardInterrupt):
            lagsearch.run(path, out=tmp_path / "run", serial=True, watch=Interrupt(at))
    result = run(path, tmp_path / "run")
    for file in sorted((whole.folder / "curves").glob("*.jsonl")):
        assert losses(result.folder, file.stem) == losses(whole.folder, file.stem)


@pytest.mark.usefixtures("trained")
def test_a_candidate_that_fails_under_one_seed_has_failed(write_space, tmp_path, monkeypatch):
    path = write_space(SEEDS)
    names = [each.name for each in lagsearch.plan(path).candidates]
    real = loop._Run._update

    def update(self):
        real(self)
        if self.job.name == f"{names[1]}@5" and self.step == 5:
            self.losses.append(torch.tensor(math.nan))
            self.losses.pop(-2) if len(self.losses) > 1 else None

    monkeypatch.setattr(loop._Run, "_update", update)
    result = run(path, tmp_path / "run")
    last = result.report["candidates"][-1]
    assert (last["name"], last["status"]) == (names[1], "failed")
    assert last["failure"] == "step 4: the training loss is nan (seed 5)"
    assert RunFolder(result.folder).curve(names[1]).failure is None


def test_sources_vary_where_asked_for(write_space, tmp_path):
    varied = (SEEDS[0], "search: {lag: 10, seeds: [3, 5], vary_sources: true}")
    both = run(write_space(varied), tmp_path / "both")
    sources = both.report["sources"]
    assert [each["seed"] for each in sources] == [3, 5]
    assert sources[0]["digest"] != sources[1]["digest"]
    name = both.winner
    first = [losses(both.folder, each)[0] for each in (name, f"{name}@5")]
    assert first[0] != first[1]
    alone = run(write_space(("seed: 3", "seed: 5")), tmp_path / "five")
    # the whole run of seed 5: same source, same order, and bytes as tokens
    assert losses(alone.folder, name)[:3] == losses(both.folder, f"{name}@5")[:3]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{lag: 10, seeds: [5, 3]}", r"search.seeds .*must begin with the space's seed, 3"),
        ("{lag: 10, seeds: [3, 4, 4]}", r"search.seeds.*4.*is listed twice"),
        ("{lag: 10, vary_sources: true}", r"vary_sources .*no effect with one seed"),
    ],
)
def test_refused(write_space, search, message):
    with pytest.raises(SpaceError, match=message):
        lagsearch.plan(write_space((SEEDS[0], f"search: {search}")))
