import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lagsearch.selection import (
    LossTable,
    indistinguishable,
    rank_candidates,
    rank_correlation,
    score_step,
)
from lagsearch.selection.scores import (
    METRICS,
    noise_share,
    pearson,
    ranks,
    recall,
    regret,
    regret_of_best_half,
    relative_regret,
    resampled,
    spearman,
)

RNG = np.random.default_rng
# Karp et al. 2024, tables 1 and 2: final validation loss, regret, relative regret. The best at
# initialization is the random block on top.
BERT = {
    "oracle": (1.7461, 0.0, 0.0),
    "last": (1.7747, 0.0286, 0.5517),
    "random": (1.7875, 0.0414, 0.7986),
}
UL2 = {
    "oracle": (2.1254, 0.0, 0.0),
    "lag": (2.1268, 0.0014, 0.0895),
    "last": (2.1357, 0.0103, 0.6582),
    "random": (2.1398, 0.0144, 0.9202),
}


def table_of(losses):
    """One batch for each loss: {candidate: {step: loss}}."""
    return LossTable.of(
        {name: {step: [loss] for step, loss in curve.items()} for name, curve in losses.items()}
    )


def scores_at(table, step, final, resamples=50):
    return score_step(table, step, final, RNG(0), resamples)


def plain_regret(early, final):
    choice = min(range(len(early)), key=lambda c: early[c])
    return final[choice] - min(final)


def plain_recall(early, final, at):
    best = min(range(len(final)), key=lambda c: final[c])
    order = sorted(range(len(early)), key=lambda c: early[c])
    return float(best in order[:at])


losses = st.lists(st.integers(1000, 3000), min_size=3, max_size=12, unique=True).map(
    lambda each: np.array(each) / 1000
)


@st.composite
def two_steps(draw):
    final = draw(losses)
    early = draw(
        st.lists(
            st.integers(1000, 3000), min_size=len(final), max_size=len(final), unique=True
        ).map(lambda each: np.array(each) / 1000)
    )
    return early, final


@st.composite
def two_steps_with_ties(draw):
    n = draw(st.integers(3, 12))
    early, final = (
        np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=float)
        for _ in range(2)
    )
    assume(np.ptp(early) > 0 and np.ptp(final) > 0)
    return early, final


# The paper


@pytest.mark.parametrize(
    ("published", "worst"), [(BERT, 1.798), (UL2, 2.141)], ids=["table-1", "table-2"]
)
def test_published_tables(published, worst):
    """The worst loss is not published: one row implies it, the other rows must then follow."""
    best = published["oracle"][0]
    _, lost, share = published["random"]
    implied = best + lost / share
    assert implied == pytest.approx(worst, abs=5e-4)
    final = {name: row[0] for name, row in published.items()} | {"worst": implied}
    for chosen, (_, expected, expected_share) in published.items():
        early = {name: (1.0 if name == chosen else 2.0 + final[name]) for name in final}
        table = table_of({name: {0: early[name], 100_000: final[name]} for name in final})
        scores, found = scores_at(table, 0, 100_000)
        assert scores["regret"].value == pytest.approx(expected, abs=5e-5)
        assert scores["relative_regret"].value == pytest.approx(expected_share, abs=5e-5)
        assert found[1].value == (1.0 if chosen == "oracle" else 0.0)


def test_equations_by_hand():
    early = np.array([3.0, 1.0, 2.0, 4.0])
    final = np.array([1.5, 1.9, 1.7, 2.5])
    assert regret(early, final) == pytest.approx(1.9 - 1.5)
    assert relative_regret(early, final) == pytest.approx(0.4 / 1.0)
    assert [recall(early, final, m) for m in (1, 2, 3, 4)] == [0, 0, 1, 1]
    # ranks 3 1 2 4 against 1 3 2 4: squared differences 4 + 4 + 0 + 0
    assert spearman(early, final) == pytest.approx(1 - 6 * 8 / (4 * 15))


# Correlations against scipy


@given(two_steps())
def test_correlations_without_ties(pair):
    early, final = pair
    assert spearman(early, final) == pytest.approx(scipy.stats.spearmanr(early, final).statistic)
    assert pearson(early, final) == pytest.approx(scipy.stats.pearsonr(early, final).statistic)


@given(two_steps_with_ties())
def test_correlations_with_ties(pair):
    early, final = pair
    expected = scipy.stats.spearmanr(early, final).statistic
    assert spearman(early, final) == pytest.approx(expected, abs=1e-12)
    expected = scipy.stats.pearsonr(early, final).statistic
    assert pearson(early, final) == pytest.approx(expected, abs=1e-12)


def test_pearson_of_losses_that_hardly_differ():
    early = 1.7 + 1e-7 * np.array([0.0, 1.0, 3.0, 2.0])
    final = 1.6 + 1e-7 * np.array([1.0, 0.0, 2.0, 3.0])
    expected = np.corrcoef([0.0, 1.0, 3.0, 2.0], [1.0, 0.0, 2.0, 3.0])[0, 1]
    assert pearson(early, final) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [2.0, 0.1, 1.7])
@pytest.mark.parametrize("n", [3, 7])
def test_correlation_with_a_constant_is_not_defined(value, n):
    constant, other = np.full(n, value), np.arange(n, dtype=float)
    for score in (pearson, spearman):
        assert np.isnan(score(constant, other))
        assert np.isnan(score(other, constant))
        assert np.isnan(score(constant, constant))


def test_functions_work_on_the_last_axis():
    early, final = RNG(1).random((2, 5, 6)), RNG(2).random((2, 5, 6))
    for score in (pearson, spearman, regret, relative_regret, lambda a, b: recall(a, b, 2)):
        got = score(early, final)
        assert got.shape == (2, 5)
        for a, b in itertools.product(range(2), range(5)):
            assert got[a, b] == pytest.approx(float(score(early[a, b], final[a, b])))


# Regret and recall by their definitions


@given(two_steps())
def test_regret_and_recall(pair):
    early, final = pair
    lost = plain_regret(early.tolist(), final.tolist())
    assert regret(early, final) == pytest.approx(lost)
    assert relative_regret(early, final) == pytest.approx(lost / np.ptp(final))
    for at in range(1, 6):
        assert recall(early, final, at) == plain_recall(early.tolist(), final.tolist(), at)


@given(two_steps())
def test_relations_between_the_scores(pair):
    early, final = pair
    assert 0 <= relative_regret(early, final) <= 1
    assert (regret(early, final) == 0) == (recall(early, final, 1) == 1)
    found = [float(recall(early, final, at)) for at in range(1, len(final) + 1)]
    assert found == sorted(found)
    assert found[-1] == 1


def test_relative_regret_without_a_range():
    assert relative_regret(np.array([1.0, 2.0]), np.array([1.5, 1.5])) == 0


@given(two_steps_with_ties(), st.randoms())
def test_no_score_hangs_on_the_order_of_the_list(pair, chance):
    early, final = pair
    order = list(range(len(early)))
    chance.shuffle(order)
    for metric in METRICS.values():
        again = metric(early[order], final[order])
        np.testing.assert_allclose(metric(early, final), again, rtol=1e-9, atol=1e-12)


@given(two_steps_with_ties())
def test_of_equal_early_losses_regret_is_the_mean_and_recall_the_share(pair):
    early, final = pair
    tied = np.flatnonzero(early == early.min())
    assert regret(early, final) == pytest.approx(np.mean(final[tied]) - final.min())
    assume((final == final.min()).sum() == 1)
    best, generator = int(final.argmin()), RNG(0)
    for at in range(1, 6):
        hits = []
        for _ in range(300):  # orders of the list
            order = generator.permutation(len(early))
            first = order[np.argsort(early[order], kind="stable")][:at]
            hits.append(best in first)
        assert recall(early, final, at) == pytest.approx(np.mean(hits), abs=0.12)


def test_growths_that_start_equal():
    table = table_of({"a": {0: 1.8, 9: 1.7}, "b": {0: 1.8, 9: 1.6}, "c": {0: 1.9, 9: 1.9}})
    scores, found = scores_at(table, 0, 9)
    assert scores["regret"].value == pytest.approx(0.05)
    assert [found[m].value for m in (1, 2, 3)] == [0.5, 1.0, 1.0]


@given(two_steps())
def test_regret_as_a_share_of_the_best_half(pair):
    early, final = pair
    ordered = sorted(final.tolist())
    better = ordered[: max(2, math.ceil(len(final) / 2))]
    lost = plain_regret(early.tolist(), final.tolist())
    assert regret_of_best_half(early, final) == pytest.approx(lost / (better[-1] - better[0]))


def test_one_that_is_far_worse_does_not_set_the_scale_of_the_best_half():
    early, final = np.array([2.0, 1.0, 3.0, 4.0]), np.array([1.0, 1.1, 1.2, 1.3])
    worse = np.array([1.0, 1.1, 1.2, 9.9])
    assert regret_of_best_half(early, final) == regret_of_best_half(early, worse)
    assert relative_regret(early, worse) < relative_regret(early, final) / 10


def test_a_best_half_of_equals_has_no_scale():
    assert np.isnan(regret_of_best_half(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0])))


# The table


def test_table_takes_means_over_batches():
    table = LossTable.of({"b": {10: [1.0, 2.0], 0: [4.0, 5.0]}, "a": {0: [3.0, 3.0]}})
    assert table.candidates == ("b", "a")
    assert table.steps == (0, 10)
    np.testing.assert_array_equal(table.at(0), [4.5, 3.0])
    np.testing.assert_array_equal(table.at(10), [1.5, np.nan])
    np.testing.assert_array_equal(table.batches_at(0), [[[4.0, 5.0]], [[3.0, 3.0]]])
    with pytest.raises(KeyError, match="5"):
        table.at(5)


def test_a_step_may_have_the_first_batches_alone():
    """What only some candidates have at a step is left out there, so that all have the same."""
    table = LossTable.of({
        "a": {0: [1.0, 2.0, 6.0], 5: [4.0, 6.0], 9: [1.0, 3.0, 5.0]},
        "b": {0: [3.0, 3.0, 3.0], 5: [2.0, 4.0, 90.0], 9: [2.0, 2.0, 2.0]},
    })  # fmt: skip
    assert table.batches.shape == (2, 3, 1, 3)
    np.testing.assert_array_equal(table.at(5), [5.0, 3.0])
    np.testing.assert_array_equal(table.batches_at(5), [[[4.0, 6.0]], [[2.0, 4.0]]])
    np.testing.assert_array_equal(table.batches_at(0)[0], [[1.0, 2.0, 6.0]])
    # beside step 5, step 9 has its first two batches, moved from means of 2 to those of all three
    both = table.batches_at_each([5, 9])
    np.testing.assert_array_equal(both[0, :, 0], [[4.0, 6.0], [2.0, 4.0]])
    np.testing.assert_array_equal(both.mean(axis=3)[..., 0], [[5.0, 3.0], [3.0, 2.0]])
    np.testing.assert_array_equal(table.batches_at_each([0, 9]), table.batches[:, [0, 2]])
    np.testing.assert_array_equal(table.under(0).losses, table.losses)
    assert indistinguishable(table.at_step(5), 5) == []  # 2 apart in both batches


def test_resamples_of_steps_with_fewer_batches_vary_as_their_means_do():
    """Means of 4 and of all 12 independent batches: variances 1/4 and 1/12, covariance 1/12."""
    generator = np.random.default_rng(0)
    found = np.zeros((2, 2))
    for _ in range(400):
        losses_CEN = generator.normal(0, 1, (1, 1, 12))
        early, final = resampled([losses_CEN[..., :4], losses_CEN], generator, 200)[:, :, 0]
        found += np.cov(early, final) / 400
    np.testing.assert_allclose(found, [[1 / 4, 1 / 12], [1 / 12, 1 / 12]], rtol=0.15)


def test_a_step_with_fewer_batches_is_scored_by_their_means():
    table = random_table(n_batches=12)
    names, few = table.candidates, table.batches.copy()
    few[:, 1, :, 4:] = np.nan
    thin = LossTable.of_batches(names, table.steps, few)
    found, recalls = score_step(thin, 5, 20, np.random.default_rng(0))
    early, final = table.batches[:, 1, 0, :4].mean(axis=1), table.at(20)
    assert found["spearman"].value == pytest.approx(scipy.stats.spearmanr(early, final).statistic)
    assert found["regret"].value == pytest.approx(final[early.argmin()] - final.min())
    assert found["regret"].low <= found["regret"].value <= found["regret"].high
    assert recalls[1].value == float(early.argmin() == final.argmin())


def test_only_some_candidates():
    table = table_of({"a": {0: 1.0}, "b": {0: 2.0}, "c": {0: 3.0}}).only(["c", "a"])
    assert table.candidates == ("a", "c")
    np.testing.assert_array_equal(table.at(0), [1.0, 3.0])


def test_ranking_puts_missing_last():
    table = table_of(
        {"a": {0: 1.0}, "b": {0: 2.0, 9: 2.0}, "c": {0: 3.0, 9: 1.0}, "d": {9: float("nan")}}
    )
    assert rank_candidates(table, 9) == ["c", "b", "a", "d"]
    assert rank_candidates(table, 0) == ["a", "b", "c", "d"]
    with pytest.raises(KeyError, match="7"):
        rank_candidates(table, 7)


def test_diverged_candidate_ranks_behind_all_finite_ones():
    table = table_of({"a": {5: float("inf")}, "b": {5: 9.0}})
    assert rank_candidates(table, 5) == ["b", "a"]


# Scores of a step


def random_table(n_candidates=7, n_batches=6, steps=(0, 5, 20), seed=0, noise=0.2):
    generator = RNG(seed)
    return LossTable.of(
        {
            f"c{c}": {
                step: (generator.random() + noise * generator.random(n_batches)).tolist()
                for step in steps
            }
            for c in range(n_candidates)
        }
    )


def test_scores_of_a_step_are_those_of_the_means():
    table = random_table()
    scores, found = scores_at(table, 5, 20)
    early, final = table.at(5), table.at(20)
    assert scores["spearman"].value == pytest.approx(scipy.stats.spearmanr(early, final)[0])
    assert scores["pearson"].value == pytest.approx(scipy.stats.pearsonr(early, final)[0])
    assert scores["regret"].value == pytest.approx(plain_regret(early.tolist(), final.tolist()))
    assert sorted(found) == [1, 2, 3, 4, 5]
    for at, score in found.items():
        assert score.value == plain_recall(early.tolist(), final.tolist(), at)


def test_candidates_without_a_loss_are_left_out():
    whole = {"a": {5: 1.0, 9: 3.0}, "b": {5: 2.0, 9: 1.0}, "c": {5: 3.0, 9: 1.5}}
    gaps = {"d": {5: 0.1}, "e": {9: 0.1}, "f": {5: 0.2, 9: math.nan}, "g": {5: math.nan, 9: 0.2}}
    alone, with_gaps = (scores_at(table_of(each), 5, 9) for each in (whole, whole | gaps))
    assert alone == with_gaps
    assert with_gaps[0]["regret"].value == pytest.approx(2.0)
    assert with_gaps[0]["relative_regret"].value == pytest.approx(1.0)


def test_a_step_against_itself():
    scores, found = scores_at(random_table(), 20, 20)
    assert scores["spearman"].value == pytest.approx(1.0)
    assert scores["pearson"].value == pytest.approx(1.0)
    assert scores["regret"].value == 0.0
    assert scores["relative_regret"].value == 0.0
    assert [score.value for score in found.values()] == [1.0] * 5


def test_constant_losses_have_no_correlation():
    table = table_of({"a": {5: 1.7, 9: 3.1}, "b": {5: 1.7, 9: 1.1}, "c": {5: 1.7, 9: 1.3}})
    scores, _ = scores_at(table, 5, 9)
    assert scores["spearman"].value is None
    assert scores["pearson"].value is None
    assert (scores["pearson"].low, scores["pearson"].high) == (None, None)


def test_one_candidate_has_no_correlation():
    scores, _ = scores_at(table_of({"gap": {5: 1.0, 9: math.nan}, "a": {5: 1.5, 9: 1.4}}), 5, 9)
    assert scores["spearman"].value is None
    assert scores["pearson"].value is None


# The bootstrap


@given(two_steps())
@settings(max_examples=30)
def test_noise_free_interval_is_the_value(pair):
    early, final = pair
    table = LossTable.of(
        {
            f"c{c}": {5: [float(e)] * 4, 9: [float(f)] * 4}
            for c, (e, f) in enumerate(zip(early, final, strict=True))
        }
    )
    scores, found = scores_at(table, 5, 9)
    for score in scores.values():
        assert score.low == pytest.approx(score.value, abs=1e-9)
        assert score.high == pytest.approx(score.value, abs=1e-9)
    assert all(score.share == score.value for score in found.values())


def test_bootstrap_is_paired():
    """What is common to all candidates moves no score, however much the batches differ."""
    common = np.array([0.0, 5.0, -3.0, 9.0, 1.0, -7.0])
    early, final = [1.2, 1.1, 1.4, 1.3], [1.15, 1.18, 1.3, 1.25]
    table = LossTable.of(
        {
            f"c{c}": {5: (early[c] + common).tolist(), 9: (final[c] + common).tolist()}
            for c in range(4)
        }
    )
    scores, found = scores_at(table, 5, 9, resamples=200)
    assert scores["regret"].value == pytest.approx(0.03)
    assert scores["relative_regret"].value == pytest.approx(0.2)
    for score in scores.values():
        assert score.low == pytest.approx(score.value, abs=1e-6)
        assert score.high == pytest.approx(score.value, abs=1e-6)
    assert all(score.share == score.value for score in found.values())


def test_bootstrap_resamples_the_same_batches_at_both_steps():
    """Early and final losses are equal batch by batch: so are they in every resample."""
    generator = RNG(3)
    losses_of = {f"c{c}": generator.normal(2.0, 1.0, 8).tolist() for c in range(5)}
    table = LossTable.of({name: {5: each, 9: each} for name, each in losses_of.items()})
    scores, found = scores_at(table, 5, 9, resamples=200)
    for name, value in (("spearman", 1), ("pearson", 1), ("regret", 0), ("relative_regret", 0)):
        assert scores[name].low == pytest.approx(value, abs=1e-9)
        assert scores[name].high == pytest.approx(value, abs=1e-9)
    assert [score.share for score in found.values()] == [1.0] * 5


def plain_resamples(table, n, count=4000):
    """Means of batches drawn with replacement, widened as ten batches vary less than they say."""
    early, final = table.batches_at(5)[:, 0], table.batches_at(20)[:, 0]
    generator = RNG(11)
    for _ in range(count):
        chosen = generator.integers(0, n, n)
        yield tuple(
            each.mean(axis=1)
            + np.sqrt(n / (n - 1)) * (each[:, chosen] - each.mean(axis=1)[:, None]).mean(axis=1)
            for each in (early, final)
        )


def test_intervals_against_a_plain_bootstrap():
    """Of regret the middle 95 %; of correlations as far on both sides as on its farther one."""
    table = random_table(n_candidates=6, n_batches=10, noise=0.8, seed=5)
    drawn = {"spearman": [], "pearson": [], "regret": [], "relative_regret": []}
    for a, b in plain_resamples(table, 10):
        drawn["spearman"].append(scipy.stats.spearmanr(a, b).statistic)
        drawn["pearson"].append(np.corrcoef(a, b)[0, 1])
        drawn["regret"].append(b[a.argmin()] - b.min())
        drawn["relative_regret"].append(drawn["regret"][-1] / np.ptp(b))
    scores, _ = score_step(table, 5, 20, RNG(0), 4000)
    for name, values in drawn.items():
        low, high = np.percentile(values, [2.5, 97.5])
        width, value = high - low, scores[name].value
        assert width > 0
        if name in ("spearman", "pearson"):
            reach = max(high - value, value - low)
            low, high = max(-1, value - reach), min(1, value + reach)
        assert scores[name].low == pytest.approx(low, abs=0.08 * width)
        assert scores[name].high == pytest.approx(high, abs=0.08 * width)


def test_shares_of_recall_against_a_plain_bootstrap():
    table = random_table(n_candidates=6, n_batches=10, noise=2.0, seed=5)
    drawn = list(plain_resamples(table, 10))
    _, found = score_step(table, 5, 20, RNG(0), 4000)
    for at, score in found.items():
        expected = np.mean([plain_recall(a.tolist(), b.tolist(), at) for a, b in drawn])
        assert score.share == pytest.approx(expected, abs=0.03)
        assert (score.low, score.high) == (None, None)
    assert 0.1 < found[2].share < 0.9


def test_where_noise_is_most_of_the_spread_nothing_is_claimed():
    """Ten batches, noise of the means 1 / sqrt(10) against spreads above and below it."""
    for spread, is_known in ((3.0, True), (0.05, False)):
        generator = RNG(8)
        level = spread * np.arange(6) / np.arange(6).std(ddof=1)
        losses_of = {
            f"c{c}": {step: (level[c] + generator.normal(size=10)).tolist() for step in (5, 9)}
            for c in range(6)
        }
        scores, _ = scores_at(LossTable.of(losses_of), 5, 9, resamples=500)
        ends = {name: (score.low, score.high) for name, score in scores.items()}
        assert (ends["spearman"] == (-1.0, 1.0)) == (not is_known)
        assert (ends["pearson"] == (-1.0, 1.0)) == (not is_known)
        assert (ends["relative_regret"] == (0.0, 1.0)) == (not is_known)
        assert ends["regret"][1] < 2


def test_noise_share_by_hand():
    """Variances between candidates 1 and 4; their own noise, what all share left out."""
    means = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    own = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]) * np.sqrt(3)
    shared = np.array([[7.0], [-9.0]])
    drawn = means[:, None, :] + own + shared
    # variances over the two draws 3, 3, 0; their mean 2, times 3 / 2 as one mean was taken off
    np.testing.assert_allclose(noise_share(means, drawn), [3.0, 0.75])
    assert noise_share(means, np.repeat(means[:, None], 2, axis=1)).tolist() == [0, 0]


def test_one_batch_says_nothing_of_noise():
    table = table_of({f"c{c}": {5: c * 0.1, 9: -c * 0.1} for c in range(4)})
    scores, found = scores_at(table, 5, 9)
    for score in [*scores.values(), *found.values()]:
        assert (score.low, score.high, score.share) == (None, None, None)
    assert scores["spearman"].value == pytest.approx(-1)


@given(two_steps_with_ties())
def test_ranks_against_scipy(pair):
    for losses in pair:
        first, last = ranks(np.stack([losses, -losses]))
        for row, each in enumerate((losses, -losses)):
            np.testing.assert_array_equal(first[row], scipy.stats.rankdata(each, "min"))
            np.testing.assert_array_equal(last[row], scipy.stats.rankdata(each, "max"))


def test_ranks_of_what_rounding_alone_tells_apart():
    first, last = ranks(np.array([0.1 + 0.2, 0.3, np.inf, 0.2, np.inf]))
    assert first.tolist() == [2, 2, 4, 1, 4]
    assert last.tolist() == [3, 3, 5, 1, 5]


def test_same_generator_same_interval():
    table = random_table()
    assert score_step(table, 5, 20, RNG(4), 50) == score_step(table, 5, 20, RNG(4), 50)
    one, two = (score_step(table, 5, 20, RNG(seed), 50)[0]["pearson"] for seed in (4, 5))
    assert one.value == two.value
    assert (one.low, one.high) != (two.low, two.high)


def test_more_noise_is_a_wider_interval():
    widths = []
    for noise in (0.01, 1.0):
        score = scores_at(random_table(noise=noise), 5, 20, resamples=200)[0]["pearson"]
        widths.append(score.high - score.low)
    assert widths[0] < widths[1]


# The matrix


def test_rank_correlation_of_every_two_steps():
    table = random_table()
    got = rank_correlation(table)
    assert got.shape == (3, 3)
    for (a, one), (b, two) in itertools.product(enumerate(table.steps), repeat=2):
        expected = scipy.stats.spearmanr(table.at(one), table.at(two)).statistic
        assert got[a, b] == pytest.approx(expected)


def test_rank_correlation_leaves_out_by_pair():
    curves = {
        "a": {0: 1.0, 5: 2.0, 9: 1.0},
        "b": {0: 2.0, 5: 1.0, 9: 2.0},
        "c": {0: 3.0, 5: 3.0, 9: 4.0},
        "d": {0: 4.0, 5: 4.0},
        "e": {0: 0.5, 9: 3.0},
    }
    got = rank_correlation(table_of(curves))
    for (a, one), (b, two) in itertools.product(enumerate((0, 5, 9)), repeat=2):
        both = [curve for curve in curves.values() if one in curve and two in curve]
        expected = scipy.stats.spearmanr([c[one] for c in both], [c[two] for c in both]).statistic
        assert got[a, b] == pytest.approx(expected)
    assert got[0, 0] == got[2, 2] == pytest.approx(1.0)
