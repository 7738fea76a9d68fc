"""Searches on recorded curves: what a strategy would have chosen, and what it would have spent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lagsearch.errors import LagsearchError, RunFolderError
from lagsearch.report.elsewhere import read_searched
from lagsearch.search.rivals import Asha, OptunaPruner, Rival
from lagsearch.search.rivals import replay as replay_rival
from lagsearch.selection import SIGNALS, Choice, Measured, Strategy, decide
from lagsearch.storage import derive_seed

if TYPE_CHECKING:
    import pandas as pd

SLOTS = 2
"""Candidates at a time in replays of strategies that look at one another on the way."""
ORDERS = 20
"""Orders of candidates that such a strategy is replayed in."""


@dataclass(frozen=True)
class Recording:
    """An oracle run as one search saw it, and what came of it.

    Attributes:
        run: Name of the run.
        seed: The seed that the search had; None for all.
        measured: Growths alone.
        final: Their loss at completion, the mean over all seeds.
        strategy: The run's own.
        annealed: Steps of each decay, by the step at which it branches off.
    """

    run: str
    seed: int | None
    measured: Measured
    final: dict[str, float]
    strategy: Strategy
    annealed: dict[int, int]

    @property
    def names(self) -> tuple[str, ...]:
        """The growths."""
        return self.measured.loss.candidates

    @property
    def completion(self) -> int:
        """The last step."""
        return self.strategy.completion

    def relative_regret(self, name: str) -> float:
        """Return what a choice gives away of the range of final losses."""
        best, worst = min(self.final.values()), max(self.final.values())
        return (self.final[name] - best) / (worst - best) if worst > best else 0.0


@dataclass(frozen=True)
class Outcome:
    """What one strategy came to on one recording.

    Attributes:
        strategy: Its name.
        until: What its last step is, in a word that is the same for all runs: `K`, `half` of
            completion, `end`, or the number of the step.
        signal: What it judged by.
        lag: K: the last step that any candidate was trained to.
        steps: Steps that all candidates were trained, decays included.
        relative_regret: Of its choice.
        is_best: Share of replays in which it chose the best.
    """

    strategy: str
    until: str
    signal: str
    lag: float
    steps: float
    relative_regret: float
    is_best: float


def recordings(path: Path) -> list[Recording]:
    """Return what each seed of a run, or of curves from elsewhere, recorded: searches of one seed.

    Raises:
        RunFolderError: It is no complete oracle run.
    """
    run = read_searched(path)
    names, terms = run.complete_growths, run.terms
    if not terms.has_oracle or len(names) < 2:
        message = "has no two candidates trained to completion: replay needs a run with --oracle"
        raise RunFolderError(f"{path}: {message}")
    if not any(0 < step < run.completion for step in run.table.only(names).shared().steps):
        message = (
            "no step between growth and completion at which all have a loss: nothing to replay"
        )
        raise RunFolderError(f"{path}: has {message}")
    measured = run.measured.only(names)
    measured = replace(measured, loss=measured.loss.shared())
    final = dict(zip(names, measured.loss.at(run.completion).tolist(), strict=True))
    return [
        Recording(
            terms.name, seed, measured.under(place), final, terms.strategy, dict(terms.annealed)
        )
        for place, seed in enumerate(terms.seeds)
    ]


def lag_outcome(recording: Recording, step: int, until: str, signal: str = "loss") -> Outcome:
    """Return what LAG at a step comes to."""
    strategy = replace(recording.strategy, rungs=(step,), signal=signal, first=None, evidence=None)
    return _outcome(recording, strategy, "LAG", until)


def search_outcome(
    recording: Recording,
    latest: int,
    until: str,
    *,
    signal: str,
    evidence: str | None,
    is_auto: bool,
) -> Outcome:
    """Return what a search that decides on its way comes to.

    Args:
        recording: The recorded curves.
        latest: K, or the largest that it may become.
        until: What that is, in a word.
        signal: What it judges by.
        evidence: What it stops candidates on, if any.
        is_auto: Whether it chooses once the ranking is stable.
    """
    steps = recording.measured.loss.steps
    if signal == "annealed":
        steps = tuple(step for step in steps if step in recording.annealed)
    strategy = replace(
        recording.strategy,
        rungs=tuple(step for step in steps if 0 < step <= latest),
        signal=signal,
        evidence=evidence,
        first=(recording.strategy.first or 20) if is_auto else None,
    )
    return _outcome(recording, strategy, SEARCHES[evidence, is_auto], until)


def _outcome(recording: Recording, strategy: Strategy, name: str, until: str) -> Outcome:
    choice = decide(recording.measured, strategy)
    assert isinstance(choice, Choice), name
    spent = 0
    for candidate in recording.names:
        stop = choice.stopped.get(candidate)
        reached = choice.step if stop is None else stop.step
        spent += reached
        if strategy.signal == "annealed":
            judged = [step for step in strategy.rungs if step <= reached]
            spent += sum(recording.annealed[step] for step in judged)
    best = choice.ranking[0]
    regret = recording.relative_regret(best)
    return Outcome(name, until, strategy.signal, choice.step, spent, regret, float(regret == 0))


def random_outcome(recording: Recording) -> Outcome:
    """Return what a choice at random comes to on average."""
    regrets = [recording.relative_regret(name) for name in recording.names]
    chance = float(np.mean([regret == 0 for regret in regrets]))
    return Outcome(RANDOM, "0", "none", 0, 0, float(np.mean(regrets)), chance)


RIVALS: dict[str, Callable[[int, int], Rival]] = {
    "successive halving (Optuna)": lambda last, seed: OptunaPruner(
        lambda pruners: pruners.SuccessiveHalvingPruner(min_resource=10, reduction_factor=3), seed
    ),
    "ASHA (Ray Tune)": lambda last, seed: Asha(
        max_t=last + 1, grace_period=min(10, last), reduction_factor=3
    ),
    "Hyperband (Optuna)": lambda last, seed: OptunaPruner(
        lambda pruners: pruners.HyperbandPruner(
            min_resource=10, max_resource=last, reduction_factor=3
        ),
        seed,
    ),
    "median stopping (Optuna)": lambda last, seed: OptunaPruner(
        lambda pruners: pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=9), seed
    ),
    "Wilcoxon (Optuna)": lambda last, seed: OptunaPruner(
        lambda pruners: pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=5), seed
    ),
}
"""Strategies of others by name: from the last step and a seed to a rival. Settings are the
libraries' defaults but for the least steps (10) and, for all that halve, a reduction to a third."""


def rival_outcome(recording: Recording, name: str, last: int, until: str) -> Outcome:
    """Return what a strategy of others comes to on average over orders of the candidates.

    Args:
        recording: The recorded curves.
        name: One of `RIVALS`.
        last: The step that those which are not stopped are trained to.
        until: What that is, in a word.
    """
    table = recording.measured.loss
    steps = [step for step in table.steps if 0 < step <= last]
    losses = {
        candidate: dict(zip(steps, row, strict=True))
        for candidate, row in zip(
            table.candidates, np.stack([table.at(step) for step in steps], axis=1).tolist(),
            strict=True,
        )
    }  # fmt: skip
    spent, regrets = [], []
    for number in range(ORDERS):
        seed = derive_seed(0, "replay", number) % 2**32
        order = np.random.default_rng(seed).permutation(table.candidates).tolist()
        found = replay_rival(RIVALS[name](last, seed), order, losses, SLOTS)
        spent.append(found.steps)
        regrets.append(recording.relative_regret(found.chosen))
    return Outcome(
        name,
        until,
        "loss",
        last,
        float(np.mean(spent)),
        float(np.mean(regrets)),
        float(np.mean([regret == 0 for regret in regrets])),
    )


SEARCHES = {
    ("batches", False): "race",
    ("forecast", False): "race on forecasts",
    (None, True): "LAG, K auto",
    ("batches", True): "race, K auto",
}
"""Searches that decide on their way: what stops candidates and whether K is `auto`, to the name."""

RANDOM = "random choice"


@dataclass(frozen=True)
class Play:
    """A search that may be replayed.

    Attributes:
        strategy: Its name.
        signal: What it judges by.
        play: Replays it.
    """

    strategy: str
    signal: str
    play: Callable[[], Outcome]


def plays(recording: Recording, lag: int, signals: Sequence[str]) -> Iterator[Play]:
    """Return all searches that may be replayed.

    Args:
        recording: The recorded curves.
        lag: K of those that have one.
        signals: Signals that were measured.
    """
    end = recording.completion
    steps = [step for step in recording.measured.loss.steps if 0 < step < end]
    half = max((step for step in steps if step <= end // 2), default=steps[0])
    first = [step for step in recording.measured.loss.steps if step == 0]
    ends = {"K": lag, "half": half}
    yield Play(RANDOM, "none", partial(random_outcome, recording))
    for signal in signals:
        judged = [step for step in steps if signal != "annealed" or step in recording.annealed]
        at = {str(step): step for step in ([*first, *judged] if signal == "loss" else judged)}
        at |= {"K": lag} if lag in judged else {}
        for until, step in at.items():
            yield Play("LAG", signal, partial(lag_outcome, recording, step, until, signal))
        if signal == "annealed":
            continue
        for until, last in ends.items():
            for (evidence, is_auto), name in SEARCHES.items():
                if not is_auto or until == "half":
                    search = partial(search_outcome, recording, last, until, signal=signal)
                    yield Play(name, signal, partial(search, evidence=evidence, is_auto=is_auto))
    for name in RIVALS:
        for until, last in {**ends, "end": end}.items():
            yield Play(name, "loss", partial(rival_outcome, recording, name, last, until))


def measured_signals(recording: Recording) -> list[str]:
    """Return the signals that a recording has what it takes for."""
    measured = recording.measured
    lacking = {
        name
        for name, table in {"ema": measured.ema, "annealed": measured.annealed}.items()
        if table is None
    }
    return [name for name in SIGNALS if name not in lacking]


def replay_runs(
    paths: Sequence[Path],
    lag: int | None = None,
    *,
    strategy: str | None = None,
    signal: str | None = None,
) -> "pd.DataFrame":
    """Replay strategies on all seeds of oracle runs.

    Args:
        paths: Run folders.
        lag: K, in place of each run's own.
        strategy: Those alone whose name has this in it.
        signal: Those alone that judge by this.

    Returns:
        A row for each run, seed and strategy: run, seed, strategy, until, signal, lag, steps, share
        (of the steps that LAG at K takes), relative_regret, is_best.

    Raises:
        RunFolderError: One is no complete oracle run, was not evaluated at K, or comes twice.
        LagsearchError: There is no such strategy or signal.
    """
    import pandas as pd

    whole_paths = [path.resolve() for path in paths]
    for place, path in enumerate(paths):
        if whole_paths[place] in whole_paths[:place]:
            raise RunFolderError(f"{path}: comes twice")
    recorded = [recordings(path) for path in paths]
    names = [found[0].run for found in recorded]
    rows = []
    for path, found, name in zip(paths, recorded, names, strict=True):
        label = name if names.count(name) == 1 else str(path)
        for recording in found:
            judged_at = lag or recording.strategy.rungs[-1]
            if judged_at not in recording.measured.loss.steps:
                raise RunFolderError(f"{path}: was not evaluated at step {judged_at}")
            whole = judged_at * len(recording.names)
            found_plays = list(plays(recording, judged_at, measured_signals(recording)))
            for play in _asked_for(found_plays, strategy, signal):
                each = play.play()
                rows.append(
                    {
                        "run": label,
                        "seed": recording.seed,
                        "strategy": each.strategy,
                        "until": each.until,
                        "signal": each.signal,
                        "lag": each.lag,
                        "steps": each.steps,
                        "share": each.steps / whole,
                        "relative_regret": each.relative_regret,
                        "is_best": each.is_best,
                    }
                )
    return pd.DataFrame(rows)


def _asked_for(found: list[Play], strategy: str | None, signal: str | None) -> list[Play]:
    """Return the searches whose names have words in them."""
    for key, word in (("strategy", strategy), ("signal", signal)):
        names = [getattr(each, key) for each in found]
        if word is not None:
            pairs = zip(found, names, strict=True)
            found = [each for each, name in pairs if word.casefold() in name.casefold()]
            if not found:
                known = ", ".join(dict.fromkeys(names))
                raise LagsearchError(f"--{key} {word}: there is none; known: {known}")
    return found


def summary(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a row for each strategy that all recordings have: means, and an interval of regret.

    The interval is a 95 % bootstrap over the recordings: runs first, then seeds within a run.

    Args:
        table: What `replay_runs` returned.
    """
    import pandas as pd

    n_runs = table["run"].nunique()
    rows = []
    for key, group in table.groupby(["strategy", "until", "signal"], sort=False):
        strategy, until, signal = map(str, key)
        is_named = until in ("0", "K", "half", "end")
        if not is_named or group["run"].nunique() < n_runs:
            continue
        by_run = [each["relative_regret"].to_numpy() for _, each in group.groupby("run")]
        low, high = _interval(by_run)
        rows.append(
            {
                "strategy": strategy,
                "until": until,
                "signal": signal,
                "steps": group["steps"].mean(),
                "share": group["share"].mean(),
                "relative_regret": group["relative_regret"].mean(),
                "low": low,
                "high": high,
                "is_best": group["is_best"].mean(),
            }
        )
    return pd.DataFrame(rows)


def _interval(by_run: Sequence[np.ndarray], resamples: int = 2000) -> tuple[float, float]:
    """Return the middle 95 % of means over resampled runs and, within them, seeds."""
    generator = np.random.default_rng(derive_seed(0, "replay", "interval"))
    means = []
    for _ in range(resamples):
        runs = generator.integers(len(by_run), size=len(by_run))
        drawn = [generator.choice(by_run[run], size=len(by_run[run])) for run in runs]
        means.append(np.concatenate(drawn).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
