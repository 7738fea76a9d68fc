"""A budget in place of strategy and K: the search within it that the benchmark speaks for."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from lagsearch.errors import LagsearchError
from lagsearch.planning.stage import StagePlan
from lagsearch.selection import find_strategy
from lagsearch.selection.taught import STANDARD, Budgeted, search_within
from lagsearch.space import OF_BUDGET, SpaceFile, check_file


def within_budget(file: SpaceFile, share: float, stages: Sequence[StagePlan]) -> SpaceFile:
    """Return a space with strategy and K in place of its own, so that a search costs a share.

    Args:
        file: The space.
        share: Of the compute to train every candidate to the final step; the training of the winner
            is in it. Where there are stages, in each of them.
        stages: What was planned of it, stage by stage.

    Raises:
        LagsearchError: It pays for no search, or something in the space cannot be.
    """
    if not 0 < share <= 1:
        message = "write a share of the compute to train every candidate, e.g. 0.3"
        raise LagsearchError(f"--budget {share:g}: {message}")
    tree = deepcopy(file.written_out() if file.has_stages else file.plain)
    parts = tree["stages"] if file.has_stages else [tree]
    said = []
    for number, (part, stage) in enumerate(zip(parts, stages, strict=True), start=1):
        if stage.n_searched < 2 and file.has_stages:
            continue  # its one candidate is no choice
        where = f"stage {number}: " if file.has_stages else ""
        found = _search(stage, share, where)
        _put(part, stage, found, own_lag=file.has_stages)
        has_prior = stage.space.search.prior is not None
        said.append(f"{where}--budget {share:g}: {_told(found, has_prior=has_prior)}")
    checked = check_file(file.path, tree, dict(file.lines))
    return replace(checked, remarks=tuple(said))


def _search(stage: StagePlan, share: float, where: str) -> Budgeted:
    space, count = stage.space, stage.n_searched
    samples = find_strategy(space.search.strategy).samples  # candidates: only K is open then
    found = search_within(
        share,
        count,
        space.training.steps,
        signal=space.search.signal,
        has_prior=space.search.prior is not None,
        among=(STANDARD,) if samples else None,
    )
    if found is not None:
        return replace(found, strategy=space.search.strategy) if samples else found
    message = (
        f"{where}--budget {share:g} is less than any search costs: the winner's own training is "
        f"{1 / count:.0%} of training all {count}"
    )
    raise LagsearchError(message)


def _put(part: dict[str, Any], stage: StagePlan, found: Budgeted, *, own_lag: bool) -> None:
    """Write a search into the tree of a space, or of a stage, whose K stands beside `search`."""
    keys: dict[str, Any] = {"strategy": found.strategy, **found.keys}
    search = part.get("search") or {}
    samples = find_strategy(stage.space.search.strategy).samples
    kept = {key: value for key, value in search.items() if samples or key not in OF_BUDGET}
    part["search"] = kept | keys
    if own_lag:
        part["lag"] = part["search"].pop("lag")


def _told(found: Budgeted, *, has_prior: bool) -> str:
    """Say what was chosen, and what the benchmark has to say for it."""
    named = {"cut": "cut", "lag": "K"}
    steps = [f"{word} {found.keys[key]:,}" for key, word in named.items() if key in found.keys]
    at = found.at
    known = (
        f"{found.title}, {', '.join(steps)}; in {at.runs} recorded runs that it was not chosen by, "
        f"at {found.budget:.0%} of the compute to train every candidate, its relative regret was "
        f"{at.regret:.2f} ({at.low:.2f} to {at.high:.2f}){' with the prior' if has_prior else ''}"
    )
    if found.title == STANDARD and not has_prior:
        return known
    return f"{known}, and that of LAG alone {at.regret + at.gain:.2f} (p = {at.p_value:.2g})"
