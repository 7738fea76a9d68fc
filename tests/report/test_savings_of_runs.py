"""What a growth saves, on two made-up curves, with all FLOPs and tokens added up by hand."""

from dataclasses import fields, replace

import pytest

from lagsearch.operators.plan.growth import (
    GrowthPlan,
    LayerOrigin,
    Origin,
    copies,
)
from lagsearch.operators.plan.learned import Learned
from lagsearch.records.curve import (
    Curve,
    Evaluation,
    Failure,
)
from lagsearch.records.run import Recorded, terms_of
from lagsearch.report.numbers.savings import savings
from lagsearch.selection import Choice, LossTable, Measured
from lagsearch.space import Corpus, Data, Pretrain, Search, Source, Space, Training

SOURCES = (
    Source(name="small", pretrain=Pretrain(config={"model_type": "llama"}, steps=20, batch_size=8)),
    Source(name="other", pretrain=Pretrain(config={"model_type": "llama"}, steps=10)),
)
SPACE = Space(
    name="tiny",
    data=Data(train=Corpus(corpus="python-stdlib"), sequence_length=16),
    sources=SOURCES,
    target={"num_hidden_layers": 2},
    candidates=({"operator": "stack"},),
    training=Training(steps=8, batch_size=4),
    search=Search(lag=2),
)
TOKENS = 4 * 16  # of a step
ONE = GrowthPlan(copies([0, 0]))
BOTH = GrowthPlan(
    (LayerOrigin(0, 0), LayerOrigin(1, 0)),
    bottom=Origin((0, 1)),
    learned=Learned(((0, 0), (1, 0)), steps=3, lr=1e-3, warmup_steps=0, noise=0.0),
)
NONE = GrowthPlan((LayerOrigin(treatment="random"),) * 2, Origin(treatment="random"),
                  Origin(treatment="random"))  # fmt: skip


def curve(losses, per_step, learned=0):
    """Losses by step; each step takes as many FLOPs, and learning the operator some before."""
    return Curve(
        tuple(
            Evaluation(step, loss, (loss,), 0.0, learned + step * per_step)
            for step, loss in losses.items()
        )
    )


CURVES = {
    "stack": curve({0: 3.0, 2: 2.5, 4: 2.0, 8: 1.5}, 10),
    "multi": curve({0: 2.9, 2: 2.3, 4: 1.9, 8: 1.8}, 12, learned=7),
    "scratch": curve({0: 5.0, 2: 4.0, 4: 3.0, 8: 2.25, 16: 1.75}, 10),
}
PLANS = {"stack": ONE, "multi": BOTH, "scratch": NONE}


def recorded(curves=CURVES, plans=PLANS, baselines=("scratch",), flops=(1000, 500), space=SPACE):
    alive = {
        name: {each.step: each.val_loss_batches for each in found.evaluations}
        for name, found in curves.items()
        if found.failure is None
    }
    entries = {
        name: {"name": name, "is_baseline": name in baselines, "plan": plan.to_dict()}
        for name, plan in plans.items()
    }
    given = {
        "terms": terms_of(space, baselines),
        "space": space,
        "plans": entries,
        "environment": {"sources": [{"flops": each} for each in flops]},
        "curves": curves,
        "measured": Measured(LossTable.of(alive)),
        "choice": Choice(space.search.lag, tuple(plans)),
        "ranking": tuple(plans),
        "baselines": {},
    }
    return Recorded(**{field.name: given.get(field.name) for field in fields(Recorded)})


def of(run, name="stack", search_flops=20 + 20 + 31):
    return savings(run, [name], search_flops)["growths"][name]


def test_flops_by_hand():
    """Both come to 1.75: scratch with 160, the growth half way from 40 to 80 on the logarithm."""
    entry = of(recorded())
    assert entry["val_loss"] == 1.75
    alone = 40 * 2**0.5
    expected = {
        "baseline": 160.0,
        "growth": alone,
        "with_sources": alone + 1000,
        "with_search": alone + 1000 + 20 + 31,  # scratch and multi to step 2
    }
    for way in ("growth", "with_sources", "with_search"):
        expected[f"{way}_speed_up"] = 160 / expected[way] - 1
        expected[f"{way}_saving"] = 1 - expected[way] / 160
    assert entry["flops"] == pytest.approx(expected)
    assert entry["flops"]["with_sources_saving"] < 0  # a loss


def test_tokens_by_hand():
    entry = of(recorded())
    alone = 4 * TOKENS * 2**0.5
    source = 20 * 8 * 16
    others = (2 + 2 + 3) * TOKENS  # scratch, and multi with the learning of its operator
    expected = {
        "baseline": 16 * TOKENS,
        "growth": alone,
        "with_sources": alone + source,
        "with_search": alone + source + others,
    }
    for way in ("growth", "with_sources", "with_search"):
        expected[f"{way}_speed_up"] = 16 * TOKENS / expected[way] - 1
        expected[f"{way}_saving"] = 1 - expected[way] / (16 * TOKENS)
    assert entry["tokens"] == pytest.approx(expected)


def test_a_learned_growth_of_two_sources_by_hand():
    """It ends at 1.8, above scratch: scratch comes there between steps 8 and 16."""
    entry = of(recorded(), "multi")
    assert entry["val_loss"] == 1.8
    scratch = 80 * 2 ** ((2.25 - 1.8) / (2.25 - 1.75))
    flops, tokens = entry["flops"], entry["tokens"]
    assert flops["baseline"] == pytest.approx(scratch)
    assert tokens["baseline"] == pytest.approx(scratch / 10 * TOKENS)
    assert flops["growth"] == pytest.approx(7 + 8 * 12)
    assert tokens["growth"] == pytest.approx((3 + 8) * TOKENS)
    assert flops["with_sources"] == pytest.approx(7 + 96 + 1500)
    assert tokens["with_sources"] == pytest.approx(11 * TOKENS + 20 * 8 * 16 + 10 * 4 * 16)
    assert flops["with_search"] == pytest.approx(7 + 96 + 1500 + 20 + 20)
    assert tokens["with_search"] == pytest.approx(15 * TOKENS + 20 * 8 * 16 + 10 * 4 * 16)


def test_the_longest_baseline_that_came_to_the_end_is_the_reference():
    curves = {
        **CURVES,
        "short": curve({0: 5.0, 2: 4.0, 8: 2.0}, 10),
        "broken": replace(curve({0: 5.0, 2: 4.0}, 10), failure=Failure(3, "nan")),
        "nothing": Curve(failure=Failure(0, "nan")),
    }
    plans = {**PLANS, "short": NONE, "broken": NONE, "nothing": NONE}
    baselines = ("short", "scratch", "broken", "nothing")
    found = savings(recorded(curves, plans, baselines), ["stack", "multi"], 0)
    assert (found["baseline"], found["steps"]) == ("scratch", 16)
    assert list(found["growths"]) == ["stack", "multi"]


def test_others_that_failed_count_as_far_as_they_came():
    curves = {
        **CURVES,
        "broken": replace(curve({0: 5.0, 1: 4.0}, 10), failure=Failure(1, "nan")),
        "nothing": Curve(failure=Failure(0, "nan")),
    }
    plans = {**PLANS, "broken": ONE, "nothing": ONE}
    run = recorded(curves, plans)
    entry, before = of(run, search_flops=20 + 20 + 31 + 10), of(recorded())
    assert entry["flops"]["with_search"] == pytest.approx(before["flops"]["with_search"] + 10)
    assert entry["tokens"]["with_search"] == pytest.approx(before["tokens"]["with_search"] + TOKENS)


def test_without_a_baseline_that_long_nothing_is_said():
    assert savings(recorded(baselines=()), ["stack"], 0) is None
    curves = {**CURVES, "scratch": curve({0: 5.0, 2: 4.0, 4: 3.0}, 10)}
    assert savings(recorded(curves), ["stack"], 0) is None


def test_a_checkpoint_whose_cost_is_not_known():
    sources = (Source(name="small", checkpoint="somewhere"), SOURCES[1])
    space = SPACE.model_copy(update={"sources": sources})
    entry = of(recorded(flops=(None, 500), space=space))
    for unit in ("flops", "tokens"):
        assert entry[unit]["growth"] > 0
        for way in ("with_sources", "with_search"):
            assert entry[unit][way] is None
            assert entry[unit][f"{way}_speed_up"] is entry[unit][f"{way}_saving"] is None


def test_a_growth_that_takes_nothing_owes_nothing():
    entry = of(recorded(plans={**PLANS, "stack": NONE}, flops=(None, None)))
    assert entry["flops"]["with_sources"] == entry["flops"]["growth"]
    assert entry["tokens"]["with_sources"] == entry["tokens"]["growth"]


def test_a_growth_that_is_better_before_it_is_trained():
    """Scratch never comes to its 1.2: what scratch took says nothing of what it would need."""
    curves = {**CURVES, "stack": curve({0: 1.2, 2: 1.1, 4: 1.1, 8: 1.0}, 10)}
    entry = of(recorded(curves))
    assert (entry["is_bound"], of(recorded())["is_bound"]) == (True, False)
    assert entry["val_loss"] == 1.0
    assert entry["flops"]["growth"] == pytest.approx(80.0)
    for unit in ("flops", "tokens"):
        told = {key for key, value in entry[unit].items() if value is not None}
        assert not any(key.endswith(("speed_up", "saving")) for key in told)


def test_a_growth_that_never_gets_better_has_no_ratio():
    curves = {**CURVES, "stack": curve({0: 1.2, 2: 1.3, 8: 1.25}, 10)}
    flops = of(recorded(curves))["flops"]
    assert flops["growth"] == 0.0
    assert flops["growth_speed_up"] is flops["growth_saving"] is None
