"""What must hold after every growth, whatever the operator."""

import tempfile
from inspect import signature
from typing import Any

import torch
from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.build import auto_class, n_parameters, usable_positions
from lagsearch.models.configs import n_layers, quiet
from lagsearch.models.layers import find_layers

PROBE_TOKENS = 12
"""Tokens that a model is tried on, where it has so many positions."""


def check_growth(model: nn.Module, config: Any, expected_parameters: int) -> None:
    """Check depth, parameter count and tying.

    Raises:
        ModelError: One of them does not hold; the message says which.
    """
    find_layers(model, config)
    if (count := n_parameters(model)) != expected_parameters:
        raise ModelError(f"growth made {count} parameters, the plan has {expected_parameters}")
    _check_tying(model, config)


def check_running(model: nn.Module, kind: str, *, saves: bool = True) -> None:
    """Check cached generation, and saving and loading: what depends on the configuration alone.

    Args:
        model: The model.
        kind: `causal` or `masked`.
        saves: Whether it is saved and loaded; a process that holds a part of it cannot do that.

    Raises:
        ModelError: One of them does not hold; the message says which.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if kind == "causal":
                _check_cache(model)
            if saves:
                _check_round_trip(model, kind)
    except ModelError:
        raise
    except Exception as error:  # a model that cannot run raises what it likes
        line = " ".join(str(error).split())[:200]
        raise ModelError(f"the grown model does not run: {type(error).__name__}: {line}") from error
    model.train(was_training)


def probe_tokens(model: nn.Module) -> torch.Tensor:
    """Return a fixed short row of tokens: (1, T), T as far as the model has positions."""
    vocabulary = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    device = next(model.parameters()).device
    length = min(PROBE_TOKENS, usable_positions(model, model.config) or PROBE_TOKENS)
    return (torch.arange(length, device=device) * 7919 % vocabulary)[None, :]


def _check_tying(model: nn.Module, config: Any) -> None:
    head = model.get_output_embeddings()  # type: ignore[operator]
    if getattr(config, "tie_word_embeddings", False) and head is not None:
        embedding = model.get_input_embeddings()  # type: ignore[operator]
        if head.weight is not embedding.weight:
            raise ModelError("the head is no longer tied to the embedding after growth")


def _check_cache(model: nn.Module) -> None:
    """Compare logits of a whole row with those of the same row token by token.

    A model that keeps no cache of keys and values has nothing to compare.
    """
    tokens = probe_tokens(model)
    whole = model(tokens, use_cache=False).logits[0]  # (T, V)
    cache, steps = None, []
    known = signature(model.forward).parameters
    key = "cache" if "cache" in known else "past_key_values"  # its name before transformers 5.24
    for position in range(tokens.shape[1]):
        out = model(tokens[:, position : position + 1], **{key: cache}, use_cache=True)
        cache = getattr(out, key, None)
        if cache is None:
            return
        steps.append(out.logits[0, -1])
    difference = float((torch.stack(steps) - whole).abs().max())
    scale = max(1.0, float(whole.abs().max()))
    if not difference <= 1e-3 * scale:
        raise ModelError(f"cached and uncached logits differ by {difference:.3g} after growth")


def _check_round_trip(model: nn.Module, kind: str) -> None:
    """Save, load, and compare depth and logits bit for bit."""
    quiet()
    tokens = probe_tokens(model)
    with tempfile.TemporaryDirectory(prefix="lagsearch-") as folder:
        model.save_pretrained(folder)  # type: ignore[operator]
        loaded = auto_class(kind).from_pretrained(folder, dtype=torch.float32)
    loaded.eval().to(tokens.device)
    if n_layers(loaded.config) != n_layers(model.config):
        raise ModelError("the depth changes when the grown model is saved and loaded")
    if not torch.equal(model(tokens).logits, loaded(tokens).logits):
        raise ModelError("logits change when the grown model is saved and loaded")
