"""Options of the verbs, and what their words are read as."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lagsearch.errors import LagsearchError

MOST_DIGITS = 18
"""Of a number of steps, and of a seed."""

SpaceArgument = Annotated[list[str], typer.Argument(metavar="SPACE", help="The space file (YAML).")]
LagOption = Annotated[
    str | None,
    typer.Option(
        "--lag",
        metavar="K",
        help="Rank after this many training steps; or auto: once the ranking is stable.",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget",
        metavar="SHARE",
        help="Choose strategy and K so that search and winner cost this share of the compute to "
        "train every candidate, e.g. 0.3: the search that the benchmark speaks for.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the space, e.g. training.steps=500. May be repeated.",
    ),
]
LayersOption = Annotated[int | None, typer.Option("--layers", min=1, help="Layers of the target.")]
HiddenOption = Annotated[
    int | None, typer.Option("--hidden", min=1, help="Width (hidden size) of the target.")
]
HoursOption = Annotated[
    float | None, typer.Option("--hours", help="Time that the whole search may take.")
]
ColumnOption = Annotated[
    str | None,
    typer.Option(
        "--column", metavar="NAME", help="Of records (.jsonl, .parquet): the key of the text."
    ),
]
SkipOption = Annotated[
    bool,
    typer.Option("--skip-unfit", help="Leave out candidates that do not fit, and name them."),
]
KeepOption = Annotated[
    int | None,
    typer.Option(
        "--keep", metavar="N", min=1, help="Keep the checkpoints of the best N at K, in RUN/kept."
    ),
]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="NAME,NAME",
        help="Send all curves while the run goes on, to tensorboard, wandb, mlflow or optuna.",
    ),
]
RunArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SPACE | CHECKPOINT TEXT...",
        help="The space file (YAML); or a checkpoint and texts, for which `init` writes one.",
    ),
]
OracleOption = Annotated[
    bool,
    typer.Option(
        "--oracle",
        help="Train every candidate to the final step, and score the ranking by that.",
    ),
]
RunFolderOption = Annotated[
    Path | None,
    typer.Option("--out", help="Write the run folder here, not to reports/NAME."),
]
SerialOption = Annotated[
    bool, typer.Option("--serial", help="Train one candidate at a time, without Ray.")
]
ProfileOption = Annotated[
    bool,
    typer.Option(
        "--profile", help="Report where the time goes, and trace a few steps of each candidate."
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds", metavar="0,1,2", help="Train every candidate under each of these seeds."
    ),
]
BaselinesOption = Annotated[
    bool,
    typer.Option(
        "--baselines",
        help="For a space with stages: train what adaptive stacking is compared with, too.",
    ),
]
FigureWidthOption = Annotated[
    float,
    typer.Option(
        "--figure-width",
        metavar="INCHES",
        min=2.5,
        max=20,
        help="Width of the figures for papers: 3.25 for one column, 6.75 for two.",
    ),
]


def operator_names(begun: str) -> list[str]:
    """Complete an operator's name."""
    from lagsearch.operators import all_operators

    return [each.name for each in all_operators() if each.name.startswith(begun)]


def read_lag(text: str | None) -> int | Literal["auto"] | None:
    """Read K."""
    if text is None or text == "auto":
        return "auto" if text else None
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise LagsearchError(f"--lag {text}: write a number of steps, or auto")
    return int(text)


def read_seeds(text: str | None) -> list[int]:
    """Read numbers between commas."""
    if text is None:
        return []
    numbers = [each.strip() for each in text.split(",")]
    if not all(each.isdecimal() and len(each) <= MOST_DIGITS for each in numbers):
        raise LagsearchError(f"--seeds {text}: write whole numbers between commas, e.g. 0,1,2")
    return [int(each) for each in numbers]


def read_pairs(flag: str, texts: list[str] | None) -> dict[str, Any]:
    """Read `KEY=VALUE` texts, the values as YAML."""
    from lagsearch.space import read_yaml

    pairs = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise LagsearchError(f"{flag} {text}: write KEY=VALUE")
        pairs[key] = read_yaml(value)[0]
    return pairs
