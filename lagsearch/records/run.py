"""A run folder, read: its candidates, their curves, and the choice among them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lagsearch.errors import RunFolderError, counted
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.records.curve import Curve
from lagsearch.records.devices import TrainedOn, read_devices
from lagsearch.records.folder import RunFolder
from lagsearch.records.search import Searched, Terms, conclude
from lagsearch.records.seeds import mean_curve
from lagsearch.records.strategy_input import search_settings
from lagsearch.selection import Order
from lagsearch.space import Space, annealed_steps


@dataclass(frozen=True)
class Baseline:
    """What candidates are compared with.

    Attributes:
        plan: Its entry in `plans.json`.
        by_seed: Its evaluations under each seed.
        curve: The mean over the seeds.
    """

    plan: dict[str, Any]
    by_seed: tuple[Curve, ...]
    curve: Curve

    @property
    def sources(self) -> list[int]:
        """The places of the sources that it takes from."""
        return sorted(GrowthPlan.from_dict(self.plan["plan"]).sources)


@dataclass(frozen=True)
class Recorded(Searched):
    """A run folder, read.

    Attributes:
        space: What was run.
        plans: `plans.json`: each candidate's entry by its name.
        environment: `environment.json`.
        operators: What came of learning the operators that are learned, by candidate.
        profiles: Where the time went, by candidate, where somebody looked.
        has_winner: Whether the winner's weights are there.
        harness: `harness.json`, None where no downstream tasks were evaluated.
        left_out: Candidates of the space that do not fit: name and reason of each.
        baselines: What candidates are compared with, and were not chosen from.
        devices: On which nodes of a cluster each was trained, one after the other; by candidate.
    """

    space: Space
    plans: Mapping[str, dict[str, Any]]
    environment: Mapping[str, Any]
    operators: Mapping[str, dict[str, Any]]
    profiles: Mapping[str, dict[str, Any]]
    has_winner: bool
    harness: Mapping[str, Any] | None
    left_out: tuple[dict[str, str], ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    devices: Mapping[str, list[TrainedOn]] = field(default_factory=dict)


def terms_of(
    space: Space, baselines: Iterable[str], prior: Mapping[str, float] | None = None
) -> Terms:
    """Return the terms on which a space compares its candidates.

    Args:
        space: What is run.
        baselines: Candidates that are no growths.
        prior: Where candidates like these ended in other runs, by name.
    """
    return Terms(
        name=space.name,
        seed=space.seed,
        seeds=space.seeds,
        settings=search_settings(space, prior),
        asked_lag=space.search.lag,
        has_oracle=space.search.oracle,
        baselines=frozenset(baselines),
        annealed=annealed_steps(space),
    )


def prior_of(plans: Mapping[str, Any]) -> dict[str, float]:
    """Return what `plans.json` holds of where candidates like these ended in other runs."""
    return {each["name"]: each["prior"] for each in plans["candidates"] if "prior" in each}


def read_run(folder: RunFolder) -> Recorded:
    """Read a run folder.

    Raises:
        RunFolderError: It is none, or no candidate has reached K, or some are still to reach it.
    """
    space = folder.space()
    recorded = folder.plans()
    plans = {entry["name"]: entry for entry in recorded["candidates"]}
    own = [name for name, plan in plans.items() if plan["is_baseline"]]
    terms = terms_of(space, own, prior_of(recorded))
    by_seed = {name: folder.curves_of(space, name) for name in plans}
    found = conclude(terms, by_seed, folder.path)
    if space.search.oracle and (late := _late(by_seed, space.training.steps)):
        found = Order(space.training.steps, late)
    if isinstance(found, Order):
        missing = len(found.candidates)
        have = "has" if missing == 1 else "have"
        raise RunFolderError(
            f"{folder.path}: {missing} of {counted(len(plans), 'candidate')} {have} not reached "
            f"step {found.step}, e.g. {found.candidates[0]}; `lagsearch run` with the same --out "
            "goes on"
        )
    environment = folder.environment()
    compared = recorded.get("baselines", ())
    if environment.get("end"):
        _check_ends(folder, space, found.winner, compared)
    return Recorded(
        **vars(found),
        space=space,
        plans=plans,
        environment=environment,
        operators={name: learnt for name in plans if (learnt := folder.operator(name)) is not None},
        profiles={name: seen for name in plans if (seen := folder.profile(name)) is not None},
        has_winner=any(folder.winner.glob("*.safetensors")),
        harness=folder.harness(),
        left_out=tuple(recorded.get("left_out", ())),
        baselines=_baselines(folder, space, compared),
        devices={name: where for name in plans if (where := _devices(folder, space, name))},
    )


def _devices(folder: RunFolder, space: Space, candidate: str) -> list[TrainedOn]:
    """Return where a candidate was trained, under the first seed first."""
    curves = [folder.curve_file(name) for name in space.trials(candidate)]
    return [place for curve in curves for place in read_devices(curve)]


def _check_ends(
    folder: RunFolder, space: Space, winner: str, baselines: Iterable[dict[str, Any]]
) -> None:
    """Check that what a run that is over trained to an end is recorded until there.

    Raises:
        RunFolderError: A curve ends before.
    """
    ends = {space.trials(winner)[0]: space.training.steps}
    for plan in baselines:
        ends[plan["name"]] = plan["steps"]  # under the first seed; under others as candidates are
    for trial, step in ends.items():
        curve = folder.curve(trial)
        if curve.failure is None and curve.at(step) is None:
            raise RunFolderError(
                f"{folder.curve_file(trial)}: ends before step {step}, although the run is over; "
                "`lagsearch run` with the same --out mends it"
            )


def _baselines(
    folder: RunFolder, space: Space, plans: Iterable[dict[str, Any]]
) -> dict[str, Baseline]:
    """Return what was trained beside the candidates, as far as it came."""
    found = {}
    for plan in plans:
        by_seed = folder.curves_of(space, plan["name"])
        curve = mean_curve(by_seed, space.seeds)
        if curve.seen:
            found[plan["name"]] = Baseline(plan, by_seed, curve)
    return found


def _late(by_seed: Mapping[str, tuple[Curve, ...]], step: int) -> tuple[str, ...]:
    """Return the candidates that did not fail and have not reached a step under all seeds."""
    return tuple(
        name
        for name, curves in by_seed.items()
        if not any(curve.failure for curve in curves) and not all(each.at(step) for each in curves)
    )
