"""The loss of a model's predictions, without all their logits at once where those would be large.

Shape letters: B sequences in a batch, T tokens in a sequence, N tokens, D places of the residual
stream, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from lagsearch.data.objectives.base import IGNORED
from lagsearch.models.checks import probe_tokens
from lagsearch.models.logits import MOST_LOGITS

LogitsOf = Callable[[torch.Tensor], torch.Tensor]
"""Calls a model: from tokens (B, T) to logits (B, T, V)."""


class Loss:
    """The mean cross-entropy over the predicted tokens of some sequences, in nats.

    Where there are more than `MOST_LOGITS`, the layers see the whole pass, and what is behind them
    one part of its tokens after the other; for the gradients, the part's logits are formed again.
    What is behind the layers (head, bias, scale, soft cap) is the model's own: the model is called
    with the layers' output in place of the layers. That its logits of a token depend on that token
    alone is seen on a few first; a model of which this does not hold is not divided.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at nothing yet.

        Args:
            model: Whose predictions.
        """
        self._model: Any = model
        self._is_divisible: bool | None = None

    def __call__(
        self, logits_of: LogitsOf, inputs_BT: torch.Tensor, labels_BT: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss.

        Args:
            logits_of: Calls the model, as the one who asks would have it called.
            inputs_BT: Tokens.
            labels_BT: What is predicted.
        """
        head = self._model.get_output_embeddings()
        n_logits = inputs_BT.numel() * (0 if head is None else len(head.weight))
        if n_logits > MOST_LOGITS and self._can_be_divided(logits_of):
            return self._of_parts(logits_of, inputs_BT, labels_BT, -(-n_logits // MOST_LOGITS))
        logits_BTV = logits_of(inputs_BT)
        return cross_entropy(
            logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORED
        )

    def _of_parts(
        self, logits_of: LogitsOf, inputs_BT: torch.Tensor, labels_BT: torch.Tensor, parts: int
    ) -> torch.Tensor:
        """Return the loss of tokens that are divided."""
        tail = _Tail(self._model, logits_of)
        states_BTD = tail.states(inputs_BT)
        states_ND, tokens_N, labels_N = (
            each.flatten(0, 1) for each in (states_BTD, inputs_BT, labels_BT)
        )

        def total(states: torch.Tensor, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            logits = tail.logits(states, tokens).float()
            return cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")

        divided = zip(*(each.chunk(parts) for each in (states_ND, tokens_N, labels_N)), strict=True)
        sums = [
            checkpoint(total, *part, use_reentrant=False, preserve_rng_state=False)
            for part in divided
        ]
        mean: torch.Tensor = torch.stack(sums).sum() / (labels_N != IGNORED).sum()
        return mean

    def _can_be_divided(self, logits_of: LogitsOf) -> bool:
        """Compare, once, logits of a few tokens with those of the same tokens in two parts."""
        if self._is_divisible is None:
            was_training = self._model.training
            self._model.eval()
            with torch.no_grad(), torch.autocast(self._model.device.type, enabled=False):
                self._is_divisible = _is_divisible(self._model, logits_of)
            self._model.train(was_training)
        return self._is_divisible


class _Tail:
    """What of a model is behind its layers."""

    def __init__(self, model: Any, logits_of: LogitsOf) -> None:
        self.model, self._logits_of = model, logits_of
        self._layers: Any = model.get_decoder()
        self._kind: Any = None

    def states(self, inputs_BT: torch.Tensor) -> torch.Tensor:
        """Return what the layers give: (B, T, D). The tail sees one token of each sequence."""
        real = self._layers.forward
        kept: list[torch.Tensor] = []

        def shortened(*args: Any, **keys: Any) -> Any:
            output = real(*args, **keys)
            self._kind = type(output)
            kept.append(output.last_hidden_state)
            return self._kind(last_hidden_state=kept[0][:, :1])

        with _forward(self._layers, shortened):
            self._logits_of(inputs_BT)
        states_BTD: torch.Tensor = kept[0]
        return states_BTD

    def logits(self, states_ND: torch.Tensor, tokens_N: torch.Tensor) -> torch.Tensor:
        """Return the logits of what the layers gave: (N, V)."""

        def given(*args: Any, **keys: Any) -> Any:
            return self._kind(last_hidden_state=states_ND[None])

        with _forward(self._layers, given):
            logits_1NV = self._logits_of(tokens_N[None])
        return logits_1NV[0]


def _is_divisible(model: Any, logits_of: LogitsOf) -> bool:
    """Return whether the logits of a token depend on what the layers give for it alone."""
    tokens_BT = probe_tokens(model)
    whole_NV = logits_of(tokens_BT)[0]
    try:
        tail = _Tail(model, logits_of)
        [states_ND], [tokens_N] = tail.states(tokens_BT), tokens_BT
        parts = [
            tail.logits(states_ND[some], tokens_N[some]) for some in (slice(0, 5), slice(5, None))
        ]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False  # it calls its layers, or they answer, in a way of its own
    return torch.allclose(torch.cat(parts), whole_NV, rtol=1e-4, atol=1e-4)


@contextmanager
def _forward(module: Any, function: Callable[..., Any]) -> Iterator[None]:
    """Let a module compute a function inside."""
    own = vars(module).get("forward")
    module.forward = function
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
