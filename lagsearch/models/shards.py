"""Tensors of which each of several processes holds some rows, and whole ones: handled alike.

Of a whole tensor every function here returns the tensor itself, or the value. One that is divided
is a `DTensor`; that class is known by its methods, as importing it takes a part of torch that one
process has no use for.
"""

from typing import Any

import torch


def is_divided(tensor: torch.Tensor) -> bool:
    """Return whether several processes hold parts of a tensor."""
    return hasattr(tensor, "to_local")


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor, to be read or changed in place."""
    divided: Any = tensor
    with torch.no_grad():
        held: torch.Tensor = divided.to_local() if is_divided(tensor) else tensor
    return held


def own(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the part of a whole value that belongs where this process holds a tensor.

    Args:
        value: Of the tensor's shape, or one value for all of it.
        like: The tensor.
    """
    if not is_divided(like) or value.dim() == 0:
        return value
    from torch.distributed.tensor import distribute_tensor

    divided: Any = like
    mesh, placements = divided.device_mesh, divided.placements
    return distribute_tensor(value, mesh, placements, src_data_rank=None).to_local()


def put(value: torch.Tensor, into: torch.Tensor) -> None:
    """Copy a whole value into a tensor; each process keeps the part that it holds."""
    local(into).copy_(own(value, into))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor with the parts of all processes; all of them must ask for it."""
    divided: Any = tensor
    found: torch.Tensor = divided.full_tensor() if is_divided(tensor) else tensor
    return found
