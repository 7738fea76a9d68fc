"""Candidates that are sampled: which, how often, and that a run can be interrupted anywhere."""

import json
import sqlite3
from dataclasses import replace
from itertools import product
from statistics import fmean

import optuna
import pytest
from finished import finished

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import SpaceError
from lagsearch.models.configs import ModelShape
from lagsearch.operators import sampled_settings
from lagsearch.planning.sampling_domain import make_domain
from lagsearch.planning.stage import make_plan
from lagsearch.planning.vocabulary import vocabulary_without_data
from lagsearch.records.folder import RunFolder
from lagsearch.running.optuna_study import Study
from lagsearch.running.sampling import Sampling, study_name

PLAIN = "search: {lag: 10}"
LISTED = "  - {operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}\n"
LAYERS = "  - {operator: layers, layers: any}\n"
MANY = (
    "  - {operator: lag, index: [0, 1, 2], block_size: 1, init: [duplicate, random]}\n"
    "  - {operator: layers, layers: any}\n"
    "  - {operator: identity, placement: [stacked, interleaved]}\n"
)
SMALL = "num_hidden_layers: 3, hidden_size: 16"


def asked(candidates, **settings):
    words = ", ".join(f"{key}: {value}" for key, value in settings.items())
    search = f"search: {{lag: 10, strategy: optuna, candidates: {candidates}"
    return (PLAIN, f"{search}{', ' if words else ''}{words}}}")


def run(path, folder, **options):
    watch = options.pop("watch", Watch())
    return lagsearch.run(path, out=folder, serial=True, watch=watch, **options)


def plan_of(path):
    file = lagsearch.load_space(path)
    return make_plan(file, vocabulary_without_data(file)[0])


def study_of(folder):
    name = study_name(RunFolder(folder).space())
    return optuna.load_study(storage=f"sqlite:///{folder}/optuna.db", study_name=name)


def loss_at_lag(folder, name, seeds=("",)):
    found = []
    for seed in seeds:
        lines = (folder / "curves" / f"{name}{seed}.jsonl").read_text().splitlines()
        (entry,) = [each for each in map(json.loads, lines) if each.get("step") == 10]
        found.append(fmean(entry["val_loss_batches"]))
    return fmean(found)


def trials_of(folder):
    return json.loads((folder / "plans.json").read_text())["trials"]


def summary(folder):
    """Return all that must not depend on interruptions."""
    plans = json.loads((folder / "plans.json").read_text())
    study = [
        (each.params, each.state, each.value, each.user_attrs) for each in study_of(folder).trials
    ]
    names = [each["name"] for each in plans["candidates"]]
    return plans, study, {name: loss_at_lag(folder, name) for name in names}


@pytest.mark.usefixtures("trained")
def test_as_many_as_asked_for_and_none_twice(write_space, tmp_path):
    result = run(write_space((LISTED, MANY), asked(6, at_a_time=2)), tmp_path / "run")
    plans = RunFolder(result.folder).plans()
    growths = {json.dumps(each["plan"], sort_keys=True) for each in plans["candidates"]}
    assert len(plans["candidates"]) == len(growths) == len(result.candidates) == 6
    study = study_of(result.folder)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    drawn_names = set()
    for trial, record in zip(study.trials, plans["trials"], strict=True):
        assert (trial.number, trial.params) == (record["number"], record["parameters"])
        assert trial.user_attrs["candidate"] == record["candidate"]
        assert trial.value == pytest.approx(loss_at_lag(result.folder, record["candidate"]), 1e-12)
        entry = trial.params["entry"]
        assert all(name == "entry" or name.startswith(f"{entry}.") for name in trial.params)
        drawn_names.add(record["candidate"])
    assert drawn_names == {each["name"] for each in plans["candidates"]}
    assert [each["round"] for each in plans["trials"]] == sorted(
        each["round"] for each in plans["trials"]
    )
    losses = [loss_at_lag(result.folder, each.name) for each in result.candidates]
    assert losses == sorted(losses)
    assert result.winner == min(study.trials, key=lambda each: each.value).user_attrs["candidate"]
    assert (result.folder / "winner").is_dir()
    assert (result.folder / "report.md").is_file()


class Interrupt(Watch):
    def __init__(self, at):
        self.left = at

    def progress(self, progress):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


FOUR = (LISTED, MANY), asked(4, at_a_time=2)


def whole(path, folder):
    """Return what the run that was not interrupted came to."""
    return summary(finished(path, folder).folder)


def test_interrupted_it_ends_as_if_it_had_not_been(write_space, tmp_path):
    path = write_space(*FOUR)
    for at in (18, 6, 5):
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "run", watch=Interrupt(at))
    result = run(path, tmp_path / "run")
    assert summary(result.folder) == whole(path, tmp_path / "whole")
    assert len(result.candidates) == 4


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("moment", "nth"),
    [
        ("tell", 1),
        ("record_plans", 1),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [("ask", 1), ("name", 2), ("tell", 3)]
        ),
    ],
)
def test_killed_between_any_two_writes(write_space, tmp_path, monkeypatch, moment, nth):
    path = write_space(*FOUR)
    owner = RunFolder if moment == "record_plans" else Study
    real, calls = getattr(owner, moment), []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) > nth:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(owner, moment, dies)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "run")
    monkeypatch.setattr(owner, moment, real)
    run(path, tmp_path / "run")
    assert summary(tmp_path / "run") == whole(path, tmp_path / "whole")


@pytest.mark.ray
@pytest.mark.slow
def test_in_parallel_the_same_are_found(write_space, tmp_path):
    path = write_space(*FOUR)
    result = lagsearch.run(path, out=tmp_path / "run", watch=Watch())
    assert summary(result.folder) == whole(path, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_a_study_that_says_otherwise_is_made_anew(write_space, tmp_path):
    path = write_space(asked(3))
    result = finished(path, tmp_path / "run")
    before = summary(result.folder)
    with sqlite3.connect(result.folder / "optuna.db") as connection:
        connection.execute("update trial_values set value = value + 1")
    run(path, tmp_path / "run")
    assert summary(result.folder) == before
    (result.folder / "optuna.db").write_bytes(b"not a database" * 100)
    run(path, tmp_path / "run")
    assert summary(result.folder) == before


@pytest.mark.usefixtures("trained")
def test_a_small_space_is_exhausted(write_space, tmp_path):
    lines = []

    class Listen(Watch):
        def say(self, line):
            lines.append(line)

    path = write_space(asked(9, at_a_time=3))
    result = run(path, tmp_path / "run", watch=Listen())
    listed = finished(write_space(name="listed.yaml"), tmp_path / "listed")
    assert {each.name: each.val_loss for each in result.candidates} == {
        each.name: each.val_loss for each in listed.candidates
    }
    assert result.winner == listed.winner
    assert "4 candidates sampled: there is nothing else in the space" in lines
    before = summary(result.folder)
    run(path, tmp_path / "run")
    assert summary(result.folder) == before


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_with_an_oracle_and_with_seeds_that_come_later(write_space, tmp_path):
    path = write_space(asked(3, at_a_time=2))
    before = run(path, tmp_path / "run")
    result = run(path, tmp_path / "run", oracle=True, seeds=[3, 4])
    assert {each.name for each in result.candidates} == {each.name for each in before.candidates}
    assert all(24 in each.val_loss for each in result.candidates)
    assert trials_of(result.folder) == trials_of(before.folder)
    for trial in study_of(result.folder).trials:
        expected = loss_at_lag(result.folder, trial.user_attrs["candidate"], ("", "@4"))
        assert trial.value == pytest.approx(expected, 1e-12)


@pytest.mark.usefixtures("trained")
def test_the_schedule_repeats_the_winner_without_sampling(write_space, tmp_path):
    whole = run(write_space((LISTED, LAYERS), asked(2, at_a_time=2)), tmp_path / "run")
    assert whole.winner.startswith("layers-")
    replay = run(whole.folder / "schedule.yaml", tmp_path / "replay")
    assert [each.name for each in replay.candidates] == [whole.winner]
    assert replay.report["winner"]["val_loss"] == whole.report["winner"]["val_loss"]


@pytest.mark.usefixtures("trained")
def test_baselines_are_not_sampled_and_always_there(write_space, tmp_path):
    path = write_space((LISTED, LISTED + "  - {operator: scratch}\n"), asked(2))
    result = run(path, tmp_path / "run")
    assert len(result.candidates) == 3
    assert "scratch" in {each.name for each in result.candidates}
    assert "scratch" not in {each["candidate"] for each in trials_of(result.folder)}


@pytest.mark.usefixtures("trained")
def test_a_failed_candidate_is_told_as_one(write_space, tmp_path, monkeypatch):
    from lagsearch.running.workers import serial

    real = serial.advance

    def train(job, until):
        if "duplicate" in job.name:
            raise ValueError("no")
        return real(job, until)

    monkeypatch.setattr(serial, "advance", train)
    result = run(write_space(asked(4, at_a_time=2)), tmp_path / "run")
    for trial in study_of(result.folder).trials:
        is_failed = "duplicate" in trial.user_attrs["candidate"]
        assert trial.state == optuna.trial.TrialState[("COMPLETE", "FAIL")[is_failed]]
    assert sorted(each.status for each in result.candidates) == ["failed", "failed", "ok", "ok"]


def sampled(plan, loss, seed=0, wanted=30, sampler="tpe"):
    """Sample without training; return each growth's loss in the order of sampling."""
    search = plan.space.search.model_copy(
        update={"candidates": wanted, "sampler": sampler, "strategy": "optuna"}
    )
    space = plan.space.model_copy(update={"search": search, "seed": seed})
    sampling = Sampling(replace(plan, space=space))
    sampling.follow(Study("test", sampler, seed), {})
    while sampling.ask():
        layers = {each.name: each.candidate.settings["layers"] for each in sampling.plan.candidates}
        sampling.tell({name: loss(layers[name]) for name in layers if name not in sampling.losses})
    return sampling


def test_tpe_finds_better_ones_than_chance(write_space):
    deep = ("target: {num_hidden_layers: 4}", "target: {num_hidden_layers: 6}")
    plan = plan_of(write_space((LISTED, LAYERS), deep, asked(40)))
    assert plan.domain.size == 3**6
    wanted = (0, 1, 1, 2, 0, 2)

    def loss(layers):
        return sum(one != other for one, other in zip(layers, wanted, strict=True))

    best = {"tpe": [], "random": []}
    for sampler, found in best.items():
        for seed in range(8):
            sampling = sampled(plan, loss, seed, 60, sampler)
            assert len(set(sampling.sampled)) == 60
            found.append(min(sampling.losses.values()))
    assert sum(best["tpe"]) < sum(best["random"])
    wins = [(t < r) - (t > r) for t, r in zip(best["tpe"], best["random"], strict=True)]
    assert sum(wins) > 0


def test_what_was_tried_is_not_tried_again(write_space):
    plan = plan_of(write_space((LISTED, LAYERS), asked(40)))
    sampling = sampled(plan, lambda layers: sum(layers), 0, 200, "random")
    assert sampling.ended == "there is nothing else in the space"
    assert len(sampling.sampled) == len(set(sampling.sampled)) == 3**4
    told = [each.candidate for each in sampling.draws]
    assert len(told) > 3**4, "the sampler draws some twice"
    assert set(told) == set(sampling.sampled)


def test_the_same_growth_by_another_operator_is_known(write_space, tmp_path):
    both = LISTED + "  - {operator: layers, layers: any}\n"
    plan = plan_of(write_space((LISTED, both), asked(200)))
    sampling = Sampling(plan)
    sampling.follow(Study("test", "random", 0), {})
    while sampling.ask():
        names = [each.name for each in sampling.plan.candidates]
        sampling.tell({name: float(len(name)) for name in names if name not in sampling.losses})
    growths = {each.growth for each in sampling.plan.candidates}
    assert len(growths) == len(sampling.sampled)
    by_number = {each.number: each for each in sampling.draws}
    twins = [each for each in by_number.values() if each.parameters["entry"] != each.candidate[:3]]
    assert twins


SHAPE = ModelShape(2, {}, "llama")


def test_orders_are_drawn_by_places():
    sources = dict.fromkeys("abcd", SHAPE)
    (order,) = sampled_settings(
        "multi-stack", {"order": "any"}, sources, ModelShape(8, {}, "llama")
    ).values()
    assert order.size == 24
    found = [order.value(each) for each in product(*order.steps.values())]
    assert len(set(found)) == 24
    assert all(sorted(each.split()) == list("abcd") for each in found)
    assert order.value([0, 1, 3]) == "b c a d"


def test_conditional_parameters(write_space):
    plan = plan_of(write_space((LISTED, MANY + MANY[: MANY.index("\n") + 1]), asked(3)))
    labels = [branch.label for branch in plan.domain.branches]
    assert labels == ["lag", "layers", "identity", "lag#2"]
    assert plan.domain.size == 6 + 3**4 + 2 + 6
    seen = []

    def last(name, options):
        seen.append(name)
        return options[-1]

    entry = plan.domain.draw(last)
    assert seen == ["entry", "lag#2.index", "lag#2.init"]
    assert entry.settings == {"index": 2, "block_size": 1, "init": "random"}
    assert entry.at == ("candidates", 3)
    entry = plan.domain.draw(lambda name, options: "layers" if name == "entry" else options[-1])
    assert entry.settings == {"layers": (2, 2, 2, 2)}


def test_words_and_lists_of_lists_have_readable_labels(write_space):
    listed = "  - {operator: layers, layers: [[0, 0, 1, 2], [0, 1, 2, 2]]}\n"
    space = lagsearch.load_space(write_space((LISTED, listed), asked(2))).space
    shape = ModelShape(3, {}, "llama")
    (branch,) = make_domain(space, {"small": shape}, ModelShape(4, {}, "llama")).branches
    assert branch.parameters == {"layers.layers": ("[0, 0, 1, 2]", "[0, 1, 2, 2]")}
    assert branch.entry({"layers.layers": "[0, 1, 2, 2]"}).settings == {"layers": [0, 1, 2, 2]}


def test_the_plan_shows_the_domain(write_space, capsys):
    from lagsearch.cli.commands import app

    path = write_space((LISTED, MANY), asked(5))
    plan = lagsearch.plan(path)
    costs = [each.cost.flops_per_step for each in plan.candidates]
    assert plan.stages[0].flops(10) == sum(costs) * 10 * 5 // len(costs)
    app(["plan", str(path)], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "89 combinations; 5 different growths are sampled by tpe, 4 at a time" in shown
    for name, options in (("entry", "lag, layers, identity"), ("layers.layers.3", "0, 1, 2")):
        assert any(
            line.split()[0] == name and options in line for line in shown.splitlines() if line
        )
    assert "5 x 10 steps" in shown


@pytest.mark.parametrize(
    ("search", "candidates", "message"),
    [
        ("{lag: 10, strategy: optuna}", LISTED, r"search.candidates.*is required"),
        ("{lag: 10, candidates: 4}", LISTED, r"search.candidates 4: has no effect unless"),
        ("{lag: 10, sampler: random}", LISTED, r'search.sampler "random": has no effect unless'),
        ("{lag: 10, at_a_time: 2}", LISTED, r"search.at_a_time 2: has no effect unless"),
        (
            "{lag: auto, min_lag: 4, strategy: optuna, candidates: 4}",
            LISTED,
            r'search.lag "auto".*a number',
        ),
        ("{lag: 10, strategy: optuna, candidates: 0}", LISTED, r"search.candidates 0: must be"),
        (
            "{lag: 10, strategy: optuna, candidates: 4, sampler: best}",
            LISTED,
            r"search.sampler .best.: must be 'tpe' or 'random'",
        ),
        ("{lag: 10}", LAYERS, r"layers \"any\": any stands for 81 candidates.*strategy: optuna"),
        (
            "{lag: 10, strategy: optuna, candidates: 4}",
            LISTED.replace("[0, 2]", "[0, 5]"),
            r"candidates\[0\].index.*index 5 is outside of 0..2",
        ),
        (
            "{lag: 10, strategy: optuna, candidates: 4}",
            LISTED.replace("[0, 2]", "[0, 0]"),
            r"candidates\[0\].index.*a value twice",
        ),
        (
            "{lag: 10, strategy: optuna, candidates: 4}",
            "  - {operator: scratch}\n",
            r"candidates.*nothing to sample but baselines",
        ),
        (
            "{lag: 10, strategy: optuna, candidates: 4}",
            LISTED.replace("lag,", "lagg,"),
            r"operator 'lagg' is unknown; did you mean 'lag'",
        ),
    ],
)
def test_refused_with_one_line(write_space, search, candidates, message):
    path = write_space((PLAIN, f"search: {search}"), (LISTED, candidates))
    with pytest.raises(SpaceError, match=message) as refused:
        lagsearch.plan(path)
    assert "\n" not in str(refused.value)
