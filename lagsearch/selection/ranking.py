"""LAG's choice: the order of the candidates at a step."""

import numpy as np

from lagsearch.selection.table import LossTable


def rank_candidates(table: LossTable, step: int) -> list[str]:
    """Return all candidates from the lowest loss at a step to the highest.

    Candidates without a loss there come last; equal losses keep the order of the table.

    Raises:
        KeyError: The step was not evaluated.
    """
    order = np.argsort(table.at(step), kind="stable")  # NaN sorts last
    return [table.candidates[row] for row in order]
