"""What a report without an oracle says of recorded runs, whose end is known."""

from dataclasses import replace
from pathlib import Path

import pytest

from lagsearch.records.imported_curves import (
    Asked,
    read_curves,
    read_searched,
)
from lagsearch.records.search import conclude
from lagsearch.report.numbers.statistics import statistics
from lagsearch.report.words.verdict import judge

REPORTS = Path(__file__).parents[2] / "reports"
STORIES = Path(__file__).parents[3] / "shared" / "data" / "curves" / "stories260K_5to8.csv"


def verdict(run, curves=None):
    """What is said of a run at K as if nobody had trained its candidates on."""
    report = statistics(replace(run, terms=replace(run.terms, has_oracle=False)))
    return judge(report | {"curves": curves})


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (
            "shakespeare-depth",
            "unsettled",
        ),  # early rankings agree by 0.80, and with the end by 0.24
        ("lag-ul2-12to16-laptop", "unsettled"),
        ("wikitext-multi-2", "unsettled"),
    ],
)
def test_a_ranking_that_only_agrees_with_itself_has_not_settled(name, word):
    found = verdict(read_searched(REPORTS / name))
    assert found.trust == word
    assert found.lines[-1].startswith("The ranking is NOT settled")


@pytest.mark.parametrize(
    ("seed", "word", "tied"),
    [(0, "unsettled", []), (1, "unsettled", []), (2, "open", ["identity-stacked", "identity"])],
)
def test_the_quickstart_is_right_under_each_seed_and_the_verdict_is_strict(seed, word, tied):
    run = read_searched(REPORTS / "quickstart-oracle")
    curves = {name: (found[seed],) for name, found in run.by_seed.items()}
    terms = replace(run.terms, seed=seed, seeds=(seed,), has_oracle=False)
    one = conclude(terms, curves, REPORTS)
    ends = {name: found.at(600).val_loss for name, (found,) in curves.items()}
    assert one.winner == min(ends, key=ends.get) == "stack"
    report = statistics(one) | {"curves": None}
    assert judge(report).trust == word
    assert report["doubt"]["indistinguishable_from_winner"] == tied


@pytest.mark.shared
@pytest.mark.skipif(not STORIES.exists(), reason="needs ../shared/data/curves")
def test_a_ranking_that_is_right_from_the_start_settles_though_it_never_left_the_first():
    found = verdict(read_curves(STORIES, Asked(lag=200)), STORIES.name)
    assert found.trust == "settled"
    assert not any("No phase transition" in line for line in found.lines)
    stable = "The ranking has been stable since step 10 "
    [held] = [line for line in found.lines if line.startswith(stable)]
    assert "with the initial one, so this is no phase transition" in held
    early = verdict(read_curves(STORIES, Asked(lag=20)), STORIES.name)
    assert early.trust == "unsettled"
