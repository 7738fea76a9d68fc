"""Where curves lead to: each candidate's loss at completion, and how sure that is."""

from dataclasses import dataclass

import numpy as np

from lagsearch.selection.student import t_above
from lagsearch.selection.table import LossTable

WINDOW = 4.0
"""Lines are fitted to the evaluations from step / WINDOW to the step."""


@dataclass(frozen=True)
class Forecast:
    """Where a candidate's curve leads to.

    Attributes:
        loss: At completion.
        p_value: Of its difference from the candidate with the lowest, two-sided; 1 for that one.
    """

    loss: float
    p_value: float


def forecasts(table: LossTable, step: int, completion: int) -> dict[str, Forecast] | None:
    """Return where the curves of candidates lead to.

    A line through each candidate's loss over one over the step, carried to completion. What
    candidates have in common does not matter: how far their differences scatter about their lines,
    taken to be alike in all, is the noise, and a difference of two forecasts is tested against what
    a line that is fitted to it can be wrong by there, one evaluation's noise included (the
    prediction interval of simple regression).

    Args:
        table: All losses; those at the steps of the window must be there.
        step: The last step that is known.
        completion: The step to forecast.

    Returns:
        By candidate; None with fewer than three evaluations to fit or fewer than two candidates.
    """
    steps = [each for each in table.steps if max(1, step / WINDOW) <= each <= step]
    if len(steps) < 3 or len(table.candidates) < 2:
        return None
    losses_CW = np.stack([table.at(each) for each in steps], axis=1)
    over_W = -1 / np.array(steps, np.float64)
    centred_W, target = over_W - over_W.mean(), -1 / completion - over_W.mean()
    spread = float((centred_W**2).sum())
    ends_C = losses_CW.mean(axis=1) + target * (losses_CW @ centred_W) / spread
    own_CW = losses_CW - losses_CW.mean(axis=0)
    own_CW = own_CW - own_CW.mean(axis=1, keepdims=True)
    left_CW = own_CW - np.outer(own_CW @ centred_W / spread, centred_W)
    freedom = (len(losses_CW) - 1) * (len(steps) - 2)
    noise = float((left_CW**2).sum()) / freedom
    error = np.sqrt(2 * noise * (1 + 1 / len(steps) + target**2 / spread))
    gap_C = ends_C - ends_C.min()
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(gap_C > 0, 2 * t_above(gap_C / error, freedom), 1.0)
    return {
        name: Forecast(float(end), float(p_value))
        for name, end, p_value in zip(table.candidates, ends_C, found, strict=True)
    }
