"""What a command says beside the file: all of it is put in before anything is judged."""

import itertools

import pytest

import lagsearch
from lagsearch.errors import SpaceError
from lagsearch.space import Space, load_space, opened, said, written_out

LONG = ("steps: 24", "steps: 600"), ("{lag: 10}", "{lag: 200}")


def test_a_shorter_training_and_its_k_may_be_said_together(write_space):
    path = write_space(*LONG)
    file = opened(path, said(["training.steps=60"], lag=20))
    assert (file.space.training.steps, file.space.search.lag) == (60, 20)
    assert lagsearch.plan(path, lag=20, overrides=["training.steps=60"]).stages[0].lag == 20
    with pytest.raises(SpaceError, match=r"^--lag 61: search.lag 61: is beyond .*steps 60$"):
        opened(path, said(["training.steps=60"], lag=61))


def test_seeds_and_the_seed_may_be_said_together(write_space):
    file = opened(write_space(), said(["seed=7"], seeds=(7, 8)))
    assert file.space.seeds == (7, 8)


def test_every_option_is_put_in(write_space):
    flags = said(lag=5, oracle=True, seeds=(3, 4), profile=True, skip_unfit=True)
    space = opened(write_space(), flags).space
    assert (space.search.lag, space.search.oracle, space.search.seeds) == (5, True, (3, 4))
    assert space.resources.profile
    assert space.search.skip_unfit


SAID = ["training.steps=30", "search={lag: 7}", "search.oracle=true", "candidates.0.index=1"]


def test_the_order_in_which_it_is_said_makes_no_difference(write_space):
    path = write_space()
    spaces = [written_out(load_space(path, each).space) for each in itertools.permutations(SAID)]
    assert all(each == spaces[0] for each in spaces)
    assert (spaces[0]["search"]["lag"], spaces[0]["search"]["oracle"]) == (7, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": 5, "overrides": ["search.lag=6"]}, r"^--set search.lag=6: .* --lag 5: give one"),
        ({"overrides": ["seed=1", "seed=2"]}, r"^--set seed=2: does not go with --set seed=1"),
        ({"lag": 5, "overrides": ["search={lag: 6}"]}, r"^--lag 5: .* --set search={lag: 6}"),
        ({"oracle": True, "overrides": ["search.oracle=false"]}, r"^--set .* with --oracle"),
        ({"seeds": (3, 4), "overrides": ["search.seeds.0=4"]}, r"^--set .* with --seeds 3,4"),
    ],
)
def test_what_is_said_twice_and_differently_is_refused(write_space, options, message):
    with pytest.raises(SpaceError, match=message):
        opened(write_space(), said(**options))


def test_what_is_said_twice_alike_is_said(write_space):
    space = opened(write_space(), said(["search.lag=5", "search={lag: 5}"], lag=5)).space
    assert space.search.lag == 5


def test_a_loaded_space_may_be_said_to_be_another(write_space):
    file = load_space(write_space(), ["search.lag=5"])
    assert opened(file, said(lag=6)).space.search.lag == 6
    assert file.space.search.lag == 5


def test_a_k_that_is_said_holds_in_all_stages(write_stages):
    for replacements in ([("allocation:", "lag: 9\n  allocation:")], []):
        path = write_stages(*replacements)
        for overrides in (["search.lag=4"], ["search.lag=4", "evaluation.batches=3"]):
            file = load_space(path, overrides)
            assert [each.space.search.lag for each in file.stages] == [4, 4, 4]
    file = opened(write_stages(listed=True), said(["stages.2.lag=5"], lag=4))
    assert [each.space.search.lag for each in file.stages][1:] == [4, 5]  # said for it alone


@pytest.mark.parametrize(("steps", "lag"), [(24, 6), (7, 1), (3, 1), (1, 1)])
def test_k_is_a_quarter_of_completion_where_it_is_left_out(write_space, steps, lag):
    path = write_space(
        ("search: {lag: 10}", ""), ("  schedule: {name: cosine, warmup_steps: 2}", "")
    )
    file = load_space(path, [f"training.steps={steps}"])
    assert file.space.search.lag == lag
    assert file.notes == (f"search.lag is left out: K is {lag}, a quarter of the {steps} steps",)
    assert load_space(path, ["search.lag=1"]).notes == ()


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.25, "a quarter"), (0.5, "half"), (0.3, "30 %"), (0.125, "12.5 %")],
)
def test_the_share_of_k_is_the_strategys_with_stages_and_without(
    write_space, write_stages, monkeypatch, share, words
):
    monkeypatch.setattr(Space, "lag_share", property(lambda space: share))
    left_out = ("search: {lag: 10}", ""), ("  schedule: {name: cosine, warmup_steps: 2}", "")
    [note] = load_space(write_space(*left_out)).notes
    assert note == f"search.lag is left out: K is {int(24 * share)}, {words} of the 24 steps"
    [note] = load_space(write_stages(("search: {lag: 10}", ""))).notes
    assert note.startswith(f"search.lag is left out: K is {words} of the steps (stage ")


def test_training_may_be_left_out(write_space):
    whole = write_space().read_text()
    left_out = whole[whole.index("training:") : whole.index("evaluation:")]
    file = load_space(write_space((left_out, "")), ["search.lag=null"])
    assert (file.space.training.steps, file.space.search.lag) == (1000, 250)
    assert [note.partition(":")[0] for note in file.notes] == [
        "training.steps is left out",
        "search.lag is left out",
    ]


def test_each_stage_has_a_quarter_of_its_own_steps(write_stages):
    file = load_space(write_stages(("search: {lag: 10}", "")))
    steps = [each.space.training.steps for each in file.stages]
    lags = [each.space.search.lag for each in file.stages]
    assert lags[1:] == [each // 4 for each in steps[1:]]
    assert [each.get("lag") for each in file.written_out()["stages"]] == [None, *lags[1:]]
    [note] = file.notes
    assert note.endswith(f"(stage 2: {lags[1]}, stage 3: {lags[2]})")
