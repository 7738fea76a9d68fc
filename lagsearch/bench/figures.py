"""What the runs of a benchmark show, as numbers: noise, phase transitions, operators, claims.

Shape letters: C candidates, E seeds, N validation batches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from lagsearch.bench.design import Design, designs
from lagsearch.operators.labels import label_of
from lagsearch.records.benchmark import Benchmark
from lagsearch.records.search import Searched
from lagsearch.replay.replay import Recording, lag_outcome, recordings_of
from lagsearch.selection.scores import ranks, relative_regret, spearman
from lagsearch.selection.spread import Mean, mean_of
from lagsearch.selection.transition import phase_transition

Array = NDArray[np.float64]

SHARES = (0.05, 0.1, 0.2, 1 / 3)
"""Shares of completion at which LAG is looked at."""
_EARLY = 0.05
"""Share of completion at which an operator's early place is taken."""


@dataclass(frozen=True)
class AtShare:
    """LAG at a share of completion, the mean over the seeds of a run.

    Attributes:
        relative_regret: Of its choice.
        is_within_noise: Share of the choices that end no farther behind the best than twice the
            standard error of a difference; None where there is one seed.
        correlation: Of its ranking with the last one (Spearman).
    """

    relative_regret: float
    is_within_noise: float | None
    correlation: float


@dataclass(frozen=True)
class RunFigures:
    """What one run shows.

    Attributes:
        name: The run.
        n_growths: How many growths were trained to the end.
        n_seeds: Under how many seeds.
        transition: The phase transition as a share of completion; None where there is none.
        spread: Range of the final losses, in nats.
        noise: Standard deviation of what a seed adds to the difference of two growths' final
            losses, over the square root of 2, in nats; None where there is one seed.
        floor: Relative regret of choosing by the final losses of one seed, judged by another's.
        at: LAG at shares of completion, 0 for the loss at growth.
        places: From 0, best, to 1, worst, by candidate: early and at the end.
        labels: What each candidate is, in a word or two.
        last: What the choice at K gives away less what last stacking gives away, as a share of the
            spread; None where that was no candidate.
        boundaries: The mean final loss by boundary policy, in shares of the spread.
    """

    name: str
    n_growths: int
    n_seeds: int
    transition: float | None
    spread: float
    noise: float | None
    floor: float | None
    at: Mapping[float, AtShare]
    places: Mapping[str, tuple[float, float]]
    labels: Mapping[str, str]
    last: float | None
    boundaries: Mapping[str, float]


def why_left_out(searched: Searched) -> str | None:
    """Return why a run cannot be shown beside the others, if it cannot."""
    if searched.terms.settings.rungs[-1] >= searched.completion:
        return "its K is its final step"
    if 0 not in searched.table.only(searched.complete_growths).shared().steps:
        return "it has no losses at growth"
    return None


def figures_of(benchmark: Benchmark, name: str) -> RunFigures:
    """Return what a run shows; it must have losses at growth (`why_left_out`)."""
    searched = benchmark.searched(name)
    recordings = recordings_of(searched, benchmark.path / name)
    table = searched.table.only(searched.complete_growths).shared()
    last = table.steps.index(searched.completion)
    final_CE: Array = np.nanmean(table.batches[:, last], axis=-1)
    final_C = final_CE.mean(axis=1)
    spread = float(np.ptp(final_C))
    noise = interaction(final_CE)
    transition = phase_transition(table)
    labels = {
        each["name"]: label_of(each["operator"], each["settings"], each["also"])
        for each in benchmark.entry(name)["recorded"]["candidates"]
    }
    at = {
        share: _at(recordings, _step(table.steps, share * searched.completion), noise)
        for share in (0.0, *SHARES)
    }
    early = table.at(_step(table.steps, _EARLY * searched.completion))
    places = zip(_places(early).tolist(), _places(final_C).tolist(), strict=True)
    final = dict(zip(table.candidates, final_C.tolist(), strict=True))
    return RunFigures(
        name=name,
        n_growths=len(table.candidates),
        n_seeds=final_CE.shape[1],
        transition=None if transition is None else transition.step / searched.completion,
        spread=spread,
        noise=noise,
        floor=seed_floor(final_CE),
        at=at,
        places=dict(zip(table.candidates, places, strict=True)),
        labels=labels,
        last=_against_last(searched, final, spread),
        boundaries=_boundaries(benchmark, name, final, spread),
    )


def interaction(final_CE: Array) -> float | None:
    """Return the standard deviation of what is left of final losses beside growth and seed."""
    n_candidates, n_seeds = final_CE.shape
    if n_seeds < 2 or n_candidates < 2:
        return None
    rest = final_CE - final_CE.mean(axis=1, keepdims=True) - final_CE.mean(axis=0) + final_CE.mean()
    return float(np.sqrt((rest**2).sum() / ((n_candidates - 1) * (n_seeds - 1))))


def seed_floor(final_CE: Array) -> float | None:
    """Return what even the final losses of one seed give away, judged by another seed's."""
    pairs = list(permutations(range(final_CE.shape[1]), 2))
    if not pairs:
        return None
    found = [float(relative_regret(final_CE[:, one], final_CE[:, two])) for one, two in pairs]
    return float(np.mean(found))


def _step(steps: Sequence[int], at: float) -> int:
    """Return the last evaluated step up to one."""
    return max(step for step in steps if step <= round(at))


def _places(losses_C: Array) -> Array:
    first, last = ranks(losses_C)
    places: Array = ((first + last) / 2 - 1) / max(1, len(losses_C) - 1)
    return places


def _at(recordings: Sequence[Recording], step: int, noise: float | None) -> AtShare:
    found = [lag_outcome(each, step, "").given_away for each in recordings]
    limit = None if noise is None else 2 * noise * np.sqrt(2 / len(recordings))
    final_C = np.array([recordings[0].final[name] for name in recordings[0].names])
    correlations = [spearman(each.measured.loss.at(step), final_C) for each in recordings]
    return AtShare(
        relative_regret=float(np.mean([each.relative_regret for each in found])),
        is_within_noise=None
        if limit is None
        else float(np.mean([each.regret <= limit for each in found])),
        correlation=float(np.nanmean(correlations)) if np.isfinite(correlations).any() else 0.0,
    )


def _against_last(searched: Searched, final: Mapping[str, float], spread: float) -> float | None:
    """Return how far the choice at K ends from a copy of the last layers on top."""
    stacked = [
        name
        for name in final
        if name.startswith("lag-i") and name.endswith("-duplicate") and _is_on_top(name, final)
    ]
    if len(stacked) != 1 or not spread or searched.winner not in final:
        return None
    return (final[searched.winner] - final[stacked[0]]) / spread


def _is_on_top(name: str, names: Mapping[str, float]) -> bool:
    """Return whether a candidate is LAG's with the largest index and block there is."""

    def size(each: str) -> tuple[int, int]:
        index, block = each.split("-")[1:3]
        return int(index[1:]), int(block[1:])

    return size(name) == max(size(each) for each in names if each.startswith("lag-i"))


def _boundaries(
    benchmark: Benchmark, name: str, final: Mapping[str, float], spread: float
) -> dict[str, float]:
    """Return the mean place of each boundary policy between the least and the largest loss."""
    found: dict[str, list[float]] = {}
    for each in benchmark.entry(name)["recorded"]["candidates"]:
        policy = each["settings"].get("boundary")
        if each["operator"] in ("multi-stack", "multi-interleave") and each["name"] in final:
            kind = str(policy or "attached").partition("-")[0]
            lost = (final[each["name"]] - min(final.values())) / spread
            found.setdefault(kind, []).append(lost)
    return {kind: float(np.mean(values)) for kind, values in found.items()}


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and what the runs say of it.

    Attributes:
        words: The claim.
        measure: What is measured; the claim says that it is above 0.
        mean: Over the runs, with Student's interval; None where no run says anything.
    """

    words: str
    measure: str
    mean: Mean | None

    @property
    def verdict(self) -> str:
        """`confirmed` or `contradicted` where 0 is outside of the interval, else `open`."""
        if self.mean is None or self.mean.low is None or self.mean.high is None:
            return "open"
        if self.mean.low > 0:
            return "confirmed"
        return "contradicted" if self.mean.high < 0 else "open"


def claims_of(runs: Sequence[RunFigures], lag_share: float = 0.2) -> list[Claim]:
    """Return what the runs say of the four claims of the papers."""

    def mean(found: Sequence[float | None]) -> Mean | None:
        known = [each for each in found if each is not None]
        return mean_of(known) if known else None

    def place_of(each: RunFigures, label: str) -> float | None:
        found = [at[1] for name, at in each.places.items() if each.labels[name] == label]
        return 0.5 - float(np.mean(found)) if found else None

    def gap(each: RunFigures, worse: str, better: str) -> float | None:
        one, two = each.boundaries.get(worse), each.boundaries.get(better)
        return None if one is None or two is None else one - two

    return [
        Claim(
            "The initial loss misleads, and the K-step loss does not (LAG).",
            "rank correlation with the end, at 20 % less at growth",
            mean([each.at[lag_share].correlation - each.at[0.0].correlation for each in runs]),
        ),
        Claim(
            "Choosing by LAG beats last stacking (LAG; here at one growth).",
            "final loss of last stacking less that of the choice at K, in spreads",
            mean([None if each.last is None else -each.last for each in runs]),
        ),
        Claim(
            "Depth beats width (G_stack).",
            "no run of the design grows by both from equal sources",
            None,
        ),
        Claim(
            "Stacking comes before most other growths (G_stack).",
            "half less its place at the end among all, from 0, best, to 1, worst",
            mean([place_of(each, "stack") for each in runs]),
        ),
        Claim(
            "Boundary `same` is better than `average` (survey).",
            "relative regret of `average` less that of `same`",
            mean([gap(each, "average", "same") for each in runs]),
        ),
        Claim(
            "Boundary `average` is better than `attached` (survey).",
            "relative regret of `attached` less that of `average`",
            mean([gap(each, "attached", "average") for each in runs]),
        ),
    ]


@dataclass(frozen=True)
class OperatorFigures:
    """How an operator fares.

    Attributes:
        label: What it is.
        n_runs: Runs in which it was a candidate.
        early: Its mean place at 5 %, from 0, best, to 1, worst; the mean over runs.
        final: The same at the end.
        n_best: Runs that it ended best in.
    """

    label: str
    n_runs: int
    early: float
    final: float
    n_best: int


def operators_of(runs: Sequence[RunFigures]) -> list[OperatorFigures]:
    """Return how operators fare, best at the end first."""
    found: dict[str, list[tuple[float, float, bool]]] = {}
    for each in runs:
        by_label: dict[str, list[tuple[float, float]]] = {}
        for name, places in each.places.items():
            by_label.setdefault(each.labels[name], []).append(places)
        for label, places_of in by_label.items():
            early, final = np.mean(places_of, axis=0)
            is_best = min(place for _, place in places_of) == 0
            found.setdefault(label, []).append((float(early), float(final), is_best))
    rows = [
        OperatorFigures(
            label,
            len(values),
            float(np.mean([early for early, _, _ in values])),
            float(np.mean([final for _, final, _ in values])),
            sum(is_best for _, _, is_best in values),
        )
        for label, values in found.items()
    ]
    return sorted(rows, key=lambda each: each.final)


GROUPS: dict[str, Callable[[Design], str]] = {
    "rate": lambda each: each.rate,
    "factor": lambda each: f"{_factor(each):.2g}",
    "source's training": lambda each: "really" if each.trained is None else f"{each.trained}",
    "tokens a step": lambda each: f"{each.batch * each.length}",
    "objective": lambda each: each.objective,
}
"""By what the phase transition is looked at."""


def _factor(design: Design) -> float:
    """Return how many times as many layers, or as wide, whichever is more."""
    layers = design.source[0] * design.n_sources
    return max(design.target[0] / layers, design.target[1] / design.source[1])


def transitions(runs: Sequence[RunFigures]) -> list[tuple[str, str, int, int, float | None]]:
    """Return where the phase transition lies: by what, value, runs, runs with one, its median."""
    known = {each.name: each for each in designs()}
    rows = []
    for title, group in GROUPS.items():
        by_value: dict[str, list[float | None]] = {}
        for each in runs:
            if each.name in known:
                by_value.setdefault(group(known[each.name]), []).append(each.transition)
        for value, found in sorted(by_value.items()):
            there = [share for share in found if share is not None]
            median = float(np.median(there)) if there else None
            rows.append((title, value, len(found), len(there), median))
    return rows
