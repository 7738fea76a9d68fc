"""The manifest of an export, and curves of its checkpoints that another trainer recorded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from lagsearch.errors import CurvesError, LagsearchError, did_you_mean
from lagsearch.records.curve import Curve
from lagsearch.records.folder import PHASES
from lagsearch.records.imported_curves import Asked, conclude_curves, curves_by_seed
from lagsearch.records.run import Baseline, Recorded
from lagsearch.records.search import Searched
from lagsearch.records.seeds import mean_curve
from lagsearch.records.shapes import read_record
from lagsearch.space import Space, load_space

FORMAT = 1
MANIFEST = "manifest.json"


class Manifest(TypedDict):
    """The shape of `manifest.json`."""

    format: int
    lagsearch: str
    space: dict[str, Any]
    sources: list[dict[str, Any]]
    plans: dict[str, Any]
    checkpoints: dict[str, dict[str, Any]]


def read_with_manifest(path: Path, manifest: Path, asked: Asked) -> Recorded:
    """Read curves of exported checkpoints into what a run folder is read into.

    Baselines of the manifest are what candidates are compared with; they are not ranked.

    Args:
        path: The file of curves.
        manifest: That of the export.
        asked: What the curves do not say.

    Raises:
        CurvesError: A curve is of no checkpoint of the export, or the file is wrong.
        RunFolderError: The manifest cannot be read.
    """
    found = read_record(manifest, Manifest)
    if found["format"] != FORMAT:
        message = f"has format {found['format']}, and this lagsearch reads {FORMAT}"
        raise CurvesError(f"{manifest}: {message}; export anew")
    space = _space(manifest, found)
    plans = {each["name"]: each for each in found["plans"]["candidates"]}
    beside = {each["name"]: each for each in found["plans"].get("baselines", ())}
    rows, by_seed = curves_by_seed(path)
    _check_names(path, manifest, list(by_seed), {**plans, **beside})
    by_seed = {
        name: _with_flops(curves, {**plans, **beside}[name]) for name, curves in by_seed.items()
    }
    ranked = {name: curves for name, curves in by_seed.items() if name in plans}
    if not ranked:
        raise CurvesError(f"{path}: has no candidate of {manifest}, but baselines")
    own = tuple(name for name in ranked if plans[name]["is_baseline"])
    asked = replace(asked, baselines=tuple(dict.fromkeys((*asked.baselines, *own))))
    searched = conclude_curves(path, rows, ranked, asked)
    searched = replace(searched, terms=replace(searched.terms, name=space.name, seed=space.seed))
    return Recorded(
        **vars(searched),
        space=_as_searched(space, searched),
        plans={name: plans[name] for name in ranked},
        environment={
            "seeds": list(searched.terms.seeds),
            "sources": found["sources"],
            "slots": 1,
            "wall_s": dict.fromkeys(PHASES, 0.0),
            "versions": {"lagsearch": found["lagsearch"]},
        },
        operators={},
        profiles={},
        has_winner=False,
        harness=None,
        left_out=tuple(found["plans"].get("left_out", ())),
        baselines={
            name: Baseline(plan, by_seed[name], mean_curve(by_seed[name], searched.terms.seeds))
            for name, plan in beside.items()
            if name in by_seed
        },
    )


def _space(path: Path, manifest: Mapping[str, Any]) -> Space:
    try:
        return load_space(manifest["space"]).space
    except LagsearchError as error:
        raise CurvesError(f"{path}: its space cannot be read: {error}") from None


def _as_searched(space: Space, searched: Searched) -> Space:
    """Return a space as its candidates were trained: seeds, steps, and whether all to the end."""
    seeds = searched.terms.seeds
    search = {"lag": searched.lag, "oracle": searched.terms.has_oracle, "seeds": seeds}
    return space.model_copy(
        update={
            "seed": seeds[0],
            "search": space.search.model_copy(update=search),
            "training": space.training.model_copy(update={"steps": searched.completion}),
        }
    )


def _check_names(path: Path, manifest: Path, names: list[str], known: Mapping[str, Any]) -> None:
    """Check that curves are of the export's checkpoints.

    Raises:
        CurvesError: One is not.
    """
    for name in names:
        if name not in known:
            hint = did_you_mean(name, list(known))
            raise CurvesError(f"{path}: candidate {name!r} is none of {manifest}{hint}")


def _with_flops(curves: tuple[Curve, ...], plan: Mapping[str, Any]) -> tuple[Curve, ...]:
    """Return curves with the training FLOPs of each step, as the manifest counts them."""
    once, each_step = plan.get("operator_flops", 0), plan["flops_per_step"]
    return tuple(
        replace(
            curve,
            evaluations=tuple(
                replace(each, flops=once + each.step * each_step) for each in curve.evaluations
            ),
        )
        for curve in curves
    )
