"""Ties at the choice are broken by a prior, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from lagsearch.selection import Choice, LossTable, Measured, SearchSettings, decide

STEPS = (0, 10, 20, 40)


def measured(means, noise=0.01, batches=16):
    """Return losses of which each batch of each candidate has noise of its own."""
    draw = np.random.default_rng(4)
    names = tuple(f"c{row}" for row in range(len(means)))
    own = draw.normal(0, noise, (len(means), len(STEPS), 1, batches))
    own -= own.mean(axis=-1, keepdims=True)
    return Measured(LossTable.of_batches(names, STEPS, np.array(means)[:, None, None, None] + own))


SEARCH = SearchSettings((20,), 40)
CLOSE = measured([2.0, 2.0005, 2.001, 2.5])


@pytest.mark.parametrize(
    ("prior", "winner"),
    [
        ({}, "c0"),
        ({"c0": 0.6, "c1": 0.5, "c2": 0.2, "c3": 0.0}, "c2"),  # c3 is worse beyond doubt
        ({"c0": 0.6, "c1": 0.5}, "c1"),
        ({"c1": 0.0, "c2": 0.0}, "c0"),  # of the leader it knows nothing
        ({"c0": 0.3, "c1": 0.3}, "c0"),
        ({"c0": 0.1, "c1": 0.3}, "c0"),
    ],
)
def test_of_tied_candidates_the_one_that_is_expected_to_end_best_wins(prior, winner):
    found = decide(CLOSE, replace(SEARCH, prior=prior))
    plain = decide(CLOSE, SEARCH)
    assert isinstance(found, Choice)
    assert found.ranking[0] == winner
    assert found.preferred_to == (None if winner == "c0" else "c0")
    rest = [name for name in plain.ranking if name != winner]
    assert [*found.ranking[1:]] == rest


def test_where_nothing_tells_noise_nothing_is_tied():
    once = measured([2.0, 2.0005, 2.001], batches=1)
    assert decide(once, replace(SEARCH, prior={"c0": 1.0, "c1": 0.0})) == decide(once, SEARCH)


def test_finalists_are_chosen_by_the_loss_and_by_the_prior():
    """A place in other runs counts three times as much as one in the ranking; unknown is 0.5."""
    finalists = SearchSettings((10, 20), 40, strategy="finalists", cut=10, keep=2)
    plain = decide(CLOSE, finalists)
    assert set(plain.stopped) == {"c2", "c3"}
    # places 0, 1/3, 2/3, 1; scores 0 + 3, 1/3 + 0.9, 2/3 + 1.5 (unknown), 1 + 0
    prior = {"c0": 1.0, "c1": 0.3, "c3": 0.0}
    found = decide(CLOSE, replace(finalists, prior=prior))
    assert set(found.stopped) == {"c0", "c2"}
    assert found.ranking[0] == "c1"  # by the loss at K alone: the prior counts once
    assert found.preferred_to is None


def test_a_stopped_candidate_is_not_chosen():
    race = SearchSettings(STEPS[1:3], 40, strategy="race", evidence="forecast", since=10)
    apart = measured([2.0, 2.0005, 3.0], noise=1e-4)
    choice = decide(apart, race)
    found = decide(apart, replace(race, prior={"c0": 1.0, "c1": 0.9, "c2": 0.0}))
    assert found.ranking[0] != "c2" and set(found.stopped) == set(choice.stopped)
