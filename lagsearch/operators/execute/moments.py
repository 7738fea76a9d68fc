"""Moments of a gradient, widened as the gradient is. Letters: O outputs, I inputs, of the target.

Copies. Units that have c copies are read in shares that sum to one, and each copy gets its share
of the gradient that the unit got. With shares of 1 / c, rows that write it have the gradient G / c
where W had G, whatever their weights are divided by for what they read (between two halves, too,
where weights are zero). A factor k that a norm takes out again, or that shares out a tied head,
divides once more: G / (c k). So first moments are divided by c k, second ones by its square.
`uneven` shares are 1 / c in the mean of all readers only: the gradients of a unit's copies then
differ, by what no moment tells, and their sum is what it should be.

New entries have no gradients behind them. Their first moment is zero. Their second one is what
Adafactor would have it be, the mean of its row times the mean of its column over the mean of all,
where rows and columns that are new have the mean of all. It cannot be zero, for the step count is
the whole tensor's: nothing would correct a new entry's bias, and its first steps would be up to
(1 - b1) / sqrt(1 - b2) times the rate, 3.2 with betas of 0.9 and 0.999, where other entries make
a fraction of it. A count of its own for each unit would let it begin like a new model's, with
the whole rate at once: too large a step beside those that go on.

Source:
    SPARKLING, arXiv:2602.02472, where the state of new units alone begins anew; Shazeer and Stern
    2018, Adafactor, arXiv:1804.04235, for the estimate.
"""

from collections.abc import Callable

import torch

from lagsearch.operators.execute.places import Places

Value = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Makes new entries of some rows, from the source's rows and from the shares that copies take."""

Values = tuple[Value, Value, Value]
"""What stands in the blocks of new units: below, right, corner."""


def zero_moments(rows_OI: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Return what new entries are where they are zero."""
    return rows_OI.new_zeros(1, 1)


def shares_of(out: Places, scale_O1: torch.Tensor, power: int) -> torch.Tensor:
    """Return the share of the source's moment that copies take, by rows: (O, 1).

    Args:
        out: Places of the rows.
        scale_O1: Factor of each row's weights for what a norm takes out, or a tied head shares.
        power: 1 for a first moment, 2 for a second one.
    """
    count_O1: torch.Tensor = out.count.double()[:, None]
    return (count_O1 * scale_O1) ** -power


def expected(
    moment_OI: torch.Tensor, shares_O1: torch.Tensor, places: tuple[Places, Places], power: int
) -> Values:
    """Return what makes the moment of new entries.

    Args:
        moment_OI: That of the source.
        shares_O1: The share of it that copies take.
        places: Of all rows and all inputs.
        power: 1 for a first moment, 2 for a second one.
    """
    if power == 1:
        return zero_moments, zero_moments, zero_moments
    out, into = places
    old_O, old_I = ~out.is_new, ~into.is_new
    weight_O = moment_OI.new_zeros(len(moment_OI))
    weight_O.index_add_(0, out.origin[old_O], shares_O1[old_O, 0] / old_O.sum())
    counts_I = torch.bincount(into.origin[old_I], minlength=moment_OI.shape[1])
    weight_I = counts_I.to(moment_OI) / old_I.sum()
    mean_I = weight_O @ moment_OI
    return (
        lambda *_: mean_I[into.origin],
        lambda rows_OI, shares_O1: (rows_OI * weight_I).sum(dim=1, keepdim=True) * shares_O1,
        lambda *_: mean_I @ weight_I,
    )
