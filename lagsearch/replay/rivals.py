"""Early stopping as others do it, on recorded curves: Optuna's pruners, Ray Tune's ASHA.

The pruners and the scheduler are the libraries' own; here is what takes the place of training.
"""

import heapq
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol


class Rival(Protocol):
    """Decides which candidates are stopped. Made anew for every replay."""

    def begin(self, candidate: str) -> None:
        """A slot takes a candidate."""

    def stops(self, candidate: str, step: int, loss: float) -> bool:
        """Return whether a candidate is stopped at a step."""

    def end(self, candidate: str, loss: float) -> None:
        """A candidate came to its last step."""


@dataclass(frozen=True)
class Spent:
    """What a replay came to.

    Attributes:
        chosen: The best of those that came to the last step, else of those that came farthest.
        steps: Steps that all candidates were trained.
    """

    chosen: str
    steps: int


def replay(
    rival: Rival, order: Sequence[str], losses: Mapping[str, Mapping[int, float]], slots: int
) -> Spent:
    """Train candidates in slots as if it were so, until a rival stops them.

    Args:
        rival: Decides.
        order: Candidates, in the order in which slots take them.
        losses: The recorded loss of each at each step that is told; the last one is the end.
        slots: Candidates at a time. All steps take equally long.
    """
    waiting = list(reversed(order))
    steps = {name: sorted(losses[name]) for name in order}
    reached: dict[str, int] = {}
    running: list[tuple[int, int, str, int]] = []  # when, tie breaker, who, place of the step

    def take(now: int) -> None:
        if waiting:
            name = waiting.pop()
            rival.begin(name)
            heapq.heappush(running, (now + steps[name][0], len(waiting), name, 0))

    for _ in range(slots):
        take(0)
    while running:
        now, number, name, place = heapq.heappop(running)
        step = steps[name][place]
        reached[name] = step
        if place == len(steps[name]) - 1:
            rival.end(name, losses[name][step])
            take(now)
        elif rival.stops(name, step, losses[name][step]):
            take(now)
        else:
            later = now + steps[name][place + 1] - step
            heapq.heappush(running, (later, number, name, place + 1))
    farthest = max(reached.values())
    last = [name for name in order if reached[name] == farthest]
    chosen = min(last, key=lambda name: losses[name][farthest])
    return Spent(chosen, sum(reached.values()))


class OptunaPruner:
    """A pruner of Optuna.

    Args:
        make: Makes the pruner.
        seed: Names the study: Hyperband deals trials to its brackets by the study's name, which
            would be another one each time.
    """

    def __init__(self, make: Callable[[Any], Any], seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = make(optuna.pruners)
        name = f"replay-{seed}"
        self._study = optuna.create_study(study_name=name, sampler=sampler, pruner=pruner)
        self._pruned = optuna.trial.TrialState.PRUNED
        self._trials: dict[str, Any] = {}

    def begin(self, candidate: str) -> None:
        """Ask for a trial."""
        self._trials[candidate] = self._study.ask()

    def stops(self, candidate: str, step: int, loss: float) -> bool:
        """Report a loss and return whether the trial is pruned."""
        trial = self._trials[candidate]
        trial.report(loss, step)
        if not trial.should_prune():
            return False
        self._study.tell(trial, state=self._pruned)
        return True

    def end(self, candidate: str, loss: float) -> None:
        """Tell the trial's value."""
        self._study.tell(self._trials[candidate], loss)


class Asha:
    """Ray Tune's `AsyncHyperBandScheduler` with one bracket.

    Args:
        settings: Its settings.
    """

    def __init__(self, **settings: Any) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._scheduler = AsyncHyperBandScheduler(
            time_attr="training_iteration", metric="loss", mode="min", **settings
        )
        self._trials: dict[str, Any] = {}

    def begin(self, candidate: str) -> None:
        """Add a trial."""
        self._trials[candidate] = SimpleNamespace(trial_id=candidate)
        self._scheduler.on_trial_add(None, self._trials[candidate])

    def stops(self, candidate: str, step: int, loss: float) -> bool:
        """Report a loss and return whether the trial is stopped before its end."""
        result = {"training_iteration": step, "loss": loss}
        decision = self._scheduler.on_trial_result(None, self._trials[candidate], result)
        return str(decision) == "STOP"

    def end(self, candidate: str, loss: float) -> None:
        """Complete the trial."""
