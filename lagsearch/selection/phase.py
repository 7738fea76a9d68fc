"""The phase transition: the step after which the ranking stays as it is."""

import numpy as np

from lagsearch.selection.scores import rank_correlation
from lagsearch.selection.table import LossTable


def stable_since(table: LossTable, threshold: float) -> int | None:
    """Return the first step from which on every two rankings up to the last one are alike.

    None where the last two are not.

    Args:
        table: All losses that are known.
        threshold: Least correlation (Spearman's) of two rankings that are alike.
    """
    matrix = rank_correlation(table)
    since = None
    for row in reversed(range(len(table.steps) - 1)):
        if table.steps[row] == 0 or not np.all(matrix[row, row:] >= threshold):
            break
        since = table.steps[row]
    return since
