"""How far a ranking can be trusted before completion is known."""

import numpy as np
from scipy.stats import ttest_rel

from lagsearch.selection.ranking import rank_candidates
from lagsearch.selection.scores import spearman
from lagsearch.selection.table import LossTable


def indistinguishable(table: LossTable, step: int, level: float = 0.05) -> list[str]:
    """Return the candidates whose loss at a step cannot be told apart from the winner's.

    A paired t-test over the validation batches, corrected for the number of candidates by Holm's
    step-down rule. It knows the noise of the validation text, not that of training.

    Args:
        table: All losses.
        step: The step of the ranking.
        level: Probability of telling any two apart that are equal.
    """
    winner, *others = rank_candidates(table, step)
    batches = dict(zip(table.candidates, table.batches_at(step), strict=True))
    others = [name for name in others if not np.isnan(batches[name]).any()]
    tested = [(_p_value(batches[name], batches[winner]), name) for name in others]
    for place, (p_value, _) in enumerate(sorted(tested)):
        if p_value > level / (len(tested) - place):
            equal = {name for _, name in sorted(tested)[place:]}
            return [name for name in others if name in equal]
    return []


def _p_value(batches: np.ndarray, best: np.ndarray) -> float:
    if len(batches) < 2 or np.ptp(batches - best) == 0:
        return 0.0 if len(batches) > 1 and np.any(batches != best) else 1.0
    return float(ttest_rel(batches, best).pvalue)


def stability(table: LossTable, step: int) -> tuple[int, float] | None:
    """Return the last evaluated step up to half of `step`, and Spearman's correlation with it.

    None where there is no such step but 0, fewer than three candidates have both losses, or the
    correlation is not defined (all are equal).
    """
    earlier = [each for each in table.steps if 0 < each <= step / 2]
    if not earlier:
        return None
    pair = np.stack([table.at(earlier[-1]), table.at(step)])
    pair = pair[:, ~np.isnan(pair).any(axis=0)]
    if pair.shape[1] < 3:
        return None
    correlation = float(spearman(pair[0], pair[1]))
    return None if np.isnan(correlation) else (earlier[-1], correlation)
