"""Callbacks for other trainers, which write the losses that lagsearch reads.

`LagCallback` is for the Hugging Face `Trainer` (and what is built on it: TRL, axolotl), and
`LightningLagCallback` for Lightning's. Neither library is imported before its callback is.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "LagCallback": "lagsearch.callbacks.hugging_face",
    "LightningLagCallback": "lagsearch.callbacks.lightning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lagsearch.callbacks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
