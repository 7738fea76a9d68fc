"""A benchmark: many searches in one Parquet file, with a manifest that says what they are.

A run is there once the manifest has what made it, and its rows have the hash that stands there. So
a process that is killed between the two files leaves the benchmark as it was.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict

from lagsearch.errors import LagsearchError, RunFolderError, counted
from lagsearch.records.curve import Curve, Evaluation, Failure
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run, terms_of
from lagsearch.records.search import Searched, conclude
from lagsearch.records.shapes import read_record
from lagsearch.space import Space, load_space
from lagsearch.storage.files import alone, digest, replacing, write_json
from lagsearch.storage.published import sentence_without_paths, values_without_paths

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BENCHMARK_MANIFEST, CURVES = "manifest.json", "curves.parquet"
TEST = "test"
"""The half that is read once: by name or by command, and never with the others."""


class _Failed(TypedDict):
    candidate: str
    seed: int
    step: int
    failed: str


class _Planned(TypedDict):
    name: str
    operator: str
    settings: dict[str, Any]
    layer_map: str
    parameters: int
    also: list[str]
    kind: str
    prior: NotRequired[float]


class _Recorded(TypedDict):
    """What made a run, and what its rows must be."""

    space: dict[str, Any]
    candidates: list[_Planned]
    failures: list[_Failed]
    versions: dict[str, str]
    git_commit: str | None
    inputs: dict[str, Any]
    sources: list[dict[str, Any]]
    end: str
    rows: str
    digest: str


class _Entry(TypedDict):
    run: str
    half: str
    text: NotRequired[str]
    family: NotRequired[str]
    recorded: NotRequired[_Recorded]


class BenchmarkManifest(TypedDict):
    """The shape of a benchmark's `manifest.json`."""

    split: str
    runs: list[_Entry]


@dataclass(frozen=True)
class Benchmark:
    """Recorded searches.

    Attributes:
        path: Its folder.
        manifest: What its runs are.
        runs: Names of those that were asked for and are recorded.
    """

    path: Path
    manifest: BenchmarkManifest
    runs: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Benchmark({counted(len(self.runs), 'run')}; {self.path})"

    @cached_property
    def curves(self) -> "pd.DataFrame":
        """All losses: run, candidate, kind, seed, step, val_loss, val_loss_batches, flops."""
        table: pd.DataFrame = _read_rows(self.path, self.runs).to_pandas()
        return table

    @property
    def candidates(self) -> "pd.DataFrame":
        """All candidates and baselines: run, half, and what the manifest says of each."""
        import pandas as pd

        return pd.DataFrame(
            {"run": name, "half": self.entry(name)["half"], **candidate}
            for name in self.runs
            for candidate in self._recorded(name)["candidates"]
        )

    def entry(self, name: str) -> _Entry:
        """Return what the manifest says of a run."""
        return next(each for each in self.manifest["runs"] if each["run"] == name)

    def _recorded(self, name: str) -> _Recorded:
        return self.entry(name)["recorded"]

    def space(self, name: str) -> Space:
        """Return the space of a run."""
        return load_space(self._recorded(name)["space"]).space

    def searched(self, name: str) -> Searched:
        """Return a run as `read_run` reads its folder.

        Raises:
            RunFolderError: It was changed since it was written.
        """
        where, recorded = self.path / name, self._recorded(name)
        if recorded["digest"] != _digest(self.entry(name)):
            raise RunFolderError(
                f"{self.path / BENCHMARK_MANIFEST}: {name}: changed since it was written"
            )
        table = _read_rows(self.path, [name])
        if recorded["rows"] != _rows_digest(table):
            message = "its rows are not those of the manifest; `lagsearch bench add` writes it anew"
            raise RunFolderError(f"{self.path / CURVES}: {name}: {message}")
        space = self.space(name)
        kinds = {each["name"]: each["kind"] for each in recorded["candidates"]}
        found = conclude(
            terms_of(
                space,
                [each for each, kind in kinds.items() if kind == "ranked baseline"],
                {each["name"]: each["prior"] for each in recorded["candidates"] if "prior" in each},
            ),
            {
                candidate: curves
                for candidate, curves in _curves(table, recorded["failures"], space).items()
                if kinds[candidate] != "baseline"
            },
            where,
        )
        if not isinstance(found, Searched):
            raise RunFolderError(f"{where}: candidates have not reached step {found.step}")
        return found

    def baselines(self, name: str) -> dict[str, tuple[Curve, ...]]:
        """Return what a run trained beside its candidates, under each seed."""
        recorded = self._recorded(name)
        names = {each["name"] for each in recorded["candidates"] if each["kind"] == "baseline"}
        table = _read_rows(self.path, [name])
        found = _curves(table, recorded["failures"], self.space(name))
        return {each: curves for each, curves in found.items() if each in names}


def is_benchmark(path: Path) -> bool:
    """Return whether a folder holds a benchmark: other things have a `manifest.json`, too."""
    try:
        found = json.loads((path / BENCHMARK_MANIFEST).read_bytes())
    except OSError:
        return False
    except (ValueError, RecursionError):
        return (path / CURVES).is_file()
    return isinstance(found, dict) and BenchmarkManifest.__required_keys__ <= found.keys()


def is_benchmark_run(path: Path) -> bool:
    """Return whether a path is that of a benchmark's folder and the name of a run in it."""
    return is_benchmark(path.parent) and not path.exists()


def load_benchmark(path: str | Path = "reports/bench", half: str | None = None) -> Benchmark:
    """Read a benchmark.

    Args:
        path: Its folder.
        half: `choice`, `test`, or `own` for runs that were added; all but `test` when left out:
            that half is for the one comparison that decides, and no rule may be chosen on it.

    Raises:
        LagsearchError: There is no such half.
        RunFolderError: The folder holds no benchmark, or its manifest has another shape.
    """
    path = Path(path)
    manifest = read_manifest(path)
    halves = dict.fromkeys(each["half"] for each in manifest["runs"])
    if half is not None and half not in halves:
        raise LagsearchError(f"{path}: no half {half!r}; there are {', '.join(halves)}")
    names = tuple(
        each["run"]
        for each in manifest["runs"]
        if "recorded" in each and (each["half"] == half if half else each["half"] != TEST)
    )
    return Benchmark(path, manifest, names)


def read_manifest(path: Path) -> BenchmarkManifest:
    """Read a manifest.

    Raises:
        RunFolderError: There is none, or it has another shape.
    """
    found = read_record(path / BENCHMARK_MANIFEST, BenchmarkManifest)
    return BenchmarkManifest(split=found["split"], runs=found["runs"])


def read_benchmark_run(path: Path) -> Searched:
    """Read a run of a benchmark by its folder and name, `reports/bench/NAME`.

    Raises:
        RunFolderError: There is none, or it was changed since it was written.
    """
    manifest = read_manifest(path.parent)
    known = {each["run"]: each for each in manifest["runs"]}
    if path.name not in known or "recorded" not in known[path.name]:
        raise RunFolderError(f"{path}: the benchmark has no such run")
    return Benchmark(path.parent, manifest, (path.name,)).searched(path.name)


def add_run(folder: Path, run: RunFolder, name: str, facts: Mapping[str, Any]) -> None:
    """Add a run, or write it anew.

    Args:
        folder: The benchmark's.
        run: A complete run folder of one stage.
        name: What it is called there.
        facts: What else the manifest says of it: `half` and more.

    Raises:
        RunFolderError: It is not complete.
    """
    recorded, rows = _recorded(run)
    entry: Any = {"run": name, **facts, "recorded": recorded}
    recorded["digest"] = _digest(entry)
    with alone(folder, lambda line: None):
        manifest = read_manifest(folder) if (folder / BENCHMARK_MANIFEST).is_file() else _EMPTY
        runs = {each["run"]: each for each in manifest["runs"]} | {name: entry}
        tables = [
            _named(rows, name) if each == name else _read_rows(folder, [each])
            for each, found in runs.items()
            if "recorded" in found
        ]
        _write_tables(folder / CURVES, tables)
        write_json(
            folder / BENCHMARK_MANIFEST, {"split": manifest["split"], "runs": list(runs.values())}
        )


_EMPTY = BenchmarkManifest(split="", runs=[])


def _write_tables(path: Path, tables: Iterable["pa.Table"]) -> None:
    """Write runs one behind the other, each so that it is read by itself."""
    import pyarrow.parquet as pq

    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, _schema(), compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table)


def _recorded(run: RunFolder) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the manifest says of a run folder, and its rows."""
    found, environment = read_run(run), run.environment()
    kinds = {
        **{
            name: "ranked baseline" if plan["is_baseline"] else "growth"
            for name, plan in found.plans.items()
        },
        **dict.fromkeys(found.baselines, "baseline"),
    }
    plans = {**found.plans, **{name: each.plan for name, each in found.baselines.items()}}
    curves = {**found.by_seed, **{name: each.by_seed for name, each in found.baselines.items()}}
    trainings = [
        (name, seed, curve)
        for name, by_seed in curves.items()
        for seed, curve in zip(found.terms.seeds, by_seed, strict=True)
    ]
    rows = [
        {"candidate": name, "kind": kinds[name], "seed": seed, **_row(evaluation)}
        for name, seed, curve in trainings
        for evaluation in curve.evaluations
    ]
    keys = ("name", "operator", "settings", "layer_map", "parameters")
    written = {
        "space": _published(run.file().written_out()),
        "candidates": [
            {
                **{key: plan[key] for key in (*keys, "prior") if key in plan},
                "also": plan.get("also", []),
                "kind": kinds[name],
            }
            for name, plan in plans.items()
        ],
        "failures": [
            {"candidate": name, "seed": seed, **_told(end)}
            for name, seed, curve in trainings
            if (end := curve.failure) is not None
        ],
        "versions": environment.get("versions", {}),
        "git_commit": environment.get("git_commit"),
        "inputs": environment["inputs"],
        "sources": [
            {key: each.get(key) for key in ("name", "digest", "kind", "steps", "val_loss", "seed")}
            for each in environment["sources"]
        ],
        "end": environment.get("end") or "",
        "rows": _rows_digest(_named(rows, "")),
    }
    return written, rows


def _digest(entry: _Entry) -> str:
    """Return a hash of all that the manifest says of a run, itself left out."""
    recorded = {key: value for key, value in entry["recorded"].items() if key != "digest"}
    return digest({**entry, "recorded": recorded})


def _told(end: Failure) -> dict[str, Any]:
    return {"step": end.step, "failed": sentence_without_paths(end.failed)}


def _published(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space whose paths are names alone, and whose trainer is its kind alone.

    Whose machine it was, and what else ran there, is nobody's business.
    """
    found: dict[str, Any] = values_without_paths(dict(value))
    if found.get("trainer"):
        found["trainer"] = _without_commands(found["trainer"])
    return found


def _without_commands(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trainer that a space may have: how it is called and who measures, no more."""
    left_out = {"python": "left:out", "command": "left-out {checkpoint} {out}"}
    by = {key: words for key, words in left_out.items() if trainer.get(key)}
    losses = {"losses": {"format": trainer["losses"]["format"]}} if trainer.get("losses") else {}
    return {**by, **losses, "evaluate": trainer["evaluate"]}


_LOSSES = ("val_loss_batches", "ema_batches", "annealed_batches")


def _row(evaluation: Evaluation) -> dict[str, Any]:
    keys = ("step", "val_loss", "flops", "annealed_flops", *_LOSSES)
    return {key: getattr(evaluation, key) for key in keys}


def _schema() -> "pa.Schema":
    import pyarrow as pa

    names = [(key, pa.string()) for key in ("run", "candidate", "kind")]
    numbers = [(key, pa.int64()) for key in ("seed", "step", "flops", "annealed_flops")]
    losses = [(key, pa.list_(pa.float64())) for key in _LOSSES]
    return pa.schema([*names, *numbers, ("val_loss", pa.float64()), *losses])


def _named(rows: Iterable[Mapping[str, Any]], run: str) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_pylist([{"run": run, **row} for row in rows], schema=_schema())


def _read_rows(folder: Path, names: Sequence[str]) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / CURVES
    if not path.is_file():
        raise RunFolderError(f"{folder}: incomplete, it has no {CURVES}")
    try:
        found = pq.read_table(path, filters=[("run", "in", list(names))])
        return found.select(_schema().names).cast(_schema())
    except (pa.ArrowException, OSError, KeyError) as error:
        why = str(error).splitlines()[0]
        raise RunFolderError(f"{path}: no curves of a benchmark: {why}") from None


def _rows_digest(table: "pa.Table") -> str:
    """Return a hash of rows, their run's name left out: the same wherever they are read."""
    rows = [
        [row[key] for key in ("candidate", "kind", "seed", "step", "flops", "annealed_flops")]
        + [row["val_loss"], *(row[key] for key in _LOSSES)]
        for row in table.to_pylist()
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _curves(
    table: "pa.Table", failures: Sequence[_Failed], space: Space
) -> dict[str, tuple[Curve, ...]]:
    """Return each candidate's curves under each seed, in the order of the rows."""
    evaluations: dict[tuple[str, int], list[Evaluation]] = {}
    for row in table.to_pylist():
        found = Evaluation(
            step=row["step"],
            val_loss=row["val_loss"],
            val_loss_batches=tuple(row["val_loss_batches"]),
            wall_s=0.0,
            flops=row["flops"],
            ema_batches=tuple(row["ema_batches"]),
            annealed_batches=tuple(row["annealed_batches"]),
            annealed_flops=row["annealed_flops"],
        )
        evaluations.setdefault((row["candidate"], row["seed"]), []).append(found)
    ends = {
        (each["candidate"], each["seed"]): Failure(each["step"], each["failed"])
        for each in failures
    }
    names = dict.fromkeys(name for name, _ in (*evaluations, *ends))
    return {
        name: tuple(
            Curve(tuple(evaluations.get((name, seed), ())), ends.get((name, seed)))
            for seed in space.seeds
        )
        for name in names
    }
