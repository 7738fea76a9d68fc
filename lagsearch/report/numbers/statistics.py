"""The numbers of a report that curves alone decide: ranks, doubt, scores."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import groupby
from math import inf
from statistics import fmean
from typing import Any

import numpy as np

from lagsearch.records.curve import Curve, levelled
from lagsearch.records.search import Searched
from lagsearch.selection import (
    LossTable,
    Place,
    expected_regret,
    find_strategy,
    indistinguishable,
    noise_floor,
    outlook,
    phase_transition,
    places,
    rank_candidates,
    rank_correlation,
    regret_after,
    score_step,
    stability,
    standard_errors,
)
from lagsearch.selection.importance import PERMUTATIONS
from lagsearch.selection.scores import ranks, spearman
from lagsearch.selection.transition import FEWEST
from lagsearch.storage.files import derive_seed

FORMAT = 1


def statistics(run: Searched) -> dict[str, Any]:
    """Return a report as `report.json` holds it, None for all that curves do not tell."""
    oracle = _oracle(run) if run.terms.has_oracle else None
    generator = np.random.default_rng(derive_seed(run.terms.seed, "places"))
    judged_at_lag, is_repeated = run.judged, run.table.is_repeated
    placed = places(judged_at_lag, run.lag, generator, alike=run.growths) if is_repeated else {}
    values = judged_at_lag.at(run.lag).tolist()
    judged = dict(zip(judged_at_lag.candidates, values, strict=True))
    return {
        "format": FORMAT,
        "name": run.terms.name,
        "lag": run.lag,
        "steps": run.completion,
        "search": {
            "strategy": run.terms.settings.strategy,
            "signal": run.terms.settings.signal,
            "evidence": run.terms.settings.evidence,
            "asked_lag": run.terms.asked_lag,
            "reason": run.choice.reason,
            **_preferred(run),
            "stable_since": run.choice.stable_since,
        },
        "seeds": list(run.terms.seeds),
        "batches": run.table.batches.shape[3],
        "curves": None,
        "sources": [],
        "candidates": [
            {"rank": rank, **_candidate(run, name, placed.get(name))}
            | {"signal": _known(judged.get(name))}
            for rank, name in enumerate(run.ranking, 1)
        ],
        "winner": {
            "name": run.winner,
            "seed": None,
            "val_loss": losses_at(run, run.curves[run.winner]),
            "checkpoint": None,
        },
        "doubt": _doubt(run),
        "phase_transition": _phase_transition(run),
        "importance": None,
        "cost": None,
        "savings": None,
        "growing": None,
        "oracle": oracle,
        "baselines": strategy_rows(run) if oracle else [],
        "harness": None,
    }


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def _candidate(run: Searched, name: str, place: Place | None) -> dict[str, Any]:
    curve, is_ok = run.curves[name], name in run.table.candidates
    entry: dict[str, Any] = {
        "name": name,
        "operator": None,
        "settings": None,
        "rank_interval": [place.low, place.high] if place else None,
        "p_best": place.p_best if place else None,
        "status": "failed" if not is_ok else "stopped" if name in run.choice.stopped else "ok",
        "is_baseline": name in run.terms.baselines,
        "layer_map": None,
        "wall_s": None,
        "val_loss": _losses(curve),
        "val_loss_se": _standard_errors(run.by_seed[name], curve),
        "parameters": None,
        "flops": None,
        "flops_by_step": None,
    }
    if len(run.terms.seeds) > 1:
        pairs = zip(run.terms.seeds, run.by_seed[name], strict=True)
        entry["val_loss_by_seed"] = {str(seed): _losses(found) for seed, found in pairs}
    if any(each.parts for each in curve.evaluations):
        entry["val_loss_parts"] = _parts(curve)
    for key, measured in {
        "val_loss_ema": [(each.step, each.ema_batches) for each in curve.evaluations],
        "val_loss_annealed": [(each.step, each.annealed_batches) for each in curve.evaluations],
    }.items():
        losses = _mean_losses(measured)
        entry |= {key: losses} if losses else {}
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
        name: _mean_losses((each.step, each.parts[name]) for each in curve.evaluations)
        for name in names
    }


def _mean_losses(measured: Iterable[tuple[int, tuple[float, ...]]]) -> dict[str, float]:
    return {str(step): fmean(batches) for step, batches in levelled(measured).items()}


def _losses(curve: Curve) -> dict[str, float]:
    return {str(each.step): each.val_loss for each in curve.evaluations}


def losses_at(run: Searched, curve: Curve) -> dict[str, float]:
    """Return the losses of a curve right after growth, at K and at completion."""
    steps = {"0", str(run.lag), str(run.completion)}
    return {step: loss for step, loss in _losses(curve).items() if step in steps}


def _standard_errors(by_seed: tuple[Curve, ...], mean: Curve) -> dict[str, float | None]:
    """Return the standard errors of a candidate's mean losses, over the batches and the seeds.

    Where some seeds have a step and others have not, they are over those that have it; where some
    of the batches were measured, over these, which is more than the error of the loss that is
    estimated of all.
    """
    found: dict[str, float | None] = {}
    losses = [{each.step: each.val_loss_batches for each in curve.evaluations} for curve in by_seed]
    steps = [each.step for each in mean.evaluations]
    for _, together in groupby(steps, lambda step: [len(each.get(step, ())) for each in losses]):
        alike = list(together)
        there = [each for each in losses if alike[0] in each]
        size = min(len(each[alike[0]]) for each in there)
        losses_SEN = np.array([[each[step][:size] for each in there] for step in alike])
        found |= zip(map(str, alike), standard_errors(losses_SEN), strict=True)
    return found


def _tied(table: LossTable, step: int, winner: str | None = None) -> list[str] | None:
    """Return who cannot be told apart from the winner or best, None where nothing tells noise."""
    return indistinguishable(table, step, winner=winner) if table.is_repeated else None


def _noise_floor(run: Searched) -> float | None:
    is_known = run.table.is_repeated
    return noise_floor(run.judged, run.lag, winner=run.winner) if is_known else None


def _preferred(run: Searched) -> dict[str, Any]:
    """Return who led, where a prior broke the tie."""
    over = run.choice.preferred_to
    return {} if over is None else {"preferred_to": over}


def _doubt(run: Searched) -> dict[str, Any]:
    """How far the ranking at K can be trusted, known without an oracle."""
    settled = stability(run.table, run.lag)
    return {
        "indistinguishable_from_winner": _tied(run.judged, run.lag, run.winner),
        "stability": None if settled is None else {"since": settled[0], "spearman": settled[1]},
        "outlook": _outlook(run),
        "noise_floor": _noise_floor(run),
        "expected_regret": _expected_regret(run),
    }


MORE = 0.1
"""A further share of the compute to train every candidate, of which is said what it would buy."""


def _expected_regret(run: Searched) -> dict[str, Any] | None:
    """Return the regret that is to be expected of the winner, known at K, and of a later choice."""
    names = [name for name in run.ranking if name in run.growths and name not in run.choice.stopped]
    table = run.table.only(names).until(run.lag).shared()
    if run.winner not in table.candidates or run.lag not in table.steps:
        return None
    generator = np.random.default_rng(derive_seed(run.terms.seed, "expected regret"))
    found = expected_regret(table, run.lag, run.completion, run.winner, generator)
    if found is None:
        return None
    every = len(run.growths) * run.completion
    left = len(table.candidates) - 1  # beside the winner, which is trained on anyway
    later = min(run.completion, run.lag + int(MORE * every / left))
    then = regret_after(table, run.lag, run.completion, later, generator)
    share = (later - run.lag) * left / every
    return asdict(found) | {"later": {"step": later, "share": share, "value": then}}


def _outlook(run: Searched) -> dict[str, Any] | None:
    """What the ranking of growths looks like from K to completion."""
    growths = [name for name in run.growths if name not in run.choice.stopped]
    if not growths:
        return None
    leader = next(name for name in run.ranking if name in growths)
    found = outlook(run.table.only(growths), run.lag, run.completion, leader)
    if found is None:
        return None
    return asdict(found) | {"is_apart": found.is_apart, "is_clear": found.is_clear}


def _phase_transition(run: Searched) -> dict[str, Any] | None:
    """Since when the ranking is stable: until completion with an oracle, until K without."""
    scored = run.complete_growths if run.terms.has_oracle else run.growths
    until = run.completion if run.terms.has_oracle else run.lag
    if len(scored) < FEWEST:
        return None
    rule = run.terms.settings
    table, by = run.table.only(scored), (rule.threshold, rule.margin)
    found = phase_transition(table, until, *by, rule.left)
    agree = phase_transition(table, until, *by, left=inf)
    return {
        "step": found.step if found else None,
        "until": until,
        "spearman": found.spearman if found else None,
        "agree_since": agree.step if agree else None,
        "threshold": rule.threshold,
        "margin": rule.margin,
        "left": rule.left,
    }


def _oracle(run: Searched) -> dict[str, Any] | None:
    """Score the ranking at each evaluated step against the one at completion."""
    scored = run.complete_growths
    if not scored:
        return None
    table = run.table.only(scored)
    best = rank_candidates(table, run.completion)[0]
    generator = np.random.default_rng(derive_seed(run.terms.seed, "bootstrap"))
    result: dict[str, Any] = {
        "candidate": best,
        "val_loss": run.final(best),
        "scored": scored,
        "indistinguishable_from_best": _tied(table, run.completion),
        "random_choice_relative_regret": _random_choice(run, scored),
        "p_value": _permuted(run, table),
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


def _permuted(run: Searched, table: LossTable) -> float | None:
    """Return how often final losses dealt out at random correlate as much with those at K."""
    early_C, final_C = table.at(run.lag), table.at(run.completion)
    here = ~np.isnan(early_C)
    early_C, final_C = early_C[here], final_C[here]
    found = float(spearman(early_C, final_C)) if here.any() else np.nan
    if np.isnan(found):
        return None
    generator = np.random.default_rng(derive_seed(run.terms.seed, "permutations"))
    count = int(np.clip(2_000_000 // len(final_C), 199, PERMUTATIONS))
    dealt_RC = generator.permuted(np.tile(final_C, (count, 1)), axis=1)
    by_chance = spearman(np.broadcast_to(early_C, dealt_RC.shape), dealt_RC)
    return float(((by_chance >= found - 1e-9).sum() + 1) / (count + 1))


def _plain(score: Any) -> dict[str, Any]:
    interval = None if score.low is None else [score.low, score.high]
    return {"value": score.value, "interval": interval}


def _random_choice(run: Searched, scored: list[str]) -> float:
    """Return the expected relative regret of a choice at random."""
    finals = np.array([run.final(name) for name in scored], dtype=np.float64)
    span = finals.max() - finals.min()
    return float((finals.mean() - finals.min()) / span) if span > 0 else 0.0


def strategy_rows(
    run: Searched, published: Mapping[str, str | None] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of the LAG paper's Table 1 that there are candidates for.

    Args:
        run: Candidates that were trained to completion.
        published: Candidate by row, for rows that curves alone do not tell.
    """
    scored = run.complete_growths
    table = run.table.only(scored)
    finals = {name: run.final(name) or 0.0 for name in scored}
    best, worst = min(finals.values()), max(finals.values())
    chosen = {
        "oracle": _first(table, run.completion),
        f"LAG@{run.lag}": _first(table, run.lag),
        **{row: [name] for row, name in _chosen(run, scored).items()},
        "best at initialization (LAG@0)": _first(table, 0) if 0 in table.steps else [],
        **{row: [name] for row, name in (published or {}).items() if name is not None},
    }
    rows = []
    for row, names in chosen.items():
        if names:
            final = fmean(finals[name] for name in names)
            lost = final - best
            entry = {"name": row, "candidate": names[0], "final_val_loss": final, "regret": lost}
            entry["relative_regret"] = lost / (worst - best) if worst > best else 0.0
            rows.append(entry | ({"tied": names[1:]} if names[1:] else {}))
    return rows


def _first(table: LossTable, step: int) -> list[str]:
    """Return the best at a step, and those that are equal to it: a list's order says nothing."""
    is_first = ranks(table.at(step))[0] == 1
    pairs = zip(table.candidates, is_first.tolist(), strict=True)
    return [name for name, yes in pairs if yes]


def _chosen(run: Searched, scored: list[str]) -> dict[str, str]:
    """Return the row of this search's own choice, where it is not by the loss at K."""
    settings = run.terms.settings
    stops = find_strategy(settings.strategy).stops
    if not stops and settings.signal == "loss":
        return {}
    named = f"{settings.strategy} to {run.lag}" if stops else f"LAG@{run.lag}"
    best = next(name for name in run.ranking if name in scored)
    return {f"{named} by {settings.signal}": best}
