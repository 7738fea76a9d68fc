"""`lagsearch export`: all candidates untrained, as Hugging Face checkpoints with a manifest."""

import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lagsearch.display.watch import Watch
from lagsearch.errors import RunFolderError
from lagsearch.models.checkpoints import checkpoint_digest
from lagsearch.planning.brought import fetch_brought
from lagsearch.planning.planned import PlannedCandidate
from lagsearch.planning.run import Plan, plan_stages
from lagsearch.planning.stage import StagePlan, recorded
from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of
from lagsearch.records.folder import RunFolder
from lagsearch.records.manifest import FORMAT, MANIFEST
from lagsearch.running.growing import (
    Beside,
    grow_in_memory,
    grow_on_disk,
    growth_on_disk,
)
from lagsearch.running.run import prepared
from lagsearch.running.stage import StageRun
from lagsearch.space import SpaceFile, StageFile, written_out
from lagsearch.storage.cache import holding
from lagsearch.storage.files import appearing, derive_seed, digest, file_digest, write_json
from lagsearch.training.job import Job

RECORD = "lagsearch.json"
"""What an exported checkpoint was made of, in its folder."""


@holding()
def export_space(file: SpaceFile, out: Path, watch: Watch) -> dict[str, Any]:
    """Write all candidates and baselines of a space as they are before training.

    Each appears whole or not at all, and the manifest last; the same call goes on where it was
    interrupted. Sources that the space trains are trained first, or taken from the cache.

    Args:
        file: The space; of one growth.
        out: The folder.
        watch: Follows.

    Returns:
        The manifest.

    Raises:
        LagsearchError: The space cannot be run, or the folder holds something else.
    """
    exporting = _Exporting(file.stage, file, out, watch)
    return exporting.export()


class _Exporting:
    """The export of a space."""

    def __init__(self, stage: StageFile, file: SpaceFile, out: Path, watch: Watch) -> None:
        self._stage, self._file, self._out, self._watch = stage, file, out, watch
        self._work = out / ".work"
        with watch.doing("planning", is_brief=True):
            self._tokenizer = find_tokenizer(stage)
            self._whole: Plan = plan_stages(file, vocabulary_of(self._tokenizer, stage.space))
        self._plan: StagePlan = self._whole.stages[0]
        if self._plan.domain is not None:
            message = "samples its candidates while it runs: list them to export them"
            raise stage.error(("search", "strategy"), message)

    def export(self) -> dict[str, Any]:
        """Export all; see `export_space`."""
        plan, out = self._plan, self._out
        everything = (*plan.candidates, *plan.baselines)
        if out.exists() and not out.is_dir():
            raise RunFolderError(f"{out}: is a file; choose a folder with --out")
        for line in plan.remarks:
            self._watch.say(line)
        fetch_brought(self._stage, plan.sources, self._watch)
        made_of = {each.name: self._made_of(each) for each in everything}
        for name, identity in made_of.items():
            self._check(name, identity)
        out.mkdir(parents=True, exist_ok=True)
        checkpoints = {}
        try:
            for number, each in enumerate(everything, 1):
                self._watch.passing(f"growing {each.name} ({number} of {len(everything)})")
                self._grow(each, made_of[each.name])
                checkpoints[each.name] = {"folder": each.name, "files": _hashes(out / each.name)}
        finally:
            self._watch.passing("")
            shutil.rmtree(self._work, ignore_errors=True)
        manifest = {
            "format": FORMAT,
            "lagsearch": version("lagsearch"),
            "space": written_out(plan.space),
            "sources": self._sources,
            "plans": recorded(plan),
            "checkpoints": checkpoints,
        }
        write_json(out / MANIFEST, manifest)
        return manifest

    def _check(self, name: str, identity: str) -> None:
        """Check that what is there is of the same growth.

        Raises:
            RunFolderError: It is something else.
        """
        path = self._out / name
        if path.exists() and not _is_of(path, identity):
            raise RunFolderError(
                f"{path}: is there, but is not this growth; choose another folder with --out"
            )

    def _grow(self, planned: PlannedCandidate, identity: str) -> None:
        if (path := self._out / planned.name).is_dir():
            return
        growth = growth_on_disk(self._plan, planned)
        with appearing(path) as making:
            if growth is not None:
                seed = derive_seed(self._plan.space.seeds[0], "init", "target")
                grow_on_disk(growth, seed, self._beside, making)
            else:
                job = self._jobs[planned.name]
                for _ in grow_in_memory(job, self._beside, making):
                    pass
            write_json(making / RECORD, {"made_of": identity, "layer_map": planned.layer_map})

    def _made_of(self, planned: PlannedCandidate) -> str:
        """Return a digest of what decides a candidate's folder at step 0."""
        sources = [
            written_out(each.source) if each.checkpoint is None else self._digests[each.source.name]
            for each in self._plan.sources
        ]
        space, plan = self._plan.space, planned.candidate.plan
        tokenizer = self._tokenizer.backend_tokenizer.to_str()
        own = [plan.to_dict(), planned.config, space.seeds[0], written_out(space.objective)]
        is_trained = None in [each.checkpoint for each in self._plan.sources]
        if is_trained or plan.learned is not None:
            own += [written_out(space.data), written_out(space.training)]
        return digest([own, sources, tokenizer])

    @cached_property
    def _digests(self) -> Mapping[str, str]:
        """What the sources' checkpoints hash to, by their names."""
        found = {}
        for each in self._plan.sources:
            if each.checkpoint is not None:
                with self._watch.doing(f"hashing {each.source.name}", is_brief=True):
                    found[each.source.name] = checkpoint_digest(each.checkpoint)
        return found

    @cached_property
    def _beside(self) -> Beside:
        self._tokenizer.save_pretrained(self._work / "tokenizer")
        return Beside.of(self._plan, self._work / "tokenizer")

    @cached_property
    def _run(self) -> StageRun:
        """The stage as `lagsearch run` has it, for what takes training; its text is read."""
        folder = RunFolder(self._work)
        _, shared = prepared(
            self._file, folder, self._watch, lambda path: {}, serial=True, only_grows=True
        )
        return StageRun(self._stage, None, folder, "", shared, self._plan)

    @cached_property
    def _jobs(self) -> Mapping[str, Job]:
        """The jobs, behind their sources' training."""
        states = [each.state for each in self._ready]
        return self._run.make.candidates(dict.fromkeys(self._plan.space.seeds, states))

    @cached_property
    def _ready(self) -> Any:
        return self._run.phases.ready(self._plan.space.seeds[0])

    @property
    def _sources(self) -> list[dict[str, Any]]:
        """What is known of the sources, as a run's record has it."""
        if "_ready" in vars(self) or len(self._digests) < len(self._plan.sources):
            return [each.facts for each in self._ready]
        own = {"kind": "checkpoint", "flops": None, "has_optimizer_state": False}
        return [{"name": name, "digest": hashed, **own} for name, hashed in self._digests.items()]


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path in there."""
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    return {each.relative_to(folder).as_posix(): file_digest(each) for each in files}


def _is_of(folder: Path, identity: str) -> bool:
    """Return whether an export has left a folder of this growth."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("made_of") == identity
