"""Spaces with stages: the shorthand spelt out, what each stage's own space is, and refusals."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from staged import LISTED

from lagsearch.errors import SpaceError
from lagsearch.space import Training, load_space
from lagsearch.space.stages import Ladder, LadderError, spell_out

RANDOM = {"model_type": "llama"}

MODEL = LISTED[LISTED.index("model:") : LISTED.index("steps: 20")]


def ladder(**keys):
    values = {"model": RANDOM, "from": 4, "to": 24, "count": 6, "candidates": {"operator": "lag"}}
    return Ladder.model_validate({**values, **keys})


def depths_and_steps(**keys):
    stages = spell_out(ladder(**keys), {"operator": "lag"})
    depths = [each.get("target", each.get("model"))["num_hidden_layers"] for each in stages]
    return depths, [each["steps"] for each in stages]


def test_the_papers_schedule():
    steps = [160_000] * 5 + [200_000]
    depths, own = depths_and_steps(allocation=tuple(steps))
    assert depths == [4, 8, 12, 16, 20, 24]
    assert own == steps
    assert depths_and_steps(steps=1_000_000)[1] == [166_666] * 5 + [166_670]
    assert depths_and_steps(steps=2100, allocation="proportional(1)")[1] == [
        *(100, 200, 300, 400, 500, 600),
    ]
    # i^2 of 1 to 3 is 1, 4, 9 of 14
    found = depths_and_steps(count=3, to=12, steps=1400, allocation="proportional(2)")
    assert found == ([4, 8, 12], [100, 400, 900])


def test_without_a_model_every_stage_grows():
    stages = spell_out(ladder(model=None, to=8, count=4, steps=40), {"operator": "lag"})
    assert [each["target"] for each in stages] == [{"num_hidden_layers": n} for n in (5, 6, 7, 8)]


@given(
    begin=st.integers(1, 30),
    growths=st.integers(1, 8),
    more=st.integers(0, 30),
    steps=st.integers(1000, 10_000),
    alpha=st.sampled_from(["uniform", "proportional(0)", "proportional(0.5)", "proportional(2)"]),
)
def test_depths_rise_to_the_end_and_no_step_is_lost(begin, growths, more, steps, alpha):
    keys = {"from": begin, "to": begin + growths + more, "count": growths + 1}
    depths, own = depths_and_steps(**keys, steps=steps, allocation=alpha)
    assert depths[0] == begin
    assert depths[-1] == begin + growths + more
    assert all(shallower < deeper for shallower, deeper in pairwise(depths))
    assert sum(own) == steps
    assert min(own) >= 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"to": 4}, "is not above the 4 layers"),
        ({"count": 1}, "leaves no stage to grow in"),
        ({"count": 30}, "more than there are layers to add, 20"),
        ({"allocation": (1, 2)}, "lists 2 numbers for 6 stages"),
        ({"allocation": (10,) * 6, "steps": 61}, "not the sum of the allocation, 60"),
        ({}, "is required, or list the steps"),
        ({"steps": 60, "allocation": "rising"}, r"must be uniform, proportional\(alpha\)"),
        ({"steps": 3}, "too few for 6 stages"),
        ({"steps": 60, "model": {"n_layer": 3}}, "is not `from`, 4"),
    ],
)
def test_a_shorthand_that_cannot_be_spelt_out(keys, message):
    with pytest.raises(LadderError, match=message):
        spell_out(ladder(**keys), {})


def test_a_shorthand_has_no_other_keys():
    with pytest.raises(ValidationError, match="depth"):
        ladder(depth=3)


def test_each_stage_is_a_space_that_goes_on_behind_the_last(write_stages):
    file = load_space(write_stages())
    first, second, third = (each.space for each in file.stages)
    assert first.sources[0].before.config["num_hidden_layers"] == 1
    assert first.candidates == ({"operator": "scratch"},)
    assert [each.before.steps for each in (first, second, third)] == [0, 20, 40]
    assert [each.before.sequences for each in (first, second, third)] == [0, 80, 160]
    assert [each.training.steps for each in (first, second, third)] == [20, 20, 24]
    assert [each.training.schedule.total_steps for each in (first, second, third)] == [64] * 3
    assert [int(each.training.schedule.continued) for each in (first, second, third)] == [0, 20, 40]
    assert [each.training.schedule.rewarm_steps for each in (first, second, third)] == [0, 2, 2]
    assert second.target == {"num_hidden_layers": 2}
    assert file.steps == 64


def test_a_schedule_that_does_not_continue_begins_anew_in_each_stage(write_stages):
    text = "warmup_steps: 2, continue: true, rewarm_steps: 2"
    file = load_space(write_stages((text, "warmup_steps: 2")))
    schedules = [each.space.training.schedule for each in file.stages]
    assert schedules[0] == schedules[1] == schedules[2]
    assert schedules[0].total_steps is None
    assert schedules[0].warmup_steps == 2


def test_the_warm_up_of_one_schedule_over_all_may_be_longer_than_a_stage(write_stages):
    file = load_space(write_stages(("warmup_steps: 2", "warmup_steps: 30")))
    assert file.stages[0].space.training.steps < 30
    anew = ("warmup_steps: 2, continue: true, rewarm_steps: 2", "warmup_steps: 30")
    with pytest.raises(SpaceError, match=r"stage 1: .*beyond the final step"):
        load_space(write_stages(anew))


def test_the_list_and_the_shorthand_are_one(write_stages):
    short, listed = load_space(write_stages()), load_space(write_stages(listed=True, name="l.yaml"))
    assert [each.space for each in short.stages] == [each.space for each in listed.stages]


def test_a_stage_overrides_training_evaluation_and_search(write_stages):
    own = (
        "steps: 24\n    lag: 7\n    training: {batch_size: 2}\n"
        "    evaluation: {batches: 3}\n    search: {signal: trend}"
    )
    file = load_space(write_stages(("steps: 24", own), listed=True))
    second, third = file.stages[1].space, file.stages[2].space
    assert (third.search.lag, third.search.signal) == (7, "trend")
    assert (third.training.batch_size, third.evaluation.batches) == (2, 3)
    assert (second.search.lag, second.training.batch_size) == (10, 4)
    assert third.training.optimizer.lr == 3e-3


def test_other_seeds_keep_the_validation_batches(write_stages):
    file = load_space(write_stages(("{lag: 10}", "{lag: 10, seeds: [3, 5]}")))
    assert file.seeds == (3, 5)
    other = file.under(5)
    assert [each.space.seed for each in other.stages] == [5, 5, 5]
    assert [each.space.evaluation.seed for each in other.stages] == [3, 3, 3]
    assert all(each.space.search.seeds == () for each in (*file.stages, *other.stages))
    assert file.under(3) is file


REFUSED = [
    ([("to: 3", "to: 1")], 13, "stages.to 1: is not above the 1 layers"),
    ([("count: 3", "counts: 3")], 14, "stages.counts 3: unknown key; did you mean 'count'?"),
    ([("batch_size: 4", "batchsize: 4")], 18, "training.batchsize 4: stage 1: unknown key"),
    ([("lag: 10", "lag: 21")], 22, "search.lag 21: stage 2: is beyond the final step"),
    ([("training:\n", "training:\n  steps: 9\n")], 18, "training.steps 9: is given by the stages"),
    ([("{lag: 10}", "{lag: 10, seeds: [4]}")], 22, "search.seeds [4]: stage 1: must begin with"),
    (
        [("lag: 10", "lag: 10, vary_sources: true, seeds: [3, 4]")],
        22,
        "search.vary_sources true: has no effect with stages",
    ),
    ([("{lag: 10}", "7")], 22, "search 7: must be a mapping of keys to values"),
    ([("schedule: {", "schedule: 3  # {")], 20, "training.schedule 3: stage 1: must be a mapping"),
    ([("name: tiny-stages", "nam: tiny")], 1, 'nam "tiny": unknown key; did you mean'),
]


@pytest.mark.parametrize(("replacements", "line", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_its_line(write_stages, replacements, line, message):
    path = write_stages(*replacements)
    with pytest.raises(SpaceError, match=re.escape(f"{path}:{line}: {message}")):
        load_space(path)


IN_LIST = [
    ([("steps: 24", "steps: 9")], 24, "search.lag 10: stage 3: is beyond the final step"),
    ([("steps: 24", "steps: 24\n    lag: 30")], 19, "stages[2].lag 30: stage 3: is beyond"),
    ([("steps: 24", "stepz: 24")], 18, "stages[2].stepz 24: unknown key; did you mean 'steps'?"),
    ([("- target: {num_hidden_layers: 3}\n    ", "- ")], 16, "stage 3: target is required"),
    (
        [("steps: 24", "steps: 24\n    training: {batch: 2}")],
        19,
        "stages[2].training.batch 2: stage 3: unknown key",
    ),
    (
        [("- target: {num_hidden_layers: 2}", "- model: {model_type: llama}")],
        13,
        "stage 2: belongs to the first stage",
    ),
    (
        [("steps: 24", "steps: 24\n    training: {steps: 2}")],
        19,
        "stages[2].training.steps 2: stage 3: write the stage's own `steps`",
    ),
    (
        [("steps: 24", "steps: 24\n    search: {seeds: [3, 4]}")],
        19,
        "stage 3: under each seed all stages are gone through",
    ),
    ([("num_hidden_layers: 1, ", "")], 10, "stage 1: num_hidden_layers is required"),
]


@pytest.mark.parametrize(("replacements", "line", "message"), IN_LIST)
def test_what_cannot_be_in_a_list_is_refused_with_stage_and_line(
    write_stages, replacements, line, message
):
    path = write_stages(*replacements, listed=True)
    with pytest.raises(SpaceError, match=re.escape(f"{path}:{line}: ")) as refused:
        load_space(path)
    assert message in str(refused.value)


def test_sources_and_a_model_exclude_each_other(write_stages):
    sources = "sources: [{name: a, checkpoint: here}]\nstages:"
    with pytest.raises(SpaceError, match=r"stages\.model.*but there are sources"):
        load_space(write_stages(("stages:", sources)))
    with pytest.raises(SpaceError, match=r"stage 1: is required where there are no sources"):
        load_space(write_stages((MODEL, ""), listed=True))


def test_a_schedule_goes_on_from_a_checkpoint_only_with_its_steps(write_stages):
    sources = "sources: [{name: a, checkpoint: here}]\nstages:"
    model = write_stages(listed=True).read_text().split("  - model:")[1].split("  - target:")[0]
    grown = " target: {num_hidden_layers: 1}\n    candidates: [{operator: stack}]\n    steps: 20\n"
    replacements = [("stages:", sources), ("  - model:" + model, "  -" + grown)]
    with pytest.raises(SpaceError, match=r"stage 1: needs the checkpoint's steps"):
        load_space(write_stages(*replacements, listed=True))
    told = load_space(write_stages(*replacements, ("continue: true", "continue: 50"), listed=True))
    assert [each.space.training.schedule.continued for each in told.stages] == [50, 70, 90]


def test_an_override_reaches_a_stage(write_stages):
    path = write_stages(listed=True)
    assert load_space(path, ["stages.2.steps=30"]).stages[2].space.training.steps == 30
    with pytest.raises(SpaceError, match=r"^--set search\.lag=10: search\.lag 10: stage 3"):
        load_space(path, ["stages.2.steps=5", "search.lag=10"])


def test_where_one_growth_is_meant_stages_are_refused(write_stages):
    with pytest.raises(SpaceError, match=r"stages.*belongs to `lagsearch run`"):
        load_space(write_stages()).stage  # noqa: B018


def test_sequences_behind_a_stage_are_those_of_the_schema(write_stages):
    """A stage's own batch size, that of all, and the default where nobody says any."""
    first = "num_key_value_heads: 1, max_position_embeddings: 32}\n    steps: 20"
    own = (first, f"{first}\n    training: {{batch_size: 6}}")
    file = load_space(write_stages(own, listed=True))
    assert [each.space.before.sequences for each in file.stages] == [0, 20 * 6, 20 * 6 + 20 * 4]
    default = Training.model_fields["batch_size"].default
    file = load_space(write_stages(("  batch_size: 4\n", "")))
    assert [each.space.before.sequences for each in file.stages] == [0, 20 * default, 40 * default]
