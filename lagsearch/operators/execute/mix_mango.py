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

import torch

from lagsearch.operators.execute.mix_ligo import (
    Ligo,
    Tensors,
    first_coefficients,
    first_matrix,
    generator_of,
    normal,
    widened,
)
from lagsearch.operators.execute.mix_sizes import Group, MangoSizes, Sliced


class Mango(Ligo):
    """A target's learned tensors as a function of the operator's parameters; see `Ligo`."""

    sizes: MangoSizes

    def __init__(self, sizes: MangoSizes, sources: Sequence[Tensors]) -> None:
        super().__init__(sizes, sources)
        units = sizes.residual.source
        cut = [_cut(each, self.pools[each.group.names], units) for each in sizes.sliced]
        self.m_LBOI = torch.cat(cut, dim=1)

    def start(self, seed: int) -> dict[str, torch.Tensor]:
        """Return factors that together do what `ligo` does at its start.

        Args:
            seed: Each factor's noise is drawn from it and the factor's name.
        """
        noise = self.learned.noise
        made = {
            name: torch.zeros(shape).double() for name, shape in self.sizes.parameters().items()
        }
        for each in self.sizes.sliced:
            (b, c), (n_source, n_target) = each.first, each.slices
            for place in range(n_target):
                made["S_B"][0, b + place % n_source, c + place, 0] = 1.0
        first_group, residual = self.sizes.sliced[0].group, self.sizes.residual
        made["S_L"][0, :, :, 0] = first_coefficients(first_group, noise, generator_of(seed, "S_L"))
        first = first_matrix(residual)
        shares = 1 / first.sum(dim=0)
        for name, matrix in (("S_O", first), ("S_I", first * shares)):
            # off the first bonds S_B and S_L are zero: nothing is added, but all has a gradient
            made[name] += matrix[None, :, :, None]
            drawn = normal(made[name].shape, generator_of(seed, name))
            drawn[0, : residual.source, :, 0] = 0.0
            made[name] += drawn * noise / math.sqrt(residual.source)
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
        joined = {each.group.names: _joined(each, made_TCPN) for each in self.sizes.sliced}
        made: dict[str, torch.Tensor] = {}
        for group in self.sizes.groups:
            value = joined.get(group.names)
            if value is None:
                value = self._outside(group, s_l[0, :, :, 0], s_o[0, :, :, 0], s_i[0, :, :, 0])
            made.update(zip(group.names, value.unbind(), strict=True))
        return made

    def _outside(
        self, group: Group, w_TL: torch.Tensor, writes: torch.Tensor, reads: torch.Tensor
    ) -> torch.Tensor:
        """Mix and widen what is no matrix of a layer: (T, ...)."""
        value, residual = self.pools[group.names], self.sizes.residual
        if group.key is not None:
            value = torch.tensordot(w_TL, value, 1)
        if self.width is None or group.weight is None:
            return value
        value = widened(value, group, self.width, {"residual": writes}, {"residual": reads})
        size = self.sizes.sizes[group.names][-1]
        if value.dim() > 2 or value.shape[-1] == size:
            return value
        units, count = residual.source, math.ceil(value.shape[-1] / residual.source)
        filled = torch.arange(count * units) % value.shape[-1]
        wide = value[:, filled].reshape(len(value), count, units) @ writes.T
        slices = torch.arange(math.ceil(size / residual.target)) % count
        return wide[:, slices].flatten(1)[:, :size]


def _cut(each: Sliced, pool: torch.Tensor, units: int) -> torch.Tensor:
    """Cut the source's matrices: (L, slices, d, d)."""
    w_LOI = pool.mT if each.is_stored_input_first else pool
    if not each.is_reader:
        w_LOI = w_LOI.mT
    filled = torch.arange(each.slices[0] * units) % w_LOI.shape[1]
    cut = w_LOI[:, filled].unflatten(1, (-1, units))  # type: ignore[no-untyped-call]
    made: torch.Tensor = cut if each.is_reader else cut.mT
    return made


def _joined(each: Sliced, made_TCPN: torch.Tensor) -> torch.Tensor:
    """Put slices of the target together: (T, ...) as stored."""
    cut = made_TCPN[:, each.first[1] : each.first[1] + each.slices[1]]
    cut = cut if each.is_reader else cut.mT
    joined = cut.flatten(1, 2)[:, : each.size]
    return joined if each.is_reader != each.is_stored_input_first else joined.mT
