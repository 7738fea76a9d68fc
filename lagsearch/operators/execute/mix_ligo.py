"""LiGO's tensors: mixes over layers, widened by learned matrices. Differentiable, no training.

Letters: N target tensors, P pooled source tensors, O outputs and I inputs of the target.

W'_n = B (sum_p w_np W_p) A^T. Mixing and widening commute, as the matrices are the same for all
layers; the mix comes first because it is of smaller tensors. Every weight of the layers' table
has coefficients w of its own, biases apart. B = [I; C] is one matrix for each kind of unit in the
whole network (residual stream, key/value groups, query heads of a group, feed-forward units), and
an axis' matrix is the Kronecker product of its units' and of I for what lies inside a unit: heads
are mixed whole, so that the mix commutes with rotary embeddings and with norms of queries and
keys. What is read is shared by A = B diag(s), s one over B's column sums where it begins: one-hot
rows then are Net2Net's copies, and C = 0 is padding with zeros.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from lagsearch.models.families import UNITS, Axis, Counted, units_of
from lagsearch.operators.execute.mix_sizes import Group, LigoSizes
from lagsearch.operators.execute.scales import scale_of
from lagsearch.operators.execute.shapes import counted_units, n_units
from lagsearch.operators.plan.width import Lift, Width
from lagsearch.storage.files import derive_seed

Tensors = Mapping[str, torch.Tensor]


class Ligo:
    """A target's learned tensors as a function of the operator's parameters.

    Args:
        sizes: What is mixed.
        sources: Tensors of each source, by name.
    """

    def __init__(self, sizes: LigoSizes, sources: Sequence[Tensors]) -> None:
        self.sizes, self.learned, self.width = sizes, sizes.learned, sizes.width
        self.pools = {group.names: _pool(group, sources) for group in sizes.groups}
        self.shares: Tensors = {
            unit: (1 / first_matrix(lift).sum(dim=0)).to(self.like)
            for unit, lift in sizes.lifts.items()
        }

    @property
    def like(self) -> torch.Tensor:
        """A tensor of the type and on the device in which all is computed."""
        return next(iter(self.pools.values()))

    def start(self, seed: int) -> dict[str, torch.Tensor]:
        """Return the operator's parameters at the start.

        Args:
            seed: Each parameter's noise is drawn from it and the parameter's name.
        """
        noise, start = self.learned.noise, {}
        for group in self.sizes.groups:
            if group.key is not None:
                start[group.key] = first_coefficients(group, noise, generator_of(seed, group.key))
        for unit, lift in self.sizes.lifts.items():
            new = first_matrix(lift)[lift.source :]
            drawn = normal(new.shape, generator_of(seed, f"width.{unit}"))
            start[f"width.{unit}"] = new + drawn * noise / math.sqrt(lift.source)
        return {name: tensor.to(self.like) for name, tensor in start.items()}

    def __call__(self, parameters: Tensors) -> dict[str, torch.Tensor]:
        """Return the learned target tensors, by name.

        Args:
            parameters: The operator's, by their names.
        """
        writes = self.matrices(parameters)
        reads = {unit: matrix * self.shares[unit] for unit, matrix in writes.items()}
        made: dict[str, torch.Tensor] = {}
        for group in self.sizes.groups:
            value = self._mixed(group, parameters)
            if self.width is not None and group.weight is not None:
                value = widened(value, group, self.width, writes, reads)
            made.update(zip(group.names, value.unbind(), strict=True))
        return made

    def _mixed(self, group: Group, parameters: Tensors) -> torch.Tensor:
        """Return the mixes of a group: (N, ...)."""
        pool = self.pools[group.names]
        if group.key is None:
            return pool
        made: torch.Tensor = torch.tensordot(parameters[group.key], pool, 1)
        return made

    def matrices(self, parameters: Tensors) -> dict[str, torch.Tensor]:
        """Return B of each kind of unit that grows."""
        made: dict[str, torch.Tensor] = {}
        for unit, lift in self.sizes.lifts.items():
            new = parameters[f"width.{unit}"]
            own = torch.eye(lift.source, dtype=new.dtype, device=new.device)
            made[unit] = torch.cat([own, new])
        return made


def first_coefficients(group: Group, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Return a group's coefficients at the start; those of vectors have no noise: (N, P)."""
    if group.first is None:
        return torch.full(group.coefficients, 1 / len(group.pool), dtype=torch.float64)
    drawn_NP = torch.rand(group.coefficients, generator=generator, dtype=torch.float64)
    drawn_NP *= noise if len(group.shape) > 1 else 0.0
    drawn_NP[torch.arange(len(group.names)), torch.tensor(group.first)] = 1.0
    return drawn_NP / drawn_NP.sum(dim=1, keepdim=True)


def first_matrix(lift: Lift) -> torch.Tensor:
    """Return the matrix that a lift is: one-hot rows of copies, zeros or means of the new units."""
    unit = torch.arange(lift.target)
    matrix = torch.nn.functional.one_hot(unit % lift.source, lift.source).double()
    matrix[lift.copied :] = 1 / lift.source if lift.below == "mean" else 0.0
    return matrix


def generator_of(seed: int, name: str) -> torch.Generator:
    """Return the generator of one parameter's noise."""
    return torch.Generator().manual_seed(derive_seed(seed, "operator", name))


def normal(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Draw from the standard normal distribution, in float64."""
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


def widened(
    value: torch.Tensor, group: Group, width: Width, writes: Tensors, reads: Tensors
) -> torch.Tensor:
    """Widen mixes: (N, ...) to (N, ...)."""
    weight = group.weight
    assert weight is not None
    # a tied head cannot be divided: what it reads is
    is_shared = group.is_last_norm and width.is_tied
    value = value + weight.counts_from
    for place, axis in enumerate(weight.axes):
        is_read = place == weight.input_place or is_shared
        value = along(value, place + 1, axis, reads if is_read else writes, width)
    scale = scale_of(width, weight, is_last_norm=group.is_last_norm)
    return value * scale - weight.counts_from


def along(
    value: torch.Tensor, dim: int, axis: Axis, matrices: Tensors, width: Width
) -> torch.Tensor:
    """Apply units' matrices along one dimension, which is counted as `UNITS` says."""
    if not units_of(axis) & matrices.keys():
        return value
    inside = value.shape[dim] // n_units(axis, width.before)
    return _counted(value.movedim(dim, -1), UNITS[axis], inside, matrices, width).movedim(-1, dim)


def _counted(
    value: torch.Tensor, counted: Counted, inside: int, matrices: Tensors, width: Width
) -> torch.Tensor:
    """Apply units' matrices along the last dimension, `inside` places of which make a unit."""
    if not counted:
        return value
    first, rest = counted[0], counted[1:]
    if not isinstance(first, str):
        sizes = [inside * counted_units(part, width.before) for part in first]
        parts = zip(first, torch.split(value, sizes, dim=-1), strict=True)
        return torch.cat([_counted(x, part, inside, matrices, width) for part, x in parts], dim=-1)
    value = value.unflatten(-1, (width.lifts[first].source, -1))  # type: ignore[no-untyped-call]
    value = _counted(value, rest, inside, matrices, width)
    if first in matrices:
        value = torch.tensordot(value, matrices[first], ([-2], [1])).movedim(-1, -2)
    return value.flatten(-2)


def _pool(group: Group, sources: Sequence[Tensors]) -> torch.Tensor:
    """Stack a group's source tensors: (P, ...)."""
    stacked = torch.stack([sources[source][name] for source, name in group.pool]).detach()
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32))
