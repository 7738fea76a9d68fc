"""What a report says first, on made-up numbers whose meaning is plain."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from lagsearch.report.words.advice import advise_next
from lagsearch.report.words.verdict import judge

PLAIN = {
    "strategy": "lag",
    "signal": "loss",
    "asked_lag": 10,
    "reason": "lag",
    "stable_since": None,
}


CLEAR = {
    "since": 5,
    "apart": 0.2,
    "to_come": 0.1,
    "leader": "c0",
    "forecast": "c0",
    "is_apart": True,
    "is_clear": True,
}
AT_100 = {"lag": 100, "steps": 800}
MOVING = {**CLEAR, "to_come": 0.3, "is_apart": False, "is_clear": False}


def report(
    early,
    final,
    *,
    oracle=True,
    tied=(),
    outlook=CLEAR,
    baseline=None,
    low=0.1,
    savings=None,
    phase=None,
    search=None,
    by_chance=0.01,
    lag=10,
    steps=50,
):
    names = [f"c{number}" for number in np.argsort(early, kind="stable")]
    candidates = [
        {
            "name": name,
            "operator": "lag",
            "status": "ok",
            "is_baseline": name == baseline,
            "val_loss": {
                "0": 2.0,
                str(lag): early[int(name[1:])],
                str(steps): final[int(name[1:])],
            },
        }
        for name in names
    ]
    early, final = np.array(early), np.array(final)
    ranks = np.corrcoef(early.argsort().argsort(), final.argsort().argsort())[0, 1]
    span = np.ptp(final)
    lost = (final[early.argmin()] - final.min()) / span
    scores = {
        "scored": names,
        "candidate": names[0],
        "spearman": {
            "0": {"value": None},
            str(lag): {"value": float(ranks), "interval": [low, 1.0]},
        },
        "regret": {str(lag): {"value": float(lost * span)}},
        "p_value": by_chance,
        "indistinguishable_from_best": [],
    }
    return {
        "seeds": [0],
        "batches": 6,
        "curves": None,
        "lag": lag,
        "steps": steps,
        "candidates": candidates,
        "winner": {"name": names[0], "val_loss": {str(lag): early.min(), str(steps): 1.0}},
        "savings": savings,
        "phase_transition": phase,
        "search": {**PLAIN, **(search or {})},
        "oracle": scores if oracle else None,
        "doubt": {
            "indistinguishable_from_winner": None if tied is None else list(tied),
            "outlook": outlook,
        },
    }


@pytest.mark.parametrize(
    ("final", "trust"),
    [
        ([1.0, 1.1, 1.2, 1.3, 1.4], "useful"),
        ([1.4, 1.3, 1.2, 1.1, 1.0], "misleading"),
        ([1.1, 1.0, 1.2, 1.3, 1.4], "partly"),
        # one that is far worse makes the choice no better
        ([1.1, 1.0, 1.2, 1.3, 9.9], "partly"),
        ([1.04, 1.0, 1.2, 1.3, 1.4], "useful"),
        ([1.4, 1.0, 1.1, 1.2, 1.3], "misleading"),
    ],
)
def test_an_oracle_decides(final, trust):
    verdict = judge(report([1.5, 1.6, 1.7, 1.8, 1.9], final))
    assert verdict.trust == trust
    assert ("NOT" in verdict.lines[-1]) == (trust == "misleading")


def test_a_ranking_whose_interval_holds_zero_is_not_called_useful():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    assert judge(report(losses, losses, low=0.05)).trust == "useful"
    assert judge(report(losses, losses, low=-0.05)).trust == "partly"


def test_what_was_measured_once_is_tested_by_permutation():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    for by_chance, trust in ((0.004, "useful"), (0.2, "partly")):
        made = report(losses, losses, by_chance=by_chance)
        made["oracle"]["spearman"]["10"]["interval"] = None
        made["oracle"]["indistinguishable_from_best"] = None
        found = judge(made)
        assert found.trust == trust
        assert found.lines[-1].endswith(
            ". Each loss was measured once, so there are no intervals; randomly permuted final "
            f"losses correlate as much with a probability of {by_chance} (permutation test)."
        )


def test_regret_is_told_in_nats_and_relative_to_both_ranges():
    line = judge(report([1.5, 1.6, 1.7, 1.8, 1.9], [1.1, 1.0, 1.2, 1.3, 9.9])).lines[-1]
    assert (
        "The winner has a regret of 0.1000 nats: a relative regret of 1% of the range of final "
        "losses (8.9000), or of 50% of the range of their better half (0.2000). A random choice "
        "has 21% and 950% on average" in line
    )


@pytest.mark.parametrize(("before", "is_better"), [(0.9, True), (0.7, False), (None, False)])
def test_an_initial_loss_that_ranks_better_is_said_to(before, is_better):
    made = report([1.5, 1.6, 1.7, 1.8, 1.9], [1.1, 1.0, 1.2, 1.3, 1.5])
    made["oracle"]["spearman"]["0"]["value"] = before
    made["oracle"]["spearman"]["10"]["value"] = 0.8
    said = "The loss at step 0 ranks them better than the loss at step 10." in judge(made).lines[-1]
    assert said == is_better


def test_few_candidates_are_not_judged():
    losses = [1.5, 1.6, 1.7, 1.8]
    verdict = judge(report(losses, losses))
    assert verdict.trust == "unknown"
    assert verdict.lines[-1].startswith(
        "Too few candidates to judge the ranking: over the 4 candidates trained to step 50"
    )


@pytest.mark.parametrize("count", [1, 2, 4])
def test_nor_are_they_without_an_oracle(count):
    losses = [1.5, 1.6, 1.7, 1.8][:count]
    verdict = judge(report(losses, [*losses], oracle=False, outlook=None))
    assert verdict.trust == "unknown"
    begun = {1: "there was one candidate, so nothing was chosen.", 2: "2 say little of"}
    line = verdict.lines[-1]
    assert line.startswith(
        f"Too few candidates to judge the ranking: {begun.get(count, '4 say little of')}"
    )
    assert "NOT" not in line


def test_an_early_k_is_said_to_be_early_where_nothing_shows_better():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    told = "K = 10 is early: on recorded runs, rankings before step 50 told little, and none of "
    told += "them looked settled."
    early = judge(report(losses, losses, oracle=False))
    assert told in early.lines and early.trust == "unsettled"
    assert told not in judge(report(losses, losses)).lines
    later = report(losses, losses, oracle=False)
    for each in later["candidates"]:
        each["val_loss"]["50"] = each["val_loss"]["10"]
    assert not any("early" in each for each in judge({**later, "lag": 50}).lines)


def test_means_of_seeds_and_the_loss_of_one_are_told_apart():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    made = {**report(losses, losses, oracle=False), "seeds": [3, 1]}
    best = made["candidates"][0]
    line = judge(made).lines[0]
    mean = "validation loss 1.5000 (mean of 2 seeds), and 1.5000 at the final step (50)"
    assert line == f"Winner at step 10: c0, {mean}."
    best["val_loss_by_seed"] = {"3": {"10": 1.4, "50": 1.5}, "1": {"10": 1.6}}
    line = judge(made).lines[0]
    assert line == f"Winner at step 10: c0, {mean} for seed 3."


@pytest.mark.parametrize("found", [None, {"value": 0.0123, "high": 0.0456}])
def test_the_expected_regret_is_told_where_it_is_known(found):
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    made = report(losses, losses, oracle=False)
    made["doubt"]["expected_regret"] = found
    told = "Expected regret of the winner: 0.0123 nats, at most 0.0456 with 95 % probability"
    assert (told in judge(made).lines[-1]) == bool(found)


def test_what_a_later_choice_would_be_expected_to_lose_is_told():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    made = report(losses, losses, oracle=False)
    later = {"step": 1360, "share": 0.0972, "value": 0.0078}
    made["doubt"]["expected_regret"] = {"value": 0.0123, "high": 0.0456, "later": later}
    told = (
        "if curves go on as they did since K / 4; 0.0078 if the choice waited until step 1,360, "
        "for a further 10% of the compute to train every candidate. Only"
    )
    assert told in judge(made).lines[-1]
    made["doubt"]["expected_regret"]["later"]["step"] = made["lag"]
    assert "waited" not in judge(made).lines[-1]


@pytest.mark.parametrize("kind", ["pretrained", "stage"])
def test_that_growing_was_not_compared_is_said(kind):
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    growing = {"sources": [], "baselines": [], "comparisons": []}
    made = {**report(losses, losses), "growing": growing, "sources": [{"kind": kind}]}
    told = any("growing pays off was not measured" in each for each in judge(made).lines)
    assert told == (kind != "stage")


def test_without_an_oracle_a_moving_or_tied_ranking_is_not_settled():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    assert judge(report(losses, losses, oracle=False, **AT_100)).trust == "settled"
    tied = judge(report(losses, losses, oracle=False, **AT_100, tied=["c1"]))
    assert tied.trust == "open"
    assert tied.lines[-1].startswith(
        "The first places are undecided: 1 of the 4 other candidates cannot be told apart from the "
        "winner at step 100 (paired t-test over the validation batches, Holm-corrected, 5 %): c1; "
    )
    moving = judge(report(losses, losses, oracle=False, **AT_100, outlook=MOVING))
    assert moving.trust == "unsettled"
    assert (
        "losses differ by 0.2000 nats at step 100 (standard deviation) and should still move "
        "against one another by 0.3000 up to step 800 (their movement from step 5 to 100, "
        "extrapolated in log(step)); to look settled, they would have to differ by 0.6000, "
        "2 times that movement; " in moving.lines[-1]
    )
    assert "to look settled" not in judge(report(losses, losses, oracle=False, **AT_100)).lines[-1]


def test_what_was_measured_once_is_never_called_settled():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    once = judge(report(losses, losses, oracle=False, **AT_100, tied=None))
    assert once.trust == "open"
    assert "each loss was measured once" in once.lines[-1]


def test_who_is_forecast_to_lead_is_named():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    for changes, said in (
        ({}, "; c0 is forecast to lead then too. Only"),
        ({"forecast": "c2"}, "; c2 is forecast to lead then, not c0. Only"),
        (
            {"forecast": None},
            "; too few evaluations since step 25 to forecast which will lead then. Only",
        ),
    ):
        found = {**CLEAR, **changes, "is_clear": not changes}
        verdict = judge(report(losses, losses, oracle=False, **AT_100, outlook=found))
        assert said in verdict.lines[-1]
        assert verdict.trust == ("unsettled" if changes else "settled")
    none = judge(report(losses, losses, oracle=False, **AT_100, outlook=None))
    assert none.trust == "unsettled"
    assert "; no evaluation up to step 50: too little" in none.lines[-1]


def test_no_line_promises_what_only_an_oracle_knows():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    line = judge(report(losses, losses, oracle=False)).lines[-1]
    assert "Only --oracle shows how it ends" in line


def test_growth_that_does_not_pay_is_said():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    lines = judge(report(losses, losses, baseline="c0")).lines
    assert "No grown candidate is better than c0 at step 10: there growing is behind." in lines


def test_what_the_winner_saves_is_said():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    flops = {"growth_speed_up": 0.546, "with_sources_speed_up": -0.25}
    entry = {"val_loss": 1.6, "is_bound": False, "flops": {**flops, "with_search_speed_up": None}}
    savings = {"baseline": "scratch", "steps": 50, "growths": {"c0": entry}}
    lines = judge(report(losses, losses, savings=savings)).lines
    [line] = [each for each in lines if "Speed-up" in each]
    assert "over scratch in training FLOPs to equal loss (1.6000): " in line
    assert line.endswith(": +55% for its own training, -25% with that of its source.")
    bound = {"baseline": "scratch", "val_loss": 3.1, "growths": {"c0": {"is_bound": True}}}
    lines = judge(report(losses, losses, savings=bound)).lines
    assert (
        "The winner's speed-up over scratch is not defined: scratch ended at 3.1000, a higher loss "
        "than the winner began with."
    ) in lines
    savings = {**savings, "growths": {}}
    assert not any(
        "Speed-up" in each for each in judge(report(losses, losses, savings=savings)).lines
    )


def test_since_when_the_ranking_is_stable():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    rule = {"until": 50, "threshold": 0.8, "margin": 2.0, "left": 0.6}
    [line] = [
        each
        for each in judge(report(losses, losses, phase={"step": 20, **rule})).lines
        if "stable" in each
    ]
    assert line == (
        "The ranking has been stable since step 20 (every two rankings correlate by at least 0.8 "
        "from there to step 50)."
    )
    none = {"step": None, **rule}
    never = (
        "No phase transition by step 50 (not every two rankings correlate by at least 0.8, over "
        "steps that grow by a factor of 2)"
    )
    apart = "; the next line does not depend on that."
    bad = [1.4, 1.3, 1.2, 1.1, 1.0]
    for made, said in (
        (report(losses, losses, phase=none), never + apart),
        (report(losses, losses, oracle=False, **AT_100, phase=none), never + apart),
        (report(losses, losses, oracle=False, **AT_100, phase=none, outlook=MOVING), f"{never}."),
        (report(losses, bad, phase=none), f"{never}."),
        (report(losses, bad, phase={"step": 20, **rule}), line.removesuffix(".") + apart),
    ):
        assert judge(made).lines[-2] == said
    resembling = judge(report(losses, losses, phase={**none, "agree_since": 5})).lines[-2]
    assert resembling == (
        "The ranking has been stable since step 5 (every two rankings correlate by at least 0.8 "
        "from there to step 50), but some of these correlate by 0.6 or more with the initial one, "
        f"so this is no phase transition{apart}"
    )
    assert not any("stable" in each for each in judge(report(losses, losses)).lines)


@pytest.mark.parametrize(
    ("search", "line"),
    [
        (
            {"asked_lag": "auto", "reason": "stable", "stable_since": 5},
            "K = 10: the ranking has been stable since step 5.",
        ),
        (
            {"asked_lag": "auto", "reason": "bound"},
            "K = 10, the largest allowed: no phase transition showed by then.",
        ),
        (
            {"signal": "ema"},
            "Candidates are ranked at step 10 by the loss of the moving average of their weights "
            "(search.signal: ema), not by their loss there.",
        ),
    ],
)
def test_where_the_search_chose_and_by_what_comes_right_after_the_winner(search, line):
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    rule = {
        "step": None,
        "agree_since": None,
        "until": 10,
        "threshold": 0.8,
        "margin": 2.0,
        "left": 0.6,
    }
    found = judge(report(losses, losses, oracle=False, search=search, phase=rule)).lines
    assert found[1] == line
    told = [each for each in found if "phase transition" in each or "stable since" in each]
    assert len(told) == 1
    scored = judge(report(losses, losses, search=search, phase={**rule, "until": 50})).lines
    [told] = [each for each in scored if "phase transition" in each or "stable since" in each]
    never = "o phase transition by step 50 (not every two rankings correlate by at least 0.8, over "
    assert never in told
    plain = judge(report(losses, losses, oracle=False)).lines
    assert len(plain) == 3


def test_a_race_says_how_many_it_stopped():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    race = {"strategy": "race", "evidence": "batches", "reason": "lag", "stable_since": 2}
    made = report(losses, losses, oracle=False, search=race)
    assert judge(made).lines[1] == "Race: no candidate was stopped by step 10."
    for place, each in enumerate(made["candidates"][2:]):
        each |= {"status": "stopped", "stopped": {"step": 5 + place % 2}}
    lines = judge(made).lines
    assert lines[1].startswith("Race: 3 of 5 candidates were stopped by step 10, significantly")
    assert "the other candidate that was not stopped is significantly worse than the" in lines[-1]
    made["search"]["evidence"] = "forecast"
    assert (
        "3 of 5 candidates were stopped by step 10, behind the leader and forecast to end there"
        in (judge(made).lines[1])
    )
    for each in made["candidates"][1:]:
        each |= {"status": "stopped", "stopped": {"step": 5}}
    at_once = "Race: 4 of 5 candidates were stopped at step 5, behind"
    assert judge(made).lines[1].startswith(at_once)
    made["search"]["reason"] = "alone"
    lines = judge(made).lines
    assert lines[2] == "K = 10: no other candidate was left."


def test_sampled_candidates_are_said_to_be():
    sampled = {"strategy": "optuna", "reason": "lag", "stable_since": None}
    lines = judge(report([1.5, 1.6], [1.5, 1.6], oracle=False, search=sampled)).lines
    assert lines[1] == "Candidates were sampled by Optuna: others were not tried."


def test_where_k_was_found_a_later_one_is_asked_for_by_its_bounds():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    search = {"asked_lag": "auto", "reason": "bound"}
    made = report(losses, losses, oracle=False, outlook=MOVING, search=search, **AT_100)
    command = "lagsearch run x/space.yaml --set search.min_lag=200 --set search.max_lag=200"
    assert advise_next(made, Path("x")).command == f"{command} --out x-lag200"


THERE = "runs/it's mine"


def advice(**changes):
    options = {"early": [1.5, 1.6, 1.7, 1.8, 1.9], "final": [1.0, 1.1, 1.2, 1.3, 1.4]}
    made = report(**{**options, **changes})
    return advise_next(made, Path(THERE))


@pytest.mark.parametrize("changes", [{}, {"outlook": MOVING}, {"tied": ["c1"]}])
def test_where_k_is_called_early_a_later_one_is_advised_and_none_that_is_early(changes):
    losses = [1.5, 1.6, 1.7, 1.8, 1.9]
    for lag, steps, options in (
        (10, 200, ["--lag", "50", "--out", f"{THERE}-lag50"]),
        (30, 200, ["--lag", "60", "--out", f"{THERE}-lag60"]),
        (10, 50, ["--oracle", "--out", THERE]),  # no step between
    ):
        made = report(losses, losses, oracle=False, lag=lag, steps=steps, **changes)
        assert any("is early" in line for line in judge(made).lines)
        said = advise_next(made, Path(THERE))
        assert shlex.split(said.command)[3:] == options
        assert "can be used" not in said.line


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({**AT_100, "oracle": False}, ["--oracle", "--out", THERE]),
        (
            {**AT_100, "oracle": False, "outlook": MOVING},
            ["--lag", "200", "--out", f"{THERE}-lag200"],
        ),
        ({**AT_100, "oracle": False, "tied": ["c1"]}, ["--seeds", "0,1,2", "--out", THERE]),
        ({}, ["--seeds", "0,1,2", "--out", THERE]),
    ],
)
def test_what_to_run_next_follows_from_the_verdict(changes, options):
    said = shlex.split(advice(**changes).command)
    assert said == ["lagsearch", "run", f"{THERE}/space.yaml", *options]


def test_several_seeds_and_a_useful_ranking_leave_nothing_to_search():
    losses = [1.5, 1.6, 1.7, 1.8, 1.9], [1.0, 1.1, 1.2, 1.3, 1.4]
    for made, command in (
        (report(*losses), "run runs/x/schedule.yaml"),
        (
            report(*losses, oracle=False, tied=["c1"], **AT_100),
            "run runs/x/space.yaml --seeds 3,1,4,5 --out runs/x",
        ),
    ):
        made["seeds"], made["winner"]["seed"] = [3, 1], 3
        assert advise_next(made, Path("runs/x")).command == f"lagsearch {command}"


def test_a_later_step_that_ranks_well_is_named():
    made = report([1.9, 1.6, 1.7, 1.8, 1.5], [1.4, 1.0, 1.1, 1.2, 1.3])
    scores = made["oracle"]
    for step, (rank, regret) in {"20": (0.4, 0.0), "30": (0.9, 0.04), "50": (1.0, 0.0)}.items():
        scores["spearman"][step] = {"value": rank, "interval": None}
        scores["regret"][step] = {"value": regret}
    scores["candidate"] = "c1"
    said = advise_next(made, Path("runs/x"))
    assert said.command == "lagsearch run runs/x/best.yaml"
    assert said.line == (
        "c1 ended best: to get its weights, train it again, alone. "
        "In similar searches rank at step 30: from there on rankings are reliable."
    )
    made["steps"] = 100  # then there is a later one that nobody calls early
    for each in made["candidates"]:
        each["val_loss"]["100"] = each["val_loss"]["50"]
    for score, value in (("spearman", 1.0), ("regret", 0.0)):
        scores[score]["100"] = {"value": value, "interval": None}
    assert "rank at step 50: from" in advise_next(made, Path("runs/x")).line


def test_a_winner_that_ended_best_all_the_same_needs_no_more_seeds_than_several():
    made = report([1.5, 1.6, 1.7, 1.8, 1.9], [1.0, 1.4, 1.3, 1.2, 1.1])
    assert judge(made).trust != "useful"
    assert "--seeds 0,1,2" in advise_next(made, Path("x")).command
    made["seeds"] = [0, 1, 2]
    said = advise_next(made, Path("x"))
    assert said.line.startswith("The winner ended best all the same, and can be used. ")
    assert said.command == "lagsearch run x/schedule.yaml"


def test_who_ended_best_is_trained_again_where_no_earlier_ranking_is_reliable():
    made = report([1.5, 1.6, 1.7, 1.8, 1.9], [1.4, 1.3, 1.2, 1.1, 1.0])
    made["oracle"]["candidate"] = "c4"
    said = advise_next(made, Path("x"))
    assert said.command == "lagsearch run x/best.yaml"
    assert said.line == (
        "c4 ended best: to get its weights, train it again, alone. "
        "Before the final step rankings do not stay reliable."
    )


def test_few_growths_ask_for_more_candidates():
    losses = [1.5, 1.6], [1.0, 1.1]
    assert advice(early=losses[0], final=losses[1]).command == "lagsearch operators"
    made = report(*losses)
    assert advise_next(made, Path(THERE)).line.startswith("Add candidates: ")
    made["candidates"].append({"name": "bad", "status": "failed", "is_baseline": False})
    assert advise_next(made, Path(THERE)).line.startswith("Mend the candidates that failed, or ")


def test_of_many_failed_candidates_some_are_named():
    made = report([1.5, 1.6, 1.7, 1.8, 1.9], [1.0, 1.1, 1.2, 1.3, 1.4])
    failed = {"status": "failed", "is_baseline": False, "failure": "nan"}
    made["candidates"] += [{"name": f"f{number}", **failed} for number in range(5000)]
    [line] = [line for line in judge(made).lines if "failed" in line]
    assert line.startswith("5,000 candidates failed and ranked last: f0 (nan); ")
    assert line.endswith("; f9 (nan); and 4,990 more.")
