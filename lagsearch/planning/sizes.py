"""What a model consists of, worked out of tables: neither torch nor transformers is needed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lagsearch.models.families.anatomy import MODEL_TYPES
from lagsearch.models.families.kept import kept_bytes
from lagsearch.models.layers import LayerStack
from lagsearch.models.logits import MOST_LOGITS
from lagsearch.models.tabled import shapes_of
from lagsearch.models.tabled_configs import TabledConfig


class Outline(NamedTuple):
    """What is known of a tensor without values."""

    shape: tuple[int, ...]

    def numel(self) -> int:
        """Return how many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Sizes:
    """A model without weights.

    Attributes:
        tensors: By name, tied ones once.
        parameters: How many numbers they are; buffers are none.
        matrices: Weights that a token is multiplied by: in `layers`, in the `head`.
        stack: Where the model keeps its layers.
        positions: How many tokens a sequence may have, if that is limited.
        activation_bytes: What a step keeps in fp32 for its backward pass, and the logits with their
            gradient; None where that is not known.
    """

    tensors: Mapping[str, Outline]
    parameters: int
    matrices: Mapping[str, int]
    stack: LayerStack
    positions: int | None
    activation_bytes: int | None


def logits_bytes(batch: tuple[int, int], vocabulary: int) -> int:
    """Return the bytes of the logits of a batch that are there at once, and of their gradient."""
    return 2 * 4 * min(MOST_LOGITS, batch[0] * batch[1] * vocabulary)


def sizes_by_tables(
    config: Any, kind: str, batch: tuple[int, int], *, checkpointing: bool = False
) -> Sizes | None:
    """Return a model's sizes, or None where tables do not say all of them.

    Args:
        config: Of a model.
        kind: `causal` or `masked`.
        batch: Sequences that are trained on at once, and tokens in each.
        checkpointing: Whether layers keep their input alone for the backward pass.
    """
    if not isinstance(config, TabledConfig) or (anatomy := config.anatomy) is None:
        return None
    known, keys = MODEL_TYPES[config.model_type], config.keys
    if not any(("MaskedLM" in name) == (kind == "masked") for name in known.classes):
        return None
    depth = config.num_hidden_layers
    sizes = {**anatomy.sizes, "layers": depth}
    kept = kept_bytes(anatomy.family, keys, sizes, batch, is_recomputed=checkpointing)
    if kept is None:
        return None
    stack = LayerStack(known.layers, frozenset(anatomy.top), anatomy.family)
    shapes = shapes_of(anatomy, stack, depth)
    inner = {each.name for each in anatomy.family.top if each.role == "inner"}
    own = sum(math.prod(shape) for shape in anatomy.layer.values() if len(shape) > 1)
    top = [math.prod(s) for name, s in anatomy.top.items() if name in inner and len(s) > 1]
    vocabulary = anatomy.sizes["vocabulary"]
    return Sizes(
        tensors={name: Outline(shape) for name, shape in shapes.items()},
        parameters=sum(map(math.prod, shapes.values())),
        matrices={
            "layers": depth * own + sum(top),
            "head": vocabulary * anatomy.sizes["residual"],
        },
        stack=stack,
        positions=_positions(config),
        activation_bytes=kept + logits_bytes(batch, vocabulary),
    )


def _positions(config: TabledConfig) -> int:
    """Return how many tokens a sequence may have: RoBERTa counts from behind the padding token."""
    limit = int(config.max_position_embeddings)
    padding = config.keys.get("pad_token_id")
    return limit - padding - 1 if config.model_type == "roberta" and padding is not None else limit
