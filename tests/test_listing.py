"""Candidates that are the same growth, and candidates that cannot be."""

import itertools
import json

import pytest

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import SpaceError
from lagsearch.space import Harness, chosen_candidates

LISTED = "  - {operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}\n"
LAST = "  - {operator: last}\n"
SAME = "  - {operator: lag, index: 2, block_size: 1, init: duplicate}\n"
UNFIT = "  - {operator: lag, index: [2, 7], block_size: [1, 3], init: duplicate}\n"
WIDE = "  - {operator: lemon}\n"


def plan_of(write_space, *entries, **options):
    return lagsearch.plan(write_space((LISTED, "".join(entries))), **options).stages[0]


def rows_of(plan):
    return [(each.name, *each.also) for each in plan.candidates]


@pytest.mark.parametrize("entries", [(LAST, SAME), (SAME, LAST), (LAST, SAME, LAST, SAME)])
def test_the_same_growth_is_one_row_named_as_it_is_listed_first(write_space, entries):
    names = {LAST: "last", SAME: "lag-i2-b1-duplicate"}
    plan = plan_of(write_space, *entries)
    assert rows_of(plan) == [(names[entries[0]], names[entries[1]])]
    assert plan.names == dict.fromkeys(names.values(), names[entries[0]])
    assert plan.candidates[0].title == " = ".join(names[each] for each in entries[:2])


def test_a_candidate_that_is_listed_twice_is_one(write_space):
    assert rows_of(plan_of(write_space, SAME, SAME)) == [("lag-i2-b1-duplicate",)]


def test_all_that_cannot_be_is_told_at_once(write_space):
    path = write_space((LISTED, UNFIT + SAME + WIDE))
    with pytest.raises(
        SpaceError, match=r"4 candidates cannot be; --skip-unfit leaves out"
    ) as told:
        lagsearch.plan(path)
    _, *lines = str(told.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:{n}" for n in (17, 17, 19)]
    parts = (
        ("candidates[0].block_size [1, 3]: block_size 3 does not", "allowed: 1"),
        ("candidates[0].index [2, 7]: index 7 is outside of 0..2", "(L - n) (2 candidates)"),
        ('candidates[2] {"operator": "lemon"}: lemon grows in width', "3 to 4"),
    )
    for line, (begin, end) in zip(lines, parts, strict=True):
        assert begin in line
        assert line.endswith(end)


@pytest.mark.parametrize("order", list(itertools.permutations([UNFIT, LAST, WIDE])))
def test_what_is_left_out_does_not_depend_on_the_order(write_space, order):
    plan = plan_of(write_space, *order, skip_unfit=True)
    assert {name for row in rows_of(plan) for name in row} == {"last", "lag-i2-b1-duplicate"}
    reasons = {each.name: each.reason for each in plan.left_out}
    assert sorted(reasons) == [
        "lag-i2-b3-duplicate",
        "lag-i7-b1-duplicate",
        "lag-i7-b3-duplicate",
        "lemon",
    ]
    assert reasons["lag-i7-b1-duplicate"] == "index 7 is outside of 0..2 (L - n)"
    assert len(plan.remarks) == 3
    assert all(line.startswith("left out: ") for line in plan.remarks)


@pytest.mark.parametrize(
    "baseline", ["", "  - {operator: scratch}\n"], ids=["nothing", "a baseline"]
)
def test_where_no_growth_is_left_there_is_an_error(write_space, baseline):
    with pytest.raises(SpaceError, match=r"2 candidates cannot be, and no other is left:") as told:
        plan_of(write_space, WIDE, WIDE.replace("lemon", "net2net"), baseline, skip_unfit=True)
    assert len(str(told.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("{operator: lagg}", "did you mean 'lag'"),
        (
            "{operator: lag, index: 0, blocksize: 1, init: random}",
            "no setting 'blocksize'; did you",
        ),
        ("{operator: lag, index: 0, block_size: one}", "block_size must be a valid integer"),
        (
            "{width: zero, depth: {operator: stackk}}",
            "'stackk' is unknown; did you mean 'stack'",
        ),
    ],
)
def test_what_is_written_wrongly_is_not_left_out(write_space, mistake, message):
    with pytest.raises(SpaceError, match=message) as told:
        plan_of(write_space, LAST, WIDE, f"  - {mistake}\n", skip_unfit=True)
    assert "lemon grows" not in str(told.value)


def test_one_that_cannot_be_says_how_to_go_on(write_space):
    with pytest.raises(SpaceError, match=r"candidates\[1\].*; --skip-unfit leaves it out$") as told:
        plan_of(write_space, LAST, WIDE)
    assert "\n" not in str(told.value)


def test_a_run_names_what_is_left_out_and_all_names(write_space, tmp_path):
    class Said(Watch):
        def __init__(self):
            self.lines = []

        def say(self, line):
            self.lines.append(line)

    watch = Said()
    path = write_space((LISTED, LAST + SAME + WIDE + "  - {operator: middle}\n"))
    result = lagsearch.run(
        path,
        out=tmp_path / "run",
        serial=True,
        skip_unfit=True,
        overrides=["search.lag=null"],
        watch=watch,
    )
    assert "search.lag is left out: K is 6, a quarter of the 24 steps" in watch.lines
    assert any(line.startswith("left out: lemon: lemon grows in width") for line in watch.lines)
    plans = json.loads((result.folder / "plans.json").read_text())
    by_name = {each["name"]: each["also"] for each in plans["candidates"]}
    assert by_name == {"last": ["lag-i2-b1-duplicate"], "middle": []}
    assert [each["name"] for each in plans["left_out"]] == ["lemon"]
    report = json.loads((result.folder / "report.json").read_text())
    assert {each["name"]: each["also"] for each in report["candidates"]} == by_name
    assert report["left_out"] == plans["left_out"]
    page = (result.folder / "report.md").read_text()
    assert "`last` = `lag-i2-b1-duplicate`" in page
    assert "## Left out" in page
    again = (result.folder / "space.yaml").read_text()
    assert "  lag: 6\n" in again
    assert "  skip_unfit: true\n" in again


def test_every_name_of_a_candidate_may_be_used(write_space):
    names = {"last": "last", "lag-i2": "last", "middle": "middle"}
    for patterns in (("lag-*",), ("last",), ("last", "lag-i2")):
        harness = Harness(tasks=("piqa",), candidates=patterns)
        assert chosen_candidates(harness, names) == ("last",)
    entry = "evaluation: {batches: 4, harness: {tasks: [piqa], candidates: [%s]}}"
    path = write_space(
        (LISTED, LAST + SAME), ("evaluation: {batches: 4}", entry % "lag-i2-b1-duplicate")
    )
    assert lagsearch.plan(path).stages[0].names["lag-i2-b1-duplicate"] == "last"
    with pytest.raises(SpaceError, match="name or pattern of no candidate"):
        lagsearch.plan(path, overrides=["evaluation.harness.candidates=[lag-i0-b1-duplicate]"])
