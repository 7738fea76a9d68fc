"""Models made from a configuration: without memory, or with seeded random weights."""

from typing import Any

import torch
from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.configs import quiet

_AUTO = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "headless": "AutoModel",
}


def auto_class(kind: str) -> Any:
    """Return the transformers class that builds and loads models of a kind.

    Args:
        kind: `causal`, `masked`, `headless`, or the name of a class.
    """
    import transformers

    return getattr(transformers, _AUTO.get(kind, kind))


def own_kind(config: Any) -> str | None:
    """Return the class that a checkpoint says it is of, where transformers has it."""
    import transformers

    for name in getattr(config, "architectures", None) or ():
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return str(name)
    return None


def _built(kind: str, config: Any, **extra: Any) -> nn.Module:
    """Build a model from a configuration."""
    cls = auto_class(kind)
    model: nn.Module = (cls.from_config if kind in _AUTO else cls._from_config)(config, **extra)
    return model


def empty_model(config: Any, kind: str, attention: str | None = None) -> nn.Module:
    """Build a model on the `meta` device: shapes without memory.

    Raises:
        ModelError: transformers cannot build this configuration for this kind.
    """
    quiet()
    extra = {"attn_implementation": attention} if attention else {}
    try:
        with torch.device("meta"):
            model = _built(kind, config, **extra)
    except Exception as error:  # transformers raises many types here; all mean the configuration
        line = " ".join(str(error).split())[:300]
        raise ModelError(f"model_type {config.model_type} as a {kind} model: {line}") from error
    return model


def fresh_model(config: Any, kind: str, seed: int) -> nn.Module:
    """Build a model in fp32 with the random weights of its family, the same for the same seed.

    The global random state is as before afterwards.
    """
    quiet()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _built(kind, config, dtype=torch.float32)
    return model


def bare_model(config: Any, kind: str) -> nn.Module:
    """Build a model in fp32 for weights that are all to be filled: they are not drawn first."""
    from transformers.initialization import no_init_weights

    quiet()
    with no_init_weights():
        model: Any = _built(kind, config, dtype=torch.float32)
    model.tie_weights()
    return model  # type: ignore[no-any-return]


def n_parameters(model: nn.Module) -> int:
    """Count parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def usable_positions(model: nn.Module, config: Any) -> int | None:
    """Return how many tokens a sequence may have; None where nothing limits it.

    RoBERTa and its like leave the positions up to that of padding unused.
    """
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:
        return None
    for name, module in model.named_modules():
        is_table = isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
        if is_table and module.num_embeddings == limit and module.padding_idx is not None:
            return limit - int(module.padding_idx) - 1
    return limit


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what makes a model: parameters, tied ones once, and buffers that are saved."""
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
    saved = model.state_dict(keep_vars=True)
    tensors.update({name: buffer for name, buffer in model.named_buffers() if name in saved})
    return tensors
