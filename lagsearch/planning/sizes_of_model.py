"""What a model consists of, found in an empty one that transformers builds."""

import copy
from typing import Any

from lagsearch.models.build import empty_model, n_parameters, tensors_of, usable_positions
from lagsearch.models.configs import plain_config, rebuild_config
from lagsearch.models.layers import find_layers, recomputed_layers
from lagsearch.models.tabled_configs import TabledConfig
from lagsearch.planning.activations import activation_bytes
from lagsearch.planning.flops import check_countable, matrix_parameters
from lagsearch.planning.sizes import Outline, Sizes


def sizes_of_model(
    config: Any, kind: str, batch: tuple[int, int], *, checkpointing: bool = False
) -> Sizes:
    """Return a model's sizes.

    Args:
        config: Of a model.
        kind: `causal` or `masked`.
        batch: Sequences that are trained on at once, and tokens in each.
        checkpointing: Whether layers keep their input alone for the backward pass.

    Raises:
        ModelError: There is no such model, or its FLOPs are not known.
    """
    if isinstance(config, TabledConfig):
        config = rebuild_config(plain_config(config))
    config = copy.deepcopy(config)
    config.dtype = None  # a model is trained in fp32, whatever its checkpoint is stored in
    model = empty_model(config, kind)
    stack = find_layers(model, config)
    check_countable(model, config)
    tensors = tensors_of(model)
    recomputed = recomputed_layers(model, stack) if checkpointing else ()
    return Sizes(
        tensors={name: Outline(tuple(each.shape)) for name, each in tensors.items()},
        parameters=n_parameters(model),
        matrices=matrix_parameters(model),
        stack=stack,
        positions=usable_positions(model, config),
        activation_bytes=activation_bytes(model, batch, kind, recomputed),
    )
