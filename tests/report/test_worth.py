"""What the verdict says of growing at all, on made-up numbers whose meaning is plain."""

import shlex

import pytest
from test_verdict import report

from lagsearch.report.numbers.worth import judge_growing
from lagsearch.report.words.advice import advise, advise_next
from lagsearch.report.words.growing import tell_growing
from lagsearch.report.words.verdict import judge, judge_courses


def point(growth, other, p_value, **more):
    told = {"val_loss": growth, "baseline_val_loss": other, "difference": growth - other}
    return {**told, "p_value": p_value, "seeds": 1, "is_fair": True, **more}


def beside(name="continue", operator="continue", source="small", spent=4e6, steps=50):
    spent = {"flops_by_step": {"0": 0, "50": spent}, "steps": steps}
    return {"name": name, "operator": operator, "source": source, "status": "ok", **spent}


def compared(growth, steps, flops, baseline="continue"):
    return {"growth": growth, "baseline": baseline, "equal_steps": steps, "equal_flops": flops}


BESIDE = (beside(),)


def with_growing(*comparisons, baselines=BESIDE, oracle=False):
    made = report([1.0, 1.1, 1.2, 1.3, 1.4], [1.0, 1.1, 1.2, 1.3, 1.4], oracle=oracle)
    named = [each["source"] for each in baselines if each["source"]]
    sources = [{"name": name, "kind": "pretrained"} for name in named]
    growing = {"sources": [], "baselines": list(baselines), "comparisons": list(comparisons)}
    return {**made, "growing": growing, "sources": sources}


def at_end(growth, other, p_value, **more):
    return point(growth, other, p_value, step=50, **more)


def at_flops(growth, other, p_value, flops=4e6, **more):
    return point(growth, other, p_value, flops=flops, **more)


TEST = "paired t-test over the validation batches, one seed: p ="
CASES = {
    "did not pay": (
        compared("c0", at_end(1.1, 1.0, 0.001), at_flops(1.3, 1.0, 0.001)),
        "Growing did not pay off: the source trained on without growing ends lower than the "
        f"winner, c0, 1.0000 against its 1.1000 at step 50 ({TEST} 0.001).",
    ),
    "not shown": (
        compared("c0", at_end(0.99, 1.0, 0.2), at_flops(1.3, 1.0, 0.001)),
        "Growing is not shown to pay off: at step 50 the source trained on without growing cannot "
        f"be told apart from the winner, c0, 1.0000 against its 0.9900 ({TEST} 0.2).",
    ),
    "at equal steps alone": (
        compared("c0", at_end(0.9, 1.0, 0.001), at_flops(1.05, 1.0, 0.002)),
        "Growing did not pay off at equal compute: at equal training FLOPs (4.00e+06) continue is "
        f"ahead, 1.0000 against the 1.0500 of c0 ({TEST} 0.002); at equal steps it did: the "
        "winner, c0, ends 0.1000 nats below the source trained on without growing at step 50 "
        f"({TEST} 0.001).",
    ),
    "paid": (
        compared("c0", at_end(0.9, 1.0, 0.001), at_flops(0.95, 1.0, 0.002)),
        "Growing paid off: the winner, c0, ends 0.1000 nats below the source trained on without "
        f"growing at step 50 ({TEST} 0.001), and 0.0500 nats at equal training FLOPs (4.00e+06) "
        f"({TEST} 0.002).",
    ),
}


def test_what_is_open_at_equal_compute_is_said_behind_equal_steps():
    (found,) = judge_growing(
        with_growing(compared("c0", at_end(0.9, 1.0, 0.001), at_flops(1.05, 1.0, 0.2)))
    )
    assert found.outcome == "at equal steps alone"
    assert found.line.startswith("Growing paid off at equal steps only: the winner, c0, ends 0.1")
    assert f"continue cannot be told apart from it, 1.0000 against the 1.0500 of c0 ({TEST}" in (
        found.line
    )


@pytest.mark.parametrize("outcome", CASES)
def test_what_speaks_against_growing_is_said_first(outcome):
    comparison, line = CASES[outcome]
    made = with_growing(comparison)
    (found,) = judge_growing(made)
    assert (found.outcome, found.line) == (outcome, line)
    assert judge(made).lines.index(line) == (1 if outcome == "paid" else 0)


def test_not_below_at_equal_flops_is_not_shown():
    made = with_growing(compared("c0", at_end(0.9, 1.0, 0.001), at_flops(0.99, 1.0, 0.5)))
    (found,) = judge_growing(made)
    assert found.outcome == "at equal steps alone"
    assert "continue cannot be told apart from it, 1.0000 against the 0.9900 of c0" in found.line


def test_one_measurement_of_each_loss_is_compared_and_said_to_be_one():
    made = with_growing(compared("c0", at_end(1.1, 1.0, None), None))
    (found,) = judge_growing(made)
    assert found.outcome == "did not pay"
    assert found.line.endswith("at step 50 (each loss was measured once).")


def test_the_best_growth_is_tested_for_having_been_chosen():
    """Best of two: p = 0.03 is 0.06 then; the one that is behind needs no correction."""
    flops = at_flops(0.9, 1.0, 0.001)
    ahead = with_growing(
        compared("c0", at_end(1.2, 1.0, 0.9), flops), compared("c1", at_end(0.9, 1.0, 0.03), flops)
    )
    (found,) = judge_growing(ahead)
    assert found.outcome == "not shown"
    assert "the best candidate, c1, 1.0000 against its 0.9000" in found.line
    assert "Bonferroni-corrected for 2 candidates: p = 0.06" in found.line
    behind = with_growing(
        compared("c0", at_end(1.2, 1.0, 0.9), flops), compared("c1", at_end(1.1, 1.0, 0.03), flops)
    )
    (found,) = judge_growing(behind)
    assert found.outcome == "did not pay"
    assert "(paired t-test over the validation batches, one seed: p = 0.03)" in found.line


def test_growths_that_were_trained_to_k_alone_are_not_the_best():
    early = {**at_end(0.5, 1.0, 0.001), "step": 10}
    made = with_growing(compared("c1", early, None), compared("c0", at_end(1.1, 1.0, 0.001), None))
    (found,) = judge_growing(made)
    assert "than the winner, c0," in found.line


def test_the_best_of_several_sources_is_named():
    pair = (beside("continue-a", source="a"), beside("continue-b", source="b"))
    made = with_growing(
        compared("c0", at_end(0.9, 1.0, 0.001), None, "continue-a"),
        compared("c0", at_end(0.9, 0.8, 0.001), None, "continue-b"),
        baselines=pair,
    )
    (found,) = judge_growing(made)
    assert found.line.startswith(
        "Growing did not pay off: source b trained on without growing ends"
    )


def test_the_longest_training_says_what_equal_compute_comes_to():
    pair = (beside(), beside("continue-matched"))
    made = with_growing(
        compared("c0", at_end(0.9, 1.0, 0.001), at_flops(1.2, 1.0, 0.001, flops=4e6)),
        compared(
            "c0", at_end(0.9, 1.0, 0.001), at_flops(0.9, 1.0, 0.001, flops=6e6), pair[1]["name"]
        ),
        baselines=pair,
    )
    (found,) = judge_growing(made)
    assert found.outcome == "paid"
    assert "(6.00e+06)" in found.line


NOT_KNOWN = "Growing is ahead at equal steps, but whether it pays off at equal compute is not known"
AHEAD = "the winner, c0, ends 0.1000 nats below the source trained on without growing at step 50"


@pytest.mark.parametrize(
    ("spent", "said"),
    [
        (  # the cheaper baseline ends where the growth is on its way
            4e6,
            "c0 is known only in mid-schedule, at 1.2000 against the 1.0000 of continue (to find "
            "out: search.baselines: [continue, {operator: continue, steps: matched}]).",
        ),
        *(
            (  # a baseline of more compute than the growth's is on its way where the growth ends
                more,
                "continue is known only in mid-schedule, at 1.0000 against the 1.2000 of c0 (to "
                f"find out: search.baselines: [continue, {{operator: continue, steps: {steps}}}]).",
            )
            for more, steps in [(8e6, 25), (7e6, 29)]  # 4e6 are 28.6 steps of 50: 28 are too few
        ),
    ],
)
def test_where_the_rate_had_not_fallen_alike_a_loss_in_mid_schedule_is_said_to_be_one(spent, said):
    unfair = at_flops(1.2, 1.0, 0.001, is_fair=False)
    baselines = (beside(spent=spent),)
    made = with_growing(compared("c0", at_end(0.9, 1.0, 0.001), unfair), baselines=baselines)
    (found,) = judge_growing(made)
    line = f"{NOT_KNOWN}: {AHEAD} ({TEST} 0.001); at equal training FLOPs (4.00e+06) {said}"
    assert (found.outcome, found.line) == ("ahead at equal steps", line)
    assert judge(made).lines[1] == line


def test_what_was_not_measured_at_equal_flops_is_said_to_be_so():
    (found,) = judge_growing(with_growing(compared("c0", at_end(0.9, 1.0, 0.001), None)))
    assert found.outcome == "ahead at equal steps"
    assert found.line == (
        f"{NOT_KNOWN}: {AHEAD} ({TEST} 0.001); not measured at equal training FLOPs (to find out: "
        "search.baselines: [continue, {operator: continue, steps: matched}])."
    )


def added(made, folder):
    """Return the baselines that a report says to train next; None where it names none."""
    commands = [shlex.split(each.command) for each in advise(made, folder)[1:]]
    for words in commands:
        there = [str(folder / "space.yaml"), "--out", str(folder)]
        assert [words[2], *words[-2:]] == there
        assert words[:2] + words[3:4] == ["lagsearch", "run", "--set"]
    return [words[4] for words in commands] or None


LONGER = "{operator: continue, steps: matched}"


@pytest.mark.parametrize(
    ("growing", "baselines"),
    [
        (with_growing(compared("c0", at_end(0.9, 1.0, 0.001), None)), f"continue, {LONGER}"),
        (  # of what is there nothing is dropped
            with_growing(
                compared("c0", at_end(0.9, 1.0, 0.001), None),
                baselines=(beside(), beside("scratch", "scratch", None)),
            ),
            f"continue, scratch, {LONGER}",
        ),
        (with_growing(baselines=()), f"continue, {LONGER}"),
        (with_growing(CASES["paid"][0]), None),
        (with_growing(CASES["did not pay"][0]), None),
    ],
)
def test_what_would_tell_whether_growing_pays_off_is_what_to_run_next(growing, baselines, tmp_path):
    expected = baselines and [f"search.baselines=[{baselines}]"]
    assert added(growing, tmp_path / "it's mine") == expected


def failed(name="continue", **more):
    return {**beside(name), "status": "failed", "failure": "step 3: the loss is nan", **more}


def test_a_baseline_that_failed_is_not_asked_for_again(tmp_path):
    longer = failed("continue-matched", steps=90)
    ahead = compared("c0", at_end(0.9, 1.0, 0.001), at_flops(1.2, 1.0, 0.001, is_fair=False))
    made = with_growing(ahead, baselines=(beside(), longer))
    (found,) = judge_growing(made)
    assert found.line.endswith(
        "c0 is known only in mid-schedule, at 1.2000 against the 1.0000 of continue, as "
        "continue-matched failed."
    )
    other = with_growing(
        compared("c0", NEVER, at_flops(0.9, 1.0, 0.001), "continue-matched"),
        baselines=(failed(), beside("continue-matched", steps=90)),
    )
    (found,) = judge_growing(other)
    assert found.line.endswith("; not measured at equal steps, as continue failed.")
    for each in (made, other, with_growing(baselines=(failed(),))):
        lines = judge(each).lines
        assert any(line.startswith("Baseline continue") for line in lines)
        assert not any("search.baselines" in line for line in lines)
        assert added(each, tmp_path) is None


def test_the_page_does_not_ask_for_a_baseline_that_failed():
    made = with_growing(baselines=(failed(),))
    for each in made["candidates"]:
        each["flops_by_step"] = dict.fromkeys(each["val_loss"], 1e6)
    note = tell_growing(made).parts[-1]
    assert note.startswith("Baseline continue failed")
    assert "search:" not in note


NEVER = at_end(1.1, 1.0, 0.001, is_fair=False)


def test_of_a_target_from_scratch_in_mid_schedule_nothing_is_said():
    scratch = beside("scratch-matched") | {"operator": "scratch", "source": None}
    never = compared("c0", NEVER, at_flops(1.2, 1.0, 0.001, is_fair=False), scratch["name"])
    assert judge_growing(with_growing(never, baselines=(scratch,))) == []


def test_known_in_mid_schedule_only_nothing_is_concluded():
    made = with_growing(compared("c0", NEVER, at_flops(1.2, 1.0, 0.001, is_fair=False)))
    (found,) = judge_growing(made)
    assert (found.outcome, found.line) == (
        "not known",
        "Whether growing pays off is not known: at step 50 continue is known only in mid-schedule, "
        "at 1.0000 against the 1.1000 of c0; at equal training FLOPs (4.00e+06) c0 is known only "
        "in mid-schedule, at 1.2000 against the 1.0000 of continue (to find out: search.baselines: "
        "[continue, {operator: continue, steps: matched}]).",
    )
    assert judge(made).lines[1] == found.line


@pytest.mark.parametrize(
    ("growth", "p_value", "outcome", "line"),
    [
        (
            0.9,
            0.001,
            "paid",
            "Growing paid off: the winner, c0, ends 0.1000 nats below the "
            f"source trained on without growing at equal training FLOPs (4.00e+06) ({TEST} 0.001)",
        ),
        (
            0.9,
            0.2,
            "not shown",
            "Growing is not shown to pay off: at equal training FLOPs (4.00e+06) the source "
            "trained on without growing cannot be told apart from the winner, c0, 1.0000 against "
            f"its 0.9000 ({TEST} 0.2)",
        ),
        (
            1.1,
            0.001,
            "did not pay",
            "Growing did not pay off: the source trained on without growing ends lower than the "
            "winner, c0, 1.0000 against its 1.1000 at equal training FLOPs (4.00e+06) "
            f"({TEST} 0.001)",
        ),
    ],
)
def test_a_longer_baseline_alone_decides_at_equal_flops(growth, p_value, outcome, line):
    (found,) = judge_growing(with_growing(compared("c0", NEVER, at_flops(growth, 1.0, p_value))))
    left = "; not measured at equal steps (add continue to search.baselines)."
    assert (found.outcome, found.line) == (outcome, line + left)


def test_scratch_is_told_apart_from_the_source():
    scratch = beside("scratch", "scratch", None)
    made = with_growing(
        compared("c0", at_end(1.1, 1.0, 0.001), None),
        compared("c0", at_end(1.1, 2.0, 0.001), at_flops(1.1, 2.0, 0.001), "scratch"),
        baselines=(beside(), scratch),
    )
    first, second = judge_growing(made)
    assert (first.outcome, second.outcome) == ("did not pay", "paid")
    assert "0.9000 nats below the target trained from scratch at step 50" in second.line
    lines = judge(made).lines
    assert (lines[0], lines[2]) == (first.line, second.line)


def test_the_next_thing_to_run_is_a_longer_training(tmp_path):
    made = with_growing(CASES["did not pay"][0])
    advice = advise_next(made, tmp_path / "mine")
    assert advice.line.startswith("To see whether growing pays off in a longer training: 100")
    assert advice.command == (
        f"lagsearch run {tmp_path}/mine/space.yaml --set training.steps=100 "
        f"--out {tmp_path}/mine-steps100"
    )


def test_a_baseline_that_failed_is_named():
    made = with_growing(baselines=(failed(),))
    assert judge_growing(made) == []
    line = "Baseline continue failed, so nothing is compared with it: step 3: the loss is nan."
    assert line in judge(made).lines


@pytest.mark.parametrize("growing", [None, {"sources": [], "baselines": [], "comparisons": []}])
def test_without_baselines_nothing_is_said(growing):
    assert judge_growing({**with_growing(), "growing": growing}) == []


def interval(low, high):
    return {"value": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("at_steps", "at_flops", "headline"),
    [
        ((0.1, 0.2), (0.1, 0.2), "Growing paid off: "),
        ((0.1, 0.2), (-0.1, 0.1), "Growing is ahead at equal steps, and not shown to pay off at "),
        ((0.1, 0.2), (-0.2, -0.1), "Growing is ahead at equal steps, and not shown to pay off at "),
        ((-0.1, 0.2), (0.1, 0.2), "Growing is not shown to pay off at equal steps: "),
        ((-0.2, -0.1), (0.1, 0.2), "Growing did not pay off at equal steps: "),
    ],
)
def test_with_stages_too_no_more_is_said_to_pay_off_than_is_known(at_steps, at_flops, headline):
    row = {"course": "continue", "val_loss": {"value": 1.5}, "behind": interval(*at_steps)}
    row["behind_at_equal_flops"] = interval(*at_flops)
    adaptive = {"course": "adaptive", "val_loss": {"value": 1.4, "n": 3}}
    lines = judge_courses({"table": [adaptive, row], "missing": {}})
    assert lines[0].startswith(headline)


@pytest.mark.parametrize("missing", [{}, {"continue": "step 3: the loss is nan"}])
def test_with_stages_a_baseline_that_failed_is_not_asked_for_again(missing):
    adaptive = {"course": "adaptive", "val_loss": {"value": 1.4, "n": 3}}
    line = judge_courses({"table": [adaptive], "missing": missing})[0]
    assert ("--baselines" in line) == (not missing)
    told = "is not known: continue is missing (step 3: the loss is nan)."
    assert line.endswith(told) == bool(missing)
