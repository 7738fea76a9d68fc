"""Two trainings side by side, at a point that both came to: equal steps, or equal spending.

Shape letters: S evaluations, E seeds, N validation batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lagsearch.selection.doubt import p_values
from lagsearch.selection.scores import Array
from lagsearch.selection.table import LossTable


@dataclass(frozen=True)
class Paired:
    """What two trainings came to, in nats per predicted token.

    Attributes:
        first: Mean loss of the first.
        second: Mean loss of the second.
        p_value: Two-sided, of their difference (`p_values`); None where each loss was measured
            once.
    """

    first: float
    second: float
    p_value: float | None


def compare_losses(first_EN: Array, second_EN: Array) -> Paired:
    """Compare two trainings by their batch losses, the pairs being batches and seeds."""
    batches_CSEN = np.stack([first_EN, second_EN])[:, None]
    table = LossTable.of_batches(("first", "second"), (0,), batches_CSEN)
    first, second = table.at(0).tolist()
    tested = p_values(table, 0) if table.is_repeated else {}
    return Paired(first, second, next(iter(tested.values()), None))


def on_first(losses_N: Sequence[float] | Array, size: int) -> Array:
    """Return the losses of the first batches, moved together so that the mean of all stays."""
    losses: Array = np.asarray(losses_N)
    if len(losses) == size:
        return losses
    moved: Array = losses[:size] + (losses.mean() - losses[:size].mean())
    return moved


def losses_when_spent(
    spent: Sequence[float], losses_SN: Sequence[Array], at: float
) -> Array | None:
    """Return the batch losses when so much was spent: (N,), or None outside of what is known.

    Between evaluations they are on a straight line over the logarithm of the spending; from nothing
    on, over the spending itself. Where one of two evaluations has fewer batches, of those.

    Args:
        spent: FLOPs at each evaluation, ascending.
        losses_SN: Batch losses there; one may have the first ones alone.
        at: The spending that is asked for.
    """
    if not len(spent) or not spent[0] <= at <= spent[-1]:
        return None
    after = int(np.searchsorted(spent, at))
    if spent[after] == at:
        return losses_SN[after]
    low, high = spent[after - 1], spent[after]
    share = (at - low) / (high - low) if low <= 0 else np.log(at / low) / np.log(high / low)
    pair = losses_SN[after - 1], losses_SN[after]
    before_N, after_N = (on_first(each, min(map(len, pair))) for each in pair)
    between: Array = (1 - share) * before_N + share * after_N
    return between
