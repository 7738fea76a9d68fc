"""The forms in which tools write curves, brought into one.

Weights & Biases exports a table with a column for each run, TensorBoard a file for each run, pandas
an index; all other columns that are not known are left out, and named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lagsearch.errors import CurvesError

NEEDED = ("candidate", "step", "val_loss")
OPTIONAL = ("seed", "batch", "is_baseline")

SHOWN = 8
"""Columns that a message names."""

BETWEEN = " - "
"""What stands between run and metric in a column of Weights & Biases."""


@dataclass(frozen=True)
class Known:
    """A table of the known columns alone.

    Attributes:
        table: With the columns of `NEEDED`, and those of `OPTIONAL` that there are.
        rows: The row of the file that each row is from.
        ignored: Names of the columns that were left out.
    """

    table: pa.Table
    rows: NDArray[np.int64]
    ignored: tuple[str, ...]


def known_columns(path: Path, table: pa.Table) -> Known:
    """Bring a table into the known columns.

    Raises:
        CurvesError: They cannot be found in it.
    """
    table = _without_index(table)
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise CurvesError(f"{path}: column {name} comes twice")
    if {"Wall time", "Step", "Value"} <= set(table.column_names):
        return _of_tensorboard(path, table)
    if "candidate" not in table.column_names and any(BETWEEN in it for it in table.column_names):
        return _of_wandb(path, table)
    found = table.column_names
    for name in NEEDED:
        if name not in found:
            more = ", ..." if len(found) > SHOWN else ""
            told = f"has no column {name}, but {', '.join(found[:SHOWN])}{more}"
            raise CurvesError(f"{path}: {told}; needed: {', '.join(NEEDED)}")
    kept = [name for name in found if name in (*NEEDED, *OPTIONAL)]
    ignored = tuple(name for name in found if name not in kept)
    return Known(table.select(kept), np.arange(table.num_rows), ignored)


def _without_index(table: pa.Table) -> pa.Table:
    """Leave out the index that pandas writes, a column without a name."""
    first = table.column_names[:1]
    return table.drop_columns(first) if first in ([""], ["__index_level_0__"]) else table


def _of_tensorboard(path: Path, table: pa.Table) -> Known:
    """Read TensorBoard's download of a run, or several of them under one another, named by run."""
    named = [each for each in ("candidate", "run", "Run") if each in table.column_names]
    name = table[named[0]] if named else pa.array([path.stem] * table.num_rows)
    columns = {"candidate": name, "step": table["Step"], "val_loss": table["Value"]}
    used = {*named[:1], "Step", "Value"}
    ignored = tuple(each for each in table.column_names if each not in used)
    return Known(pa.table(columns), np.arange(table.num_rows), ignored)


def _of_wandb(path: Path, table: pa.Table) -> Known:
    """Read Weights & Biases' export of a chart: a column of steps, and for each run its metric.

    An empty cell is no loss: runs are logged at steps of their own.
    """
    steps = [name for name in table.column_names if BETWEEN not in name]
    if not steps:
        raise CurvesError(f"{path}: no column of steps beside {table.column_names[0]!r}")
    runs = [
        name
        for name in table.column_names
        if BETWEEN in name and not name.endswith(("__MIN", "__MAX"))
    ]
    metric = _validation(path, [name.rsplit(BETWEEN, 1)[1] for name in runs])
    kept = [name for name in runs if name.rsplit(BETWEEN, 1)[1] == metric]
    parts, rows = [], []
    for name in kept:
        cells = table[name].combine_chunks()
        here = np.flatnonzero(~_is_empty(cells))
        label = pa.array([name.rsplit(BETWEEN, 1)[0]] * len(here), pa.string())
        step = table[steps[0]].combine_chunks().take(here)
        values = {"candidate": label, "step": step, "val_loss": cells.take(here)}
        parts.append(pa.table(values))
        rows.append(here)
    ignored = tuple(name for name in table.column_names if name not in (steps[0], *kept))
    return Known(pa.concat_tables(parts), np.concatenate(rows), ignored)


def _is_empty(cells: pa.Array) -> NDArray[np.bool_]:
    if pa.types.is_string(cells.type):
        cells = pc.if_else(pc.equal(cells, ""), None, cells)
    found: NDArray[np.bool_] = pc.is_null(cells).to_numpy(zero_copy_only=False)
    return found


def _validation(path: Path, metrics: Sequence[str]) -> str:
    """Return the one metric, or the one of several that is of validation."""
    known = list(dict.fromkeys(metrics))
    named = [each for each in known if "val" in each.lower()] if len(known) > 1 else known
    if len(named) != 1:
        told = ", ".join(map(repr, known[:SHOWN]))
        raise CurvesError(f"{path}: has several metrics ({told}): export the validation loss alone")
    return named[0]
