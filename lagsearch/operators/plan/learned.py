"""A growth that is learned as data: what is mixed, where the mix begins, and how it is trained.

Where each learned layer's mix begins stands in the plan's layers, and where the width's matrices
begin in its lifts; this is the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Learned:
    """How the learned tensors of a target are mixed from those of the sources.

    Attributes:
        pool: (source, layer) of all layers that learned layers mix.
        steps: Training steps of the operator itself, before the target's own begin.
        lr: Rate of the operator's parameters.
        warmup_steps: Over how many of its steps the rate rises.
        noise: Size of the noise on the coefficients and matrices at the start; 0 for none.
        widens_copies: Layers that are copied are widened by the learned matrices, too.
        has_even_ends: A mix of several sources' ends begins as their mean, not as the first.
        method: How tensors are mixed: `ligo` or `mango`.
        rank: Size of the bonds between the factors (`mango`).
    """

    pool: tuple[tuple[int, int], ...]
    steps: int
    lr: float
    warmup_steps: int
    noise: float
    widens_copies: bool = False
    has_even_ends: bool = False
    method: Literal["ligo", "mango"] = "ligo"
    rank: int = 1

    def of_source(self, place: int) -> "Learned":
        """Return the same mix of another source's layers."""
        return replace(self, pool=tuple((place, layer) for _, layer in self.pool))

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "Learned":
        """Read it from plain values."""
        pool = tuple((source, layer) for source, layer in plain["pool"])
        return Learned(**{**plain, "pool": pool})
