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
    def closing(self) -> list[str]:
        """Modules that let a layer add nothing where they are zero.

        There are none where no table says it, or where a stored zero counts more than nothing.
        """
        family = find_family(self.config.model_type, self.config.to_dict())
        weights = [each for each in family.layer if each.name in family.closing] if family else []
        if any(each.counts_from for each in weights):
            return []
        return list(dict.fromkeys(each.name.rsplit(".", 1)[0] for each in weights))

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
