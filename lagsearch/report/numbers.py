"""The numbers of a report, from a run folder alone: what `report.json` holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import numpy as np

from lagsearch.errors import RunFolderError
from lagsearch.operators.plan import layers_of
from lagsearch.report.choice import measured_of, strategy_of
from lagsearch.report.folder import RunFolder
from lagsearch.report.savings import savings
from lagsearch.report.seeds import mean_curve
from lagsearch.selection import (
    EVALUATOR,
    SIGNALS,
    Choice,
    LossTable,
    Measured,
    Order,
    Place,
    decide,
    importance,
    indistinguishable,
    phase_transition,
    places,
    rank_candidates,
    rank_correlation,
    score_step,
    stability,
    standard_errors,
)
from lagsearch.selection.phase import FEWEST, LEFT, MARGIN, THRESHOLD
from lagsearch.space import Space
from lagsearch.storage import derive_seed
from lagsearch.training.curve import Curve

FORMAT = 1


@dataclass(frozen=True)
class Recorded:
    """A run folder, read.

    Attributes:
        space: What was run.
        plans: `plans.json`: each candidate's entry by its name.
        environment: `environment.json`.
        curves: Each candidate's evaluations, the mean over seeds (`mean_curve`).
        by_seed: Each candidate's evaluations under each seed.
        operators: What came of learning the operators that are learned, by candidate.
        profiles: Where the time went, by candidate, where somebody looked.
        measured: Of all candidates that did not fail.
        choice: What the search came to.
        ranking: All candidates: as chosen, failed ones last.
        has_winner: Whether the winner's weights are there.
        harness: `harness.json`, None where no downstream tasks were evaluated.
    """

    space: Space
    plans: Mapping[str, dict[str, Any]]
    environment: Mapping[str, Any]
    curves: Mapping[str, Curve]
    by_seed: Mapping[str, tuple[Curve, ...]]
    operators: Mapping[str, dict[str, Any]]
    profiles: Mapping[str, dict[str, Any]]
    measured: Measured
    choice: Choice
    ranking: tuple[str, ...]
    has_winner: bool
    harness: Mapping[str, Any] | None

    @property
    def lag(self) -> int:
        """K: the step of the choice."""
        return self.choice.step

    @property
    def table(self) -> LossTable:
        """Losses of all candidates that did not fail."""
        return self.measured.loss

    @property
    def judged(self) -> LossTable:
        """What candidates that were not stopped were judged by at K."""
        signal = SIGNALS[self.space.search.signal]
        open_ones = [name for name in self.table.candidates if name not in self.choice.stopped]
        return signal(self.measured.only(open_ones), self.lag, self.completion)

    @property
    def completion(self) -> int:
        """The last step."""
        return self.space.training.steps

    @property
    def winner(self) -> str:
        """The best candidate at K that did not fail."""
        return self.ranking[0]

    def final(self, name: str) -> float | None:
        """Return a candidate's loss at completion, if it got there."""
        evaluation = self.curves[name].at(self.completion)
        return evaluation.val_loss if evaluation else None


def read_run(folder: RunFolder) -> Recorded:
    """Read a run folder.

    Raises:
        RunFolderError: It is none, or no candidate has reached K, or some are still to reach it.
    """
    space = folder.space()
    plans = {entry["name"]: entry for entry in folder.plans()["candidates"]}
    by_seed = {name: folder.curves_of(space, name) for name in plans}
    curves = {name: mean_curve(found, space.seeds) for name, found in by_seed.items()}
    alive = {name: found for name, found in by_seed.items() if curves[name].failure is None}
    if not alive:
        raise RunFolderError(f"{folder.path}: all candidates failed")
    measured = measured_of(alive, space.training.steps)
    choice = decide(measured, strategy_of(space))
    if space.search.oracle:
        end = space.training.steps
        late = [name for name, found in alive.items() if not all(each.at(end) for each in found)]
        choice = Order(end, tuple(late)) if late else choice
    if isinstance(choice, Order):
        raise RunFolderError(
            f"{folder.path}: {len(choice.candidates)} of {len(plans)} candidates have not reached "
            f"step {choice.step}, e.g. {choice.candidates[0]}; `lagsearch run` with the same --out "
            "goes on"
        )
    ranking = choice.ranking + tuple(name for name in plans if name not in alive)
    has_winner = any(folder.winner.glob("*.safetensors"))
    return Recorded(
        space,
        plans,
        folder.environment(),
        curves,
        by_seed,
        {name: learnt for name in plans if (learnt := folder.operator(name)) is not None},
        {name: found for name in plans if (found := folder.profile(name)) is not None},
        measured,
        choice,
        ranking,
        has_winner,
        folder.harness(),
    )


def build_numbers(run: Recorded) -> dict[str, Any]:
    """Return what `report.json` holds."""
    oracle = _oracle(run) if run.space.search.oracle else None
    generator = np.random.default_rng(derive_seed(run.space.seed, "places"))
    placed = places(run.judged, run.lag, generator, alike=growths(run))
    judged = dict(zip(run.judged.candidates, run.judged.at(run.lag).tolist(), strict=True))
    report = {
        "format": FORMAT,
        "name": run.space.name,
        "lag": run.lag,
        "steps": run.completion,
        "search": {
            "strategy": run.space.search.strategy,
            "signal": run.space.search.signal,
            "evidence": strategy_of(run.space).evidence,
            "asked_lag": run.space.search.lag,
            "reason": run.choice.reason,
            "stable_since": run.choice.stable_since,
        },
        "seeds": list(run.environment["seeds"]),
        "sources": [_source(each) for each in run.environment["sources"]],
        "candidates": [
            {"rank": rank, **_candidate(run, name, placed.get(name))}
            | {"signal": _known(judged.get(name))}
            for rank, name in enumerate(run.ranking, 1)
        ],
        "winner": {
            "name": run.winner,
            "seed": run.space.seeds[0],
            "val_loss": _losses(run.by_seed[run.winner][0], (0, run.lag, run.completion)),
            "checkpoint": "winner" if run.has_winner else None,
        },
        "doubt": _doubt(run),
        "phase_transition": _phase_transition(run),
        "importance": _importance(run),
        "cost": (cost := _cost(run)),
        "savings": savings(run, complete_growths(run), cost["search_flops"]),
        "oracle": oracle,
        "baselines": _baselines(run) if oracle else [],
        "harness": _harness(run),
    }
    if run.profiles:
        report["profile"] = dict(run.profiles)
    return report


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def _candidate(run: Recorded, name: str, place: Place | None) -> dict[str, Any]:
    curve, plan = run.curves[name], run.plans[name]
    until_lag = [each for each in curve.evaluations if each.step <= run.lag]
    last = until_lag[-1] if until_lag else None
    is_ok = name in run.table.candidates
    entry = {
        "name": name,
        "operator": plan["operator"],
        "settings": plan["settings"],
        "rank_interval": [place.low, place.high] if place else None,
        "p_best": place.p_best if place else None,
        "status": "failed" if not is_ok else "stopped" if name in run.choice.stopped else "ok",
        "is_baseline": plan["is_baseline"],
        "layer_map": plan["layer_map"],
        "wall_s": last.wall_s if last else 0.0,
        "val_loss": _losses(curve),
        "val_loss_se": _standard_errors(run.by_seed[name], curve),
        "parameters": plan["parameters"],
        "flops": last.flops if last else 0,
        "flops_by_step": {str(each.step): each.flops for each in curve.evaluations},
    }
    if len(run.space.seeds) > 1:
        pairs = zip(run.space.seeds, run.by_seed[name], strict=True)
        entry["val_loss_by_seed"] = {str(seed): _losses(found) for seed, found in pairs}
    if any(each.parts for each in curve.evaluations):
        entry["val_loss_parts"] = _parts(curve)
    for key, measured in {
        "val_loss_ema": {each.step: each.ema_batches for each in curve.evaluations},
        "val_loss_annealed": {each.step: each.annealed_batches for each in curve.evaluations},
    }.items():
        losses = {str(step): fmean(batches) for step, batches in measured.items() if batches}
        entry |= {key: losses} if losses else {}
    if name in run.operators:
        entry["learned"] = run.operators[name]
    if name in run.choice.stopped:
        entry["stopped"] = asdict(run.choice.stopped[name])
    if not is_ok:
        failure = curve.failure
        entry["failure"] = f"step {failure.step}: {failure.failed}" if failure else "did not run"
    return entry


def _parts(curve: Curve) -> dict[str, dict[str, float]]:
    """Return the loss of each part of the objective by step."""
    names = list(curve.evaluations[0].parts)
    return {
        name: {str(each.step): fmean(each.parts[name]) for each in curve.evaluations}
        for name in names
    }


def _source(facts: dict[str, Any]) -> dict[str, Any]:
    """What a reader must know of a source; its seconds are under cost."""
    return {key: value for key, value in facts.items() if key != "wall_s"}


def _losses(curve: Curve, steps: tuple[int, ...] | None = None) -> dict[str, float]:
    return {
        str(each.step): each.val_loss
        for each in curve.evaluations
        if steps is None or each.step in steps
    }


def _standard_errors(by_seed: tuple[Curve, ...], mean: Curve) -> dict[str, float | None]:
    """Return the standard errors of a candidate's mean losses, over the batches and the seeds.

    Where some seeds have a step and others have not, they are over those that have it.
    """
    found: dict[str, float | None] = {}
    losses = [{each.step: each.val_loss_batches for each in curve.evaluations} for curve in by_seed]
    steps = [each.step for each in mean.evaluations]
    for _, together in groupby(steps, lambda step: [step in each for each in losses]):
        alike = list(together)
        there = [each for each in losses if alike[0] in each]
        losses_SEN = np.array([[each[step] for each in there] for step in alike])
        found |= zip(map(str, alike), standard_errors(losses_SEN), strict=True)
    return found


def _doubt(run: Recorded) -> dict[str, Any]:
    """How far the ranking at K can be trusted, known without an oracle."""
    settled = stability(run.table, run.lag)
    return {
        "indistinguishable_from_winner": indistinguishable(run.judged, run.lag),
        "stability": None if settled is None else {"since": settled[0], "spearman": settled[1]},
    }


def _phase_transition(run: Recorded) -> dict[str, Any] | None:
    """Since when the ranking is stable: until completion with an oracle, until K without."""
    scored = complete_growths(run) if run.space.search.oracle else growths(run)
    until = run.completion if run.space.search.oracle else run.lag
    if len(scored) < FEWEST:
        return None
    found = phase_transition(run.table.only(scored), until)
    return {
        "step": found.step if found else None,
        "until": until,
        "spearman": found.spearman if found else None,
        "threshold": THRESHOLD,
        "margin": MARGIN,
        "left": LEFT,
    }


def _importance(run: Recorded) -> dict[str, Any] | None:
    """What decides the loss at completion with an oracle, at K without."""
    scored = complete_growths(run) if run.space.search.oracle else growths(run)
    step = run.completion if run.space.search.oracle else run.lag
    designs = {name: (run.plans[name]["operator"], run.plans[name]["settings"]) for name in scored}
    at_step = dict(zip(run.table.candidates, run.table.at(step).tolist(), strict=True))
    generator = np.random.default_rng(derive_seed(run.space.seed, "importance"))
    found = importance(designs, at_step, generator)
    if not found:
        return None
    return {
        "evaluator": EVALUATOR,
        "step": step,
        "dimensions": [
            {
                "operator": each.operator,
                "name": each.name,
                "importance": each.importance,
                "p_value": each.p_value,
                "values": [
                    {
                        "value": value.value,
                        "mean": value.mean,
                        "n": len(value.candidates),
                        "candidates": list(value.candidates),
                        "interval": None if value.interval is None else list(value.interval),
                    }
                    for value in each.marginals
                ],
            }
            for each in found
        ],
    }


def _cost(run: Recorded) -> dict[str, Any]:
    """FLOPs of training; those of evaluation stand apart."""
    sources = [source["flops"] for source in run.environment["sources"]]
    spent = evaluated = 0
    for name, curves in run.by_seed.items():
        stop = run.choice.stopped.get(name)
        until = run.lag if stop is None else stop.step
        for curve in curves:
            until_lag = [each for each in curve.evaluations if each.step <= until]
            spent += until_lag[-1].flops if until_lag else 0
            spent += sum(each.annealed_flops for each in until_lag)
            evaluated += len(until_lag) * run.plans[name]["evaluation_flops"]
    winner = run.plans[run.winner]
    after = run.completion - run.lag
    return {
        "source_flops": None if None in sources else sum(sources),
        "search_flops": spent,
        "winner_flops": after * winner["flops_per_step"],
        "baseline_flops": sum(
            max(0, curve.evaluations[-1].step - run.completion) * run.plans[name]["flops_per_step"]
            for name, curve in run.curves.items()
            if curve.evaluations
        ),
        "oracle_flops": len(run.space.seeds)
        * sum(
            run.completion * each["flops_per_step"] + each.get("operator_flops", 0)
            for each in run.plans.values()
        ),
        "evaluation_flops": evaluated,
        "counting": run.space.evaluation.flops,
        "slots": run.environment["slots"],
        "wall_s": dict(run.environment["wall_s"]),
    }


_OF_EVALUATION = ("limit", "lm_eval", "max_length", "is_truncated")


def _harness(run: Recorded) -> dict[str, Any] | None:
    """What came out on downstream tasks: a row for each candidate, task and metric, by rank."""
    if run.harness is None:
        return None
    evaluations = run.harness["evaluations"]
    evaluations = sorted(evaluations, key=lambda each: run.ranking.index(each["candidate"]))
    return {
        "results": [
            {"candidate": each["candidate"], **row, **{key: each[key] for key in _OF_EVALUATION}}
            for each in evaluations
            for row in each["results"]
        ],
        "failures": [
            {"candidate": each["candidate"], "task": each["asked"], "reason": each["reason"]}
            for each in run.harness["failures"]
        ],
    }


def growths(run: Recorded) -> list[str]:
    """Return the candidates that are growing strategies and did not fail, in table order."""
    return [name for name in run.table.candidates if not run.plans[name]["is_baseline"]]


def complete_growths(run: Recorded) -> list[str]:
    """Return the growing strategies that reached completion: what a ranking is scored over."""
    return [name for name in growths(run) if run.final(name) is not None]


def _oracle(run: Recorded) -> dict[str, Any] | None:
    """Score the ranking at each evaluated step against the one at completion."""
    scored = complete_growths(run)
    if not scored:
        return None
    table = run.table.only(scored)
    best = rank_candidates(table, run.completion)[0]
    generator = np.random.default_rng(derive_seed(run.space.seed, "bootstrap"))
    result: dict[str, Any] = {
        "candidate": best,
        "val_loss": run.final(best),
        "scored": scored,
        "indistinguishable_from_best": indistinguishable(table, run.completion),
        "random_choice_relative_regret": _random_choice(run, scored),
    }
    for step in table.steps:
        named, recalls = score_step(table, step, run.completion, generator)
        for name, score in named.items():
            result.setdefault(name, {})[str(step)] = _plain(score)
        for at, score in recalls.items():
            found = {**_plain(score), "share": score.share}
            result.setdefault("recall", {}).setdefault(str(at), {})[str(step)] = found
    matrix = rank_correlation(table)
    result["rank_correlation"] = {
        "steps": list(table.steps),
        "matrix": [[None if np.isnan(x) else float(x) for x in row] for row in matrix],
    }
    return result


def _plain(score: Any) -> dict[str, Any]:
    interval = None if score.low is None else [score.low, score.high]
    return {"value": score.value, "interval": interval}


def _random_choice(run: Recorded, scored: list[str]) -> float:
    """Return the expected relative regret of a choice at random."""
    finals = np.array([run.final(name) for name in scored], dtype=np.float64)
    span = finals.max() - finals.min()
    return float((finals.mean() - finals.min()) / span) if span > 0 else 0.0


def _baselines(run: Recorded) -> list[dict[str, Any]]:
    """The rows of the paper's Table 1 that this space has candidates for."""
    scored = complete_growths(run)
    table = run.table.only(scored)
    finals = {name: run.final(name) or 0.0 for name in scored}
    best, worst = min(finals.values()), max(finals.values())
    chosen = {
        "oracle": rank_candidates(table, run.completion)[0],
        f"LAG@{run.lag}": rank_candidates(table, run.lag)[0],
        **_chosen(run, scored),
        "best at initialization (LAG@0)": rank_candidates(table, 0)[0],
        "last block on top": _on_top(run, scored, "copy"),
        "random block on top": _on_top(run, scored, "random"),
    }
    return [
        {
            "name": row,
            "candidate": name,
            "final_val_loss": finals[name],
            "regret": finals[name] - best,
            "relative_regret": (finals[name] - best) / (worst - best) if worst > best else 0.0,
        }
        for row, name in chosen.items()
        if name is not None
    ]


def _chosen(run: Recorded, scored: list[str]) -> dict[str, str]:
    """Return the row of this search's own choice, where it is not by the loss at K."""
    search = run.space.search
    if search.strategy != "race" and search.signal == "loss":
        return {}
    named = f"race to {run.lag}" if search.strategy == "race" else f"LAG@{run.lag}"
    best = next(name for name in run.ranking if name in scored)
    return {f"{named} by {search.signal}": best}


def _on_top(run: Recorded, names: list[str], treatment: str) -> str | None:
    """Find the growth that leaves the source as it is and puts one block on its top.

    A copied block is that of the last layers: last stacking (Reddi et al. 2023). It does nothing
    else: growths in width are no such row.
    """
    for name in names:
        if run.plans[name]["plan"].get("width") is not None:
            continue
        layers = layers_of(run.plans[name]["plan"])
        old = [layer for layer in layers if not layer.is_new]
        new = [layer for layer in layers if layer.is_new]
        last = [layer.layer for layer in old[-len(new) :]] if new else []
        is_on_top = layers == tuple(old + new) and all(
            layer.treatment == treatment for layer in new
        )
        if new and is_on_top and (treatment == "random" or [each.layer for each in new] == last):
            return name
    return None
