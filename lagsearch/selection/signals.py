"""What candidates are judged by at a step.

Each signal is given as batch losses, so that rankings, tests and intervals are the same for all.
A new one is a function here, or in a package with an entry point of the group `lagsearch.signals`.
Shape letters: C candidates, W steps of a window, E seeds, N validation batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lagsearch.errors import LagsearchError
from lagsearch.registry import Registry, place_of
from lagsearch.selection.scores import Array
from lagsearch.selection.table import LossTable

WINDOW = 3.0
"""A trend is fitted to the evaluations from K / WINDOW to K."""


@dataclass(frozen=True)
class Measured:
    """All that was measured of some candidates.

    Attributes:
        loss: Losses of the models in training.
        ema: Losses of the moving averages of their weights, where those were measured.
        annealed: Losses after a decay of the rate that branches off, where those were measured.
    """

    loss: LossTable
    ema: LossTable | None = None
    annealed: LossTable | None = None

    def only(self, candidates: Sequence[str]) -> "Measured":
        """Return what was measured of some of the candidates."""
        return self._each(lambda table: table.only(candidates))

    def under(self, seed: int) -> "Measured":
        """Return what was measured under one seed, by its place among the seeds."""
        return self._each(lambda table: table.under(seed))

    def _each(self, change: Callable[[LossTable], LossTable]) -> "Measured":
        return Measured(
            change(self.loss),
            None if self.ema is None else change(self.ema),
            None if self.annealed is None else change(self.annealed),
        )


Judge = Callable[[Measured, int, int], LossTable]
"""From what was measured, a step and completion to a table of that step alone."""


@dataclass(frozen=True)
class Signal:
    """What candidates may be judged by: one row of the table.

    Attributes:
        name: What a space asks for as `search.signal`.
        heading: What a column of its values is headed, in reports.
        words: What candidates are ranked by, in sentences: "ranked at step 200 by ...".
        needs: What must be measured beside the loss: `ema` or `annealed` of `evaluation`.
        judge: Gives its values.
        looks_back: Whether it takes steps before a quarter of its own, at which otherwise only the
            first validation batches are measured.
    """

    name: str
    heading: str
    words: str
    needs: Literal["ema", "annealed"] | None
    judge: Judge
    looks_back: bool = True

    def is_measured(self, measured: Measured) -> bool:
        """Return whether there is what it takes."""
        return self.needs is None or getattr(measured, self.needs) is not None


SIGNALS = Registry[Signal]("signal", __name__, "lagsearch.signals")


def signal(
    name: str,
    *,
    heading: str,
    words: str,
    needs: Literal["ema", "annealed"] | None = None,
    looks_back: bool = True,
) -> Callable[[Judge], Judge]:
    """Enter a function `(measured, step, completion) -> LossTable` as a signal.

    Args:
        name: See `Signal`, as the others.
        heading: In the columns of reports.
        words: In sentences.
        needs: What must be measured beside the loss.
        looks_back: Whether it takes steps before a quarter of its own.

    Raises:
        PluginError: The name is taken.
    """

    def enter(judge: Judge) -> Judge:
        SIGNALS.enter(name, Signal(name, heading, words, needs, judge, looks_back), place_of(judge))
        return judge

    return enter


def find_signal(name: str) -> Signal:
    """Look a signal up.

    Raises:
        LagsearchError: There is none of that name; the message lists all and the nearest.
    """
    if (found := SIGNALS.get(name)) is None:
        raise LagsearchError(SIGNALS.unknown(name))
    return found


@signal("loss", heading="loss", words="their loss there", looks_back=False)
def loss(measured: Measured, step: int, completion: int) -> LossTable:
    """Return the losses at a step: the LAG paper's choice."""
    return measured.loss.at_step(step)


@signal(
    "trend",
    heading="trend's end",
    words="the final loss that the trend of their last evaluations leads to",
    looks_back=False,
)
def trend(measured: Measured, step: int, completion: int) -> LossTable:
    """Return the losses at completion that the last evaluations lead to.

    A line through the loss over one over the step, from a third of the step on, carried to
    completion: a difference that comes to rest as 1/t does. All candidates have the same steps, so
    a difference between two is extrapolated as a line of its own, and what all have in common does
    not matter: only differences do. With fewer than three evaluations to fit, these are the losses
    at the step.
    """
    return extrapolated(measured.loss, step, completion, np.reciprocal)


@signal(
    "ema",
    heading="average's",
    words="the loss of the moving average of their weights",
    needs="ema",
    looks_back=False,
)
def ema(measured: Measured, step: int, completion: int) -> LossTable:
    """Return the losses at a step of the moving average of the weights."""
    return _table(measured.ema, "evaluation.ema").at_step(step)


@signal(
    "annealed",
    heading="annealed",
    words="the loss after a decay of the rate to zero that branches off there",
    needs="annealed",
    looks_back=False,
)
def annealed(measured: Measured, step: int, completion: int) -> LossTable:
    """Return the losses after a decay of the rate to zero that branches off at a step."""
    return _table(measured.annealed, "evaluation.annealed").at_step(step)


def extrapolated(
    table: LossTable,
    step: int,
    completion: int,
    basis: Callable[[Array], Array],
    window: float = WINDOW,
) -> LossTable:
    """Return the losses that a line over a function of the step, carried to completion, ends at.

    Args:
        table: All losses.
        step: The last step that is known.
        completion: The step to carry it to.
        basis: From steps to what the line is over.
        window: The line is fitted from step / window on.
    """
    steps = [each for each in table.steps if max(1, step / window) <= each <= step]
    if len(steps) < 3:
        return table.at_step(step)
    over_W = basis(np.array(steps, np.float64))
    target = basis(np.array([completion], np.float64))[0]
    centred = over_W - over_W.mean()
    # a fitted line's value at a place is a weighted mean of what it is fitted to
    weights_W = 1 / len(steps) + (target - over_W.mean()) * centred / (centred**2).sum()
    losses_CWEN = table.batches_at_each(steps)
    return LossTable.of_batches(
        table.candidates, (step,), np.einsum("cwen,w->cen", losses_CWEN, weights_W)[:, None]
    )


def _table(table: LossTable | None, key: str) -> LossTable:
    if table is None:
        raise ValueError(f"was not measured: {key} was not set")
    return table
