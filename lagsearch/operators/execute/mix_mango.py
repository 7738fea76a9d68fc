"""MANGO's tensors: all matrices of all layers mixed by four factors. Differentiable, no training.

Letters: B slices of a layer's matrices, O outputs, I inputs, L layers; q, r, s, m bonds between
the factors; b, o, i, l count the source's, c, p, n, t the target's.

Every matrix lies between the residual stream (d units) and something else. Along the other it is
cut into slices of d by d; the last is filled up with units from the start, so that none holds
zeros. A model then is M of shape (L, B, d, d), and the target's is

    M'[t,c,p,n] = sum S_B[m,b,c,q] S_O[q,p,o,r] S_L[r,t,l,s] S_I[s,n,i,m] M[l,b,o,i].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from lagsearch.models.families import Weight
from lagsearch.models.layers import LayerStack
from lagsearch.operators.execute.mix_ligo import (
    Group,
    Ligo,
    Tensors,
    first_matrix,
    generator_of,
    normal,
    widened,
)
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.operators.plan.width import Lift


@dataclass(frozen=True)
class _Sliced:
    """The matrices of one name, as slices.

    Attributes:
        group: The matrices.
        weight: What the family's table says of them.
        size: Places of the target's other axis.
        slices: Number of slices in source and target.
        first: Places of their first slices among all.
    """

    group: Group
    weight: Weight
    size: int
    slices: tuple[int, int]
    first: tuple[int, int] = (0, 0)

    @property
    def is_stored_input_first(self) -> bool:
        return self.weight.input_place == 0

    @property
    def is_reader(self) -> bool:
        return self.weight.axes.index("residual") == self.weight.input_place

    def cut(self, units: int) -> torch.Tensor:
        """Cut the source's matrices: (L, slices, d, d)."""
        w_LOI = self.group.pool.mT if self.is_stored_input_first else self.group.pool
        if not self.is_reader:
            w_LOI = w_LOI.mT
        filled = torch.arange(self.slices[0] * units) % w_LOI.shape[1]
        cut = w_LOI[:, filled].unflatten(1, (-1, units))  # type: ignore[no-untyped-call]
        made: torch.Tensor = cut if self.is_reader else cut.mT
        return made

    def join(self, made_TCPN: torch.Tensor) -> torch.Tensor:
        """Put slices of the target together: (T, ...) as stored."""
        cut = made_TCPN[:, self.first[1] : self.first[1] + self.slices[1]]
        cut = cut if self.is_reader else cut.mT
        joined = cut.flatten(1, 2)[:, : self.size]
        return joined if self.is_reader != self.is_stored_input_first else joined.mT


class Mango(Ligo):
    """A target's learned tensors as a function of the operator's parameters."""

    def __init__(
        self, plan: GrowthPlan, stack: LayerStack, sources: Sequence[Tensors], target: Tensors
    ) -> None:
        """Gather what is mixed; see `Ligo`."""
        super().__init__(plan, stack, sources, target)
        self.sizes = {group.names: target[group.names[0]].shape for group in self.groups}
        self.residual = self._residual_lift()
        sliced = [found for group in self.groups if (found := self._sliced(group))]
        places = [(0, 0), *accumulate((each.slices for each in sliced), _add)]
        self.sliced = [
            _Sliced(each.group, each.weight, each.size, each.slices, first)
            for each, first in zip(sliced, places, strict=False)
        ]
        self.n_slices = places[-1]
        cut = [each.cut(self.residual.source) for each in self.sliced]
        self.m_LBOI = torch.cat(cut, dim=1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the four factors."""
        rank, lift = self.learned.rank, self.residual
        (b, c), (t, layers) = self.n_slices, self.sliced[0].group.shape
        return {
            "S_B": (rank, b, c, rank),
            "S_O": (rank, lift.target, lift.source, rank),
            "S_L": (rank, t, layers, rank),
            "S_I": (rank, lift.target, lift.source, rank),
        }

    def start(self, seed: int) -> dict[str, torch.Tensor]:
        """Return factors that together do what `ligo` does at its start.

        Args:
            seed: Each factor's noise is drawn from it and the factor's name.
        """
        noise = self.learned.noise
        made = {name: torch.zeros(shape).double() for name, shape in self.shapes().items()}
        for each in self.sliced:
            (b, c), (n_source, n_target) = each.first, each.slices
            for place in range(n_target):
                made["S_B"][0, b + place % n_source, c + place, 0] = 1.0
        made["S_L"][0, :, :, 0] = self.sliced[0].group.start(noise, generator_of(seed, "S_L"))
        first = first_matrix(self.residual)
        shares = 1 / first.sum(dim=0)
        for name, matrix in (("S_O", first), ("S_I", first * shares)):
            # off the first bonds S_B and S_L are zero: nothing is added, but all has a gradient
            made[name] += matrix[None, :, :, None]
            drawn = normal(made[name].shape, generator_of(seed, name))
            drawn[0, : self.residual.source, :, 0] = 0.0
            made[name] += drawn * noise / math.sqrt(self.residual.source)
        return {name: value.to(self.like) for name, value in made.items()}

    def __call__(self, parameters: Tensors) -> dict[str, torch.Tensor]:
        """Return the learned target tensors, by name.

        Matrices of layers go through all factors; vectors, embeddings and head through the first
        bonds of S_O (what is written), S_I (what is read) and S_L.

        Args:
            parameters: The factors.
        """
        s_b, s_o, s_l, s_i = (parameters[name] for name in ("S_B", "S_O", "S_L", "S_I"))
        mixed = torch.einsum("rtls,lboi->rstboi", s_l, self.m_LBOI)
        mixed = torch.einsum("qpor,rstboi->qstbpi", s_o, mixed)
        mixed = torch.einsum("snim,qstbpi->qmtbpn", s_i, mixed)
        made_TCPN = torch.einsum("mbcq,qmtbpn->tcpn", s_b, mixed)
        joined = {each.group.names: each.join(made_TCPN) for each in self.sliced}
        made: dict[str, torch.Tensor] = {}
        for group in self.groups:
            value = joined.get(group.names)
            if value is None:
                value = self._outside(group, s_l[0, :, :, 0], s_o[0, :, :, 0], s_i[0, :, :, 0])
            made.update(zip(group.names, value.unbind(), strict=True))
        return made

    def _outside(
        self, group: Group, w_TL: torch.Tensor, writes: torch.Tensor, reads: torch.Tensor
    ) -> torch.Tensor:
        """Mix and widen what is no matrix of a layer: (T, ...)."""
        value = group.pool
        if group.key is not None:
            value = torch.tensordot(w_TL, value, 1)
        if self.width is None or group.weight is None:
            return value
        value = widened(value, group, self.width, {"residual": writes}, {"residual": reads})
        size = self.sizes[group.names][-1]
        if value.dim() > 2 or value.shape[-1] == size:
            return value
        units, count = self.residual.source, math.ceil(value.shape[-1] / self.residual.source)
        filled = torch.arange(count * units) % value.shape[-1]
        wide = value[:, filled].reshape(len(value), count, units) @ writes.T
        slices = torch.arange(math.ceil(size / self.residual.target)) % count
        return wide[:, slices].flatten(1)[:, :size]

    def _residual_lift(self) -> Lift:
        if self.width is not None:
            return self.width.residual
        for group in self.groups:
            if group.weight is not None and "residual" in group.weight.axes:
                size = group.pool.shape[1 + group.weight.axes.index("residual")]
                return Lift(size, size, size)
        raise AssertionError("no learned tensor lies on the residual stream")

    def _sliced(self, group: Group) -> _Sliced | None:
        weight = group.weight
        if group.key is None or weight is None or weight.input_place is None:
            return None
        other = 1 - weight.axes.index("residual")
        size = self.sizes[group.names][other]
        lift, before = self.residual, group.pool.shape[1 + other]
        slices = (math.ceil(before / lift.source), math.ceil(size / lift.target))
        return _Sliced(group, weight, size, slices)


def _add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
