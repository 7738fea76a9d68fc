"""A run folder: what is in it, under which name, and how it is begun and continued."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lagsearch.errors import RunFolderError
from lagsearch.operators.plan.growth import GrowthPlan
from lagsearch.records.curve import (
    MEND,
    Curve,
    operator_record,
    pack,
    read_curve,
)
from lagsearch.records.seeds import mean_curve
from lagsearch.records.shapes import (
    Environment,
    HarnessRecord,
    LearnedRecord,
    Plans,
    ProfileRecord,
    Report,
    misshapen,
    read_record,
)
from lagsearch.records.stage_result import RECORD, StageResult, read_stage_result
from lagsearch.space import (
    Space,
    SpaceFile,
    dump_space,
    dump_yaml,
    evaluation_steps,
    expand_baselines,
    first_batches,
    load_space,
    opened,
    thinned_steps,
    written_out,
)
from lagsearch.storage.files import (
    unfinished_in,
    write_json,
    write_text,
)

PHASES = ("sources", "search", "winner", "report")

_PACKAGES = (
    "lagsearch",
    "torch",
    "ray",
    "transformers",
    "datasets",
    "tokenizers",
    "numpy",
    "optuna",
)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def space_file(self) -> Path:
        """The space as resolved."""
        return self.path / "space.yaml"

    @property
    def plans_file(self) -> Path:
        """Every candidate's growth plan and cost."""
        return self.path / "plans.json"

    @property
    def environment_file(self) -> Path:
        """Versions, host, devices, seeds, sources and seconds."""
        return self.path / "environment.json"

    @property
    def report_file(self) -> Path:
        """The numbers of the report."""
        return self.path / "report.json"

    @property
    def harness_file(self) -> Path:
        """What came out on downstream tasks."""
        return self.path / "harness.json"

    @property
    def figures(self) -> Path:
        """The report's pictures."""
        return self.path / "figures"

    @property
    def tables(self) -> Path:
        """The numbers behind the pictures."""
        return self.path / "tables"

    @property
    def winner(self) -> Path:
        """The winner's Hugging Face checkpoint."""
        return self.path / "winner"

    @property
    def kept(self) -> Path:
        """Checkpoints of the best candidates at K, a folder for each, where that is asked for."""
        return self.path / "kept"

    @property
    def states(self) -> Path:
        """Weights and moments while the run goes on; gone when it is complete."""
        return self.path / "states"

    def curve_file(self, candidate: str) -> Path:
        """Return the file of a candidate's evaluations."""
        return self.path / "curves" / f"{candidate}.jsonl"

    def state_file(self, candidate: str) -> Path:
        """Return the file of a candidate's weights and moments."""
        return self.states / f"{candidate}.safetensors"

    def state_of(self, result: StageResult) -> Path:
        """Return the file of a stage's winner's weights and moments, while the run goes on.

        Args:
            result: What the stage came to; its folder is in this one.
        """
        return RunFolder(self.path / result.folder).state_file(result.winner)

    def profile_file(self, name: str) -> Path:
        """Return the file of where the time of a model goes.

        Args:
            name: A candidate, `winner/` and a candidate that is trained on, or `sources/` and one.
        """
        return self.path / "profile" / f"{name}.json"

    def curve(self, candidate: str) -> Curve:
        """Read a candidate's evaluations."""
        return read_curve(self.curve_file(candidate))

    def is_over(self, name: str, step: int) -> bool:
        """Return whether a training has come to a step, or failed for good."""
        curve = self.curve(name)
        if curve.failure is not None:
            return not curve.failure.again
        return curve.at(step) is not None

    def reached(self, name: str) -> int:
        """Return the last evaluated step of a training."""
        return max((each.step for each in self.curve(name).evaluations), default=0)

    def curves_of(self, space: Space, candidate: str) -> tuple[Curve, ...]:
        """Read a candidate's evaluations under each seed.

        Raises:
            RunFolderError: An evaluation is missing before others, or measured other batches.
        """
        return tuple(self._checked(space, name) for name in space.trials(candidate))

    def _checked(self, space: Space, name: str) -> Curve:
        curve = self.curve(name)
        wanted = self._validation_batches or space.evaluation.batches
        last = curve.evaluations[-1].step if curve.evaluations else -1
        there = {each.step for each in curve.evaluations}
        thinned = dict.fromkeys(thinned_steps(space), first_batches(wanted))
        wrong = [
            f"step {each.step} has {len(each.val_loss_batches)} of {wanted} validation batches"
            for each in curve.evaluations
            if len(each.val_loss_batches) not in (wanted, thinned.get(each.step))
        ] + [
            f"the evaluation at step {step} is missing"
            for step in evaluation_steps(space)
            if step < last and step not in there
        ]
        if wrong:
            raise RunFolderError(f"{self.curve_file(name)}: {wrong[0]}; {MEND}")
        return curve

    @cached_property
    def _validation_batches(self) -> int | None:
        """How many there are, where the run has said so."""
        return self.plans().get("validation_batches") if self.plans_file.is_file() else None

    def curve_of(self, space: Space, candidate: str) -> Curve:
        """Read a candidate's evaluations as their mean over the seeds."""
        return mean_curve(self.curves_of(space, candidate), space.seeds)

    def operator(self, candidate: str) -> dict[str, Any] | None:
        """Read what came of learning a candidate's operator, or None where there is nothing."""
        path = operator_record(self.curve_file(candidate))
        return read_record(path, LearnedRecord) if path.is_file() else None

    def harness(self) -> dict[str, Any] | None:
        """Read what came out on downstream tasks, or None where none were evaluated."""
        return (
            read_record(self.harness_file, HarnessRecord) if self.harness_file.is_file() else None
        )

    def profile(self, candidate: str) -> dict[str, Any] | None:
        """Read where a candidate's time went, or None where nobody looked."""
        path = self.profile_file(candidate)
        return read_record(path, ProfileRecord) if path.is_file() else None

    def report(self, shape: Any = Report) -> dict[str, Any]:
        """Read the numbers of the report.

        Raises:
            RunFolderError: There is none, or it has another shape.
        """
        return read_record(self.report_file, shape)

    @property
    def has_stages(self) -> bool:
        """Whether it is the folder of a run with `stages`, which has one for each of them."""
        return self.space_file.is_file() and any(
            line.startswith(b"stages:") for line in self.space_file.read_bytes().splitlines()
        )

    def file(self) -> SpaceFile:
        """Read the space of this run.

        Raises:
            RunFolderError: This is no run folder.
        """
        if not self.path.exists():
            raise RunFolderError(f"{self.path}: no such folder")
        if self.path.is_file():
            message = "is a file: name a run folder, or curves in a .csv or .parquet"
            raise RunFolderError(f"{self.path}: {message}")
        if not self.space_file.is_file():
            raise no_run(self.path)
        return load_space(self.space_file)

    def space(self) -> Space:
        """Read the space of this run of one stage.

        Raises:
            RunFolderError: This is no run folder.
            SpaceError: It has `stages`.
        """
        return self.file().space

    def stages(self) -> list["RunFolder"]:
        """Return the folders in which something was chosen: its own, or those of its stages."""
        if not self.has_stages:
            return [self]
        found = []
        for path in sorted(self.path.glob(f"*/stage-*/{RECORD}")):
            result = read_stage_result(path.parent)
            is_own = result is not None and self.path / result.folder == path.parent
            if result is not None and is_own and result.n_candidates > 1:
                found.append(RunFolder(path.parent))
        return found

    def plans(self) -> dict[str, Any]:
        """Read every candidate's plan and cost.

        Raises:
            RunFolderError: There is none.
        """
        found = read_record(self.plans_file, Plans)
        try:
            for entry in (*found["candidates"], *found.get("baselines", ())):
                # drawn anew: folders of before 2026-11-28 count layers from 1
                entry["layer_map"] = GrowthPlan.from_dict(entry["plan"]).layer_map()
        except (KeyError, TypeError, AttributeError) as error:
            raise misshapen(self.plans_file, f"a growth that cannot be read: {error!r}") from None
        return found

    def environment(self) -> dict[str, Any]:
        """Read versions, host, devices, sources and seconds.

        Raises:
            RunFolderError: There is none.
        """
        return read_record(self.environment_file, Environment)

    def note(self, **values: Any) -> None:
        """Change entries of `environment.json`."""
        write_json(self.environment_file, {**self.environment(), **values})

    def spend(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        wall_s = self.environment()["wall_s"]
        wall_s[phase] = round(wall_s.get(phase, 0.0) + seconds, 3)
        self.note(wall_s=wall_s)

    def spent(self) -> float:
        """Return the seconds of all phases so far; 0 of a run that has not begun."""
        begun = self.environment_file.is_file()
        return sum(self.environment()["wall_s"].values()) if begun else 0.0

    def lock(self) -> FileLock:
        """Take the folder for this process alone.

        Raises:
            RunFolderError: Another process has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(f"{self.path}: another process is running in it") from None
        return lock

    def agree(self, file: SpaceFile) -> SpaceFile:
        """Return the space to run here: seeds, an oracle and baselines that were added before stay.

        Raises:
            RunFolderError: The folder belongs to another space; the message names what differs.
        """
        if self.winner.is_symlink():
            message = "a link, and what it leads to is not this run's: remove it"
            raise RunFolderError(f"{self.winner}: {message}")
        if not self.space_file.is_file():
            self.check_free()
            return file
        recorded = self.file()
        self._check_own(recorded, file)
        flags = {}
        if recorded.seeds[: len(file.seeds)] == file.seeds and recorded.seeds != file.seeds:
            flags["seeds of the run folder"] = f"search.seeds={list(recorded.seeds)}"
        if recorded.has_oracle:
            flags["oracle of the run folder"] = "search.oracle=true"
        elif file.has_oracle and any(self.path.glob(f"*/stage-*/{RECORD}")):
            message = "stages were finished without an oracle, whose other candidates are gone"
            raise RunFolderError(f"{self.path}: {message}: give --oracle another --out")
        added = self._trained_baselines(recorded, file)
        if added:
            listed = json.dumps([*file.space.search.baselines, *added])
            flags["baselines of the run folder"] = f"search.baselines={listed}"
        if flags:
            file = opened(file, flags)
        if added:
            line = f"baselines that were trained in {self.path} stay: {json.dumps(added)}"
            file = replace(file, remarks=(*file.remarks, line))
        self._refuse_but_seeds(
            recorded.written_out(), file.written_out(), recorded.seeds, file.seeds
        )
        return file

    def _trained_baselines(
        self, recorded: SpaceFile, file: SpaceFile
    ) -> list[str | dict[str, Any]]:
        """Return the baselines that were trained here, and that a space no longer lists."""
        if recorded.has_stages or file.has_stages or not self.plans_file.is_file():
            return []
        entries = expand_baselines(file.space)
        known = [(each.operator, _of_any_source(each.settings)) for each in entries]
        return [
            _listed(each["operator"], each["settings"])
            for each in self.plans().get("baselines", ())
            if (each["operator"], _of_any_source(each["settings"])) not in known
            and self.is_over(each["name"], each["steps"])
        ]

    def _refuse_but_seeds(
        self, old: dict[str, Any], new: dict[str, Any], seeds: Sequence[int], now: Sequence[int]
    ) -> None:
        """Refuse what differs, but for seeds that are added."""
        is_added = tuple(seeds) == tuple(now[: len(seeds)])
        found = differences(old, new)
        self.refuse([each for each in found if not (is_added and each[0] == "search.seeds")])

    def check(self, space: Space) -> None:
        """Check that the folder of a stage, if it was begun, is that of a space.

        Raises:
            RunFolderError: It is not; the message names what differs.
        """
        if self.space_file.is_file():
            recorded = self.space()
            self._refuse_but_seeds(
                written_out(recorded), written_out(space), recorded.seeds, space.seeds
            )

    def record_sources(self, sources: list[dict[str, Any]]) -> None:
        """Write down what the sources are.

        Raises:
            RunFolderError: They are not those that the run began with.
        """
        if recorded := self.environment()["sources"]:
            if len(recorded) != len(sources):
                self.refuse([("the number of sources", len(recorded), len(sources))])
            pairs = zip(recorded, sources, strict=True)
            digests = [
                (f"source {new['name']}", old["digest"], new["digest"]) for old, new in pairs
            ]
            self.refuse([each for each in digests if each[1] != each[2]])
        self.note(sources=sources)

    def refuse(self, found: list[tuple[str, Any, Any]]) -> None:
        """Stop where something is not as it was when the run began.

        Args:
            found: What differs: a key, its value there and here.

        Raises:
            RunFolderError: There is any.
        """
        if not found:
            return
        shown = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, old, new in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise RunFolderError(
            f"{self.path} holds another run: {shown}{more}; choose another folder with --out, or "
            f"go on with that one: lagsearch run {self.space_file} --out {self.path}"
        )

    def begin(
        self,
        space: Space,
        plans: dict[str, Any],
        devices: dict[str, Any],
        inputs: dict[str, Any],
    ) -> None:
        """Write what is known before training; a folder that was begun keeps its record.

        Args:
            space: What is run.
            plans: What `plans.json` holds.
            devices: What it runs on, for the record.
            inputs: What else decides the losses: they may not change on the way.

        Raises:
            RunFolderError: An input is not as it was when the run began.
        """
        before = self.space().trainer if self.space_file.is_file() else None
        self.start(dump_space(space), devices, inputs, space.seeds)
        if before is not None and before != space.trainer:
            mended = {"until": now(), "trainer": before.model_dump(mode="json")}
            self.note(trainers=[*self.environment().get("trainers", ()), mended])
        write_json(self.plans_file, plans)

    def start(
        self, text: str, devices: dict[str, Any], inputs: dict[str, Any], seeds: Sequence[int]
    ) -> None:
        """Write the space and the environment; clear away what a killed process left half written.

        Args:
            text: The space, as YAML.
            devices: What it runs on, for the record.
            inputs: What else decides the losses: they may not change on the way.
            seeds: Its seeds.

        Raises:
            RunFolderError: An input is not as it was when the run began.
        """
        is_begun = self.environment_file.is_file()
        if is_begun:
            self.refuse(differences(self.environment()["inputs"], inputs))
        curves, profile = self.path / "curves", self.path / "profile"
        for place in (self.path, curves, profile, self.tables, self.figures):
            for left in unfinished_in(place):
                left.unlink()
        write_text(self.space_file, text)
        if is_begun:
            self.note(seeds=list(seeds), end=None)
        else:
            write_json(self.environment_file, first_environment(devices, inputs, seeds))

    def record_plans(self, plans: dict[str, Any]) -> None:
        """Write `plans.json` anew, before candidates that were added to it are trained."""
        write_json(self.plans_file, plans)

    def pack(self) -> None:
        """Compress the curves: a tenth of the size or so; they are read as before."""
        for path in sorted((self.path / "curves").glob("*.jsonl")):
            pack(path)

    def _check_own(self, *files: SpaceFile) -> None:
        """Check that the space here is one that a run wrote, and not one that a person wrote.

        A run writes it first of all: one that was killed then has left nothing else.

        Args:
            files: That space, and the one to run.

        Raises:
            RunFolderError: It is a person's, which a run would write over.
        """
        if self.environment_file.is_file():
            return
        text = self.space_file.read_text(encoding="utf-8")
        if text not in [dump_yaml(each.written_out()) for each in files]:
            message = "has a space.yaml that no run wrote; choose another folder with --out"
            raise RunFolderError(f"{self.path}: {message}")

    def check_free(self) -> None:
        """Check that a run may begin here.

        Raises:
            RunFolderError: There is something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path}: is a file; choose a folder with --out")
        if self.path.is_dir() and self.holds_files():
            message = "has files, but is no run folder; choose another folder with --out"
            raise RunFolderError(f"{self.path}: {message}")

    def holds_files(self) -> bool:
        """Return whether anything but a lock and unfinished writes is in the folder."""
        own = {self.path / "run.lock", *unfinished_in(self.path)}
        return any(each not in own for each in self.path.iterdir())


def first_environment(
    devices: dict[str, Any], inputs: dict[str, Any], seeds: Sequence[int]
) -> dict[str, Any]:
    """Return what `environment.json` holds when a run begins.

    Args:
        devices: What it runs on, for the record.
        inputs: What decides the losses beside the space and the sources.
        seeds: Its seeds.
    """
    return {
        "versions": _versions(),
        "git_commit": _git_commit(),
        "host": platform.node(),
        "devices": devices,
        "inputs": inputs,
        "seeds": list(seeds),
        "slots": 1,
        "sources": [],
        "wall_s": dict.fromkeys(PHASES, 0.0),
        "start": now(),
        "end": None,
    }


def _of_any_source(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a baseline's settings that are given, whichever source it trains on."""
    return {key: each for key, each in settings.items() if key != "source" and each is not None}


def _listed(operator: str, settings: Mapping[str, Any]) -> str | dict[str, Any]:
    """Return a baseline as a space lists it."""
    own = {key: each for key, each in settings.items() if each is not None}
    return {"operator": operator, **own} if own else operator


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def differences(old: Any, new: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """Return the keys in which two spaces differ, but for what changes no loss.

    That is an oracle that is added, devices that may be mixed from now on, baselines, downstream
    tasks, what is kept, whether a run is profiled, and the winner's devices; how separators are
    asked for does not matter where it comes to the same tokens, which are compared apart. How a
    trainer of the user's own is called may be mended on the way: `environment.json` tells of it.
    """
    if at in (
        "evaluation.harness",
        "search.baselines",
        "search.keep_checkpoints",
        "data.separators",
        "trainer.command",
        "trainer.resume",
        "trainer.losses",
        "trainer.checkpoints",
    ):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in {**old, **new}
            for found in differences(old.get(key), new.get(key), f"{at}.{key}".lstrip("."))
        ]
    if _are_alike(old) and _are_alike(new) and len(old) == len(new):
        return [
            found
            for number, (there, here) in enumerate(zip(old, new, strict=True))
            for found in differences(there, here, f"{at}[{number}]")
        ]
    if (
        old == new
        or (at in ("search.oracle", "resources.mix_devices") and new)
        or at in ("resources.profile", "resources.save_dtype", "resources.save_every")
        or at.startswith("resources.winner")
    ):
        return []
    return [(at, old, new)]


def _are_alike(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def no_run(path: Path) -> RunFolderError:
    """Return the error of a folder that no run left; runs in it are named."""
    inside = sorted(each.parent for each in path.glob("*/space.yaml"))
    way = f"runs are in it, e.g. {inside[0]}" if inside else "`lagsearch run` leaves reports/NAME"
    return RunFolderError(f"{path}: not a run folder, it has no space.yaml; {way}")


def _git_commit() -> str | None:
    """Return the commit of the code, where it runs from a git checkout of its own."""
    here = Path(__file__).parent
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    said = []
    for words in (["ls-files", "--error-unmatch", __file__], ["rev-parse", "HEAD"]):
        command = ["git", "-C", str(here), *words]  # an environment may lie in another project's
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        said.append(done.stdout.strip())
    return said[-1] or None
