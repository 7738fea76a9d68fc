"""Where curves lead to: each candidate's loss at completion, and how sure that is."""

from dataclasses import dataclass

import numpy as np

from lagsearch.selection.scores import Array, resampled
from lagsearch.selection.student import t_above
from lagsearch.selection.table import LossTable

WINDOW = 4.0
"""Lines are fitted to the evaluations from step / WINDOW to the step."""

DRAWS = 2000
"""Final losses that are drawn for the expected regret."""


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
    fitted = _fit(table, step, completion)
    if fitted is None:
        return None
    gap_C = fitted.ends_C - fitted.ends_C.min()
    error = np.sqrt(2) * fitted.error
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(gap_C > 0, 2 * t_above(gap_C / error, fitted.freedom), 1.0)
    return {
        name: Forecast(float(end), float(p_value))
        for name, end, p_value in zip(table.candidates, fitted.ends_C, found, strict=True)
    }


@dataclass(frozen=True)
class ExpectedRegret:
    """How far above the best the leader of a ranking is to end, known at K alone.

    Attributes:
        value: The expected regret, in nats.
        high: What it does not exceed with a probability of 95 %.
    """

    value: float
    high: float


def expected_regret(
    table: LossTable, step: int, completion: int, leader: str, generator: np.random.Generator
) -> ExpectedRegret | None:
    """Return the regret that is to be expected of the leader.

    Final losses are drawn about the forecasts, each off by what a line through its evaluations can
    be wrong by at completion (as in `forecasts`) and by what seeds and validation batches vary
    (`resampled`). On recorded runs: `tests/benchmarks/expected_regret.py`.

    Args:
        table: Losses of the candidates that are compared.
        step: K.
        completion: The step to forecast.
        leader: The candidate that is chosen.
        generator: Draws.

    Returns:
        None where `forecasts` has none.
    """
    fitted = _fit(table, step, completion)
    if fitted is None:
        return None
    now_C = table.at(step)
    noise_RC = resampled([table.batches_at(step)], generator, DRAWS)[0] - now_C
    if step < completion:
        off_RC = fitted.error * generator.standard_t(fitted.freedom, size=noise_RC.shape)
        ends_RC = fitted.ends_C + noise_RC + off_RC
    else:
        ends_RC = now_C + noise_RC
    regret_R = ends_RC[:, table.candidates.index(leader)] - ends_RC.min(axis=1)
    return ExpectedRegret(float(regret_R.mean()), float(np.quantile(regret_R, 0.95)))


@dataclass(frozen=True)
class _Fitted:
    """Forecast losses, what each is wrong by (standard deviation), and the freedom of that."""

    ends_C: Array
    error: float
    freedom: int


def _fit(table: LossTable, step: int, completion: int) -> _Fitted | None:
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
    error = float(np.sqrt(noise * (1 + 1 / len(steps) + target**2 / spread)))
    return _Fitted(ends_C, error, freedom)
