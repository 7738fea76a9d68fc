"""What a checkpoint says of itself: its kind, its tokenizer, the rate that it was trained at."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lagsearch.data.tokens.tokenizers import tokenizer_in
from lagsearch.errors import ModelError
from lagsearch.models.build import empty_model, n_parameters
from lagsearch.models.configs import n_layers, plain_config, read_config, rebuild_config
from lagsearch.models.files import locate_checkpoint
from lagsearch.models.tabled_configs import TabledConfig
from lagsearch.planning.brought import brought_config

Kind = Literal["causal", "masked"]


def safe_name(words: str) -> str:
    """Return words as letters, digits, dots, dashes and underscores; empty where none is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-._")[:60]


@dataclass(frozen=True)
class Rate:
    """A peak learning rate, and where it is from.

    Attributes:
        value: The rate.
        why: In words, for a comment.
    """

    value: float
    why: str


@dataclass(frozen=True)
class SourceCheckpoint:
    """A checkpoint that is to be grown.

    Attributes:
        written: Its folder or hub name as the user wrote it.
        folder: Where it is on this machine.
        config: Its transformers configuration.
        kind: What it predicts.
        tokenizer: Its own.
    """

    written: str
    folder: Path
    config: Any
    kind: Kind
    tokenizer: Any

    @property
    def name(self) -> str:
        """A name made of letters, digits, dots, dashes and underscores."""
        words = Path(self.written.rstrip("/")).name or self.folder.resolve().name
        if words in (".", ".."):
            words = self.folder.resolve().name
        return safe_name(words) or "source"

    @property
    def n_layers(self) -> int:
        """Its depth."""
        return n_layers(self.config)

    @property
    def n_parameters(self) -> int:
        """Its parameters, tied ones once."""
        return n_parameters(empty_model(self.config, self.kind))


def inspect_checkpoint(name: str) -> SourceCheckpoint:
    """Find a checkpoint and read what it says of itself; no weights are read.

    Args:
        name: A folder, or a name on the Hugging Face hub.

    Raises:
        ModelError: It is not a checkpoint of a causal or masked language model with safetensors.
    """
    try:
        folder = locate_checkpoint(name, weights=False)
        kind = _kind(read_config(folder))
        tokenizer = _tokenizer_of(name, folder)
        config = brought_config(name)
        if isinstance(config, TabledConfig):
            config = rebuild_config(plain_config(config))
        n_layers(config)
        return SourceCheckpoint(name, folder, config, kind, tokenizer)
    except ModelError as error:
        message = str(error)
        raise ModelError(message if message.startswith(name) else f"{name}: {message}") from None


def _tokenizer_of(name: str, folder: Path) -> Any:
    """Load a checkpoint's own tokenizer.

    Raises:
        ModelError: It has none, or it is not here.
    """
    if (tokenizer := tokenizer_in(folder, name)) is None:
        raise ModelError("brings no tokenizer: put its tokenizer.json beside config.json")
    return tokenizer


def _kind(config: Any) -> Kind:
    """Return what a model predicts, by its class, else by what its type can be.

    Raises:
        ModelError: It is neither a causal nor a masked language model.
    """
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    names = tuple(config.architectures or ())
    if "ElectraForPreTraining" in names:
        raise ModelError(
            "ElectraForPreTraining is a discriminator: it tells replaced tokens from original "
            "ones and predicts none; bring its generator, an ElectraForMaskedLM"
        )
    if any("ForMaskedLM" in name for name in names):
        return "masked"
    if config.model_type in masked and any("ForPreTraining" in name for name in names):
        return "masked"
    if any(re.search("ForCausalLM|LMHeadModel", name) for name in names):
        return "causal"
    if config.model_type in masked and not getattr(config, "is_decoder", False):
        return "masked"
    if config.model_type in causal:
        return "causal"
    found = f"{names[0]} " if names else ""
    raise ModelError(
        f"{found}(model_type {config.model_type}) is neither a causal nor a masked language model"
    )


_DECODERS = (
    (100e6, 1e-3),
    (250e6, 6e-4),
    (600e6, 3e-4),
    (1.1e9, 2.5e-4),
    (2e9, 2e-4),
    (4e9, 1.6e-4),
    (10e9, 1.2e-4),
    (float("inf"), 1e-4),
)
"""Peak rates of decoders up to so many parameters: GPT-3 (arXiv:2005.14165, table 2.1), and below
100M Pythia (arXiv:2304.01373, table 1)."""

_ENCODERS = {"bert": (1e-4, "arXiv:1810.04805"), "roberta": (6e-4, "arXiv:1907.11692")}

SHARE_OF_PEAK = 0.1
"""The share of its peak rate at which a trained checkpoint goes on."""


def rate_of(checkpoint: SourceCheckpoint) -> Rate:
    """Return the rate to go on at: from the checkpoint's own trainer state, else a usual one.

    A trainer's last rate is often almost zero: what its schedule had come down to. So it is a tenth
    of the peak rate at least.
    """
    path = checkpoint.folder / "trainer_state.json"
    if (logged := _logged(path)) is not None:
        peak, last = logged
        is_low = last < SHARE_OF_PEAK * peak
        what = "a tenth of its peak rate" if is_low else "its last rate"
        value = SHARE_OF_PEAK * peak if is_low else last
        return Rate(_rounded(value), f"{what} in {path.name} (peak {peak:.3g}, last {last:.3g})")
    peak, source = _usual_peak(checkpoint)
    return Rate(
        _rounded(SHARE_OF_PEAK * peak),
        f"a tenth of the usual peak rate of {source}: the checkpoint has no trainer_state.json",
    )


def _usual_peak(checkpoint: SourceCheckpoint) -> tuple[float, str]:
    count = checkpoint.n_parameters
    if checkpoint.kind == "masked":
        family = "roberta" if "roberta" in checkpoint.config.model_type else "bert"
        peak, paper = _ENCODERS[family]
        return peak, f"{family} models, {peak:g} ({paper})"
    peak = next(rate for limit, rate in _DECODERS if count <= limit)
    paper = "Pythia, arXiv:2304.01373" if count <= _DECODERS[0][0] else "GPT-3, arXiv:2005.14165"
    return peak, f"decoders with {count / 1e6:,.1f}M parameters, {peak:g} ({paper})"


def _logged(path: Path) -> tuple[float, float] | None:
    """Return the largest and the last rate that a Hugging Face Trainer logged, if it did."""
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["log_history"]
        rates = [float(each["learning_rate"]) for each in history if "learning_rate" in each]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_rate = bool(rates) and all(0 <= rate < 1 for rate in rates) and max(rates) > 0
    return (max(rates), rates[-1]) if is_rate else None


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")
