"""A signal: the mean of the last two losses."""

from lagsearch.selection import LossTable, Measured
from lagsearch.selection.signals import signal


@signal("level", heading="level", words="the mean loss of their last two evaluations")
def level(measured: Measured, step: int, completion: int) -> LossTable:
    """Return the mean of the losses at a step and at the one before it."""
    table = measured.loss
    before = max((each for each in table.steps if each < step), default=step)
    batches_CEN = (table.batches_at(before) + table.batches_at(step)) / 2
    return LossTable.of_batches(table.candidates, (step,), batches_CEN[:, None])
