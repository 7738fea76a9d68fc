"""The posterior of how candidates end, of all their curves together.

Shape letters: C candidates, S steps, G points of a grid, D draws.

At an evaluated step t of now, a candidate's loss less the mean over all is

    d(t) = a + b (now / t - 1) + W(log t) + e

a level, what growth did and training undoes, a random walk in the logarithm of the step and the
jitter of one evaluation, normal with variances that all candidates share. What the variances of b,
W and e are is not known: they are integrated over a grid, each point weighed by the likelihood of
all curves. So a search in which curves cross knows from them that they cross, and is less sure.

Candidates are taken to stray independently. Those that are alike do not, so the expected regret is
rather too large; `tests/benchmarks/posterior.py` says how much on recorded runs.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lagsearch.selection.table import LossTable

Array = NDArray[np.float64]

WINDOW = 8.0
"""Evaluations from step / WINDOW to the step are looked at: what came before moved otherwise."""
LEAST_STEPS = 3
LEAST_CANDIDATES = 2
"""Of two the level's variance is known least: intervals of 90 % held the ends in 85 % of 300
simulations of the model, of three in 89 %, of 14 in 91 %."""
DRAWS = 2000

_FADING = (0.0, 0.03, 0.1, 0.3, 1.0)
_WALKS = (0.55, 1.0, 1.8)
_JITTERS = (0.003, 0.01, 0.03, 0.1, 0.3)
GRID: Array = np.array(list(product(_FADING, _WALKS, _JITTERS)))
"""Standard deviations of b, of W over a factor of e in steps, and of e, as shares of that of a:
(G, 3), all as likely before anything was measured. Early curves are smoother than they go on: with
smaller walks, intervals of 90 % held the ends of recorded runs in 70 to 80 % of cases, with these
in 92 to 94 %: `tests/benchmarks/posterior.py`."""


@dataclass(frozen=True)
class Ends:
    """What is known of how candidates end.

    Attributes:
        candidates: Their names.
        draws: Of their losses at completion, less what they have in common and less the jitter of
            that evaluation, in nats: (D, C).
        jitter: Standard deviation of what one evaluation adds, in nats.
    """

    candidates: tuple[str, ...]
    draws: Array
    jitter: float

    @property
    def noise(self) -> float:
        """Standard deviation of a difference of two ends that nobody can foresee, in nats."""
        return float(np.sqrt(2) * self.jitter)

    @property
    def leader(self) -> str:
        """The candidate that is to end best."""
        return self.candidates[int(self.draws.mean(axis=0).argmin())]

    @property
    def regret(self) -> float:
        """What the leader is expected to give away to the best, in nats."""
        mean = self.draws.mean(axis=0)
        return float(mean.min() - self.draws.min(axis=1).mean())

    def gains(self) -> dict[str, float]:
        """Return what each would gain over the leader, where it ends before it, in nats."""
        leader = self.draws[:, [self.candidates.index(self.leader)]]
        found = np.maximum(leader - self.draws, 0).mean(axis=0)
        return dict(zip(self.candidates, found.tolist(), strict=True))


def ends_of(
    table: LossTable, step: int, completion: int, generator: np.random.Generator
) -> Ends | None:
    """Return the posterior of how candidates end.

    Args:
        table: All losses; no later step than `step` is looked at.
        step: Now.
        completion: The step to foresee.
        generator: Draws.

    Returns:
        None with fewer than two candidates, or than three evaluations since an eighth of the step.
    """
    steps = [each for each in table.steps if max(1, step / WINDOW) <= each <= step]
    if len(steps) < LEAST_STEPS or len(table.candidates) < LEAST_CANDIDATES:
        return None
    losses_CS = np.stack([table.at(each) for each in steps], axis=1)
    differences_CS = losses_CS - losses_CS.mean(axis=0)
    if not np.isfinite(differences_CS).all() or not differences_CS.any():
        return None
    u_S = np.log(np.array([*steps, completion]) / step)
    weight_G, mean_GC, sd_G, jitter_G = _foreseen(differences_CS, u_S)
    drawn = generator.choice(len(GRID), DRAWS, p=weight_G)
    noise = generator.standard_normal((DRAWS, len(table.candidates)))
    draws = mean_GC[drawn] + sd_G[drawn, None] * noise
    return Ends(table.candidates, draws, float(np.sqrt(weight_G @ jitter_G**2)))


def _foreseen(seen_CS: Array, u: Array) -> tuple[Array, Array, Array, Array]:
    """Return weights of the grid's points, and means and deviations of the ends and e at each.

    Args:
        seen_CS: Differences, in nats.
        u: Logarithms of the steps, now 0, and of completion as the last.
    """
    fade, walk, jitter = (GRID[:, column, None, None] ** 2 for column in range(3))
    since = u - u[0]
    fading = np.exp(-u) - 1  # 0 now, negative at completion
    whole = 1 + fade * np.outer(fading, fading) + walk * np.minimum.outer(since, since)
    known = whole[:, :-1, :-1] + jitter * np.eye(len(u) - 1)  # (G, S, S)
    to_end, at_end = whole[:, :-1, -1], whole[:, -1, -1]
    root = np.linalg.cholesky(known)
    white = np.linalg.solve(root, np.broadcast_to(seen_CS.T, (len(GRID), *seen_CS.T.shape)))
    freedom = len(seen_CS) - 1  # of candidates: their mean was taken off
    n_seen = freedom * (len(u) - 1)
    scale = np.sqrt((white**2).sum(axis=(1, 2)) / n_seen)  # the level's, the likeliest one
    logdet = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    likelihood = -n_seen * np.log(scale) - 0.5 * freedom * logdet
    weight = np.exp(likelihood - likelihood.max())
    pull = np.linalg.solve(root, to_end[..., None])  # (G, S, 1)
    mean = (white * pull).sum(axis=1)
    sd = scale * np.sqrt(np.maximum(at_end - (pull**2).sum(axis=(1, 2)), 0))
    return weight / weight.sum(), mean, sd, scale * GRID[:, 2]
