"""The design of the benchmark: enough runs, halves that share no text, growths that fit."""

import json
from collections import Counter
from pathlib import Path

import pytest

from lagsearch.bench import design as table
from lagsearch.bench.design import FAMILIES, TEXTS, chosen_designs, designs, find_design, split
from lagsearch.bench.spaces import designed_space, evaluated_at
from lagsearch.errors import LagsearchError
from lagsearch.planning.run import plan
from lagsearch.space import load_space

ROOT = Path(__file__).parents[2]
DESIGNS = [each for each in designs() if not each.is_from_checkpoint]


def test_the_halves_share_no_text_and_are_equally_large():
    halves = Counter(each.half for each in designs())
    assert halves == {"choice": 28, "test": 28}
    texts = {half: {each.text for each in designs() if each.half == half} for half in halves}
    assert not texts["choice"] & texts["test"]
    families = {half: {each.family for each in designs() if each.half == half} for half in halves}
    assert families["choice"] - families["test"] == {"qwen3"}
    assert families["test"] - families["choice"] == {"neox"}
    assert {name for pair in TEXTS.values() for name in pair} == texts["choice"] | texts["test"]
    assert all(len(pair) == 2 for pair in FAMILIES.values())


def test_every_half_has_seeds_for_half_of_its_runs():
    for half in ("choice", "test"):
        found = [each.n_seeds for each in designs() if each.half == half]
        assert sum(number >= 2 for number in found) >= len(found) / 2


def test_the_committed_split_is_that_of_the_design():
    manifest = json.loads((ROOT / "reports" / "bench" / "manifest.json").read_text())
    assert manifest["split"] == split()["split"]
    kept = {each["run"]: each for each in manifest["runs"]}
    for each in split()["runs"]:
        assert {key: kept[each["run"]][key] for key in each} == each


def test_halves_take_turns():
    assert [each.half for each in designs()] == ["choice", "test"] * 28
    assert len({each.name for each in designs()}) == 56


@pytest.mark.parametrize("design", DESIGNS, ids=lambda each: each.name)
def test_a_run_compares_12_to_24_growths(design, corpus):
    space = load_space(designed_space(design, {design.text: [str(corpus)]}))
    found = [each for each in plan(space).stages[0].candidates]
    assert 12 <= len(found) <= 24
    assert all(each.cost.parameters <= 500_000 for each in found)


def test_runs_are_evaluated_where_rules_are_compared():
    assert {12, 24, 48, 80, 120, 240} <= {*evaluated_at(240)}  # 5, 10, 20, 33.3, 50, 100 %
    assert evaluated_at(240)[0] == 0


def test_runs_that_are_not_there_are_told():
    assert [each.name for each in chosen_designs(None, ["test-01-milton-llama-4x32-8x32"])] == [
        "test-01-milton-llama-4x32-8x32"
    ]
    with pytest.raises(LagsearchError, match="--half both: write choice or test"):
        chosen_designs("both", [])
    with pytest.raises(LagsearchError, match="no run 'nobody'"):
        find_design("nobody")


def test_the_documentation_has_the_table():
    assert table._TABLE.strip() in (ROOT / "docs" / "benchmark.md").read_text()
