"""What is to be grown into what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.models.build import own_kind
from lagsearch.models.families import find_family
from lagsearch.operators import GrowthPlan


@dataclass(frozen=True)
class Growth:
    """What is to be grown into what.

    Attributes:
        names: The checkpoints, as they were asked for.
        sources: Their folders.
        plan: Where each tensor comes from.
        config: The target's configuration, with the source's `architectures`.
    """

    names: tuple[str, ...]
    sources: tuple[Path, ...]
    plan: GrowthPlan
    config: Any

    @property
    def writers(self) -> list[str]:
        """Modules of a layer that write to the residual stream; none where no table says it."""
        family = find_family(self.config.model_type, self.config.to_dict())
        names = [each.name for each in family.layer if each.role == "writer"] if family else []
        return list(dict.fromkeys(name.rsplit(".", 1)[0] for name in names))

    @property
    def kind(self) -> str:
        """What the checkpoint is for: its own class where it names one, else `causal`, `masked`."""
        if (own := own_kind(self.config)) is not None:
            return own
        names = " ".join(self.config.architectures or [])
        if any(word in names for word in ("MaskedLM", "PreTraining")):
            return "masked"
        if any(word in names for word in ("CausalLM", "LMHead")):
            return "causal"
        family = find_family(self.config.model_type, self.config.to_dict())
        return "masked" if family and family.is_post_norm else "causal"
