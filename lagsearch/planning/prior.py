"""What the benchmark says of growths like those of a space, where `search.prior` asks for it."""

from collections.abc import Iterator, Sequence

from lagsearch.operators.labels import label_of
from lagsearch.planning.planned import PlannedCandidate
from lagsearch.selection import find_strategy
from lagsearch.selection.taught import taught
from lagsearch.space import Space

FEWEST = 5
"""Runs in which a kind of growth must have led early before anything is said of how it ended."""
OFTEN = 1 / 3
"""Share of those in which it ended in the worse half, from which on that is a warning."""


def expected_place(planned: PlannedCandidate) -> float | None:
    """Return where growths of a candidate's kind ended, from 0, best, to 1; None if not known."""
    candidate = planned.candidate
    if candidate.is_baseline:
        return None
    found = taught().growths.get(label_of(candidate.operator, candidate.settings, planned.also))
    return None if found is None else found.expected


def tell_prior(space: Space, candidates: Sequence[PlannedCandidate]) -> Iterator[str]:
    """Say what the prior does, and of which candidates it warns."""
    if space.search.prior is None:
        return
    known = sum(expected_place(each) is not None for each in candidates)
    if "cut" in find_strategy(space.search.strategy).heeds:
        use = (
            "finalists are chosen by how their kinds ended there as well as by the loss at the cut"
        )
    else:
        use = (
            "of candidates that cannot be told apart at K, the one whose kind ended best there wins"
        )
    yield (
        f"prior of {taught().runs} recorded runs (search.prior): {use}; {known} of "
        f"{len(candidates)} are of a known kind"
    )
    kinds: dict[str, list[str]] = {}
    for each in candidates:
        if not each.candidate.is_baseline:
            label = label_of(each.candidate.operator, each.candidate.settings, each.also)
            kinds.setdefault(label, []).append(each.name)
    for label, names in kinds.items():
        found = taught().growths.get(label)
        if found is None or found.leads_early < FEWEST:
            continue
        if found.ends_behind >= OFTEN * found.leads_early:
            yield (
                f"Warning (search.prior): {label} led early in {found.leads_early} of {found.runs} "
                f"recorded runs, and ended in the worse half in {found.ends_behind} of those: "
                f"{', '.join(names)}"
            )
