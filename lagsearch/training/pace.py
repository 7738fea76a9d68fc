"""New parameters and the source's own, each at a pace of its own in the first steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lagsearch.models.layers import LayerStack
from lagsearch.models.shards import local, own
from lagsearch.operators.execute.fill import new_parameters
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.space import NewParameters


class Pace:
    """Scales what a step of the optimizer does to new parameters, and to the source's own.

    Weight decay, a part of the step, is scaled with it. What is frozen does not change, and its
    gradient does not count where the whole gradient is clipped. The optimizer's state follows it
    all the same, so that it goes on later as if it had never rested: moments that saw no gradient
    for long would let it leap. All is a function of the step, and nothing of it needs to be saved.
    """

    def __init__(
        self, settings: NewParameters | None, plan: GrowthPlan, model: nn.Module, stack: LayerStack
    ) -> None:
        """Find the new parameters.

        Args:
            settings: How they are trained; None, and without either of both kinds: as all others.
            plan: The growth.
            model: The target.
            stack: Where it keeps its layers.
        """
        self._settings = settings if plan.has_new_and_own else None
        self._parameters = list(model.parameters())
        if self._settings is not None:
            is_new = new_parameters(plan, stack, dict(model.named_parameters())).values()
            pairs = list(zip(is_new, self._parameters, strict=True))
            self._has_new = [bool(each.any()) for each in is_new]
            self._has_own = [not each.all() for each in is_new]
            self._is_new = [own(each, like).to(like.device) for each, like in pairs]

    def gradients(self, step: int) -> list[torch.Tensor]:
        """Return what this process holds of the gradients that count where all are clipped."""
        of_own, _ = self._shares(step)
        gradients = [each.grad for each in self._parameters]
        found = [None if each is None else local(each) for each in gradients]
        if of_own == 0.0:
            found = [
                gradient * is_new if gradient is not None and has_new else None
                for gradient, is_new, has_new in zip(
                    found, self._is_new, self._has_new, strict=True
                )
            ]
        return [gradient for gradient in found if gradient is not None]

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Scale what is done to the parameters inside."""
        of_own, new = self._shares(step)
        if of_own == new == 1.0:
            yield
            return
        scaled = [
            (local(tensor), is_new, local(tensor).detach().clone())
            for tensor, is_new, has_own, has_new in zip(
                self._parameters, self._is_new, self._has_own, self._has_new, strict=True
            )
            if (has_own and of_own != 1.0) or (has_new and new != 1.0)
        ]
        yield
        with torch.no_grad():
            for tensor, is_new, before in scaled:
                share = torch.where(is_new, new, of_own).to(tensor.dtype)
                tensor.copy_(torch.lerp(before, tensor, share))

    def _shares(self, step: int) -> tuple[float, float]:
        """Return how much of a step the source's own parameters take, and new ones."""
        if (settings := self._settings) is None:
            return 1.0, 1.0
        risen = min(1.0, (step + 1) / max(1, settings.rewarm_steps))
        return float(step >= settings.freeze_source_steps), settings.lr_scale * risen
