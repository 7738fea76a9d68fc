"""A budget in place of strategy and K, and a prior of recorded runs: planned, run, and told."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from finished import finished

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import LagsearchError
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run
from lagsearch.report.words.verdict import judge
from lagsearch.selection.taught import Fares, taught

SPACES = Path(__file__).parents[1] / "search_spaces"
QUICKSTART = SPACES / "quickstart.yaml"


def cost(plan):
    """Return what search and winner are trained, as a share of training all, in steps."""
    (stage,) = plan.stages
    count, steps = len(stage.candidates), stage.space.training.steps
    return (stage.search_steps + steps - stage.lag) / (count * steps)


@pytest.mark.parametrize("budget", [0.2, 0.3, 0.5, 0.9])
def test_a_plan_costs_what_was_asked_for_and_says_why(budget):
    plan = lagsearch.plan(QUICKSTART, budget=budget)
    assert budget - 0.03 < cost(plan) <= budget or plan.stages[0].space.search.settings
    [line] = [note for note in plan.notes if note.startswith(f"--budget {budget:g}: ")]
    assert f"K {plan.stages[0].lag}" in line and "recorded runs" in line


def test_what_the_space_says_of_the_search_else_is_kept():
    space = deepcopy(lagsearch.load_space(QUICKSTART).plain)
    space["search"] |= {"strategy": "race", "evidence": "forecast", "signal": "loss"}
    plan = lagsearch.plan(space, budget=0.3, overrides=["search.seeds=[0,1]"])
    search = plan.stages[0].space.search
    assert search.seeds == (0, 1) and search.strategy != "race" and search.evidence == "batches"


def test_what_the_budget_decides_is_set_aside_before_it_is_judged(call):
    """The K of the file, 300, would be beyond this final step."""
    given = ["training.steps=120", "sources[0].pretrain.steps=20"]
    plan = lagsearch.plan(QUICKSTART, budget=0.4, overrides=given)
    assert plan.stages[0].lag <= 120 and cost(plan) <= 0.4
    sets = [word for each in given for word in ("--set", each)]
    code, out, errors = call("plan", QUICKSTART, "--budget", "0.4", *sets)
    assert (code, errors) == (0, "") and "--budget 0.4: " in out


def test_of_sampled_candidates_k_alone_follows():
    plan = lagsearch.plan(SPACES / "quickstart_optuna.yaml", budget=0.3)
    search, count = plan.stages[0].space.search, plan.stages[0].n_searched
    assert search.strategy == "optuna"
    steps = plan.stages[0].space.training.steps
    assert search.lag == int((0.3 * count - 1) * steps / (count - 1) + 1e-9)


def test_stages_have_each_their_own():
    plan = lagsearch.plan(SPACES / "adaptive_decoder_laptop.yaml", budget=0.6)
    said = [note for note in plan.notes if "--budget" in note]
    chosen = [each for each in plan.stages if each.n_searched > 1]
    assert len(said) == len(chosen) > 1
    for stage in chosen:
        count, steps = stage.n_searched, stage.space.training.steps
        assert (stage.search_steps + steps - stage.lag) / (count * steps) <= 0.6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "0.3", "--lag", "20"], "--lag 20 does not go with --budget"),
        (
            ["--budget", "0.3", "--set", "search.strategy=race"],
            "--set search.strategy=race does not go with --budget",
        ),
        (
            ["--budget", "0.3", "--set", "search={oracle: true}"],
            "--set search={oracle: true} does not go with --budget",
        ),
        (["--budget", "0.1"], "is less than any search costs: the winner's own training is 14%"),
        (["--budget", "0"], "--budget 0: write a share"),
        (["--budget", "30"], "--budget 30: write a share"),
        (["--budget", "nan"], "--budget nan: write a share"),
    ],
)
def test_what_cannot_be_is_one_line(words, message, call):
    for verb in ("plan", "run"):
        code, _, errors = call(verb, QUICKSTART, *words)
        assert code == 2
        [line] = errors.strip().splitlines()
        assert message in line


def test_nor_can_it_from_python():
    with pytest.raises(LagsearchError, match="--lag 20 does not go with --budget"):
        lagsearch.plan(QUICKSTART, budget=0.3, lag=20)
    stages = SPACES / "adaptive_decoder_laptop.yaml"
    with pytest.raises(LagsearchError, match="lag=9 does not go with --budget"):
        lagsearch.plan(stages, budget=0.6, overrides=["stages[1].lag=9"])


def test_a_stage_that_a_budget_is_too_small_for_is_named():
    with pytest.raises(LagsearchError, match=r"^stage 2: --budget 0.3 is less than any search"):
        lagsearch.plan(SPACES / "adaptive_decoder_laptop.yaml", budget=0.3)


FARES = {"identity": Fares(9, 0.3, 0.2, 3, 0), "random": Fares(8, 0.1, 0.9, 6, 4)}


@pytest.fixture
def prior(monkeypatch):
    def know(growths):
        found = replace(taught(), runs=9, growths=growths)
        for room in ("planning.prior", "selection.taught"):
            monkeypatch.setattr(f"lagsearch.{room}.taught", lambda: found)

    know(FARES)
    return know


def test_a_prior_is_told_and_warns_of_what_leads_early_and_ends_behind(write_space, prior):
    listed = "  - {operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}"
    space = write_space((listed, "  - {operator: identity}\n  - {operator: random}"))
    assert not any("prior" in line for line in lagsearch.plan(space).stages[0].remarks)
    lines = lagsearch.plan(space, overrides=["search.prior=bench"]).stages[0].remarks
    assert any("prior of 9 recorded runs" in line for line in lines)
    assert any(
        "told apart at K, the one whose kind ended best there wins; 2 of 2" in line
        for line in lines
    )
    finalists = ["search.prior=bench", "search.strategy=finalists"]
    [line] = [
        line
        for line in lagsearch.plan(space, overrides=finalists).stages[0].remarks
        if line.startswith("prior of 9")
    ]
    assert "finalists are chosen by how their kinds ended there" in line
    [warning] = [line for line in lines if line.startswith("Warning (search.prior)")]
    assert "random led early in 6 of 8 recorded runs" in warning
    assert "ended in the worse half in 4 of those: random" in warning


def test_a_tie_goes_to_the_prior_and_the_run_remembers_it(write_space, tmp_path, prior):
    two = ("evaluation: {batches: 4}", "evaluation: {batches: 2}")  # all are tied
    plain = finished(write_space(two), tmp_path / "plain")
    led = next(each for each in plain.candidates if each.name == plain.winner)
    better, worse = {"duplicate": ("random", "duplicate"), "random": ("duplicate", "random")}[
        led.settings["init"]
    ]
    prior({f"lag {better}": Fares(9, 0.5, 0.1, 0, 0), f"lag {worse}": Fares(9, 0.5, 0.9, 0, 0)})
    space = write_space(two, ("search: {lag: 10}", "search: {lag: 10, prior: bench}"))
    found = lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Watch())
    assert found.report["search"]["preferred_to"] == plain.winner
    assert better in found.winner and (found.checkpoint / "model.safetensors").is_file()
    assert plain.winner in found.report["doubt"]["indistinguishable_from_winner"]
    assert found.winner not in found.report["doubt"]["indistinguishable_from_winner"]
    [line] = [each for each in judge(found.report).lines if each.startswith("Winner at step 10")]
    assert f"{plain.winner} had the lowest loss there" in line and "search.prior" in line
    [entry] = [
        each
        for each in json.loads((found.folder / "plans.json").read_text())["candidates"]
        if each["name"] == found.winner
    ]
    assert entry["prior"] == pytest.approx((9 * 0.1 + 2 * 0.5) / 11)
    prior({})  # another version has learned something else: the run stays what it was
    assert read_run(RunFolder(found.folder)).winner == found.winner
    [ended] = [each for each in found.candidates if each.name == found.winner]
    assert 24 in ended.val_loss  # it was trained on, not the one that led
