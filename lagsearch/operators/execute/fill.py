"""The one executor: a plan and named source tensors fill named target tensors."""

from collections.abc import Mapping, Sequence

import torch

from lagsearch.models.layers import LayerStack
from lagsearch.models.shards import local, own, put, whole
from lagsearch.operators.execute.places import new_entries
from lagsearch.operators.execute.recipe import recipe
from lagsearch.operators.execute.shapes import found_for
from lagsearch.operators.execute.widen import Widened, widen
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.storage.files import derive_seed


def fill(
    plan: GrowthPlan,
    stack: LayerStack,
    sources: Sequence[Mapping[str, torch.Tensor]],
    target: Mapping[str, torch.Tensor],
    power: int = 0,
) -> None:
    """Fill target tensors, in place and one by one, with what the plan copies.

    Weights, moments and step counts of the optimizer all go through here: what the plan does not
    copy keeps the value it has in `target` (fresh random weights, zero moments, step 0).

    Args:
        plan: The growth.
        stack: Where source and target keep their layers.
        sources: Tensors of each source, by name; read only as they are needed.
        target: Tensors of the target, by name.
        power: 1 for first moments and 2 for second ones, which are widened as gradients are.

    Raises:
        ModelError: A source lacks a tensor that the plan copies, or has it in another shape.
    """
    with torch.no_grad():
        for name, made, found in found_for(plan, stack, sources, target):
            weight = stack.weight(name)
            value = found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)
            if made.is_zero:
                is_gain = weight is not None and weight.role == "norm" and value.dim() > 0
                if power or not is_gain:
                    local(target[name]).zero_()
                    continue
                # gains of new units stay: both they and what they scale at zero would never learn
                value = torch.full_like(value, made.nothing)
            if plan.width is not None and weight is not None:
                above = sources[made.above[0]].get(made.above[1]) if made.above else None
                is_last_norm = name in stack.top and weight.role in ("norm", "shift")
                what = Widened(weight, value, above, is_last_norm)
                value = widen(plan.width, what, whole(target[name]), power)
            put(value, target[name])


def new_parameters(
    plan: GrowthPlan, stack: LayerStack, target: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return which entries of each target tensor are new, as opposed to the source's own.

    New are all entries of a layer that the target has in addition to the source's own, copies
    included, and of what begins random or is learned; in a wider tensor those in rows or columns
    beyond the source's own, copies included. (The mean of several sources is their own.)

    Args:
        plan: The growth.
        stack: Where source and target keep their layers.
        target: Tensors of the target, by name.

    Returns:
        Of each tensor one truth for all of it, or one for each entry where they differ.
    """
    found = {}
    for name, tensor in target.items():
        place = stack.split(name)
        is_added = place is not None and plan.layers[place[0]].is_new
        is_new = torch.tensor(is_added or recipe(plan, stack, name) is None)
        weight = stack.weight(name)
        if not is_new and plan.width is not None and weight is not None:
            entries = torch.from_numpy(new_entries(plan.width, weight, tensor.shape))
            is_new = entries if entries.any() else is_new
        found[name] = is_new
    return found


def add_noise(
    plan: GrowthPlan,
    stack: LayerStack,
    target: Mapping[str, torch.Tensor],
    width: int,
    seed: int,
) -> None:
    """Replace a share of every copied matrix by noise, in place: W becomes (1 - a) W + a E.

    E is normal with the variances of a fresh model of G_stack: 1 / (d l^2) for what writes to the
    residual stream, 2 / (5 d) for all else, with d the width and l the number of layers.

    Args:
        plan: The growth; its `noise` is a.
        stack: Where the target keeps its layers.
        target: Tensors of the target, by name.
        width: d.
        seed: Each tensor's noise is drawn from it and the tensor's name.

    Source:
        Du et al. 2024, arXiv:2405.15319, section I.2.
    """
    if not plan.noise:
        return
    with torch.no_grad():
        for name, tensor in target.items():
            made = recipe(plan, stack, name)
            if tensor.dim() < 2 or made is None or made.is_zero:
                continue
            place = stack.split(name)
            is_writer = place is not None and stack.role(place[1]) == "writer"
            variance = 1 / (width * len(plan.layers) ** 2) if is_writer else 2 / (5 * width)
            generator = torch.Generator().manual_seed(derive_seed(seed, "noise", name))
            noise = torch.randn(tensor.shape, generator=generator) * variance**0.5
            held, noise = local(tensor), own(noise, tensor)
            held.mul_(1 - plan.noise).add_(noise.to(held), alpha=plan.noise)
