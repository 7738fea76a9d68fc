import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lagsearch.selection import (
    LossTable,
    Place,
    indistinguishable,
    noise_floor,
    p_values,
    places,
    stability,
    standard_errors,
)

# Ten batches of noise with mean 0 and standard deviation 1 (n - 1 in the denominator).
PATTERN = scipy.stats.zscore(np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 8.0]), ddof=1)
SHARED = np.array([5.0, 2.0, 7.0, 1.0, 3.0, 2.0, 8.0, 4.0, 6.0, 2.0])


def losses_with(p_value):
    """Batch losses whose paired t-test against SHARED gives a p-value (two sides, 9 degrees)."""
    t = scipy.stats.t.isf(p_value / 2, len(PATTERN) - 1)
    return SHARED + t / math.sqrt(len(PATTERN)) + PATTERN


def told_apart(p_values, level=0.05):
    curves = {"best": {7: SHARED.tolist()}}
    curves |= {name: {7: losses_with(p).tolist()} for name, p in p_values.items()}
    return set(p_values) - set(indistinguishable(LossTable.of(curves), 7, level))


def test_the_construction_gives_its_p_values():
    for p_value in (0.2, 0.03, 0.001):
        found = scipy.stats.ttest_rel(losses_with(p_value), SHARED)
        assert found.pvalue == pytest.approx(p_value)
        assert found.statistic > 0


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        pytest.param({"a": 0.049}, {"a"}, id="one-needs-no-correction"),
        pytest.param({"a": 0.051}, set(), id="one-above-the-level"),
        # thresholds 0.05/3, 0.05/2, 0.05: Bonferroni would keep only a
        pytest.param({"a": 0.016, "b": 0.024, "c": 0.049}, {"a", "b", "c"}, id="all-by-steps"),
        # b fails 0.025, so c is not looked at although 0.04 < 0.05
        pytest.param({"a": 0.016, "b": 0.026, "c": 0.04}, {"a"}, id="stops-at-the-first"),
        pytest.param({"a": 0.017, "b": 0.018, "c": 0.019}, set(), id="first-fails"),
        pytest.param({"c": 0.04, "a": 0.9, "b": 0.001}, {"b"}, id="any-order"),
        pytest.param({"a": 0.012, "b": 0.5, "c": 0.012, "d": 0.6}, {"a", "c"}, id="four"),
    ],
)
def test_holm_by_hand(p_values, expected):
    assert told_apart(p_values) == expected


def test_level():
    p_values = {"a": 0.004, "b": 0.03}
    assert told_apart(p_values, level=0.05) == {"a", "b"}
    assert told_apart(p_values, level=0.01) == {"a"}
    assert told_apart(p_values, level=0.001) == set()


def plain_holm(table, step, level):
    """Return the candidates other than the winner that a plain Holm procedure keeps."""
    losses = table.at(step)
    winner = int(np.argmin(losses))
    batches = table.batches_at(step)[:, 0]
    p_values = {
        name: scipy.stats.ttest_rel(batches[c], batches[winner]).pvalue
        for c, name in enumerate(table.candidates)
        if c != winner
    }
    kept = set(p_values)
    for rank, name in enumerate(sorted(p_values, key=p_values.get)):
        if p_values[name] > level / (len(p_values) - rank):
            break
        kept.remove(name)
    return kept


@given(st.integers(0, 10_000), st.integers(2, 8), st.sampled_from([0.01, 0.05, 0.2]))
@settings(max_examples=60)
def test_holm_on_random_losses(seed, n_candidates, level):
    generator = np.random.default_rng(seed)
    common = generator.normal(0, 1, 8)
    means = generator.normal(0, 0.3, n_candidates)
    table = LossTable.of(
        {
            f"c{c}": {3: (2 + means[c] + common + generator.normal(0, 0.3, 8)).tolist()}
            for c in range(n_candidates)
        }
    )
    winner = table.candidates[int(np.argmin(table.at(3)))]
    assert set(indistinguishable(table, 3, level)) - {winner} == plain_holm(table, 3, level)


def test_winner_is_not_in_the_list():
    assert told_apart({"a": 0.9}) == set()
    table = LossTable.of({"best": {7: SHARED.tolist()}, "a": {7: losses_with(0.9).tolist()}})
    assert indistinguishable(table, 7) == ["a"]


def test_pairing_sees_through_common_noise():
    small = 0.001 * PATTERN
    table = LossTable.of({"a": {7: (SHARED + 0.01 + small).tolist()}, "b": {7: SHARED.tolist()}})
    assert indistinguishable(table, 7) == []


def test_equal_losses_cannot_be_told_apart():
    table = LossTable.of({name: {7: SHARED.tolist()} for name in ("a", "b", "c")})
    assert indistinguishable(table, 7) == ["b", "c"]


def test_equal_losses_do_not_hide_a_clear_loser():
    curves = {"a": SHARED, "b": SHARED, "c": losses_with(1e-6)}
    table = LossTable.of({name: {7: each.tolist()} for name, each in curves.items()})
    assert indistinguishable(table, 7) == ["b"]


def test_difference_without_noise_is_a_difference():
    table = LossTable.of({"a": {7: [1.0, 2.0, 4.0]}, "b": {7: [1.5, 2.5, 4.5]}})
    assert indistinguishable(table, 7) == []


def test_one_batch_tells_nothing_apart():
    table = LossTable.of({"a": {7: [1.0]}, "b": {7: [9.0]}})
    assert indistinguishable(table, 7) == ["b"]


def test_candidates_without_a_loss_are_not_compared():
    """They neither appear nor make the correction stricter: 0.04 stands alone."""
    curves = {"best": {7: SHARED.tolist()}, "a": {7: losses_with(0.04).tolist()}}
    curves |= {"b": {3: SHARED.tolist()}, "c": {7: [math.nan] * 10}}
    assert indistinguishable(LossTable.of(curves), 7) == []


def test_a_lone_candidate():
    assert indistinguishable(LossTable.of({"a": {7: SHARED.tolist()}}), 7) == []


# Several seeds


def satterthwaite(losses_CEN, c):
    """The paired test of candidate c against candidate 0, mean square by mean square."""
    n_candidates, n_seeds, size = losses_CEN.shape
    difference = losses_CEN[c] - losses_CEN[0]
    by_batch = difference.mean(axis=0).var(ddof=1) / size
    means = losses_CEN.mean(axis=2)
    table = means - means.mean(axis=0) - means.mean(axis=1)[:, None] + means.mean()
    seed_freedom = (n_candidates - 1) * (n_seeds - 1)
    by_seed = 2 * (table**2).sum() / seed_freedom / n_seeds
    left = difference - difference.mean(axis=0) - difference.mean(axis=1)[:, None]
    left = left + difference.mean()
    left_freedom = (n_seeds - 1) * (size - 1)
    twice = (left**2).sum() / left_freedom / (n_seeds * size)
    variance = max(by_batch + by_seed - twice, by_batch, by_seed)
    freedom = variance**2 / (
        by_batch**2 / (size - 1) + by_seed**2 / seed_freedom + twice**2 / left_freedom
    )
    return 2 * scipy.stats.t.sf(abs(difference.mean()) / math.sqrt(variance), freedom)


def table_of(losses_CEN, step=7):
    names = [f"c{c}" for c in range(len(losses_CEN))]
    return LossTable.of_seeds(
        {
            name: [{step: each.tolist()} for each in of_seeds]
            for name, of_seeds in zip(names, losses_CEN, strict=True)
        }
    )


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 5), st.integers(2, 9))
@settings(max_examples=40)
def test_p_values_under_several_seeds(seed, n_candidates, n_seeds, size):
    generator = np.random.default_rng(seed)
    losses = generator.normal(0, 1, (n_candidates, n_seeds, size))
    losses += generator.normal(0, 0.5, (n_candidates, n_seeds, 1))
    order = losses.mean(axis=(1, 2)).argsort()
    found = p_values(table_of(losses), 7)
    assert list(found) == [f"c{c}" for c in order[1:]]
    for place, name in enumerate(found, start=1):
        assert found[name] == pytest.approx(satterthwaite(losses[order], place), rel=1e-9)


def test_p_values_of_one_batch_under_several_seeds_are_those_of_two_way_anova():
    """Two candidates, one batch: the paired t-test over seeds."""
    losses = np.random.default_rng(4).normal(0, 1, (2, 5, 1))
    losses[1] += 3
    expected = scipy.stats.ttest_rel(losses[1, :, 0], losses[0, :, 0]).pvalue
    assert p_values(table_of(losses), 7)["c1"] == pytest.approx(expected)


# Places


def placed(losses_CEN, seed=0, resamples=4000):
    return places(table_of(losses_CEN), 7, np.random.default_rng(seed), resamples)


def test_places_without_noise_are_the_ranks():
    losses = np.array([3.0, 1.0, 2.0])[:, None, None] + np.arange(4.0)
    assert placed(losses) == {
        "c1": Place(1, 1, 1.0),
        "c2": Place(2, 2, 0.0),
        "c0": Place(3, 3, 0.0),
    }


def test_equal_candidates_share_their_places():
    noise = 0.01 * PATTERN
    losses = np.stack([PATTERN + 9, PATTERN, PATTERN + noise - noise])[:, None, :]
    found = placed(losses)
    assert [found[name] for name in ("c1", "c2", "c0")] == [
        Place(1, 2, 0.5),
        Place(1, 2, 0.5),
        Place(3, 3, 0.0),
    ]


def test_places_of_two_by_hand():
    """The second is best where the difference, 2 of its standard errors widened, falls below 0.

    The batch means of two candidates differ by d with error s: noise has s^2 / 2 of the variance
    d^2 / 2 between the candidates, so that resamples are widened by 1 / sqrt(1 - s^2 / d^2).
    """
    error = PATTERN.std(ddof=1) / math.sqrt(len(PATTERN))
    losses = np.stack([SHARED, SHARED + PATTERN + 2 * error])[:, None, :]
    found = placed(losses, resamples=40_000)
    expected = scipy.stats.norm.sf(2 * math.sqrt(1 - 1 / 4))
    assert found["c1"].p_best == pytest.approx(expected, abs=0.01)
    assert found["c0"].p_best == pytest.approx(1 - expected, abs=0.01)
    assert (found["c0"].low, found["c0"].high) == (1, 2)


def test_a_candidate_that_stands_apart_does_not_make_the_others_surer():
    losses = np.stack([SHARED, SHARED + PATTERN + 0.4, SHARED + PATTERN[::-1] + 90])[:, None, :]
    table, generator = table_of(losses), np.random.default_rng
    two = places(table.only(["c0", "c1"]), 7, generator(0), 4000)["c1"].p_best
    all_alike = places(table, 7, generator(0), 4000)["c1"].p_best
    apart = places(table, 7, generator(0), 4000, alike=["c0", "c1"])["c1"].p_best
    assert apart == pytest.approx(two, abs=0.03)
    assert all_alike < apart - 0.05


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 3), st.integers(1, 6))
@settings(max_examples=40)
def test_places_hold_together(seed, n_candidates, n_seeds, size):
    losses = np.random.default_rng(seed).normal(0, 1, (n_candidates, n_seeds, size))
    found = placed(losses, resamples=100)
    assert len(found) == n_candidates
    assert sum(each.p_best for each in found.values()) == pytest.approx(1)
    assert all(1 <= each.low <= each.high <= n_candidates for each in found.values())
    means = [losses[int(name[1:])].mean() for name in found]
    assert means == sorted(means)


def test_candidates_without_a_loss_have_no_place():
    table = LossTable.of({"a": {7: [1.0, 2.0]}, "b": {3: [1.0, 2.0]}, "c": {7: [math.nan] * 2}})
    assert places(table, 7, np.random.default_rng(0)) == {"a": Place(1, 1, 1.0)}
    assert places(table.only(["b", "c"]), 7, np.random.default_rng(0)) == {}


# Stability


def curves_of(losses_by_step):
    """{step: [loss of c0, loss of c1, ...]} to a table with one batch; None is a gap."""
    n = len(next(iter(losses_by_step.values())))
    return LossTable.of(
        {
            f"c{c}": {
                step: [losses[c]]
                for step, losses in losses_by_step.items()
                if losses[c] is not None
            }
            for c in range(n)
        }
    )


def test_stability_looks_back_to_half_of_the_step():
    table = curves_of(
        {
            0: [1, 2, 3, 4],
            40: [4, 3, 2, 1],
            50: [2, 1, 3, 4],
            60: [4, 3, 2, 1],
            100: [1, 2, 3, 4],
            200: [4, 3, 2, 1],
        }
    )
    step, correlation = stability(table, 100)
    assert step == 50
    assert correlation == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    step, correlation = stability(table, 99 + 101)
    assert step == 100
    assert correlation == pytest.approx(-1.0)


def test_stability_between_evaluated_steps():
    table = curves_of({0: [1, 2, 3], 3: [3, 1, 2], 5: [1, 2, 3], 9: [1, 2, 3]})
    step, correlation = stability(table, 9)
    assert step == 3
    assert correlation == pytest.approx(scipy.stats.spearmanr([3, 1, 2], [1, 2, 3]).statistic)


def test_step_0_tells_nothing():
    assert stability(curves_of({0: [1, 2, 3], 60: [1, 2, 3], 100: [1, 2, 3]}), 100) is None


def test_two_candidates_tell_nothing():
    assert stability(curves_of({0: [1, 2], 50: [1, 2], 100: [1, 2]}), 100) is None
    gap = curves_of({0: [1, 2, 3], 50: [1, 2, None], 100: [1, 2, 3]})
    assert stability(gap, 100) is None


def test_gaps_are_left_out():
    table = curves_of({50: [1, 2, None, 3], 100: [1, 3, 0, 2]})
    step, correlation = stability(table, 100)
    assert step == 50
    assert correlation == pytest.approx(0.5)  # ranks 1 2 3 against 1 3 2


@pytest.mark.parametrize(("seeds", "size"), [(1, 6), (3, 1), (3, 6)])
def test_standard_errors_add_the_variances_over_seeds_and_over_batches(seeds, size):
    losses_SEN = np.random.default_rng(0).normal(2.0, 0.1, (4, seeds, size))
    for found, losses_EN in zip(standard_errors(losses_SEN), losses_SEN, strict=True):
        over_seeds = scipy.stats.sem(losses_EN.mean(axis=1)) if seeds > 1 else 0.0
        over_batches = scipy.stats.sem(losses_EN.mean(axis=0)) if size > 1 else 0.0
        assert found == pytest.approx((over_seeds**2 + over_batches**2) ** 0.5)


def test_one_batch_under_one_seed_has_no_standard_error():
    assert standard_errors(np.ones((2, 1, 1))) == [None, None]


def test_the_noise_floor_is_the_median_half_width_of_differences():
    batches = np.random.default_rng(3).normal(2.0, 0.1, (4, 12))
    batches += np.array([0.0, 0.3, 0.4, 0.5])[:, None]
    table = LossTable.of({f"c{row}": {7: losses.tolist()} for row, losses in enumerate(batches)})
    widths = []
    for losses in batches[1:]:
        low, high = scipy.stats.ttest_rel(losses, batches[0]).confidence_interval(0.95)
        widths.append((high - low) / 2)
    assert noise_floor(table, 7) == pytest.approx(np.median(widths))


def test_losses_measured_once_have_no_noise_floor():
    assert noise_floor(LossTable.of({"a": {7: [1.0]}, "b": {7: [2.0]}}), 7) is None
    assert noise_floor(LossTable.of({"a": {7: [1.0, 1.1]}}), 7) is None
