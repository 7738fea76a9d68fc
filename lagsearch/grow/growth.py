"""What is to be grown into what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.grow.shards import WrittenTensor
from lagsearch.models.families import find_family
from lagsearch.models.tabled import TabledCheckpoint
from lagsearch.models.tabled_configs import TabledConfig
from lagsearch.operators import GrowthPlan

PROBE = (2, 32)
"""Rows and tokens on which outputs before and after are compared."""


@dataclass(frozen=True)
class Measurement:
    """What a comparison of outputs before and after says.

    Attributes:
        difference: Largest absolute difference, or None where nothing was compared.
        scale: Largest absolute value before.
        compared: What of: logits, or a model's last hidden states.
        words: What the difference means, or why nothing was compared.
    """

    difference: float | None = None
    scale: float | None = None
    compared: str = ""
    words: str = ""


@dataclass(frozen=True)
class Growth:
    """What is to be grown into what.

    Attributes:
        names: The checkpoints, as they were asked for.
        sources: Their folders.
        plan: Where each tensor comes from.
        config: The target's configuration, with the source's `architectures`.
        entries: What is written, where tables say all of it and nothing stays random.
        tabled: The sources, where tables say all of them.
        preserves: How far its operator preserves what the source computes, in words; or `no`.
        asked: What was asked for, in Markdown, e.g. the operator with its settings.
    """

    names: tuple[str, ...]
    sources: tuple[Path, ...]
    plan: GrowthPlan
    config: Any
    entries: tuple[WrittenTensor, ...] | None = None
    tabled: tuple[TabledCheckpoint, ...] = ()
    preserves: str = "no"
    asked: str = ""

    @property
    def claims_exact(self) -> bool:
        """Whether it claims to compute what the source does."""
        return self.preserves != "no"

    @property
    def residual_width(self) -> int:
        """Units of the target's residual stream."""
        config = self.config
        anatomy = config.anatomy if isinstance(config, TabledConfig) else None
        return int(anatomy.sizes["residual"] if anatomy else config.hidden_size)

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
        from lagsearch.models.build import own_kind

        if (own := own_kind(self.config)) is not None:
            return own
        names = " ".join(self.config.architectures or [])
        if any(word in names for word in ("MaskedLM", "PreTraining")):
            return "masked"
        if any(word in names for word in ("CausalLM", "LMHead")):
            return "causal"
        family = find_family(self.config.model_type, self.config.to_dict())
        return "masked" if family and family.is_post_norm else "causal"
