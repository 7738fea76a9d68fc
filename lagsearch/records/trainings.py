"""All trainings of a run as its folder has them at a moment, while it goes on or afterwards."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from lagsearch.errors import RunFolderError
from lagsearch.records.curve import Curve
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run
from lagsearch.storage.files import digest

T = TypeVar("T")


@dataclass(frozen=True)
class RecordedRun:
    """A run as a whole.

    Attributes:
        name: Of its space.
        identity: A digest that stays when the run is continued or its folder is moved.
        started_s: When it began, in seconds since 1970.
        space: The space as the run resolved it, YAML.
    """

    name: str
    identity: str
    started_s: float
    space: str


@dataclass(frozen=True)
class RecordedTraining:
    """A candidate or a baseline under one seed.

    Attributes:
        stage: Folder of its stage from the run's, e.g. `adaptive/stage-2`; empty without stages.
        name: Unique in its stage: the candidate's, with the seed where that is not the first.
        candidate: The candidate's name.
        seed: The seed.
        is_baseline: Whether it is compared with candidates, and not chosen from.
        plan: Its entry in `plans.json`.
        choices: What values each setting has among the candidates of its stage so far.
        curve: Its evaluations so far, and how it failed if it did.
    """

    stage: str
    name: str
    candidate: str
    seed: int
    is_baseline: bool
    plan: dict[str, Any] = field(repr=False)
    choices: Mapping[str, tuple[Any, ...]] = field(repr=False)
    curve: Curve = field(repr=False)

    @property
    def key(self) -> str:
        """Its name in the whole run, e.g. `adaptive/stage-2/stack@1`; usable as a path."""
        return f"{self.stage}/{self.name}".lstrip("/")

    @property
    def settings(self) -> dict[str, Any]:
        """The operator and its settings, lists as text."""
        return _settings(self.plan)

    @property
    def facts(self) -> dict[str, Any]:
        """What else is known before it trains."""
        known = {key: self.plan[key] for key in ("layer_map", "parameters", "flops_per_step")}
        own = {"candidate": self.candidate, "seed": self.seed, "is_baseline": self.is_baseline}
        return {**own, **({"stage": self.stage} if self.stage else {}), **known}


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training came to in a search that has chosen.

    Attributes:
        status: `ok`, `stopped` (in a race) or `failed`.
        lag: K.
        rank: The candidate's among all at K, from 1; None for a baseline.
        val_loss_at_lag: Its loss at K, nats per predicted token; None where it did not get there.
        final_val_loss: Its last loss; None where it has none.
        is_winner: Whether the search chose it.
    """

    status: str
    lag: int
    rank: int | None
    val_loss_at_lag: float | None
    final_val_loss: float | None
    is_winner: bool

    NUMBERS: ClassVar = ("rank", "val_loss_at_lag", "final_val_loss")

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers among it that are known."""
        found = {name: getattr(self, name) for name in self.NUMBERS}
        return {key: each for key, each in found.items() if each is not None}


class RunReader:
    """Reads a run folder again and again; files that did not change are read once.

    Args:
        folder: The run's; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = RunFolder(folder)
        self._read: dict[Path, tuple[tuple[int, int], Any]] = {}

    def run(self) -> RecordedRun | None:
        """Return what is known of the run as a whole; None before it has begun.

        Raises:
            RunFolderError: Its records cannot be read.
        """
        folder = self._folder
        if not (folder.space_file.is_file() and folder.environment_file.is_file()):
            return None
        environment, file = folder.environment(), folder.file()
        text = folder.space_file.read_text(encoding="utf-8")
        begun = str(environment["start"])
        identity = digest([file.name, begun, environment["inputs"]])
        return RecordedRun(file.name, identity, datetime.fromisoformat(begun).timestamp(), text)

    def trainings(self) -> list[RecordedTraining]:
        """Return all trainings that are planned, those of finished stages too.

        Raises:
            RunFolderError: A record or a curve cannot be read.
        """
        return [each for stage in self._stages() for each in self._of(stage)]

    def outcomes(self) -> dict[str, TrainingOutcome]:
        """Return what trainings came to, by their keys: of stages that have chosen."""
        found: dict[str, TrainingOutcome] = {}
        for stage in self._stages():
            try:
                run = read_run(stage)
            except RunFolderError:  # it has not come so far
                continue
            for each in self._of(stage):
                failed = each.curve.failure is not None
                is_stopped = each.candidate in run.choice.stopped
                at_lag = each.curve.at(run.lag)
                last = each.curve.evaluations[-1:]
                found[each.key] = TrainingOutcome(
                    status="failed" if failed else "stopped" if is_stopped else "ok",
                    lag=run.lag,
                    rank=None if each.is_baseline else run.ranking.index(each.candidate) + 1,
                    val_loss_at_lag=at_lag.val_loss if at_lag else None,
                    final_val_loss=last[0].val_loss if last else None,
                    is_winner=each.candidate == run.winner,
                )
        return found

    def _stages(self) -> list[RunFolder]:
        """Return the folders in which something is trained."""
        if not self._folder.has_stages:
            return [self._folder] if self._folder.plans_file.is_file() else []
        return [RunFolder(each.parent) for each in sorted(self._folder.path.glob("*/*/plans.json"))]

    def _of(self, stage: RunFolder) -> Iterator[RecordedTraining]:
        """Yield the trainings of a stage."""
        space = self._once(stage.space_file, stage.space)
        plans = self._once(stage.plans_file, stage.plans)
        place = stage.path.relative_to(self._folder.path).as_posix()
        place = "" if place == "." else place
        choices = _choices(plans["candidates"])
        rows = [(each, False) for each in plans["candidates"]]
        rows += [(each, True) for each in plans.get("baselines", ())]
        for plan, is_baseline in rows:
            name = plan["name"]
            for seed in space.seeds:
                trial = space.trial(name, seed)
                curve = self._curve(stage, trial)
                yield RecordedTraining(
                    stage=place,
                    name=trial,
                    candidate=name,
                    seed=seed,
                    is_baseline=is_baseline,
                    plan=plan,
                    choices=choices,
                    curve=curve,
                )

    def _curve(self, stage: RunFolder, trial: str) -> Curve:
        path = stage.curve_file(trial)
        packed = path.with_name(f"{path.name}.gz")
        there = next((each for each in (path, packed) if each.is_file()), None)
        return Curve() if there is None else self._once(there, lambda: stage.curve(trial))

    def _once(self, path: Path, read: Callable[[], T]) -> T:
        """Return what a file holds, read where it changed since the last time."""
        found = path.stat()
        stamp = found.st_mtime_ns, found.st_size
        if path not in self._read or self._read[path][0] != stamp:
            self._read[path] = stamp, read()
        value: T = self._read[path][1]
        return value


def _settings(plan: Mapping[str, Any]) -> dict[str, Any]:
    found = {"operator": plan["operator"], **plan["settings"]}
    simple = (str, int, float, bool)
    return {key: each if isinstance(each, simple) else str(each) for key, each in found.items()}


def _choices(plans: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each setting, in the order in which they are first seen."""
    found: dict[str, dict[Any, None]] = {}
    for plan in plans:
        for key, value in _settings(plan).items():
            found.setdefault(key, {})[value] = None
    return {key: tuple(values) for key, values in found.items()}
