"""Shares of variance by hand, against scipy, and what noise must not be called."""

import itertools

import numpy as np
import pytest
import scipy.stats

from lagsearch.selection import importance
from lagsearch.selection.importance import Marginal

RNG = np.random.default_rng


def lag(index, init):
    return ("lag", {"index": index, "init": init, "source": "small"})


def grid(loss):
    """Candidates index 0, 1, 2 by init copy, random, twice each but for the names."""
    designs, losses = {}, {}
    for index, init in itertools.product((0, 1, 2), ("copy", "random")):
        name = f"{index}-{init}"
        designs[name], losses[name] = lag(index, init), loss(index, init)
    return designs, losses


def test_by_hand():
    """Losses 1 2 2 3 3 4: index has means 1.5 2.5 3.5, init 2 and 3.

    Total sum of squares 5.5; index explains 2 * (1 + 0 + 1) = 4, init 6 * 0.25 = 1.5. Less what
    chance would: 1 - (1.5 / 3) / (5.5 / 5) and 1 - (4 / 4) / (5.5 / 5).
    """
    designs, losses = grid(lambda index, init: 1.0 + index + (init == "random"))
    index, init = importance(designs, losses, RNG(0))
    assert (index.operator, index.name) == ("lag", "index")
    assert (init.operator, init.name) == ("lag", "init")
    assert index.importance == pytest.approx(1 - 0.5 / 1.1)
    assert init.importance == pytest.approx(1 - 1 / 1.1)
    assert [(each.value, each.mean, each.candidates) for each in index.marginals] == [
        ("0", 1.5, ("0-copy", "0-random")),
        ("1", 2.5, ("1-copy", "1-random")),
        ("2", 3.5, ("2-copy", "2-random")),
    ]
    # t of one degree of freedom at 97.5 %: 12.7062; standard error 0.7071 / sqrt(2) = 0.5
    assert index.marginals[0].interval == pytest.approx((1.5 - 6.3531, 1.5 + 6.3531), abs=1e-4)


def test_permutations_counted_one_by_one():
    designs, losses = grid(lambda index, init: 1.0 + index + (init == "random"))
    found = {each.name: each.p_value for each in importance(designs, losses, RNG(0))}
    values = np.array(list(losses.values()))
    groups = {"index": [[0, 1], [2, 3], [4, 5]], "init": [[0, 2, 4], [1, 3, 5]]}
    for name, rows in groups.items():

        def between(order, rows=rows):
            return sum(len(each) * (order[each].mean() - values.mean()) ** 2 for each in rows)

        own = between(values)
        every = [between(values[list(p)]) >= own - 1e-9 for p in itertools.permutations(range(6))]
        assert found[name] == pytest.approx(np.mean(every), abs=0.015)


def test_f_test_agrees_where_losses_are_normal():
    generator = RNG(3)
    designs = {f"{i}-{k}": ("stack", {"a": k}) for i in range(12) for k in range(3)}
    losses = {name: generator.normal() + 0.5 * each[1]["a"] for name, each in designs.items()}
    [found] = importance(designs, losses, RNG(1))
    groups = [[losses[name] for name in designs if designs[name][1]["a"] == k] for k in range(3)]
    tested = scipy.stats.f_oneway(*groups)
    assert found.p_value == pytest.approx(tested.pvalue, abs=0.02)
    # adjusted R squared from F: 1 - (n - 1) / (n - k + (k - 1) F)
    assert found.importance == pytest.approx(1 - 35 / (33 + 2 * tested.statistic))


def test_noise_is_not_called_important():
    """Of 300 searches whose losses are noise, about 5 % are significant, and few shares are big."""
    generator, p_values, shares = RNG(5), [], []
    designs, _ = grid(lambda index, init: 0.0)
    for number in range(300):
        losses = {name: generator.normal() for name in designs}
        for each in importance(designs, losses, RNG(number)):
            p_values.append(each.p_value)
            shares.append(each.importance)
    assert np.mean(np.array(p_values) <= 0.05) < 0.07
    assert np.median(shares) < 0.05


def test_the_operator_over_all_and_settings_within_each():
    designs = {
        "l0": lag(0, "copy"),
        "l1": lag(0, "random"),
        "l2": lag(1, "copy"),
        "l3": lag(1, "random"),
        "s0": ("stack", {"order": "a b"}),
        "s1": ("stack", {"order": "b a"}),
        "s2": ("stack", {"order": "b a", "index": 7}),
        "z": ("zero", {}),
    }
    losses = {name: float(place) for place, name in enumerate(designs)}
    found = importance(designs, losses, RNG(0))
    dimensions = [(each.operator, each.name) for each in found]
    assert dimensions == [
        (None, "operator"),
        ("lag", "index"),
        ("lag", "init"),
        ("stack", "order"),
    ]
    assert found[0].marginals[2] == Marginal("zero", 7.0, ("z",), None)
    assert [each.candidates for each in found[3].marginals] == [("s0",), ("s1", "s2")]


def test_what_cannot_be_told_from_chance_is_left_out():
    """One value, or each value once."""
    designs = {f"c{k}": ("lag", {"index": k, "init": "copy"}) for k in range(5)}
    assert importance(designs, {name: RNG(0).normal() for name in designs}, RNG(0)) == []
    assert importance({}, {}, RNG(0)) == []


def test_candidates_without_a_loss_are_left_out():
    designs, losses = grid(lambda index, init: 1.0 + index + (init == "random"))
    more = {**designs, "failed": lag(0, "copy"), "unseen": lag(9, "copy")}
    with_gaps = importance(more, {**losses, "failed": float("nan")}, RNG(0))
    assert with_gaps == importance(designs, losses, RNG(0))


def test_equal_losses_have_no_importance():
    designs, losses = grid(lambda index, init: 1.7)
    for each in importance(designs, losses, RNG(0)):
        assert (each.importance, each.p_value) == (0.0, 1.0)


def test_lists_and_numbers_are_values():
    designs = {
        f"c{k}": ("multi", {"layers": [k % 2, 1], "noise": 0.5 if k < 2 else None})
        for k in range(4)
    }
    found = importance(designs, {f"c{k}": float(k) for k in range(4)}, RNG(0))
    assert [[each.value for each in one.marginals] for one in found] == [
        ["[0, 1]", "[1, 1]"],
        ["0.5", "null"],
    ]


def test_an_operator_in_an_operator_is_said_by_its_name_and_settings():
    width = {"operator": "net2net", "split": "uneven", "a": [1, 2]}
    designs = {str(n): ("combined", {"width": width if n % 2 else "aki"}) for n in range(8)}
    losses = {name: float(int(name) % 2) for name in designs}
    found = importance(designs, losses, np.random.default_rng(0))
    assert {each.value for each in found[0].marginals} == {"aki", "net2net, a [1, 2], split uneven"}
