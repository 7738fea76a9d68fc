"""A report of made-up curves, through the code that makes real ones; names may be hostile."""

import numpy as np

from lagsearch.operators.plan.growth import (
    GrowthPlan,
    LayerOrigin,
    Origin,
    copies,
)
from lagsearch.records.curve import (
    Curve,
    Evaluation,
    Failure,
)
from lagsearch.records.run import Baseline, Recorded, terms_of
from lagsearch.records.seeds import mean_curve
from lagsearch.report.numbers.stage import build_numbers
from lagsearch.selection import Choice, LossTable, Measured, rank_candidates
from lagsearch.space import Corpus, Data, Pretrain, Search, Source, Space, Training

STEPS = (0, 1, 2, 5, 10, 20, 50)
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "<b>bold</b> & 'quoted' `code` **stars** %{x} $1$",
    '=HYPERLINK("http://x"),\n;|\'',
)
PLANS = (
    GrowthPlan(copies([0, 1, 0, 1])),
    GrowthPlan(copies([0, 1, 0, 1], "zero_output")),
    GrowthPlan((LayerOrigin(0, 0), LayerOrigin(0, 1), LayerOrigin(1, 0), LayerOrigin(1, 1))),
    GrowthPlan((*copies([0, 1]), *[LayerOrigin(treatment="random", is_new=True)] * 2)),
)
NONE = GrowthPlan(
    (LayerOrigin(treatment="random"),) * 4, Origin(treatment="random"), Origin(treatment="random")
)


def made_space(seeds, *, oracle, lag):
    pretrain = Pretrain(config={"model_type": "llama"}, steps=20)
    return Space(
        name="made-up",
        data=Data(train=Corpus(corpus="python-stdlib"), sequence_length=16),
        sources=tuple(Source(name=name, pretrain=pretrain) for name in ("one", "two")),
        target={"num_hidden_layers": 4},
        candidates=({"operator": "stack"},),
        training=Training(steps=STEPS[-1], batch_size=4),
        search=Search(lag=lag, oracle=oracle, seeds=tuple(seeds) if len(seeds) > 1 else ()),
        seed=seeds[0],
    )


def made_curve(generator, last, per_step, worse=0.0):
    quality, height = worse + generator.normal(0, 0.05), abs(generator.normal(0.5, 0.3))
    evaluations = []
    for step in STEPS:
        if step <= last:
            mean = 1.5 + quality + height / (1 + step)
            batches = tuple(float(each) for each in mean + generator.normal(0, 0.01, 6))
            loss = sum(batches) / len(batches)
            evaluations.append(Evaluation(step, loss, batches, 0.5 * step, step * per_step))
    return tuple(evaluations)


def made_report(
    names=("first", "second", "third", "fourth", "fifth", "sixth"),
    *,
    oracle=True,
    seeds=(0,),
    lag=10,
    failed=(),
    baseline="scratch",
    beside=(),
):
    """Return a report of these growths, of failed ones, and of baselines, ranked and beside."""
    generator = np.random.default_rng(7)
    space = made_space(seeds, oracle=oracle, lag=lag)
    every = [*names, *failed, *([baseline] if baseline else [])]
    plans, by_seed = {}, {}
    for place, name in enumerate(every):
        plan = NONE if name == baseline else PLANS[place % len(PLANS)]
        per_step = 100 + place
        plans[name] = {
            "operator": "scratch" if name == baseline else "stack",
            "settings": {"index": place},
            "is_baseline": name == baseline,
            "layer_map": plan.layer_map(),
            "plan": plan.to_dict(),
            "parameters": 1000 + place,
            "flops_per_step": per_step,
            "evaluation_flops": 7,
        }
        last = 5 if name in failed else STEPS[-1] if oracle or name == baseline else lag
        failure = Failure(6, f"the loss of {name} is nan") if name in failed else None
        worse = 1.0 if name == baseline else 0.0
        by_seed[name] = tuple(
            Curve(made_curve(generator, last, per_step, worse), failure) for _ in seeds
        )
    curves = {name: mean_curve(found, seeds) for name, found in by_seed.items()}
    alive = {
        name: [{each.step: each.val_loss_batches for each in one.evaluations} for one in found]
        for name, found in by_seed.items()
        if name not in failed
    }
    table = LossTable.of_seeds(alive)
    source = {"digest": "0", "kind": "pretrained", "steps": 20, "val_loss": 1.75, "flops": 900}
    environment = {
        "seeds": list(seeds),
        "sources": [{"name": name, **source} for name in ("one", "two")],
        "slots": 2,
        "wall_s": {"sources": 1.0, "search": 61.0, "winner": 5.0, "report": 0.0},
    }
    ranking = (*rank_candidates(table, lag), *failed)
    measured, choice = Measured(table), Choice(lag, ranking)
    terms = terms_of(space, [baseline])
    searched = (terms, curves, by_seed, measured, choice, ranking)
    ungrown = {name: made_baseline(name, generator, seeds) for name in beside}
    run = Recorded(*searched, space, plans, environment, {}, {}, False, None, baselines=ungrown)
    return build_numbers(run)


def made_baseline(name, generator, seeds):
    """Return the first source, trained on beside the candidates."""
    plan = GrowthPlan(copies([0, 1]))
    told = {"operator": "continue", "settings": {}, "is_baseline": True, "parameters": 500}
    drawn = {"layer_map": plan.layer_map(), "plan": plan.to_dict()}
    entry = {"name": name, "steps": STEPS[-1], **told, **drawn}
    by_seed = tuple(Curve(made_curve(generator, STEPS[-1], 60), None) for _ in seeds)
    return Baseline(entry, by_seed, mean_curve(by_seed, seeds))


def made_importance(names=("first", "second", "third")):
    """Return what a report holds where it could be told which settings matter."""
    values = [
        {"value": "0", "mean": 2.1, "n": 2, "candidates": names[:2], "interval": [2.0, 2.3]},
        {"value": "<i>", "mean": 1.9, "n": 1, "candidates": names[2:3], "interval": None},
    ]
    kinds = [(None, "operator", 0.2, 0.4), ("lag", "index", 0.7, 0.001)]
    keys = ("operator", "name", "importance", "p_value")
    dimensions = [{**dict(zip(keys, kind, strict=True)), "values": values} for kind in kinds]
    return {"evaluator": "analysis of variance", "step": 10, "dimensions": dimensions}


__all__ = ["HOSTILE", "STEPS", "made_importance", "made_report"]
