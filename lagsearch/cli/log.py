"""`lagsearch log`: a run that is there, sent to loggers."""

from pathlib import Path
from typing import Annotated

import typer

from lagsearch.display.screen import write


def log_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME,NAME", help="tensorboard, wandb, mlflow or optuna."),
    ],
) -> None:
    """Send the curves, settings and outcomes of a run to loggers, as `run --log` does."""
    from lagsearch.loggers import find_loggers, send

    send(folder, find_loggers(to), write)


def check_log(names: str | None) -> None:
    """Check that the loggers of `--log` can be used, before anything else is done."""
    if names is not None:
        from lagsearch.loggers import find_loggers

        find_loggers(names)
