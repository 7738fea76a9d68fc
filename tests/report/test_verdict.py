"""What a report says first, on made-up numbers whose meaning is plain."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from lagsearch.report.verdict import advise, judge


def report(
    early, final, *, oracle=True, tied=(), settled=0.95, baseline=None, low=0.1, savings=None
):
    names = [f"c{number}" for number in np.argsort(early, kind="stable")]
    candidates = [
        {
            "name": name,
            "status": "ok",
            "is_baseline": name == baseline,
            "val_loss": {"0": 2.0, "10": early[int(name[1:])], "50": final[int(name[1:])]},
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
        "spearman": {"0": {"value": None}, "10": {"value": float(ranks), "interval": [low, 1.0]}},
        "relative_regret": {"10": {"value": float(lost)}},
        "random_choice_relative_regret": float((final.mean() - final.min()) / span),
        "indistinguishable_from_best": [],
    }
    return {
        "seeds": [0],
        "lag": 10,
        "steps": 50,
        "candidates": candidates,
        "winner": {"name": names[0], "val_loss": {"10": early.min(), "50": 1.0}},
        "savings": savings,
        "oracle": scores if oracle else None,
        "doubt": {
            "indistinguishable_from_winner": list(tied),
            "stability": {"since": 5, "spearman": settled},
        },
    }


@pytest.mark.parametrize(
    ("final", "trust"),
    [
        ([1.0, 1.1, 1.2, 1.3, 1.4], "useful"),
        ([1.4, 1.3, 1.2, 1.1, 1.0], "misleading"),
        ([1.1, 1.0, 1.2, 1.3, 1.4], "partly"),
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


def test_few_growths_are_not_judged():
    losses = [1.5, 1.6, 1.7, 1.8]
    verdict = judge(report(losses, losses))
    assert verdict.trust == "unknown"
    assert verdict.lines[-1].startswith("Too few growths to judge the ranking: over the 4 growths")


def test_without_an_oracle_a_moving_or_tied_ranking_is_not_settled():
    losses = [1.5, 1.6, 1.7, 1.8]
    assert judge(report(losses, losses, oracle=False)).trust == "settled"
    tied = judge(report(losses, losses, oracle=False, tied=["c1"]))
    assert tied.trust == "unsettled"
    assert "1 of the 3 others cannot be told apart" in tied.lines[-1]
    assert judge(report(losses, losses, oracle=False, settled=0.3)).trust == "unsettled"


def test_no_line_promises_what_only_an_oracle_knows():
    losses = [1.5, 1.6, 1.7, 1.8]
    line = judge(report(losses, losses, oracle=False)).lines[-1]
    assert "Only --oracle shows how it ends" in line


def test_growth_that_does_not_pay_is_said():
    losses = [1.5, 1.6, 1.7, 1.8]
    lines = judge(report(losses, losses, baseline="c0")).lines
    assert any("growing does not pay here" in line for line in lines)


def test_what_the_winner_saves_is_said():
    losses = [1.5, 1.6, 1.7, 1.8]
    flops = {"growth_speed_up": 0.546, "with_sources_speed_up": -0.25}
    entry = {"val_loss": 1.6, "is_bound": False, "flops": {**flops, "with_search_speed_up": None}}
    savings = {"baseline": "scratch", "steps": 50, "growths": {"c0": entry}}
    lines = judge(report(losses, losses, savings=savings)).lines
    [line] = [each for each in lines if "Speed-up" in each]
    assert "over scratch at equal loss (1.6000)" in line
    assert "+55% alone, -25% with its source" in line
    assert "search" not in line.split("training FLOPs")[1]
    savings = {**savings, "growths": {}}
    assert not any(
        "Speed-up" in each for each in judge(report(losses, losses, savings=savings)).lines
    )


THERE = "runs/it's mine"


def advice(**changes):
    options = {"early": [1.5, 1.6, 1.7, 1.8, 1.9], "final": [1.0, 1.1, 1.2, 1.3, 1.4]}
    made = report(**{**options, **changes})
    return advise(made, Path(THERE))


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"oracle": False}, ["--oracle", "--out", THERE]),
        ({"oracle": False, "settled": 0.2}, ["--lag", "20", "--out", f"{THERE}-lag20"]),
        ({"oracle": False, "tied": ["c1"]}, ["--seeds", "0,1,2", "--out", THERE]),
        ({}, ["--seeds", "0,1,2", "--out", THERE]),
        (
            {"final": [1.4, 1.3, 1.2, 1.1, 1.0]},
            ["--lag", "50", "--out", f"{THERE}-lag50"],
        ),
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
            report(*losses, oracle=False, tied=["c1"]),
            "run runs/x/space.yaml --seeds 3,1,4,5 --out runs/x",
        ),
    ):
        made["seeds"], made["winner"]["seed"] = [3, 1], 3
        assert advise(made, Path("runs/x")).command == f"lagsearch {command}"


def test_a_later_step_that_ranks_well_is_named():
    made = report([1.9, 1.6, 1.7, 1.8, 1.5], [1.4, 1.0, 1.1, 1.2, 1.3])
    scores = made["oracle"]
    for step, (rank, regret) in {"20": (0.4, 0.0), "30": (0.9, 0.05), "50": (1.0, 0.0)}.items():
        scores["spearman"][step] = {"value": rank, "interval": None}
        scores["relative_regret"][step] = {"value": regret}
    scores["candidate"] = "c1"
    said = advise(made, Path("runs/x"))
    assert said.command == "lagsearch run runs/x/space.yaml --lag 30 --out runs/x-lag30"
    assert "c1 is best at completion" in said.line


def test_few_growths_ask_for_more_candidates():
    assert advice(early=[1.5, 1.6], final=[1.0, 1.1]).command == "lagsearch operators"


def test_of_many_failed_candidates_some_are_named():
    made = report([1.5, 1.6, 1.7, 1.8, 1.9], [1.0, 1.1, 1.2, 1.3, 1.4])
    failed = {"status": "failed", "is_baseline": False, "failure": "nan"}
    made["candidates"] += [{"name": f"f{number}", **failed} for number in range(5000)]
    [line] = [line for line in judge(made).lines if "failed" in line]
    assert line.startswith("5000 candidates failed and are ranked last: f0 (nan); ")
    assert line.endswith("; f9 (nan); and 4,990 more.")
