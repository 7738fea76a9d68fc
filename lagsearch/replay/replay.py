"""Searches on recorded curves: what a strategy would have chosen, and what it would have spent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lagsearch.errors import LagsearchError, RunFolderError
from lagsearch.records.imported_curves import read_searched, searches_in
from lagsearch.records.search import Searched
from lagsearch.replay.rivals import (
    Asha,
    OptunaPruner,
    Rival,
)
from lagsearch.replay.rivals import replay as replay_rival
from lagsearch.selection import (
    SIGNALS,
    STRATEGIES,
    Choice,
    Measured,
    ReplayedSearch,
    SearchSettings,
    decide,
    find_signal,
    mean_interval,
)
from lagsearch.selection.scores import regret, regret_of_best_half, relative_regret
from lagsearch.storage.files import derive_seed

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
        settings: The run's own.
        annealed: Steps of each decay, by the step at which it branches off.
    """

    run: str
    seed: int | None
    measured: Measured
    final: dict[str, float]
    settings: SearchSettings
    annealed: dict[int, int]

    @property
    def names(self) -> tuple[str, ...]:
        """The growths."""
        return self.measured.loss.candidates

    @property
    def completion(self) -> int:
        """The last step."""
        return self.settings.completion

    def given_away(self, chosen: Sequence[str]) -> "GivenAway":
        """Return what a choice gives away, the mean over those that it may as well fall on."""
        final_C = np.array([self.final[name] for name in self.names])
        early_C = np.array([0.0 if name in chosen else 1.0 for name in self.names])
        lost, relative, of_half = (
            float(metric(early_C, final_C))
            for metric in (regret, relative_regret, regret_of_best_half)
        )
        is_best = float(np.mean(final_C[early_C == 0] == final_C.min()))
        return GivenAway(lost, relative, of_half, is_best)


@dataclass(frozen=True)
class GivenAway:
    """What choices give away at completion, on average.

    Attributes:
        regret: In nats.
        relative_regret: As a share of the range of final losses.
        regret_of_best_half: As a share of the range of the better half of them.
        is_best: Share of choices that fall on the best.
    """

    regret: float
    relative_regret: float
    regret_of_best_half: float
    is_best: float

    @staticmethod
    def mean(found: "Sequence[GivenAway]") -> "GivenAway":
        """Return the mean of several."""
        rows = np.array([list(vars(each).values()) for each in found])
        return GivenAway(*rows.mean(axis=0).tolist())


@dataclass(frozen=True)
class ReplayOutcome:
    """What one strategy came to on one recording.

    Attributes:
        strategy: Its name.
        until: What its last step is, in a word that is the same for all runs: `K`, `half` of
            completion, `end`, or the number of the step.
        signal: What it judged by.
        lag: K: the last step that any candidate was trained to.
        steps: Steps that all candidates were trained, decays included.
        given_away: By its choice.
    """

    strategy: str
    until: str
    signal: str
    lag: float
    steps: float
    given_away: GivenAway


def recordings(path: Path) -> list[Recording]:
    """Return what each seed of a run, or of curves from elsewhere, recorded: searches of one seed.

    Raises:
        RunFolderError: It is no complete oracle run.
    """
    return recordings_of(read_searched(path), path)


def recordings_of(run: Searched, path: Path) -> list[Recording]:
    """Return what each seed of a search recorded.

    Args:
        run: The search.
        path: Where it is from, for messages.

    Raises:
        RunFolderError: It is no complete oracle run.
    """
    names, terms = run.complete_growths, run.terms
    if not terms.has_oracle or len(names) < 2:
        message = "no two candidates were trained to the final step: replay needs --oracle runs"
        raise RunFolderError(f"{path}: {message}")
    if not any(0 < step < run.completion for step in run.table.only(names).shared().steps):
        message = (
            "no step between growth and the final step at which all have a loss: nothing to replay"
        )
        raise RunFolderError(f"{path}: has {message}")
    measured = run.measured.only(names)
    measured = replace(measured, loss=measured.loss.shared())
    settings = replace(terms.settings, prior={})  # what all runs have is compared
    final = dict(zip(names, measured.loss.at(run.completion).tolist(), strict=True))
    return [
        Recording(terms.name, seed, measured.under(place), final, settings, dict(terms.annealed))
        for place, seed in enumerate(terms.seeds)
    ]


def lag_outcome(
    recording: Recording,
    step: int,
    until: str,
    signal: str = "loss",
    prior: Mapping[str, float] | None = None,
) -> ReplayOutcome:
    """Return what LAG at a step comes to.

    Args:
        recording: The recorded curves.
        step: K.
        until: What that is, in a word.
        signal: What it judges by.
        prior: Where candidates like these ended in other runs, by name: breaks ties.
    """
    settings = replace(
        recording.settings,
        strategy="lag",
        rungs=(step,),
        signal=signal,
        first=None,
        evidence=None,
        prior=prior or {},
    )
    return outcome_of(recording, settings, "LAG", until)


def search_outcome(
    recording: Recording,
    latest: int,
    until: str,
    *,
    signal: str,
    strategy: str,
    search: ReplayedSearch,
) -> ReplayOutcome:
    """Return what a search that decides on its way comes to.

    Args:
        recording: The recorded curves.
        latest: The latest step at which it may choose.
        until: What that is, in a word.
        signal: What it judges by.
        strategy: How it decides.
        search: With which settings.
    """
    steps = recording.measured.loss.steps
    if find_signal(signal).needs == "annealed":
        steps = tuple(step for step in steps if step in recording.annealed)
    rungs = tuple(step for step in steps if 0 < step <= latest)
    settings = replace(
        recording.settings,
        strategy=strategy,
        rungs=rungs,
        signal=signal,
        evidence=None,
        first=(recording.settings.first or 20) if search.is_auto else None,
        cut=max((step for step in rungs if step <= latest // 2), default=rungs[0]),
        keep="half",
    )
    return outcome_of(recording, replace(settings, **search.settings), search.title, until)


def outcome_of(
    recording: Recording, settings: SearchSettings, name: str, until: str
) -> ReplayOutcome:
    """Return what a search comes to.

    Args:
        recording: The recorded curves.
        settings: The search's.
        name: What it is called.
        until: What its last step is, in a word.
    """
    choice = decide(recording.measured, settings)
    assert isinstance(choice, Choice), name
    spent = 0
    for candidate in recording.names:
        stop = choice.stopped.get(candidate)
        reached = choice.step if stop is None else stop.step
        spent += reached
        if find_signal(settings.signal).needs == "annealed":
            judged = [step for step in settings.rungs if step <= reached]
            spent += sum(recording.annealed[step] for step in judged)
    found = recording.given_away(_first(recording, settings, choice))
    return ReplayOutcome(name, until, settings.signal, choice.step, spent, found)


def _first(recording: Recording, settings: SearchSettings, choice: Choice) -> list[str]:
    """Return the choice, and what ties with it: which of them a list names first says nothing."""
    names = [name for name in recording.names if name not in choice.stopped]
    judged = find_signal(settings.signal).judge(
        recording.measured.only(names), choice.step, recording.completion
    )
    values = judged.at(choice.step)
    is_tied = values == values[names.index(choice.ranking[0])]
    return [name for name, yes in zip(names, is_tied.tolist(), strict=True) if yes]


def replayed_searches(signal: str = "loss") -> list[tuple[str, ReplayedSearch]]:
    """Return the searches that decide on their way by a signal, as tables list them.

    Each has the name of its strategy beside it.
    """
    heeding = [each for each in STRATEGIES.all() if signal == "loss" or not each.is_by_loss]
    found = [(each.name, search) for each in heeding for search in each.replayed]
    return sorted(found, key=lambda pair: pair[1].is_auto)


def random_outcome(recording: Recording) -> ReplayOutcome:
    """Return what a choice at random comes to on average."""
    return ReplayOutcome(RANDOM, "0", "none", 0, 0, recording.given_away(recording.names))


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


def rival_outcome(recording: Recording, name: str, last: int, until: str) -> ReplayOutcome:
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
    spent, found = [], []
    for number in range(ORDERS):
        seed = derive_seed(0, "replay", number) % 2**32
        order = np.random.default_rng(seed).permutation(table.candidates).tolist()
        one = replay_rival(RIVALS[name](last, seed), order, losses, SLOTS)
        spent.append(one.steps)
        found.append(recording.given_away([one.chosen]))
    return ReplayOutcome(name, until, "loss", last, float(np.mean(spent)), GivenAway.mean(found))


RANDOM = "random choice"

MEANS = ["steps", "share", "regret", "relative_regret", "regret_of_best_half", "is_best"]
"""What is averaged over replays."""


@dataclass(frozen=True)
class Play:
    """A search that may be replayed.

    Attributes:
        strategy: What tables call it.
        signal: What it judges by.
        play: Replays it.
        name: What a space calls its strategy; empty where no space can have it.
    """

    strategy: str
    signal: str
    play: Callable[[], ReplayOutcome]
    name: str = ""

    def is_called(self, word: str) -> bool:
        """Return whether a word is in what tables call it, or is its name in a space."""
        return word.casefold() in self.strategy.casefold() or word == self.name


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
        needs_decay = find_signal(signal).needs == "annealed"
        judged = [step for step in steps if not needs_decay or step in recording.annealed]
        at = {str(step): step for step in ([*first, *judged] if signal == "loss" else judged)}
        at |= {"K": lag} if lag in judged else {}
        for until, step in at.items():
            yield Play("LAG", signal, partial(lag_outcome, recording, step, until, signal))
        if needs_decay:
            continue
        for until, last in ends.items():
            for strategy, search in replayed_searches(signal):
                if not search.is_auto or until == "half":
                    play = partial(
                        search_outcome,
                        recording,
                        last,
                        until,
                        signal=signal,
                        strategy=strategy,
                        search=search,
                    )
                    yield Play(search.title, signal, play, strategy)
    for name in RIVALS:
        for until, last in {**ends, "end": end}.items():
            yield Play(name, "loss", partial(rival_outcome, recording, name, last, until))


def measured_signals(recording: Recording) -> list[str]:
    """Return the signals that a recording has what it takes for."""
    return [each.name for each in SIGNALS.all() if each.is_measured(recording.measured)]


def replay_runs(
    paths: Sequence[Path],
    lag: int | None = None,
    *,
    strategy: str | None = None,
    signal: str | None = None,
) -> "pd.DataFrame":
    """Replay strategies on all seeds of oracle runs.

    Args:
        paths: Run folders, or files of curves. One with `stages` stands for the searches of its
            stages.
        lag: K, in place of each run's own.
        strategy: Those alone whose name has this in it, or that a space calls so.
        signal: Those alone that judge by this.

    Returns:
        A row for each run, seed and strategy: run, seed, strategy, until, signal, lag, steps, share
        (of the steps that LAG at K takes), regret, relative_regret, regret_of_best_half, is_best.

    Raises:
        RunFolderError: One is no complete oracle run, was not evaluated at K, or comes twice.
        LagsearchError: There is no such strategy or signal.
    """
    import pandas as pd

    paths = [search for path in paths for search in searches_in(path)]
    whole_paths = [path.resolve() for path in paths]
    for place, path in enumerate(paths):
        if whole_paths[place] in whole_paths[:place]:
            raise RunFolderError(f"{path}: comes twice")
    every = [recordings(path) for path in paths]
    names = [found[0].run for found in every]
    rows = []
    for path, found, name in zip(paths, every, names, strict=True):
        label = name if names.count(name) == 1 else str(path)
        for recording in found:
            judged_at = lag or recording.settings.rungs[-1]
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
                        **vars(each.given_away),
                    }
                )
    return pd.DataFrame(rows)


def _asked_for(found: list[Play], strategy: str | None, signal: str | None) -> list[Play]:
    """Return the searches of a strategy that judge by a signal."""
    if strategy is not None:
        known = "; ".join(dict.fromkeys(each.strategy for each in found))
        found = [each for each in found if each.is_called(strategy)]
        if not found:
            raise LagsearchError(f"--strategy {strategy}: there is none; known: {known}")
    if signal is not None:
        known = ", ".join(dict.fromkeys(each.signal for each in found))
        found = [each for each in found if signal.casefold() in each.signal.casefold()]
        if not found:
            raise LagsearchError(f"--signal {signal}: there is none; known: {known}")
    return found


def summary(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a row for each strategy that all recordings have: means, and an interval of regret.

    All means are over the runs, each run's over its seeds: those of one run are not independent.
    The 95 % interval (`mean_interval`) is of what other runs like these would give away; `low` and
    `high` are NaN for one run, which says nothing of others.

    Args:
        table: What `replay_runs` returned.
    """
    import pandas as pd

    n_runs = table["run"].nunique()
    rows = []
    for key, group in table.groupby(["strategy", "until", "signal"], sort=False):
        strategy, until, signal = map(str, key)
        by_run = group.groupby("run")[MEANS].mean()
        if until not in ("0", "K", "half", "end") or len(by_run) < n_runs:
            continue
        generator = np.random.default_rng(derive_seed(0, "replay", "interval"))
        found = mean_interval(by_run["relative_regret"].tolist(), generator)
        low, high = (nan, nan) if found is None else found
        named = {"strategy": strategy, "until": until, "signal": signal}
        rows.append(named | by_run.mean().to_dict() | {"low": low, "high": high})
    return pd.DataFrame(rows)
