"""Curves that another trainer recorded, read into what a run folder is read into."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lagsearch.errors import CurvesError
from lagsearch.records.benchmark import (
    is_benchmark,
    is_benchmark_run,
    load_benchmark,
    read_benchmark_run,
)
from lagsearch.records.curve import (
    LARGEST_LOSS,
    Curve,
    Evaluation,
    Failure,
)
from lagsearch.records.folder import RunFolder
from lagsearch.records.imported_rows import (
    Rows,
    is_curves,
    read_rows,
)
from lagsearch.records.run import read_run
from lagsearch.records.search import (
    Searched,
    Terms,
    conclude,
)
from lagsearch.selection import SearchSettings
from lagsearch.space import Search

Curves = Mapping[str, tuple[Curve, ...]]
"""Each candidate's evaluations under each seed."""


@dataclass(frozen=True)
class Asked:
    """What a file of curves does not say.

    Attributes:
        lag: K; `auto` is found as by `search: {lag: auto}`: where the ranking is stable, or half of
            the end.
        end: The step that counts as completion; the last one of any candidate when left out.
        baselines: Candidates that are ranked and shown, but that the ranking is not scored over.
    """

    lag: int | Literal["auto"] = "auto"
    end: int | None = None
    baselines: tuple[str, ...] = ()


def searches_in(path: Path) -> list[Path]:
    """Return the searches that a path stands for: with `stages` one for each of them.

    A benchmark stands for all of its runs but those of the half that is set aside as a test.
    """
    if is_curves(path) or is_benchmark_run(path):
        return [path]
    if is_benchmark(path):
        return [path / name for name in load_benchmark(path).runs]
    return [each.path for each in RunFolder(path).stages()]


def read_searched(path: Path) -> Searched:
    """Read a run folder, a file of curves, or a run of a benchmark."""
    if is_curves(path):
        return read_curves(path)
    return read_benchmark_run(path) if is_benchmark_run(path) else read_run(RunFolder(path))


AS_FOUND = Asked()


def read_curves(path: Path, asked: Asked = AS_FOUND) -> Searched:
    """Read a file of curves: a row for each candidate, step and loss.

    With the columns seed and batch, a row is one seed's loss on one validation batch; with
    is_baseline, candidates are baselines where it is true. A loss that
    is not a finite number means that the candidate failed there. A step that a candidate lacks
    under one of its seeds is left out; in JSON lines, of a loss that comes twice the later one
    counts. The ranking is scored over the candidates that have a loss
    at the end, where there are two or more.

    Args:
        path: CSV or Parquet.
        asked: What the file does not say.

    Raises:
        CurvesError: The file is wrong; the message names the line.
        RunFolderError: All candidates failed.
    """
    return conclude_curves(path, *curves_by_seed(path), asked)


def curves_by_seed(path: Path) -> tuple[Rows, Curves]:
    """Read a file of curves: its rows, and each candidate's evaluations under each seed.

    Raises:
        CurvesError: The file is wrong; the message names the line.
    """
    rows = read_rows(path)
    if path.suffix.lower() == ".jsonl":
        rows = _latest(rows)
    _check_size(rows)
    _check_once(rows)
    return rows, _curves(rows, _seeds(rows))


def _seeds(rows: Rows) -> tuple[int, ...]:
    return tuple(np.unique(rows.seed).tolist())


def conclude_curves(path: Path, rows: Rows, by_seed: Curves, asked: Asked) -> Searched:
    """Return what a search over curves comes to; see `read_curves`.

    Args:
        path: The file.
        rows: Its rows.
        by_seed: The candidates among its curves.
        asked: What the file does not say.
    """
    for name in asked.baselines:
        if name not in by_seed:
            raise CurvesError(f"{path}: --baseline {name}: there is no such candidate")
    asked = replace(asked, baselines=(*asked.baselines, *rows.baselines))
    alive = {name: found for name, found in by_seed.items() if not any(c.failure for c in found)}
    ended = _end(path, alive, asked)
    settings = _settings(path, alive, asked, ended)
    others = [name for name in alive if name not in asked.baselines]
    has_oracle = sum(alive[name][0].at(ended) is not None for name in others) > 1
    terms = Terms(
        name=" ".join(path.stem.split()).replace("`", "'"),
        seed=0,
        seeds=_seeds(rows),
        settings=settings,
        asked_lag=asked.lag,
        has_oracle=has_oracle,
        baselines=frozenset(asked.baselines),
        ignored=rows.ignored,
    )
    found = conclude(terms, by_seed, path)
    assert isinstance(found, Searched)  # all have their losses at every rung
    return found


def _check_size(rows: Rows) -> None:
    """Refuse losses whose sums and squares are no numbers; infinity and NaN are failures."""
    is_wrong = np.isfinite(rows.loss) & (np.abs(rows.loss) > LARGEST_LOSS)
    if is_wrong.any():
        row = int(np.flatnonzero(is_wrong)[0])
        message = f"too large, a loss is at most {LARGEST_LOSS:g}"
        raise CurvesError(f"{rows.place(row)}: val_loss {rows.loss[row]:g}: {message}")


def _repeated(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows in an order, and the places in it at which the next row is of the same loss.

    Of these the earlier row comes first.
    """
    keys = (rows.batch, rows.step, rows.seed, rows.candidate)
    order = np.lexsort(keys)  # stable
    same = np.all([key[order][1:] == key[order][:-1] for key in keys], axis=0)
    return order, np.flatnonzero(same)


def _latest(rows: Rows) -> Rows:
    """Leave out what was logged again: a training that goes on repeats steps behind its save."""
    order, again = _repeated(rows)
    kept = np.delete(np.arange(len(order)), order[again])
    return replace(
        rows,
        **{name: getattr(rows, name)[kept] for name in _COLUMNS},
        place=lambda row: rows.place(int(kept[row])),
    )


_COLUMNS = ("candidate", "step", "seed", "batch", "loss")


def _check_once(rows: Rows) -> None:
    """Refuse a loss that stands there twice."""
    order, again = _repeated(rows)
    if not len(again):
        return
    first = again[order[again + 1].argmin()]
    row, before = int(order[first + 1]), int(order[first])
    said = f"candidate {rows.names[rows.candidate[row]]!r}, step {rows.step[row]}"
    raise CurvesError(
        f"{rows.place(row)}: {said} stands there before ({rows.place(before)}); columns seed and "
        "batch tell losses at one step apart"
    )


def _curves(rows: Rows, seeds: tuple[int, ...]) -> Curves:
    failed = _failures(rows)
    order = np.lexsort((rows.batch, rows.step, rows.seed, rows.candidate))
    keys = np.stack([rows.candidate, rows.seed], axis=1)[order]
    edges = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
    found: dict[tuple[int, int], Curve] = {}
    size = _batches(rows, failed, order)
    for part in np.split(order, edges):
        candidate, seed = int(rows.candidate[part[0]]), int(rows.seed[part[0]])
        failure = failed.get((candidate, seed))
        if failure is not None:
            part = part[rows.step[part] < failure.step]
        steps, losses_SN = rows.step[part][::size], rows.loss[part].reshape(-1, size)
        found[candidate, seed] = Curve(
            tuple(
                Evaluation(step, fsum(losses) / size, tuple(losses), 0.0, 0)
                for step, losses in zip(steps.tolist(), losses_SN.tolist(), strict=True)
            ),
            failure,
        )
    for candidate, name in enumerate(rows.names):
        for seed in seeds:
            if (candidate, seed) not in found:
                message = "every candidate needs the same seeds"
                raise CurvesError(f"{rows.path}: candidate {name!r} has no seed {seed}; {message}")
    return {
        name: _alike([found[candidate, seed] for seed in seeds])
        for candidate, name in enumerate(rows.names)
    }


def _failures(rows: Rows) -> dict[tuple[int, int], Failure]:
    """Return where each candidate and seed first had a loss that is none."""
    found: dict[tuple[int, int], Failure] = {}
    for row in np.flatnonzero(~np.isfinite(rows.loss)).tolist():
        key = int(rows.candidate[row]), int(rows.seed[row])
        if key not in found or rows.step[row] < found[key].step:
            why = f"the validation loss is {rows.loss[row]:g}"
            found[key] = Failure(int(rows.step[row]), why)
    return found


def _batches(
    rows: Rows, failed: Mapping[tuple[int, int], Failure], order: NDArray[np.int64]
) -> int:
    """Return how many validation batches there are, the same ones for every loss."""
    is_kept = np.ones(len(rows.loss), bool)
    for (candidate, seed), failure in failed.items():
        of_curve = (rows.candidate == candidate) & (rows.seed == seed)
        is_kept[of_curve & (rows.step >= failure.step)] = False
    kept = order[is_kept[order]]
    if not len(kept):
        return 1
    size = len(np.unique(rows.batch[kept]))
    keys = np.stack([rows.candidate, rows.seed, rows.step], axis=1)[kept]
    starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    counts = np.diff(np.r_[starts, len(kept)])
    if (counts != size).any():
        lacking = np.flatnonzero(counts != size)
        row = int(kept[starts[lacking]].min())
        count = int(counts[lacking[kept[starts[lacking]].argmin()]])
        said = f"candidate {rows.names[rows.candidate[row]]!r}, step {rows.step[row]}"
        message = f"has {count} of the {size} validation batches; every loss needs all of them"
        raise CurvesError(f"{rows.place(row)}: {said} {message}")
    return size


def _alike(curves: list[Curve]) -> tuple[Curve, ...]:
    """Leave out steps that one of the seeds lacks, where none of them failed."""
    if len(curves) == 1 or any(one.failure for one in curves):
        return tuple(curves)
    shared = set.intersection(*({each.step for each in one.evaluations} for one in curves))
    return tuple(
        Curve(tuple(each for each in one.evaluations if each.step in shared)) for one in curves
    )


def _end(path: Path, alive: Curves, asked: Asked) -> int:
    """Return the step that counts as completion."""
    last = {name: found[0].evaluations[-1].step for name, found in alive.items() if _steps(found)}
    if asked.end is None:
        grown = [step for name, step in last.items() if name not in asked.baselines]
        return max(grown or last.values(), default=0)
    if not any(asked.end in _steps(found) for found in alive.values()):
        raise CurvesError(f"{path}: --end {asked.end}: no candidate has a loss there")
    return asked.end


def _steps(found: tuple[Curve, ...]) -> set[int]:
    return {each.step for each in found[0].evaluations}


def _settings(path: Path, alive: Curves, asked: Asked, end: int) -> SearchSettings:
    """Return when the choice falls: at K, or as early as a search with `lag: auto` would choose."""
    steps = {name: _steps(found) for name, found in alive.items()}
    shared = sorted(set.intersection(*steps.values())) if steps else []
    known = [step for step in shared if 0 < step <= end]
    if asked.lag != "auto":
        for name, own in steps.items():
            if asked.lag not in own or asked.lag > end:
                raise CurvesError(
                    f"{path}: --lag {asked.lag}: candidate {name!r} has no loss there"
                    f"{'' if asked.lag <= end else f', the end is at {end}'}; all candidates have "
                    f"one at {_listed(known)}"
                )
        return SearchSettings((asked.lag,), end)
    if alive and not known:
        name = min(steps, key=lambda name: len(steps[name]))
        message = f"no step after 0 at which all candidates have a loss, see {name!r}"
        raise CurvesError(f"{path}: there is {message}")
    search = Search()
    rungs = tuple(step for step in known if step <= end // 2) or tuple(known[:1])
    stable = search.stability
    return SearchSettings(
        rungs or (0,),
        end,
        first=min(search.min_lag, *rungs[-1:]) if rungs else None,
        threshold=stable.threshold,
        margin=stable.margin,
        left=stable.left,
    )


def _listed(steps: Iterable[int]) -> str:
    shown = [str(step) for step in steps]
    if len(shown) > 12:
        shown = [*shown[:6], "...", *shown[-5:]]
    return ", ".join(shown) or "no step"
