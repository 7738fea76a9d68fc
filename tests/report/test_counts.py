"""Sentences that count: each reads right for none, one, two and all."""

from pathlib import Path

import pytest
from test_verdict import AT_100, CLEAR, report

from lagsearch.errors import counted
from lagsearch.report.numbers.trust import judge_ranking
from lagsearch.report.pages.stage import _facts, _tiles
from lagsearch.report.words.advice import advise_next
from lagsearch.report.words.verdict import judge

BATCHES = "(paired t-test over the validation batches, Holm-corrected, 5 %)"


def made(candidates, tied=0, *, oracle=False, outlook=CLEAR, **more):
    losses = [1.5 + 0.1 * each for each in range(candidates)]
    names = [f"c{each + 1}" for each in range(tied)]
    options = {"oracle": oracle, "tied": names, "outlook": outlook, **AT_100, **more}
    found = report(losses, losses, **options)
    if oracle:
        found["oracle"]["indistinguishable_from_best"] = names
    return found


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "run", "0 runs"),
        (1, "run", "1 run"),
        (2, "batch", "2 batches"),
        (1, "entry", "1 entry"),
        (3000, "entry", "3,000 entries"),
    ],
)
def test_things_are_counted(number, noun, words):
    assert counted(number, noun) == words


@pytest.mark.parametrize(
    ("others", "tied", "at_lag", "tile"),
    [
        (6, 0, "all 6 others are significantly worse than the winner", "none of 6 others is tied"),
        (
            6,
            1,
            "1 of the 6 other candidates cannot be told apart from the winner",
            "1 of 6 others is tied",
        ),
        (
            6,
            2,
            "2 of the 6 other candidates cannot be told apart from the winner",
            "2 of 6 others are tied",
        ),
        (
            6,
            6,
            "none of the 6 other candidates can be told apart from the winner",
            "all 6 others are tied",
        ),
        (2, 0, "both others are significantly worse than the winner", "none of 2 others is tied"),
        (
            2,
            1,
            "1 of the 2 other candidates cannot be told apart from the winner",
            "1 of 2 others is tied",
        ),
        (
            2,
            2,
            "neither of the 2 other candidates can be told apart from the winner",
            "both others are tied",
        ),
        (
            1,
            0,
            "the other candidate is significantly worse than the winner",
            "the other one is not tied",
        ),
        (
            1,
            1,
            "the other candidate cannot be told apart from the winner",
            "the other one is tied",
        ),
    ],
)
def test_ties(others, tied, at_lag, tile):
    found = made(others + 1, tied)
    told = judge_ranking(found)[1].lower()
    assert f"{at_lag} at step 100 {BATCHES.lower()}" in told
    scored = judge_ranking(made(others + 1, tied, oracle=True))[1]
    at_end = at_lag.replace("the winner", "the best")
    assert f". {at_end[0].upper()}{at_end[1:]} at step 800 {BATCHES}." in scored
    for each in found["candidates"]:
        each["val_loss_se"] = {}
    found["cost"] = None
    [ahead] = [said for title, _, said in _tiles(found) if title == "Ahead by"]
    assert ahead == f"nats ahead of c1; {tile}"


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        (1, "there was one candidate, so nothing was chosen."),
        (2, "2 say little of how good a ranking is. The other candidate is significantly worse"),
        (4, "4 say little of how good a ranking is. All 3 others are significantly worse"),
    ],
)
def test_few_candidates(candidates, said):
    trust, reason = judge_ranking(made(candidates, outlook=None))
    assert trust == "unknown"
    assert reason.startswith(said)


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        (1, "there was one candidate, so nothing was chosen."),
        (2, "over the 2 candidates trained to step 800, the loss at step 100 has a"),
        (5, "over the 5 candidates trained to step 800, the loss at step 100 has a"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_correlation_is_over(candidates, said):
    assert judge_ranking(made(candidates, oracle=True))[1].startswith(said)


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        (3, "; fewer than 5 candidates: too little to say whether the ranking still changes."),
        (5, "; no evaluation up to step 50: too little to say whether the ranking still changes."),
    ],
)
def test_why_nothing_is_said_of_what_is_to_come(candidates, said):
    assert said in judge_ranking(made(candidates, outlook=None))[1]


RACE = {"strategy": "race", "evidence": "batches", "reason": "lag", "stable_since": 2}


@pytest.mark.parametrize(
    ("stopped", "said", "left"),
    [
        (0, "Race: no candidate was stopped by step 100.", "all 4 others are"),
        (1, "Race: 1 of 5 candidates was stopped at step 50,", "all 3 others that were"),
        (2, "Race: 2 of 5 candidates were stopped at step 50,", "both others that were"),
        (3, "Race: 3 of 5 candidates were stopped at step 50,", "the other candidate that was"),
        (4, "Race: 4 of 5 candidates were stopped at step 50,", "no other candidate was left"),
    ],
)
def test_stopped_candidates(stopped, said, left):
    found = made(5, search=RACE)
    for each in found["candidates"][5 - stopped :]:
        each |= {"status": "stopped", "stopped": {"step": 50}}
    lines = judge(found).lines
    assert lines[1].startswith(said)
    assert f": {left}" in lines[-1]
    head = "The ranking looks settled" if stopped == 0 else "Too few candidates to judge"
    assert lines[-1].startswith(head)
    if stopped:
        assert "--oracle" in advise_next(found, Path("x")).command


def test_no_oracle_is_advised_where_there_is_one_or_too_few_to_score():
    for found in (made(4, oracle=True, search=RACE), made(4, search=RACE)):
        found["candidates"][3] |= {"status": "stopped", "stopped": {"step": 50}}
        assert advise_next(found, Path("x")).command == "lagsearch operators"


def test_of_few_finalists_that_are_tied_the_first_places_are_undecided():
    found = made(5, tied=1, search=RACE)
    for each in found["candidates"][3:]:
        each |= {"status": "stopped", "stopped": {"step": 50}}
    assert judge_ranking(found)[0] == "open"


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (1, "1 candidate failed and ranked last: f0 (nan)."),
        (2, "2 candidates failed and ranked last: f0 (nan); f1 (nan)."),
    ],
)
def test_failed_candidates(failed, said):
    found = made(5)
    one = {"status": "failed", "is_baseline": False, "failure": "nan"}
    found["candidates"] += [{"name": f"f{each}", **one} for each in range(failed)]
    assert said in judge(found).lines


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["epoch"], "Column that was not read: epoch."),
        (["epoch", "lr"], "Columns that were not read: epoch, lr."),
    ],
)
def test_columns_that_were_not_read(columns, said):
    assert said in judge({**made(5), "ignored": columns}).lines


@pytest.mark.parametrize(
    ("candidates", "seeds", "said"),
    [
        (1, [0], ("1 candidate", "seed 0")),
        (2, [0, 1], ("2 candidates", "seeds 0, 1")),
    ],
)
def test_what_a_page_begins_with(candidates, seeds, said):
    facts = _facts({**made(candidates), "seeds": seeds}).split(" · ")
    assert (facts[0], facts[2]) == said
