import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lagsearch.selection import LossTable, PhaseTransition, phase_transition, rank_correlation

UP, DOWN = [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]
SWAPPED = [2, 1, 3, 4, 5]  # correlates with UP by 1 - 6 * 2 / (5 * 24) = 0.9
FAR = [2, 1, 4, 3, 5]  # 0.8 with UP


def table_of(losses_by_step):
    """{step: [loss of c0, loss of c1, ...]} with one batch; None is a gap."""
    n = len(next(iter(losses_by_step.values())))
    return LossTable.of(
        {
            f"c{c}": {s: [each[c]] for s, each in losses_by_step.items() if each[c] is not None}
            for c in range(n)
        }
    )


def test_the_first_step_since_which_all_rankings_agree():
    table = table_of({0: DOWN, 10: DOWN, 20: UP, 30: SWAPPED, 40: UP})
    assert phase_transition(table) == PhaseTransition(20, 40, pytest.approx(0.9))


def test_a_ranking_that_growth_made_is_no_transition():
    """All agree with step 0, as they do before anything has been learnt."""
    table = table_of({0: UP, 1: UP, 2: UP, 5: SWAPPED, 100: UP})
    assert phase_transition(table) is None
    assert phase_transition(table, left=1.01) == PhaseTransition(1, 100, pytest.approx(0.9))


def test_the_margin():
    table = table_of({0: DOWN, 10: DOWN, 20: UP, 30: UP, 39: UP})
    assert phase_transition(table) is None
    assert phase_transition(table, margin=1.95).step == 20
    assert phase_transition(table, margin=1.96) is None


def test_one_step_alone_agrees_with_nothing():
    table = table_of({0: DOWN, 10: DOWN, 20: UP})
    assert phase_transition(table, margin=0) is None


def test_the_threshold_counts_itself():
    table = table_of({0: DOWN, 10: UP, 20: FAR})
    between = rank_correlation(table)[1, 2]
    assert between == pytest.approx(0.8)
    assert phase_transition(table, threshold=between).step == 10
    assert phase_transition(table, threshold=np.nextafter(between, 1)) is None


def test_every_two_must_agree_not_only_neighbours():
    """Neighbours correlate by 0.9, the first with the last by 0.7."""
    slow = [UP, SWAPPED, [2, 1, 3, 5, 4], [3, 1, 2, 5, 4]]
    table = table_of({0: DOWN, 10: slow[0], 20: slow[1], 40: slow[2], 80: slow[3]})
    matrix = rank_correlation(table)
    assert matrix[1, 2] == pytest.approx(0.9)
    assert matrix[1, 4] < 0.8 <= matrix[2, 4]
    assert phase_transition(table).step == 20


def test_nothing_later_than_now_is_known():
    table = table_of({0: DOWN, 10: UP, 20: UP, 40: DOWN})
    assert phase_transition(table, step=20) == PhaseTransition(10, 20, pytest.approx(1))
    assert phase_transition(table) is None


def test_stopped_candidates_count_where_they_were():
    """c5 and c6 are stopped after step 20; without them the order never changes."""
    table = table_of(
        {
            0: [*DOWN, 7, 6],
            10: [*UP, 6, 7],
            20: [*UP, 7, 6],
            40: [*UP, None, None],
        }
    )
    found = phase_transition(table)
    assert found.step == 10
    assert found.spearman == pytest.approx(1 - 6 * 2 / (7 * 48))


def test_two_candidates_or_two_in_common_are_too_few():
    assert phase_transition(table_of({0: [2, 1], 10: [1, 2], 40: [1, 2]})) is None
    gaps = table_of({0: [3, 2, 1, None], 10: [1, 2, None, 3], 40: [1, 2, 3, None]})
    assert phase_transition(gaps) is None


def test_ties():
    """Equal candidates make no ranking; a step at which all are equal agrees with none."""
    flat = [2, 2, 2, 2, 2]
    assert phase_transition(table_of({0: flat, 10: flat, 40: flat})) is None
    assert phase_transition(table_of({0: DOWN, 10: UP, 20: flat, 40: UP})) is None
    # the first ranking is that of step 10, which all later ones have left
    table = table_of({0: flat, 10: DOWN, 20: UP, 40: UP})
    assert phase_transition(table) == PhaseTransition(20, 40, pytest.approx(1))


def test_without_losses():
    assert phase_transition(LossTable.of({})) is None
    assert phase_transition(table_of({0: UP})) is None
    assert phase_transition(table_of({5: [math.nan] * 5, 10: [math.nan] * 5})) is None


@given(st.integers(0, 10_000), st.integers(3, 6), st.integers(2, 6))
@settings(max_examples=100)
def test_the_rule_by_trying_every_step(seed, candidates, n_steps):
    generator = np.random.default_rng(seed)
    steps = [0, *np.cumsum(generator.integers(1, 9, n_steps)).tolist()]
    base = generator.normal(size=candidates)
    table = table_of(
        {
            step: (generator.normal(size=candidates) * 0.4 + (base if step else -base)).tolist()
            for step in steps
        }
    )
    matrix = rank_correlation(table)
    fits = [
        t
        for t in range(1, len(steps) - 1)
        if (matrix[t:, t:] >= 0.8).all()
        and (matrix[0, t:] < 0.6).all()
        and steps[-1] >= 2 * steps[t]
    ]
    found = phase_transition(table)
    assert (found and found.step) == (steps[fits[0]] if fits else None)
