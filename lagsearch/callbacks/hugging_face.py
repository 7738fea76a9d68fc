"""The callback of the Hugging Face `Trainer`."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from typing_extensions import override

from lagsearch.callbacks.curve_file import CurveFile


class LagCallback(TrainerCallback):  # type: ignore[misc]
    """Writes the validation loss of every evaluation to a curve file.

    `Trainer(..., callbacks=[LagCallback("curves.csv", "stack")])`

    Args:
        path: The file, `.jsonl` or `.csv`.
        candidate: The candidate's name.
        key: The name of the loss among the metrics.
        seed: The seed it is trained under.
    """

    def __init__(
        self,
        path: str | Path,
        candidate: str = "candidate",
        key: str = "eval_loss",
        seed: int = 0,
    ) -> None:
        self._file, self._key = CurveFile(path, candidate, seed), key

    @override
    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **rest: Any
    ) -> None:
        if state.is_world_process_zero and self._key in (metrics or {}):
            self._file.append(state.global_step, float(metrics[self._key]))
