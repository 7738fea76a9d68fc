"""What the benchmark's page says, against computations by hand."""

import numpy as np
import pytest

from lagsearch.bench.figures import (
    Claim,
    interaction,
    seed_floor,
)
from lagsearch.bench.strategies import max_t
from lagsearch.operators.labels import label_of
from lagsearch.selection.spread import mean_of


def test_what_a_seed_adds_is_what_growth_and_seed_leave():
    growth, seed = np.array([0.0, 1.0, 3.0]), np.array([0.0, 10.0])
    additive = growth[:, None] + seed[None, :]
    assert interaction(additive) == pytest.approx(0)
    rest = np.array([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
    assert interaction(additive + rest) == pytest.approx(np.sqrt(4 / 2))
    assert interaction(additive[:, :1]) is None
    draw = np.random.default_rng(0)
    many = [interaction(additive + draw.normal(0, 0.3, (3, 2))) for _ in range(2000)]
    assert np.sqrt(np.mean(np.square(many))) == pytest.approx(0.3, rel=0.03)


def test_the_floor_is_what_another_seeds_end_gives_away():
    final = np.array([[1.0, 1.2], [1.1, 1.0], [2.0, 2.0]])
    # seed 0 chooses the first, which is 0.2 of 1.0 behind under seed 1; and the other way round
    assert seed_floor(final) == pytest.approx((0.2 / 1.0 + 0.1 / 1.0) / 2)
    assert seed_floor(final[:, :1]) is None


def test_labels_say_what_a_candidate_is():
    assert label_of("lag", {"init": "random"}, []) == "lag random"
    assert label_of("lag", {"init": "duplicate"}, ["stack"]) == "stack"
    assert label_of("random", {"ramp_steps": 30}, []) == "random faded in"
    assert label_of("random", {"ramp_steps": 0}, []) == "random"
    combined = {"width": {"operator": "zero", "form": "gstack"}, "depth": "stack"}
    assert label_of("combined", combined, []) == "zero + stack"


def test_p_values_are_those_of_chance():
    draw = np.random.default_rng(1)
    null = [max_t(draw.normal(0, 1, (4, 8))).min() for _ in range(40)]
    assert 0.2 < np.mean(np.array(null) < 0.5) < 0.8  # the least of four is no smaller than one
    clear = np.vstack([np.zeros(8), np.full(8, 0.3)])
    assert max_t(clear).tolist() == pytest.approx([1, 2 / 256], abs=0.004)  # both signs, all eight


def test_claims_follow_from_intervals():
    for values, verdict in (
        ([0.1, 0.11, 0.12], "confirmed"),
        ([-0.1, -0.11, -0.12], "contradicted"),
        ([0.1, -0.2, 0.1], "open"),
        ([0.5], "open"),
    ):
        assert Claim("", "", mean_of(values)).verdict == verdict
    assert Claim("", "", None).verdict == "open"
