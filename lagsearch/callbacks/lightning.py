"""The callback of Lightning's `Trainer`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from typing_extensions import override

from lagsearch.callbacks.curve_file import CurveFile

if find_spec("lightning") is not None:
    from lightning.pytorch.callbacks import Callback
else:
    from pytorch_lightning.callbacks import Callback


class LightningLagCallback(Callback):  # type: ignore[misc]
    """Writes the validation loss of every evaluation to a curve file.

    `Trainer(..., callbacks=[LightningLagCallback("curves.csv", "stack")])`

    Args:
        path: The file, `.jsonl` or `.csv`.
        candidate: The candidate's name.
        key: The name under which the module logs its loss.
        seed: The seed it is trained under.
    """

    def __init__(
        self,
        path: str | Path,
        candidate: str = "candidate",
        key: str = "val_loss",
        seed: int = 0,
    ) -> None:
        self._file, self._key = CurveFile(path, candidate, seed), key

    @override
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        found = trainer.callback_metrics.get(self._key)
        if trainer.is_global_zero and not trainer.sanity_checking and found is not None:
            self._file.append(trainer.global_step, float(found))
