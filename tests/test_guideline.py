"""G_stack's growth timing against its published rows, and what is said outside of its domain."""

import pytest

from lagsearch.planning.guideline import (
    advise_growth,
    growth_timing,
    is_fitted,
)


@pytest.mark.parametrize(
    ("parameters", "tokens", "published"),
    [(8e9, 15e12, 6.58e9), (7e9, 2e12, 11.11e9), (13e9, 2e12, 15.84e9), (70e9, 2e12, 42.48e9)],
)
def test_the_papers_llama_rows(parameters, tokens, published):
    timing = growth_timing(parameters, 6 * parameters * tokens)
    assert timing == pytest.approx(published, rel=1e-3)


def test_where_it_was_fitted():
    assert is_fitted(1.1e9, 6e20)
    assert not is_fitted(0.3e9, 6e20)
    assert not is_fitted(7e9, 6e20)
    assert not is_fitted(1.1e9, 1e19)


def test_advice_within_and_outside():
    parameters, tokens = 1.1e9, 97.5e9
    inside = advise_growth(parameters, tokens, 10e9, 4.0)
    advised = growth_timing(parameters, 6 * parameters * tokens)
    assert f"a source of {advised:.3g} tokens" in inside
    assert "1e+10 (10% of the target's 9.75e+10)" in inside
    outside = advise_growth(4e5, 2e6, 1e6, 2.0)
    assert "not made for this size (4e+05 parameters" in outside
    assert "here: 1e+06 (50% of the target's 2e+06)" in outside and "here it is 2." in outside


def test_what_is_not_known_is_left_out():
    within = advise_growth(1.1e9, 97.5e9, None, 4.0)
    assert "grow a source of" in within and "Tokens of the source" not in within
    assert advise_growth(4e5, 2e6, None, 2.0) == (
        "G_stack's guideline (arXiv:2405.15319) advises to grow the parameters by a factor of 4; "
        "here it is 2."
    )


def test_within_both_ranges_but_off_the_band_it_says_nothing():
    """All of the box but the band: a large model trained little, a small one trained long."""
    for parameters in (0.45e9, 1e9, 2e9, 2.9e9):
        for flops in (0.85e20, 3e20, 1.1e21):
            tokens = flops / (6 * parameters)
            share = growth_timing(parameters, flops) / tokens
            said = advise_growth(parameters, tokens, None, 4.0)
            assert ("grow a source of" in said) == (0.07 <= share <= 0.19)
    assert not is_fitted(2.9e9, 0.85e20)
    assert growth_timing(2.9e9, 0.85e20) > 2 * 0.85e20 / (6 * 2.9e9)
    assert "not made for this size" in advise_growth(2.9e9, 0.85e20 / (6 * 2.9e9), 1e9, 4.0)
