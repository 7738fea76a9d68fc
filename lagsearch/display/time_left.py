"""How long trainings still take, by the pace of a phase's without start-up and evaluations."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from statistics import fmean

_FEWEST_S = 3.0  # of steps without an evaluation, before their pace says something
_WITH_EVALUATIONS_S = 10.0  # of steps and evaluations, where there are no others


@dataclass(frozen=True)
class Later:
    """Trainings that come after those of a phase.

    Attributes:
        models: How many there are, side by side where those of the phase are.
        steps: Of each: as many of the phase's models take as long.
        evaluations: Of each.
    """

    models: int
    steps: float
    evaluations: int


@dataclass(frozen=True)
class _Sign:
    """A sign of life.

    Attributes:
        at: When, in seconds.
        step: Updates so far.
        val_loss: The newest validation loss; another one than before tells of an evaluation.
        to_evaluate: Evaluations still to come.
    """

    at: float
    step: int
    val_loss: float | None
    to_evaluate: int


class _Training:
    """What is known of one training."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.first: _Sign | None = None  # behind start-up
        self.last: _Sign | None = None
        self.pure_s, self.pure_steps = 0.0, 0
        self.evaluated: tuple[float, int] | None = None  # seconds and steps up to the newest one
        self.ended: float | None = None

    def hear(self, sign: _Sign) -> None:
        if sign.step == 0:
            return
        if self.last is not None:
            took, steps = sign.at - self.last.at, sign.step - self.last.step
            if self.last.val_loss == sign.val_loss:
                self.pure_s += took
                self.pure_steps += steps
            else:
                self.evaluated = took, steps
        self.first, self.last = self.first or sign, sign

    @property
    def step_s(self) -> float | None:
        """Seconds of a step: of those without an evaluation between, once there are enough."""
        if self.pure_s >= _FEWEST_S and self.pure_steps:
            return self.pure_s / self.pure_steps
        if self.first is None or self.last is None or self.last.step == self.first.step:
            return None
        took = self.last.at - self.first.at
        if self.ended is None and took < _WITH_EVALUATIONS_S:
            return None
        return took / (self.last.step - self.first.step)

    def evaluation_s(self, step_s: float) -> float:
        """Return the seconds of the newest evaluation, beyond those of the steps before it."""
        took, steps = self.evaluated or (0.0, 0)
        return max(0.0, took - step_s * steps)


class TimeLeft:
    """The seconds that trainings side by side still take."""

    def __init__(
        self,
        ends: Mapping[str, int],
        begun: Mapping[str, int] | None = None,
        later: Sequence[Later] = (),
        slots: int = 1,
    ) -> None:
        """Begin.

        Args:
            ends: The step that each training is to reach, by name.
            begun: The steps from which some go on, by name; others begin at 0.
            later: What comes after them, and is counted too.
            slots: How many are trained at a time then, where no more are seen side by side.
        """
        self._ends, self._begun, self._later = dict(ends), dict(begun or {}), tuple(later)
        self._known: dict[str, _Training] = {}
        self._slots, self._slots_later = 1, slots

    def hear(
        self, name: str, at: float, step: int, val_loss: float | None, to_evaluate: int
    ) -> None:
        """Note a sign of life of a training.

        Args:
            name: Whose.
            at: When, in seconds.
            step: Updates so far; 0 until it is grown and first evaluated.
            val_loss: The newest validation loss.
            to_evaluate: Evaluations still to come.
        """
        training = self._known.setdefault(name, _Training(at))
        training.hear(_Sign(at, step, val_loss, to_evaluate))
        self._slots = max(self._slots, len(self._running()))

    def end(self, name: str, at: float) -> None:
        """Note that a training is over, whatever became of it."""
        self._known.setdefault(name, _Training(at)).ended = at

    def seconds(self, now: float) -> float | None:
        """Return the seconds left, or None as long as no pace is known."""
        paces = [pace for each in self._known.values() if (pace := each.step_s) is not None]
        if not paces:
            return None
        mean_s = fmean(paces)
        evaluation_s = _mean(
            each.evaluation_s(each.step_s or mean_s) for each in self._known.values()
        )
        free_in = [
            max(0.0, self._left(name, mean_s, evaluation_s) - (now - self._heard(name)))
            for name in self._running()
        ]
        free_in += [0.0] * (self._slots - len(free_in))
        heapify(free_in)
        for name in self._ends:
            if name not in self._known:
                heapreplace(free_in, free_in[0] + self._whole(name, mean_s, evaluation_s))
        slots = max(self._slots, self._slots_later)
        return max(free_in) + sum(
            -(-each.models // slots) * (each.steps * mean_s + each.evaluations * evaluation_s)
            for each in self._later
        )

    def _running(self) -> Collection[str]:
        return [name for name, each in self._known.items() if each.ended is None]

    def _heard(self, name: str) -> float:
        training = self._known[name]
        return training.last.at if training.last else training.began

    def _left(self, name: str, mean_s: float, evaluation_s: float) -> float:
        """Return what a running training still takes."""
        training = self._known[name]
        if training.last is None:
            return self._whole(name, mean_s, evaluation_s)
        step_s = training.step_s or mean_s
        own_s = training.evaluation_s(step_s) or evaluation_s
        steps = self._ends[name] - training.last.step
        return steps * step_s + training.last.to_evaluate * own_s

    def _whole(self, name: str, mean_s: float, evaluation_s: float) -> float:
        """Return what a training takes that begins now, with the start-up of others."""
        firsts = {other: each.first for other, each in self._known.items() if each.first}
        start = _mean(
            max(0.0, first.at - self._known[other].began - self._done(other, first.step) * mean_s)
            for other, first in firsts.items()
        )
        evaluations = max((first.to_evaluate for first in firsts.values()), default=0)
        steps = self._done(name, self._ends[name])
        return start + steps * mean_s + evaluations * evaluation_s

    def _done(self, name: str, step: int) -> int:
        """Return the steps from where a training begins up to a step."""
        return step - self._begun.get(name, 0)


def _mean(values: Iterable[float]) -> float:
    """Return the mean, 0 of none."""
    found = list(values)
    return fmean(found) if found else 0.0
