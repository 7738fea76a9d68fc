"""The spaces that come with the project: each can be planned without its text, the largest too."""

from pathlib import Path

import pytest

import lagsearch
from lagsearch.space import evaluated_rows, load_space

SPACES = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml"))
PUBLISHED = {  # sizes as published: parameters of source and target in millions
    "lag_bert_12to16": (109.5, 137.9),
    "lag_ul2_12to16": (1100, 1285),
    "gstack_1b_operators": (439.4, 1364.3),
    "gstack_7b": (1881.2, 6738.4),
}


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_it_is_planned_without_its_text(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    planned = lagsearch.plan(path)
    assert planned.file.name == path.stem.replace("_", "-")
    assert f"search_spaces/{path.name}" in path.read_text()
    if path.stem.removesuffix("_laptop") in PUBLISHED or path.stem.startswith(("survey", "mingpt")):
        assert any(each.steps > planned.file.steps for each in planned.candidates)


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_of_the_paper(name):
    planned = lagsearch.plan(next(path for path in SPACES if path.stem == name))
    source, target = PUBLISHED[name]
    assert planned.sources[0].cost.parameters / 1e6 == pytest.approx(source, rel=0.01)
    assert planned.candidates[0].cost.parameters / 1e6 == pytest.approx(target, rel=0.01)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_an_evaluation_is_small_beside_training(path):
    """Small spaces measure on as much as they train in a step, the published ones on a million."""
    for stage in load_space(path).stages:
        space = stage.space
        rows = evaluated_rows(space, space.training.batch_size)
        tokens = rows * space.evaluation.batches * space.data.sequence_length
        if path.stem in (*PUBLISHED, "adaptive_bert_large", "lag_13b"):
            assert 0.9e6 < tokens <= 1e6
            assert rows < space.training.batch_size
        else:
            assert rows == space.training.batch_size


def test_laptop_versions_search_the_same_operators():
    for name in ("lag_bert_12to16", "lag_ul2_12to16"):
        plans = [lagsearch.plan(path) for path in SPACES if path.stem.startswith(name)]
        maps = [[(each.name, each.layer_map) for each in plan.candidates] for plan in plans]
        assert len(maps) == 2
        assert maps[0] == maps[1]
        assert len(maps[0]) == 31


def test_adaptive_stacking_has_the_papers_stages():
    planned = lagsearch.plan(next(path for path in SPACES if path.stem == "adaptive_bert_large"))
    # every index, and every second one from stage 5 on, times three block sizes
    assert [len(each.candidates) for each in planned.stages] == [1, 3, 15, 27, 21, 27]
    assert [each.space.training.steps for each in planned.stages] == [160_000] * 5 + [200_000]
    assert planned.file.steps == 1_000_000
    assert planned.extra_steps == 200 * (2 + 14 + 26 + 20 + 26)
    last = planned.stages[-1].candidates
    assert {each.candidate.settings["index"] for each in last} == set(range(0, 17, 2))
    assert last[0].cost.parameters / 1e6 == pytest.approx(335, rel=0.01)
