"""Strategies compared over the runs of a benchmark, with what was tried corrected for."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lagsearch.records.benchmark import Benchmark
from lagsearch.replay.replay import recordings, replay_runs
from lagsearch.selection import mean_interval
from lagsearch.storage.files import derive_seed

Key = tuple[str, str, str]
"""Strategy, until, signal."""

STANDARD: Key = ("LAG", "K", "loss")
"""What all others are compared with."""
FLIPS = 10_000
"""Flips of signs of the runs' differences."""
FEW = 4
"""Runs from which on they are replayed in several processes."""
TIE = 1e-9
"""Relative regrets that differ by less are equal."""


@dataclass(frozen=True)
class StrategyFigures:
    """What a strategy comes to over the runs.

    Attributes:
        key: Strategy, until, signal.
        cost: Steps of the search and of training the choice on, as a share of training all.
        regret: Mean relative regret.
        low: Lower end of its interval over runs (`mean_interval`); NaN for one run.
        high: Its upper end.
        in_noise: Regret over the noise floor, over the runs of several seeds; NaN without any.
        wins: Runs in which its regret is less than the standard's.
        losses: Runs in which its regret is more.
        p_value: Of its difference from the standard, two-sided, by flips of signs, corrected for
            all strategies in the table (max-T).
    """

    key: Key
    cost: float
    regret: float
    low: float
    high: float
    in_noise: float
    wins: int
    losses: int
    p_value: float


def compare_strategies(
    benchmark: Benchmark,
    floors: dict[str, float | None],
    tell: Callable[[str], None] = lambda line: None,
) -> list[StrategyFigures]:
    """Return what every strategy comes to, by the regret.

    Args:
        benchmark: The runs.
        floors: The noise floor of each run, as relative regret; None where there is one seed.
        tell: Is told how far it is.
    """
    costs: dict[Key, list[float]] = {}
    regrets: dict[Key, list[float]] = {}
    paths = [benchmark.path / name for name in benchmark.runs]
    with _replaying(len(paths)) as replay_all:
        for number, found in enumerate(replay_all(_replayed, paths), start=1):
            tell(f"replayed {number} of {len(paths)}")
            for key, (cost, regret) in found.items():
                costs.setdefault(key, []).append(cost)
                regrets.setdefault(key, []).append(regret)
    keys = [key for key, found in regrets.items() if len(found) == len(benchmark.runs)]
    matrix = np.array([regrets[key] for key in keys])
    differences = matrix - matrix[keys.index(STANDARD)]
    p_values = max_t(differences)
    floor = np.array([np.nan if floors[name] is None else floors[name] for name in benchmark.runs])
    rows = [
        _figures(key, float(np.mean(costs[key])), regrets_R, floor, difference_R, p_value)
        for key, regrets_R, difference_R, p_value in zip(
            keys, matrix, differences, p_values.tolist(), strict=True
        )
    ]
    return sorted(rows, key=lambda each: each.regret)


@contextmanager
def _replaying(n_runs: int) -> Iterator[Callable[..., Iterator[dict[Key, tuple[float, float]]]]]:
    """Yield what maps runs to replays: in several processes where that is worth their start."""
    if n_runs < FEW:
        yield map
        return
    ignored = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is this process's, which then ends them
    with get_context("spawn").Pool(initializer=signal.signal, initargs=ignored) as pool:
        yield pool.imap


def _replayed(path: Path) -> dict[Key, tuple[float, float]]:
    """Return the cost and the relative regret of each strategy on a run."""
    recording = recordings(path)[0]
    whole = len(recording.names) * recording.completion
    rows = replay_runs([path])
    rows = rows[rows["until"].isin(["0", "K", "half", "end"])]
    rows["cost"] = (rows["steps"] + recording.completion - rows["lag"]) / whole
    means = rows.groupby(["strategy", "until", "signal"])[["cost", "relative_regret"]].mean()
    found = {}
    for row in means.itertuples():
        strategy, until, signal = map(str, row.Index)  # type: ignore[arg-type]
        found[strategy, until, signal] = (float(row.cost), float(row.relative_regret))  # type: ignore[arg-type]
    return found


def _figures(
    key: Key,
    cost: float,
    regrets_R: NDArray[np.float64],
    floor_R: NDArray[np.float64],
    difference_R: NDArray[np.float64],
    p_value: float,
) -> StrategyFigures:
    low, high = interval_over_runs(regrets_R.tolist())
    is_known = np.isfinite(floor_R)
    has_floor = is_known.any() and floor_R[is_known].mean() > 0
    in_noise = regrets_R[is_known].mean() / floor_R[is_known].mean() if has_floor else np.nan
    wins, losses = int((difference_R < -TIE).sum()), int((difference_R > TIE).sum())
    return StrategyFigures(
        key, cost, float(regrets_R.mean()), low, high, float(in_noise), wins, losses, p_value
    )


def interval_over_runs(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean over runs; NaN for one run."""
    generator = np.random.default_rng(derive_seed(0, "bench", "interval"))
    return mean_interval([*values], generator) or (np.nan, np.nan)


def max_t(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two-sided p-values of means over runs, corrected for their number: (S, R) to (S,).

    Under the hypothesis that none differs, the sign of each run's differences is as likely plus as
    minus, for all strategies together; the largest t of each flip is what chance comes to.

    Source:
        Westfall and Young 1993, step-down left out; Phipson and Smyth 2010 for the one that is
        added to both counts.
    """
    n_runs = differences.shape[1]
    generator = np.random.default_rng(derive_seed(0, "bench", "flips"))
    # under the hypothesis the mean is 0: a flip leaves the scale as it is
    scale_S = np.sqrt((differences**2).mean(axis=1) / n_runs)
    scaled = np.divide(
        differences.T, scale_S, out=np.zeros_like(differences.T), where=scale_S > TIE
    )
    signs_FR = generator.choice([-1.0, 1.0], (FLIPS, n_runs))
    observed_S = np.abs(scaled.mean(axis=0))
    largest_F = np.abs(signs_FR @ scaled / n_runs).max(axis=1)
    counts_S = (largest_F[None, :] >= observed_S[:, None] - TIE).sum(axis=1)
    found: NDArray[np.float64] = (counts_S + 1) / (FLIPS + 1)
    return found


def best_within(found: Sequence[StrategyFigures], budget: float) -> StrategyFigures | None:
    """Return the strategy of the least regret that costs no more than a share of training all."""
    within = [each for each in found if each.cost <= budget and each.key[0] != "random choice"]
    return min(within, key=lambda each: each.regret, default=None)
