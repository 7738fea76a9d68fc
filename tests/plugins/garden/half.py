"""Evidence of a race: the worse half is stopped at each rung, as successive halving does."""

from lagsearch.selection import Measured, SearchSettings, Stop, ranked_by_signal
from lagsearch.selection.strategies.evidence import evidence


@evidence("half", title="race of halves", words="in the worse half there")
def worse_half(
    measured: Measured, step: int, settings: SearchSettings, n_candidates: int, is_stable: bool
) -> dict[str, Stop]:
    """Return the worse half."""
    first, *others = ranked_by_signal(measured, step, settings)
    losses = dict(zip(measured.loss.candidates, measured.loss.at(step), strict=True))
    late = others[len(others) // 2 :]
    return {name: Stop(step, first, float(losses[name] - losses[first]), 1.0) for name in late}
