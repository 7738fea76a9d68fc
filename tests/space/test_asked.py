import pytest

from lagsearch.errors import SpaceError
from lagsearch.planning.names import check_names
from lagsearch.space import AskedTask, Harness, asked_tasks, chosen_candidates, load_space

GSTACK = [
    "lambada_openai",
    "arc_challenge",
    "arc_easy",
    "logiqa",
    "piqa",
    "sciq",
    "winogrande",
    "wikitext",
]


def test_ready_made_lists_are_those_of_the_papers():
    assert asked_tasks(Harness(tasks=("gstack",))) == tuple(AskedTask(name, 0) for name in GSTACK)
    assert asked_tasks(Harness(tasks=("lag",))) == (
        AskedTask("tydiqa_goldp_en", 1),
        AskedTask("triviaqa", 1),
        AskedTask("lambada_openai", 1),
    )


def test_a_number_of_examples_is_that_of_all_and_a_task_is_asked_for_once():
    both = asked_tasks(Harness(tasks=("gstack", "lag")))
    assert [each for each in both if each.name == "lambada_openai"] == [
        AskedTask("lambada_openai", 0),
        AskedTask("lambada_openai", 1),
    ]
    given = asked_tasks(Harness(tasks=("gstack", "lag", "mine"), num_fewshot=5))
    assert {each.num_fewshot for each in given} == {5}
    assert len(given) == 8 + 3 - 1 + 1
    assert asked_tasks(Harness(tasks=("mine",))) == (AskedTask("mine", None),)


def test_candidates_are_chosen_by_name_and_pattern_in_the_order_of_the_space():
    names = {name: name for name in ("lag-i0", "lag-i1", "stack", "scratch")} | {"last": "lag-i1"}
    harness = Harness(tasks=("a",), candidates=("s*k", "lag-i1", "*-i1"))
    assert chosen_candidates(harness, names) == ("lag-i1", "stack")
    assert chosen_candidates(Harness(tasks=("a",), candidates=("las*",)), names) == ("lag-i1",)
    assert chosen_candidates(Harness(tasks=("a",)), names) == ()


def harness(text):
    return ("evaluation: {batches: 4}", f"evaluation: {{batches: 4, harness: {text}}}")


REFUSED = [
    ("{tasks: [a, a]}", r'tasks\[1\] "a": is asked for by a already'),
    ("{tasks: [gstack, piqa]}", r'tasks\[1\] "piqa": is asked for by gstack already'),
    ("{tasks: [piqa, gstack]}", r'tasks\[1\] "gstack": is asked for by piqa already'),
    ("{tasks: []}", r"harness\.tasks \[\]: must list at least 1"),
    ("{tasks: [a], limit: 0}", r"harness\.limit 0: must be greater than or equal to 1"),
    ("{tasks: [a], shots: 1}", r"harness\.shots 1: unknown key.*num_fewshot"),
    ("{}", r"harness\.tasks: is required"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[each[0] for each in REFUSED])
def test_what_cannot_be_is_refused(write_space, text, message):
    with pytest.raises(SpaceError, match=message):
        load_space(write_space(harness(text)))


def test_masked_models_are_refused(write_space):
    path = write_space(harness("{tasks: [a]}"), ("{name: causal}", "{name: masked}"))
    with pytest.raises(SpaceError, match=r"space\.yaml:\d+: evaluation\.harness .*masked"):
        check_names(load_space(path))
