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
    lines = _fit(table, step)
    if lines is None:
        return None
    ends_C = lines.at(completion)
    gap_C, error = ends_C - ends_C.min(), np.sqrt(2) * lines.error(completion)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(gap_C > 0, 2 * t_above(gap_C / error, lines.freedom), 1.0)
    return {
        name: Forecast(float(end), float(p_value))
        for name, end, p_value in zip(table.candidates, ends_C, found, strict=True)
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
    lines = _fit(table, step)
    if lines is None:
        return None
    now_C = table.at(step)
    noise_RC = resampled([table.batches_at(step)], generator, DRAWS)[0] - now_C
    if step < completion:
        off_RC = lines.error(completion) * generator.standard_t(lines.freedom, noise_RC.shape)
        ends_RC = lines.at(completion) + noise_RC + off_RC
    else:
        ends_RC = now_C + noise_RC
    regret_R = ends_RC[:, table.candidates.index(leader)] - ends_RC.min(axis=1)
    return ExpectedRegret(float(regret_R.mean()), float(np.quantile(regret_R, 0.95)))


def regret_after(
    table: LossTable, step: int, completion: int, later: int, generator: np.random.Generator
) -> float | None:
    """Return the regret that is to be expected of a choice at a later step.

    Lines are drawn as far about the fitted ones as those can be wrong. The choice falls on the one
    that is expected to end best once the loss at the later step is known, too, as by a line through
    all evaluations; its regret is read at completion (a preposterior analysis: Raiffa and
    Schlaifer 1961).

    Args:
        table: Losses of the candidates that are compared; none after `step` is looked at.
        step: The last step that is known.
        completion: The step to forecast.
        later: From `step` to `completion`.
        generator: Draws.

    Returns:
        In nats; None where `forecasts` has none.
    """
    lines = _fit(table, step)
    if lines is None:
        return None
    noise_RC = resampled([table.batches_at(step)], generator, DRAWS)[0] - table.at(step)
    off_PRC = generator.standard_normal((2, *noise_RC.shape))
    off_PRC /= np.sqrt(generator.chisquare(lines.freedom, (DRAWS, 1)) / lines.freedom)
    root = lines.root(later, completion)
    later_RC, ends_RC = np.einsum("qp,prc->qrc", np.sqrt(lines.noise) * root, off_PRC)
    # of an end's distance from its forecast, a later loss's tells so much
    expected_RC = lines.at(completion) + root[1, 0] / root[0, 0] * later_RC
    ends_RC = ends_RC + lines.at(completion) + noise_RC
    chosen_R1 = expected_RC.argmin(axis=1)[:, None]
    lost_R = np.take_along_axis(ends_RC, chosen_R1, axis=1)[:, 0] - ends_RC.min(axis=1)
    return float(lost_R.mean())


@dataclass(frozen=True)
class _Lines:
    """Lines of losses over -1 / step, one for each candidate.

    Attributes:
        mean_C: Losses where `over` is at its mean.
        slope_C: Their slopes.
        over: Mean of -1 / step over the evaluations.
        spread: Sum of squares of its distances from that mean.
        n: Evaluations.
        noise: Variance of one evaluation about a line.
        freedom: Of that variance.
    """

    mean_C: Array
    slope_C: Array
    over: float
    spread: float
    n: int
    noise: float
    freedom: int

    def at(self, step: int) -> Array:
        """Return the losses that lines lead to at a step: (C,)."""
        return self.mean_C + (-1 / step - self.over) * self.slope_C

    def error(self, step: int) -> float:
        """Return the standard deviation of what an evaluation at a step is off."""
        return float(np.sqrt(self.noise) * self.root(step)[0, 0])

    def root(self, *steps: int) -> Array:
        """Return the Cholesky root of the covariance of what evaluations at steps are off.

        In units of the noise's standard deviation.
        """
        far_P = np.array([-1 / step - self.over for step in steps])
        of_line = 1 / self.n + np.outer(far_P, far_P) / self.spread
        return np.asarray(np.linalg.cholesky(of_line + np.eye(len(steps))), np.float64)


def _fit(table: LossTable, step: int) -> _Lines | None:
    steps = [each for each in table.steps if max(1, step / WINDOW) <= each <= step]
    if len(steps) < 3 or len(table.candidates) < 2:
        return None
    losses_CW = np.stack([table.at(each) for each in steps], axis=1)
    over_W = -1 / np.array(steps, np.float64)
    centred_W = over_W - over_W.mean()
    spread = float((centred_W**2).sum())
    own_CW = losses_CW - losses_CW.mean(axis=0)
    own_CW = own_CW - own_CW.mean(axis=1, keepdims=True)
    left_CW = own_CW - np.outer(own_CW @ centred_W / spread, centred_W)
    freedom = (len(losses_CW) - 1) * (len(steps) - 2)
    return _Lines(
        mean_C=losses_CW.mean(axis=1),
        slope_C=losses_CW @ centred_W / spread,
        over=float(over_W.mean()),
        spread=spread,
        n=len(steps),
        noise=float((left_CW**2).sum()) / freedom,
        freedom=freedom,
    )
